# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What roles get: of the deployed stack, and of its copy in a verify round.

What generations have alike stands here; ``python_parts``, ``pet_parts`` and ``poc_parts`` have the rest of theirs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ... import certificates, network
from ...expanding import CONTROLLER, Roster, at_once, fetched, python_packages, site_limits
from ...model import Certificate, Endpoint, Expansion, Flow, Placement, Secret
from .placements import APPLICATIONS
from .topology import LOOPBACK, Topology

SITES = "nginx_sites"
CRATES = ("https://index.crates.io", "https://static.crates.io")
"""What the control node builds of, unless its cargo has another registry."""

BUILT_IN = {"poc": "http://deb.debian.org"}
"""Where what a program is built in comes from, unless the control node's apt has it elsewhere."""

COORDINATOR = "coordinator"
PARTICIPANTS = "participants"
VERIFY = "verify"
"""Clients of the store: the coordinator's login, all participants' where they have one, and a verify round's, which has
its own bucket."""

Part = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Member:
    """A participant: its host, the word for it, and what it runs."""

    host: str
    component: str
    application: Mapping[str, Any]


class Copy(ABC):
    """The deployed stack, or its transient copy for the verify round, whose participants are given."""

    logins: tuple[str, ...]
    """Who has a login of the store's."""

    def __init__(
        self, topology: Topology, settings: Mapping[str, Any], members: tuple[Member, ...] | None = None
    ) -> None:
        self.topology = topology
        self.settings = settings
        self.transient = members is not None
        self.shift = topology.shift if self.transient else 0
        self.members = members if members is not None else tuple(self._deployed())
        self.bucket = verify_bucket(topology) if self.transient else topology.bucket

    # ... what generations differ in

    @abstractmethod
    def known(self, index: int) -> Part:
        """What the participant with this index is given where it runs known numbers."""

    @abstractmethod
    def allowed(self, login: str) -> Part:
        """What a login may do in its bucket."""

    @abstractmethod
    def program(self) -> Part:
        """What the coordinator takes beside what all have."""

    @abstractmethod
    def site(self) -> Part:
        """nginx in front of the coordinator, beside where it listens and whom it lets in."""

    @abstractmethod
    def reached(self, member: Member) -> Part:
        """How a participant reaches the coordinator, and what else it takes."""

    def training(self) -> Part:
        """What makes a training another than the last, in which those take part who have finished that; empty where
        there is no end."""
        return {}

    @abstractmethod
    def beside(self, roster: Roster) -> None:
        """What else runs in it."""

    # ... what they have alike

    def _deployed(self) -> Iterator[Member]:
        options = self.topology.participants.options
        artifact, callable_ = self.topology.located(options.get("application_artifact", {})), self.topology.application
        for index, host in enumerate(self.topology.participants.hosts):
            known = self.known(index) if callable_ == APPLICATIONS[self.topology.generation] else {}
            settings = options.get("application_settings", known)
            yield Member(host, "participant", {**artifact, "callable": callable_, "settings": settings})

    def roster(self) -> Roster:
        """Components and instances."""
        roster = Roster(self.topology.federation, self.topology.stack, self.transient)
        if self.logins and not self.transient:
            self._add_storage(roster)
        self._add_coordinator(roster)
        self._add_proxy(roster)
        self.beside(roster)
        for member in self.members:
            self._add_participant(roster, member)
        return roster

    def _add_storage(self, roster: Roster) -> None:
        """The store, with the verify round's bucket, since a round brings none of its own."""
        topology = self.topology
        files, keep = topology.paths("storage"), topology.storage.options["keep_days"]
        values: Part = {
            "address": topology.storage_address,
            "port": topology.storage.listening_port,
            "public_url": topology.store().internal,
            "tls": {"certificate": files["chain"], "key": files["key"], "ca": files["ca"]},
            "buckets": [
                {"name": topology.bucket, "versioning": True, "expire_former_days": keep},
                {"name": verify_bucket(topology), "expire_days": 1},
            ],
            "clients": [
                *(self._client(word, topology.bucket, word) for word in self.logins),
                *(self._client(word, verify_bucket(topology), f"{VERIFY}-{word}") for word in self.logins),
            ],
        }
        roster.present("minio", "storage", "storage", topology.storage_host, values, [topology.store()])

    def _client(self, word: str, bucket: str, login: str) -> Part:
        name = f"{self.topology.stack.name}-{login}"
        return {"name": name, "bucket": bucket, **self.allowed(word), "secret": self._secret(login)}

    def _secret(self, login: str) -> str:
        return self.topology.secret(login.replace("-", "_"))

    def storage(self, word: str, host: str) -> Part:
        """How a client reaches the store from a host."""
        login = f"{VERIFY}-{word}" if self.transient else word
        return {
            "endpoint": self.topology.reached(self.topology.store(), host),
            "bucket": self.bucket,
            "user": f"{self.topology.stack.name}-{login}",
            "secret": self._secret(login),
        }

    def _add_coordinator(self, roster: Roster) -> None:
        topology = self.topology
        values: Part = {
            "generation": topology.generation,
            "runtime": topology.located(topology.stack.options["runtime"]),
            "listen": {"address": LOOPBACK, "port": topology.program_port + self.shift},
            **self.program(),
        }
        if self.logins:
            values |= {
                "storage": self.storage(COORDINATOR, topology.host),
                "ca": topology.paths("coordinator")["ca"],
            }
        roster.present("xain_coordinator", "coordinator", "coordinator", topology.host, values, self.listens())

    def listens(self) -> list[Endpoint]:
        """Where the coordinator itself does."""
        return [self.topology.program(self.shift)]

    def given_program(self) -> Part:
        """A packed program, where there is one."""
        options = self.topology.stack.options
        return self.topology.located({"archive": options["program"]})["archive"] if "program" in options else {}

    def _add_proxy(self, roster: Roster) -> None:
        topology, server = self.topology, network.join(LOOPBACK, self.topology.program_port + self.shift)
        placement, host, address = topology.coordinator, topology.host, topology.address
        values = self.front(self.site(), "proxy", placement, host, address, server)
        own = topology.entrance(self.shift)
        roster.present("nginx", "coordinator", "proxy", host, values, [own], variable=SITES)

    def front(self, site: Part, certificate: str, placement: Placement, host: str, address: str, server: str) -> Part:
        """nginx in front of a program on loopback: TLS, and a certificate of each participant's."""
        topology, files = self.topology, self.topology.paths(certificate)
        tls: Part = {
            "certificate": files["chain"],
            "key": files["key"],
            "client_names": client_names(topology),
            **certificates.vouched(files, *topology.authorities),
            **site.pop("tls", {}),
        }
        listen = {"address": address, "port": placement.listening_port + self.shift, **site.pop("listen", {})}
        connections = site.get("protocol") == "tcp"
        values = {
            "listen": [listen],
            "tls": tls,
            "allow": list(topology.coordinator.options["allow"]),
            "limits": site_limits(at_once(topology.expected), connections=connections),
            "upstream": {"servers": [server], **site.pop("upstream", {})},
            **site,
        }
        if not connections:
            own = certificates.service_name(topology.party, topology.certificate(certificate))
            at = topology.federation.host(host)
            values["server_names"] = certificates.asked_names(placement, at, address, own)
        return values

    def _add_participant(self, roster: Roster, member: Member) -> None:
        topology = self.topology
        values = {
            "generation": topology.generation,
            "runtime": topology.located(topology.stack.options["runtime"]),
            "application": member.application,
            **({"training": self.training()} if self.training() else {}),
            **self.reached(member),
        }
        roster.present("xain_participant", "participants", member.component, member.host, values)


