# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What somebody needs who is no host of the document: a client's ways to both sides, or the controller's.

They are the same sites of nginx that hosts of the document get, and that a verify round goes by.
"""

from __future__ import annotations

from ... import certificates, network
from ...client_kits import HOME, Asked, Kit, NoKitError
from ...model import Federation, Stack
from ...nodes import Report
from .instances import ways_out
from .topology import LOOPBACK, Side, Topology


def client_kit(stack: Stack, federation: Federation, asked: Asked) -> Kit:
    """The kit of a right stack. Raises NoKitError."""
    topology, controller = Topology(stack, federation, Report()), asked.controller
    if asked.client:
        raise NoKitError(f"stack '{stack.name}': clients of DPSA show no certificate, so -e client= says nothing")
    if not all(side.there for side in topology.sides):
        raise NoKitError(f"stack '{stack.name}' has no side that anybody could be led to")
    name = f"{topology.prefix}-{'controller' if controller else 'client'}"
    shown = {word: f"{HOME}/{name}/{word}.pem" for word in ("chain", "key")} if controller else None
    sites, ways = [], {}
    for word, port, values in ways_out(topology, lambda side: {"ca": f"{HOME}/{name}/{_ca(side)}"}, shown):
        sites.append({"name": f"{name}-{word}", **values})
        ways[word] = str(network.Url("http", LOOPBACK, port))
    if not sites:
        raise NoKitError("with public certificates and without managers clients reach both sides as they are")
    trusted = {_ca(side): certificates.party_authority(federation, side.party) for side in topology.sides}
    if topology.public:
        trusted = {}
    if not controller:
        return Kit(name, tuple(sites), ways, trusted)
    return Kit(name, tuple(sites), ways, trusted, name, topology.controller_party)


def _ca(side: Side) -> str:
    """The file with whom that side's servers are vouched for by: not the other's, which could stand in for it."""
    return f"{side.word}-ca.pem"
