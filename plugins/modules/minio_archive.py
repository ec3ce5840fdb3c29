#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: minio_archive
short_description: The objects of MinIO's buckets in one encrypted file, and back
description:
  - With O(recipient) writes all objects of the servers' buckets, in their present version and with what their writers
    said of them, into one file that is encrypted while it is written. Only the holder of the private key reads it.
  - With O(identity), that private key, puts the objects of such a file in the place of those in the buckets. Objects
    that the file doesn't have are deleted, and those that are as they were stay as they are. Nothing is touched unless
    all of the file can be read.
  - The file is what the program C(age) makes of a tar archive.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  servers:
    description: Instances of the role C(minio) with C(name), C(port), C(tls) and C(buckets), complete with their
      defaults.
    type: list
    elements: dict
    required: true
  path:
    description: The file that is read, on the host. One that is written gets a name of its own.
    type: path
  recipient:
    description: Public key of age. The file is written then.
    type: str
  identity:
    description: Private key of age. The file is read then.
    type: str
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: Writes no file, and restores nothing. A file that isn't there yet counts as one that changes something.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: What is restored already isn't restored again. A file is written each time, which changes no bucket.
requirements:
  - age
"""

EXAMPLES = r"""
- name: Write a backup
  fedlearn.infra.minio_archive:
    servers: "{{ minio_instances | fedlearn.infra.checked('minio_instances') }}"
    recipient: age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
  become: true
"""

RETURN = r"""
path:
  description: The file that was written. Only who came, before becoming root, may read it.
  returned: with O(recipient), but in check mode
  type: str
objects:
  description: How many objects were written, or had to be restored or deleted.
  returned: success
  type: int
"""

import os
import tempfile

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fedlearn.infra.plugins.module_utils._minio import archive
from ansible_collections.fedlearn.infra.plugins.module_utils._minio.client import (
    Client,
    MinioError,
    UnansweredError,
    administrator,
)


def connected(wanted: dict) -> tuple[str, Client, list]:
    """A server as its administrator, and its buckets."""
    client = administrator(wanted["name"], wanted["port"], (wanted.get("tls") or {}).get("ca"))
    client.wait()
    return wanted["name"], client, [bucket["name"] for bucket in wanted["buckets"]]


def written(recipient: str, servers: list) -> tuple[str, int]:
    """The file with all objects, whole, and how many they are."""
    descriptor, path = tempfile.mkstemp(prefix="fedlearn-minio-", suffix=".tar.age", dir="/var/tmp")
    try:
        with open(descriptor, "wb") as file:
            count = archive.dump(file, recipient, servers)
    except BaseException:
        os.unlink(path)
        raise
    # encrypted, so whoever came may fetch it: through become it would have to fit into memory
    os.chown(path, int(os.environ.get("SUDO_UID", "0")), -1)
    return path, count


def main() -> None:
    """Writes or reads the file."""
    module = AnsibleModule(
        argument_spec={
            "servers": {"type": "list", "elements": "dict", "required": True},
            "path": {"type": "path"},
            "recipient": {"type": "str"},
            "identity": {"type": "str", "no_log": True},
        },
        mutually_exclusive=[["recipient", "identity"]],
        required_one_of=[["recipient", "identity"]],
        required_by={"identity": ["path"]},
        supports_check_mode=True,
    )
    given = module.params
    if module.check_mode and given["identity"] and not os.path.exists(given["path"]):
        module.exit_json(changed=True, objects=0)
    try:
        servers = [connected(wanted) for wanted in given["servers"]]
        if given["identity"]:
            restore = archive.Restore(given["path"], given["identity"], servers)
            if not module.check_mode:
                restore.run()
            count = len(restore.differing) + len(restore.superfluous)
            result = {"changed": count > 0, "objects": count}
        elif module.check_mode:
            listed = (client.objects(bucket) for _name, client, buckets in servers for bucket in buckets)
            result = {"changed": False, "objects": sum(1 for keys in listed for _key in keys)}
        else:
            path, count = written(given["recipient"], servers)
            result = {"changed": False, "objects": count, "path": path}
    except (archive.ArchiveError, MinioError, UnansweredError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
