# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Echo: one HTTP server that sends back what it is sent.

The smallest system there can be. In its round a copy of the server sums numbers, each of them sent through itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..expanding import Roster, endpoint, own_address
from ..model import Expansion, Federation, Flow, Path, RoundPart, Stack
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

OWN_KEYS: Collection[str] = ()
UPPER_BOUNDS: Collection[Path] = ()

EXAMPLE = """\
server: {host: host1}                      # http://host1:7007
settings: {greeting: hello}                # docs/federation.md lists all
"""


def expand(stack: Stack, federation: Federation, report: Report) -> Expansion:
    """One component, or its removal; and the copy that the round brings."""
    server = stack.placements["server"]
    settings = complete(SETTINGS, stack.settings, (*stack.path, "settings"), report)
    deployed, copies = Roster(federation, stack), Roster(federation, stack, transient=True)
    flows, verify = [], {}
    for host in server.absent:
        deployed.absent("echo_server", "server", "server", host)
    for host in server.hosts:
        address = own_address(server, federation.host(host), report)
        if address is None:
            continue
        shared = {"address": address, "settings": settings}
        port = server.listening_port
        own = endpoint(server, federation.host(host), "http", address, port, scheme="http")
        deployed.present("echo_server", "server", "server", host, shared | {"port": port}, [own])
        flows.append(Flow("clients", host, port, "echo", "none"))

        port, numbers = stack.options["verify_port"], stack.options["verify_numbers"]
        path = (*stack.path, "verify_port")
        own = endpoint(server, federation.host(host), "http", address, port, scheme="http", path=path)
        copy = copies.present("echo_server", "server", "server", host, shared | {"port": port, "sum": numbers}, [own])
        expected = (float(sum(numbers)),)
        verify[host] = RoundPart(expected, 0.0, 30, participants=(copy["name"],), variables=copies.variables[host])
    return Expansion(
        components=tuple(deployed.components),
        flows=tuple(flows),
        variables=deployed.variables,
        verify=verify,
        transient=tuple(copies.components),
    )
