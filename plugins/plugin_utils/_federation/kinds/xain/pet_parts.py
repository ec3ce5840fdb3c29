# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What roles get of the generation ``pet``: HTTP, a Redis of the coordinator's own, and participants behind nginx.

The participants' SDK trusts the world's CAs and shows no certificate, so nginx on their host does it for them.
"""

from __future__ import annotations

from collections.abc import Mapping

from ... import certificates, network
from ...expanding import Roster
from .known_marks import known
from .parts import COORDINATOR, SITES, Copy, Member, Part
from .pet_keys import mask_bytes, memory_mb, program_configuration
from .topology import LOOPBACK

REDIS_LOGIN = "coordinator"
SEED_BYTES = 112
"""What a message has for each participant of the sum phase beside the masked model."""

LEAST_MEMORY_MB = 4096
"""What the role allows by itself."""

READ_SECONDS = 600
"""A message is answered when it is worked on, and a large one is long."""

PATHS = ("/message", "/params", "/sums", "/seeds", "/model")
"""All that participants ask for."""


class PetCopy(Copy):
    """Of the generation ``pet``."""

    logins = (COORDINATOR,)

    def known(self, index: int) -> Part:
        """Its numbers."""
        whole = str(self.settings["mask"]["data_type"]).startswith("I")
        return known(index, self.settings["model"]["length"], whole=whole)

    def allowed(self, login: str) -> Part:
        """The coordinator alone has a login: it asks for its bucket at each start, and what it may list is its own."""
        return {"access": "write"}

    def program(self) -> Part:
        """The program's configuration, where its Redis is, how much memory it may have, and a packed program."""
        topology = self.topology
        values: Part = {
            "settings": program_configuration(self.settings),
            "redis": {
                "address": LOOPBACK,
                "port": topology.redis_port + self.shift,
                "user": REDIS_LOGIN,
                "secret": topology.redis_secret,
            },
        }
        if memory_mb(self.settings) > LEAST_MEMORY_MB:
            values["memory_max"] = f"{memory_mb(self.settings)}M"
        if self.given_program():
            values["program"] = self.given_program()
        return values

    def site(self) -> Part:
        """Only what participants ask for, with messages as large as a masked model."""
        size = mask_bytes(self.settings) + SEED_BYTES * int(self.settings["pet"]["max_sum_count"])
        return {
            "paths": [{"path": path} for path in PATHS],
            # in one piece, and some bytes more
            "body_size_mb": 1 + (size >> 20),
            "read_timeout_seconds": READ_SECONDS,
        }

    def reached(self, member: Member) -> Part:
        """By nginx on its host."""
        way = self.topology.way_out(member.host, self.shift)
        return {"coordinator": {"host": way.address, "port": way.port}}

    def beside(self, roster: Roster) -> None:
        """The coordinator's Redis, and the ways out of participants' hosts."""
        self._add_redis(roster)
        for host in dict.fromkeys(member.host for member in self.members):
            self._add_exit(roster, host)

    def _add_redis(self, roster: Roster) -> None:
        topology = self.topology
        values = {
            "addresses": [LOOPBACK],
            "port": topology.redis_port + self.shift,
            # what a round leaves there is needed after a restart: which model is the last, and who is drawn
            "persistence": "none" if self.transient else "aof",
            "users": [{"name": REDIS_LOGIN, "secret": topology.redis_secret}],
        }
        roster.present("redis", "coordinator", "redis", topology.host, values, [topology.redis(self.shift)])

    def exit(self, url: str, files: Mapping[str, str], port: int) -> Part:
        """Plain HTTP in on loopback, TLS out to the coordinator with a participant's certificate."""
        name, there = self.topology.service_name, network.parse_url(url)
        shown = {"certificate": files["chain"], "key": files["key"]}
        return {
            **self.site(),
            "listen": [{"address": LOOPBACK, "port": port}],
            "upstream": {
                "servers": [network.join(there.host, there.port or network.DEFAULT_PORTS[there.scheme])],
                "host": name,
                "tls": {"name": name, **shown, **certificates.believed(files, self.topology.authority)},
                "retries": 0,
            },
        }

    def _add_exit(self, roster: Roster, host: str) -> None:
        """The way out of participants' host."""
        topology, own = self.topology, self.topology.way_out(host, self.shift)
        url = topology.reached(topology.entrance(self.shift), host)
        values = self.exit(url, topology.paths("participant"), topology.local_port + self.shift)
        roster.present("nginx", "participants", "exit", host, values, [own], variable=SITES)
