# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates that an ACME server signs: what is asked of it, for which names, and how these are proven.

No such server certifies an address, or a name that only we know. So a party whose ``pki`` says acme has a CA of its own
for all that components show each other, and the server is asked for what nginx shows to everybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...module_utils._pki import description
from . import network
from .expanding import fetched, site_limits
from .model import Component, Endpoint, Expansion, Federation, Flow, Path, Placement, Proof
from .schema import Choice, Key, Rule, Text

CHALLENGES = "/.well-known/acme-challenge/"
PORT = 80
"""Where an ACME server looks for the answer to http-01, and nowhere else."""

LOOPBACK = "127.0.0.1"
SERVER = "acme-server"
"""What flows call whoever looks for answers."""

HOST_PATH = Text(pattern=description.HOST_PATH.pattern, pattern_name="an absolute path of letters, digits and ._@+/-")


def keys(file: Text) -> dict[str, Key]:
    """How a server is asked, as documents and the role take it; ``file`` is a file of the control node."""
    return {
        "directory": Key(
            Text(pattern=description.URL.pattern, pattern_name="a URL of https"),
            "The server's directory.",
            required=True,
            example="https://acme.lab.example/directory",
        ),
        "server_ca": Key(
            file,
            "File with the CA of the server's own certificate, where hosts don't trust that anyway.",
        ),
        "challenge": Key(
            Choice(description.CHALLENGES),
            "How the host proves that a name is its: it answers by HTTP, or the hook changes the DNS.",
            default="http-01",
        ),
        "hook": Key(
            HOST_PATH,
            "Program on the host that changes the DNS: dehydrated calls it with deploy_challenge and clean_challenge, "
            "the name, a token, and the TXT record's value.",
        ),
        "contact": Key(
            Text(pattern=description.CONTACT.pattern, pattern_name="an address of mail"), "Whom the server writes to."
        ),
    }


def _hooked(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    if (values["challenge"] == "dns-01") == ("hook" in values):
        return []
    return [(("hook",), "is the program that changes the DNS for challenge dns-01: they are given together")]


HOOK = Rule("A hook is for dns-01.", _hooked)


def names(placement: Placement, *more: str | None) -> tuple[str, ...]:
    """The names that everybody reaches a placement by, of its public URL and ``more``; kinds refuse addresses there."""
    url = network.parse_url(placement.public_url).host if placement.public_url else None
    return tuple(dict.fromkeys(each.lower() for each in (url, *more) if each))


def sites(federation: Federation, expansions: Iterable[Expansion]) -> Iterator[tuple[Component, dict[str, Any]]]:
    """Of each host that proves names by HTTP, the site of nginx that leads the server's questions to where it answers.

    It is no stack's: two of them may have a name in common.
    """
    by_host: dict[str, list[Proof]] = {}
    for proof in (proof for expansion in expansions for proof in expansion.proofs):
        by_host.setdefault(proof.host, []).append(proof)
    for name, proofs in by_host.items():
        asked = _asked(federation, name)
        if asked.get("challenge") == "http-01" and "inner_port" in asked:
            yield _component(federation, name, proofs), _site(federation, proofs, asked["inner_port"])


def _component(federation: Federation, host: str, proofs: list[Proof]) -> Component:
    path: Path = ("parties", federation.party_of(host), "pki", "acme", "challenge")
    endpoints = tuple(
        Endpoint("acme", address, PORT, names=_names(proofs), path=path) for address in _addresses(proofs)
    )
    return Component(f"{federation.name}-acme", "", "", "nginx", host, endpoints=endpoints)


def _site(federation: Federation, proofs: list[Proof], inner_port: int) -> dict[str, Any]:
    return {
        "name": f"{federation.name}-acme",
        "federation": federation.name,
        "listen": [{"address": address, "port": PORT} for address in _addresses(proofs)],
        "server_names": list(_names(proofs)),
        "paths": [{"path": CHALLENGES, "prefix": True}],
        "limits": site_limits(),
        "upstream": {"servers": [network.join(LOOPBACK, inner_port)], "retries": 0},
    }


def _addresses(proofs: list[Proof]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(proof.address for proof in proofs))


def _names(proofs: list[Proof]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for proof in proofs for name in proof.names))


def flows(federation: Federation, proofs: Iterable[Proof]) -> Iterator[Flow]:
    """From the server, to where it looks for answers."""
    for host in dict.fromkeys(proof.host for proof in proofs):
        if _asked(federation, host).get("challenge") == "http-01":
            yield Flow(SERVER, host, PORT, "proof of names", "none")


def requests(federation: Federation, proofs: Iterable[Proof]) -> Iterator[Flow]:
    """To the server."""
    for host in dict.fromkeys(proof.host for proof in proofs):
        if "directory" in _asked(federation, host):
            yield fetched(host, _asked(federation, host)["directory"], "certificates", "TLS")


def _asked(federation: Federation, host: str) -> Mapping[str, Any]:
    """How a host asks, as far as that is right in the document."""
    asked: Mapping[str, Any] = federation.parties[federation.party_of(host)].pki.get("acme") or {}
    return asked
