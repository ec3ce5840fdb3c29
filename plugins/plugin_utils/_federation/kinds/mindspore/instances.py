# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Components, and the instances that roles get: of the deployed stack, and of its copy in a verify round."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ... import certificates, network
from ...expanding import Roster, endpoint, instance_name, site_limits
from ...model import Certificate, Endpoint, Expansion, Placement
from .placements import DEFAULT_SHAPES
from .topology import EXCHANGE, Server, Topology

SCHEDULER_LOOPBACK = "127.0.0.1"
SITES = "nginx_sites"


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
        if not model or "source" not in model:
            return model
        shapes = {"shapes": dict(DEFAULT_SHAPES)} if self.topology.trains_default else {}
        return {**model, **shapes, "source": self.beside(model["source"])}

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
            names[host].append(instance_name(self.federation, self.stack, f"worker-{number}", transient=copy.transient))
        return names

    # ... one copy

    def copy(self, copy: Copy) -> Roster:
        """Components and instances of one copy."""
        roster = Roster(self.federation, self.stack, copy.transient)
        if not copy.transient:
            self._add_redis(roster)
        self._add_scheduler(copy, roster)
        self._add_servers(copy, roster)
        self._add_proxy(copy, roster)
        self._add_workers(copy, roster)
        return roster

    def _endpoint(
        self, placement: Placement, host: str, purpose: str, address: str, port: int, **more: Any
    ) -> Endpoint:
        return endpoint(placement, self.federation.host(host), purpose, address, port, **more)

    def _add_redis(self, roster: Roster) -> None:
        placement = self.topology.redis
        for host in placement.hosts:
            paths = certificates.paths(self.federation.name, self.certificate("redis"))
            tls = (
                {"certificate": paths["certificate"], "key": paths["key"], "client_ca": paths["ca"]}
                if self.stack.tls
                else None
            )
            own = self._endpoint(placement, host, "redis", self.redis["address"], self.redis["port"], public=False)
            instance = {
                "addresses": [self.redis["address"]],
                "port": self.redis["port"],
                "persistence": placement.options["persistence"],
                "tls": tls,
                "allow_unauthenticated": tls is None,
                "settings": dict(placement.settings),
            }
            roster.present("redis", "redis", "redis", host, instance, [own])

    def _add_scheduler(self, copy: Copy, roster: Roster) -> None:
        """The scheduler on loopback; nginx before the deployed one's REST interface."""
        placement = self.topology.scheduler
        host, port = placement.hosts[0], placement.listening_port + copy.shift
        front = None if copy.transient else self._add_rest(roster)
        scheme = self.topology.scheme
        own = self._endpoint(
            placement, host, "rest", SCHEDULER_LOOPBACK, port, scheme=scheme, public=False, front=front
        )
        instance = {
            "runtime": self.runtime,
            "listen": {"address": SCHEDULER_LOOPBACK, "port": port},
            "redis": self.redis,
            "tls": self.tls_with_store("scheduler"),
            "settings": copy.settings,
        }
        roster.present("mindspore_scheduler", "scheduler", "scheduler", host, instance, [own])

    def _add_rest(self, roster: Roster) -> Endpoint:
        """nginx before the scheduler's REST interface: client certificates and an allow list."""
        placement = self.topology.scheduler
        host, port = placement.hosts[0], placement.listening_port
        address = self.topology.address("scheduler", host)
        instance = {
            "listen": [{"address": address, "port": port}],
            "server_names": self._asked_names("scheduler", host),
            "allow": self.rest_networks(),
            "limits": site_limits(),
            "body_size_mb": 1,
            "read_timeout_seconds": 60,
            **self._rest_tls(host, port),
        }
        own = self._endpoint(placement, host, "rest-front", address, port, scheme=self.topology.scheme)
        roster.present("nginx", "scheduler", "rest", host, instance, [own], variable=SITES)
        return own

    def _rest_tls(self, host: str, port: int) -> dict[str, Any]:
        """How nginx asks clients of the REST interface who they are, and speaks with the scheduler behind it."""
        name = self.certificate("scheduler")
        paths = certificates.paths(self.federation.name, name)
        upstream: dict[str, Any] = {"servers": [network.join(SCHEDULER_LOOPBACK, port)], "tls": None}
        if not self.stack.tls:
            return {"tls": None, "upstream": upstream}
        clients = [certificates.common_name(name, host), *self.topology.scheduler.options["clients"]]
        tls = {"certificate": paths["chain"], "key": paths["key"], "client_names": clients}
        tls |= certificates.vouched(paths, self.party)
        own = certificates.service_name(self.topology.party, name)
        upstream["tls"] = {"name": own, **certificates.believed(paths, self.party)}
        return {"tls": tls, "upstream": upstream}

    def _asked_names(self, role: str, host: str) -> list[str]:
        """By what clients ask for a site."""
        placement, address = self.stack.placements[role], self.topology.address(role, host)
        own = certificates.service_name(self.topology.party, self.certificate(role))
        return certificates.asked_names(placement, self.federation.host(host), address, own)

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

    def _add_servers(self, copy: Copy, roster: Roster) -> None:
        """The servers, each with its exchange of checkpoints, which knows all others'."""
        exchange = [self._exchange(server, copy) for server in self.servers]
        shared = {
            "runtime": self.runtime,
            "redis": self.redis,
            "tls": self.tls_with_store("server"),
            "settings": copy.settings,
            "initial_model": None if copy.transient else self.model,
        }
        mutual = self._mutual_tls("server")
        for index, server in enumerate(self.servers):
            checkpoints = {
                "address": server.address,
                "port": server.checkpoint_port + copy.shift,
                "peers": [*exchange[:index], *exchange[index + 1 :]],
                "tls": mutual,
            }
            own = {
                "http": {"address": server.address, "port": server.port + copy.shift},
                "tcp_address": server.address,
                "checkpoints": checkpoints,
            }
            name, (reached, exchanged) = f"server-{server.number}", self._server_endpoints(server, copy)
            roster.present("mindspore_server", "servers", name, server.host, shared | own, reached)
            roster.beside("mindspore_server", "servers", name + EXCHANGE, server.host, [exchanged])

    def _server_endpoints(self, server: Server, copy: Copy) -> tuple[list[Endpoint], Endpoint]:
        """A server's own endpoints, and the one of its exchange; behind a proxy none is told to others."""
        placement, scheme, alone = self.topology.servers, self.topology.scheme, not self.topology.proxy.hosts
        host, address = server.host, server.address
        http = self._endpoint(placement, host, "http", address, server.port + copy.shift, scheme=scheme, public=alone)
        tcp = Endpoint("tcp", address, None, path=placement.path)
        path = (*placement.path, "checkpoint_port")
        port = server.checkpoint_port + copy.shift
        exchanged = self._endpoint(placement, host, "checkpoints", address, port, public=False, path=path)
        return [http, tcp], exchanged

    def _mutual_tls(self, role: str) -> dict[str, str] | None:
        """What both sides of a connection show and trust."""
        paths = certificates.paths(self.federation.name, self.certificate(role))
        return {"certificate": paths["chain"], "key": paths["key"], "ca": paths["ca"]} if self.stack.tls else None

    def _add_proxy(self, copy: Copy, roster: Roster) -> None:
        placement = self.topology.proxy
        for host in placement.hosts:
            address = placement.bind or self.topology.address("proxy", host)
            port = placement.listening_port + copy.shift
            paths = certificates.paths(self.federation.name, self.certificate("proxy"))
            tls: dict[str, Any] | None = None
            upstream_tls: dict[str, Any] | None = None
            if self.stack.tls:
                tls = {"certificate": paths["chain"], "key": paths["key"], "client_ca": None, "client_names": []}
                behind = certificates.service_name(self.topology.party, self.certificate("server"))
                upstream_tls = {"name": behind, **certificates.believed(paths, self.party)}
            instance = {
                "listen": [{"address": address, "port": port}],
                "server_names": self._asked_names("proxy", host),
                "tls": tls,
                "allow": list(placement.options["allow"]),
                "limits": site_limits(self.settings["client"]["connection_num"] * len(self.servers)),
                "upstream": {
                    "servers": [network.join(server.address, server.port + copy.shift) for server in self.servers],
                    "tls": upstream_tls,
                    "retry_non_idempotent": True,
                },
                "body_size_mb": placement.options["body_size_mb"],
                "read_timeout_seconds": placement.options["read_timeout_seconds"],
            }
            own = self._endpoint(placement, host, "http", address, port, scheme=self.topology.scheme)
            roster.present("nginx", "proxy", "proxy", host, instance, [own], variable=SITES)

    def _add_workers(self, copy: Copy, roster: Roster) -> None:
        role = (
            "worker" if self.topology.workers.hosts else "server"
        )  # without workers the round's run beside the servers
        shared = {
            "runtime": self.runtime,
            "tls": self.tls(role),
            "settings": copy.settings,
        }
        for index, (host, number) in enumerate(copy.workers):
            own = {"server": self.server_of(host, copy), "application": copy.application(index)}
            roster.present("mindspore_worker", "workers", f"worker-{number}", host, shared | own)


