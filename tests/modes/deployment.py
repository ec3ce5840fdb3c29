# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""federation.yml of this folder with models of its own, laid into build/modes/ and deployed on the host set `modes`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import models
import yaml
from device import Device
from standing_demo import CHECKOUT, Demo

ROOM = CHECKOUT / "build" / "modes"
HOSTS = ("m1", "m2", "m3")
INITIAL = {"fc.weight": [4.0, 5.0, 6.0], "fc.bias": [7.0]}
"""The model that both stacks begin with."""

Document = dict[str, Any]


class Modes(Demo):
    """The three hosts, and how they are changed."""

    def __init__(self) -> None:
        super().__init__(ROOM, HOSTS, "modes", ROOM / "vault-pass")

    def begin(self) -> None:
        """Lay the document down and deploy it; what stands already is brought up to date."""
        self.lay_beside()
        self.write()
        self.deploy()

    def write(self, change: Callable[[Document], None] = lambda document: None) -> None:
        """The document, with a change."""
        document = yaml.safe_load((CHECKOUT / "tests" / "modes" / "federation.yml").read_text())
        model = lay("initial.npz", npz(INITIAL))
        for stack in document["stacks"].values():
            stack["servers"]["initial_model"] = model
        change(document)
        (ROOM / "federation.yml").write_text(yaml.safe_dump(document, sort_keys=False))

    def deploy_devices(self, change: Callable[[Document], None] = lambda document: None) -> None:
        """The stack `device`, with a change to it."""
        self.write(lambda document: change(document["stacks"]["device"]))
        self.site("-e", "stack=device")

    def device(self, name: str, job: str = "device", place: tuple[str, int] = ("10.98.13.12", 16666)) -> Device:
        """A device that knows a server, by default the one of the stack `device`."""
        return Device(place, str(ROOM / "public" / "lab" / "lab.pem"), job, name)


def lay(name: str, content: bytes) -> dict[str, str]:
    """A model beside the document, and how the document names it."""
    (ROOM / name).write_bytes(content)
    return {"source": name, "sha256": hashlib.sha256(content).hexdigest()}


def npz(weights: Mapping[str, Sequence[float]]) -> bytes:
    """Weights of a linear layer: fc.weight with one row, all others flat."""
    return models.npz(
        {
            name: ((1, len(values)) if name.endswith("weight") else (len(values),), values)
            for name, values in weights.items()
        }
    )


# --- what a host can reach --------------------------------------------------------------------------------------------

LOOK = """
import json, socket, ssl
case = json.loads(CASE)
try:
    connection = socket.create_connection((case["address"], case["port"]), timeout=10)
    if case["authority"]:
        context = ssl.create_default_context(cafile=case["authority"])
        context.check_hostname = False
        if case["certificate"]:
            context.load_cert_chain(case["certificate"] + "/chain.pem", case["certificate"] + "/key.pem")
        connection = context.wrap_socket(connection)
    connection.sendall(case["request"].encode())
    answer = connection.recv(65536)
    while "Connection: close" in case["request"] and (more := connection.recv(65536)):
        answer += more
    print(answer.decode(errors="replace") or "closed")
except OSError as error:
    print("refused:", error)
"""


def look(modes: Modes, host: str, place: str, request: str, *, authority: str = "", certificate: str = "") -> str:
    """What a host is answered at an address and port: by TLS where it is told whom to trust, plain otherwise.

    A request's ``there`` is that place. ``authority`` and ``certificate`` are names of what lies in /etc/fedlearn/, or
    absolute paths.
    """
    address, _colon, port = place.rpartition(":")
    case = {
        "address": address,
        "port": int(port),
        "request": request.replace("Host: there", f"Host: {place}"),
        "authority": str(Path("/etc/fedlearn") / authority / "ca.pem") if authority else "",
        "certificate": str(Path("/etc/fedlearn") / certificate) if certificate else "",
    }
    return modes.run(host, f"python3 - <<'PYTHON'\nCASE = {json.dumps(json.dumps(case))}\n{LOOK}\nPYTHON").strip()


def get(path: str) -> str:
    """A request that ends its connection."""
    return f"GET {path} HTTP/1.1\r\nHost: there\r\nConnection: close\r\n\r\n"
