# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who runs where, what is reached by whom, and what of it can't be."""

from __future__ import annotations

import ipaddress
import posixpath
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from ... import certificates, network
from ...expanding import endpoint, instance_name, own_address
from ...model import Authority, Endpoint, Federation, Party, Placement, Stack
from ...nodes import Report
from ...schema import complete
from ...unknown import UNKNOWN, attempt
from .placements import APPLICATIONS, LOCAL_PORT, LONGEST_BUCKET, OFFERED, REDIS_PORT
from .settings import SECTIONS, TOO_FEW

LOOPBACK = "127.0.0.1"


class Topology:
    """A stack of the document, with what follows from where its roles are placed."""

    def __init__(self, stack: Stack, federation: Federation, report: Report) -> None:
        self.stack = stack
        self.federation = federation
        self.report = report
        self.coordinator = self._placement("coordinator")
        self.storage = self._placement("storage")
        self.participants = self._placement("participants")
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

    @property
    def program_port(self) -> int:
        return int(self.coordinator.options["program_port"])

    @property
    def redis_port(self) -> int:
        return int(self.coordinator.options.get("redis_port") or REDIS_PORT)

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
        """Notes all mistakes; of a generation that isn't offered nothing else is looked at."""
        attempt(self._check_generation)

    def _check_generation(self) -> None:
        if self.generation not in OFFERED:
            message = f"'{self.generation}' is not offered yet: {' or '.join(OFFERED)}"
            self.report.mistake((*self.stack.path, "generation"), message)
            return
        for look in (
            self._check_keys,
            self._check_places,
            self._check_parties,
            self._check_ports,
            self._check_bucket,
            self._check_numbers,
        ):
            attempt(look)

    def _check_keys(self) -> None:
        for key in ("storage", "participants"):
            if key not in self.stack.placements:
                message = f"the key '{key}' is missing: generation '{self.generation}' needs it"
                self.report.mistake(self.stack.path, message)
        if "aggregator" in self.stack.options:
            message = f"is for the generation 'poc': in '{self.generation}' the coordinator aggregates"
            self.report.mistake((*self.stack.path, "aggregator"), message)
        if self.generation == "pet":
            return
        if "program" in self.stack.options:
            message = "is for the generation 'pet': the programs of 'python' come from `runtime`"
            self.report.mistake((*self.stack.path, "program"), message)
        for placement, key, why in (
            (self.coordinator, "redis_port", "its coordinator keeps nothing in Redis"),
            (self.participants, "local_port", "its participants speak TLS themselves"),
        ):
            if key in placement.options:
                self.report.mistake((*placement.path, key), f"is for the generation 'pet': of 'python' {why}")

    def _check_places(self) -> None:
        needed = ((self.storage, "it keeps its weights"), (self.participants, "they connect to it"))
        for placement, why in needed:
            if placement.hosts and not self.coordinator.hosts:
                message = f"the coordinator is absent, and {why}: make both absent"
                self.report.mistake((*placement.path, placement.where), message)
        if not self.coordinator.hosts:
            return
        if not self.storage.hosts:
            if "storage" not in self.stack.placements:
                return
            self.report.mistake(self.storage.path, "is absent, and the coordinator keeps its weights there")
            return
        weights = self.participants.hosts if self.generation == "python" else ()
        for placement, address, own, reaching in (
            (self.coordinator, self.address, self.host, self.participants.hosts),
            (self.storage, self.storage_address, self.storage_host, (self.host, *weights)),
        ):
            found, others = ipaddress.ip_address(address), [host for host in reaching if host != own]
            if found.is_unspecified:
                self.report.mistake((*placement.path, "bind"), f"'{address}' is every address: choose one")
            elif found.is_loopback and others:
                self.report.mistake((*placement.path, "bind"), f"'{address}' cannot be reached from '{others[0]}'")

    def _check_parties(self) -> None:
        if not self.coordinator.hosts or not self.storage.hosts:
            return
        owner = self.party_of(self.storage_host).name
        if owner != self.party.name:
            message = (
                f"host '{self.storage_host}' is of party '{owner}', the coordinator's of '{self.party.name}': "
                "both are one party's"
            )
            self.report.mistake((*self.storage.path, self.storage.where), message)

    def _check_ports(self) -> None:
        options = self.coordinator.options
        listening = [(self.coordinator, "port", self.coordinator.port)]
        listening += [(self.coordinator, key, options.get(key)) for key in ("program_port", "redis_port")]
        listening.append((self.participants, "local_port", self.participants.options.get("local_port")))
        for placement, key, port in listening:
            message = network.too_high(port or 0, self.shift)
            if placement.hosts and message:
                self.report.mistake((*placement.path, key), message)

    def _check_bucket(self) -> None:
        if self.storage.hosts and len(self.bucket) > LONGEST_BUCKET:
            message = f"'{self.bucket}' is too long for a bucket: say which by `bucket`"
            self.report.mistake((*self.storage.path, "bucket"), message)

    @property
    def expected(self) -> int:
        """How many participants there will be, others' included."""
        return max(int(self.participants.options.get("expected") or 0), len(self.participants.hosts))

    def _check_numbers(self) -> None:
        settings, placement, there = self.settings, self.participants, self.expected
        if not self.coordinator.hosts or not there:
            return
        message = TOO_FEW[self.generation](settings, there)
        if message:
            self.report.mistake((*placement.path, placement.where), message)
