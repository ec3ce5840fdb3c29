#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: refusals
short_description: Try whether an nginx refuses whom it is to refuse, and answers as itself
description:
  - Asks each listener as a client that must not be served, from the host itself, and says whether it was refused.
  - Tried are TLS below 1.2, where the listener speaks TLS; a client without a certificate, where it asks for one;
    an unknown Host, with TLS as SNI name too, where it has names and asks for no certificate (else the missing
    certificate is refused first).
  - Also looks whether a listener shows the certificate that is its own. Where it doesn't, another site answers there,
    or nginx hasn't loaded what lies on the disk.
  - Also asks O(program) whether it would take the files that lie there, if it had to start again, and looks whether a
    certificate, CA or list of withdrawn ones that it reads for one of O(listeners) has ended.
  - Sends one C(GET) for each trial, which nginx answers itself; a listener that doesn't refuse passes it on.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  listeners:
    description: Where sites listen.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The site.
        type: str
        required: true
      address:
        description: Numeric address.
        type: str
        required: true
      port:
        description: Port.
        type: int
        required: true
      tls:
        description: Whether it speaks TLS.
        type: bool
        required: true
      certificates:
        description: Whether it asks clients for certificates.
        type: bool
        required: true
      server_name:
        description: One of the names it is for; empty where it is for any.
        type: str
        required: true
      certificate:
        description: The file on the host that holds its own certificate; empty where it is not to be compared.
        type: path
        default: ''
      guarded_path:
        description: Where only some paths need a certificate, one of these.
        type: str
        default: ''
  program:
    description: The program nginx, an absolute path on the host; without it its files aren't looked at.
    type: path
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: It changes nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: It never changes anything.
seealso:
  - module: fedlearn.infra.well
"""

EXAMPLES = r"""
- name: Try what the site is to refuse
  fedlearn.infra.refusals:
    listeners:
      - {name: rest, address: 10.20.0.11, port: 11202, tls: true, certificates: true, server_name: ''}
  register: nginx_tried
"""

RETURN = r"""
checks:
  description: What was tried, a row each; one that couldn't be tried has not passed.
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: "The site, where, and what it is to do.", type: str}
    passed: {description: Whether it did., type: bool}
    detail: {description: How it answered., type: str}
ill:
  description: Site by site, whom it did not refuse, that another one answers, or what has ended; by C(nginx), which of
    its files it wouldn't start with. What couldn't be tried is not in it.
  returned: always
  type: dict
"""

import re
import socket
import ssl
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fedlearn.infra.plugins.module_utils._nginx import ended_files, refusal

SECONDS = 5.0
FIRST_CERTIFICATE = "-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----"
UNKNOWN = "unknown.invalid"  # no name can end in that, RFC 2606
NO_CERTIFICATE = "No required SSL certificate was sent"  # in nginx's own 400
FORBIDDEN = "<center><h1>403 Forbidden</h1></center>"  # in nginx's own 403, where others of its paths need none


class UntriedError(Exception):
    """There was no answer to judge by."""


def ended(error: OSError) -> str:
    """How the other side ended a connection; UntriedError when it was not the other side."""
    if isinstance(error, (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "closed the connection"
    reason = getattr(error, "reason", None) or ""
    if isinstance(error, ssl.SSLError) and "ALERT" in reason:
        return reason.lower().replace("_", " ")
    raise UntriedError(str(error))


def context() -> ssl.SSLContext:
    """That of a client which isn't asking whom it speaks with, and sends nothing of worth."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def connect(listener: dict) -> socket.socket:
    try:
        return socket.create_connection((listener["address"], listener["port"]), timeout=SECONDS)
    except OSError as error:
        raise UntriedError(str(error)) from None


def get(listener: dict, name: str, path: str = "/") -> str:
    """What is answered to a GET that asks for a name, head and body; empty where the connection ends instead."""
    with connect(listener) as plain:
        stream = context().wrap_socket(plain, server_hostname=name or None) if listener["tls"] else plain
        with stream:
            host = name or listener["address"]
            host = f"[{host}]" if ":" in host else host
            stream.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode("ascii"))
            answer = b""
            while len(answer) < 65536:
                more = stream.recv(4096)
                if not more:
                    break
                answer += more
    return answer.decode("latin-1")


