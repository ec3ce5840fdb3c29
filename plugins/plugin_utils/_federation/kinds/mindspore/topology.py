# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who runs where and at which addresses, and the settings that follow; what is wrong goes to the report."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ... import network, ranges
from ...expanding import VERIFY
from ...model import Federation, Party, Path, Placement, Stack
from ...nodes import Report
from ...schema import complete, merge
from ...unknown import UNKNOWN, attempt
from .placements import DEFAULT_APPLICATION, DEFAULT_SHAPES
from .settings import SETTINGS, Breaches, release

EXCHANGE = "-checkpoints"
"""What the name of a server's exchange of checkpoints has after the server's own."""

MAX_PROCESSES = {"servers": 1000, "workers": ranges.MAX_NAMES}
"""Each server is told of all others, so that more of them would be their square in the inventory."""


def _usable(address: str) -> bool:
    """Whether the program takes the address: IPv4, first and last number 1 to 254 (ccsrc/common/core/comm_util.cc)."""
    if not network.is_numeric(address) or ":" in address:
        return False
    first, *_middle, last = (int(number) for number in address.split("."))
    return 1 <= first <= 254 and 1 <= last <= 254


@dataclass(frozen=True, slots=True)
class Server:
    """One server process and its ports before any shift."""

    host: str
    number: int
    address: str
    port: int
    checkpoint_port: int


