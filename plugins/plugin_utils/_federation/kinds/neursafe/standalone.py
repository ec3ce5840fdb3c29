# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A client of the stack on a host of ours, without Kubernetes: what it is, whom it reaches, and what of it can't be."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ... import network
from ...expanding import Roster, fetched
from ...model import Endpoint, Federation, Flow, Placement, Secret
from ...schema import complete, merge
from .gateway import LOOPBACK
from .hosted import Hosted
from .placements import CLIENT, HOST_DEFAULTS
from .settings import CLIENT_SETTINGS, STANDALONE_SETTINGS

if TYPE_CHECKING:
    from .topology import Topology

ROLE = "neursafe_standalone"
_ELSEWHERE = "server_address"
"""A key of a client's settings that says where it goes, and isn't in its own file."""


class Standalone(Hosted):
    """One of the table ``clients``."""

    def __init__(self, topology: Topology, name: str, place: Placement) -> None:
        super().__init__(topology, place)
        self.name = name

    # -- what can't be

    def check(self) -> None:
        """Note all mistakes of this client alone."""
        self._check_settings()
        if self.contained and "image" not in self.container:
            message = (
                f"the key 'image' is missing: no registry and no digest of {CLIENT} is known of server.images, and an "
                "image is a certain one by its digest"
            )
            self.topology.report.mistake((*self.place.path, "container"), message)
        if self.server_address is None:
            message = "nobody knows where the server is: say server.node_address, or task_manager.server_address"
            self.topology.report.mistake(self.place.path, message)
        if self.address in network.WILDCARDS:
            message = f"'{self.address}' is every address of the host: choose one"
            self.topology.report.mistake((*self.place.path, "bind"), message)
        elif self.address:
            self._check_colons()

    def _check_colons(self) -> None:
        """The programs part an address at its only colon."""
        told = ((self.server_address or "", "the server's"), (self.external_address, "its own"))
        for address, whose in told:
            if address.startswith("["):
                message = f"{whose} address would be {address}, and the programs know no IPv6 address: say a name"
                self.topology.report.mistake(self.place.path, message)

    def _check_settings(self) -> None:
        """Its own are those of its program on a host; the stack's are of clients in clusters, too."""
        for section, keys in self.place.settings.items():
            known = {"task_manager": (*STANDALONE_SETTINGS.keys, _ELSEWHERE), "others": ("log_level",)}.get(section, ())
            for key in keys:
                if key not in known:
                    message = "is of clients in clusters, and this one is on a host"
                    self.topology.report.mistake((*self.place.path, "settings", section, key), message)

    # -- what it is

    @cached_property
    def options(self) -> dict[str, Any]:
        """Its own keys, with their defaults."""
        return {**HOST_DEFAULTS, **self.place.options}

    @property
    def port(self) -> int:
        return self.place.port or int(HOST_DEFAULTS["port"])

    @property
    def is_double(self) -> bool:
        return bool(self.options.get("doubles"))

    @cached_property
    def _given(self) -> dict[str, Any]:
        of_all = {key: value for key, value in self.topology.stack.settings.items() if key in CLIENT_SETTINGS.keys}
        return merge(of_all, self.place.settings)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Those of its setup.json: what the stack says of all clients, as far as it is of one on a host."""
        manager = self._given.get("task_manager", {})
        values = {key: manager[key] for key in STANDALONE_SETTINGS.keys if key in manager}
        values["options"] = {
            key: value for key, value in manager.get("options", {}).items() if key in _keys_of_options()
        }
        values |= self._given.get("others", {})
        path = (*self.place.path, "settings", "task_manager")
        return complete(STANDALONE_SETTINGS, values, path, self.topology.report)

    @property
    def component(self) -> str:
        return f"client-{self.name}"

    @property
    def _told_server(self) -> str | None:
        found: str | None = self._given.get("task_manager", {}).get(_ELSEWHERE)
        return found

    @property
    def goes_by_gateway(self) -> bool:
        """Whether it has a way on its loopback, which leads to nginx on the nodes."""
        return self.topology.gateway.there and self._told_server is None

    @property
    def server_address(self) -> str | None:
        """Where the proxy is: what is told, its own way, or a port of the server's nodes."""
        if self._told_server is not None:
            return self._told_server
        if self.goes_by_gateway:
            return network.join(LOOPBACK, self.options["server_port"])
        node, proxy = self.topology.node_address, self.topology.settings["proxy"]
        return network.join(node, proxy["grpc_port"]) if node and proxy["external"] else None

    @cached_property
    def endpoint(self) -> Endpoint:
        """Where the server's coordinators connect to it."""
        port, host = self.port, self.host
        internal = self.place.internal_url or network.join(network.reached(host, self.address), port)
        named = network.join(host.public_name, port) if host.public_name else internal
        public, path = self.place.public_url or named, (*self.place.path, "port")
        return Endpoint("grpc", self.address, port, internal=internal, public=public, path=path)

    @property
    def external_address(self) -> str:
        """As the server is told: by another party it is reached in public."""
        own = self.topology.federation.party_of(self.host.name)
        places = self.topology.server.places
        near = bool(places) and self.topology.federation.party_of(places[0]) == own
        return self.endpoint.internal if near else self.endpoint.public

    # -- what runs it

    @property
    def contained(self) -> bool:
        return "container" in self.options

    @cached_property
    def container(self) -> dict[str, Any]:
        """Its image and who pulls that: what it says itself, else what the server's images say."""
        told, images = dict(self.options["container"]), self._of_server
        if "image" not in told and "registry" in images and CLIENT in images["digests"]:
            told["image"] = f"{images['registry']}/nsfl-{CLIENT}@{images['digests'][CLIENT]}"
        if "pull" not in told and "pull" in images and self.of_servers_registry:
            told["pull"] = images["pull"]
        return told

    @property
    def of_servers_registry(self) -> bool:
        """Whether it is pulled from where the server's images are."""
        images, told = self._of_server, self.options["container"].get("image", "")
        return "registry" in images and (not told or told.startswith(f"{images['registry']}/"))

    @property
    def _of_server(self) -> dict[str, Any]:
        """What is known here of the server's images: the passwords of a registry on a host are its party's."""
        strange = self.topology.registry.is_strange_to(self.topology.party_of(self.host.name))
        return {} if strange else self.topology.told_images

    def _runs(self) -> dict[str, Any]:
        if self.contained:
            return {"container": self.container}
        return {"program": located(self.options["program"], self.topology.federation)}

    def instance(self) -> dict[str, Any]:
        """What the role takes beside its identity."""
        options = self.options
        return {
            **self._runs(),
            "doubles": self.is_double,
            "listen": {"address": self.address, "port": self.port},
            "server": self.server_address,
            "external_address": self.external_address,
            **{key: options[key] for key in ("datasets", "task_configs", "groups") if key in options},
            **({"way": self.topology.gateway.way_of(self)} if self.goes_by_gateway else {}),
            "settings": self.settings,
        }

    def add(self, roster: Roster) -> None:
        """Its component and its instance."""
        placement, component, gateway = f"clients.{self.name}", self.component, self.topology.gateway
        for host in self.place.hosts:
            roster.present(ROLE, placement, component, host, self.instance(), [self.endpoint])
            if self.goes_by_gateway:
                roster.beside(ROLE, placement, f"{component}-way", host, [gateway.way_endpoint(self)])
        for host in self.place.absent:
            roster.absent(ROLE, placement, component, host)

    # -- what it needs

    def flows(self) -> Iterator[Flow]:
        """To the server's proxy, and of its coordinators to it."""
        server = self.topology.server.places
        for host in self.place.hosts if server else ():
            proxy, unsaid = self.topology.settings["proxy"], "none: see the system's page"
            gateway = self.topology.gateway
            if self.goes_by_gateway:
                words = "TLS, client certificate"
                yield Flow(host, gateway.first.name, gateway.clients_port, "federated learning", words)
            else:
                yield Flow(host, server[0], proxy["grpc_port"], "federated learning", unsaid)
            for source in self.topology.sources or server:
                if source != host:
                    yield Flow(source, host, self.port, "tasks of jobs", unsaid)

    def secrets(self) -> Iterator[Secret]:
        """Who pulls its image."""
        login = self.container.get("pull") if self.contained else None
        if login and self.place.hosts:
            party = self.topology.party_of(self.host.name)
            yield Secret(login["secret"], party, f"the password of '{login['username']}' in the registry")

    def fetched(self) -> Iterator[Flow]:
        """Its program, where that is at a URL, or its image."""
        image = f"https://{self.container['image'].partition('@')[0]}" if self.contained else ""
        archive = image or self.options["program"].get("archive", "")
        for host in self.place.hosts if "://" in archive else ():
            yield fetched(host, archive, "Neursafe's client", "sha256")


def located(program: Mapping[str, str], federation: Federation) -> dict[str, str]:
    """Where a program comes from, an archive beside the document with its whole path."""
    found = dict(program)
    if "://" not in found.get("archive", "://"):
        found["archive"] = posixpath.join(federation.directory, found["archive"])
    return found


def _keys_of_options() -> tuple[str, ...]:
    section = STANDALONE_SETTINGS.keys["options"].type
    return tuple(getattr(section, "keys", ()))
