# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Components, and the instances that roles get: of the deployed stack, and of its copy in a verify round."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ... import certificates, network
from ...expanding import Roster, endpoint, identity
from ...model import Certificate, Component, Endpoint, Expansion, Placement
from .settings import program_keys
from .topology import Server, Topology

SCHEDULER_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Copy:
    """The deployed stack, or its transient copy for the verify round.

    ``application`` gives the application of the worker with this index; ``workers`` are host and number of each.
    """

    shift: int
    settings: Mapping[str, Any]
    workers: Sequence[tuple[str, int]]
    application: Callable[[int], Mapping[str, Any]]
    transient: bool = False


class Instances:
    """Turns a right topology into components and the instances that roles get."""

    def __init__(self, topology: Topology, settings: Mapping[str, Any]) -> None:
        self.topology = topology
        self.stack = topology.stack
        self.federation = topology.federation
        self.version: str = self.stack.options["runtime"]["version"]
        self.settings = settings
        self.party = certificates.party_authority(self.federation, topology.party)
        self.store = certificates.store_authority(self.federation, topology.party, self.stack.name)
        self.servers = topology.server_places()
        self.runtime = self._runtime()
        self.redis = self._redis_address()
        self.model = self._initial_model()

    # ... shared parts of instances

    def beside(self, path: str) -> str:
        return posixpath.join(self.federation.directory, path)

    def _runtime(self) -> dict[str, Any]:
        runtime = dict(self.stack.options["runtime"])
        if "wheels" in runtime:
            runtime["wheels"] = self.beside(runtime["wheels"])
        archive = runtime["python"].get("archive")
        if archive and "://" not in archive["source"]:
            runtime["python"] = {**runtime["python"], "archive": {**archive, "source": self.beside(archive["source"])}}
        return runtime

    def _redis_address(self) -> dict[str, Any]:
        placement = self.topology.redis
        if placement.external:
            return {"address": placement.external["address"], "port": placement.external["port"]}
        return {"address": self.topology.address("redis", placement.hosts[0]), "port": placement.port}

    def _initial_model(self) -> dict[str, Any] | None:
        model = self.topology.servers.options.get("initial_model")
        return {**model, "source": self.beside(model["source"])} if model and "source" in model else model

    def certificate(self, role: str) -> str:
        """The name of a role's certificate; both copies use the same."""
        return f"{self.topology.prefix}-{role}"

    def tls(self, role: str) -> dict[str, Any] | None:
        """What a scheduler, server or worker speaks TLS with."""
        if not self.stack.tls:
            return None
        own = certificates.paths(self.federation.name, self.certificate(role))
        return {"pkcs12": own["pkcs12"], "password": own["password"], "ca": own["ca"]}

    def tls_with_store(self, role: str) -> dict[str, Any] | None:
        """The same with what Redis asks for."""
        store = certificates.paths(self.federation.name, self.certificate(f"{role}-store"))
        found = self.tls(role)
        if found is None:
            return None
        return found | {"store_ca": store["ca"], "store_certificate": store["certificate"], "store_key": store["key"]}

    def entrance(self, copy: Copy) -> dict[str, Any]:
        """The address and port of whom participants connect to: the proxy, or without one the first server."""
        entrance = self.topology.entrance
        host = entrance.hosts[0]
        role = "proxy" if self.topology.proxy.hosts else "servers"
        return {"address": self.topology.address(role, host), "port": entrance.listening_port + copy.shift}

    def server_of(self, worker: str, copy: Copy) -> dict[str, Any]:
        """Where a host's workers connect: another party's to what is public, where the document says what is."""
        proxy = self.topology.proxy
        public = self.topology.public_place()
        if public is not None and self.federation.host(worker).party != self.topology.party.name:
            return {"address": public[0], "port": public[1] + copy.shift}
        if proxy.hosts and proxy.internal_url and not copy.transient:
            url = network.parse_url(proxy.internal_url)
            return {"address": url.host, "port": url.port or network.DEFAULT_PORTS[url.scheme]}
        return self.entrance(copy)

    def participants(self, copy: Copy) -> dict[str, list[str]]:
        """Host by host, the names of a copy's workers."""
        names: dict[str, list[str]] = defaultdict(list)
        for host, number in copy.workers:
            names[host].append(self._name(copy, f"worker-{number}"))
        return names

    # ... one copy

    def copy(self, copy: Copy) -> Roster:
        """Components and instances of one copy."""
        roster = Roster()
        if not copy.transient:
            self._add_redis(copy, roster)
        self._add_scheduler(copy, roster)
        self._add_servers(copy, roster)
        self._add_proxy(copy, roster)
        self._add_workers(copy, roster)
        return roster

    def _instance(self, copy: Copy, component: str) -> dict[str, Any]:
        return identity(self.federation, self.stack, component, transient=copy.transient)

    def _name(self, copy: Copy, component: str) -> str:
        return str(self._instance(copy, component)["name"])

    def _component(
        self, copy: Copy, component: str, placement: str, role: str, host: str, endpoints: Iterable[Endpoint] = ()
    ) -> Component:
        name = self._name(copy, component)
        return Component(name, self.stack.name, placement, role, host, endpoints=tuple(endpoints))

    def _endpoint(
        self, placement: Placement, host: str, purpose: str, address: str, port: int, **more: Any
    ) -> Endpoint:
        return endpoint(placement, self.federation.host(host), purpose, address, port, **more)

    def _add_redis(self, copy: Copy, result: Roster) -> None:
        placement = self.topology.redis
        for host in placement.hosts:
            paths = certificates.paths(self.federation.name, self.certificate("redis"))
            tls = (
                {"certificate": paths["certificate"], "key": paths["key"], "client_ca": paths["ca"]}
                if self.stack.tls
                else None
            )
            own = self._endpoint(placement, host, "redis", self.redis["address"], self.redis["port"], public=False)
            instance = self._instance(copy, "redis") | {
                "addresses": [self.redis["address"]],
                "port": self.redis["port"],
                "persistence": placement.options["persistence"],
                "tls": tls,
                "allow_unauthenticated": tls is None,
                "settings": dict(placement.settings),
            }
            result.add(self._component(copy, "redis", "redis", "redis", host, [own]), "redis_instances", instance)

    def _add_scheduler(self, copy: Copy, result: Roster) -> None:
        """The scheduler on loopback; nginx before the deployed one's REST interface."""
        placement = self.topology.scheduler
        host, port = placement.hosts[0], placement.listening_port + copy.shift
        front = None if copy.transient else self._add_rest(copy, result)
        scheme = self.topology.scheme
        own = self._endpoint(
            placement, host, "rest", SCHEDULER_LOOPBACK, port, scheme=scheme, public=False, front=front
        )
        instance = self._instance(copy, "scheduler") | {
            "runtime": self.runtime,
            "listen": {"address": SCHEDULER_LOOPBACK, "port": port},
            "redis": self.redis,
            "tls": self.tls_with_store("scheduler"),
            "settings": program_keys(copy.settings, self.version),
        }
        component = self._component(copy, "scheduler", "scheduler", "mindspore_scheduler", host, [own])
        result.add(component, "mindspore_scheduler_instances", instance)

    def _add_rest(self, copy: Copy, result: Roster) -> Endpoint:
        """nginx before the scheduler's REST interface: client certificates and an allow list."""
        placement = self.topology.scheduler
        host, port = placement.hosts[0], placement.listening_port
        address = self.topology.address("scheduler", host)
        instance = self._instance(copy, "rest") | {
            "listen": [{"address": address, "port": port}],
            "server_names": [],
            "allow": self.rest_networks(),
            "body_size_mb": 1,
            "read_timeout_seconds": 60,
            **self._rest_tls(host, port),
        }
        own = self._endpoint(placement, host, "rest-front", address, port, scheme=self.topology.scheme)
        result.add(self._component(copy, "rest", "scheduler", "nginx", host, [own]), "nginx_sites", instance)
        return own

    def _rest_tls(self, host: str, port: int) -> dict[str, Any]:
        """How nginx asks clients of the REST interface who they are, and speaks with the scheduler behind it."""
        name = self.certificate("scheduler")
        paths = certificates.paths(self.federation.name, name)
        upstream: dict[str, Any] = {"servers": [network.join(SCHEDULER_LOOPBACK, port)], "tls": None}
        if not self.stack.tls:
            return {"tls": None, "upstream": upstream}
        clients = [certificates.common_name(name, host), *self.topology.scheduler.options["clients"]]
        tls = {"certificate": paths["chain"], "key": paths["key"], "client_ca": paths["ca"], "client_names": clients}
        upstream["tls"] = {"ca": paths["ca"], "name": name, "certificate": None, "key": None}
        return {"tls": tls, "upstream": upstream}

    def rest_networks(self) -> list[str]:
        """Who may reach the REST interface."""
        placement = self.topology.scheduler
        own = network.single(self.topology.address("scheduler", placement.hosts[0]))
        return list(dict.fromkeys([own, *placement.options.get("allow", ())]))

    def _exchange(self, server: Server, copy: Copy) -> dict[str, str]:
        """Where a server's checkpoints are, and the name that its certificate has."""
        return {
            "endpoint": network.join(server.address, server.checkpoint_port + copy.shift),
            "name": certificates.common_name(self.certificate("server"), server.host),
        }

    def _add_servers(self, copy: Copy, result: Roster) -> None:
        placement = self.topology.servers
        exchange = [self._exchange(server, copy) for server in self.servers]
        paths = certificates.paths(self.federation.name, self.certificate("server"))
        mutual = {"certificate": paths["chain"], "key": paths["key"], "ca": paths["ca"]} if self.stack.tls else None
        shared = {
            "runtime": self.runtime,
            "redis": self.redis,
            "tls": self.tls_with_store("server"),
            "settings": program_keys(copy.settings, self.version),
            "initial_model": None if copy.transient else self.model,
        }
        for index, server in enumerate(self.servers):
            port, checkpoint_port = server.port + copy.shift, server.checkpoint_port + copy.shift
            scheme, alone = self.topology.scheme, not self.topology.proxy.hosts
            endpoints = [
                self._endpoint(placement, server.host, "http", server.address, port, scheme=scheme, public=alone),
                Endpoint("tcp", server.address, None, path=placement.path),
            ]
            path = (*placement.path, "checkpoint_port")
            exchanged = self._endpoint(
                placement, server.host, "checkpoints", server.address, checkpoint_port, public=False, path=path
            )
            instance = (
                self._instance(copy, f"server-{server.number}")
                | shared
                | {
                    "http": {"address": server.address, "port": port},
                    "tcp_address": server.address,
                    "checkpoints": {
                        "address": server.address,
                        "port": checkpoint_port,
                        "peers": [*exchange[:index], *exchange[index + 1 :]],
                        "tls": mutual,
                    },
                }
            )
            name = f"server-{server.number}"
            component = self._component(copy, name, "servers", "mindspore_server", server.host, endpoints)
            result.add(component, "mindspore_server_instances", instance)
            beside = self._component(
                copy, f"{name}-checkpoints", "servers", "mindspore_server", server.host, [exchanged]
            )
            result.components.append(beside)

    def _add_proxy(self, copy: Copy, result: Roster) -> None:
        placement = self.topology.proxy
        for host in placement.hosts:
            address = placement.bind or self.topology.address("proxy", host)
            port = placement.listening_port + copy.shift
            paths = certificates.paths(self.federation.name, self.certificate("proxy"))
            tls: dict[str, Any] | None = None
            upstream_tls: dict[str, Any] | None = None
            if self.stack.tls:
                tls = {"certificate": paths["chain"], "key": paths["key"], "client_ca": None, "client_names": []}
                upstream_tls = {"ca": paths["ca"], "name": self.certificate("server"), "certificate": None, "key": None}
            instance = self._instance(copy, "proxy") | {
                "listen": [{"address": address, "port": port}],
                "server_names": [],
                "tls": tls,
                "allow": list(placement.options["allow"]),
                "upstream": {
                    "servers": [network.join(server.address, server.port + copy.shift) for server in self.servers],
                    "tls": upstream_tls,
                    "retry_non_idempotent": True,
                },
                "body_size_mb": placement.options["body_size_mb"],
                "read_timeout_seconds": placement.options["read_timeout_seconds"],
            }
            own = self._endpoint(placement, host, "http", address, port, scheme=self.topology.scheme)
            result.add(self._component(copy, "proxy", "proxy", "nginx", host, [own]), "nginx_sites", instance)

    def _add_workers(self, copy: Copy, result: Roster) -> None:
        role = (
            "worker" if self.topology.workers.hosts else "server"
        )  # without workers the round's run beside the servers
        shared = {
            "runtime": self.runtime,
            "tls": self.tls(role),
            "settings": program_keys(copy.settings, self.version),
        }
        for index, (host, number) in enumerate(copy.workers):
            own = {"server": self.server_of(host, copy), "application": copy.application(index)}
            instance = self._instance(copy, f"worker-{number}") | shared | own
            component = self._component(copy, f"worker-{number}", "workers", "mindspore_worker", host)
            result.add(component, "mindspore_worker_instances", instance)