def verify_bucket(topology: Topology) -> str:
    return f"{topology.bucket}-{VERIFY}"


def certified(topology: Topology) -> tuple[str, ...]:
    """Hosts that have a participant's certificate: the coordinator's too, where it stands in for them in a round."""
    return topology.participants.hosts or (topology.host,)


def client_names(topology: Topology) -> list[str]:
    """The common names of participants' certificates."""
    name = topology.certificate("participant")
    return [*(certificates.common_name(name, host) for host in certified(topology)), *topology.clients]


def certificates_of(topology: Topology, logins: tuple[str, ...]) -> Iterator[Certificate]:
    """What proxies and the store show, what participants show, and what is trusted."""
    trusted, own = tuple(authority.name for authority in topology.authorities), topology.authority.name
    yield _serving(topology, "proxy", topology.coordinator, topology.host, topology.address, trusted)
    if logins:
        at, address = topology.storage_host, topology.storage_address
        yield _serving(topology, "storage", topology.storage, at, address, ())
        yield certificates.trusted(topology.certificate("coordinator"), topology.host, own)
    if topology.generation == "poc":
        at, address = topology.aggregator_host, topology.aggregator_address
        yield _serving(topology, "aggregator", topology.aggregator, at, address, trusted)
    if topology.generation == "poc" and topology.apart:
        yield from _between_programs(topology)
    name = topology.certificate("participant")
    for host in certified(topology):
        common, party = certificates.common_name(name, host), topology.party_of(host)
        authority = certificates.party_authority(topology.federation, party).name
        yield Certificate(name, host, authority, common, usages=("client",), trust=(own,))


