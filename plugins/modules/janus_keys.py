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
    unpadded base64url. Only root reads it; its first key is the one that seals.
  - A keyring that is there is looked at and never changed. What it returns of a key is a commitment, by which a copy of
    it can be recognised, and nothing that leads back to it.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  keyrings:
    description: Names of the keyrings.
    type: list
    elements: str
    required: true
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
    details: A keyring is made once.
notes:
  - Needs root.
"""

EXAMPLES = r"""
- name: Make the leader's datastore keys
  fedlearn.infra.janus_keys:
    keyrings: [demo-survey-leader]
  become: true
  register: keys
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
"""

import base64
import hashlib
import os
import re
import secrets

from ansible.module_utils.basic import AnsibleModule

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
KEY = re.compile(r"[A-Za-z0-9_-]{22}")
STANDARD = re.compile(r"[A-Za-z0-9+/]{22}")
BYTES = 16
LABEL = b"fedlearn: a datastore key of Janus\n"


class KeyringError(Exception):
    """What is wrong with a keyring; never says what is in it."""


def path_of(name: str) -> str:
    """Where a keyring lies."""
    return f"/var/lib/fedlearn-{name}/datastore-keys"


def new_key() -> str:
    """A key as Janus wants it in its environment."""
    return base64.urlsafe_b64encode(secrets.token_bytes(BYTES)).decode().rstrip("=")


def commitment(key: str) -> str:
    """By what a key is known elsewhere: 128 random bits can't be guessed from it."""
    return hashlib.sha256(LABEL + base64.urlsafe_b64decode(key + "==")).hexdigest()


def keys_of(text: str) -> list:
    """The keys of a keyring. Raises KeyringError for one that Janus would refuse."""
    keys = text.strip().split(",")
    for place, key in enumerate(keys, 1):
        if KEY.fullmatch(key):
            continue
        if STANDARD.fullmatch(key):
            raise KeyringError(
                f"key {place} is in base64's standard alphabet, as generation A has it: "
                "B and C want '-' for '+' and '_' for '/'"
            )
        raise KeyringError(f"key {place} isn't {BYTES} bytes in unpadded base64url")
    return keys


def read(path: str) -> list | None:
    """The keys of a keyring that is there."""
    try:
        with open(path, encoding="ascii") as file:
            return keys_of(file.read())
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise KeyringError("there is something in it that is no key") from None


def write(path: str, keys: list) -> None:
    """A keyring, whole or not at all, on the disk when this returns."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    temporary = f"{path}.fedlearn-new"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(",".join(keys) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def converge(names: list, check: bool) -> dict:
    """What there is, and what was made."""
    commitments, made = {}, []
    for name in dict.fromkeys(names):
        if not NAME.fullmatch(name):
            raise KeyringError(f"'{name}' is no name of a keyring")
        path = path_of(name)
        try:
            keys = read(path)
        except KeyringError as error:
            raise KeyringError(f"{path}: {error}") from None
        if keys is None:
            made.append(name)
            if check:
                continue
            keys = [new_key()]
            write(path, keys)
        commitments[name] = [commitment(key) for key in keys]
    return {"changed": bool(made), "made": made, "commitments": commitments}


def main() -> None:
    """Makes what is missing."""
    module = AnsibleModule(
        argument_spec={"keyrings": {"type": "list", "elements": "str", "required": True, "no_log": False}},
        supports_check_mode=True,
    )
    try:
        module.exit_json(**converge(module.params["keyrings"], module.check_mode))
    except (KeyringError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
