# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Echo: one HTTP server that sends back what it is sent.

The smallest system there can be. In its round a copy of the server sums numbers, each of them sent through itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from .. import network
from ..model import Component, Endpoint, Expansion, Federation, Flow, Placement, Stack
from ..nodes import Report
from ..schema import PORT, Integer, Items, Key, Place, Section, Text, complete

NAME = "echo"
TLS = False
ROLES: Mapping[str, str] = {"echo_server": "service"}

PLACEMENTS: Mapping[str, Key] = {
    "server": Key(Place(port=7007), "The server.", required=True),
    "verify_port": Key(PORT, "Port of the server's copy in a verify round.", default=7107),
    "verify_numbers": Key(
        Items(Integer(-(2**31), 2**31), min_items=1), "What a verify round sums.", default=[1, -2, 3, 40]
    ),
}

SETTINGS = Section(
    {
        "greeting": Key(Text(max_length=200), "What `GET /` answers.", default="echo"),
        "max_bytes": Key(Integer(1, 1_048_576), "The longest request that is sent back.", default=4096, unit="bytes"),
    }
)

EXAMPLE = """\
server: {host: host1}                      # http://host1:7007
settings: {greeting: hello}                # docs/federation.md lists all
"""


def expand(stack: Stack, federation: Federation, report: Report) -> Expansion:
    """One component, or its removal; and the copy that the round brings."""
    server = stack.placements["server"]
    settings = complete(SETTINGS, stack.settings, (*stack.path, "settings"), report)
    variables: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: {"echo_server_instances": []})
    components, transient, flows, verify = [], [], [], {}
    for host in server.absent:
        gone = _instance(stack, federation) | {"state": "absent"}
        components.append(Component(gone["name"], stack.name, "server", "echo_server", host, state="absent"))
        variables[host]["echo_server_instances"].append(gone)
    for host in server.hosts:
        address = _address(server, federation, host, report)
        deployed = _instance(stack, federation) | {"address": address, "port": server.port, "settings": settings}
        components.append(_component(stack, server, host, deployed, "port"))
        variables[host]["echo_server_instances"].append(deployed)
        flows.append(Flow("clients", host, server.port, "echo", "none"))

        copy = {**deployed, **_instance(stack, federation, "verify-"), "port": stack.options["verify_port"]}
        copy |= {"transient": True, "sum": stack.options["verify_numbers"]}
        transient.append(_component(stack, server, host, copy, "verify_port"))
        verify[host] = _round(stack, copy)
    return Expansion(
        components=tuple(components),
        flows=tuple(flows),
        variables=variables,
        verify=verify,
        transient=tuple(transient),
    )


def _instance(stack: Stack, federation: Federation, prefix: str = "") -> dict[str, Any]:
    name = f"{federation.name}-{prefix}{stack.name}-server"
    return {"name": name, "federation": federation.name, "stack": stack.name}


def _address(server: Placement, federation: Federation, host: str, report: Report) -> str:
    """Where the server listens."""
    address = server.bind or next(iter(federation.host(host).internal), "")
    if not address:
        way_out = "give it one under parties, addresses: {internal: [ADDRESS]}"
        report.mistake((*server.path, "host"), f"host '{host}' has no numeric address: {way_out}")
    return address


def _component(stack: Stack, server: Placement, host: str, instance: Mapping[str, Any], key: str) -> Component:
    place = network.join(instance["address"], instance["port"]) if instance["address"] else ""
    url = f"http://{place}"
    public = server.public_url if key == "port" else None
    path = (*server.path, key) if key == "port" else (*stack.path, key)
    endpoint = Endpoint("http", instance["address"], instance["port"], internal=url, public=public or url, path=path)
    return Component(instance["name"], stack.name, "server", "echo_server", host, endpoints=(endpoint,))


def _round(stack: Stack, copy: Mapping[str, Any]) -> dict[str, Any]:
    name = copy["name"]
    row = {"instance": name, "unit": f"fedlearn-{name}.service", "path": f"/var/lib/fedlearn-{name}/result.json"}
    return {
        "kind": stack.kind,
        "mode": "round",
        "expected": [float(sum(copy["sum"]))],
        "max_error": 0.0,
        "seed": None,
        "timeout": 30,
        "results": [row],
        "variables": {"echo_server_instances": [copy]},
    }
