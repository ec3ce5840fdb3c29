# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An authority that gets a new key and certificate while all that trusts it goes on.

========  ==========================================  =====================================================
step      on the control node                         what has to happen on all hosts before the next one
========  ==========================================  =====================================================
begin     a next key; its certificate beside the one  everybody trusts both
          that signs
switch    the next key signs, the other is the        everybody has a certificate of the new one
          former
end       only the new certificate is left            everybody trusts only that
finish    the former key goes
========  ==========================================  =====================================================

Which files there are says how far it is, so each step can be taken again: what it was to do is then done already.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

from cryptography import x509

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import files
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.authority import Authority
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.signing import AuthorityError, encoded, self_signed

STEPS = ("begin", "switch", "end", "finish")


class ChangingAuthority(Authority):
    """An authority of mode ownca, for the steps of its change."""

    @property
    def phase(self) -> str:
        """The last step that was taken; ``finish`` when no change is under way."""
        if os.path.lexists(self.next_key_path):
            return "begin"
        if not os.path.lexists(self.former_key_path):
            return "finish"
        return "switch" if len(self._certificates(self._content())) > 1 else "end"

    def take(self, step: str) -> bool:
        """Take one step if it is the next one; whether anything changed."""
        if not self.exists():
            raise AuthorityError(f"{self.where}: it has not been made yet, so there is nothing to change: run site")
        return self._keep(f"change, {step}", lambda: bool(getattr(self, f"_{step}")()))

    def foreseen(self, step: str) -> bool:
        """Whether the step would change anything."""
        before = STEPS[STEPS.index(step) - 1]
        return self.phase == before

    def prove(self) -> None:
        """AuthorityError unless its key opens: one that has ended is changed for that very reason."""
        if self.exists():
            self.signer()
        else:
            self._passphrase()

    def _check_permitted(self, certificate: x509.Certificate) -> None:
        """What it was made with doesn't bind who is to follow it."""

    def _begin(self) -> bool:
        if self.phase not in ("begin", "finish"):
            return False
        files.sweep(self.next_key_path)
        there = os.path.lexists(self.next_key_path)
        key = self._open_key(self.next_key_path) if there else self._make_key(self.next_key_path)
        certificates = self._certificates(self._content())
        if any(encoded(each.public_key()) == encoded(key.public_key()) for each in certificates):
            self._settle_lists(datetime.now(UTC))
            return not there
        self._write_certificates([*certificates, self_signed(self.description, key)])
        self._settle_lists(datetime.now(UTC))
        return True

    def _switch(self) -> bool:
        """The former key's file is there before the next one takes its place: killed between, it is done again."""
        if self.phase != "begin":
            return False
        self._certificate_of(self._open_key(self.next_key_path), self._certificates(self._content()))
        found = files.read(self.key_path)
        if found is None:
            raise AuthorityError(f"{self.where}: its key {self.key_path} is missing")
        files.write(self.former_key_path, found.content, 0o600)
        os.rename(self.next_key_path, self.key_path)
        return True

    def _end(self) -> bool:
        if self.phase != "switch":
            return False
        key = self._open_key()
        self._write_certificates([self._certificate_of(key, self._certificates(self._content()))])
        self._settle_lists(datetime.now(UTC))
        return True

    def _finish(self) -> bool:
        if self.phase != "end":
            return False
        os.unlink(self.former_key_path)
        return True
