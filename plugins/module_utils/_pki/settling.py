# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything beside a proven key and its certificate: brought in line with them, tidied, and recorded."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from . import der, files, openssl
from .facts import Anchors, Facts
from .installed import (
    BUNDLE,
    CA,
    CERTIFICATE,
    CHAIN,
    CRL,
    KEY,
    MODES,
    NEXT_KEY,
    PASSWORD,
    RECORD_MODE,
    RECORD_VERSION,
    SECRET,
    Installed,
    digest,
    is_own,
)
from .outcome import Outcome

_PASSWORD_BYTES = 30  # 240 bits


@dataclass
class Settling:
    """One directory as it is settled. ``fresh`` are a certificate, and its key if that is new, to be put there.

    ``source`` is where a provided one comes from, for the record.
    """

    installed: Installed
    anchors: Anchors
    outcome: Outcome
    check: bool = False
    thorough: bool = False
    fresh: dict[str, bytes] = field(default_factory=dict)
    source: dict[str, Any] | None = None

    def settle(self, facts: Facts) -> None:
        """Write what differs, remove what is left over, and record ``facts`` of the pair."""
        pair = {name: self.fresh.get(name) or self.installed.found[name].content for name in (KEY, CERTIFICATE)}
        chain = pair[CERTIFICATE] + self.anchors.intermediates
        pending = self._differing({**pair, CHAIN: chain, **self._trusted()})
        bundle, bundled = self._bundle(chain)
        self._write({**pending, **bundle})
        self._tidy()
        self._record(facts, digest(pair[KEY], pair[CERTIFICATE]), bundled)
        self._note_lists()
        self.outcome.after = facts

    def settle_trust(self) -> None:
        """The same where there is no pair, but only CAs to trust: whatever else is there is left over."""
        self._write(self._differing(self._trusted()))
        self._tidy()
        self._record(None, None, None)
        self._note_lists()

    def _trusted(self) -> dict[str, bytes]:
        """The CAs to trust, and what these have withdrawn."""
        return {CA: self.anchors.trust, **({CRL: self.anchors.crl} if self.anchors.crl else {})}

    def _note_lists(self) -> None:
        """Say when the lists end that are there now."""
        there = self.installed.content(CRL) if self.check else self.anchors.crl
        ends = [der.list_end(block) for block in der.blocks(there or b"", der.LIST)]
        self.outcome.lists_end = min(ends, default=None)

    def _write(self, contents: dict[str, bytes]) -> None:
        if self.check:
            return
        with files.Writes(self.installed.path or "") as writes:
            for name, content in contents.items():
                writes.add(name, content, MODES[name])
            writes.commit()

    def _repair(self, name: str, reason: str) -> None:
        self.outcome.repaired(f"{name}: {reason}")
        self.outcome.files.append(name)

    def _differing(self, wanted: dict[str, bytes]) -> dict[str, bytes]:
        differing = {name: content for name, content in wanted.items() if self.installed.content(name) != content}
        for name in differing:
            self._repair(name, "has other content" if name in self.installed.found else "is missing")
        return differing

    def _bundle(self, chain: bytes) -> tuple[dict[str, bytes], str | None]:
        """The PKCS#12 file when it is to be written, and the digest of what will be there with its password."""
        if "pkcs12" not in self.installed.description.formats:
            return {}, None
        problem = "belongs to the former certificate" if self.fresh else self._bundle_problem()
        if not problem:
            return {}, self.installed.digest(BUNDLE, PASSWORD)
        self._repair(BUNDLE, problem)
        if self.check:
            return {}, None
        password = self._password()
        key = self.fresh.get(KEY) or self.installed.found[KEY].content
        content = openssl.bundle(self.installed.description.name, key, chain, self.installed.file(PASSWORD))
        return {BUNDLE: content}, digest(content, password)

    def _password(self) -> bytes:
        """The bundle's password; a new one when there is none."""
        password = self.installed.content(PASSWORD)
        if not password or not re.fullmatch(rb"[A-Za-z0-9_-]{40}", password):
            password = secrets.token_urlsafe(_PASSWORD_BYTES).encode("ascii")
            files.write(self.installed.file(PASSWORD), password, MODES[PASSWORD])
            self.outcome.files.append(PASSWORD)
        return password

    def _bundle_problem(self) -> str | None:
        installed = self.installed
        current = installed.digest(BUNDLE, PASSWORD)
        if current is None:
            return "is missing, or its password is"
        proven = (installed.record.get("bundle"), installed.record.get("certificate"))
        if not self.thorough and proven == (current, installed.digest(KEY, CERTIFICATE)):
            return None
        inside = openssl.bundle_content(installed.file(BUNDLE), installed.file(PASSWORD))
        if inside is None:
            return "doesn't open with its password"
        public, certificate = inside
        blocks = der.blocks(installed.found[CERTIFICATE].content)
        if certificate != blocks[0] or public != der.certificate(blocks[0]).public_key:
            return "holds another key or certificate"
        return None

    def _tidy(self) -> None:
        """Remove what is left over, and put mode and owner right."""
        unwanted = list(self._unwanted())
        for name in unwanted:
            self._repair(name, "isn't needed any more")
            if not self.check:
                os.unlink(self.installed.file(name))
        for name, found in self.installed.found.items():
            if name not in unwanted and name not in self.fresh and not is_own(found, MODES[name]):
                self._own(name, found)

    def _unwanted(self) -> Iterator[str]:
        yield from self.installed.leftovers
        description = self.installed.description
        names = {NEXT_KEY} if "pkcs12" in description.formats else {NEXT_KEY, BUNDLE, PASSWORD}
        if not description.usages:
            names = MODES.keys() - {CA, CRL}
        if not self.anchors.crl:
            names = names | {CRL}
        yield from (name for name in self.installed.found if name in names)

    def _own(self, name: str, found: files.Found) -> None:
        """Make a file ours alone, with its mode."""
        self.outcome.repaired("%s: mode %04o, owner %d:%d" % (name, found.mode, found.uid, found.gid))
        path = self.installed.file(name)
        if name in SECRET and (found.mode & 0o077 or found.uid != os.geteuid()):
            self.outcome.warnings.append(
                f"{path} could be read by others than root: who can't rule that out removes that file, and the next "
                "run makes it anew"
            )
        if not self.check:
            with contextlib.suppress(FileNotFoundError):
                os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)
                os.chmod(path, MODES[name])

    def _record(self, facts: Facts | None, pair: str | None, bundled: str | None) -> None:
        """Write down what was proven of which files, so that the next run needs no openssl."""
        installed = self.installed
        record: dict[str, Any] = {
            "version": RECORD_VERSION,
            "name": installed.description.name,
            "federation": installed.description.federation,
            "certificate": pair,
            "bundle": bundled,
            "facts": asdict(facts) if facts else None,
        }
        if self.source:
            record["provided"] = self.source
        text = json.dumps(record, indent=1, sort_keys=True) + "\n"
        if installed.record == json.loads(text) and installed.record_is_roots:
            return
        if not self.outcome.changed:
            self.outcome.repaired("the record of what was verified is missing, of other files, or not root's alone")
        if not self.check and installed.record_path:
            files.write(installed.record_path, text.encode("utf-8"), RECORD_MODE)
