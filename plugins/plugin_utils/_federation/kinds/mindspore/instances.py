# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Components, and the instances that roles get: of the deployed stack, and of its copy in a verify round."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ... import certificates, network
from ...model import Certificate, Component, Endpoint, Expansion, Placement
from .settings import program_keys
from .topology import Server, Topology

SCHEDULER_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Copy:
    """The deployed stack, or its transient copy for the verify round.

    ``application`` gives the application of the worker with this index; ``workers`` are host and number of each.
    """

    prefix: str
    shift: int
    settings: Mapping[str, Any]
    workers: Sequence[tuple[str, int]]
    application: Callable[[int], Mapping[str, Any]]
    transient: bool = False


@dataclass(slots=True)
class Result:
    """What a copy expands into."""

    components: list[Component] = field(default_factory=list)
    variables: dict[str, dict[str, list[dict[str, Any]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def add(self, component: Component, variable: str, instance: dict[str, Any]) -> None:
        """One component and its role's instance."""
        self.components.append(component)
        self.variables[component.host][variable].append(instance)


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

    def participants_server(self, copy: Copy) -> dict[str, Any]:
        """Where workers connect: the proxy, or without one the first server."""
        proxy = self.topology.proxy
        if proxy.hosts and proxy.internal_url and not copy.transient:
            url = network.parse_url(proxy.internal_url)
            return {"address": url.host, "port": url.port or network.DEFAULT_PORTS[url.scheme]}
        if proxy.hosts and proxy.port is not None:
            return {"address": self.topology.address("proxy", proxy.hosts[0]), "port": proxy.port + copy.shift}
        return {"address": self.servers[0].address, "port": self.servers[0].port + copy.shift}

    # ... one copy

    def copy(self, copy: Copy) -> Result:
        """Components and instances of one copy."""
        result = Result()
        if not copy.transient:
            self._add_redis(copy, result)
            self._add_rest(copy, result)
        self._add_scheduler(copy, result)
        self._add_servers(copy, result)
        self._add_proxy(copy, result)
        self._add_workers(copy, result)
        return result

    def _instance(self, copy: Copy, component: str) -> dict[str, Any]:
        base: dict[str, Any] = {
            "name": f"{copy.prefix}-{component}",
            "state": "present",
            "federation": self.federation.name,
            "stack": self.stack.name,
        }
        return base | {"transient": True} if copy.transient else base

    def _component(
        self, copy: Copy, name: str, placement: str, role: str, host: str, endpoints: Iterable[Endpoint] = ()
    ) -> Component:
        return Component(f"{copy.prefix}-{name}", self.stack.name, placement, role, host, endpoints=tuple(endpoints))

    def _endpoint(
        self, placement: Placement, purpose: str, address: str, port: int, *, scheme: str = "", key: str = "port"
    ) -> Endpoint:
        internal = network.join(address, port)
        if scheme:
            internal = f"{scheme}://{internal}"
        public = placement.public_url if purpose in ("http", "rest-front") else None
        return Endpoint(
            purpose, address, port, internal=internal, public=public or internal, path=(*placement.path, key)
        )

    def _add_redis(self, copy: Copy, result: Result) -> None:
        placement = self.topology.redis
        for host in placement.hosts:
            paths = certificates.paths(self.federation.name, self.certificate("redis"))
            tls = (
                {"certificate": paths["certificate"], "key": paths["key"], "client_ca": paths["ca"]}
                if self.stack.tls
                else None
            )
            endpoint = self._endpoint(placement, "redis", self.redis["address"], self.redis["port"])
            instance = self._instance(copy, "redis") | {
                "addresses": [self.redis["address"]],
                "port": self.redis["port"],
                "persistence": placement.options["persistence"],
                "tls": tls,
                "allow_unauthenticated": tls is None,
                "settings": dict(placement.settings),
            }
            result.add(self._component(copy, "redis", "redis", "redis", host, [endpoint]), "redis_instances", instance)

    def _add_scheduler(self, copy: Copy, result: Result) -> None:
        placement = self.topology.scheduler
        assert placement.port is not None
        port = placement.port + copy.shift
        endpoint = self._endpoint(placement, "rest", SCHEDULER_LOOPBACK, port, scheme=self.topology.scheme)
        instance = self._instance(copy, "scheduler") | {
            "runtime": self.runtime,
            "listen": {"address": SCHEDULER_LOOPBACK, "port": port},
            "redis": self.redis,
            "tls": self.tls_with_store("scheduler"),
            "settings": program_keys(copy.settings, self.version),
        }
        component = self._component(
            copy, "scheduler", "scheduler", "mindspore_scheduler", placement.hosts[0], [endpoint]
        )
        result.add(component, "mindspore_scheduler_instances", instance)

    def _add_rest(self, copy: Copy, result: Result) -> None:
        """nginx before the scheduler's REST interface: client certificates and an allow list."""
        placement = self.topology.scheduler
        host = placement.hosts[0]
        address = self.topology.address("scheduler", host)
        assert placement.port is not None
        paths = certificates.paths(self.federation.name, self.certificate("scheduler"))
        upstream: dict[str, Any] = {"servers": [network.join(SCHEDULER_LOOPBACK, placement.port)], "tls": None}
        tls = None
        if self.stack.tls:
            names = [certificates.common_name(self.certificate("scheduler"), host), *placement.options["clients"]]
            tls = {"certificate": paths["chain"], "key": paths["key"], "client_ca": paths["ca"], "client_names": names}
            upstream["tls"] = {
                "ca": paths["ca"],
                "name": self.certificate("scheduler"),
                "certificate": None,
                "key": None,
            }
        instance = self._instance(copy, "rest") | {
            "listen": [{"address": address, "port": placement.port}],
            "server_names": [],
            "tls": tls,
            "allow": self.rest_networks(),
            "upstream": upstream,
            "body_size_mb": 1,
            "read_timeout_seconds": 60,
        }
        endpoint = self._endpoint(placement, "rest-front", address, placement.port, scheme=self.topology.scheme)
        result.add(self._component(copy, "rest", "scheduler", "nginx", host, [endpoint]), "nginx_sites", instance)

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

    def _add_servers(self, copy: Copy, result: Result) -> None:
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
            endpoints = [
                self._endpoint(placement, "http", server.address, port, scheme=self.topology.scheme),
                Endpoint("tcp", server.address, None, path=placement.path),
            ]
            exchanged = self._endpoint(placement, "checkpoints", server.address, checkpoint_port, key="checkpoint_port")
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

    def _add_proxy(self, copy: Copy, result: Result) -> None:
        placement = self.topology.proxy
        for host in placement.hosts:
            assert placement.port is not None
            address, port = placement.bind or self.topology.address("proxy", host), placement.port + copy.shift
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
            endpoint = self._endpoint(placement, "http", address, port, scheme=self.topology.scheme)
            result.add(self._component(copy, "proxy", "proxy", "nginx", host, [endpoint]), "nginx_sites", instance)

    def _add_workers(self, copy: Copy, result: Result) -> None:
        role = (
            "worker" if self.topology.workers.hosts else "server"
        )  # without workers the round's run beside the servers
        shared = {
            "runtime": self.runtime,
            "server": self.participants_server(copy),
            "tls": self.tls(role),
            "settings": program_keys(copy.settings, self.version),
        }
        for index, (host, number) in enumerate(copy.workers):
            instance = self._instance(copy, f"worker-{number}") | shared | {"application": copy.application(index)}
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
    result = Result()
    gone: list[Certificate] = []
    common = {"state": "absent", "federation": topology.federation.name, "stack": topology.stack.name}
    for placement_name, component, role, variable, names in _REMOVED:
        placement = topology.stack.placements.get(placement_name, Placement())
        per_host = placement.options.get("per_host")
        suffixes = [f"-{number + 1}" for number in range(per_host)] if per_host else [""]
        for host in placement.absent:
            for suffix in suffixes:
                name = f"{topology.prefix}-{component}{suffix}"
                absent = Component(name, topology.stack.name, placement_name, role, host, state="absent")
                result.add(absent, variable, {"name": name, **common})
            gone += [Certificate(f"{topology.prefix}-{each}", host, "", "", state="absent") for each in names]
    return Expansion(components=tuple(result.components), certificates=tuple(gone), variables=result.variables)