class Topology:
    """Who runs where, and at which addresses. What is wrong goes to the report."""

    def __init__(self, stack: Stack, federation: Federation, report: Report) -> None:
        self.stack = stack
        self.federation = federation
        self.report = report
        self.prefix = f"{federation.name}-{stack.name}"
        self.redis = stack.placements.get("redis", Placement())
        self.scheduler = stack.placements.get("scheduler", Placement())
        self.servers = stack.placements.get("servers", Placement())
        self.workers = stack.placements.get("workers", Placement())
        self.proxy = stack.placements.get("proxy", Placement())
        self._addresses: dict[tuple[str, str], str] = {}
        self._unusable: set[str] = set()

    @property
    def party(self) -> Party:
        """The party that runs scheduler, servers and Redis."""
        return self.federation.parties[self.federation.host(self.scheduler.hosts[0]).party]

    @property
    def scheme(self) -> str:
        """http or https."""
        return "https" if self.stack.tls else "http"

    @property
    def shift(self) -> int:
        """What the verify round's ports have more than the deployed ones."""
        return int(self.stack.options["verify_port_shift"])

    @property
    def worker_count(self) -> int:
        """How many workers there are."""
        return len(self.workers.hosts) * int(self.workers.options.get("per_host", 1))

    def worker_places(self) -> list[tuple[str, int]]:
        """Host and number of each worker."""
        return [(host, number + 1) for host in self.workers.hosts for number in range(self.workers.options["per_host"])]

    def server_places(self) -> list[Server]:
        """Every server, in the document's order."""
        return [
            Server(
                host,
                number + 1,
                self.address("servers", host),
                self.servers.listening_port + number,
                self._checkpoint_port + number,
            )
            for host in self.servers.hosts
            for number in range(self.servers.options["per_host"])
        ]

    @property
    def _checkpoint_port(self) -> int:
        return int(self.servers.options["checkpoint_port"])

    @property
    def entrance(self) -> Placement:
        """Whom participants connect to: the proxy, or without one the servers, of whom they know the first."""
        return self.proxy if self.proxy.hosts else self.servers

    def public_places(self) -> list[tuple[str, int]]:
        """Host and port at which other parties reach the entrance: of its public_url, then its host's public_name."""
        entrance, places = self.entrance, []
        if entrance.public_url is not None:
            url = network.parse_url(entrance.public_url)
            places.append((url.host, url.port or network.DEFAULT_PORTS[url.scheme]))
        name = self.federation.host(entrance.hosts[0]).public_name
        return [*places, (name, entrance.listening_port)] if name else places

    def public_place(self) -> tuple[str, int] | None:
        """The first of these that workers take; None when the document tells none, as inside of one network."""
        return next((place for place in self.public_places() if _usable(place[0])), None)

    def other_parties(self) -> list[str]:
        """Parties beside the one that runs the servers that have workers."""
        parties = dict.fromkeys(self.federation.host(host).party for host in self.workers.hosts)
        return [party for party in parties if party != self.party.name]

    def address(self, role: str, host: str) -> str:
        """The numeric IPv4 address of a role's components on a host; empty once the mistake is noted."""
        found = self._addresses.get((role, host))
        if found is None:
            found = self._addresses[role, host] = self._find_address(role, host)
        return found

    def _find_address(self, role: str, host: str) -> str:
        placement = self.stack.placements[role]
        if placement.bind is not None and not (role == "proxy" and placement.bind in network.WILDCARDS):
            return self._bound_address(role, placement.bind)
        internal = self.federation.host(host).internal
        for address in internal:
            if _usable(address):
                return address
        if not internal:
            reason = "has no numeric address, and MindSpore Federated takes no names"
        elif all(":" in address for address in internal):
            reason = "has IPv6 addresses only, and MindSpore Federated takes IPv4 only"
        else:
            reason = (
                f"has {', '.join(internal)}, and MindSpore Federated takes no address whose last number is 0 or 255"
            )
        if host not in self._unusable:  # once, however many components are placed on it
            way_out = "give it one under parties, addresses: {internal: [ADDRESS]}"
            self.report.mistake((*placement.path, placement.where), f"host '{host}' {reason}: {way_out}")
        self._unusable.add(host)
        return ""

    def _bound_address(self, role: str, bind: str) -> str:
        path = (*self.stack.placements[role].path, "bind")
        if bind in network.WILDCARDS:
            self.report.mistake(
                path, f"'{bind}' is refused by the program, which tells it to others: give the host's address"
            )
        elif not _usable(bind):
            self.report.mistake(
                path, f"'{bind}' is no IPv4 address that MindSpore Federated takes (last number 1 to 254)"
            )
        elif ipaddress.ip_address(bind).is_loopback and len(self._all_hosts()) > 1:
            self.report.mistake(path, f"'{bind}' cannot be reached from the stack's other hosts")
        else:
            return bind
        return ""

    def _all_hosts(self) -> set[str]:
        return {host for placement in self.stack.placements.values() for host in placement.hosts}

    def check_placements(self) -> None:
        """What must run, and where it can't."""
        before = len(self.report)
        for check in (
            self._check_required,
            self._check_number,
            self._check_urls,
            self._check_bind,
            self._check_parties,
            self._check_model,
            self._check_ports,
            self._check_external_redis,
            self._check_addresses,
        ):
            attempt(check)
        if len(self.report) == before:
            attempt(self._check_other_parties)

    def _check_external_redis(self) -> None:
        if self.redis.external and self.stack.tls and "ca" not in self.redis.external:
            self.report.mistake(
                (*self.redis.path, "external"),
                "the key 'ca' is missing: with `tls` Redis is reached by TLS",
            )

    def _check_addresses(self) -> None:
        for role in ("redis", "scheduler", "servers", "proxy"):
            for host in self.stack.placements[role].hosts if role in self.stack.placements else ():
                self.address(role, host)

    def _check_required(self) -> None:
        for role in ("redis", "scheduler", "servers"):
            placement = self.stack.placements[role]
            if not placement.hosts and not placement.external:
                self.report.mistake(
                    placement.path,
                    f"'{role}' is absent everywhere, and other roles need it: name a host, or make the stack absent",
                )

    def _check_number(self) -> None:
        for role, most in MAX_PROCESSES.items():
            placement = self.stack.placements.get(role, Placement())
            number = len(placement.hosts) * int(placement.options.get("per_host", 1))
            if number > most:
                path = (*placement.path, "per_host")
                self.report.mistake(path, f"{number} processes on {len(placement.hosts)} hosts: at most {most}")

    def _check_urls(self) -> None:
        for role, placement in self.stack.placements.items():
            if placement.internal_url is not None:
                self._check_internal_url(role, placement.internal_url)
            if placement.public_url is not None:
                self._check_public_url(role, placement.public_url)

    def _check_internal_url(self, role: str, text: str) -> None:
        path = (*self.stack.path, role, "internal_url")
        if role != "proxy":
            message = "MindSpore Federated's components reach each other at the hosts' numeric addresses: leave it out"
            self.report.mistake(path, message)
            return
        url = network.parse_url(text)
        if url.scheme not in ("http", self.scheme):  # http to what has TLS is refused for every kind
            self.report.mistake(path, f"workers connect by {self.scheme}: {self.scheme}://ADDRESS:PORT")
        elif not _usable(url.host):
            self.report.mistake(path, f"workers take a numeric IPv4 address only, not '{url.host}'")

    def _check_public_url(self, role: str, text: str) -> None:
        path = (*self.stack.path, role, "public_url")
        if role == "redis":
            self.report.mistake(path, "only the stack's own scheduler and servers connect to Redis: leave it out")
        elif network.parse_url(text).scheme not in ("http", "https"):
            self.report.mistake(path, "clients connect by http or https: https://NAME:PORT")

    def _check_other_parties(self) -> None:
        """Other parties' workers connect to what is public, and the program takes nothing but a numeric address."""
        parties, places = self.other_parties(), self.public_places()
        if not parties or not places:
            return
        entrance, place = self.entrance, self.public_place()
        path = (*entrance.path, "public_url")
        if entrance.public_url is None:
            path = (*self.federation.host(entrance.hosts[0]).path, "public_name")
        if place is None:
            wanted = f"a numeric IPv4 address only, not '{places[0][0]}'"
            way_out = "write one, or give its host one as public_name"
            self.report.mistake(path, f"{parties[0]}'s workers connect here and take {wanted}: {way_out}")
        else:
            self._refuse_high(path, place[1])

    def _check_bind(self) -> None:
        if self.servers.bind is not None and len(self.servers.hosts) > 1:
            self.report.mistake(
                (*self.servers.path, "bind"), "is one address, and the servers run on several hosts: leave it out"
            )

    def _check_parties(self) -> None:
        """One CA issues for all but workers: the program compares issuers with the one CA file it is given."""
        owners = {
            host: self.federation.host(host).party
            for placement in (self.scheduler, self.redis, self.servers, self.proxy)
            for host in placement.hosts
        }
        home = next(iter(owners.values()), "")
        for role in ("redis", "servers", "proxy"):
            placement = self.stack.placements.get(role, Placement())
            strangers = [host for host in placement.hosts if owners[host] != home]
            if strangers:
                stranger = strangers[0]
                message = (
                    f"host '{stranger}' is of party '{owners[stranger]}', the scheduler's of '{home}': "
                    "only workers may be another party's"
                )
                self.report.mistake((*placement.path, placement.where), message)

    @property
    def trains_default(self) -> bool:
        """Whether the stack's own workers train the default application."""
        return bool(self.workers.hosts) and self.workers.options["application"]["callable"] == DEFAULT_APPLICATION

    def _check_model(self) -> None:
        if not self.servers.hosts:
            return
        model = self.servers.options.get("initial_model")
        if model is not None:
            if self.trains_default and model.get("shapes", DEFAULT_SHAPES) != DEFAULT_SHAPES:
                shapes = ", ".join(f"{name}: {shape}" for name, shape in DEFAULT_SHAPES.items())
                message = (
                    f"the default application trains another model, {{{shapes}}}: leave it out, or name an application"
                )
                self.report.mistake((*self.servers.path, "initial_model"), message)
        elif not self.workers.hosts:
            self.report.mistake(
                self.servers.path,
                "the key 'initial_model' is missing: without workers no application knows the model's shape",
            )
        elif not self.trains_default:
            self.report.mistake(
                self.servers.path, "the key 'initial_model' is missing: the model that the workers' application trains"
            )

    def _check_ports(self) -> None:
        """No port beyond 65535, the verify round's included."""
        more = int(self.servers.options.get("per_host", 1)) - 1
        self._refuse_high((*self.stack.path, "scheduler", "port"), self.scheduler.port or 0)
        self._refuse_high((*self.stack.path, "servers", "port"), self.servers.port or 0, more)
        self._refuse_high((*self.stack.path, "servers", "checkpoint_port"), self._checkpoint_port, more)
        self._refuse_high((*self.stack.path, "proxy", "port"), self.proxy.port or 0)

    def _refuse_high(self, path: Path, port: int, more: int = 0) -> None:
        message = network.too_high(port, self.shift, more)
        if message:
            self.report.mistake(path, message)


