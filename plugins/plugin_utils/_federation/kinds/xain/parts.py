# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What roles get: of the deployed stack, and of its copy in a verify round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ... import certificates, network
from ...expanding import Roster, python_packages
from ...model import Certificate, Expansion, Flow, Secret
from .known_steps import steps
from .placements import DEFAULT_APPLICATION
from .settings import SDK_HEARTBEAT_SECONDS, program_configuration
from .topology import LOOPBACK, Topology

SITES = "nginx_sites"
HOUR = 3600
ALPN = ["h2"]
"""What gRPC's clients insist on being told."""

COORDINATOR = "coordinator"
PARTICIPANTS = "participants"
VERIFY = "verify"
"""Clients of the store: the coordinator's login, all participants', and a verify round's, which has its own bucket."""

_SOME: Mapping[str, Mapping[str, list[str]]] = {
    COORDINATOR: {"get": ["*"], "put": ["*/global"]},
    PARTICIPANTS: {"get": ["*/global"], "put": ["*"], "never_put": ["*/global"]},
}
"""Who puts what. What participants put is fetched by the coordinator alone, and they can't name each other's."""

Part = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Member:
    """A participant: its host, the word for it, and what it runs."""

    host: str
    component: str
    application: Mapping[str, Any]


class Copy:
    """The deployed stack, or its transient copy for the verify round, whose participants are given."""

    def __init__(
        self, topology: Topology, settings: Mapping[str, Any], members: tuple[Member, ...] | None = None
    ) -> None:
        self.topology = topology
        self.settings = settings
        self.transient = members is not None
        self.shift = topology.shift if self.transient else 0
        self.members = members if members is not None else tuple(self._deployed())
        self.bucket = verify_bucket(topology) if self.transient else topology.bucket

    def _deployed(self) -> Iterator[Member]:
        options = self.topology.participants.options
        artifact, callable_ = self.topology.located(options["application_artifact"]), options["application"]
        for index, host in enumerate(self.topology.participants.hosts):
            settings = options.get("application_settings", steps(index) if callable_ == DEFAULT_APPLICATION else {})
            yield Member(host, "participant", {**artifact, "callable": callable_, "settings": settings})

    def roster(self) -> Roster:
        """Components and instances."""
        roster = Roster(self.topology.federation, self.topology.stack, self.transient)
        if not self.transient:
            self._add_storage(roster)
        self._add_coordinator(roster)
        self._add_proxy(roster)
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
            "tls": {"certificate": files["chain"], "key": files["key"], "ca": files["ca"]},
            "buckets": [
                {"name": topology.bucket, "versioning": True, "expire_former_days": keep},
                {"name": verify_bucket(topology), "expire_days": 1},
            ],
            "clients": [
                *(self._client(word, topology.bucket, word) for word in (COORDINATOR, PARTICIPANTS)),
                *(
                    self._client(word, verify_bucket(topology), f"{VERIFY}-{word}")
                    for word in (COORDINATOR, PARTICIPANTS)
                ),
            ],
        }
        roster.present("minio", "storage", "storage", topology.storage_host, values, [topology.store()])

    def _client(self, word: str, bucket: str, login: str) -> Part:
        name = f"{self.topology.stack.name}-{login}"
        return {"name": name, "bucket": bucket, "access": "some", "objects": _SOME[word], "secret": self._secret(login)}

    def _secret(self, login: str) -> str:
        return self.topology.secret(login.replace("-", "_"))

    def _storage(self, word: str, host: str) -> Part:
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
            "runtime": topology.located(topology.stack.options["runtime"]),
            "listen": {"address": LOOPBACK, "port": topology.program_port + self.shift},
            "storage": self._storage(COORDINATOR, topology.host),
            "ca": topology.paths("coordinator")["ca"],
            "settings": {**program_configuration(self.settings), "max_model_size": self.settings["max_model_size"]},
        }
        own = topology.program(self.shift)
        roster.present("xain_coordinator", "coordinator", "coordinator", topology.host, values, [own])

    def _add_proxy(self, roster: Roster) -> None:
        """nginx passes connections on: the program knows participants by theirs, and requests of several would mix."""
        topology, files = self.topology, self.topology.paths("proxy")
        tls: Part = {
            "certificate": files["chain"],
            "key": files["key"],
            "client_ca": files["ca"],
            "client_names": client_names(topology),
            "alpn": ALPN,
        }
        if certificates.has_list(*topology.authorities):
            tls["client_crl"] = files["crl"]
        values = {
            "protocol": "tcp",
            "listen": [
                {
                    "address": topology.address,
                    "port": topology.coordinator.listening_port + self.shift,
                    "find_dead_peers": True,
                }
            ],
            "tls": tls,
            "allow": list(topology.coordinator.options["allow"]),
            "upstream": {"servers": [network.join(LOOPBACK, topology.program_port + self.shift)]},
            "read_timeout_seconds": HOUR,
        }
        own = topology.entrance(self.shift)
        roster.present("nginx", "coordinator", "proxy", topology.host, values, [own], variable=SITES)

    def _add_participant(self, roster: Roster, member: Member) -> None:
        topology = self.topology
        url = network.parse_url(topology.reached(topology.entrance(self.shift), member.host))
        files = topology.paths("participant")
        values = {
            "runtime": topology.located(topology.stack.options["runtime"]),
            "application": member.application,
            "coordinator": {"host": url.host, "port": url.port or network.DEFAULT_PORTS[url.scheme]},
            "tls": {"certificate": files["chain"], "key": files["key"], "ca": files["ca"]},
            "storage": self._storage(PARTICIPANTS, member.host),
            "ca": files["ca"],
            "max_model_size": self.settings["max_model_size"],
            "log_level": self.settings["logging"]["level"],
            "heartbeat_seconds": 1 if self.transient else SDK_HEARTBEAT_SECONDS,
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


def secrets_of(topology: Topology) -> Iterator[Secret]:
    """The passwords of the store's clients; participants of other parties have theirs of the coordinator's."""
    own, stack = topology.party.name, topology.stack.name
    for login in (COORDINATOR, PARTICIPANTS, f"{VERIFY}_{COORDINATOR}", f"{VERIFY}_{PARTICIPANTS}"):
        yield Secret(
            topology.secret(login), own, f"the {login.replace('_', ' ')}'s password for the store of '{stack}'"
        )
    for authority in topology.authorities[1:]:
        for login in (PARTICIPANTS, f"{VERIFY}_{PARTICIPANTS}"):
            purpose = f"the {login.replace('_', ' ')}'s password for the store of '{stack}'"
            yield Secret(topology.secret(login), authority.party, purpose, maker=own)
    if topology.settings["metrics"]["enable"]:
        yield Secret(topology.settings["metrics"]["password"], own, f"the password for the InfluxDB of '{stack}'")


def flows(topology: Topology) -> Iterator[Flow]:
    """Participants to nginx and to the store, the coordinator to the store, for the deployed stack and the round's."""
    store, port = topology.storage_host, topology.coordinator.listening_port
    certified_by, login = "TLS, client certificate", "TLS, login with a password"
    expected = int(topology.participants.options.get("expected") or 0)
    if not topology.participants.hosts or expected > len(topology.participants.hosts):
        yield Flow("clients", topology.host, port, PARTICIPANTS, certified_by)
        yield Flow("clients", store, topology.storage.listening_port, "weights", login)
    for host in topology.participants.hosts:
        for label, shift in (("", 0), ("verify: ", topology.shift)):
            if host != topology.host:
                yield Flow(host, topology.host, port + shift, f"{label}{PARTICIPANTS}", certified_by)
    for host in (*topology.participants.hosts, topology.host):
        if host != store:
            yield Flow(host, store, topology.storage.listening_port, "weights and models", login)


def fetched_by(topology: Topology) -> Iterator[Flow]:
    """What hosts get of an index."""
    runtime = topology.stack.options["runtime"]
    if "wheels" in runtime:
        return
    for host in dict.fromkeys((topology.host, *topology.participants.hosts)):
        yield from python_packages(host, runtime.get("index_url"))


_REMOVED = (
    ("minio", "storage", "storage", "", ("storage",)),
    ("xain_coordinator", "coordinator", "coordinator", "", ("coordinator", "participant")),
    ("nginx", "coordinator", "proxy", SITES, ("proxy",)),
    ("xain_participant", "participants", "participant", "", ("participant",)),
)
"""Role, placement, component, variable and certificates of what can be absent."""


def removal(topology: Topology) -> Expansion:
    """Everything that is to be removed, by name."""
    roster, gone = Roster(topology.federation, topology.stack), {}
    placements = {
        "storage": topology.storage,
        "coordinator": topology.coordinator,
        "participants": topology.participants,
    }
    certified_now = certified(topology) if topology.coordinator.hosts else ()
    for role, word, component, variable, names in _REMOVED:
        for host in placements[word].absent:
            roster.absent(role, word, component, host, variable=variable)
            for each in names:
                name = topology.certificate(each)
                if each != "participant" or host not in certified_now:
                    gone[name, host] = Certificate(name, host, "", "", state="absent")
    return Expansion(components=tuple(roster.components), certificates=tuple(gone.values()), variables=roster.variables)
