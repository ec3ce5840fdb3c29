#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: restore
short_description: Put back what a backup brought
description:
  - Sends a file that M(fedlearn.infra.backup) brought to the host, unpacks it in a folder there, and has a script put
    what is in it in the place of the data that are there. The script begins once all of the file was read.
  - Nothing of the file stays on the host, and what a killed run left there goes with the next one.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  name:
    description: Whose data they are; the role.
    type: str
    required: true
  source:
    description: The file on the control node.
    type: str
    required: true
  directory:
    description: Where backups are looked for, as is told where O(source) is empty.
    type: path
    required: true
  archive:
    description: The file on the host, where the action plugin lays it.
    type: path
  identity:
    description: Private key of age, where the file is encrypted.
    type: str
    default: ''
  put_back:
    description: A script of bash that finds the data in the folder C($room), and ends with another code than 0 where
      they can't be put back.
    type: str
    required: true
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: Sends and puts back nothing.
  diff_mode:
    support: none
  idempotent:
    support: none
    details: Each run puts the data back.
requirements:
  - age, where the file is encrypted
seealso:
  - module: fedlearn.infra.backup
"""

EXAMPLES = r"""
- name: Put the data back
  fedlearn.infra.restore:
    name: redis
    source: "{{ redis_restore_from }}"
    directory: "{{ redis_backup_directory }}"
    identity: "{{ lookup('fedlearn.infra.secret', redis_backup_secret) if redis_backup_secret else '' }}"
    put_back: /bin/sh /etc/fedlearn/redis/store/server.sh restore "$room"
  become: true
"""

RETURN = r""" # """

import os
import shlex
import shutil

from ansible.module_utils.basic import AnsibleModule

ROOM = "/var/lib/fedlearn"
DECRYPT = "age --decrypt --identity /dev/stdin"


def trouble(module: AnsibleModule, room: str, script: str, data: str | None = None) -> str:
    """What a script complains of; empty where it ends well."""
    begin = f"set -euo pipefail; umask 077; room={room}; exec 2>&1\n"
    code, said, _wrong = module.run_command(["/bin/bash", "-c", begin + script], data=data)
    return (said.strip() or f"exit code {code}") if code != 0 else ""


def put_back(module: AnsibleModule, given: dict, room: str) -> str:
    """Why the data weren't put back; empty when they were."""
    read = DECRYPT if given["source"].endswith(".age") else "cat"
    unpack = f'{read} {shlex.quote(given["archive"])} | tar -C "$room" -xf -'
    unreadable = trouble(module, room, unpack, given["identity"])
    if unreadable:
        return f"{given['source']} can't be read whole, and nothing was restored: {unreadable}"
    return trouble(module, room, given["put_back"])


def main() -> None:
    """The part on the host, where the action plugin laid the file."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "source": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "archive": {"type": "path"},
            "identity": {"type": "str", "default": "", "no_log": True},
            "put_back": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True)
    # the same each time, so that what a killed run left goes
    room = os.path.join(ROOM, f"{module.params['name']}-restore")
    shutil.rmtree(room, ignore_errors=True)
    os.makedirs(room, mode=0o700)
    try:
        reason = put_back(module, module.params, room)
    finally:
        shutil.rmtree(room, ignore_errors=True)
    if reason:
        module.fail_json(msg=reason)
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
