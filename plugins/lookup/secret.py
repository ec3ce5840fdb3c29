# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: secret
short_description: A secret of a party, by name
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
description:
  - Reads C(<state_directory>/.secrets/<party>.yml), which M(fedlearn.infra.secrets) writes and ansible-vault
    encrypts. It is
    decrypted in memory only.
  - With O(backend) another lookup is asked instead, such as P(community.hashi_vault.hashi_vault#lookup).
options:
  _terms:
    description: Names of secrets.
    required: true
    type: list
    elements: str
  party:
    description: The party whose secrets they are.
    type: str
    vars:
      - name: fedlearn_party
  state_directory:
    description:
      - Directory on the control node below which C(.secrets/) lies. Where C(fedlearn_state) is the URL of a git
        repository, that is its working copy.
    type: path
    vars:
      - name: fedlearn_state
  turns:
    description:
      - Give for each name in C(valid) the values that are valid of a secret that comes in turns, of C(a), of C(b) or
        of both, and in C(newest) the turn to use. A O(backend) has one value only, of C(a).
    type: bool
    default: false
  newest_only:
    description: With O(turns) leave nothing but the newest value in C(valid), as where the former one is withdrawn.
    type: bool
    default: false
  backend:
    description:
      - Another lookup to ask, instead of the file.
      - C(lookup) is its name, C(term) what it is given, in which C({party}) and C({name}) are replaced, C(options)
        its options.
    type: dict
    default: {}
    vars:
      - name: fedlearn_secret_backend
  ca_passphrase_file:
    description:
      - A file of the control node with the passphrase of the party's own CAs, as AWX lays one for a credential. Then it
        is asked for the secrets of C(fedlearn_authorities), and neither the party's file nor O(backend) is.
    type: path
    vars:
      - name: fedlearn_ca_passphrase_file
notes:
  - Set C(no_log) on tasks that use it.
seealso:
  - module: fedlearn.infra.secrets
"""

EXAMPLES = r"""
- name: Write a password file
  ansible.builtin.copy:
    content: "{{ lookup('fedlearn.infra.secret', 'survey_database') }}"
    dest: /etc/example/password
    mode: "0600"
  no_log: true

- name: Take the same secret out of HashiCorp Vault
  ansible.builtin.debug:
    msg: "{{ lookup('fedlearn.infra.secret', 'survey_database') | length }}"
  vars:
    fedlearn_secret_backend:
      lookup: community.hashi_vault.hashi_vault
      term: "secret=kv/data/fedlearn/{party}:{name}"
      options:
        url: https://vault.example:8200
"""

RETURN = r"""
_raw:
  description: The values, in the order of the names; a dictionary for each with O(turns).
  type: list
  elements: raw
"""

import os.path
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleLookupError
from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase

from ansible_collections.fedlearn.infra.plugins.module_utils._pki.files import FileTroubleError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.names import secret_name
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.vaultfile import (
    SECRET_NAME,
    VaultFile,
    VaultTroubleError,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.location import directory_of

_VARIABLES = ("fedlearn_party", "fedlearn_state", "fedlearn_secret_backend", "fedlearn_ca_passphrase_file")


class LookupModule(LookupBase):  # type: ignore[misc]
    """See DOCUMENTATION."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """The value of each name; AnsibleLookupError for one that isn't there."""
        # core hands variables on as written, templates unrendered
        known = variables or {}
        given = {name: self._templar.template(known[name]) for name in _VARIABLES if known.get(name)}
        if "fedlearn_state" in given:
            given["fedlearn_state"] = directory_of(given["fedlearn_state"])
        self.set_options(var_options=given, direct=kwargs)
        party = self.get_option("party")
        if not party:
            raise AnsibleLookupError("secret: whose secret? Give party=NAME or set fedlearn_party")
        for name in terms:
            if not isinstance(name, str) or not SECRET_NAME.fullmatch(name):
                raise AnsibleLookupError(f"secret: {str(name)[:60]!r} is no name of a secret")
        names = [str(name) for name in terms]
        passphrases = self._passphrases(known, names)
        others = [name for name in names if name not in passphrases]
        found = dict(zip(others, self._kept(party, others, known), strict=True)) if others else {}
        return [passphrases.get(name) or found[name] for name in names]

    def _kept(self, party: str, names: list[str], known: dict[str, Any]) -> list[Any]:
        """What the backend has of each name, or the party's file."""
        backend = self.get_option("backend")
        if backend:
            values = self._from_backend(backend, party, names, known)
            return [{"valid": {"a": value}, "newest": "a"} for value in values] if self.get_option("turns") else values
        document = str(known.get("fedlearn_document") or "YOUR_INVENTORY")
        found = self._from_file(party, names, document)
        if self.get_option("turns") and self.get_option("newest_only"):
            return [{**one, "valid": {one["newest"]: one["valid"][one["newest"]]}} for one in found]
        return found

    def _passphrases(self, known: dict[str, Any], names: list[str]) -> dict[str, str]:
        """Of the names those of CAs, where their passphrase lies in a file of its own."""
        file = self.get_option("ca_passphrase_file")
        if not file:
            return {}
        authorities = self._templar.template(known.get("fedlearn_authorities") or [])
        wanted = {secret_name(each["name"]) for each in authorities} & set(names)
        if not wanted:
            return {}
        try:
            passphrase = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise AnsibleLookupError(f"secret: the passphrase of CAs, {file}, can't be read: {error}") from None
        if not passphrase:
            raise AnsibleLookupError(
                f"secret: {file} is to have the passphrase of CAs, and is empty: fill that credential in"
            )
        return dict.fromkeys(wanted, passphrase)

    def _from_file(self, party: str, names: list[str], document: str) -> list[Any]:
        state = self.get_option("state_directory")
        if not state:
            raise AnsibleLookupError("secret: where? Give state_directory=PATH or set fedlearn_state")
        try:
            file = VaultFile(state, party, self._loader._vault)
            values = file.read()
        except (VaultTroubleError, FileTroubleError) as error:
            raise AnsibleLookupError(f"secret: {error}") from None
        missing = [name for name in names if not values.get(name)]
        if missing:
            there = "has" if os.path.lexists(file.path) else f"isn't there, so party {party} has"
            raise AnsibleLookupError(
                f"secret: {file.path} {there} no {' and no '.join(missing)}: run "
                f"ansible-playbook -i {document} fedlearn.infra.secrets"
            )
        return (
            [dict(file.turns(name)) for name in names] if self.get_option("turns") else [values[name] for name in names]
        )

    def _from_backend(
        self, backend: dict[str, Any], party: str, names: list[str], variables: dict[str, Any] | None
    ) -> list[str]:
        values, missing = [], []
        for name in names:
            try:
                values.append(self._ask(backend, party, name, variables))
            except AnsibleLookupError as error:
                missing.append(str(error.message))
        if missing:
            raise AnsibleLookupError("; ".join(missing))
        return values

    def _ask(self, backend: dict[str, Any], party: str, name: str, variables: dict[str, Any] | None) -> str:
        unknown = set(backend) - {"lookup", "term", "options"}
        if unknown or not isinstance(backend.get("lookup"), str):
            raise AnsibleLookupError("secret: backend takes lookup (a name), term and options")
        lookup = lookup_loader.get(backend["lookup"], loader=self._loader, templar=self._templar)
        if lookup is None:
            raise AnsibleLookupError(f"secret: the backend's lookup {backend['lookup']} isn't installed")
        term = str(backend.get("term", "{name}")).replace("{party}", party).replace("{name}", name)
        try:
            values = lookup.run([term], variables=variables, **(backend.get("options") or {}))
        except AnsibleError as error:
            raise AnsibleLookupError(
                f"secret: {backend['lookup']} has no {name} of party {party} ({term}): {error.message}"
            ) from None
        if len(values) != 1 or not isinstance(values[0], str) or not values[0]:
            raise AnsibleLookupError(
                f"secret: {backend['lookup']} gave no single text for {name} of party {party} ({term})"
            )
        return values[0]
