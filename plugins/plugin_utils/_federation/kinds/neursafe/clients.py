# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A client of the stack in a cluster: what it is, whom it reaches, and what of it can't be."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ... import network
from ...expanding import Roster, instance_name
from ...model import Endpoint, Flow, Placement, Secret
from ...schema import complete, merge
from .apart import Share
from .database import Database, flow_out
from .names import IN_CLUSTER, MAX_NAME
from .placements import CLIENT_IMAGES, CLUSTER_DEFAULTS, leads_by_tunnel, leads_to_mongodb
from .settings import CLIENT_SETTINGS

if TYPE_CHECKING:
    from .topology import Topology


class Client:
    """One of the table ``clients``."""

    def __init__(self, topology: Topology, name: str, place: Placement) -> None:
        self.topology = topology
        self.name = name
        self.place = place

    # -- what can't be

    def check(self) -> None:
        """Note all mistakes of this client alone."""
        if len(self.instance_name) > MAX_NAME:
            told = f"'{self.instance_name}' has {len(self.instance_name)} characters"
            self._mistake(f"{told}, and a Kubernetes namespace at most {MAX_NAME}")
        if self._database is None:
            self._mistake("the key 'database' is missing: the stack's is another party's")
        elif self.uses(self.topology.database) and self.topology.database.hosted and not self.networks:
            self._mistake("the key 'networks' is missing: the stack's database lets in those networks that it knows")
        if self._images is None:
            why = (
                "are in another party's registry" if self._strange else "have neither a tag nor a digest of client-cpu"
            )
            self._mistake(f"the key 'images' is missing: the server's {why}")
        elif self._tunnelled and not leads_to_mongodb(self._images):
            self._mistake(
                "its images have neither a tag nor a digest of proxy, nor 'tunnel': it leads to MongoDB by TLS"
            )
        if self.server_address is None:
            self._mistake("nobody knows where the server is: say server.node_address, or task_manager.server_address")
        if self.settings["task_manager"]["external"] and self.address is None:
            self._mistake("the key 'node_address' is missing: the server's coordinators connect to it there")
        for address, whose in ((self.server_address or "", "the server's"), (self.address or "", "its own")):
            if address.startswith("["):
                self._mistake(f"{whose} address would be {address}, and the programs know no IPv6 address: say a name")

    def _mistake(self, message: str) -> None:
        self.topology.report.mistake(self.place.path, message)

    # -- what it is

    @cached_property
    def options(self) -> dict[str, Any]:
        """Its own keys, with their defaults."""
        return {**CLUSTER_DEFAULTS, **self.place.options}

    @property
    def component(self) -> str:
        return f"client-{self.name}"

    @property
    def instance_name(self) -> str:
        return instance_name(self.topology.federation, self.topology.stack, self.component)

    @property
    def party(self) -> str:
        return self.topology.federation.party_of(self.place.places[0])

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The stack's for all clients, and its own over them."""
        of_all = {key: value for key, value in self.topology.stack.settings.items() if key in CLIENT_SETTINGS.keys}
        path = (*self.place.path, "settings") if self.place.settings else (*self.topology.stack.path, "settings")
        return complete(CLIENT_SETTINGS, merge(of_all, self.place.settings), path, self.topology.report)

    @property
    def share(self) -> Share:
        """What it has of its cluster's nodes."""
        return Share(f"client '{self.name}'", *(self.options[key] for key in ("directory", "user", "lmdb")))

    @property
    def beside_server(self) -> bool:
        """Whether the server is in the same cluster."""
        return self.place.cluster == self.topology.server.cluster

    def uses(self, database: Database) -> bool:
        """Whether it writes its tasks down in the stack's: no other is told, and the passwords are its party's."""
        if "database" in self.options or not database.there:
            return False
        return not self.topology.server.places or self.party == self.topology.party

    @property
    def _database(self) -> dict[str, Any] | None:
        """How it reaches its database."""
        own = self.options.get("database")
        if own is not None and own.external is not None:
            external = self.topology.beside(own.external, "ca")
            return {**external, "engine": own.options["engine"], "name": own.options["name"]}
        stack = self.topology.database
        return stack.of_client(self) if self.uses(stack) else None

    @property
    def _tunnelled(self) -> bool:
        return self._database is not None and leads_by_tunnel(self._database)

    @property
    def sources(self) -> tuple[str, ...]:
        """Where its pods come from, as flows have it."""
        return self.topology.sources if self.beside_server else tuple(self.options.get("networks", ()))

    @property
    def networks(self) -> list[str]:
        """The same, each as a network."""
        return self.topology.networks if self.beside_server else list(self.options.get("networks", ()))

    @property
    def _strange(self) -> bool:
        return self.topology.registry.is_strange_to(self.party)

    @property
    def _images(self) -> dict[str, Any] | None:
        own: dict[str, Any] | None = self.options.get("images")
        if own is not None:
            return own
        of_server = self.topology.told_images
        if self._strange or ("tag" not in of_server and "client-cpu" not in of_server["digests"]):
            return None
        found = {key: value for key, value in of_server.items() if key in CLIENT_IMAGES.keys}
        # what was built is recorded where the server's party deploys from
        near = self.topology.server.places and self.party == self.topology.party
        return found | ({"record": self.topology.images["record"]} if near and "build" in of_server else {})

    @property
    def server_address(self) -> str | None:
        """Where the proxy is: what is told, a service of the same cluster, or a port of the server's nodes."""
        told: str | None = self.settings["task_manager"].get("server_address")
        if told is not None:
            return told
        proxy = self.topology.settings["proxy"]
        if self.beside_server:
            return f"{proxy['service_name']}.{self.topology.name}.{IN_CLUSTER}:{proxy['grpc_port']}"
        node = self.topology.node_address
        return network.join(node, proxy["grpc_port"]) if node and proxy["external"] else None

    @property
    def address(self) -> str | None:
        """Where coordinators, pods in the server's cluster, connect to it."""
        manager = self.settings["task_manager"]
        if self.beside_server or not manager["external"]:
            return f"{manager['service_name']}.{self.instance_name}.{IN_CLUSTER}:{manager['port']}"
        node = self.options.get("node_address")
        return network.join(node, manager["port"]) if node else None

    def instance(self) -> dict[str, Any]:
        """What the role takes beside its identity."""
        options = self.options
        return {
            **{key: options[key] for key in ("directory", "lmdb", "capacity", "user", "resources", "api_ports")},
            **{key: options[key] for key in ("datasets",) if key in options},
            "images": self._images,
            "database": self._database,
            "server": self.server_address,
            "external_address": self.address,
            "settings": self.settings,
        }

    def add(self, roster: Roster) -> None:
        """Its component and its instance."""
        placement = f"clients.{self.name}"
        for place in self.place.places:
            endpoints = [self._endpoint()]
            roster.present("neursafe_client", placement, self.component, place, self.instance(), endpoints)
        for place in self.place.absent_places:
            roster.absent("neursafe_client", placement, self.component, place)

    def _endpoint(self) -> Endpoint:
        manager = self.settings["task_manager"]
        address = self.address or ""
        path = (*self.place.path, "settings", "task_manager", "port")
        host, _port = network.split(address)
        return Endpoint("grpc", host, manager["port"], internal=address, public=address, path=path)

    # -- what it needs

    def secrets(self) -> Iterator[Secret]:
        """The passwords that its pod and its nodes have."""
        if not self.place.places or self._database is None or self._images is None:
            return
        database, pull = self._database, self._images.get("pull")
        if not self.uses(self.topology.database):
            yield Secret(database["secret"], self.party, f"the password of '{database['username']}' in the database")
        if pull:
            yield Secret(pull["secret"], self.party, f"the password of '{pull['username']}' in the registry")

    def flows(self) -> Iterator[Flow]:
        """Connections that leave its cluster, or enter it."""
        if not self.place.places or self._database is None:
            return
        place = self.place.places[0]
        if self.uses(self.topology.database):
            yield from self.topology.database.flows_of(self)
        else:
            yield flow_out(place, self._database, "tasks")
        server = self.topology.server.places
        if server and not self.beside_server:
            proxy, manager = self.topology.settings["proxy"], self.settings["task_manager"]
            yield Flow(place, server[0], proxy["grpc_port"], "federated learning", "none: see the system's page")
            if manager["external"]:
                yield Flow(server[0], place, manager["port"], "tasks of jobs", "none: see the system's page")
