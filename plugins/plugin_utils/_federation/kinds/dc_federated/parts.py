# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What roles get: of the deployed stack, and of its copy in a verify round."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ... import certificates, network
from ...expanding import Roster, at_once, instance_name, site_limits
from ...model import Authority, Certificate, Component, Expansion, Flow, Kit, RoundPart
from .placements import DEFAULT_SERVER, DEFAULT_WORKER
from .topology import REDIRECT, Topology

SITES = "nginx_sites"
DAY = 86400

VERIFY_WORKERS = 32
"""More workers than that would prove nothing more in a round."""

TIMEOUT = 120
MAX_ERROR = 1e-9
OWN = (1024.0, -0.5, 3.0)
"""The server's own part of a round's answer: nobody could have known it alone."""

WORKER_PATHS = (
    ("/register_worker", False),
    ("/challenge_phrase/", True),
    ("/return_global_model", False),
    ("/notify_me_if_gm_version_updated", False),
    ("/receive_worker_update/", True),
)
"""The library's paths for workers; the second word: with all below."""

ADMIN_PATHS = (("/workers", False), ("/workers/", True))

Part = dict[str, Any]


class Copy:
    """The deployed stack, or its transient copy for the verify round, which brings an application of its own."""

    def __init__(self, topology: Topology, shift: int, *, transient: bool) -> None:
        self.topology = topology
        self.shift = shift
        self.transient = transient
        self.workers = topology.workers.hosts[:VERIFY_WORKERS] if transient else topology.workers.hosts

    def roster(self) -> Roster:
        """Components and instances."""
        roster = Roster(self.topology.federation, self.topology.stack, self.transient)
        self._add_server(roster)
        self._add_proxy(roster)
        for index, host in enumerate(self.workers):
            self._add_worker(roster, index, host)
        return roster

    def _add_server(self, roster: Roster) -> None:
        topology = self.topology
        files = topology.paths("server")
        port = topology.server.listening_port + self.shift
        settings = {**topology.settings, "load_last_session_workers": False} if self.transient else topology.settings
        tls = {"certificate": files["chain"], "key": files["key"], "ca": files["ca"]}
        values: Part = {
            "library": topology.library,
            "runtime": topology.runtime,
            "application": self._server_application(),
            "listen": {"address": topology.server_address, "port": port},
            "tls": tls if topology.native_tls else None,
            "settings": settings,
            "key_files": topology.key_files(self.workers) if settings["server_mode_safe"] else [],
            "key_lists": topology.key_lists if settings["server_mode_safe"] else [],
            "admin": {"secret": topology.administrator().name},
            "expected": topology.expected,
        }
        own = topology.server_endpoint(self.shift)
        roster.present("dc_federated_server", "server", "server", topology.server_host, values, [own])

    def _server_application(self) -> Part:
        if self.transient:
            return {"callable": DEFAULT_SERVER, "settings": {"own": list(OWN), "workers": len(self.workers)}}
        return _completed(self.topology.application(self.topology.server), DEFAULT_SERVER, {"own": list(OWN)})

    def _add_proxy(self, roster: Roster) -> None:
        topology = self.topology
        for host in topology.proxy.hosts:
            port = topology.proxy.listening_port + self.shift
            values = {
                "listen": [
                    {
                        "address": topology.proxy_address,
                        "port": port,
                        "find_dead_peers": topology.asks_silent_clients,
                    }
                ],
                "redirect": self._redirect(),
                "server_names": self._asked_names(host),
                "allow": list(topology.proxy.options["allow"]),
                "body_size_mb": 1,
                "read_timeout_seconds": DAY,
                "limits": self._limits(),
                "tls": self._proxy_tls(),
                "paths": self._paths(),
                "upstream": self._upstream(),
            }
            listening = [topology.proxy_endpoint(self.shift)]
            if values["redirect"]:
                listening.append(topology.redirect_endpoint())
            roster.present("nginx", "proxy", "proxy", host, values, listening, variable=SITES)

    def _asked_names(self, host: str) -> list[str]:
        """By what clients ask for the proxy: what the document says, or all that its certificate is for."""
        topology = self.topology
        told = topology.proxy.options["server_names"] or (topology.proof.names if topology.by_acme else ())
        at, own = (
            topology.federation.host(host),
            certificates.service_name(topology.party, topology.certificate("proxy")),
        )
        return list(told) or certificates.asked_names(topology.proxy, at, topology.proxy_address, own)

    def _limits(self) -> Part:
        """A total, since all workers may share one address; less for each address only where that is said."""
        of_each = self.topology.proxy.options["limits"].get("per_address")
        return site_limits(at_once(self.topology.expected), per_address=of_each)

    def _redirect(self) -> list[Part]:
        """Where plain HTTP is sent to TLS, as long as there is nothing to be sent to but the deployed proxy."""
        topology = self.topology
        return (
            [{"address": topology.proxy_address, "port": REDIRECT}] if topology.redirects and not self.transient else []
        )

    def _admins(self) -> Mapping[str, Any] | None:
        admins: Mapping[str, Any] | None = self.topology.proxy.options.get("admins")
        return admins if admins and not self.transient else None

    def _proxy_tls(self) -> Part | None:
        if not self.topology.stack.tls:
            return None
        files = self.topology.paths("proxy")
        shown: Part = {"certificate": files["chain"], "key": files["key"]}
        if self._admins():
            shown |= certificates.vouched(files, self.topology.authority)
        return shown

    def _paths(self) -> list[Part]:
        """The workers' five, and for administrators with a certificate theirs; all else isn't found."""
        admins, size = self._admins(), self.topology.settings["max_model_size"]
        paths: list[Part] = [{"path": path, "prefix": prefix} for path, prefix in WORKER_PATHS]
        paths[-1] |= {"body_size_mb": size, "stream_requests": True}
        if admins:
            paths = [{**path, "without_certificate": True} for path in paths]
            asked = {"client_names": admins["names"], "allow": admins["allow"]}
            paths += [{"path": path, "prefix": prefix, **asked} for path, prefix in ADMIN_PATHS]
        return paths

    def _upstream(self) -> Part:
        topology = self.topology
        behind: Part = {
            "servers": [network.join(topology.server_address, topology.server.listening_port + self.shift)],
            "retries": 0,
        }
        if topology.native_tls:
            name = certificates.service_name(topology.party, topology.certificate("server"))
            behind["tls"] = {"name": name, **certificates.believed(topology.paths("proxy"), topology.authority)}
        return behind

    def _add_worker(self, roster: Roster, index: int, host: str) -> None:
        topology = self.topology
        safe = topology.settings["server_mode_safe"]
        values = {
            **worker_values(topology, topology.entrance(host, self.shift), self._worker_application(index)),
            "key": topology.key_path if safe else None,
            "public_key_file": topology.public_key_of(host) if safe else None,
        }
        roster.present("dc_federated_worker", "workers", "worker", host, values)

    def _worker_application(self, index: int) -> Part:
        ours: Part = {"vector": vector(index)}
        if self.transient:
            return {"callable": DEFAULT_WORKER, "settings": ours}
        return _completed(self.topology.application(self.topology.workers), DEFAULT_WORKER, ours)


