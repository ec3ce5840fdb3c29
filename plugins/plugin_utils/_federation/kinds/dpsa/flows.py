# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every connection between hosts of a stack, and from outside: nothing goes from the helper to the leader."""

from __future__ import annotations

from collections.abc import Iterator

from ... import network
from ...model import Flow
from .instances import Instances
from .topology import Side, Site

REPORTS = "TLS, server certificate"
LEADER = "mutual TLS, the leader's subject"
CONTROLLER = "mutual TLS, the controller's subject"


def needed(parts: Instances) -> Iterator[Flow]:
    """All of them; what stays on one host needs no firewall and is left out."""
    topology = parts.topology
    if topology.leader.ours:
        for driver in dict.fromkeys((topology.leader.host.name, *topology.leader.driver_hosts)):
            yield from _to(topology.helper, topology.helper.aggregator_site(), driver, "aggregation", LEADER)
    for side in topology.sides:
        host = side.database.hosts[0] if side.ours else ""
        for user in side.users if side.ours else ():
            if user != host:
                yield Flow(user, host, side.database.listening_port, "database", "TLS, password")
    clients = [*topology.clients.hosts, "clients"]
    controller = [*topology.controller.hosts] or ["controllers"]
    for side in topology.sides:
        sites = [(side.aggregator_site(), "reports")]
        if topology.generation == "B":
            sites.append((side.manager_site(), "tasks' parameters"))
        for site, purpose in sites:
            for source in clients:
                yield from _to(side, site, source, purpose, REPORTS)
            for source in controller:
                what = "sessions" if purpose != "reports" else "collection"
                if what == "sessions" or side.word == "leader":
                    yield from _to(side, site, source, what, CONTROLLER)


def _to(side: Side, site: Site, source: str, purpose: str, words: str) -> Iterator[Flow]:
    """To a side's site: its host, where the document has it, and the public URL's where that is another place."""
    host, port = network.split(site.server)
    if side.ours:
        if source != side.host.name:
            yield Flow(source, side.host.name, site.port, purpose, words)
        if (host in (side.host.public_name, *side.host.internal)) and port == site.port:
            return
    yield Flow(source, host, port, purpose, words)
