# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""federation.yml of this folder with a library, laid into build/dc_federated/ and deployed on hosts."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from standing_demo import CHECKOUT, Demo

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import loading, variables

ROOM = CHECKOUT / "build" / "dc_federated"
HOST_SET = os.environ.get("FEDLEARN_DCF_SET", "dcf")
NET = os.environ.get("FEDLEARN_DCF_NET", "10.98.54")
HOSTS = ("p1", "p2", "p3")
URLS = {"near": f"https://{NET}.11", "far": f"https://{NET}.12"}
STRANGER = "p4"
"""A machine that no document names."""
UPSTREAM = os.environ.get("FEDLEARN_UPSTREAM_DIR", "")
DOUBLE = CHECKOUT / "tests" / "doubles" / "dc_federated"
REAL = bool(UPSTREAM)
Document = dict[str, Any]


class Polls(Demo):
    """The three hosts, and how they are changed."""

    def __init__(self) -> None:
        super().__init__(ROOM, HOSTS, HOST_SET, ROOM / "vault-pass")

    def begin(self) -> None:
        """Lay the document down and deploy it; what stands already is brought up to date."""
        self.lay_beside()
        (ROOM / "others.keys").write_text("# workers of others, one a line\n")
        shutil.rmtree(ROOM / "library", ignore_errors=True)
        shutil.copytree(Path(UPSTREAM) / "dc_federated" if REAL else DOUBLE, ROOM / "library")
        self.write()
        self.deploy()

    def write(self, change: Callable[[Document], None] = lambda document: None) -> None:
        """The document, with a change."""
        text = (CHECKOUT / "tests" / "dc_federated" / "federation.yml").read_text()
        document = yaml.safe_load(text.replace("10.98.54.", f"{NET}."))
        library = {"source": "library"} if REAL else {"source": "library", "double": True}
        for stack in document["stacks"].values():
            stack["library"] = library
        change(document)
        (ROOM / "federation.yml").write_text(yaml.safe_dump(document, sort_keys=False))

    def verify_with(self, change: Callable[[dict[str, Any]], None]) -> tuple[int, dict[str, Any]]:
        """A verify round whose instances aren't quite the document's, with the document's numbers; and its report."""
        hosts = variables.inventory(loading.load(str(ROOM / "federation.yml"))).hosts
        parts = json.loads(json.dumps({host: hosts[host]["fedlearn_verify"] for host in self.hosts}))
        change(parts)
        given = ROOM / "tampered.json"
        given.write_text(json.dumps({"tampered": parts, "fedlearn_verify": "{{ tampered[inventory_hostname] }}"}))
        done = self.playbook("fedlearn.infra.verify", "-e", "verify=round", "-e", f"@{given}")
        report: dict[str, Any] = json.loads((CHECKOUT / "build" / "polls" / "verify.json").read_text())
        return done.returncode, report["stacks"]

    def client(self, host: str, key: str, *calls: list[Any], stack: str = "near") -> list[Any]:
        """What a worker of others with this private key is answered through the stack's nginx, call by call."""
        url = URLS[stack]
        asked = json.dumps({"url": url, "ca": "/tmp/client-ca.pem", "key": key, "calls": calls})
        authority = (ROOM / "public" / "lab" / "lab.pem").read_text()
        program = (Path(__file__).parent / "client.py").read_text()
        lay = "".join(
            f"cat >/tmp/{name} <<'END-OF-FILE'\n{text}\nEND-OF-FILE\n"
            for name, text in (("client.json", asked), ("client-ca.pem", authority), ("client.py", program))
        )
        run = "$(ls -d /opt/fedlearn/dc_federated-python/*/bin/python | tail -n1) -B /tmp/client.py /tmp/client.json"
        answers: list[Any] = json.loads(self.run(host, f"{lay}{run}\nrm /tmp/client.*"))
        return answers

    def pid(self, host: str, instance: str) -> int:
        """The main process of a unit."""
        return int(self.run(host, f"systemctl show -p MainPID --value fedlearn-{instance}"))