_REMOVED: Sequence[tuple[str, str, str, str, tuple[str, ...]]] = (
    ("redis", "redis", "redis", "redis_instances", ("redis",)),
    (
        "scheduler",
        "scheduler",
        "mindspore_scheduler",
        "mindspore_scheduler_instances",
        ("scheduler", "scheduler-store"),
    ),
    ("scheduler", "rest", "nginx", "nginx_sites", ()),
    ("servers", "server", "mindspore_server", "mindspore_server_instances", ("server", "server-store")),
    ("proxy", "proxy", "nginx", "nginx_sites", ("proxy",)),
    ("workers", "worker", "mindspore_worker", "mindspore_worker_instances", ("worker",)),
)
"""Placement, component, role, variable and certificates of what can be absent."""


def removal(topology: Topology) -> Expansion:
    """Everything that is to be removed, by name."""
    roster = Roster()
    gone: list[Certificate] = []
    stack, federation = topology.stack, topology.federation
    for placement_name, component, role, variable, names in _REMOVED:
        placement = stack.placements.get(placement_name, Placement())
        per_host = placement.options.get("per_host")
        suffixes = [f"-{number + 1}" for number in range(per_host)] if per_host else [""]
        for host in placement.absent:
            for suffix in suffixes:
                instance = identity(federation, stack, f"{component}{suffix}", state="absent")
                absent = Component(instance["name"], stack.name, placement_name, role, host, state="absent")
                roster.add(absent, variable, instance)
            gone += [Certificate(f"{topology.prefix}-{each}", host, "", "", state="absent") for each in names]
    return Expansion(components=tuple(roster.components), certificates=tuple(gone), variables=roster.variables)
