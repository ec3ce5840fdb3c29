#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: janus_keys
short_description: Datastore keys of Janus, made on the host that uses them
description:
  - Makes a keyring where there is none, C(/var/lib/fedlearn-NAME/datastore-keys), with one key of 16 random bytes in
    unpadded base64url. Only root reads it; its first key is the one that seals, all of them open.
  - What it returns of a key is a commitment, by which a copy of it can be recognised, and nothing that leads back to
    it.
  - A key is replaced in steps, between which all that use the keyring load it. With V(add) another key opens, with
    V(promote) it seals. The one that sealed before stays in the keyring until V(withdraw), which first opens with the
    remaining key all that Janus sealed in its database, and withdraws nothing as long as a row doesn't open.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  keyrings:
    description: Names of the keyrings.
    type: list
    elements: str
    required: true
  step:
    description:
      - V(make) leaves a keyring that is there as it is.
      - The others are the steps of a replacement, each taken once however often it is asked for.
    type: str
    choices: [make, add, promote, withdraw]
    default: make
  databases:
    description: For V(withdraw), the database of each keyring.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: The keyring that it is sealed with., type: str, required: true}
      host: {description: Where PostgreSQL is., type: str, required: true}
      port: {description: Its port., type: int, required: true}
      database: {description: The database., type: str, required: true}
      user: {description: The login., type: str, required: true}
      ca: {description: CA of its certificate; without it there is no TLS., type: path}
  passwords:
    description: The login's password, by O(databases[].name).
    type: dict
    default: {}
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: With V(withdraw) it looks at the database, too.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: A keyring is made once, and so is each step of a replacement; V(add) after V(promote) begins another one.
notes:
  - Needs root.
requirements:
  - psycopg2 and cryptography, for V(withdraw) (Debian's python3-psycopg2 and python3-cryptography)
"""

EXAMPLES = r"""
- name: Make the leader's datastore keys
  fedlearn.infra.janus_keys:
    keyrings: [demo-survey-leader]
  become: true
  register: keys

- name: Withdraw those that don't seal any more
  fedlearn.infra.janus_keys:
    keyrings: [demo-survey-leader]
    step: withdraw
    databases:
      - {name: demo-survey-leader, host: 127.0.0.1, port: 5432, database: janus, user: program_a}
    passwords: {demo-survey-leader: "{{ lookup('fedlearn.infra.secret', 'survey_leader_database') }}"}
  become: true
"""

RETURN = r"""
commitments:
  description: Of each keyring that is there the commitments to its keys, the one that seals first.
  returned: always
  type: dict
  sample: {demo-survey-leader: [5f0c9a0e3ab1f1b5c0a86a2c8cb4f2a8c9e2b0d5f4dd4de9be8a1e2f7a1c5d3e]}
made:
  description: The keyrings that were or would be made.
  returned: always
  type: list
  elements: str
shut:
  description: Of each keyring the columns with rows that the remaining key doesn't open, and how many there are.
  returned: when there are any
  type: dict
  sample: {demo-survey-leader: {tasks.vdaf_verify_key: 3}}
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.fedlearn.infra.plugins.module_utils._janus import database, keyring, sealed
from ansible_collections.fedlearn.infra.plugins.module_utils._janus.keyring import KeyringError

if database.PSYCOPG2_TROUBLE is None:
    import psycopg2

CHANGES = {"add": keyring.add, "promote": keyring.promote, "withdraw": keyring.withdraw}


class ShutError(KeyringError):
    """Rows that would not open any more."""

    def __init__(self, name: str, shut: dict) -> None:
        columns = ", ".join(f"{count} of {column}" for column, count in shut.items())
        super().__init__(
            f"keyring {name}: {sum(shut.values())} rows open with a key only that would be withdrawn: {columns}. It "
            "stays; they go with their tasks"
        )
        self.shut = {name: shut}


def look(name: str, keys: list, given: dict, password: str) -> None:
    """Raises ShutError when a row of the keyring's database doesn't open with these keys."""
    try:
        connection = database.connect(given, password)
        try:
            found = sealed.shut(connection, keys)
        finally:
            connection.close()
    except (psycopg2.Error, sealed.SealedError) as error:
        raise KeyringError(f"keyring {name}: database '{given['database']}': {str(error).strip()}") from None
    if found:
        raise ShutError(name, found)


def take(step: str, name: str, keys: list, check: bool, databases: dict, passwords: dict) -> list:
    """The keyring after a step; withdrawing looks at its database first."""
    path = keyring.path_of(name)
    if step == "withdraw" and len(keys) > 1:
        remaining = keyring.withdraw(path, keys, True)
        if name not in databases:
            raise KeyringError(f"keyring {name}: no database is named that it could be looked at in")
        look(name, remaining, databases[name], passwords.get(name, ""))
    return CHANGES[step](path, keys, check)


def converge(
    names: list, check: bool, step: str = "make", databases: dict | None = None, passwords: dict | None = None
) -> dict:
    """What there is, and what was made or changed."""
    commitments, made, changed = {}, [], False
    for name in dict.fromkeys(names):
        if not keyring.NAME.fullmatch(name):
            raise KeyringError(f"'{name}' is no name of a keyring")
        path = keyring.path_of(name)
        try:
            keys = keyring.read(path)
        except KeyringError as error:
            raise KeyringError(f"{path}: {error}") from None
        if keys is None:
            made.append(name)
            if check:
                continue
            keys = [keyring.new_key()]
            keyring.write(path, keys)
        elif step != "make":
            wanted = take(step, name, keys, check, databases or {}, passwords or {})
            changed, keys = changed or wanted != keys, wanted
        commitments[name] = [keyring.commitment(key) for key in keys]
    return {"changed": changed or bool(made), "made": made, "commitments": commitments}


def main() -> None:
    """Makes what is missing, or takes a step."""
    module = AnsibleModule(
        argument_spec={
            "keyrings": {"type": "list", "elements": "str", "required": True, "no_log": False},
            "step": {"type": "str", "choices": ["make", *CHANGES], "default": "make"},
            "databases": {"type": "list", "elements": "dict", "default": [], "options": database.OPTIONS},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    if given["step"] == "withdraw":
        if database.PSYCOPG2_TROUBLE is not None:
            module.fail_json(msg=missing_required_lib("psycopg2"), exception=database.PSYCOPG2_TROUBLE)
        if not sealed.HAS_CRYPTOGRAPHY:
            module.fail_json(msg=missing_required_lib("cryptography"))
    databases = {one["name"]: one for one in given["databases"]}
    try:
        module.exit_json(**converge(given["keyrings"], module.check_mode, given["step"], databases, given["passwords"]))
    except ShutError as error:
        module.fail_json(msg=str(error), shut=error.shut)
    except (KeyringError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