def _serving(
    topology: Topology, role: str, placement: Placement, host: str, address: str, trust: tuple[str, ...]
) -> Certificate:
    """What listens on an address shows."""
    name, at = topology.certificate(role), topology.federation.host(host)
    names, addresses = certificates.serving_names(placement, at, address, name)
    common = certificates.common_name(name, host)
    return Certificate(name, host, topology.authority.name, common, names, addresses, trust=trust)


def _between_programs(topology: Topology) -> Iterator[Certificate]:
    """What coordinator and aggregator show each other, on two hosts."""
    name, own = topology.certificate("rpc"), topology.authority.name
    called = certificates.service_name(topology.party, name)
    for host in (topology.host, topology.aggregator_host):
        common = certificates.common_name(name, host)
        yield Certificate(name, host, own, common, (called,), usages=("server", "client"), trust=(own,))


def secrets_of(topology: Topology, logins: tuple[str, ...]) -> Iterator[Secret]:
    """The passwords of the store's clients; participants of other parties have theirs of the coordinator's."""
    own = topology.party.name
    for login in (*logins, *(f"{VERIFY}_{word}" for word in logins)):
        yield Secret(topology.secret(login), own, _purpose(topology, login))
    for authority in topology.authorities[1:]:
        for login in (PARTICIPANTS, f"{VERIFY}_{PARTICIPANTS}") if PARTICIPANTS in logins else ():
            yield Secret(topology.secret(login), authority.party, _purpose(topology, login), maker=own)
    if topology.generation == "pet":
        yield Secret(topology.redis_secret, own, f"the coordinator's password for the Redis of '{topology.stack.name}'")
    elif topology.settings.get("metrics", {}).get("enable"):
        password = topology.settings["metrics"]["password"]
        yield Secret(password, own, f"the password for the InfluxDB of '{topology.stack.name}'")


def _purpose(topology: Topology, login: str) -> str:
    return f"the {login.replace('_', ' ')}'s password for the store of '{topology.stack.name}'"


def flows(topology: Topology, logins: tuple[str, ...]) -> Iterator[Flow]:
    """Participants to nginx, and those with a login to the store, for the deployed stack and the round's."""
    yield from _to(topology, topology.host, topology.coordinator.listening_port, PARTICIPANTS)
    if topology.generation == "poc":
        at, port = topology.aggregator_host, topology.aggregator.listening_port
        yield from _to(topology, at, port, f"{PARTICIPANTS}' models")
        yield from _calls(topology)
    if not logins:
        return
    store, port, login = topology.storage_host, topology.storage.listening_port, "TLS, login with a password"
    if PARTICIPANTS in logins and others(topology):
        yield Flow("clients", store, port, "weights", login)
    for host in (*(topology.participants.hosts if PARTICIPANTS in logins else ()), topology.host):
        if host != store:
            yield Flow(host, store, port, "weights and models", login)


def others(topology: Topology) -> bool:
    """Whether there are participants that the document doesn't place."""
    participants = topology.participants
    return not participants.hosts or bool(topology.clients) or topology.expected > len(participants.hosts)


