# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stack of the document: what its server is, where it is reached, and what of it can't be."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from ... import certificates, network
from ...expanding import Roster, instance_name, service_endpoint
from ...model import Authority, Certificate, Endpoint, Federation, Flow, Party, Path, Placement, Secret, Stack
from ...nodes import Report
from ...schema import complete
from ...unknown import UNKNOWN, attempt
from .clients import Client
from .database import Database
from .gateway import Gateway
from .names import IN_CLUSTER, MAX_NAME, SERVER
from .operators import Operators
from .placements import namespaces_apart, ports_of_pods
from .registry import Registry
from .settings import SERVER_SETTINGS, SETTINGS
from .standalone import Standalone
from .storage import NODES, Storage
from .tenants import identity, meetings, tenants

TRUST = "registry-trust"


class Topology:
    """The stack, seen for what roles get of it."""

    def __init__(self, stack: Stack, federation: Federation, report: Report) -> None:
        self.stack = stack
        self.federation = federation
        self.report = report
        self.server = stack.placements["server"]
        self.nodes = stack.placements.get("nodes", Placement())
        self.database = Database(self)
        self.storage = Storage(self)
        self.registry = Registry(self)
        self.gateway = Gateway(self)
        self.operators = Operators(self)
        given = stack.options["clients"]
        known = {} if given is UNKNOWN else given
        placed = {name: place for name, place in known.items() if place is not UNKNOWN}
        in_clusters = {name: place for name, place in placed.items() if place.cluster or place.absent_cluster}
        self.clients = [Client(self, name, place) for name, place in in_clusters.items()]
        self.standalone = [Standalone(self, name, place) for name, place in placed.items() if name not in in_clusters]

    @property
    def everybody(self) -> list[Client | Standalone]:
        """All clients."""
        return [*self.clients, *self.standalone]

    # -- what can't be

    def check(self) -> None:
        """Note all mistakes."""
        looks = (
            self._check_name,
            self._check_state,
            self._check_alone,
            self._check_sources,
            self.database.check,
            self.storage.check,
            self.registry.check,
            self.gateway.check,
            self.operators.check,
            self._check_folders,
            self._check_ports,
        )
        for look in looks:
            attempt(look)
        for client in self.everybody:
            if client.place.places:
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
        for role, found in (("storage", self.storage), ("database", self.database)):
            if not found.there:
                way_out = "say where it is, or make the server absent"
                self.report.mistake((*self.stack.path, role), f"is absent, and the server needs it: {way_out}")

    def _check_sources(self) -> None:
        """What is on hosts lets in who is told to come."""
        if self.server.places and (self.database.hosted or self.storage.hosted) and not self.sources:
            message = "nobody knows where its pods come from: say `nodes`, or server.networks"
            self.report.mistake(self.server.path, message)

    def check_owner(self, place: Placement) -> None:
        """What keeps the server's state is its party's: passwords are."""
        owner = self.party_of(place.hosts[0])
        if self.server.places and owner != self.party:
            message = (
                f"host '{place.hosts[0]}' is of party '{owner}', and the server's cluster of '{self.party}': both are "
                "one party's"
            )
            self.report.mistake((*place.path, place.where), message)

    def _check_alone(self) -> None:
        """Jobs of all stacks would run in one namespace, by names that only one stack keeps apart."""
        for name, other in self.federation.stacks.items():
            if name == self.stack.name:
                return
            theirs = other.placements["server"].cluster if other.kind == self.stack.kind else None
            if theirs and self.server.cluster and identity(self, theirs) == identity(self, self.server.cluster):
                where = self.report.where((*other.path, "server"))
                message = (
                    f"'{self.server.cluster}' has the stack '{name}' already ({where}): jobs of both would run in its "
                    "namespace default, and be mixed up"
                )
                self.report.mistake((*self.server.path, "cluster"), message)

    def _check_folders(self) -> None:
        """A namespace's folder is its users' alone."""
        given = {"namespaces": self.stack.options["namespaces"], "settings": self.settings}
        for path, message in namespaces_apart(given):
            self.report.mistake((*self.stack.path, *path), message)

    def _check_ports(self) -> None:
        """Containers of a pod have their ports on one loopback."""
        if not self.server.places or not self.database.there:
            return
        for path, message in ports_of_pods({"database": self.database.of_server(), "settings": self.settings}):
            self.report.mistake((*self.stack.path, *path), message)

    def _check_clients(self) -> None:
        """In a cluster a port of the nodes has one owner, and so has a folder of theirs, in whatever stack it is."""
        own, before = list(tenants(self)), [one for other in self._earlier() for one in tenants(other)]
        for path, message in meetings(before, own):
            self.report.mistake(path, message)
        for client in self.clients:
            if client.place.cluster is not None:
                self._check_table(client)

    def _earlier(self) -> Iterator[Topology]:
        """The stacks of this kind that stand before it, whose own mistakes are told elsewhere."""
        for name, other in self.federation.stacks.items():
            if name == self.stack.name:
                return
            if other.kind == self.stack.kind and not any(one is UNKNOWN for one in other.placements.values()):
                yield Topology(other, self.federation, Report())

    def _check_table(self, client: Client) -> None:
        """On a host each client has a database of its own; in an external one tables are beside the server's."""
        table = client.settings["task_manager"]["db_collection_name"]
        if not client.uses(self.database) or self.database.hosted:
            return
        for component in ("job_scheduler", "model_manager"):
            if table == self.settings[component]["db_collection_name"]:
                message = f"'{table}' is the table of {component} in the same database: give it another"
                self.report.mistake((*client.place.path, "settings", "task_manager", "db_collection_name"), message)

    def node_ports(self) -> Iterator[tuple[str, int]]:
        """Those of the cluster's nodes that the server has, by their settings."""
        keys = [("api_server", "http_port"), ("api_server", "https_port")]
        if self.settings["proxy"]["external"]:
            keys += [("proxy", "grpc_port"), ("proxy", "http_port")]
        yield from ((f"{section}.{key}", self.settings[section][key]) for section, key in keys)

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

    def party_of(self, host: str) -> str:
        return self.federation.party_of(host)

    @property
    def owner(self) -> Party:
        """Whose the server is, or without it what keeps its state."""
        kept = (self.database.place, self.storage.place, self.registry.place)
        places = (*self.server.places, *(host for place in kept for host in place.hosts), *self._former)
        return self.federation.parties[self.party_of(places[0])]

    @property
    def _former(self) -> tuple[str, ...]:
        kept = (self.database.place, self.storage.place, self.registry.place)
        return (*self.server.absent_places, *(host for place in kept for host in place.absent))

    def instance_of(self, component: str) -> str:
        return instance_name(self.federation, self.stack, component)

    def paths(self, component: str) -> dict[str, str]:
        """Where the files of a component's certificate are on its host."""
        return certificates.paths(self.federation.name, self.instance_of(component))

    @property
    def authority(self) -> Authority:
        """Who signs for database and storage."""
        return certificates.party_authority(self.federation, self.owner)

    def authority_file(self) -> dict[str, Any]:
        """The file of the control node with its certificate, and whether it may come to be in the very run."""
        made = self.authority.ca is None
        return {"ca": certificates.published(self.federation, self.authority), "ca_follows": made}

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the server's pods come from, as flows have it."""
        return (*self.nodes.hosts, *self.server.options["networks"])

    @property
    def networks(self) -> list[str]:
        """The same, each as a network."""
        hosts = (self.federation.host(name) for name in self.nodes.hosts)
        return [network.single(one) for host in hosts for one in host.internal] + list(self.server.options["networks"])

    def beside(self, values: Mapping[str, Any], *keys: str) -> dict[str, Any]:
        """The same, with paths of files beside the document made whole."""
        found = dict(values)
        for key in keys:
            if key in found:
                found[key] = posixpath.join(self.federation.directory, found[key])
        return found

    def _secret_name(self, word: str) -> str:
        return f"{self.stack.name}_{word}"

    def instance(self) -> dict[str, Any]:
        """What the role takes beside its identity."""
        options = self.server.options
        values = {
            **{
                key: options[key]
                for key in ("shared_directory", "capacity", "user", "resources", "ingress", "api_ports")
            },
            "images": self.images,
            "namespaces": self.stack.options["namespaces"],
            "storage": self.storage.of_server(),
            "database": self.database.of_server(),
            "token": self._secret_name("token"),
            "settings": self.settings,
        }
        values |= {"api_url": self.api_url} if self.api_url else {}
        return values | self.beside({"root_cert": self.root_cert} if self.root_cert else {}, "root_cert")

    @property
    def api_url(self) -> str | None:
        """Where users come to the API by the cluster's own controller, where that is known."""
        if self.gateway.there or not self.settings["api_server"]["external"] or not self.node_address:
            return None
        return self._outside(*self._api_port()).public

    def _api_port(self) -> tuple[str, str, str, str]:
        tls = "tls_secret" in self.server.options["ingress"]
        key, scheme = ("https_port", "https") if tls else ("http_port", "http")
        return "api_server", key, "api", scheme

    @cached_property
    def told_images(self) -> dict[str, Any]:
        """What the document says of images, with what follows of a registry on a host."""
        return self.registry.known(self.server.options["images"])

    @property
    def pulling(self) -> tuple[str, ...]:
        """Hosts of clients in containers whose images are where the server's are."""
        known = (one for one in self.standalone if one.contained and one.of_servers_registry)
        return tuple(dict.fromkeys(host for one in known for host in one.place.hosts))

    @property
    def images(self) -> dict[str, Any]:
        """What the server runs; of what is built with the file that has the digests."""
        found = self.beside(self.told_images, "ca")
        if self.registry.hosted:
            found["ca"] = self.authority_file()["ca"]
        if "build" in found and self.server.places:
            folder = posixpath.join(self.federation.state_directory, "public", self.party, "images")
            found["record"] = posixpath.join(folder, f"{self.stack.name}.json")
        return found

    @property
    def root_cert(self) -> str | None:
        found: str | None = self.settings["client_selector"].get("root_cert")
        return found

    # -- where it is reached

    @property
    def node_address(self) -> str | None:
        """Where clients reach ports of nodes: what is told, or the first node that is a host of ours."""
        told: str | None = self.server.options.get("node_address")
        if told is None and self.nodes.hosts:
            first = self.federation.host(self.nodes.hosts[0])
            return first.public_name or next(iter(first.internal), first.ssh)
        return told

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
        node = self.node_address or f"node.{self.server.cluster}"
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
            # nginx on nodes has the port for TLS, and a component of its own
            scheduler.append(self._outside(*self._api_port()))
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
        """The server's own: made, unless the operator puts those of others' services in first."""
        yield Secret(
            self._secret_name("token"), self.party, f"lets the job scheduler of '{self.stack.name}' change routes"
        )
        images = self.server.options["images"]  # those of a registry on a host are its own
        for login in (images.get("pull"), images.get("build", {}).get("login")):
            if login:
                yield Secret(login["secret"], self.party, f"the password of '{login['username']}' in the registry")

    def all_secrets(self) -> Iterator[Secret]:
        """The server's and the clients', each once a party."""
        found: dict[tuple[str, str], Secret] = {}
        for secret in (
            *(self.secrets() if self.server.places else ()),
            *self.database.secrets(),
            *self.storage.secrets(),
            *self.registry.secrets(),
            *(each for client in self.everybody for each in client.secrets()),
        ):
            found.setdefault((secret.name, secret.party), secret)
        yield from found.values()

    def all_flows(self) -> Iterator[Flow]:
        """The server's and the clients'."""
        if self.server.places:
            yield from self.database.flows()
        yield from self.storage.flows()
        yield from self.registry.flows()
        if self.server.places:
            yield from self.flows()
            yield from self.gateway.flows()
            yield from self.operators.flows()
        for client in self.everybody:
            yield from client.flows()

    def flows(self) -> Iterator[Flow]:
        """Connections that enter the cluster."""
        place = self.server.places[0]
        if self.settings["proxy"]["external"]:
            if not self.gateway.serves_clients:
                port, words = self.settings["proxy"]["grpc_port"], "none: see the system's page"
                yield Flow("clients", place, port, "federated learning", words)
            yield Flow("operators", place, self.settings["proxy"]["http_port"], "health", "none")
        if self.settings["api_server"]["external"] and not self.gateway.there:
            tls = "tls_secret" in self.server.options["ingress"]
            yield Flow(
                "users",
                place,
                self.settings["api_server"]["https_port" if tls else "http_port"],
                "the API, by the ingress controller",
                "TLS" if tls else "none",
            )

    def certificates(self) -> Iterator[Certificate]:
        """Those of database, storage and nodes."""
        yield from self.database.certificates()
        yield from self.storage.certificates()
        yield from self.registry.certificates()
        yield from self.gateway.certificates()
        yield from self.operators.certificates()

    def _add_trust(self, roster: Roster) -> None:
        """The registry's CA, on nodes that are hosts of ours, and where clients are in containers of its images."""
        images, follows = self.images, self.registry.hosted and self.authority_file()["ca_follows"]
        hosts = dict.fromkeys((*self.nodes.hosts, *self.pulling))
        if {"registry", "ca"} <= images.keys():
            told = {"registry": images["registry"].partition("/")[0], "ca": images["ca"]}
            for host in hosts:
                roster.present("registry_trust", NODES, TRUST, host, told | ({"ca_follows": True} if follows else {}))
        contained = (one for one in self.standalone if "container" in one.place.options)
        for host in dict.fromkeys((*self.nodes.absent, *(host for one in contained for host in one.place.absent))):
            if host not in hosts:
                roster.absent("registry_trust", NODES, TRUST, host)

    def roster(self) -> Roster:
        """Components and instances."""
        roster = Roster(self.federation, self.stack)
        self.database.add(roster)
        self.storage.add(roster)
        self.registry.add(roster)
        self.gateway.add(roster)
        self.operators.add(roster)
        self._add_trust(roster)
        for place in self.server.places:
            for word, endpoints in self.endpoints():
                if word == "server":
                    roster.present("neursafe_server", "server", SERVER, place, self.instance(), endpoints)
                else:
                    roster.beside("neursafe_server", "server", word, place, endpoints)
        for place in self.server.absent_places:
            roster.absent("neursafe_server", "server", SERVER, place)
        for client in self.everybody:
            client.add(roster)
        return roster
