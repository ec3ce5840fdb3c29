#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup
short_description: Bring a copy of a host's data to the control node
description:
  - Has a script collect the data in a folder of the host, packs that folder into one file, which is encrypted while it
    is written, and fetches it as C(<directory>/<host>/<name>-<time>.tar), with C(.age) where it is encrypted.
  - The file has its name once all of it is there and has the digest that the host made. Nothing stays on the host.
  - M(fedlearn.infra.restore) puts it back.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  name:
    description: What the file's name begins with; the role.
    type: str
    required: true
  collect:
    description: A script of bash that puts the data into the folder C($room).
    type: str
    required: true
  pack:
    description: The command that writes C($room) as a tar archive to its output.
    type: str
    default: tar -C "$room" -cf - .
  directory:
    description: The folder on the control node. Below it each host has one that nobody but the user reads.
    type: path
    required: true
  recipient:
    description: Public key of age that the file is encrypted for; empty for none.
    type: str
    default: ''
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: Collects and brings nothing.
  diff_mode:
    support: none
  idempotent:
    support: none
    details: Each run brings a further file. The host is as it was.
requirements:
  - age, where there is a recipient
seealso:
  - module: fedlearn.infra.restore
"""

EXAMPLES = r"""
- name: Bring the data here
  fedlearn.infra.backup:
    name: redis
    collect: /bin/sh /etc/fedlearn/redis/store/server.sh dump "$room"
    directory: /srv/backups
    recipient: age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
  become: true
"""

RETURN = r"""
dest:
  description: The file on the control node.
  returned: success, but in check mode
  type: str
  sample: /srv/backups/store1/redis-20261130T052000Z.tar.age
"""

import re

from ansible.module_utils.basic import AnsibleModule

SCRIPT = """\
set -euo pipefail
umask 077
room=$(mktemp -d /var/tmp/fedlearn-{name}.XXXXXX)
trap 'rm -rf "$room" ${{file:+"$file"}}' EXIT
{{
{collect}
}} >&2
file=$(mktemp /var/tmp/fedlearn-{name}.XXXXXX)
{pack} >"$file"
read -r digest _ < <(sha256sum "$file")
# who fetches it without root: through become it would have to fit into memory
chown "${{SUDO_USER:-root}}" "$file"
echo "$digest $file"
unset file
"""
NAME = re.compile(r"[a-z0-9_]+")
RECIPIENT = re.compile(r"(age1[0-9a-z]{58})?")
"""As the program age-keygen writes a public key."""


def script(name: str, collect: str, pack: str, recipient: str) -> str:
    """The script that collects and packs; its last line has the digest (SHA-256) and the path of the file."""
    encrypted = f"{pack} | age --encrypt --recipient {recipient}" if recipient else pack
    return SCRIPT.format(name=name, collect=collect.strip(), pack=encrypted)


def main() -> None:
    """The part on the host: the file is there, and the action plugin fetches and removes it."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "collect": {"type": "str", "required": True},
            "pack": {"type": "str", "default": 'tar -C "$room" -cf - .'},
            "directory": {"type": "path", "required": True},
            "recipient": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    if module.check_mode:
        module.exit_json(changed=True)
    if not NAME.fullmatch(given["name"]):
        module.fail_json(msg=f"name: {given['name']} is no role: small letters, digits and _")
    if not RECIPIENT.fullmatch(given["recipient"]):
        # not what it is instead: perhaps the private one
        module.fail_json(msg="recipient: it is no public key of age (age1...): `age-keygen` makes a pair")
    code, said, wrong = module.run_command(
        ["/bin/bash", "-c", script(given["name"], given["collect"], given["pack"], given["recipient"])]
    )
    if code != 0:
        module.fail_json(msg=wrong.strip() or f"the data could not be collected: exit code {code}")
    digest, path = said.split()[-2:]
    module.exit_json(changed=False, path=path, digest=digest)


if __name__ == "__main__":
    main()
