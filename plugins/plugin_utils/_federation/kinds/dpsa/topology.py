# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two sides of a stack, who runs them and how each is reached; what is wrong goes to the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ... import acme, certificates, network
from ...expanding import instance_name, own_address
from ...model import Authority, Federation, Host, Party, Path, Placement, Proof, Stack
from ...nodes import Report
from ...schema import complete, merge
from ...unknown import attempt
from .settings import foreign_keys, generations_of, program_section, shards

Word = Literal["leader", "helper"]
WORDS: tuple[Word, Word] = ("leader", "helper")
LOOPBACK = "127.0.0.1"

VERIFY_EPSILON = 100.0
"""That of a verify round's sessions: noise is so small then that a missing client is seen by the number."""

PROCESSES: Mapping[str, int] = {
    "aggregator": 0,
    "manager": 1,
    "aggregation_job_creator": 2,
    "collection_job_driver": 3,
    "garbage_collector": 4,
    "aggregation_job_driver": 5,
}
"""What each process' health port has more than the side's first; further drivers follow the last."""

_UNREACHED = "give it one under parties, addresses: {internal: [ADDRESS]}"


def empty() -> Placement:
    """A placement that is nowhere."""
    return Placement()


@dataclass(frozen=True, slots=True)
class Site:
    """Where nginx serves one of a side's two programs: what others call it, and where it is connected to."""

    url: str
    server: str
    port: int
    name: str
    names: tuple[str, ...] = ()


class Side:
    """Leader or helper: of ours when it has a host, else another party's, of which its public URL is known."""

    def __init__(self, topology: Topology, word: Word) -> None:
        self.topology = topology
        self.word = word
        self.placement = topology.stack.placements.get(word, empty())
        self._address: str | None = None

    @property
    def ours(self) -> bool:
        """Whether the document has its host."""
        return bool(self.placement.hosts)

    @property
    def there(self) -> bool:
        """Whether anybody runs it."""
        return self.ours or self.placement.party is not None

    @property
    def host(self) -> Host:
        """The host of the aggregator and the manager."""
        return self.topology.federation.host(self.placement.hosts[0])

    @property
    def party(self) -> Party:
        """Who runs it."""
        name = self.placement.party or self.host.party
        return self.topology.federation.parties[name]

    @property
    def address(self) -> str:
        """The address that nginx listens on; empty once it is noted that there is none."""
        self.look_for_address()
        return self._address or ""

    def look_for_address(self) -> None:
        """Note, once, where there is none."""
        if self._address is None:
            self._address = own_address(self.placement, self.host, self.topology.report) or ""

    def option(self, key: str) -> Any:
        """One of the placement's own keys."""
        return self.placement.options[key]

    @property
    def database(self) -> Placement:
        """Where its PostgreSQL is: beside the aggregator unless told."""
        return (
            self.placement.options["database"]
            if "database" in self.placement.options
            else Placement(
                hosts=self.placement.hosts,
                absent=self.placement.absent,
                port=5432,
                options={"connections": 8},
                path=self.placement.path,
            )
        )

    @property
    def beside(self) -> bool:
        """Whether PostgreSQL is on loopback, since nobody uses it but its own host."""
        return self.database.hosts[0] == self.host.name and not self.other_driver_hosts

    @property
    def users(self) -> tuple[str, ...]:
        """The hosts that come to the database."""
        return (self.host.name, *self.other_driver_hosts)

    def name(self, component: str) -> str:
        """What a component of this side is called, its number or its word after the side's."""
        return f"{self.word}-{component}"

    def instance(self, component: str) -> str:
        """The name of its instance, which certificates have too."""
        return instance_name(self.topology.federation, self.topology.stack, self.name(component))

    def health_port(self, program: str, number: int = 0) -> int:
        """The port for the health of this process alone."""
        return int(self.option("health_port")) + PROCESSES[program] + number

    @property
    def driver_hosts(self) -> tuple[str, ...]:
        """Where aggregation drivers run."""
        if self.word == "helper":
            return ()
        told: tuple[str, ...] = self.option("drivers").get("hosts", ())
        return told or self.placement.hosts

    @property
    def other_driver_hosts(self) -> tuple[str, ...]:
        """Those of them that aren't the aggregator's."""
        return tuple(host for host in self.driver_hosts if host not in self.placement.hosts)

    def drivers(self) -> Iterator[tuple[str, str, int]]:
        """The aggregation drivers of one host, as `programs` has them."""
        for number in range(self.option("drivers")["per_host"]):
            yield "aggregation_job_driver", f"aggregation-driver-{number + 1}", number

    def programs(self) -> Iterator[tuple[str, str, int]]:
        """Janus' processes on the aggregator's host: program, component, and which of several it is, from 0."""
        yield "aggregator", "aggregator", 0
        if self.word == "leader":
            yield "aggregation_job_creator", "job-creator", 0
            yield "collection_job_driver", "collection-driver", 0
            told = self.option("drivers").get("hosts", ())
            if not told or set(told) & {*self.placement.hosts, *self.placement.absent}:
                yield from self.drivers()
        if self.option("garbage_collector"):
            yield "garbage_collector", "garbage-collector", 0

    @property
    def connections(self) -> int:
        """Connections to its database, of all its processes."""
        elsewhere = len(self.other_driver_hosts) * len(list(self.drivers())) if self.other_driver_hosts else 0
        processes = len(list(self.programs())) + elsewhere + (self.topology.generation == "B")
        return int(self.database.options["connections"]) * processes

    # -- how it is reached

    def aggregator_site(self) -> Site:
        """The aggregator's."""
        return self._site(self.placement.public_url, self.placement.listening_port)

    def manager_site(self) -> Site:
        """The manager's; of another party's without a URL it is the usual port of the aggregator's host."""
        told, port = self.option("manager").get("public_url"), self.option("manager")["port"]
        if told is None and not self.ours and self.placement.public_url:
            told = str(network.Url("https", network.parse_url(self.placement.public_url).host, port))
        return self._site(told, port)

    def _site(self, told: str | None, port: int) -> Site:
        own = () if self.topology.public or not self.ours else (self.certified,)
        if told is None:
            host = self.host.public_name or network.reached(self.host, self.address)
            url, server = network.Url("https", host, port), network.join(self.address, port)
        else:
            url = network.parse_url(told)
            server = network.join(url.host, url.port or network.DEFAULT_PORTS.get(url.scheme))
        named = () if network.is_numeric(url.host) else (url.host,)
        return Site(told or str(url), server, port, (*own, *named, "")[0], (*own, *named))

    @property
    def by_acme(self) -> bool:
        """Whether an ACME server signs what nginx shows."""
        return self.ours and self.topology.public and self.party.pki_mode == "acme"

    @property
    def authority(self) -> Authority:
        """Who signs what nginx shows."""
        federation, party = self.topology.federation, self.party
        return (certificates.front_authority if self.by_acme else certificates.party_authority)(federation, party)

    @property
    def proof(self) -> Proof:
        """The names that an ACME server certifies: those by which others connect."""
        sites = [self.aggregator_site(), *([self.manager_site()] if self.topology.generation == "B" else [])]
        names = acme.names(self.placement, *(network.parse_url(site.url).host for site in sites))
        return Proof(self.host.name, self.address, names)

    @property
    def certified(self) -> str:
        """The DNS name in its certificate that is its own, which nginx compares."""
        return certificates.service_name(self.party, self.instance("front"))


