# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which CAs there are, and which certificates each host needs."""

from __future__ import annotations

from collections.abc import Iterator

from ... import certificates, network
from ...model import Authority, Certificate
from .instances import Instances, egress_words
from .topology import Side


def authorities(parts: Instances) -> Iterator[Authority]:
    """The CAs of both sides and of the controller."""
    topology = parts.topology
    parties = [side.party for side in topology.sides] + [topology.controller_party]
    for party in {party.name: party for party in parties}.values():
        if party.ca is not None or not party.external:
            yield certificates.party_authority(topology.federation, party)
    yield from {side.authority.name: side.authority for side in topology.sides if side.by_acme}.values()


def needed(parts: Instances) -> Iterator[Certificate]:
    """Every host's."""
    topology = parts.topology
    for side in topology.sides:
        if side.ours:
            yield from _of_side(parts, side)
    if topology.leader.ours:
        for host in topology.leader.users:
            yield _client(parts, parts.leader_name, host, (topology.helper.party.name,))
    for host, what in topology.egress_hosts:
        if what == "controller":
            yield _client(parts, parts.controller_name, host)
            if topology.generation == "B":
                yield _client(parts, parts.verify_name, host)
    if egress_words(topology) and not topology.public:
        for host, _what in topology.egress_hosts:
            for side in topology.sides:
                yield certificates.trusted(side.instance("servers"), host, side.party.name)


def _of_side(parts: Instances, side: Side) -> Iterator[Certificate]:
    topology, host = parts.topology, side.host.name
    yield _front(side)
    yield certificates.trusted(side.instance("controllers"), host, topology.controller_party.name)
    if side.word == "helper":
        yield certificates.trusted(side.instance("peers"), host, topology.leader.party.name)
    if not side.beside:
        yield _database(side)
        for user in side.users:
            yield certificates.trusted(side.instance("store"), user, side.party.name)


def _front(side: Side) -> Certificate:
    """What nginx shows for both programs: by all names that either is called."""
    name = side.instance("front")
    dns_names, addresses = certificates.serving_names(side.placement, side.host, side.address, name)
    manager = side.option("manager").get("public_url")
    if manager is not None:
        host = network.parse_url(manager).host
        if network.is_numeric(host):
            addresses = tuple(dict.fromkeys((*addresses, host)))
        else:
            dns_names = tuple(dict.fromkeys((*dns_names, host)))
    if side.topology.public:  # no public CA signs what is nobody's name
        dns_names = tuple(each for each in dns_names if each != name)
    if side.by_acme:
        dns_names, addresses = side.proof.names, ()
    common_name, trust = certificates.common_name(name, side.host.name), (side.party.name,)
    return Certificate(name, side.host.name, side.authority.name, common_name, dns_names, addresses, trust=trust)


def _database(side: Side) -> Certificate:
    host = side.topology.federation.host(side.database.hosts[0])
    name = side.instance("database")
    dns_names, addresses = certificates.serving_names(side.database, host, host.internal[0])
    return Certificate(
        name, host.name, side.party.name, certificates.common_name(name, host.name), dns_names, addresses
    )


def _client(parts: Instances, name: str, host: str, trust: tuple[str, ...] = ()) -> Certificate:
    """Its subject is the name alone, without the host: moved or renewed, it is the same to the other side."""
    party = parts.topology.federation.host(host).party
    return Certificate(name, host, party, name, usages=("client",), trust=trust)
