# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What roles get: of the deployed stack, and of its copy in a verify round.

What generations have alike stands here; ``python_parts`` and ``pet_parts`` have the rest of theirs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ... import certificates, network
from ...expanding import CONTROLLER, Roster, at_once, fetched, python_packages, site_limits
from ...model import Certificate, Expansion, Flow, Secret
from .placements import APPLICATIONS
from .topology import LOOPBACK, Topology

SITES = "nginx_sites"
CRATES = ("https://index.crates.io", "https://static.crates.io")
"""What the control node builds of, unless its cargo has another registry."""

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

    @abstractmethod
    def beside(self, roster: Roster) -> None:
        """What else runs in it."""

    # ... what they have alike

    def _deployed(self) -> Iterator[Member]:
        options = self.topology.participants.options
        artifact, callable_ = self.topology.located(options["application_artifact"]), self.topology.application
        for index, host in enumerate(self.topology.participants.hosts):
            known = self.known(index) if callable_ == APPLICATIONS[self.topology.generation] else {}
            settings = options.get("application_settings", known)
            yield Member(host, "participant", {**artifact, "callable": callable_, "settings": settings})

    def roster(self) -> Roster:
        """Components and instances."""
        roster = Roster(self.topology.federation, self.topology.stack, self.transient)
        if not self.transient:
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
        values = {
            "generation": topology.generation,
            "runtime": topology.located(topology.stack.options["runtime"]),
            "listen": {"address": LOOPBACK, "port": topology.program_port + self.shift},
            "storage": self.storage(COORDINATOR, topology.host),
            "ca": topology.paths("coordinator")["ca"],
            **self.program(),
        }
        own = topology.program(self.shift)
        roster.present("xain_coordinator", "coordinator", "coordinator", topology.host, values, [own])

    def _add_proxy(self, roster: Roster) -> None:
        topology, files = self.topology, self.topology.paths("proxy")
        site = self.site()
        tls: Part = {
            "certificate": files["chain"],
            "key": files["key"],
            "client_ca": files["ca"],
            "client_names": client_names(topology),
            **site.pop("tls", {}),
        }
        if certificates.has_list(*topology.authorities):
            tls["client_crl"] = files["crl"]
        listen = {
            "address": topology.address,
            "port": topology.coordinator.listening_port + self.shift,
            **site.pop("listen", {}),
        }
        values = {
            "listen": [listen],
            "tls": tls,
            "allow": list(topology.coordinator.options["allow"]),
            "limits": site_limits(at_once(topology.expected), connections=site.get("protocol") == "tcp"),
            "upstream": {"servers": [network.join(LOOPBACK, topology.program_port + self.shift)]},
            **site,
        }
        if site.get("protocol") != "tcp":
            at = topology.federation.host(topology.host)
            names = certificates.asked_names(topology.coordinator, at, topology.address, topology.service_name)
            values["server_names"] = names
        own = topology.entrance(self.shift)
        roster.present("nginx", "coordinator", "proxy", topology.host, values, [own], variable=SITES)

    def _add_participant(self, roster: Roster, member: Member) -> None:
        topology = self.topology
        values = {
            "generation": topology.generation,
            "runtime": topology.located(topology.stack.options["runtime"]),
            "application": member.application,
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
    others = topology.participants.options.get("clients", ())
    return [*(certificates.common_name(name, host) for host in certified(topology)), *others]


def certificates_of(topology: Topology) -> Iterator[Certificate]:
    """What nginx and the store show, what participants show, and what the coordinator trusts."""
    trusted, own = tuple(authority.name for authority in topology.authorities), topology.authority.name
    roles = (
        ("proxy", topology.coordinator, topology.host, topology.address, trusted),
        ("storage", topology.storage, topology.storage_host, topology.storage_address, ()),
    )
    for role, placement, host, address, trust in roles:
        name, at = topology.certificate(role), topology.federation.host(host)
        names, addresses = certificates.serving_names(placement, at, address, name)
        common = certificates.common_name(name, host)
        yield Certificate(name, host, own, common, names, addresses, trust=trust)
    yield certificates.trusted(topology.certificate("coordinator"), topology.host, own)
    name = topology.certificate("participant")
    for host in certified(topology):
        common, party = certificates.common_name(name, host), topology.party_of(host)
        authority = certificates.party_authority(topology.federation, party).name
        yield Certificate(name, host, authority, common, usages=("client",), trust=(own,))


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
    elif topology.settings["metrics"]["enable"]:
        password = topology.settings["metrics"]["password"]
        yield Secret(password, own, f"the password for the InfluxDB of '{topology.stack.name}'")


def _purpose(topology: Topology, login: str) -> str:
    return f"the {login.replace('_', ' ')}'s password for the store of '{topology.stack.name}'"


def flows(topology: Topology, logins: tuple[str, ...]) -> Iterator[Flow]:
    """Participants to nginx, and those with a login to the store, for the deployed stack and the round's."""
    store, port = topology.storage_host, topology.coordinator.listening_port
    certified_by, login = "TLS, client certificate", "TLS, login with a password"
    expected = int(topology.participants.options.get("expected") or 0)
    if not topology.participants.hosts or expected > len(topology.participants.hosts):
        yield Flow("clients", topology.host, port, PARTICIPANTS, certified_by)
        if PARTICIPANTS in logins:
            yield Flow("clients", store, topology.storage.listening_port, "weights", login)
    for host in topology.participants.hosts:
        for label, shift in (("", 0), ("verify: ", topology.shift)):
            if host != topology.host:
                yield Flow(host, topology.host, port + shift, f"{label}{PARTICIPANTS}", certified_by)
    reaching = topology.participants.hosts if PARTICIPANTS in logins else ()
    for host in (*reaching, topology.host):
        if host != store:
            yield Flow(host, store, topology.storage.listening_port, "weights and models", login)


def fetched_by(topology: Topology) -> Iterator[Flow]:
    """What hosts get of an index, or of where the program lies."""
    runtime, program = topology.stack.options["runtime"], topology.stack.options.get("program", {})
    if topology.generation == "pet" and not program:
        for url in CRATES:
            yield fetched(CONTROLLER, url, "crates, unless cargo has another registry", "TLS, sums")
    elif "://" in program.get("source", ""):
        yield fetched(topology.host, program["source"], "the coordinator's program", "TLS, a sum")
    if "wheels" in runtime:
        return
    environments = (topology.host, *topology.participants.hosts)
    if topology.generation == "pet":
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

_REMOVED_OF_PET = (("redis", "coordinator", "redis", "", ()), ("nginx", "participants", "exit", SITES, ()))


def removal(topology: Topology) -> Expansion:
    """Everything that is to be removed, by name."""
    roster, gone = Roster(topology.federation, topology.stack), {}
    placements = {
        "storage": topology.storage,
        "coordinator": topology.coordinator,
        "participants": topology.participants,
    }
    certified_now = certified(topology) if topology.coordinator.hosts else ()
    of_generation = _REMOVED_OF_PET if topology.generation == "pet" else ()
    for role, word, component, variable, names in (*_REMOVED, *of_generation):
        for host in placements[word].absent:
            roster.absent(role, word, component, host, variable=variable)
            for each in names:
                name = topology.certificate(each)
                if each != "participant" or host not in certified_now:
                    gone[name, host] = Certificate(name, host, "", "", state="absent")
    return Expansion(components=tuple(roster.components), certificates=tuple(gone.values()), variables=roster.variables)
