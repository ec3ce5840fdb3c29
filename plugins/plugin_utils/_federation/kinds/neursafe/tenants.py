# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who has something of a cluster's nodes, in all stacks of the document: what of it two can't have.

A cluster is one by two names where both have the same kubeconfig. Where two kubeconfigs lead to one only its API can
tell, which is asked before anything is changed there (``_cluster/nodes.py``).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ... import network
from ...model import Component, Endpoint, Path
from .apart import GIVEN_WHOLE, ON_A_DISK, Share, breaches, overlap, within

if TYPE_CHECKING:
    from .clients import Client
    from .topology import Topology


KUBERNETES = {"the kubelet": 10250, "kube-proxy": 10256}
"""What listens on every node."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A server, or a client, in words for messages; ``ports`` are those of nodes, with where each is said."""

    stack: str
    cluster: str
    named: str
    """The cluster, as the document calls it here."""
    who: str
    path: Path
    folder: str
    folder_key: str
    user: int
    ports: Mapping[int, Path]
    lmdb: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_server(self) -> bool:
        return self.folder_key == "shared_directory"

    def to(self, other: Tenant) -> str:
        """What it is called in a message about the other."""
        return self.who if other.stack == self.stack else f"{self.who} of stack '{self.stack}'"

    def share(self, whose: str) -> Share:
        return Share(whose, self.folder, self.user, self.lmdb)


def identity(topology: Topology, cluster: str) -> str:
    """What is the same for two names of one cluster."""
    return posixpath.normpath(topology.federation.clusters[cluster].kubeconfig)


def tenants(topology: Topology) -> Iterator[Tenant]:
    """A stack's, the server first."""
    if topology.server.cluster is not None:
        yield _server(topology, topology.server.cluster)
    for client in topology.clients:
        if client.place.cluster is not None:
            yield _client(topology, client, client.place.cluster)


def _server(topology: Topology, cluster: str) -> Tenant:
    options, settings = topology.server.options, (*topology.stack.path, "settings")
    ports = {port: (*settings, *owner.split(".")) for owner, port in topology.node_ports()}
    if topology.gateway.serves_clients:
        ports.setdefault(topology.gateway.clients_port, (*topology.server.path, "ingress", "clients_port"))
    return Tenant(
        topology.stack.name,
        identity(topology, cluster),
        cluster,
        "the server",
        topology.server.path,
        options["shared_directory"],
        "shared_directory",
        options["user"],
        ports,
    )


def _client(topology: Topology, client: Client, cluster: str) -> Tenant:
    manager, options = client.settings["task_manager"], client.options
    told = (*client.place.path, "settings", "task_manager", "port")
    return Tenant(
        topology.stack.name,
        identity(topology, cluster),
        cluster,
        f"client '{client.name}'",
        client.place.path,
        options["directory"],
        "directory",
        options["user"],
        {manager["port"]: told} if manager["external"] else {},
        options["lmdb"],
    )


def meetings(known: list[Tenant], own: list[Tenant]) -> Iterator[tuple[Path, str]]:
    """What ``own`` would have of others, of each other too: where it is said, and what is wrong."""
    clusters = dict.fromkeys(one.cluster for one in own)
    for cluster in clusters:
        before = [one for one in known if one.cluster == cluster]
        coming = [one for one in own if one.cluster == cluster]
        taken = {port: one for one in reversed(before) for port in one.ports}
        for tenant in coming:
            if tenant.is_server and any(one.is_server for one in before):
                continue  # a cluster takes one, which is told by itself
            yield from _ports(tenant, taken)
            yield from _files(tenant, before)
            before.append(tenant)
        yield from _of_clients(before, coming)


def _ports(tenant: Tenant, taken: dict[int, Tenant]) -> Iterator[tuple[Path, str]]:
    for port, path in tenant.ports.items():
        first = taken.setdefault(port, tenant)
        if first is not tenant:
            yield path, f"{port} of the nodes of '{tenant.named}' is {first.to(tenant)}'s: give it another"


def _files(tenant: Tenant, before: list[Tenant]) -> Iterator[tuple[Path, str]]:
    """Pods see the folder that a directory lies in; and lmdb maps its file."""
    for other in before:
        if other.is_server != tenant.is_server:
            yield from _of_server(tenant, other)
    first = next((one for one in before if overlap(tenant.folder, one.folder)), None)
    if first is not None:
        whose = f"{first.to(tenant)}'s too, in '{tenant.named}'"
        message = f"'{tenant.folder}' is {whose}: tasks would have each other's files"
        yield (*tenant.path, tenant.folder_key), message


def _of_server(tenant: Tenant, other: Tenant) -> Iterator[tuple[Path, str]]:
    """Of a client and a server, of which one is told to be wrong."""
    server, client = (tenant, other) if tenant.is_server else (other, tenant)
    disk, whose = client.lmdb.get("path"), other.to(tenant)
    if disk is not None and overlap(disk, server.folder):
        inside = within(disk, server.folder)
        if tenant is client:
            what = f"is in {whose}'s shared directory" if inside else f"has {whose}'s shared directory in it"
            yield (*client.path, "lmdb", "path"), f"'{disk}' {what}, {ON_A_DISK if inside else GIVEN_WHOLE}"
        else:
            what = f"is in '{server.folder}', {ON_A_DISK}" if inside else f"has '{server.folder}' in it, {GIVEN_WHOLE}"
            yield (*server.path, "shared_directory"), f"'{disk}', where {whose} has its lmdb, {what}"
    if tenant.user == other.user:
        who = "this client" if tenant is client else whose
        yield (*tenant.path, "user"), f"{tenant.user} is {whose}'s user, too, and {who} would have its models"


def _of_clients(everybody: list[Tenant], own: list[Tenant]) -> Iterator[tuple[Path, str]]:
    """What clients would have of each other."""
    clients = [one for one in everybody if not one.is_server]
    shares = [one.share(one.to(own[0])) for one in clients]
    for number, path, message in breaches(shares):
        if clients[number].stack == own[0].stack:
            yield (*clients[number].path, *path), message


def held(topology: Topology) -> Iterator[Component]:
    """Ports of the server's nodes, as far as they are hosts of ours, that the cluster has there."""
    cluster, nodes = topology.server.cluster, topology.nodes
    if cluster is None:
        return
    services: dict[int, Path] = {}
    for tenant in tenants(topology):
        services |= tenant.ports if tenant.cluster == identity(topology, cluster) else {}
    for port in _of_nginx(topology):
        services.pop(port, None)
    where = (*nodes.path, nodes.where) if nodes.hosts else ()
    known = {f"a Service of cluster '{cluster}'": services}
    known |= {name: {port: where} for name, port in KUBERNETES.items()}
    for host in nodes.hosts:
        own = topology.federation.host(host)
        sshd = {int(own.connection.get("ansible_port", 22)): own.path}
        for name, ports in (*known.items(), ("sshd", sshd)):
            endpoints = tuple(Endpoint("node", network.ANY_IPV6, port, path=path) for port, path in ports.items())
            yield Component(name, topology.stack.name, "nodes", "", host, endpoints=endpoints)


def _of_nginx(topology: Topology) -> Iterator[int]:
    """Those of the server's that nginx on the nodes has, or nobody."""
    if not topology.settings["api_server"]["external"]:
        yield topology.settings["api_server"]["http_port"]
    if topology.gateway.there or not topology.settings["api_server"]["external"]:
        yield topology.settings["api_server"]["https_port"]
    if topology.gateway.serves_clients:
        yield topology.gateway.clients_port
