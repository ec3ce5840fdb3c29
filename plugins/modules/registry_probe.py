#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_probe
short_description: Whether container registries take an artifact and give it back, in one execution
description:
  - Asks each registry without a login, which it has to refuse, and with each login, which it has to accept. Then the
    first login pushes a tiny OCI artifact and pulls it back.
  - The artifact is the same each time, C(fedlearn-health:latest), so nothing grows. Of a registry that is read only, or
    whose garbage is being collected, no push is asked.
  - It runs on the registries' host. A certificate has to have the name that clients call its registry by.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  registries:
    description:
      - Instances of the role C(registry), complete with their defaults, as P(fedlearn.infra.checked#filter) gives them.
    type: list
    elements: dict
    required: true
  passwords:
    description: The password of each secret that users name.
    type: dict
    default: {}
  turns:
    description:
      - Of each secret of logins with C(turn) the values that are valid, of C(a), of C(b) or of both, as
        P(fedlearn.infra.secret#lookup) gives them with C(turns=true). A login whose turn has none is left out.
    type: dict
    default: {}
  collections:
    description: Also name a registry whose last collection of garbage failed.
    type: bool
    default: false
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: Asks, and pushes nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: What a second push brings is there already.
"""

EXAMPLES = r"""
- name: Push to the registries, and pull from them
  fedlearn.infra.registry_probe:
    registries: "{{ registry_instances | fedlearn.infra.checked('registry_instances') }}"
    passwords:
      registry_ci: "{{ lookup('fedlearn.infra.secret', 'registry_ci') }}"
  become: true
"""

RETURN = r"""
ill:
  description: What is wrong with each registry that isn't well.
  returned: always
  type: dict
  sample: {images: "the login ci was answered 401 instead of 200"}
"""

import base64
import hashlib
import http.client
import json
import os
import socket
import ssl
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fedlearn.infra.plugins.module_utils._turns import settled

REPOSITORY = "/v2/fedlearn-health"
SECONDS = 20
BLOB = b"{}"
NOT_COLLECTED = (
    "the last collection of garbage failed: journalctl -t registry-collect says why, and "
    "systemctl start fedlearn-{}-collect tries again"
)
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


class WrongAnswerError(Exception):
    """What a registry said that it shouldn't have."""


def digest(content: bytes) -> str:
    """How a registry names content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def manifest() -> bytes:
    """An image whose configuration and one layer are the same two bytes."""
    part = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(BLOB), "size": len(BLOB)}
    layer = {**part, "mediaType": "application/vnd.oci.image.layer.v1.tar"}
    image = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": part, "layers": [layer]}
    return json.dumps(image, sort_keys=True).encode()


class NamedConnection(http.client.HTTPSConnection):
    """TLS with an address, checked for a name."""

    def __init__(self, host: str, port: int, name: str, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=SECONDS, context=context)
        self.certified, self.tls = name, context

    def connect(self) -> None:
        """A connection whose certificate has that name."""
        plain = socket.create_connection((self.host, self.port), SECONDS)
        self.sock = self.tls.wrap_socket(plain, server_hostname=self.certified)


class Registry:
    """One registry."""

    def __init__(self, instance: dict, passwords: dict, turns: dict) -> None:
        self.instance = instance
        self.users = [one for one in settled(instance["users"], passwords, turns) if one["state"] == "present"]
        self.tls = instance.get("tls")

    def connection(self) -> http.client.HTTPConnection:
        """A connection of its own for each request: what a registry has answered never shapes the next one."""
        host, port = self.instance["address"], self.instance["port"]
        if not self.tls:
            return http.client.HTTPConnection(host, port, timeout=SECONDS)
        context = ssl.create_default_context(cafile=self.tls["ca"])
        # Python 3.13 began to refuse what the programs themselves accept, such as a CA without a key usage
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self.tls.get("client_ca"):
            context.load_cert_chain(self.tls["client_certificate"], self.tls["client_key"])
        return NamedConnection(host, port, self.instance["certified"]["name"], context)

    def ask(self, what: str, wanted: int, method: str, path: str, user: dict | None, **sent: object) -> tuple:
        """Headers and content of an answer. Raises WrongAnswerError for another status than the one wanted."""
        headers = dict(sent.get("headers") or {})
        if user:
            login = f"{user['name']}:{user['password']}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        connection = self.connection()
        try:
            connection.request(method, path, body=sent.get("body"), headers=headers)
            answer = connection.getresponse()
            content = answer.read(1_000_000)
        finally:
            connection.close()
        if answer.status != wanted:
            raise WrongAnswerError(f"{what} was answered {answer.status} instead of {wanted}{told(content)}")
        return answer.headers, content

    def probe(self, push: bool = True) -> None:
        """All that is asked of it."""
        self.ask("a request without a login", 401, "GET", "/v2/", None)
        for user in self.users:
            self.ask(f"the login {user['name']}", 200, "GET", "/v2/", user)
        collecting = f"/run/fedlearn-{self.instance['name']}-collect"
        if push and not self.instance.get("read_only") and not os.path.exists(collecting):
            self.push(self.users[0])
            self.pull(self.users[0])

    def push(self, user: dict) -> None:
        """Content, then the manifest that names it."""
        headers, _content = self.ask("the begin of a push", 202, "POST", f"{REPOSITORY}/blobs/uploads/", user)
        place = urlsplit(headers["Location"])
        query = f"{place.query}&digest={digest(BLOB)}".lstrip("&")
        sent = {"headers": {"Content-Type": "application/octet-stream"}, "body": BLOB}
        self.ask("the push of a layer", 201, "PUT", f"{place.path}?{query}", user, **sent)
        sent = {"headers": {"Content-Type": MANIFEST_TYPE}, "body": manifest()}
        self.ask("the push of a manifest", 201, "PUT", f"{REPOSITORY}/manifests/latest", user, **sent)

    def pull(self, user: dict) -> None:
        """The same, byte by byte."""
        accept = {"Accept": MANIFEST_TYPE}
        _headers, found = self.ask(
            "the pull of a manifest", 200, "GET", f"{REPOSITORY}/manifests/latest", user, headers=accept
        )
        _headers, layer = self.ask("the pull of a layer", 200, "GET", f"{REPOSITORY}/blobs/{digest(BLOB)}", user)
        if (found, layer) != (manifest(), BLOB):
            raise WrongAnswerError("what was pulled isn't what was pushed")


def told(content: bytes) -> str:
    """The reason that an answer gives."""
    try:
        return "".join(f": {one['message']}" for one in json.loads(content)["errors"][:1])
    except (ValueError, KeyError, TypeError):
        return ""


def failed_collections(module: AnsibleModule) -> list:
    """Units whose last collection failed."""
    listed = ["systemctl", "list-units", "--plain", "--no-legend", "--full", "--state=failed"]
    _code, output, _errors = module.run_command([*listed, "fedlearn-*-collect.service"], check_rc=True)
    return [line.split()[0] for line in output.splitlines() if line.strip()]


def main() -> None:
    """Probes each registry; what is wrong with one leaves the others alone."""
    module = AnsibleModule(
        argument_spec={
            "registries": {"type": "list", "elements": "dict", "required": True},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
            "turns": {"type": "dict", "default": {}, "no_log": True},
            "collections": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    ill = {}
    failed = failed_collections(module) if module.params["collections"] else []
    for instance in module.params["registries"]:
        try:
            Registry(instance, module.params["passwords"], module.params["turns"]).probe(not module.check_mode)
        except (WrongAnswerError, OSError, http.client.HTTPException) as error:
            ill[instance["name"]] = str(error) or type(error).__name__
        if f"fedlearn-{instance['name']}-collect.service" in failed:
            ill.setdefault(instance["name"], NOT_COLLECTED.format(instance["name"]))
    module.exit_json(changed=False, ill=ill)


if __name__ == "__main__":
    main()
