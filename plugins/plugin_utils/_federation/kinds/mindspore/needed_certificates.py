# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which CAs there are, and which certificates each component needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ... import certificates
from ...model import Authority, Certificate
from .instances import SCHEDULER_LOOPBACK, Instances

Usages = tuple[Literal["server", "client"], ...]
BOTH: Usages = ("server", "client")


def authorities(parts: Instances) -> Iterator[Authority]:
    """The party's CA, the one of its store, and those of other parties' workers; none without TLS."""
    if not parts.stack.tls:
        return
    yield parts.party
    yield parts.store
    external = parts.topology.redis.external
    if external:
        name = _store_server_authority(parts)
        yield Authority(name, parts.party.party, "external", name, external["ca"])
    parties = dict.fromkeys(parts.federation.host(host).party for host in parts.topology.workers.hosts)
    for party in parties:
        if party != parts.party.party:
            yield certificates.party_authority(parts.federation, parts.federation.parties[party])


def needed(parts: Instances) -> Iterator[Certificate]:
    """Every component's certificates; several instances of a role on a host share theirs."""
    topology = parts.topology
    if not parts.stack.tls:
        return
    for host in topology.redis.hosts:
        yield _of_store(parts, "redis", host, BOTH, (parts.redis["address"],))
    for host in topology.scheduler.hosts:
        yield _of_party(parts, "scheduler", "scheduler", host, BOTH, (SCHEDULER_LOOPBACK,))
        yield _of_store(parts, "scheduler-store", host, ("client",))
    for host in topology.servers.hosts:
        yield _of_party(parts, "server", "servers", host, BOTH)
        yield _of_store(parts, "server-store", host, ("client",))
    for host in topology.proxy.hosts:
        yield _of_party(parts, "proxy", "proxy", host, ("server",))
    for host in topology.workers.hosts:
        yield _of_worker(parts, host)


def _of_party(
    parts: Instances, role: str, placement: str, host: str, usages: Usages, more: tuple[str, ...] = ()
) -> Certificate:
    """A certificate of the party's CA, for what others connect to.

    It has its own name among the DNS names, since nginx compares names only, never addresses.
    """
    name = parts.certificate(role)
    dns_names, addresses = certificates.serving_names(
        parts.stack.placements[placement],
        parts.federation.host(host),
        parts.topology.address(placement, host),
        name,
        *more,
    )
    return Certificate(
        name,
        host,
        parts.party.name,
        certificates.common_name(name, host),
        dns_names=dns_names,
        addresses=addresses,
        usages=usages,
        formats=("pem",) if role == "proxy" else ("pem", "pkcs12"),
        trust=(parts.party.name,),
    )


def _of_store(parts: Instances, role: str, host: str, usages: Usages, addresses: tuple[str, ...] = ()) -> Certificate:
    """A certificate that Redis or one of its clients shows."""
    name = parts.certificate(role)
    return Certificate(
        name,
        host,
        parts.store.name,
        certificates.common_name(name, host),
        addresses=addresses,
        usages=usages,
        trust=(_store_server_authority(parts),),
    )


def _store_server_authority(parts: Instances) -> str:
    """The CA that the Redis' own certificate comes from."""
    return f"{parts.store.name}-external" if parts.topology.redis.external else parts.store.name


def _of_worker(parts: Instances, host: str) -> Certificate:
    """A worker's certificate. Its own CA stands first in what it trusts: the program compares its issuer with that."""
    name = parts.certificate("worker")
    known = parts.federation.host(host)
    return Certificate(
        name,
        host,
        known.party,
        certificates.common_name(name, host),
        addresses=known.internal,
        usages=("client",),
        formats=("pem", "pkcs12"),
        trust=tuple(dict.fromkeys((known.party, parts.party.name))),
    )