class Topology:
    """Both sides of a stack, its controller and its clients."""

    def __init__(self, stack: Stack, federation: Federation, report: Report) -> None:
        self.stack = stack
        self.federation = federation
        self.report = report
        self.prefix = f"{federation.name}-{stack.name}"
        self.leader, self.helper = Side(self, "leader"), Side(self, "helper")
        self.sides = (self.leader, self.helper)
        self.controller = stack.placements.get("controller", empty())
        self.clients = stack.placements.get("clients", empty())

    @property
    def generation(self) -> str:
        """B or C."""
        return str(self.stack.options["generation"])

    @property
    def public(self) -> bool:
        """Whether what both sides show is signed by CAs that programs trust."""
        return bool(self.stack.options["certificates"] == "public")

    @property
    def controller_party(self) -> Party:
        """Whose CA vouches for the controller: its host's party, without one the leader's."""
        if self.controller.hosts:
            return self.federation.parties[self.federation.host(self.controller.hosts[0]).party]
        return self.leader.party

    @property
    def egress_hosts(self) -> list[tuple[str, str]]:
        """Hosts with the ways to both sides, each with what it is there: the controller's host is no client's too."""
        places = [(host, "controller") for host in self.controller.hosts]
        return places + [(host, "client") for host in self.clients.hosts if host not in self.controller.hosts]

    @property
    def expected(self) -> int:
        """How many clients there will be, others included."""
        return max(int(self.clients.options.get("expected") or 1), len(self.clients.hosts))

    def external_urls(self) -> dict[str, str]:
        """What both managers tell clients of the aggregators: the same texts on both sides."""
        if self.public:
            return {f"external_{side.word}": side.aggregator_site().url for side in self.sides}
        ports = self.stack.options["local_ports"]
        return {f"external_{word}": f"http://{LOOPBACK}:{ports[word]}" for word in WORDS}

    def mistake(self, path: Path, message: str) -> None:
        """Note one."""
        self.report.mistake(path, message)

    # -- what can't be

    def check(self) -> None:
        """All that is wrong across the stack's keys."""
        for look in (
            self._check_generation,
            self._check_both,
            self._check_parties,
            self._check_escrow,
            self._check_binds,
            self._check_urls,
            self._check_names,
            self._check_database,
            self._check_drivers,
            self._check_local_ports,
            self._check_authorities,
        ):
            attempt(look)

    def _check_generation(self) -> None:
        path, generation = self.stack.path, self.stack.options["generation"]
        if generation == "A":
            message = (
                "A (branch dpsa-m6-dev) can't be deployed: it takes a database of any schema, its health answers for "
                "another process where ports meet, and the clients that are published don't speak it. Write B"
            )
            self.mistake((*path, "generation"), message)
        elif generation == "B" and "privacy" not in self.stack.options:
            self.mistake(path, "the key 'privacy' is missing: privacy: {max_epsilon: NUMBER}")
        elif generation == "C" and "privacy" in self.stack.options:
            message = "generation C has no manager whose sessions it could bound: leave it out"
            self.mistake((*path, "privacy"), message)
        for side in self.sides if generation == "B" else ():
            if side.ours and side.option("garbage_collector"):
                message = "generation B has no such program: settings: {aggregator: {garbage_collection: ...}} does it"
                self.mistake((*side.placement.path, "garbage_collector"), message)

    def _check_both(self) -> None:
        for side in self.sides:
            if not side.there:
                message = f"'{side.word}' is absent, and the other side needs it: name a host, or make the stack absent"
                self.mistake(side.placement.path, message)

    def _check_parties(self) -> None:
        if not (self.leader.there and self.helper.there) or self.stack.options["allow_same_party"]:
            return
        if self.leader.party.name == self.helper.party.name:
            message = (
                f"leader and helper are both of party '{self.leader.party.name}', who then could open every report: "
                "place it with another party, or say allow_same_party: true to try things out on data that may be known"
            )
            self.mistake((*self.helper.placement.path, self.helper.placement.where), message)

    def _check_escrow(self) -> None:
        """Nobody's key opens the datastore keys of both sides."""
        first, second = (side.placement.options.get("escrow", {}).get("recipient") for side in self.sides)
        if first is None or first != second or self.stack.options["allow_same_party"]:
            return
        there = self.report.where((*self.leader.placement.path, "escrow", "recipient"))
        message = (
            f"is the leader's, too ({there}): who has its private half could open both sides' datastore keys. Each "
            "party has a key of its own"
        )
        self.mistake((*self.helper.placement.path, "escrow", "recipient"), message)

    def _check_binds(self) -> None:
        for side in self.sides:
            if side.placement.bind in network.WILDCARDS:
                message = f"'{side.placement.bind}' is every address of the host: name the one that others reach"
                self.mistake((*side.placement.path, "bind"), message)
            elif side.ours:
                side.look_for_address()

    def _check_urls(self) -> None:
        told: dict[str, Path] = {}
        for side in self.sides:
            manager = side.placement.options.get("manager", {})
            for url, path in (
                (side.placement.public_url, (*side.placement.path, "public_url")),
                (manager.get("public_url"), (*side.placement.path, "manager", "public_url")),
            ):
                if url is not None:
                    self._check_url(side, url, path)
                    self._check_once(url, path, told)
            if side.placement.internal_url is not None:
                message = "what is another party's is reached in public, and all else on loopback: leave it out"
                self.mistake((*side.placement.path, "internal_url"), message)

    def _check_names(self) -> None:
        """An ACME server certifies names only, so both programs are reached by one."""
        for side in self.sides:
            sites: list[tuple[Path, Site]] = []
            if side.by_acme:
                sites.append((("public_url",), side.aggregator_site()))
            if side.by_acme and self.generation == "B":
                sites.append((("manager", "public_url"), side.manager_site()))
            for key, site in sites:
                if network.is_numeric(network.parse_url(site.url).host):
                    message = "an ACME server certifies names only: write https://NAME:PORT, or the host's public_name"
                    self.mistake((*side.placement.path, *key), message)

    def _check_url(self, side: Side, text: str, path: Path) -> None:
        url = network.parse_url(text)
        if url.scheme not in ("http", "https"):
            self.mistake(path, "clients connect by https: https://NAME:PORT")
        elif url.scheme == "http" and side.word == "helper":
            self.mistake(path, f"the leader shows its certificate there: write {text.replace('http', 'https', 1)}")
        elif url.scheme == "http" and not self.stack.options["insecure_public"]:
            way_out = f"write {text.replace('http', 'https', 1)}, or insecure_public: true"
            self.mistake(path, f"reports and tokens would travel unencrypted: {way_out}")
        elif not side.ours and network.is_numeric(url.host):
            self.mistake(path, "nginx compares names in certificates, never addresses: write a DNS name")
        elif self.public and url.port in (None, network.DEFAULT_PORTS[url.scheme]) and "manager" not in path:
            message = "the controller wants a port in the URL that isn't the scheme's own, or it can't collect"
            self.mistake(path, f"{message}: {url.scheme}://{network.join(url.host, side.placement.listening_port)}")

    def _check_once(self, text: str, path: Path, told: dict[str, Path]) -> None:
        first = told.setdefault(str(network.parse_url(text)), path)
        if first is not path:
            self.mistake(path, f"is the same URL as at {self.report.where(first)}: each program has its own")

    def _check_database(self) -> None:
        for side in self.sides:
            place = side.placement.options.get("database")
            if place is None or not side.ours or place.hosts == side.placement.hosts:
                continue
            path = (*place.path, place.where)
            if not place.hosts:
                self.mistake(path, "is absent, and the aggregator needs it: name a host")
            elif self.federation.host(place.hosts[0]).party != side.party.name:
                message = (
                    f"host '{place.hosts[0]}' is of another party: nobody but '{side.party.name}' may see its reports"
                )
                self.mistake(path, message)
            else:
                own_address(place, self.federation.host(place.hosts[0]), self.report)

    def _check_drivers(self) -> None:
        side = self.leader
        if not side.ours:
            return
        for name in side.other_driver_hosts:
            path = (*side.placement.path, "drivers", "hosts")
            if self.federation.host(name).party != side.party.name:
                self.mistake(path, f"host '{name}' is of another party: it would have the leader's datastore keys")
            elif not self.federation.host(name).internal:
                self.mistake(path, f"host '{name}' has no numeric address, which the database would know it by")

    def _check_local_ports(self) -> None:
        seen: dict[int, str] = {}
        for word, port in self.stack.options["local_ports"].items():
            first = seen.setdefault(port, word)
            if first != word:
                self.mistake((*self.stack.path, "local_ports", word), f"{port} is that of '{first}' already")

    def _check_authorities(self) -> None:
        """Whoever is let in or asked by certificate has a CA that is known here."""
        for side in self.sides:
            if side.there and side.party.external and side.party.ca is None and not self.public:
                message = (
                    f"the key 'ca' is missing: the file with the certificate of {side.word}'s CA, as it gave it to you"
                )
                self.mistake(("parties", side.party.name), message)

    # -- the programs' files

    def settings(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The file of each program on each side of ours, without what is derived."""
        before = len(self.report)
        for values, path in (
            (self.stack.settings, self.stack.path),
            *((side.placement.settings, side.placement.path) for side in self.sides),
        ):
            for where, message in foreign_keys(values, self.generation):
                self.mistake((*path, "settings", *where), message)
        if len(self.report) > before:
            return {}
        return {side.word: self._files(side) for side in self.sides if side.ours}

    def _files(self, side: Side) -> dict[str, dict[str, Any]]:
        programs = [program for program, _component, _number in (*side.programs(), *_elsewhere(side))]
        if "manager" not in programs and self.generation in generations_of("manager"):
            programs.append("manager")
        files = {program: self._file(side, program) for program in dict.fromkeys(programs)}
        if side.word == "leader" and all(files.values()):
            for where, message in shards(files):
                self.mistake((*self._said(side, where), *where), message)
        return files

    def _said(self, side: Side, where: Path) -> Path:
        """Where a setting stands: with its side, or with the stack."""
        program, key = str(where[0]), where[-1]
        here = side.placement.settings.get(program, {})
        return (*(side.placement.path if key in here else self.stack.path), "settings")

    def _file(self, side: Side, program: str) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for values in (self.stack.settings, side.placement.settings):
            given = merge(merge(given, values.get("common", {})), values.get(program, {}))
        section = program_section(program, self.generation)
        of_side = program in side.placement.settings
        path = (*(side.placement.path if of_side else self.stack.path), "settings", program)
        return complete(section, given, path, self.report)


def _elsewhere(side: Side) -> list[tuple[str, str, int]]:
    """What runs on hosts that aren't the aggregator's."""
    return list(side.drivers()) if side.other_driver_hosts else []
