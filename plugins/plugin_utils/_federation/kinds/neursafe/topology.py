# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stack of the document: what its server is, where it is reached, and what of it can't be."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from ... import network
from ...expanding import Roster, instance_name, service_endpoint
from ...model import Endpoint, Federation, Flow, Path, Placement, Secret, Stack
from ...nodes import Report
from ...schema import complete
from ...unknown import UNKNOWN, attempt
from .clients import Client
from .names import IN_CLUSTER, MAX_NAME, SERVER
from .settings import SERVER_SETTINGS, SETTINGS


def _overlap(one: str, other: str) -> bool:
    """Whether one of the folders is in the other."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


class Topology:
    """The stack, seen for what roles get of it."""

    def __init__(self, stack: Stack, federation: Federation, report: Report) -> None:
        self.stack = stack
        self.federation = federation
        self.report = report
        self.server = stack.placements["server"]
        given = stack.options["clients"]
        known = {} if given is UNKNOWN else given
        self.clients = [Client(self, name, place) for name, place in known.items() if place is not UNKNOWN]

    # -- what can't be

    def check(self) -> None:
        """Note all mistakes."""
        for look in (self._check_name, self._check_state, self._check_alone):
            attempt(look)
        for client in self.clients:
            attempt(client.check)
        attempt(self._check_clients)
        attempt(lambda: self.settings)

    def _check_name(self) -> None:
        if len(self.name) > MAX_NAME:
            message = f"'{self.name}' has {len(self.name)} characters, and a Kubernetes namespace at most {MAX_NAME}"
            self.report.mistake(self.stack.path, message)

    def _check_state(self) -> None:
        """What it keeps its state in is there as long as the server is."""
        if not self.server.places:
            return
        for role in ("storage", "database"):
            if self.stack.placements[role].external is None:
                way_out = "say where it is, or make the server absent"
                self.report.mistake((*self.stack.path, role), f"is absent, and the server needs it: {way_out}")

    def _check_alone(self) -> None:
        """Jobs of all stacks would run in one namespace, by names that only one stack keeps apart."""
        for name, other in self.federation.stacks.items():
            if name == self.stack.name:
                return
            if other.kind == self.stack.kind and other.placements["server"].cluster == self.server.cluster:
                where = self.report.where((*other.path, "server"))
                message = (
                    f"'{self.server.cluster}' has the stack '{name}' already ({where}): jobs of both would run in its "
                    "namespace default, and be mixed up"
                )
                self.report.mistake((*self.server.path, "cluster"), message)

    def _check_clients(self) -> None:
        """In a cluster a port of the nodes has one owner, and so has a folder of theirs."""
        ports: dict[tuple[str | None, int], str] = {}
        folders: list[tuple[str | None, str, str]] = []
        if self.server.cluster is not None:
            ports |= {(self.server.cluster, port): "the server" for port in self._node_ports()}
            folders.append((self.server.cluster, self.server.options["shared_directory"], "the server"))
        for client in self.clients:
            if client.place.cluster is None:
                continue
            port, folder, whose = (
                client.settings["task_manager"]["port"],
                client.place.options["directory"],
                client.name,
            )
            first = ports.setdefault((client.place.cluster, port), f"client '{whose}'")
            if client.settings["task_manager"]["external"] and first != f"client '{whose}'":
                message = f"{port} of the nodes of '{client.place.cluster}' is {first}'s: give it another"
                self.report.mistake((*client.place.path, "settings", "task_manager", "port"), message)
            for cluster, taken, owner in folders:
                if cluster == client.place.cluster and _overlap(folder, taken):
                    message = f"'{folder}' is {owner}'s too, in '{cluster}': tasks would have each other's files"
                    self.report.mistake((*client.place.path, "directory"), message)
            folders.append((client.place.cluster, folder, f"client '{whose}'"))

    def _node_ports(self) -> Iterator[int]:
        if self.settings["proxy"]["external"]:
            yield from (self.settings["proxy"][key] for key in ("grpc_port", "http_port"))
        yield from (self.settings["api_server"][key] for key in ("http_port", "https_port"))

    # -- what it is

    @cached_property
    def whole(self) -> dict[str, Any]:
        """The system's keys, complete: the server's and the clients'."""
        return complete(SETTINGS, self.stack.settings, (*self.stack.path, "settings"), self.report)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The server's."""
        return {key: value for key, value in self.whole.items() if key in SERVER_SETTINGS.keys}

    @property
    def name(self) -> str:
        """The instance, and the Kubernetes namespace that its components have."""
        return instance_name(self.federation, self.stack, SERVER)

    @property
    def party(self) -> str:
        return self.federation.party_of(self.server.places[0])

    def beside(self, values: Mapping[str, Any], *keys: str) -> dict[str, Any]:
        """The same, with paths of files beside the document made whole."""
        found = dict(values)
        for key in keys:
            if key in found:
                found[key] = posixpath.join(self.federation.directory, found[key])
        return found

    def _external(self, role: str) -> dict[str, Any]:
        placement: Placement = self.stack.placements[role]
        return self.beside(placement.external or {}, "ca")

    def _secret_name(self, word: str) -> str:
        return f"{self.stack.name}_{word}"

    def instance(self) -> dict[str, Any]:
        """What the role takes beside its identity."""
        options, database = self.server.options, self.stack.placements["database"].options
        values = {
            **{key: options[key] for key in ("images", "shared_directory", "capacity", "user", "resources", "ingress")},
            "namespaces": self.stack.options["namespaces"],
            "storage": self._external("storage"),
            "database": {**self._external("database"), "engine": database["engine"], "name": database["name"]},
            "token": self._secret_name("token"),
            "settings": self.settings,
        }
        return values | self.beside({"root_cert": self.root_cert} if self.root_cert else {}, "root_cert")

    @property
    def root_cert(self) -> str | None:
        found: str | None = self.settings["client_selector"].get("root_cert")
        return found

    # -- where it is reached

    def _port(self, component: str, key: str) -> tuple[int, Path]:
        path = (*self.stack.path, "settings", component, key)
        return self.settings[component][key], path

    def _inside(self, component: str, purpose: str, scheme: str = "") -> Endpoint:
        port, path = self._port(component, "port")
        service = f"{self.settings[component]['service_name']}.{self.name}.{IN_CLUSTER}"
        return service_endpoint(purpose, service, port, scheme=scheme, path=path)

    def _outside(self, component: str, key: str, purpose: str, scheme: str = "") -> Endpoint:
        """By a port of every node."""
        port, path = self._port(component, key)
        node = self.server.options.get("node_address") or f"node.{self.server.cluster}"
        told = str(network.Url(scheme, node, port)) if scheme else network.join(node, port)
        return Endpoint(purpose, node, port, internal=told, public=told, path=path)

    def endpoints(self) -> Iterator[tuple[str, list[Endpoint]]]:
        """Each component by its word, and where it is reached."""
        users = self.settings["api_server"]["external"]
        scheduler, manager = (
            [self._inside("job_scheduler", "http", "http")],
            [self._inside("model_manager", "http", "http")],
        )
        if users:
            tls = "tls_secret" in self.server.options["ingress"]
            key, scheme = ("https_port", "https") if tls else ("http_port", "http")
            scheduler.append(self._outside("api_server", key, "api", scheme))
        yield "server", scheduler
        yield "model-manager", manager
        yield "selector", [self._inside("client_selector", "grpc")]
        if self.settings["proxy"]["external"]:
            yield (
                "proxy",
                [
                    self._outside("proxy", "grpc_port", "grpc"),
                    self._outside("proxy", "http_port", "health", "http"),
                ],
            )

    # -- what it needs

    def secrets(self) -> Iterator[Secret]:
        """All of them: made, unless the operator puts those of others' services in first."""
        yield Secret(
            self._secret_name("token"), self.party, f"lets the job scheduler of '{self.stack.name}' change routes"
        )
        for role in ("database", "storage"):
            found = self._external(role)
            if "secret" in found:
                yield Secret(found["secret"], self.party, f"the password of '{found['username']}' in the {role}")
        pull = self.server.options["images"].get("pull")
        if pull:
            yield Secret(pull["secret"], self.party, f"the password of '{pull['username']}' in the registry")

    def all_secrets(self) -> Iterator[Secret]:
        """The server's and the clients', each once a party."""
        found: dict[tuple[str, str], Secret] = {}
        for secret in (
            *(self.secrets() if self.server.places else ()),
            *(each for client in self.clients for each in client.secrets()),
        ):
            found.setdefault((secret.name, secret.party), secret)
        yield from found.values()

    def all_flows(self) -> Iterator[Flow]:
        """The server's and the clients'."""
        if self.server.places:
            yield from self.flows()
        for client in self.clients:
            yield from client.flows()

    def flows(self) -> Iterator[Flow]:
        """Connections that leave or enter the cluster."""
        place = self.server.places[0]
        database = self._external("database")
        host, port = network.split(database["address"])
        words = "TLS, password" if "ca" in database else "password"
        yield Flow(place, host, port, "jobs and models", words, address=host)
        storage = self._external("storage")
        if "address" in storage:
            url = network.parse_url(storage["address"])
            words = "TLS, signatures" if url.scheme == "https" else "signatures"
            yield Flow(
                place, url.host, url.port or network.DEFAULT_PORTS[url.scheme], "models", words, address=url.host
            )
        if self.settings["proxy"]["external"]:
            yield Flow(
                "clients",
                place,
                self.settings["proxy"]["grpc_port"],
                "federated learning",
                "none: see the system's page",
            )
            yield Flow("operators", place, self.settings["proxy"]["http_port"], "health", "none")
        if self.settings["api_server"]["external"]:
            tls = "tls_secret" in self.server.options["ingress"]
            yield Flow(
                "users",
                place,
                self.settings["api_server"]["https_port" if tls else "http_port"],
                "the API, by the ingress controller",
                "TLS" if tls else "none",
            )

    def roster(self) -> Roster:
        """Components and instances."""
        roster = Roster(self.federation, self.stack)
        for place in self.server.places:
            for word, endpoints in self.endpoints():
                if word == "server":
                    roster.present("neursafe_server", "server", SERVER, place, self.instance(), endpoints)
                else:
                    roster.beside("neursafe_server", "server", word, place, endpoints)
        for place in self.server.absent_places:
            roster.absent("neursafe_server", "server", SERVER, place)
        for client in self.clients:
            client.add(roster)
        return roster
