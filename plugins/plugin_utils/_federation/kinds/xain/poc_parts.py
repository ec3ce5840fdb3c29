# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What roles get of the generation ``poc``: HTTP, an aggregator beside the coordinator, and calls between both.

Each has the other on its own loopback, wherever it is: on two hosts proxies lead there and back, by TLS with a
certificate on both sides. So both programs' configuration is the same in either case.
"""

from __future__ import annotations

from ... import certificates, network
from ...expanding import Roster, site_limits
from ...model import Endpoint, Placement
from .known_adds import ANSWERS, adds
from .parts import SITES, Copy, Member, Part, others
from .placements import OUR_CLASS
from .poc_keys import heartbeat_seconds, memory_mb, program_configuration
from .topology import LOOPBACK, Topology

PATHS = ("/rendez_vous", "/heartbeat/*", "/start_training/*")
"""All that participants ask the coordinator for."""

MODELS = "/*/*"
"""All that they ask the aggregator for: their number, and the token of a round."""

UPLOAD_SECONDS = 600
WEEK = 604_800
"""Calls are few, and a connection that is closed meanwhile would lose one."""


def own_code(topology: Topology) -> Part:
    """The operator's, whose class may have any name."""
    return topology.located(topology.aggregator.options["class_artifact"])


def tried_class(topology: Topology) -> str:
    """What aggregates in a verify round: with a class of the operator's nobody knows what comes out, so it is ours."""
    named = str(topology.aggregator.options["python_class"])
    return named if named in ANSWERS and not own_code(topology) else OUR_CLASS