def _to(topology: Topology, at: str, port: int, purpose: str) -> Iterator[Flow]:
    """All participants to a proxy."""
    proof = "TLS, client certificate"
    if others(topology):
        yield Flow("clients", at, port, purpose, proof)
    for host in topology.participants.hosts:
        for label, shift in (("", 0), ("verify: ", topology.shift)):
            if host != at:
                yield Flow(host, at, port + shift, f"{label}{purpose}", proof)


def _calls(topology: Topology) -> Iterator[Flow]:
    """Coordinator and aggregator to each other, on two hosts."""
    ways = ((topology.host, topology.aggregator), (topology.aggregator_host, topology.coordinator))
    for source, placement in ways if topology.apart else ():
        for label, shift in (("", 0), ("verify: ", topology.shift)):
            port = topology.rpc_port(placement) + shift
            yield Flow(source, placement.hosts[0], port, f"{label}calls", "TLS, certificates on both sides")


def fetched_by(topology: Topology) -> Iterator[Flow]:
    """What hosts get of an index, or of where the program lies."""
    runtime, program = topology.stack.options["runtime"], topology.stack.options.get("program", {})
    built = topology.generation != "python" and not program
    for url in CRATES if built else ():
        yield fetched(CONTROLLER, url, "crates, unless cargo has another registry", "TLS, sums")
    if built and topology.generation in BUILT_IN:
        yield fetched(CONTROLLER, BUILT_IN[topology.generation], "an older Debian, to build in", "signatures")
    if "://" in program.get("source", ""):
        aggregating = topology.aggregator.hosts if topology.generation == "poc" else ()
        for host in dict.fromkeys((topology.host, *aggregating)):
            yield fetched(host, program["source"], "the coordinator's program", "TLS, a sum")
    if "wheels" in runtime:
        return
    environments = (topology.host, *topology.participants.hosts)
    if topology.generation != "python":
        environments = certified(topology)
    for host in dict.fromkeys(environments):
        yield from python_packages(host, runtime.get("index_url"))


_REMOVED = (
    ("minio", "storage", "storage", "", ("storage",)),
    ("xain_coordinator", "coordinator", "coordinator", "", ("coordinator", "participant")),
    ("nginx", "coordinator", "proxy", SITES, ("proxy",)),
    ("xain_participant", "participants", "participant", "", ("participant",)),
)
"""Role, placement, component, variable and certificates of what can be absent."""

_REMOVED_OF: Mapping[str, tuple[tuple[str, str, str, str, tuple[str, ...]], ...]] = {
    "python": (),
    "pet": (("redis", "coordinator", "redis", "", ()), ("nginx", "participants", "exit", SITES, ())),
    "poc": (
        ("nginx", "coordinator", "rpc-in", SITES, ("rpc",)),
        ("nginx", "coordinator", "rpc-out", SITES, ()),
        ("xain_aggregator", "aggregator", "aggregator", "", ("aggregator", "rpc")),
        ("nginx", "aggregator", "aggregator-proxy", SITES, ()),
        ("nginx", "aggregator", "rpc-in", SITES, ()),
        ("nginx", "aggregator", "rpc-out", SITES, ()),
    ),
}


def removal(topology: Topology) -> Expansion:
    """Everything that is to be removed, by name."""
    roster, gone = Roster(topology.federation, topology.stack), {}
    placements = {
        "storage": topology.storage,
        "aggregator": topology.aggregator,
        "coordinator": topology.coordinator,
        "participants": topology.participants,
    }
    certified_now = certified(topology) if topology.coordinator.hosts else ()
    for role, word, component, variable, names in (*_REMOVED, *_REMOVED_OF[topology.generation]):
        for host in placements[word].absent:
            roster.absent(role, word, component, host, variable=variable)
            for each in names:
                name = topology.certificate(each)
                if each != "participant" or host not in certified_now:
                    gone[name, host] = Certificate(name, host, "", "", state="absent")
    return Expansion(components=tuple(roster.components), certificates=tuple(gone.values()), variables=roster.variables)
