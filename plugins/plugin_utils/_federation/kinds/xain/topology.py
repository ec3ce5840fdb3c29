# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who runs where, what is reached by whom, and what of it can't be."""

from __future__ import annotations

import ipaddress
import posixpath
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from ... import certificates, network
from ...expanding import endpoint, instance_name, own_address
from ...model import Authority, Endpoint, Federation, Party, Placement, Stack
from ...nodes import Report
from ...schema import complete
from ...unknown import UNKNOWN, attempt
from .placements import APPLICATIONS, LOCAL_PORT, LONGEST_BUCKET, REDIS_PORT, RPC_PORT
from .poc_keys import too_short
from .settings import SECTIONS, TOO_FEW

LOOPBACK = "127.0.0.1"

CERTIFIED = ("participant", "proxy", "aggregator", "rpc", "storage", "coordinator")
"""What has certificates: another's participant has none of these."""

NEEDS: Mapping[str, Mapping[str, str]] = {
    "python": {"storage": "it keeps its weights", "participants": "they connect to it"},
    "pet": {"storage": "it keeps its weights", "participants": "they connect to it"},
    "poc": {"aggregator": "it works for it", "participants": "they connect to it"},
}
"""The placements that a generation needs, and why none of them is there without a coordinator."""

OPTIONAL = (("poc", "participants"),)
"""Where all may be others'."""

_UNUSED: tuple[tuple[str, str, tuple[str, ...], Mapping[str, str]], ...] = (
    ("", "aggregator", ("poc",), dict.fromkeys(("python", "pet"), "the coordinator aggregates")),
    ("", "storage", ("python", "pet"), {"poc": "the aggregator has the model"}),
    ("", "program", ("pet", "poc"), {"python": "the programs come from `runtime`"}),
    ("coordinator", "redis_port", ("pet",), dict.fromkeys(("python", "poc"), "its coordinator keeps nothing in Redis")),
    ("coordinator", "rpc_port", ("poc",), dict.fromkeys(("python", "pet"), "there is no aggregator to reach it")),
    ("participants", "local_port", ("pet",), dict.fromkeys(("python", "poc"), "its participants speak TLS themselves")),
)
"""Keys of a placement, or of the stack, for whom they are, and why other generations have no use for them."""