def answered(answer: str) -> str:
    return f"answered {answer.splitlines()[0][:80]}" if answer else "closed the connection"


def old_tls(listener: dict) -> tuple:
    """Speaks TLS 1.1 or 1.0, as nobody is to any more."""
    asking = context()
    asking.set_ciphers("ALL:@SECLEVEL=0")
    asking.minimum_version, asking.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with connect(listener) as plain:
        try:
            with asking.wrap_socket(plain, server_hostname=listener["server_name"] or None) as stream:
                return False, f"spoke {stream.version()}"
        except OSError as error:
            return True, ended(error)


def no_certificate(listener: dict) -> tuple:
    try:
        answer = get(listener, listener["server_name"], listener["guarded_path"] or "/")
    except OSError as error:
        return True, ended(error)
    refused = FORBIDDEN if listener["guarded_path"] else NO_CERTIFICATE
    return not answer or refused in answer, answered(answer)


def unknown_name(listener: dict) -> tuple:
    try:
        answer = get(listener, UNKNOWN)
    except OSError as error:
        return True, ended(error)
    return not answer or answer.split(" ")[1:2] == ["421"], answered(answer)


def own_certificate(listener: dict) -> tuple:
    try:
        with open(listener["certificate"], encoding="ascii") as stream:
            own = ssl.PEM_cert_to_DER_cert(re.search(FIRST_CERTIFICATE, stream.read(), re.DOTALL)[0])
    except (OSError, ValueError, TypeError) as error:
        raise UntriedError(f"{listener['certificate']}: {error}") from None
    name = listener["server_name"] or None
    with connect(listener) as plain, context().wrap_socket(plain, server_hostname=name) as stream:
        shown = stream.getpeercert(binary_form=True)
    return shown == own, "its own" if shown == own else f"it isn't {listener['certificate']}"


def trials(listener: dict) -> list:
    """What this listener is to do, what it does where it doesn't, and how to try it."""
    found = []
    if listener["tls"] and listener["certificate"]:
        found.append(
            ("shows its own certificate", "shows another certificate, so another site answers", own_certificate)
        )
    refusing = [("TLS below 1.2", old_tls)] if listener["tls"] else []
    if listener["tls"] and listener["certificates"]:
        refusing.append(("clients without a certificate", no_certificate))
    elif listener["server_name"]:
        refusing.append(("unknown names", unknown_name))
    return found + [(f"refuses {whom}", f"does not refuse {whom}", trial) for whom, trial in refusing]


def try_all(listeners: list) -> dict:
    checks: list = []
    ill: dict = {}
    for listener in listeners:
        place = f"{listener['address']} port {listener['port']}"
        for what, otherwise, trial in trials(listener):
            try:
                passed, detail = trial(listener)
            except (UntriedError, OSError) as error:
                passed, detail = False, f"could not be tried: {error}"
            else:
                if not passed:
                    ill.setdefault(listener["name"], []).append(f"{place} {otherwise}: {detail}")
            checks.append({"name": f"{listener['name']} at {place} {what}", "passed": passed, "detail": detail})
    return {"changed": False, "checks": checks, "ill": ill}


def main() -> None:
    required = {"name": "str", "address": "str", "port": "int", "tls": "bool", "certificates": "bool"}
    listener: dict = {
        name: {"type": kind, "required": True} for name, kind in {**required, "server_name": "str"}.items()
    }
    listener["guarded_path"] = {"type": "str", "default": ""}
    listener["certificate"] = {"type": "path", "default": ""}
    module = AnsibleModule(
        argument_spec={
            "listeners": {"type": "list", "elements": "dict", "required": True, "options": listener},
            "program": {"type": "path"},
        },
        supports_check_mode=True,
    )
    result = try_all(module.params["listeners"])
    told = refusal(module, module.params["program"])
    if told:
        result["ill"]["nginx"] = [told]
    over = ended_files(module, module.params["program"], time.time())
    for name in {listener["name"] for listener in module.params["listeners"]} & set(over):
        result["ill"].setdefault(name, []).extend(over[name])
    module.exit_json(**result)


if __name__ == "__main__":
    main()
