# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every connection between the hosts of a stack, from outside, and to where hosts fetch what they run on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ... import expanding, network
from ...model import Flow, Placement
from .instances import Copy, Instances

SERVER_TLS = "TLS, server certificate"


def needed(parts: Instances, deployed: Copy, verify: Copy) -> Iterator[Flow]:
    """All of them. What stays on one host needs no firewall and is left out."""
    yield from _to_store(parts)
    yield from _between_servers(parts)
    yield from _to_rest(parts)
    for copy in (deployed, verify):
        yield from _exchange(parts, copy)
        yield from _to_servers(parts, copy)
    yield from _from_clients(parts)


def fetched(parts: Instances, deployed: Copy, verify: Copy) -> Iterator[Flow]:
    """What the runtime is made of, where that isn't beside the document."""
    runtime = parts.stack.options["runtime"]
    archive = runtime["python"].get("archive", {}).get("source", "")
    workers = (host for copy in (deployed, verify) for host, _number in copy.workers)
    for host in dict.fromkeys((*parts.topology.scheduler.hosts, *parts.topology.servers.hosts, *workers)):
        if "wheels" not in runtime:
            yield from expanding.python_packages(host, runtime.get("index_url"))
        if "://" in archive:
            yield expanding.fetched(host, archive, "packed Python", "TLS, sha256")


def _from_each(sources: Iterable[str], host: str, port: int | None, purpose: str, words: str) -> Iterator[Flow]:
    for source in dict.fromkeys(sources):
        if source != host:
            yield Flow(source, host, port, purpose, words)


def _with_tls(parts: Instances, words: str) -> str:
    return words if parts.stack.tls else "none"


def _to_store(parts: Instances) -> Iterator[Flow]:
    sources = [*parts.topology.scheduler.hosts, *parts.topology.servers.hosts]
    words = _with_tls(parts, f"mutual TLS, CA {parts.store.name}")
    for host in parts.topology.redis.hosts or (parts.redis["address"],):
        yield from _from_each(sources, host, parts.redis["port"], "Redis", words)


def _between_servers(parts: Instances) -> Iterator[Flow]:
    """The program's own TCP: its port is ephemeral and cannot be chosen."""
    servers = parts.topology.servers.hosts
    for host in servers:
        sources = [*servers, *parts.topology.scheduler.hosts]
        words = _with_tls(parts, SERVER_TLS)
        yield from _from_each(sources, host, None, "between servers and scheduler", words)


def _to_rest(parts: Instances) -> Iterator[Flow]:
    scheduler = parts.topology.scheduler
    words = _with_tls(parts, "TLS, client certificate by name")
    sources = parts.rest_networks()[1:]
    for source in sources:
        yield Flow(source, scheduler.hosts[0], scheduler.port, "scheduler REST", words)
    yield from _to_public(parts, sources, scheduler, "scheduler REST", words)


def _exchange(parts: Instances, copy: Copy) -> Iterator[Flow]:
    purpose = "verify: checkpoints" if copy.transient else "checkpoints"
    for server in parts.servers:
        port = server.checkpoint_port + copy.shift
        yield from _from_each(parts.topology.servers.hosts, server.host, port, purpose, _with_tls(parts, "mutual TLS"))


def _to_servers(parts: Instances, copy: Copy) -> Iterator[Flow]:
    """From workers to the proxy, and from there to the servers; without a proxy to the first server."""
    label = "verify: " if copy.transient else ""
    words = _with_tls(parts, SERVER_TLS)
    proxy = parts.topology.proxy
    entrance, host = parts.entrance(copy), parts.topology.entrance.hosts[0]
    for worker in dict.fromkeys(worker for worker, _number in copy.workers):
        target = parts.server_of(worker, copy)
        if target == entrance:
            yield from _from_each([worker], host, target["port"], f"{label}workers", words)
            continue
        yield Flow(worker, target["address"], target["port"], f"{label}workers", words)
        party = parts.federation.host(worker).party
        if party != parts.topology.party.name:  # whatever is public leads to the entrance
            yield Flow(party, host, entrance["port"], f"{label}workers", words)
    for server in parts.servers:
        port = server.port + copy.shift
        yield from _from_each(proxy.hosts, server.host, port, f"{label}proxy to server", words)


def _from_clients(parts: Instances) -> Iterator[Flow]:
    """Devices and other parties' participants, where the document expects any."""
    proxy, servers = parts.topology.proxy, parts.topology.servers
    if parts.settings["server_mode"] == "CLOUD_TRAINING" and not (proxy.public_url or servers.public_url):
        return
    sources = list(proxy.options.get("allow", ())) or ["clients"]
    behind = [(server.host, server.port) for server in parts.servers]
    for host, port in [(host, proxy.port) for host in proxy.hosts] or behind:
        yield from _from_each(sources, host, port, "clients", _with_tls(parts, SERVER_TLS))
    yield from _to_public(parts, sources, parts.topology.entrance, "clients", SERVER_TLS)


def _to_public(
    parts: Instances, sources: Iterable[str], placement: Placement, purpose: str, words: str
) -> Iterator[Flow]:
    """To the host and port of a public_url, where that is a gateway before what listens, or another port."""
    if placement.public_url is None:
        return
    url, host = network.parse_url(placement.public_url), parts.federation.host(placement.hosts[0])
    port = url.port or network.DEFAULT_PORTS[url.scheme]
    own = (host.name, host.public_name, *host.internal)
    if url.host not in own or port != placement.listening_port:
        for source in sources:
            yield Flow(source, url.host, port, purpose, words if url.scheme == "https" else "none")
