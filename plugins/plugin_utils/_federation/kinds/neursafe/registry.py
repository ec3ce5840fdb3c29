# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registry that the stack's images are in, where that is on a host of ours: who pushes, and who pulls."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ... import certificates, network
from ...expanding import Roster, endpoint
from ...model import Certificate, Endpoint, Flow, Path, Placement, Secret
from .hosted import Hosted
from .placements import REGISTRY, registry_missing

if TYPE_CHECKING:
    from .topology import Topology

COMPONENT = "registry"
PUSH, PULL = "push", "pull"
LOGINS = {PUSH: "who builds images", PULL: "nodes and hosts that pull images"}


class Registry(Hosted):
    """The stack's, if it has one."""

    def __init__(self, topology: Topology) -> None:
        super().__init__(topology, topology.stack.placements.get(COMPONENT, Placement()))

    def is_strange_to(self, party: str) -> bool:
        """Whether it is another party's, whose passwords aren't known to this one."""
        return self.hosted and party != self.topology.party_of(self.host.name)

    def endpoint(self) -> Endpoint:
        port = self.place.listening_port
        return endpoint(self.place, self.host, "images", self.address, port, scheme="https")

    @property
    def name(self) -> str:
        """As images name it."""
        return self.endpoint().internal.partition("://")[2]

    # -- what can't be

    def check(self) -> None:
        images = self.topology.server.options.get("images", {})
        if not self.hosted:
            for key, message in registry_missing(images):
                self.topology.report.mistake((*self.topology.server.path, "images", *key), message)
            return
        self.topology.check_owner(self.place)
        told: list[Path] = [(key,) for key in ("registry", "ca", "pull") if key in images]
        if "login" in images.get("build", {}):
            told.append(("build", "login"))
        for path in told:
            message = "follows from `registry`, which is on a host of ours: say one of them"
            self.topology.report.mistake((*self.topology.server.path, "images", *path), message)
        self._check_address()

    def _check_address(self) -> None:
        if not self.address:
            return
        problem = None
        if self.address in network.WILDCARDS:
            problem = f"'{self.address}' is every address of the host: choose one"
        elif ipaddress.ip_address(self.address).is_loopback:
            problem = f"'{self.address}' can't be reached from nodes"
        elif self.name.startswith("["):
            problem = (
                f"images would be called {self.name}, and no name of an image has such an address: say internal_url"
            )
        elif not re.fullmatch(str(REGISTRY.pattern), self.name):
            problem = f"'{self.name}' is not {REGISTRY.pattern_name}: say another internal_url"
        if problem:
            self.topology.report.mistake((*self.place.path, "bind" if self.place.bind else self.place.where), problem)

    # -- what roles get

    def known(self, images: dict[str, Any]) -> dict[str, Any]:
        """What `server.images` says, and what follows of the registry."""
        if not self.hosted:
            return images
        found = {**images, "registry": self.name, "pull": self._login(PULL)}
        if "build" in images:
            found["build"] = {"login": self._login(PUSH), **images["build"]}
        return found

    def _login(self, name: str) -> dict[str, str]:
        return {"username": name, "secret": self._secret(name)}

    def _secret(self, name: str) -> str:
        return f"{self.topology.stack.name}_{name}_registry"

    def add(self, roster: Roster) -> None:
        for host in self.place.hosts:
            roster.present("registry", COMPONENT, COMPONENT, host, self._instance(), [self.endpoint()])
        for host in self.place.absent:
            roster.absent("registry", COMPONENT, COMPONENT, host)

    def _instance(self) -> dict[str, Any]:
        files = self.topology.paths(COMPONENT)
        return {
            "address": self.address,
            "port": self.place.listening_port,
            "public_url": self.endpoint().internal,
            "tls": {"certificate": files["chain"], "key": files["key"], "ca": files["ca"]},
            "users": [{"name": name, "secret": self._secret(name)} for name in LOGINS],
        }

    # -- what it needs

    def certificates(self) -> Iterator[Certificate]:
        name, authority = self.topology.instance_of(COMPONENT), self.topology.authority.name
        for host in self.place.hosts:
            names, addresses = certificates.serving_names(self.place, self.host, self.address, name)
            yield Certificate(name, host, authority, certificates.common_name(name, host), names, addresses)
        for host in self.place.absent:
            yield Certificate(name, host, "", "", state="absent")

    def secrets(self) -> Iterator[Secret]:
        for login, whose in LOGINS.items() if self.hosted else ():
            purpose = f"the password of {whose} of '{self.topology.stack.name}'"
            yield Secret(self._secret(login), self.topology.owner.name, purpose)

    def flows(self) -> Iterator[Flow]:
        """Who pulls; who builds is the control node, which is no host of the document."""
        if self.hosted:
            host, port = self.place.hosts[0], self.place.listening_port
            for source in dict.fromkeys((*self.topology.sources, *self.topology.pulling)):
                if source != host:
                    yield Flow(source, host, port, "images", "TLS, password")
            yield Flow("operators", host, port, "builds of images", "TLS, password")
