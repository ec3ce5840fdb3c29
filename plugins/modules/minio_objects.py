#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: minio_objects
short_description: Buckets, policies and users of MinIO servers, in one execution
description:
  - Brings what is in the servers of the role C(minio) to what their instances say. It comes by the loopback address, as
    the administrator whose password the server made at its first start and root may read.
  - A client is a user with one policy, which allows its bucket and no other. Clients of one bucket and access share the
    policy, so that two names can be used in turn while a password is changed.
  - Whether a password is right is asked as a client would, by a signed request.
  - Buckets, policies and users that are listed no more stay as they are.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  servers:
    description: Instances of the role with C(name), C(port), C(tls), C(buckets) and C(clients), complete with their
      defaults.
    type: list
    elements: dict
    required: true
  passwords:
    description: The password of each secret that clients name.
    type: dict
    default: {}
  turns:
    description:
      - Of each secret of logins with C(turn) the values that are valid, of C(a), of C(b) or of both, as
        P(fedlearn.infra.secret#lookup) gives them with C(turns=true). A login whose turn has none is taken away.
    type: dict
    default: {}
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: A server that doesn't answer, as before its first start, is named in RV(unanswered).
  diff_mode:
    support: full
    details: Shows what changes in words; never a password.
  idempotent:
    support: full
requirements:
  - cryptography (Debian's python3-cryptography)
"""

EXAMPLES = r"""
- name: Converge what is in the servers
  fedlearn.infra.minio_objects:
    servers: "{{ minio_instances | fedlearn.infra.checked('minio_instances') }}"
    passwords:
      imaging_storage: "{{ lookup('fedlearn.infra.secret', 'imaging_storage') }}"
  become: true
"""

RETURN = r"""
changes:
  description: What was or would be changed in each server, in words; only servers in which something was.
  returned: always
  type: dict
  sample: {store: ["bucket imaging: made", "client imaging_a: password"]}
unanswered:
  description: In check mode, servers that don't answer.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.fedlearn.infra.plugins.module_utils._minio.client import MinioError, UnansweredError
from ansible_collections.fedlearn.infra.plugins.module_utils._minio.objects import Server

try:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    CRYPTOGRAPHY = True
except ImportError:
    CRYPTOGRAPHY = False


def seal(key: bytes, nonce: bytes, text: bytes, vouched: bytes) -> bytes:
    """AES-256-GCM."""
    return AESGCM(key).encrypt(nonce, text, vouched)


def main() -> None:
    """Converges each server; what goes wrong in one leaves the others alone."""
    module = AnsibleModule(
        argument_spec={
            "servers": {"type": "list", "elements": "dict", "required": True},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
            "turns": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    result: dict = {"changed": False, "changes": {}, "unanswered": []}
    if not CRYPTOGRAPHY and not module.check_mode:
        module.fail_json(msg=missing_required_lib("cryptography"), **result)
    wrong = []
    for wanted in module.params["servers"]:
        secrets = module.params["passwords"], module.params["turns"]
        server = Server(wanted, *secrets, module.check_mode, seal)
        try:
            server.converge()
        except UnansweredError as error:
            if module.check_mode and not server.reached:
                result["unanswered"].append(server.name)
            else:
                wrong.append(f"{server.name}: {server.doing}: {error}")
        except MinioError as error:
            wrong.append(f"{server.name}: {server.doing}: {error}")
        if server.changes:
            result["changes"][server.name] = server.changes
    result["changed"] = bool(result["changes"] or result["unanswered"])
    if module._diff:
        after = [f"{name}: {what}\n" for name, whats in sorted(result["changes"].items()) for what in whats]
        result["diff"] = {"before": "", "after": "".join(after)}
    if wrong:
        module.fail_json(msg="\n".join(wrong), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