def worker_values(topology: Topology, url: network.Url, application: Part) -> Part:
    """What workers have in common: what they run, and whom they connect to."""
    return {
        "library": topology.library,
        "runtime": topology.runtime,
        "application": application,
        "server": {"protocol": url.scheme, "host": url.host, "port": url.port or network.DEFAULT_PORTS[url.scheme]},
        "ca": topology.paths("worker")["ca"] if topology.stack.tls else None,
    }


def kit(topology: Topology) -> Kit:
    """What machines of others take part with: the worker's instance, to which the public entrance is known."""
    name = topology.certificate("worker")
    application = _completed(
        topology.application(topology.workers), DEFAULT_WORKER, {"vector": vector(len(topology.workers.hosts))}
    )
    ca = f"/etc/fedlearn/{topology.federation.name}/{name}/ca.pem" if topology.stack.tls else None
    values = {
        "name": name,
        "federation": topology.federation.name,
        "stack": topology.stack.name,
        **worker_values(topology, network.parse_url(topology.front(0).public), application),
        "ca": ca,
        "key": topology.key_path if topology.settings["server_mode_safe"] else None,
    }
    files = {"dc_federated_worker_kit_ca": topology.authority_file} if ca else {}
    return Kit("dc_federated_worker", {"dc_federated_worker_instances": [values], **files})


def _completed(application: Part, default: str, settings: Part) -> Part:
    """The user's application; the default one is given what it needs."""
    given = application["settings"]
    return application if application["callable"] != default or given else {**application, "settings": settings}


def vector(index: int) -> list[float]:
    """The data of the round's worker with this index; without one of them the mean is another one."""
    return [float(2**index % 4099), index + 0.25, -1.0 / (index + 1)]


