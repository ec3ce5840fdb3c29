# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What roles get: Janus' processes, the managers with their gates, databases, and nginx before and between them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ... import certificates, network
from ...expanding import Roster, at_once, endpoint, public_endpoint, site_limits
from ...model import Certificate, Endpoint, Expansion, Party, Path, Placement
from .settings import JANUS_PROGRAMS
from .topology import LOOPBACK, VERIFY_EPSILON, Side, Site, Topology

SITES = "nginx_sites"
PUBLIC_ROOTS = "/etc/ssl/certs/ca-certificates.crt"
DATABASE = "janus"
LOGIN = "program"
SUBJECT_HEADER = "X-Client-Subject"
"""By which nginx tells the gate of a manager who asks (gate.py)."""

MB_PER_CONNECTION = 8
"""PostgreSQL's role reckons with so much for a connection, in half of its memory, and keeps five for itself."""

_TASK = "/tasks/*"
_EGRESS = ("leader", "helper", "leader-manager", "helper-manager")

Settings = Mapping[str, Mapping[str, Mapping[str, Any]]]


class Instances:
    """The instances of a right stack."""

    def __init__(self, topology: Topology, settings: Settings) -> None:
        self.topology = topology
        self.settings = settings
        self.roster = Roster(topology.federation, topology.stack)

    def build(self) -> Roster:
        """All of them."""
        for side in self.topology.sides:
            if side.ours:
                self._database(side)
                self._front(side)
                self._janus(side)
                if self.topology.generation == "B":
                    self._manager(side)
            else:
                there = [public_endpoint(side.placement, "http")]
                self.roster.theirs("janus", side.word, side.name("aggregator"), side.party.name, there)
        if self.topology.leader.ours:
            self._leader_egress(self.topology.leader.host.name)
            for host in self.topology.leader.other_driver_hosts:
                self._drivers(self.topology.leader, host)
        for host, what in self.topology.egress_hosts:
            self._egress(host, what)
        return self.roster

    def paths(self, certificate: str) -> dict[str, str]:
        """Where a certificate's files are installed."""
        return certificates.paths(self.topology.federation.name, certificate)

    # -- the database

    def _database(self, side: Side) -> None:
        place, host = side.database, side.database.hosts[0]
        beside = side.beside
        address = LOOPBACK if beside else self._database_address(side)
        client = {
            "name": LOGIN,
            "database": DATABASE,
            "secret": self.secret(side),
            "in_turn": True,
            "connections": side.connections,
        }
        values: dict[str, Any] = {
            "addresses": [address],
            "port": place.listening_port,
            "memory_mb": place.options.get("memory_mb") or self._memory(side),
            "databases": [{"name": DATABASE}],
        }
        if not beside:
            paths = self.paths(side.instance("database"))
            values["tls"] = {key: paths[key] for key in ("certificate", "key", "ca")}
            users = [self.topology.federation.host(name) for name in side.users]
            client["addresses"] = [network.single(one) for user in users for one in user.internal]
        values["clients"] = [client]
        path = (*place.path, "port") if "database" in side.placement.options else place.path
        reached = loopback("postgresql", place.listening_port, path, "") if beside else self._remote(side, address)
        self.roster.present("postgresql", f"{side.word}.database", side.name("database"), host, values, [reached])
        for user in side.users if not beside and self.topology.generation == "B" else ():
            self._tunnel(side, user, address)

    def _tunnel(self, side: Side, user: str, address: str) -> None:
        """Generation B speaks no TLS to its database: on loopback it goes in, and TLS comes out.

        By a port of its own: the database may have listened on loopback before, or may do so again.
        """
        port, path = side.option("tunnel_port"), (*side.placement.path, "tunnel_port")
        values = {
            "listen": {"address": LOOPBACK, "port": port},
            "connect": {"host": address, "port": side.database.listening_port},
            "protocol": "postgresql",
            "tls": {"ca": self.paths(side.instance("store"))["ca"]},
        }
        own = loopback("postgresql", port, path, "")
        self.roster.present("tunnel", side.word, side.name("tunnel"), user, values, [own])

    def _database_address(self, side: Side) -> str:
        return self.topology.federation.host(side.database.hosts[0]).internal[0]

    def _remote(self, side: Side, address: str) -> Endpoint:
        host = self.topology.federation.host(side.database.hosts[0])
        return endpoint(side.database, host, "postgresql", address, side.database.listening_port, public=False)

    @staticmethod
    def _memory(side: Side) -> int:
        """While a password is replaced, both logins have their connections."""
        return max(512, 2 * MB_PER_CONNECTION * (2 * side.connections + 5))

    def secret(self, side: Side) -> str:
        """The name of the login's password."""
        return f"{self.topology.stack.name}_{side.word}_database"

    def _login(self, side: Side) -> dict[str, Any]:
        """How programs reach the database; with ``ca`` by TLS."""
        told = {
            "host": LOOPBACK,
            "port": side.database.listening_port,
            "name": DATABASE,
            "login": LOGIN,
            "secret": self.secret(side),
        }
        if side.beside:
            return told
        there = {"host": self._database_address(side), "ca": self.paths(side.instance("store"))["ca"]}
        if self.topology.generation == "B":
            direct = {**there, "port": side.database.listening_port}
            return told | {"port": side.option("tunnel_port"), "direct": direct}
        return told | there

    # -- the programs

    def _shared(self, side: Side, program: str) -> dict[str, Any]:
        programs = self.topology.stack.options["programs"]
        source = dict(programs["manager" if program == "manager" else "janus"])
        if "://" not in source.get("archive", "://"):
            source["archive"] = posixpath.join(self.topology.federation.directory, source["archive"])
        return {
            "generation": self.topology.generation,
            "programs": source,
            "doubles": programs["doubles"],
            "keyring": f"{self.topology.prefix}-{side.word}",
            "database": self._login(side),
            "settings": self.settings[side.word][program],
        }

    def _health(self, side: Side, program: str, number: int = 0) -> Endpoint:
        return loopback("health", side.health_port(program, number), (*side.placement.path, "health_port"))

    def _metrics(self, side: Side, program: str) -> list[Endpoint]:
        exporter = self.settings[side.word][program]["metrics_config"].get("exporter", {})
        prometheus = exporter.get("prometheus")
        if prometheus is None:
            return []
        path = (*self.topology.stack.path, "settings", program, "metrics_config", "exporter", "prometheus", "port")
        url = str(network.Url("http", prometheus["host"], prometheus["port"], "/metrics"))
        return [Endpoint("metrics", prometheus["host"], prometheus["port"], internal=url, public=url, path=path)]

    def _janus(self, side: Side) -> None:
        for program, component, number in side.programs():
            health = self._health(side, program, number)
            values = self._shared(side, program) | {"program": program, "health_port": health.port}
            endpoints = [health, *self._metrics(side, program)]
            if program == "aggregator":
                values["keys_for"] = list(side.other_driver_hosts)
                values["keys_folder"] = self._keys_folder(side)
                values["listen"] = {"address": LOOPBACK, "port": side.option("inner_port")}
                values["escrow"] = side.placement.options.get("escrow")
                endpoints.append(loopback("http", side.option("inner_port"), (*side.placement.path, "inner_port")))
            self.roster.present("janus", side.word, side.name(component), side.host.name, values, endpoints)

    def _keys_folder(self, side: Side) -> str:
        """Where datastore keys lie on the control node on their way, each encrypted for one host."""
        return posixpath.join(
            self.topology.federation.state_directory, ".keyrings", f"{self.topology.prefix}-{side.word}"
        )

    def _drivers(self, side: Side, host: str) -> None:
        """Aggregation drivers on a host that isn't the aggregator's, and their way to the helper."""
        for program, component, number in side.drivers():
            health = self._health(side, program, number)
            values = self._shared(side, program) | {
                "program": program,
                "health_port": health.port,
                "keys_folder": self._keys_folder(side),
                "delivered": True,
            }
            endpoints = [health, *self._metrics(side, program)]
            self.roster.present("janus", side.word, side.name(component), host, values, endpoints)
        self._leader_egress(host)

    def _manager(self, side: Side) -> None:
        manager, path = side.option("manager"), (*side.placement.path, "manager")
        leader, helper = self.topology.leader, self.topology.helper
        egress = str(network.Url("http", LOOPBACK, leader.option("egress_port"))) if side is leader else ""
        health = self._health(side, "manager")
        values = self._shared(side, "manager") | {
            "health_port": health.port,
            "listen": {"address": LOOPBACK, "port": manager["inner_port"]},
            "gate": {"address": LOOPBACK, "port": manager["gate_port"]},
            "max_epsilon": self.topology.stack.options["privacy"]["max_epsilon"],
            "verify": {"subject": f"CN={self.verify_name}", "max_epsilon": VERIFY_EPSILON},
            "role": side.word,
            "urls": {
                "leader_endpoint": leader.aggregator_site().url,
                "helper_endpoint": egress or helper.aggregator_site().url,
                **self.topology.external_urls(),
            },
        }
        own = loopback("http", manager["inner_port"], (*path, "inner_port"))
        gate = loopback("http", manager["gate_port"], (*path, "gate_port"))
        endpoints = [health, own, *self._metrics(side, "manager")]
        self.roster.present("dpsa_manager", side.word, side.name("manager"), side.host.name, values, endpoints)
        self.roster.beside("dpsa_manager", side.word, side.name("manager-gate"), side.host.name, [gate])

    # -- nginx

    def _front(self, side: Side) -> None:
        """Who may what: reports are everybody's, aggregation is the leader's, sessions and results the controller's."""
        inner = {"paths": self._leader_paths() if side.word == "leader" else self._helper_paths()}
        leader, controllers = self.topology.leader.party, self.topology.controller_party
        asked = ("controllers", controllers) if side.word == "leader" else ("peers", leader)
        clients = self._clients(side, *asked)
        site, port = side.aggregator_site(), side.placement.listening_port
        self._site(side, "front", site.names, port, side.option("inner_port"), clients, inner, side.placement.path)
        if self.topology.generation == "B":
            manager, path = side.option("manager"), (*side.placement.path, "manager")
            site, clients = side.manager_site(), self._clients(side, "controllers", controllers)
            paths = {"paths": self._manager_paths()}
            names = site.names
            self._site(side, "manager-front", names, manager["port"], manager["gate_port"], clients, paths, path)

    def _clients(self, side: Side, what: str, party: Party) -> dict[str, str]:
        """Whom a site lets in: whom that party's CA vouches for, as long as it hasn't withdrawn them."""
        authority = certificates.party_authority(self.topology.federation, party)
        return certificates.vouched(self.paths(side.instance(what)), authority)

    def _site(
        self,
        side: Side,
        component: str,
        names: tuple[str, ...],
        port: int,
        inner: int,
        clients: Mapping[str, str],
        more: Mapping[str, Any],
        path: Path,
    ) -> None:
        paths, of_each = self.paths(side.instance("front")), side.option("limits").get("per_address")
        told = {"subject_header": SUBJECT_HEADER} if component == "manager-front" else {}
        values = {
            "listen": [{"address": side.address, "port": port}],
            "server_names": list(names),
            "tls": {"certificate": paths["chain"], "key": paths["key"], "client_names": [], **clients, **told},
            # Janus sends an answer's head and body by themselves
            "upstream": {"servers": [network.join(LOOPBACK, inner)], "retries": 0, "keep_connections": False},
            "body_size_mb": side.option("body_size_mb"),
            "read_timeout_seconds": side.option("read_timeout_seconds"),
            "limits": site_limits(at_once(self.topology.expected), per_address=of_each),
            **more,
        }
        site = side.aggregator_site() if component == "front" else side.manager_site()
        internal = str(network.Url("https", network.reached(side.host, side.address), port))
        own = Endpoint(
            "https", side.address, port, internal=internal, public=site.url, names=names, path=(*path, "port")
        )
        self.roster.present("nginx", side.word, side.name(component), side.host.name, values, [own], variable=SITES)

    def _leader_paths(self) -> list[dict[str, Any]]:
        collection: dict[str, Any] = {"path": f"{_TASK}/collection_jobs/*", "client_names": [self.controller_name]}
        if self.topology.public:  # a controller that reaches it directly has no certificate to show, but its token
            collection = {"path": collection["path"], "without_certificate": True}
        return [_asked("/hpke_config"), _open(f"{_TASK}/reports"), collection]

    def _helper_paths(self) -> list[dict[str, Any]]:
        names = [self.leader_name]
        return [
            _asked("/hpke_config"),
            {"path": f"{_TASK}/aggregation_jobs/*", "client_names": names},
            {"path": f"{_TASK}/aggregate_shares", "client_names": names},
        ]

    def _manager_paths(self) -> list[dict[str, Any]]:
        sessions = [
            {"path": path, "client_names": [self.controller_name, self.verify_name], "body_size_mb": 1}
            for path in ("/create_session", "/end_session", "/start_round")
        ]
        return [_asked("/get_main_locations"), _asked("/get_vdaf_parameter"), *sessions]

    @property
    def leader_name(self) -> str:
        """The leader's subject: its party's CA gives it to nothing else, on whatever host."""
        return f"{self.topology.prefix}-leader"

    @property
    def controller_name(self) -> str:
        """The controller's, likewise."""
        return f"{self.topology.prefix}-controller"

    @property
    def verify_name(self) -> str:
        """A verify round's, by which a gate knows its sessions."""
        return f"{self.topology.prefix}-verify"

    def _leader_egress(self, host: str) -> None:
        leader = self.topology.leader
        port, path = leader.option("egress_port"), (*leader.placement.path, "egress_port")
        site = self.topology.helper.aggregator_site()
        files = self.paths(self.leader_name)
        values = way_out(self.topology, port, site, self.topology.helper, files, files)
        own = loopback("http", port, path)
        self.roster.present("nginx", "leader", leader.name("egress"), host, values, [own], variable=SITES)

    def servers(self, side: Side) -> dict[str, str]:
        """Where it lies on a client's host who vouches for that side's servers."""
        return self.paths(side.instance("servers"))

    def _egress(self, host: str, what: str) -> None:
        """The ways of a client, or of the controller, to both aggregators and both managers."""
        shown = self.paths(self.controller_name) if what == "controller" else None
        for word, port, values in ways_out(self.topology, self.servers, shown):
            own = loopback("http", port, (*self.topology.stack.path, "local_ports", word.replace("-", "_")))
            placement = "controller" if what == "controller" else "clients"
            self.roster.present("nginx", placement, f"{what}-{word}", host, values, [own], variable=SITES)


