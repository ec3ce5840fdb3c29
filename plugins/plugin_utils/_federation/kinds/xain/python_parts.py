# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What roles get of the generation ``python``: gRPC, and weights that travel by the store."""

from __future__ import annotations

from collections.abc import Mapping

from ... import network
from ...expanding import Roster
from .known_steps import steps
from .parts import COORDINATOR, PARTICIPANTS, Copy, Member, Part
from .python_keys import SDK_HEARTBEAT_SECONDS, program_configuration

HOUR = 3600
ALPN = ["h2"]
"""What gRPC's clients insist on being told."""

_OBJECTS: Mapping[str, Mapping[str, list[str]]] = {
    COORDINATOR: {"get": ["*"], "put": ["*/global"]},
    PARTICIPANTS: {"get": ["*/global"], "put": ["*"], "never_put": ["*/global"]},
}
"""Who puts what. What participants put is fetched by the coordinator alone, and they can't name each other's."""


class PythonCopy(Copy):
    """Of the generation ``python``."""

    logins = (COORDINATOR, PARTICIPANTS)

    def known(self, index: int) -> Part:
        """Its steps."""
        return steps(index)

    def allowed(self, login: str) -> Part:
        """Some objects each."""
        return {"access": "some", "objects": _OBJECTS[login]}

    def program(self) -> Part:
        """The program's configuration, and how large weights may be."""
        return {"settings": {**program_configuration(self.settings), "max_model_size": self.settings["max_model_size"]}}

    def site(self) -> Part:
        """nginx passes connections on: the program knows participants by theirs, and requests of several would mix."""
        return {
            "protocol": "tcp",
            "listen": {"find_dead_peers": True},
            "tls": {"alpn": ALPN},
            "read_timeout_seconds": HOUR,
        }

    def training(self) -> Part:
        """Rounds, epochs, and how many take part."""
        ai = self.settings["ai"]
        return {key: ai[key] for key in ("rounds", "epochs", "min_participants", "fraction_participants")}

    def beside(self, roster: Roster) -> None:
        """Nothing."""

    def reached(self, member: Member) -> Part:
        """The participant itself speaks TLS."""
        topology = self.topology
        url = network.parse_url(topology.reached(topology.entrance(self.shift), member.host))
        files = topology.paths("participant")
        return {
            "coordinator": {"host": url.host, "port": url.port or network.DEFAULT_PORTS[url.scheme]},
            "tls": {"certificate": files["chain"], "key": files["key"], "ca": files["ca"]},
            "storage": self.storage(PARTICIPANTS, member.host),
            "ca": files["ca"],
            "max_model_size": self.settings["max_model_size"],
            "log_level": self.settings["logging"]["level"],
            "heartbeat_seconds": 1 if self.transient else SDK_HEARTBEAT_SECONDS,
        }