def answer(workers: int) -> tuple[float, ...]:
    """What a round of so many workers ends with."""
    columns = zip(*(vector(index) for index in range(workers)), strict=True)
    return tuple(math.fsum(column) / workers + own for column, own in zip(columns, OWN, strict=True))


def verify_round(topology: Topology) -> tuple[dict[str, RoundPart], tuple[Component, ...]]:
    """Each host's part in the verify round, and the round's components; none where no worker is ours."""
    if not topology.workers.hosts:
        return {}, ()
    copy = Copy(topology, topology.shift, transient=True)
    roster, expected = copy.roster(), answer(len(copy.workers))
    name = instance_name(topology.federation, topology.stack, "worker", transient=True)
    verify = {
        host: RoundPart(
            expected,
            MAX_ERROR,
            TIMEOUT,
            participants=(name,) if host in copy.workers else (),
            variables=variables,
        )
        for host, variables in roster.variables.items()
    }
    return verify, tuple(roster.components)


def authorities(topology: Topology) -> Iterator[Authority]:
    """The CA of the server's party, and who else signs what workers are shown; they show no certificate."""
    if topology.stack.tls:
        yield topology.authority
    if topology.by_acme:
        yield topology.entrance_authority


def certificates_of(topology: Topology) -> Iterator[Certificate]:
    """What the proxy and a server that speaks TLS itself show, and what workers trust."""
    if not topology.stack.tls:
        return
    roles = [("proxy", topology.proxy, topology.proxy_address)] if topology.proxy.hosts else []
    if topology.native_tls:
        roles.append(("server", topology.server, topology.server_address))
    for role, placement, address in roles:
        name, host = topology.certificate(role), topology.federation.host(placement.hosts[0])
        names, addresses = certificates.serving_names(placement, host, address, name)
        names = tuple(dict.fromkeys((*names, *placement.options.get("server_names", ()))))
        common, signer, trust = (
            certificates.common_name(name, host.name),
            topology.authority.name,
            topology.authority.name,
        )
        if role == "proxy" and topology.by_acme:
            names, addresses, signer = topology.proof.names, (), topology.entrance_authority.name
        yield Certificate(name, host.name, signer, common, names, addresses, trust=(trust,))
    for host_name in topology.workers.hosts:
        yield certificates.trusted(topology.certificate("worker"), host_name, topology.entrance_authority.name)


def flows(topology: Topology) -> Iterator[Flow]:
    """Workers to the entrance, nginx to the server, for the deployed stack and for the round's."""
    entrance = topology.proxy if topology.proxy.hosts else topology.server
    target = entrance.hosts[0]
    known = "key of each worker" if topology.settings["server_mode_safe"] else "none"
    words = f"TLS, {known}" if topology.stack.tls else known
    if not topology.workers.hosts or topology.expected > len(topology.workers.hosts):
        yield Flow("clients", target, entrance.listening_port, "workers", words)
        if topology.redirects:
            yield Flow("clients", target, REDIRECT, "sent to TLS", "none")
    for label, shift in (("", 0), ("verify: ", topology.shift)):
        for worker in topology.workers.hosts:
            if worker != target:
                yield Flow(worker, target, entrance.listening_port + shift, f"{label}workers", words)
        if topology.proxy.hosts and target != topology.server_host:
            port = topology.server.listening_port + shift
            inner = "TLS, server certificate" if topology.native_tls else "none"
            yield Flow(target, topology.server_host, port, f"{label}server", inner)


_REMOVED = (
    ("dc_federated_server", "server", "server", ""),
    ("nginx", "proxy", "proxy", SITES),
    ("dc_federated_worker", "workers", "worker", ""),
)
"""Role, placement, component and variable of what can be absent."""


def removal(topology: Topology) -> Expansion:
    """Everything that is to be removed, by name."""
    roster = Roster(topology.federation, topology.stack)
    gone: list[Certificate] = []
    placements = {"server": topology.server, "proxy": topology.proxy, "workers": topology.workers}
    for role, word, component, variable in _REMOVED:
        for host in placements[word].absent:
            roster.absent(role, word, component, host, variable=variable)
            gone.append(Certificate(topology.certificate(component), host, "", "", state="absent"))
    return Expansion(
        components=tuple(roster.components),
        certificates=tuple(gone),
        variables=roster.variables,
        open_files=dict.fromkeys((*topology.server.absent, *topology.proxy.absent), 0),
    )