def egress_words(topology: Topology) -> tuple[str, ...]:
    """Which ways a client needs: with public certificates it reaches aggregators directly; C has no managers."""
    return tuple(
        word
        for word in _EGRESS
        if (topology.generation == "B" or "manager" not in word) and ("manager" in word or not topology.public)
    )


def ways_out(
    topology: Topology, servers: Callable[[Side], Mapping[str, str]], shown: Mapping[str, str] | None
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """A client's ways, or the controller's, with the files that it shows: which, its port, and nginx's site for it.

    ``servers`` are the files with whom each side's servers are vouched for by.
    """
    for word in egress_words(topology):
        side = topology.helper if word.startswith("helper") else topology.leader
        site = side.manager_site() if word.endswith("manager") else side.aggregator_site()
        port = topology.stack.options["local_ports"][word.replace("-", "_")]
        yield word, port, way_out(topology, port, site, side, servers(side), shown)


def way_out(
    topology: Topology,
    port: int,
    site: Site,
    side: Side,
    servers: Mapping[str, str],
    shown: Mapping[str, str] | None,
) -> dict[str, Any]:
    """Plain HTTP in on loopback, TLS out to a side's site, with a certificate where one is ``shown``.

    It believes what that side's party vouches for, and nobody else: what is sealed for one side is read by it alone
    only as long as the other can't stand in for it.
    """
    authority = certificates.party_authority(topology.federation, side.party)
    tls = {"ca": PUBLIC_ROOTS} if topology.public else certificates.believed(servers, authority)
    tls |= {"name": site.name}
    if shown is not None:
        tls |= {"certificate": shown["chain"], "key": shown["key"]}
    leader = topology.leader.placement
    return {
        "listen": [{"address": LOOPBACK, "port": port}],
        "upstream": {"servers": [site.server], "host": site.name, "tls": tls, "retries": 0},
        "body_size_mb": leader.options["body_size_mb"],
        "read_timeout_seconds": leader.options["read_timeout_seconds"],
    }


def _open(path: str) -> dict[str, Any]:
    return {"path": path, "without_certificate": True}


def _asked(path: str) -> dict[str, Any]:
    """What anybody may ask, and nobody sends more to than a few words: nginx keeps a body on disk until it is whole."""
    return {**_open(path), "body_size_mb": 1}


def loopback(purpose: str, port: int, path: Path, scheme: str = "http") -> Endpoint:
    """An endpoint that only its own host reaches."""
    told = str(network.Url(scheme, LOOPBACK, port)) if scheme else network.join(LOOPBACK, port)
    return Endpoint(purpose, LOOPBACK, port, internal=told, public=told, path=path)


# -- what goes


def removal(topology: Topology) -> Expansion:
    """Everything that is to be removed, by name."""
    roster = Roster(topology.federation, topology.stack)
    gone: list[Certificate] = []

    def certificate(name: str, host: str) -> None:
        gone.append(Certificate(f"{topology.prefix}-{name}", host, "", "", state="absent"))

    for side in topology.sides:
        for host in side.placement.absent:
            _remove_side(roster, side, host)
            for name in ("front", "controllers", "store", *(("peers",) if side.word == "helper" else ())):
                certificate(f"{side.word}-{name}", host)
            if side.word == "leader":
                certificate("leader", host)
        for host in _former_drivers(side):
            _remove_drivers(roster, side, host)
            certificate("leader", host)
            certificate("leader-store", host)
        for host in side.database.absent:
            roster.absent("postgresql", f"{side.word}.database", side.name("database"), host)
            certificate(f"{side.word}-database", host)
    _remove_egress(topology, roster, certificate)
    return Expansion(components=tuple(roster.components), certificates=tuple(gone), variables=roster.variables)


def _remove_side(roster: Roster, side: Side, host: str) -> None:
    for _program, component, _number in _all_programs(side.placement, side):
        roster.absent("janus", side.word, side.name(component), host)
    roster.absent("tunnel", side.word, side.name("tunnel"), host)
    roster.absent("dpsa_manager", side.word, side.name("manager"), host)
    roster.beside("dpsa_manager", side.word, side.name("manager-gate"), host, state="absent")
    for site in ("front", "manager-front", *(("egress",) if side.word == "leader" else ())):
        roster.absent("nginx", side.word, side.name(site), host, variable=SITES)


def _former_drivers(side: Side) -> list[str]:
    """Hosts that had drivers of a leader that goes, and nothing else of it."""
    if side.word == "helper" or not side.placement.absent:
        return []
    return [host for host in side.option("drivers").get("hosts", ()) if host not in side.placement.absent]


def _remove_drivers(roster: Roster, side: Side, host: str) -> None:
    """Of a host that had drivers alone."""
    for _program, component, _number in side.drivers():
        roster.absent("janus", side.word, side.name(component), host)
    roster.absent("tunnel", side.word, side.name("tunnel"), host)
    roster.absent("nginx", side.word, side.name("egress"), host, variable=SITES)


def _all_programs(placement: Placement, side: Side) -> list[tuple[str, str, int]]:
    """Those there may have been: a garbage collector too."""
    found = list(side.programs())
    if not placement.options["garbage_collector"]:
        found.append((JANUS_PROGRAMS[-1], "garbage-collector", 0))
    return found


def _remove_egress(topology: Topology, roster: Roster, certificate: Callable[[str, str], None]) -> None:
    """The ways of those who were clients or the controller's host, with what only the ways need."""
    for what, placement in (("controller", topology.controller), ("client", topology.clients)):
        for host in placement.absent:
            for word in _EGRESS:
                roster.absent("nginx", "clients" if what == "client" else what, f"{what}-{word}", host, variable=SITES)
            if what == "controller":
                certificate(what, host)
                certificate("verify", host)
    for host in dict.fromkeys((*topology.controller.absent, *topology.clients.absent)):
        if host not in dict(topology.egress_hosts):
            for side in topology.sides:
                certificate(f"{side.word}-servers", host)