class PocCopy(Copy):
    """Of the generation ``poc``."""

    logins = ()

    def known(self, index: int) -> Part:
        """What it adds."""
        return adds(index)

    def allowed(self, login: str) -> Part:
        """Nobody has a login, since there is no store."""
        raise AssertionError(f"no login '{login}'")

    def program(self) -> Part:
        """The configuration, and where participants and the aggregator are."""
        topology = self.topology
        entrance = topology.aggregator_entrance(self.shift)
        elsewhere = others(topology) or len(topology.authorities) > 1
        values: Part = {
            "settings": program_configuration(self.settings),
            "rpc": {
                "port": topology.rpc_port(topology.coordinator) + self.shift,
                "aggregator_port": topology.rpc_port(topology.aggregator) + self.shift,
            },
            # one for all participants
            "aggregator_url": entrance.public if elsewhere else entrance.internal,
        }
        if self.given_program():
            values["program"] = self.given_program()
        return values

    def listens(self) -> list[Endpoint]:
        """The coordinator's own, and where its aggregator reaches it."""
        topology = self.topology
        return [*super().listens(), topology.rpc(topology.coordinator, topology.host, LOOPBACK, self.shift)]

    def site(self) -> Part:
        """Only what participants ask for, and each of it once: who asks twice is there twice."""
        return {"paths": [{"path": path} for path in PATHS], "upstream": {"retries": 0}}

    def reached(self, member: Member) -> Part:
        """The participant itself speaks TLS."""
        topology = self.topology
        url = network.parse_url(topology.reached(topology.entrance(self.shift), member.host))
        files = topology.paths("participant")
        return {
            "coordinator": {"host": url.host, "port": url.port or network.DEFAULT_PORTS[url.scheme]},
            "tls": {"certificate": files["chain"], "key": files["key"], "ca": files["ca"]},
            "heartbeat_seconds": 1 if self.transient else heartbeat_seconds(self.settings),
        }

    def training(self) -> Part:
        """Rounds, and how many take part; for how long somebody is waited for makes no other training."""
        learning = self.settings["federated_learning"]
        return {key: learning[key] for key in ("rounds", "participants_ratio", "min_clients")}

    def beside(self, roster: Roster) -> None:
        """The aggregator, nginx in front of it, and how it and the coordinator reach each other."""
        self._add_aggregator(roster)
        self._add_aggregator_proxy(roster)
        topology = self.topology
        if not topology.apart:
            return
        both = (
            ("coordinator", topology.coordinator, topology.address, topology.aggregator, topology.aggregator_address),
            ("aggregator", topology.aggregator, topology.aggregator_address, topology.coordinator, topology.address),
        )
        for word, placement, address, peer, its_address in both:
            self._add_way_in(roster, word, placement, address, peer)
            self._add_way_out(roster, word, placement, peer, its_address)

    def _add_aggregator(self, roster: Roster) -> None:
        topology = self.topology
        placement, host = topology.aggregator, topology.aggregator_host
        options = placement.options
        named, code = (tried_class(topology), {}) if self.transient else (options["python_class"], own_code(topology))
        ours = named in ANSWERS and not code
        values: Part = {
            "runtime": topology.located(topology.stack.options["runtime"]),
            "python_class": named,
            "class_artifact": code,
            "listen": {"address": LOOPBACK, "port": options["program_port"] + self.shift},
            "rpc": {
                "port": topology.rpc_port(placement) + self.shift,
                "coordinator_port": topology.rpc_port(topology.coordinator) + self.shift,
            },
            "keep_models": options["keep_models"],
            # ours keeps a sum, another's may keep what everybody sent
            "memory_max": f"{memory_mb(self.settings, topology.expected, keeps=not ours)}M",
            "settings": program_configuration(self.settings),
        }
        if options.get("model_archive"):
            values["model_archive"] = options["model_archive"]
        if self.given_program():
            values["program"] = self.given_program()
        endpoints = [
            topology.aggregator_program(self.shift),
            topology.rpc(placement, host, LOOPBACK, self.shift),
        ]
        roster.present("xain_aggregator", "aggregator", "aggregator", host, values, endpoints)

    def _add_aggregator_proxy(self, roster: Roster) -> None:
        topology = self.topology
        site: Part = {
            "paths": [{"path": MODELS}],
            # beside the model some bytes
            "body_size_mb": 1 + int(self.settings["max_model_size"]),
            "read_timeout_seconds": UPLOAD_SECONDS,
            "upstream": {"retries": 0},
        }
        placement, host, address = topology.aggregator, topology.aggregator_host, topology.aggregator_address
        server = network.join(LOOPBACK, placement.options["program_port"] + self.shift)
        values = self.front(site, "aggregator", placement, host, address, server)
        own = topology.aggregator_entrance(self.shift)
        roster.present("nginx", "aggregator", "aggregator-proxy", host, values, [own], variable=SITES)

    def _add_way_in(self, roster: Roster, word: str, placement: Placement, address: str, peer: Placement) -> None:
        """TLS in, with the peer's certificate and no other, and out to the program on loopback."""
        topology, files, host = self.topology, self.topology.paths("rpc"), placement.hosts[0]
        port = topology.rpc_port(placement) + self.shift
        tls: Part = {
            "certificate": files["chain"],
            "key": files["key"],
            "client_names": [certificates.common_name(topology.certificate("rpc"), peer.hosts[0])],
            **certificates.vouched(files, topology.authority),
        }
        values: Part = {
            "protocol": "tcp",
            "listen": [{"address": address, "port": port, "find_dead_peers": True}],
            "tls": tls,
            "limits": site_limits(connections=True),
            "read_timeout_seconds": WEEK,
            "upstream": {"servers": [network.join(LOOPBACK, port)]},
        }
        own = topology.rpc(placement, host, address, self.shift)
        roster.present("nginx", word, "rpc-in", host, values, [own], variable=SITES)

    def _add_way_out(self, roster: Roster, word: str, placement: Placement, peer: Placement, its_address: str) -> None:
        """From loopback by TLS to the peer, where it is on its own loopback."""
        topology, files, host = self.topology, self.topology.paths("rpc"), placement.hosts[0]
        port = topology.rpc_port(peer) + self.shift
        values: Part = {
            "protocol": "tcp",
            "listen": [{"address": LOOPBACK, "port": port}],
            "read_timeout_seconds": WEEK,
            "upstream": {
                "servers": [network.join(its_address, port)],
                "tls": {
                    **certificates.believed(files, topology.authority),
                    "name": certificates.service_name(topology.party, topology.certificate("rpc")),
                    "certificate": files["chain"],
                    "key": files["key"],
                },
            },
        }
        own = topology.rpc(peer, host, LOOPBACK, self.shift)
        roster.present("nginx", word, "rpc-out", host, values, [own], variable=SITES)