def complete_settings(topology: Topology, report: Report) -> dict[str, Any]:
    """The stack's settings, derived and given, complete and checked against where it runs."""
    stack = topology.stack
    path = (*stack.path, "settings")
    workers = attempt(lambda: topology.worker_count)
    derived: dict[str, Any] = {"fl_name": stack.name}
    if workers is UNKNOWN:
        derived |= {"server_mode": UNKNOWN, "round": {"start_fl_job_threshold": UNKNOWN}}
    elif workers:
        derived |= {"server_mode": "CLOUD_TRAINING", "round": {"start_fl_job_threshold": workers}}
    settings = complete(SETTINGS, merge(derived, stack.settings), path, report)

    def look(breaches: Callable[[], Breaches]) -> None:
        for where, message in attempt(breaches) or []:
            report.mistake((*path, *where), message)

    look(lambda: _version_breaches(settings, stack))
    for rule in _WORKER_RULES if attempt(lambda: workers > 0) is True else ():
        look(functools.partial(rule, settings, topology))
    look(lambda: _name_of_a_round(stack.settings))
    attempt(lambda: _check_shared_redis(topology, settings, path))
    return settings


def _version_breaches(settings: Mapping[str, Any], stack: Stack) -> Breaches:
    """Keys that this version would silently ignore."""
    version = stack.options["runtime"]["version"]
    if release(version) >= (0, 2):
        return []
    since = f"from mindspore-federated 0.2.0 on, and runtime.version is {version}, which ignores it"
    breaches: Breaches = [
        (("encrypt", key), since) for key in ("privacy_eval_type", "laplace_eval") if key in settings["encrypt"]
    ]
    if settings["aggregation"]["aggregation_type"] == "FedCM":
        breaches.append(
            (("aggregation", "aggregation_type"), f"FedCM exists {since.removesuffix(', which ignores it')}")
        )
    return breaches


