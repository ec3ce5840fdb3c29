# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who runs where, what is reached by whom, and what of it can't be."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from ...._pki.names import public_path
from ... import acme, certificates, network
from ...expanding import endpoint, instance_name, own_address
from ...model import Authority, Endpoint, Federation, Party, Placement, Proof, Secret, Stack
from ...nodes import Report
from ...schema import complete
from ...unknown import UNKNOWN, attempt
from .placements import DEFAULT_LIBRARY, worker_application
from .settings import SETTINGS

LOOPBACK = "127.0.0.1"
REDIRECT, TLS_PORT = network.DEFAULT_PORTS["http"], network.DEFAULT_PORTS["https"]


class Topology:
    """A stack of the document, with what follows from where its roles are placed."""

    def __init__(self, stack: Stack, federation: Federation, report: Report) -> None:
        self.stack = stack
        self.federation = federation
        self.report = report
        self.server = self._placement("server")
        self.proxy = self._placement("proxy")
        self.workers = self._placement("workers")
        self.shift = stack.options["verify_port_shift"]

    def _placement(self, role: str) -> Placement:
        found = self.stack.placements.get(role, Placement())
        return Placement() if found is UNKNOWN else found

    # ... who and where

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The library's arguments, complete; empty once mistakes are noted."""
        return complete(SETTINGS, self.stack.settings, (*self.stack.path, "settings"), self.report)

    @cached_property
    def server_host(self) -> str:
        return self.server.hosts[0]

    @cached_property
    def party(self) -> Party:
        """Whose the server is."""
        return self.federation.parties[self.federation.host(self.server_host).party]

    @cached_property
    def expected(self) -> int:
        """How many workers limits are for."""
        return max(int(self.workers.options.get("expected") or 1), len(self.workers.hosts))

    @cached_property
    def same_host(self) -> bool:
        """Whether nginx reaches the server on loopback."""
        return self.proxy.hosts == self.server.hosts and self.server.bind is None

    @property
    def native_tls(self) -> bool:
        """Whether the server speaks TLS itself."""
        return self.stack.tls and not self.same_host

    @cached_property
    def server_address(self) -> str:
        if self.same_host:
            return LOOPBACK
        return own_address(self.server, self.federation.host(self.server_host), self.report) or ""

    @cached_property
    def proxy_address(self) -> str:
        return own_address(self.proxy, self.federation.host(self.proxy.hosts[0]), self.report) or ""

    def server_endpoint(self, shift: int) -> Endpoint:
        """The server's own; behind nginx it is reached there."""
        front = self.proxy_endpoint(shift) if self.proxy.hosts else None
        scheme = "https" if self.native_tls else "http"
        host, port = self.federation.host(self.server_host), self.server.listening_port + shift
        return endpoint(self.server, host, "http", self.server_address, port, scheme=scheme, front=front)

    def proxy_endpoint(self, shift: int) -> Endpoint:
        """nginx, where workers connect."""
        scheme, names = "https" if self.stack.tls else "http", tuple(self.proxy.options["server_names"])
        host, port = self.federation.host(self.proxy.hosts[0]), self.proxy.listening_port + shift
        found = endpoint(self.proxy, host, "http", self.proxy_address, port, scheme=scheme, names=names)
        if not names:
            return found
        # nginx tells stacks apart by the name that it is asked for, so that is how they are reached
        named = str(network.Url(scheme, names[0], port))
        deployed = port == self.proxy.port
        internal = (deployed and self.proxy.internal_url) or named
        return replace(found, internal=internal, public=(deployed and self.proxy.public_url) or named)

    @property
    def asks_silent_clients(self) -> bool:
        """Whether this stack's site says so of its address and port: the first of those that share it does."""
        for stack in self.federation.stacks.values():
            if stack.name == self.stack.name:
                return True
            other = stack.placements.get("proxy")
            if stack.kind == self.stack.kind and isinstance(other, Placement) and self._beside(other):
                return False
        return True

    def _beside(self, other: Placement) -> bool:
        here = (self.proxy.hosts, self.proxy.bind, self.proxy.port)
        return bool(other.hosts) and here == (other.hosts, other.bind, other.port)

    @property
    def redirects(self) -> bool:
        """Whether the proxy also listens where browsers look first, and sends them to TLS.

        Where an ACME server looks for its answers there, the port is theirs.
        """
        proxy = self.proxy
        there = bool(proxy.hosts) and self.stack.tls and proxy.listening_port == TLS_PORT and not self.by_acme
        return there and bool(proxy.options["redirect"])

    def redirect_endpoint(self) -> Endpoint:
        """nginx, where it only says where to go."""
        names, path = tuple(self.proxy.options["server_names"]), (*self.proxy.path, "redirect")
        host = self.federation.host(self.proxy.hosts[0])
        address = self.proxy_address
        return endpoint(
            self.proxy, host, "redirect", address, REDIRECT, scheme="http", public=False, names=names, path=path
        )

    def front(self, shift: int) -> Endpoint:
        """What workers connect to."""
        return self.proxy_endpoint(shift) if self.proxy.hosts else self.server_endpoint(shift)

    def entrance(self, worker: str, shift: int) -> network.Url:
        """Where a host's workers connect: another party's to what is public."""
        found = self.front(shift)
        ours = self.federation.host(worker).party == self.party.name
        return network.parse_url(found.internal if ours and not self.by_acme else found.public)

    # ... names

    def certificate(self, role: str) -> str:
        return instance_name(self.federation, self.stack, role)

    def paths(self, role: str) -> dict[str, str]:
        return certificates.paths(self.federation.name, self.certificate(role))

    @cached_property
    def authority(self) -> Authority:
        return certificates.party_authority(self.federation, self.party)

    @cached_property
    def by_acme(self) -> bool:
        """Whether an ACME server signs what nginx shows: everybody then connects by names, all that it certifies."""
        return bool(self.stack.tls and self.proxy.hosts and self.party.pki_mode == "acme")

    @cached_property
    def entrance_authority(self) -> Authority:
        """Who signs what workers are shown."""
        return certificates.front_authority(self.federation, self.party) if self.by_acme else self.authority

    @cached_property
    def proof(self) -> Proof:
        """The names that an ACME server certifies."""
        host = self.federation.host(self.proxy.hosts[0])
        names = acme.names(self.proxy, host.public_name, *self.proxy.options["server_names"])
        return Proof(host.name, self.proxy_address, names)

    def administrator(self) -> Secret:
        """The password of the library's own interface for administrators."""
        purpose = f"the administrator of stack '{self.stack.name}', who lets workers in"
        return Secret(f"{self.stack.name}_admin", self.party.name, purpose)

    @property
    def authority_file(self) -> str:
        """Where the certificate of the CA lies on the control node that signs what workers are shown."""
        authority = self.entrance_authority
        if authority.ca:
            return self.beside(authority.ca)
        return public_path(self.federation.state_directory, authority.party, authority.name)

    @property
    def key_path(self) -> str:
        """Where a worker has its key; it is made on its machine and stays there."""
        return f"/var/lib/fedlearn/{self.federation.name}/keys/{self.certificate('worker')}/worker.key"

    def public_key_of(self, worker: str) -> str:
        """Where its public half lies on the control node, for the server's party to read."""
        name = f"{self.certificate('worker')}.{worker}.pub"
        party = self.federation.host(worker).party
        return posixpath.join(self.federation.state_directory, "public", party, name)

    def key_files(self, workers: tuple[str, ...]) -> list[str]:
        """Files of public keys, in the document's order: one worker more or less is one file of them."""
        return [self.public_key_of(worker) for worker in workers]

    @property
    def key_lists(self) -> list[str]:
        """Files of others' keys: one worker more or less is one line of them."""
        return [self.beside(path) for path in self.workers.options["keys"]]

    # ... what roles get of options

    def beside(self, path: str) -> str:
        return posixpath.join(self.federation.directory, path)

    def _archive(self, archive: Mapping[str, Any]) -> dict[str, Any]:
        source = archive["source"]
        return {**archive, "source": source if "://" in source else self.beside(source)}

    def _located(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The same with paths of files beside the document made whole."""
        found = dict(given)
        for key in ("source", "requirements", "wheels"):
            if key in found:
                found[key] = self.beside(found[key])
        return found | ({"archive": self._archive(found["archive"])} if "archive" in found else {})

    @cached_property
    def library(self) -> dict[str, Any]:
        found = self._located(self.stack.options["library"])
        named = {"source", "archive", "preinstalled"} & set(found)
        return found if named else {**found, "preinstalled": DEFAULT_LIBRARY}

    @cached_property
    def runtime(self) -> dict[str, Any]:
        return self._located(self.stack.options["runtime"])

    def application(self, placement: Placement) -> dict[str, Any]:
        """The user's code for the server or for workers."""
        options = placement.options
        callable_ = options.get("application")
        if placement is self.workers:
            callable_ = worker_application(self.server.options["application"], callable_)
        given = self._located(options["application_artifact"])
        return {**given, "callable": callable_, "settings": options.get("application_settings", {})}

    # ... what can't be

    def check(self) -> None:
        """Notes all mistakes."""
        looks = (self._check_places, self._check_parties, self._check_ports, self._check_keys)
        for look in (*looks, self._check_names, self._check_asked_names):
            attempt(look)
        attempt(lambda: self.settings)

    def _check_places(self) -> None:
        for placement, needed in ((self.proxy, "it leads to the server"), (self.workers, "they connect to the server")):
            if placement.hosts and self.server.absent and not self.server.hosts:
                message = f"the server is absent, and {needed}: make both absent"
                self.report.mistake((*placement.path, placement.where), message)
        if self.server.hosts and self.server_address == LOOPBACK and not self.same_host:
            others = [host for host in (*self.workers.hosts, *self.proxy.hosts) if host != self.server_host]
            if others:
                message = f"'{LOOPBACK}' cannot be reached from '{others[0]}'"
                self.report.mistake((*self.server.path, "bind"), message)
        if self.proxy.hosts:
            _told_if_wrong = self.proxy_address

    def _check_parties(self) -> None:
        if not self.server.hosts or not self.proxy.hosts:
            return
        owner = self.federation.host(self.proxy.hosts[0]).party
        if owner != self.party.name:
            host = self.proxy.hosts[0]
            message = f"host '{host}' is of party '{owner}', the server's of '{self.party.name}': both are one party's"
            self.report.mistake((*self.proxy.path, self.proxy.where), message)

    def _check_ports(self) -> None:
        for role, placement in (("server", self.server), ("proxy", self.proxy)):
            message = network.too_high(placement.port or 0, self.shift)
            if message:
                self.report.mistake((*self.stack.path, role, "port"), message)

    def _check_names(self) -> None:
        """Workers, those of the round too, connect to what the ACME server certified."""
        if not (self.server.hosts and self.by_acme):
            return
        host, url = self.federation.host(self.proxy.hosts[0]), self.proxy.public_url
        if not host.public_name or network.is_numeric(host.public_name):
            message = (
                f"an ACME server certifies names only, and '{host.name}' has none: public_name: NAME under parties"
            )
            self.report.mistake((*self.proxy.path, self.proxy.where), message)
        if url and network.is_numeric(network.parse_url(url).host):
            self.report.mistake((*self.proxy.path, "public_url"), "an ACME server certifies names only: write one")

    def _check_asked_names(self) -> None:
        """Who is told a URL asks nginx for a name that it knows."""
        names = self.proxy.options.get("server_names", ())
        known = {name.lower() for name in names}
        for key, url in (("internal_url", self.proxy.internal_url), ("public_url", self.proxy.public_url)):
            if names and url and network.parse_url(url).host.lower() not in known:
                message = f"nginx refuses who asks for another name than its server_names: {', '.join(names)}"
                self.report.mistake((*self.proxy.path, key), message)

    def _check_keys(self) -> None:
        if self.stack.settings.get("server_mode_safe", True) is False and self.workers.options.get("keys"):
            message = "server_mode_safe is false, so nobody's key is looked at: leave them out, or leave it true"
            self.report.mistake((*self.workers.path, "keys"), message)
        admins = self.proxy.options.get("admins")
        if admins and not self.stack.tls:
            self.report.mistake((*self.proxy.path, "admins"), "without `tls` there are no certificates to know them by")
