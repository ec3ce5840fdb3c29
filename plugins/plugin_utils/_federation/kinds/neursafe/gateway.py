# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""nginx on the nodes, in front of ports that have no TLS: there users and clients on hosts show certificates.

Their programs can't do that themselves, so each of these hosts has a way on its own loopback that leads out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ... import certificates, network
from ...expanding import Roster, at_once, endpoint, own_address, site_limits
from ...model import Authority, Certificate, Endpoint, Flow, Host, Path, Placement

if TYPE_CHECKING:
    from .standalone import Standalone
    from .topology import Topology

COMPONENT = "gateway"
CLIENTS = "gateway-clients"
"""Its certificate for clients, beside which lie others' CAs: these vouch for nobody who comes to the API."""
OPERATORS = "operators"
SITES = "nginx_sites"
LOOPBACK = "127.0.0.1"
HOUR = 3600
CONTROLLER = "nginx_host"


class Gateway:
    """The stack's, where its ingress is ours."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.nodes = topology.nodes
        self.operators = topology.stack.placements.get(OPERATORS, Placement())

    # -- what it is

    @property
    def ingress(self) -> dict[str, Any]:
        found: dict[str, Any] = self.topology.server.options["ingress"]
        return found

    @property
    def there(self) -> bool:
        return bool(self.topology.server.places) and self.ingress["controller"] == CONTROLLER

    @property
    def serves_users(self) -> bool:
        return self.there and bool(self.topology.settings["api_server"]["external"])

    @property
    def serves_clients(self) -> bool:
        return any(client.place.hosts for client in self._comers)

    @property
    def _comers(self) -> list[Standalone]:
        """Clients on hosts, but for those that say another way."""
        return [client for client in self.topology.standalone if client.goes_by_gateway]

    def address(self, host: Host) -> str:
        """What nginx listens on there; empty once it is noted that there is none."""
        return self._addresses[host.name]

    @cached_property
    def _addresses(self) -> dict[str, str]:
        hosts = [self.topology.federation.host(name) for name in self.nodes.hosts]
        return {host.name: own_address(self.nodes, host, self.topology.report) or "" for host in hosts}

    @property
    def first(self) -> Host:
        """The node that ways on loopback lead to."""
        return self.topology.federation.host(self.nodes.hosts[0])

    @property
    def name(self) -> str:
        """The DNS name in the certificate that is its own."""
        return certificates.service_name(self.topology.owner, self.topology.instance_of(COMPONENT))

    @property
    def clients_port(self) -> int:
        return int(self.ingress["clients_port"])

    # -- what can't be

    def check(self) -> None:
        if not self.there:
            return
        if not self.nodes.hosts:
            message = f"the key 'nodes' is missing: with server.ingress.controller: {CONTROLLER} they have nginx"
            self.topology.report.mistake(self.topology.stack.path, message)
            return
        if self.serves_users and not self._users():
            message = "nobody may use the API: name `operators`, or `users`, whose certificates are taken"
            self.topology.report.mistake((*self.topology.server.path, "ingress"), message)
        for key in ("tls_secret", "host"):
            if key in self.ingress:
                message = f"is for the cluster's own controller: with {CONTROLLER} nginx has the party's certificates"
                self.topology.report.mistake((*self.topology.server.path, "ingress", key), message)
        self._check_port()
        self._check_addresses()

    def _check_port(self) -> None:
        """Kubernetes has the ports of its Services on these nodes, too."""
        if not self.serves_clients:
            return
        if not self.topology.settings["proxy"]["external"]:
            message = "clients on hosts come through nginx to the proxy's port of nodes: leave it, or their `host`"
            self.topology.report.mistake((*self.topology.stack.path, "settings", "proxy", "external"), message)
        for owner, port in self.topology.node_ports():
            if port == self.clients_port:
                message = f"{port} is {owner} too: a node's port has one owner"
                self.topology.report.mistake((*self.topology.server.path, "ingress", "clients_port"), message)

    def _check_addresses(self) -> None:
        for host, address in self._addresses.items():
            if address in network.WILDCARDS:
                self.topology.report.mistake(
                    (*self.nodes.path, self.nodes.where), f"'{host}' has no address of its own"
                )

    # -- who comes

    def _users(self) -> list[str]:
        """The common names of certificates that are let in to the API."""
        own = self.topology.instance_of(OPERATORS)
        names = [certificates.common_name(own, host) for host in self.operators.hosts]
        return [*names, *self.ingress["users"]]

    def _clients(self) -> list[str]:
        """Those of clients on hosts."""
        return [
            certificates.common_name(self.topology.instance_of(client.component), host)
            for client in self._comers
            for host in client.place.hosts
        ]

    @cached_property
    def authorities(self) -> list[Authority]:
        """Those that sign for who comes, the server's party's first."""
        hosts = [*self.operators.hosts, *(host for client in self._comers for host in client.place.hosts)]
        parties = dict.fromkeys(self.topology.party_of(host) for host in hosts)
        federation, own = self.topology.federation, self.topology.owner.name
        others = [federation.parties[name] for name in parties if name != own]
        return [
            self.topology.authority,
            *(certificates.party_authority(federation, party) for party in others),
        ]

    # -- what roles get

    def add(self, roster: Roster) -> None:
        """Sites on the nodes, and ways of operators; clients add their own."""
        for name in self.nodes.hosts if self.there else ():
            self._add_sites(roster, self.topology.federation.host(name))
        for name in self.operators.hosts if self.there else ():
            own = self._loopback(self.operators.listening_port, (*self.operators.path, "port"), "http")
            roster.present("nginx", OPERATORS, OPERATORS, name, self._way_of_operators(), [own], variable=SITES)
        for name in self._former:
            for word in ("gateway-api", "gateway-clients"):
                roster.absent("nginx", "nodes", word, name, variable=SITES)
        for name in self.operators.absent:
            roster.absent("nginx", OPERATORS, OPERATORS, name, variable=SITES)

    @property
    def _former(self) -> tuple[str, ...]:
        """Nodes that have it no more: they are absent, or the server is."""
        if self.ingress["controller"] != CONTROLLER:
            return ()
        return (*self.nodes.absent, *(() if self.there else self.nodes.hosts))

    def _trust(self) -> dict[str, list[Authority]]:
        """By the certificate that is shown who vouches for who comes: users are the server's party's."""
        found = {COMPONENT: [self.topology.authority]}
        return found | ({CLIENTS: self.authorities} if self.serves_clients else {})

    def _tls(self, component: str, names: list[str]) -> dict[str, Any]:
        files = self.topology.paths(component)
        return {
            "certificate": files["chain"],
            "key": files["key"],
            "client_names": names,
            **certificates.vouched(files, *self._trust()[component]),
        }

    def _servers(self, port: int) -> list[str]:
        """A port of every node."""
        return [network.join(address, port) for address in self._addresses.values()]

    def _add_sites(self, roster: Roster, host: Host) -> None:
        settings, address = self.topology.settings, self.address(host)
        if self.serves_users:
            port = settings["api_server"]["https_port"]
            values: dict[str, Any] = {
                "listen": [{"address": address, "port": port}],
                "tls": self._tls(COMPONENT, self._users()),
                "upstream": {"servers": self._servers(settings["api_server"]["http_port"])},
                "server_names": certificates.asked_names(self.nodes, host, address, self.name),
                "paths": [{"path": "/api/v1/", "prefix": True}],
                "limits": site_limits(at_once(len(self._users()))),
            }
            path = (*self.topology.stack.path, "settings", "api_server", "https_port")
            own = endpoint(self.nodes, host, "api", address, port, scheme="https", path=path)
            roster.present("nginx", "nodes", "gateway-api", host.name, values, [own], variable=SITES)
        if self.serves_clients:
            values = {
                "protocol": "tcp",
                "listen": [{"address": address, "port": self.clients_port, "find_dead_peers": True}],
                "tls": {**self._tls(CLIENTS, self._clients()), "alpn": ["h2"]},
                "upstream": {"servers": self._servers(settings["proxy"]["grpc_port"])},
                "limits": site_limits(at_once(len(self._clients())), connections=True),
                "read_timeout_seconds": HOUR,
            }
            path = (*self.topology.server.path, "ingress", "clients_port")
            own = endpoint(self.nodes, host, "grpc", address, self.clients_port, path=path)
            roster.present("nginx", "nodes", "gateway-clients", host.name, values, [own], variable=SITES)

    def _way_of_operators(self) -> dict[str, Any]:
        """nsfl-ctl speaks no TLS to the API: plain HTTP in on loopback, TLS out with a certificate."""
        files, port = self.topology.paths(OPERATORS), self.topology.settings["api_server"]["https_port"]
        return {
            "listen": [{"address": LOOPBACK, "port": self.operators.listening_port}],
            "upstream": {
                "servers": self._servers(port),
                "host": self.name,
                "tls": {
                    "name": self.name,
                    "certificate": files["chain"],
                    "key": files["key"],
                    **certificates.believed(files, self.topology.authority),
                },
            },
        }

    def way_of(self, client: Standalone) -> dict[str, Any]:
        """A client's: connections go in on loopback, and come out by TLS with its certificate."""
        files = self.topology.paths(client.component)
        return {
            "port": client.options["server_port"],
            "connect": {"host": self.address(self.first), "port": self.clients_port, "name": self.name},
            "tls": {"ca": files["ca"], "certificate": files["chain"], "key": files["key"]},
        }

    @staticmethod
    def _loopback(port: int, path: Path, scheme: str) -> Endpoint:
        told = str(network.Url(scheme, LOOPBACK, port)) if scheme else network.join(LOOPBACK, port)
        return Endpoint("way", LOOPBACK, port, internal=told, public=told, path=path)

    def way_endpoint(self, client: Standalone) -> Endpoint:
        return self._loopback(client.options["server_port"], (*client.place.path, "server_port"), "")

    # -- what it needs

    def certificates(self) -> Iterator[Certificate]:
        """What nginx shows, and what who comes shows."""
        own = self.topology.authority.name
        for host in [self.topology.federation.host(each) for each in self.nodes.hosts if self.there]:
            names, addresses = certificates.serving_names(self.nodes, host, self.address(host), self.name)
            for component, authorities in self._trust().items():
                name, trust = self.topology.instance_of(component), tuple(one.name for one in authorities)
                common = certificates.common_name(name, host.name)
                yield Certificate(name, host.name, own, common, names, addresses, trust=trust)
        for each in self._former:
            for component in (COMPONENT, CLIENTS):
                yield Certificate(self.topology.instance_of(component), each, "", "", state="absent")
        for client in self.topology.standalone:
            for each in client.place.hosts if client.goes_by_gateway else ():
                yield self.of_user(client.component, each)
        for client in self.topology.standalone if self.ingress["controller"] == CONTROLLER else ():
            for each in client.place.absent:
                yield Certificate(self.topology.instance_of(client.component), each, "", "", state="absent")

    def of_user(self, word: str, host: str) -> Certificate:
        """What a client or an operator shows."""
        name, federation = self.topology.instance_of(word), self.topology.federation
        party = federation.parties[self.topology.party_of(host)]
        signer = certificates.party_authority(federation, party).name
        common = certificates.common_name(name, host)
        return Certificate(name, host, signer, common, usages=("client",), trust=(self.topology.authority.name,))

    def flows(self) -> Iterator[Flow]:
        """Of operators; clients tell theirs."""
        words, port = "TLS, client certificate", self.topology.settings["api_server"]["https_port"]
        for node in self.nodes.hosts if self.serves_users else ():
            for host in self.operators.hosts:
                if host != node:
                    yield Flow(host, node, port, "the API", words)
            if self.ingress["users"]:
                yield Flow("users", node, port, "the API", words)
