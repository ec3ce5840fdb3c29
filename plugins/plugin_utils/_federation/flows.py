# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every connection that a federation needs, for who opens firewalls: stacks' own, ssh, the time, what is fetched."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterator

from .._roles.catalogue import BUILT
from .expanding import CONTROLLER, fetched
from .hosts import SSH_PORT
from .model import Expansion, Federation, Flow, Host

NTP_PORT, NTS_PORT = 123, 4460
POOL = "2.debian.pool.ntp.org"
MIRRORS = ("http://deb.debian.org", "http://security.debian.org")
GO = ("https://proxy.golang.org", "https://sum.golang.org")
"""What programs ask unless a host, or the control node, is told otherwise: that isn't the document's."""

INSIDE, INCOMING, OUTGOING = "inside", "incoming", "outgoing"


def flows(federation: Federation, stack: str = "") -> list[Flow]:
    """Every connection of the federation (or one stack), each once; what is fetched from outside comes last.

    Under a viewpoint those that touch the party's hosts, and those from outside to a gateway, which is nobody's host.
    """
    chosen = {name: expansion for name, expansion in federation.expansions.items() if stack in ("", name)}
    components = [component for expansion in chosen.values() for component in expansion.components]
    touched = {component.host for component in components}
    hosts = [host for host in federation.own_hosts() if not stack or host.name in touched]
    found = [*_ssh(hosts), *_time(hosts, federation)]
    for name, expansion in chosen.items():
        found += [dataclasses.replace(flow, stack=name) for flow in expansion.flows]
    found += _packages(hosts, {each.host for each in components if each.state == "present"}, federation)
    for name, expansion in chosen.items():
        found += [dataclasses.replace(flow, stack=name) for flow in (*expansion.fetched, *_modules(expansion))]
    return _seen(list(dict.fromkeys(found)), federation)


def own_names(federation: Federation) -> set[str]:
    """Every word that flows have for the hosts that are ours."""
    names = {cluster.host for cluster in federation.own_clusters()}
    for host in federation.own_hosts():
        names |= {host.name, host.ssh, host.public_name or host.name, *host.internal}
    return names


def direction(flow: Flow, own: Container[str]) -> str:
    """Between our hosts, from others to them, or from them and the control node to others."""
    if flow.destination in own:
        return INSIDE if flow.source in own else INCOMING
    return OUTGOING if flow.source in own or flow.source == CONTROLLER else INCOMING


def _seen(found: list[Flow], federation: Federation) -> list[Flow]:
    """What of it the viewpoint's party sees."""
    if federation.viewpoint is None:
        return found
    own = {*(host.name for host in federation.own_hosts()), *(cluster.host for cluster in federation.own_clusters())}
    foreign = {host for party in federation.parties.values() for host in party.hosts} - own
    foreign |= {cluster.host for cluster in federation.clusters.values()} - own
    ends = {flow: {flow.source, flow.destination} for flow in found}
    return [flow for flow in found if ends[flow] & own or not ends[flow] & foreign]


def _ssh(hosts: list[Host]) -> Iterator[Flow]:
    for host in hosts:
        yield Flow(CONTROLLER, host.name, host.connection.get("ansible_port", SSH_PORT), "ssh", "ssh key")


def _time(hosts: list[Host], federation: Federation) -> Iterator[Flow]:
    for host in hosts:
        time_sync = federation.parties[host.party].time_sync
        if host.state == "absent" or time_sync.get("mode") != "chrony":
            continue
        nts = time_sync["nts"]
        for server in time_sync["servers"]:
            yield Flow(host.name, server, NTP_PORT, "time", "NTS" if nts else "none", protocol="udp", address=server)
            if nts:
                yield Flow(host.name, server, NTS_PORT, "time, exchange of keys", "TLS", address=server)
        if not time_sync["servers"]:
            yield Flow(host.name, POOL, NTP_PORT, "time, unless chrony has other servers", "none", protocol="udp")


def _packages(hosts: list[Host], running: Container[str], federation: Federation) -> Iterator[Flow]:
    """The distribution's, of hosts where something runs or that are looked after for themselves."""
    for host in hosts:
        party = federation.parties[host.party]
        kept = party.time_sync.get("mode") == "chrony" or party.firewall.get("mode", "off") != "off"
        if host.state == "present" and (kept or host.name in running):
            for url in MIRRORS:
                yield fetched(host.name, url, "packages, unless apt has other sources", "signatures")


def _modules(expansion: Expansion) -> Iterator[Flow]:
    """What the control node builds programs of."""
    if any(component.role in BUILT and component.state == "present" for component in expansion.components):
        for url in GO:
            yield fetched(CONTROLLER, url, "Go modules, unless Go has another proxy", "TLS, sums")