_REMOVED: Sequence[tuple[str, str, str, str, tuple[str, ...]]] = (
    ("redis", "redis", "redis", "", ("redis",)),
    ("mindspore_scheduler", "scheduler", "scheduler", "", ("scheduler", "scheduler-store")),
    ("nginx", "scheduler", "rest", SITES, ()),
    ("mindspore_server", "servers", "server", "", ("server", "server-store")),
    ("nginx", "proxy", "proxy", SITES, ("proxy",)),
    ("mindspore_worker", "workers", "worker", "", ("worker",)),
)
"""Role, placement, component, variable and certificates of what can be absent."""


def removal(topology: Topology) -> Expansion:
    """Everything that is to be removed, by name."""
    roster = Roster(topology.federation, topology.stack)
    gone: list[Certificate] = []
    for role, placement_name, component, variable, names in _REMOVED:
        placement = topology.stack.placements.get(placement_name, Placement())
        per_host = placement.options.get("per_host")
        suffixes = [f"-{number + 1}" for number in range(per_host)] if per_host else [""]
        for host in placement.absent:
            for suffix in suffixes:
                roster.absent(role, placement_name, f"{component}{suffix}", host, variable=variable)
                if role == "mindspore_server":
                    roster.beside(role, placement_name, f"{component}{suffix}{EXCHANGE}", host, state="absent")
            gone += [Certificate(f"{topology.prefix}-{each}", host, "", "", state="absent") for each in names]
    return Expansion(
        components=tuple(roster.components),
        certificates=tuple(gone),
        variables=roster.variables,
        open_files=dict.fromkeys((*topology.servers.absent, *topology.proxy.absent), 0),
    )
