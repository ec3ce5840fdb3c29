# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts of those who run jobs: nsfl-ctl, set up for the API and for the store of job files and models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ... import certificates, network
from ...expanding import Roster, fetched
from ...model import Certificate, Flow, Placement
from .gateway import LOOPBACK, OPERATORS
from .standalone import located

if TYPE_CHECKING:
    from .topology import Topology

ROLE = "neursafe_ctl"
COMPONENT = "ctl"


class Operators:
    """The stack's."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.place = topology.stack.placements.get(OPERATORS, Placement())

    # -- what can't be

    def check(self) -> None:
        if not self.place.hosts:
            return
        report, where = self.topology.report, (*self.place.path, self.place.where)
        if self.topology.server.absent_places and not self.topology.server.places:
            report.mistake(where, "the server is absent, and they come to it: make both absent")
            return
        if self.api is None:
            message = "nobody knows where the API is: say `nodes` or server.node_address, and leave api_server.external"
            report.mistake(where, message)
        for host in self.place.hosts:
            if self.topology.party_of(host) != self.topology.party:
                message = (
                    f"host '{host}' isn't of party '{self.topology.party}', whose password for the store they have"
                )
                report.mistake(where, message)

    # -- what it is

    @property
    def is_double(self) -> bool:
        return bool(self.place.hosts) and bool(self.place.options["doubles"])

    @property
    def api(self) -> str | None:
        """Where nsfl-ctl finds the API: a way of its own, or a port of the nodes."""
        server = self.topology.settings["api_server"]
        if not server["external"]:
            return None
        if self.topology.gateway.there:
            return network.join(LOOPBACK, self.place.listening_port)
        node = self.topology.node_address
        return network.join(node, server["http_port"]) if node else None

    def instance(self) -> dict[str, Any]:
        """What the role takes beside its identity."""
        options, storage = self.place.options, self.topology.storage
        values = {
            "program": located(options["program"], self.topology.federation),
            "doubles": options["doubles"],
            "api": self.api,
        }
        if storage.hosted:
            values["data"] = storage.of_operators(self.topology.paths(OPERATORS)["ca"])
        return values

    def add(self, roster: Roster) -> None:
        """Its component and its instance, on each host."""
        for host in self.place.hosts:
            roster.present(ROLE, OPERATORS, COMPONENT, host, self.instance())
        for host in self.place.absent:
            roster.absent(ROLE, OPERATORS, COMPONENT, host)

    # -- what it needs

    def certificates(self) -> Iterator[Certificate]:
        """What they trust, and with nginx on nodes show."""
        gateway, own = self.topology.gateway, self.topology.authority.name
        for host in self.place.hosts:
            if gateway.there:
                yield gateway.of_user(OPERATORS, host)
            elif self.topology.storage.hosted:
                yield certificates.trusted(self.topology.instance_of(OPERATORS), host, own)
        for host in self.place.absent:
            yield Certificate(self.topology.instance_of(OPERATORS), host, "", "", state="absent")

    def flows(self) -> Iterator[Flow]:
        """To the API, where nginx on nodes isn't, and to the store."""
        server = self.topology.server.places
        port = self.topology.settings["api_server"]["http_port"]
        for host in self.place.hosts if server else ():
            if not self.topology.gateway.there:
                yield Flow(host, server[0], port, "the API", "none")
            yield from self.topology.storage.flows_of_operators(host)

    def fetched(self) -> Iterator[Flow]:
        """The program, where that is at a URL."""
        for host in self.place.hosts:
            archive = self.place.options["program"].get("archive", "")
            if "://" in archive:
                yield fetched(host, archive, "nsfl-ctl", "sha256")
