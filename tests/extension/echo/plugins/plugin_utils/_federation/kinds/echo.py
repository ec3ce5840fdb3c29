# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Echo: one HTTP server that sends back what it is sent.

The smallest system there can be. In its round a copy of the server sums numbers, each of them sent through itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..expanding import Roster, endpoint, identity, own_address
from ..model import Component, Endpoint, Expansion, Federation, Flow, RoundPart, Stack
from ..nodes import Report
from ..schema import PORT, Integer, Items, Key, Place, Section, Text, complete

NAME = "echo"
TLS = False
ROLES: Mapping[str, str] = {"echo_server": "service"}
VARIABLE = "echo_server_instances"

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
    deployed, copies, flows, verify = Roster(), Roster(), [], {}
    for host in server.absent:
        gone = identity(federation, stack, "server", state="absent")
        component = Component(gone["name"], stack.name, "server", "echo_server", host, state="absent")
        deployed.add(component, VARIABLE, gone)
    for host in server.hosts:
        address = own_address(server, federation.host(host), report)
        if address is None:
            continue
        shared = {"address": address, "settings": settings}
        instance = identity(federation, stack, "server") | shared | {"port": server.listening_port}
        own = endpoint(server, federation.host(host), "http", address, server.listening_port, scheme="http")
        deployed.add(_component(stack, host, instance, own), VARIABLE, instance)
        flows.append(Flow("clients", host, server.port, "echo", "none"))

        port, numbers = stack.options["verify_port"], stack.options["verify_numbers"]
        copy = identity(federation, stack, "server", transient=True) | shared | {"port": port, "sum": numbers}
        path = (*stack.path, "verify_port")
        own = endpoint(server, federation.host(host), "http", address, port, scheme="http", path=path)
        copies.add(_component(stack, host, copy, own), VARIABLE, copy)
        expected = (float(sum(numbers)),)
        verify[host] = RoundPart(expected, 0.0, 30, participants=(copy["name"],), variables={VARIABLE: [copy]})
    return Expansion(
        components=tuple(deployed.components),
        flows=tuple(flows),
        variables=deployed.variables,
        verify=verify,
        transient=tuple(copies.components),
    )


def _component(stack: Stack, host: str, instance: Mapping[str, Any], own: Endpoint) -> Component:
    return Component(instance["name"], stack.name, "server", "echo_server", host, endpoints=(own,))