# What the stack's own workers can't do.


def _no_devices(settings: Mapping[str, Any], _topology: Topology) -> Breaches:
    if settings["server_mode"] != "FEDERATED_LEARNING":
        return []
    return [(("server_mode",), "the stack has workers, who take part in CLOUD_TRAINING and HYBRID_TRAINING only")]


def _encryption_of_workers(settings: Mapping[str, Any], topology: Topology) -> Breaches:
    version = topology.stack.options["runtime"]["version"]
    possible = ("NOT_ENCRYPT",) if release(version) < (0, 2) else ("NOT_ENCRYPT", "STABLE_PW_ENCRYPT")
    encryption = settings["encrypt"]["encrypt_train_type"]
    if encryption in possible:
        return []
    message = f"workers of version {version} can do {' and '.join(possible)} only, not {encryption}"
    return [(("encrypt", "encrypt_train_type"), message)]


def _scaffold_of_workers(settings: Mapping[str, Any], topology: Topology) -> Breaches:
    flavour = topology.stack.options["runtime"]["flavour"]
    if settings["aggregation"]["aggregation_type"] != "Scaffold" or flavour != "light":
        return []
    return [(("aggregation", "aggregation_type"), "light workers cannot do Scaffold: set runtime.flavour to full")]


def _prefix_of_workers(settings: Mapping[str, Any], _topology: Topology) -> Breaches:
    if not settings["client"]["http_url_prefix"]:
        return []
    return [(("client", "http_url_prefix"), "workers call the paths without a prefix: leave it out, or the workers")]


def _enough_workers(settings: Mapping[str, Any], topology: Topology) -> Breaches:
    threshold, workers = settings["round"]["start_fl_job_threshold"], topology.worker_count
    if threshold <= workers or settings["server_mode"] != "CLOUD_TRAINING":
        return []
    if topology.proxy.public_url or topology.servers.public_url:
        return []
    message = (
        f"{threshold} participants would never come: the stack has {workers} workers (and no public_url for others)"
    )
    return [(("round", "start_fl_job_threshold"), message)]


_WORKER_RULES = (_no_devices, _encryption_of_workers, _scaffold_of_workers, _prefix_of_workers, _enough_workers)


def _name_of_a_round(given: Mapping[str, Any]) -> Breaches:
    """A verify round deletes what Redis holds by its name: no deployed training has such a name."""
    if str(given.get("fl_name", "")).startswith(VERIFY):
        return [(("fl_name",), f"a training's name cannot begin with '{VERIFY}': the verify rounds have these names")]
    return []


def _check_shared_redis(topology: Topology, settings: Mapping[str, Any], path: Path) -> None:
    """Two stacks with one external Redis need names of their own: Redis keys begin with fl_name."""
    own = topology.redis.external
    if not own:
        return
    for other in topology.federation.stacks.values():
        theirs = (
            other.placements["redis"].external
            if other.kind == topology.stack.kind and "redis" in other.placements
            else None
        )
        if (
            other.name == topology.stack.name
            or not theirs
            or (theirs["address"], theirs["port"]) != (own["address"], own["port"])
        ):
            continue
        if other.settings.get("fl_name", other.name) == settings["fl_name"]:
            message = f"'{settings['fl_name']}' is stack '{other.name}' in the same Redis already: give them two names"
            topology.report.mistake((*path, "fl_name"), message)
