# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Flows become what a host's firewall is told: each place that something listens on, and who comes there."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import acme, network
from .model import Component, Endpoint, Federation, Flow, Host

EVERYBODY = ("0.0.0.0/0", "::/0")

_Way = tuple[str, int | None, str]  # destination, port, protocol


@dataclass(slots=True)
class Guard:
    """What hosts listen on and who connects there, of all stacks of a federation, rounds of verify among them."""

    federation: Federation
    _listening: dict[str, list[tuple[Component, Endpoint]]] = field(default_factory=lambda: defaultdict(list))
    _sources: dict[_Way, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))

    def __post_init__(self) -> None:
        for expansion in self.federation.expansions.values():
            for component in (*expansion.components, *expansion.transient):
                if component.state == "present":
                    self._listening[component.host] += [(component, each) for each in component.endpoints]
            self._add(expansion.flows)
        for component, _site in acme.sites(self.federation, self.federation.expansions.values()):
            self._listening[component.host] += [(component, each) for each in component.endpoints]

    def _add(self, flows: Iterable[Flow]) -> None:
        for flow in flows:
            self._sources[flow.destination, flow.port, flow.protocol][flow.source] = None

    def services(self, host: Host) -> list[dict[str, Any]]:
        """``firewall_services`` of a host. What only the host itself reaches needs no guard."""
        known_as = self.federation.parties[host.party].firewall["sources"]
        found: dict[tuple[str, int | None, str], dict[str, Any]] = {}
        for component, endpoint in self._listening[host.name]:
            place = (endpoint.address, endpoint.port, endpoint.protocol)
            if place in found or not network.is_numeric(endpoint.address) or _is_loopback(endpoint.address):
                continue
            port = {"ephemeral": True} if endpoint.port is None else {"port": endpoint.port}
            found[place] = {
                "name": _name(component, endpoint, [one["name"] for one in found.values()]),
                "addresses": [endpoint.address],
                "protocol": endpoint.protocol,
                **port,
                "sources": self._networks(self._who(host, endpoint), known_as),
            }
        return list(found.values())

    def _who(self, host: Host, endpoint: Endpoint) -> list[str]:
        """Who connects to a place, by whichever word flows have for it."""
        names = dict.fromkeys((host.name, host.public_name or "", endpoint.address, host.ssh, *host.internal))
        ways = ((name, endpoint.port, endpoint.protocol) for name in names if name)
        return list(dict.fromkeys(source for way in ways for source in self._sources.get(way, ())))

    def _networks(self, who: Iterable[str], known_as: Mapping[str, list[str]]) -> list[str]:
        found = [each for name in who for each in self._from(name, known_as)]
        if set(EVERYBODY) <= set(found):
            return list(EVERYBODY)
        return list(dict.fromkeys(found))

    def _from(self, name: str, known_as: Mapping[str, list[str]]) -> Iterable[str]:
        """The networks that somebody comes from; anywhere, where nobody says it of who is no host."""
        if name in known_as:
            return known_as[name]
        try:
            host = self.federation.host(name)
        except KeyError:
            return self._of_no_host(name)
        own = host.internal or ((host.ssh,) if network.is_numeric(host.ssh) else ())
        return [network.single(address) for address in own] or EVERYBODY

    def _of_no_host(self, name: str) -> Iterable[str]:
        try:
            return [str(ipaddress.ip_network(name))]
        except ValueError:
            pass
        party = self.federation.parties.get(name)
        hosts = party.hosts.values() if party else ()
        return [network.single(address) for host in hosts for address in host.internal] or EVERYBODY


def _name(component: Component, endpoint: Endpoint, taken: list[str]) -> str:
    """What a place is called: once on its host, though a component may have several of one purpose."""
    names = (f"{component.name}-{endpoint.purpose}{number}" for number in ("", *(f"-{each}" for each in range(2, 99))))
    return next(name for name in names if name not in taken)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
