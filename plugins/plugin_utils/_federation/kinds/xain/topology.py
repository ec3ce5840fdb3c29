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
from .placements import LONGEST_BUCKET, OFFERED
from .settings import SETTINGS, participants_needed

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

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The program's configuration, complete; empty once mistakes are noted."""
        return complete(SETTINGS, self.stack.settings, (*self.stack.path, "settings"), self.report)

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

    def entrance(self, shift: int) -> Endpoint:
        """nginx, where participants connect."""
        host, port = self.federation.host(self.host), self.coordinator.listening_port + shift
        return endpoint(self.coordinator, host, "grpc", self.address, port, scheme="https")

    def program(self, shift: int) -> Endpoint:
        """The program's own, on loopback."""
        path = (*self.coordinator.path, "program_port")
        host, port, front = self.federation.host(self.host), self.program_port + shift, self.entrance(shift)
        return endpoint(self.coordinator, host, "program", LOOPBACK, port, front=front, path=path)

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
        generation = self.stack.options["generation"]
        if generation not in OFFERED:
            message = f"'{generation}' is not offered yet: {' or '.join(OFFERED)}"
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
                self.report.mistake(self.stack.path, f"the key '{key}' is missing: generation 'python' needs it")
        if "aggregator" in self.stack.options:
            message = "is for the generation 'poc': in 'python' the coordinator aggregates"
            self.report.mistake((*self.stack.path, "aggregator"), message)

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
        reaching = dict.fromkeys((self.host, *self.participants.hosts))
        for placement, address, own in (
            (self.coordinator, self.address, self.host),
            (self.storage, self.storage_address, self.storage_host),
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
        ports = {"port": self.coordinator.port, "program_port": self.coordinator.options.get("program_port")}
        for key, port in ports.items():
            message = network.too_high(port or 0, self.shift)
            if self.coordinator.hosts and message:
                self.report.mistake((*self.coordinator.path, key), message)

    def _check_bucket(self) -> None:
        if self.storage.hosts and len(self.bucket) > LONGEST_BUCKET:
            message = f"'{self.bucket}' is too long for a bucket: say which by `bucket`"
            self.report.mistake((*self.storage.path, "bucket"), message)

    def _check_numbers(self) -> None:
        settings, placement = self.settings, self.participants
        if not self.coordinator.hosts or not placement.hosts:
            return
        there = max(int(placement.options.get("expected") or 0), len(placement.hosts))
        needed = participants_needed(settings)
        if there < needed:
            message = (
                f"a training begins when {needed} participants are there (ai.min_participants of "
                f"ai.fraction_participants), and {there} are placed: say how many there will be by `expected`"
            )
            self.report.mistake((*placement.path, placement.where), message)