class Topology:
    """A stack of the document, with what follows from where its roles are placed."""

    def __init__(self, stack: Stack, federation: Federation, report: Report) -> None:
        self.stack = stack
        self.federation = federation
        self.report = report
        self.coordinator = self._placement("coordinator")
        self.storage = self._placement("storage")
        self.participants = self._placement("participants")
        self.aggregator = self._placement("aggregator")
        self.shift = stack.options["verify_port_shift"]

    def _placement(self, role: str) -> Placement:
        found = self.stack.placements.get(role, Placement())
        return Placement() if found is UNKNOWN else found

    # ... who and where

    @property
    def generation(self) -> str:
        return str(self.stack.options["generation"])

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The program's configuration, complete; empty once mistakes are noted."""
        return complete(SECTIONS[self.generation], self.stack.settings, (*self.stack.path, "settings"), self.report)

    @cached_property
    def host(self) -> str:
        """The coordinator's."""
        return self.coordinator.hosts[0]

    @cached_property
    def storage_host(self) -> str:
        return self.storage.hosts[0]

    @cached_property
    def party(self) -> Party:
        """Whose the coordinator is."""
        return self.federation.parties[self.federation.host(self.host).party]

    @property
    def service_name(self) -> str:
        """A DNS name of the proxy's certificate that is its own, whatever its party's CA may certify."""
        return certificates.service_name(self.party, self.certificate("proxy"))

    def party_of(self, host: str) -> Party:
        return self.federation.parties[self.federation.host(host).party]

    @cached_property
    def address(self) -> str:
        """Where nginx listens for the coordinator."""
        return own_address(self.coordinator, self.federation.host(self.host), self.report) or ""

    @cached_property
    def storage_address(self) -> str:
        return own_address(self.storage, self.federation.host(self.storage_host), self.report) or ""

    @cached_property
    def aggregator_host(self) -> str:
        return self.aggregator.hosts[0]

    @cached_property
    def aggregator_address(self) -> str:
        """Where nginx listens for the aggregator."""
        return own_address(self.aggregator, self.federation.host(self.aggregator_host), self.report) or ""

    @property
    def apart(self) -> bool:
        """Whether the aggregator is on another host than its coordinator."""
        return bool(self.aggregator.hosts) and self.aggregator_host != self.host

    @property
    def program_port(self) -> int:
        return int(self.coordinator.options["program_port"])

    @property
    def redis_port(self) -> int:
        return int(self.coordinator.options.get("redis_port") or REDIS_PORT)

    def rpc_port(self, placement: Placement) -> int:
        """Where coordinator or aggregator listens for the other; proxies have the same port, on an address."""
        return int(placement.options.get("rpc_port") or RPC_PORT)

    @property
    def local_port(self) -> int:
        return int(self.participants.options.get("local_port") or LOCAL_PORT)

    @property
    def application(self) -> str:
        """What participants run."""
        return str(self.participants.options.get("application") or APPLICATIONS[self.generation])

    def entrance(self, shift: int) -> Endpoint:
        """nginx, where participants connect."""
        host, port = self.federation.host(self.host), self.coordinator.listening_port + shift
        purpose = "grpc" if self.generation == "python" else "http"
        return endpoint(self.coordinator, host, purpose, self.address, port, scheme="https")

    def program(self, shift: int) -> Endpoint:
        """The program's own, on loopback."""
        path = (*self.coordinator.path, "program_port")
        host, port, front = self.federation.host(self.host), self.program_port + shift, self.entrance(shift)
        return endpoint(self.coordinator, host, "program", LOOPBACK, port, front=front, path=path)

    def aggregator_entrance(self, shift: int) -> Endpoint:
        """nginx, where participants get the model and send theirs."""
        host, port = self.federation.host(self.aggregator_host), self.aggregator.listening_port + shift
        return endpoint(self.aggregator, host, "http", self.aggregator_address, port, scheme="https")

    def aggregator_program(self, shift: int) -> Endpoint:
        """The program's own, on loopback."""
        path, front = (*self.aggregator.path, "program_port"), self.aggregator_entrance(shift)
        host, port = self.federation.host(self.aggregator_host), self.aggregator.options["program_port"] + shift
        return endpoint(self.aggregator, host, "program", LOOPBACK, port, front=front, path=path)

    def rpc(self, of: Placement, at: str, address: str, shift: int) -> Endpoint:
        """Where coordinator or aggregator, or the proxy that leads there, listens for the other on a host."""
        port, path = self.rpc_port(of) + shift, (*of.path, "rpc_port")
        return endpoint(of, self.federation.host(at), "rpc", address, port, public=False, path=path)

    def redis(self, shift: int) -> Endpoint:
        """The coordinator's own, on loopback."""
        host, path = self.federation.host(self.host), (*self.coordinator.path, "redis_port")
        return endpoint(self.coordinator, host, "redis", LOOPBACK, self.redis_port + shift, public=False, path=path)

    def way_out(self, host: str, shift: int) -> Endpoint:
        """Where participants of a host reach the coordinator, on loopback."""
        at, path = self.federation.host(host), (*self.participants.path, "local_port")
        port = self.local_port + shift
        return endpoint(self.participants, at, "http", LOOPBACK, port, scheme="http", public=False, path=path)

    def store(self) -> Endpoint:
        host, port = self.federation.host(self.storage_host), self.storage.listening_port
        return endpoint(self.storage, host, "s3", self.storage_address, port, scheme="https")

    def reached(self, told: Endpoint, host: str) -> str:
        """Where something is for what runs on a host: for another party's, what is public."""
        return told.internal if self.federation.host(host).party == self.party.name else told.public

    # ... names

    @cached_property
    def bucket(self) -> str:
        return self.storage.options.get("bucket") or f"{self.federation.name}-{self.stack.name}"

    def certificate(self, role: str) -> str:
        return instance_name(self.federation, self.stack, role)

    def paths(self, role: str) -> dict[str, str]:
        return certificates.paths(self.federation.name, self.certificate(role))

    @cached_property
    def authority(self) -> Authority:
        return certificates.party_authority(self.federation, self.party)

    @cached_property
    def authorities(self) -> list[Authority]:
        """The coordinator's, and those that sign for its participants."""
        parties = dict.fromkeys(self.federation.host(host).party for host in self.participants.hosts)
        others = [self.federation.parties[name] for name in parties if name != self.party.name]
        return [self.authority, *(certificates.party_authority(self.federation, party) for party in others)]

    def secret(self, client: str) -> str:
        """The name of the secret that is a client's password for the store."""
        return f"{self.stack.name}_{client}_storage"

    @property
    def redis_secret(self) -> str:
        """The name of the secret that is the coordinator's password for its Redis."""
        return f"{self.stack.name}_redis"

    # ... what roles get of options

    def beside(self, path: str) -> str:
        return posixpath.join(self.federation.directory, path)

    def located(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The same with paths of files beside the document made whole."""
        found = dict(given)
        for key in ("source", "requirements", "wheels"):
            if key in found:
                found[key] = self.beside(found[key])
        if "archive" in found:
            source = found["archive"]["source"]
            found["archive"] = {**found["archive"], "source": source if "://" in source else self.beside(source)}
        return found

    # ... what can't be

    def check(self) -> None:
        """Notes all mistakes."""
        for look in (
            self._check_keys,
            self._check_places,
            self._check_parties,
            self._check_ports,
            self._check_bucket,
            self._check_urls,
            self._check_clients,
            self._check_numbers,
        ):
            attempt(look)

    def _check_keys(self) -> None:
        for key in NEEDS[self.generation]:
            if key not in self.stack.placements and (self.generation, key) not in OPTIONAL:
                message = f"the key '{key}' is missing: generation '{self.generation}' needs it"
                self.report.mistake(self.stack.path, message)
        for where, key, generations, reasons in _UNUSED:
            options = self._placement(where).options if where else {**self.stack.options, **self.stack.placements}
            if self.generation in reasons and key in options:
                path = self._placement(where).path if where else self.stack.path
                whose = " or ".join(f"'{name}'" for name in generations)
                message = f"is for the generation {whose}: in '{self.generation}' {reasons[self.generation]}"
                self.report.mistake((*path, key), message)

    def _check_places(self) -> None:
        for key, why in NEEDS[self.generation].items():
            placement = self._placement(key)
            if placement.hosts and self.coordinator.absent and not self.coordinator.hosts:
                message = f"the coordinator is absent, and {why}: make both absent"
                self.report.mistake((*placement.path, placement.where), message)
        if not self.coordinator.hosts:
            return
        for key, why in (("storage", "the coordinator keeps its weights there"), ("aggregator", "it aggregates")):
            placement = self._placement(key)
            if key not in NEEDS[self.generation] or key not in self.stack.placements:
                continue
            if placement.absent and not placement.hosts:
                self.report.mistake(placement.path, f"is absent, and {why}")
                return
        for placement, address, own, reaching in self._reached_by():
            found, others = ipaddress.ip_address(address), [host for host in reaching if host != own]
            if found.is_unspecified:
                self.report.mistake((*placement.path, "bind"), f"'{address}' is every address: choose one")
            elif found.is_loopback and others:
                self.report.mistake((*placement.path, "bind"), f"'{address}' cannot be reached from '{others[0]}'")

    def _reached_by(self) -> Iterator[tuple[Placement, str, str, tuple[str, ...]]]:
        """What listens for others: its address and host, and the hosts that reach it."""
        participants = self.participants.hosts
        yield self.coordinator, self.address, self.host, participants
        if "storage" in NEEDS[self.generation] and self.storage.hosts:
            weights = participants if self.generation == "python" else ()
            yield self.storage, self.storage_address, self.storage_host, (self.host, *weights)
        if "aggregator" in NEEDS[self.generation] and self.aggregator.hosts:
            yield self.aggregator, self.aggregator_address, self.aggregator_host, (self.host, *participants)
            if self.apart:
                yield self.coordinator, self.address, self.host, (self.aggregator_host,)

    def _check_parties(self) -> None:
        for placement in (self.storage, self.aggregator):
            if not self.coordinator.hosts or not placement.hosts:
                continue
            host = placement.hosts[0]
            owner = self.party_of(host).name
            if owner != self.party.name:
                message = (
                    f"host '{host}' is of party '{owner}', the coordinator's of '{self.party.name}': "
                    "both are one party's"
                )
                self.report.mistake((*placement.path, placement.where), message)

    def _check_ports(self) -> None:
        listening = [(placement, "port", placement.port) for placement in (self.coordinator, self.aggregator)]
        listening += [
            (placement, key, placement.options.get(key))
            for placement, keys in (
                (self.coordinator, ("program_port", "redis_port", "rpc_port")),
                (self.aggregator, ("program_port", "rpc_port")),
                (self.participants, ("local_port",)),
            )
            for key in keys
        ]
        for placement, key, port in listening:
            message = network.too_high(port or 0, self.shift)
            if placement.hosts and message:
                self.report.mistake((*placement.path, key), message)

    def _check_bucket(self) -> None:
        if self.storage.hosts and len(self.bucket) > LONGEST_BUCKET:
            message = f"'{self.bucket}' is too long for a bucket: say which by `bucket`"
            self.report.mistake((*self.storage.path, "bucket"), message)

    def _check_urls(self) -> None:
        """All that participants and clients of the store reach speaks TLS."""
        for placement in (self.coordinator, self.storage, self.aggregator):
            for key, url in (("internal_url", placement.internal_url), ("public_url", placement.public_url)):
                if placement.hosts and url and network.parse_url(url).scheme != "https":
                    self.report.mistake(
                        (*placement.path, key), f"'{url}' is in the clear, and TLS is spoken there: https"
                    )

    def _check_clients(self) -> None:
        """Others are others, each is named once, and some are named where some are expected."""
        placed, path = self.participants.hosts, self.participants.path
        for client in dict.fromkeys(self.clients):
            if client in self._own_names():
                message = f"'{client}' is the name of a certificate of a host of the document"
                self.report.mistake((*path, "clients"), message)
            elif self.clients.count(client) > 1:
                self.report.mistake((*path, "clients"), f"'{client}' is there more than once")
        expected = self.participants.options.get("expected")
        if expected is None:
            return
        if expected < len(placed):
            message = (
                f"{expected} is less than the {len(placed)} that are placed here: say how many there will be in all"
            )
            self.report.mistake((*path, "expected"), message)
        if self.coordinator.hosts and not placed and not self.clients:
            message = (
                f"{expected} are expected, and nginx would let nobody in: say the common names of their certificates "
                "by `clients`, one for each, or one that all have"
            )
            self.report.mistake((*path, "expected"), message)

    def _own_names(self) -> set[str]:
        """Common names that certificates of this stack have, or may come to have."""
        hosts = [host for party in self.federation.parties.values() for host in party.hosts]
        return {certificates.common_name(self.certificate(role), host) for role in CERTIFIED for host in hosts}

    @property
    def clients(self) -> tuple[str, ...]:
        """The common names of others' certificates."""
        return tuple(self.participants.options.get("clients", ()))

    @property
    def expected(self) -> int:
        """How many participants there will be, others' included: one for each name, unless told."""
        placed = len(self.participants.hosts)
        return max(int(self.participants.options.get("expected") or placed + len(self.clients)), placed)

    def _check_numbers(self) -> None:
        settings, placement = self.settings, self.participants
        # where all are others', several may have one name
        if not self.coordinator.hosts or not (placement.hosts or placement.options.get("expected")):
            return
        message = TOO_FEW[self.generation](settings, self.expected)
        if message:
            self.report.mistake((*placement.path, placement.where), message)
        short = too_short(settings) if self.generation == "poc" and placement.hosts else ""
        if short:
            path = (*self.stack.path, "settings", "federated_learning", "heartbeat_timeout")
            self.report.warn(path, short)
