# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stack's database: on a host of ours with a login for each of its users, or one that is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ... import certificates, network
from ...expanding import Roster, endpoint
from ...model import Certificate, Endpoint, Flow, Path, Secret
from .hosted import Hosted
from .placements import ENGINES, LONGEST_DATABASE, MONGODB_PORT, POSTGRESQL_PORT

if TYPE_CHECKING:
    from .clients import Client
    from .topology import Topology

COMPONENT = "database"
SERVER_CONNECTIONS = 10
CLIENT_CONNECTIONS = 4
OWNER_CONNECTIONS = 2
MB_PER_CONNECTION = 8
"""PostgreSQL's role reckons with so much for a connection, in half of its memory, and keeps five for itself."""

_NAME = re.compile(r"[a-z_][a-z0-9_]*")


class Database(Hosted):
    """Where jobs and models are written down, and the tasks of clients that have no database of their own."""

    def __init__(self, topology: Topology) -> None:
        super().__init__(topology, topology.stack.placements[COMPONENT])

    # -- what it is

    @property
    def engine(self) -> str:
        """By the word that the code compares with."""
        return ENGINES[self.place.options["engine"]]

    @property
    def role(self) -> str:
        return "mongodb" if self.engine == "mongo" else "postgresql"

    @property
    def name(self) -> str:
        """The server's own."""
        return str(self.place.options["name"])

    def name_for(self, client: Client) -> str:
        """A client's own: none reaches the tasks of another, nor the server's jobs."""
        return f"{self.name}_{client.name}"

    @property
    def port(self) -> int:
        default = MONGODB_PORT if self.engine == "mongo" else POSTGRESQL_PORT
        return self.place.port or default

    @property
    def instance(self) -> str:
        return self.topology.instance_of(COMPONENT)

    @property
    def alias(self) -> str:
        """What pods call it: libpq before 15, which the programs have, finds no address in a certificate."""
        return certificates.service_name(self.topology.owner, self.instance)

    # -- what can't be

    def check(self) -> None:
        if not self.hosted:
            return
        self.topology.check_owner(self.place)
        if not self.address:
            return
        for name, path in self._names():
            if not _NAME.fullmatch(name.replace("-", "_")):
                message = f"'{name}' can't be the name of one that is made here: a-z, 0-9 and '_', no digit first"
                self.topology.report.mistake(path, message)
            elif len(name) > LONGEST_DATABASE:
                message = f"'{name}' has {len(name)} characters, and a database's name at most {LONGEST_DATABASE}"
                self.topology.report.mistake(path, message)

    def _names(self) -> Iterator[tuple[str, Path]]:
        yield self.name, (*self.place.path, "name")
        for client in self.users:
            yield self.name_for(client), client.place.path

    # -- who uses it

    @property
    def users(self) -> list[Client]:
        """The clients that write their tasks down here."""
        return [client for client in self.topology.clients if client.place.cluster and client.uses(self)]

    def _told(self, name: str, user: str, owner: str) -> dict[str, Any]:
        """How pods reach a database as this user; ``owner`` makes its tables before."""
        told = {
            "engine": self.place.options["engine"],
            "name": name,
            "address": network.join(self.alias, self.port),
            "at": self.address,
            "username": user,
            "secret": self._secret(user),
            "in_turn": True,
            **self.topology.authority_file(),
        }
        if self.engine != "mongo":
            told["owner"] = {"username": owner, "secret": self._secret(owner), "in_turn": True}
        return told

    def _secret(self, login: str) -> str:
        return f"{self.topology.stack.name}_{login.replace('-', '_')}_database"

    def of_server(self) -> dict[str, Any]:
        """As the server's instance has it."""
        return self._told(self.name, "server", "tables") if self.hosted else self.external()

    def of_client(self, client: Client) -> dict[str, Any]:
        """As a client's has it."""
        if not self.hosted:
            return self.external()
        return self._told(self.name_for(client), f"client-{client.name}", f"tables-{client.name}")

    def external(self) -> dict[str, Any]:
        options = self.place.options
        told = self.topology.beside(self.place.external or {}, "ca")
        return {**told, "engine": options["engine"], "name": options["name"]}

    # -- what its role gets

    def add(self, roster: Roster) -> None:
        """Its component and its instance."""
        for host in self.place.hosts:
            values = self._mongodb() if self.engine == "mongo" else self._postgresql()
            roster.present(self.role, COMPONENT, COMPONENT, host, values, [self._endpoint()])
        for host in self.place.absent:
            roster.absent(self.role, COMPONENT, COMPONENT, host)

    def _endpoint(self) -> Endpoint:
        path = (*self.place.path, "port")
        return endpoint(self.place, self.host, self.role, self.address, self.port, public=False, path=path)

    def _tls(self) -> dict[str, str]:
        files = self.topology.paths(COMPONENT)
        return {"certificate": files["chain"], "key": files["key"], "ca": files["ca"]}

    def _postgresql(self) -> dict[str, Any]:
        logins = list(self._logins())
        # while a password is replaced, both logins have theirs
        connections = 2 * sum(login["connections"] for login in logins)
        needed = 2 * MB_PER_CONNECTION * (connections + 5)
        return {
            "addresses": [self.address],
            "port": self.port,
            "memory_mb": self.place.options.get("memory_mb", max(512, needed)),
            "tls": self._tls(),
            "databases": [{"name": name} for name in (self.name, *map(self.name_for, self.users))],
            "clients": logins,
        }

    def _logins(self) -> Iterator[dict[str, Any]]:
        """For each database one that makes its tables, and one that writes them."""
        yield from self._pair(self.name, "server", "tables", SERVER_CONNECTIONS, self.topology.networks)
        for client in self.users:
            login, owner = f"client-{client.name}", f"tables-{client.name}"
            yield from self._pair(self.name_for(client), login, owner, CLIENT_CONNECTIONS, client.networks)

    def _pair(
        self, database: str, login: str, owner: str, connections: int, networks: list[str]
    ) -> Iterator[dict[str, Any]]:
        for name, access, number in ((owner, "owner", OWNER_CONNECTIONS), (login, "write", connections)):
            yield {
                "name": name,
                "database": database,
                "access": access,
                "secret": self._secret(name),
                "in_turn": True,
                "connections": number,
                "addresses": networks,
            }

    def _mongodb(self) -> dict[str, Any]:
        users = [(self.name, "server"), *((self.name_for(one), f"client-{one.name}") for one in self.users)]
        return {
            "address": self.address,
            "port": self.port,
            "public_name": self.alias,
            "tls": self._tls(),
            "users": [
                {"name": user, "database": name, "secret": self._secret(user), "in_turn": True} for name, user in users
            ],
        }

    # -- what it needs

    def certificates(self) -> Iterator[Certificate]:
        """What it shows, and what is to go."""
        for host in self.place.hosts:
            names, addresses = certificates.serving_names(self.place, self.host, self.address, self.alias)
            common = certificates.common_name(self.instance, host)
            yield Certificate(self.instance, host, self.topology.authority.name, common, names, addresses)
        for host in self.place.absent:
            yield Certificate(self.instance, host, "", "", state="absent")

    def secrets(self) -> Iterator[Secret]:
        """The passwords of its logins on a host, or the one that an external one has."""
        party = self.topology.owner.name
        if not self.hosted:
            external = self.place.external or {}
            if external and self.topology.server.places:
                yield Secret(external["secret"], party, f"the password of '{external['username']}' in the database")
            return
        values = self._mongodb()["users"] if self.engine == "mongo" else list(self._logins())
        for login in values:
            purpose = f"the password of '{login['name']}' in the database of '{self.topology.stack.name}'"
            yield Secret(login["secret"], party, purpose, in_turn=True)

    def flows(self) -> Iterator[Flow]:
        """Connections of the server's pods."""
        if self.hosted:
            yield from self._flows_in(self.topology.sources, "jobs and models")
            return
        yield flow_out(self.topology.server.places[0], self.external(), "jobs and models")

    def flows_of(self, client: Client) -> Iterator[Flow]:
        """Those of a client's."""
        if self.hosted:
            yield from self._flows_in(client.sources, "tasks")
            return
        yield flow_out(client.place.places[0], self.external(), "tasks")

    def _flows_in(self, sources: tuple[str, ...], purpose: str) -> Iterator[Flow]:
        host = self.place.hosts[0]
        for source in sources:
            if source != host:
                yield Flow(source, host, self.port, purpose, "TLS, password")


def flow_out(source: str, database: dict[str, Any], purpose: str) -> Flow:
    """A connection to a database that others run."""
    host, port = network.split(database["address"])
    words = "TLS, password" if "ca" in database else "password"
    return Flow(source, host, port, purpose, words, address=host)
