# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What certificates are called, where they are installed, and how a role is told of them."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Mapping
from typing import Any

from .._pki.names import permits, public_path
from . import network
from .model import Authority, Certificate, Federation, Host, Party, Placement

LIFETIME_DAYS = 397
"""As long as public CAs may sign for; renewed when a third of it is left."""

KEY_TYPE = "ec-p256"
MAX_COMMON_NAME = 64  # X.520's upper bound; OpenSSL refuses longer ones


def paths(federation: str, name: str) -> dict[str, str]:
    """Where the certificate's files are on its host.

    ``ca`` is the bundle of what it trusts, ``crl`` what these have withdrawn (see ``has_list``), ``pkcs12`` is opened
    with what is in ``password``.
    """
    folder = f"/etc/fedlearn/{federation}/pki/{name}"
    return {
        "key": f"{folder}/key.pem",
        "certificate": f"{folder}/cert.pem",
        "chain": f"{folder}/chain.pem",
        "ca": f"{folder}/ca.pem",
        "crl": f"{folder}/crl.pem",
        "pkcs12": f"{folder}/bundle.p12",
        "password": f"{folder}/bundle.password",
    }


def common_name(name: str, host: str) -> str:
    """``NAME.HOST``, shortened with a digest of the whole where X.509 has no room for it."""
    whole = f"{name}.{host}"
    if len(whole) <= MAX_COMMON_NAME:
        return whole
    digest = hashlib.sha256(whole.encode()).hexdigest()[:12]
    return f"{whole[: MAX_COMMON_NAME - 13].rstrip('.-')}-{digest}"


def serving_names(
    placement: Placement, host: Host, address: str, *more: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """DNS names and addresses for the certificate of what listens on this address: all that it is reached by.

    That is the address itself (of a wildcard all of the host's), the host's public name, the hosts of the document's
    URLs, and ``more``.
    """
    every_own = host.internal if placement.bind in network.WILDCARDS else ()
    urls = [url for url in (placement.internal_url, placement.public_url) if url]
    own = [network.reached(host, address), *every_own]
    told = [*own, *more, host.public_name, *(network.parse_url(url).host for url in urls)]
    every = dict.fromkeys(text for text in told if text)
    return (
        tuple(text for text in every if not network.is_numeric(text)),
        tuple(text for text in every if network.is_numeric(text)),
    )


def asked_names(placement: Placement, host: Host, address: str, *more: str) -> list[str]:
    """By what clients ask for a site of nginx: all that its certificate is for."""
    names, addresses = serving_names(placement, host, address, *more)
    return [*names, *addresses]


def party_authority(federation: Federation, party: Party) -> Authority:
    """The party's own CA; of an external party the one it gave us the certificate of.

    Where it has an ACME server, that one certifies no more than what ``front_authority`` is for.
    """
    mode = "ownca" if party.pki_mode == "acme" else party.pki_mode
    return _authority(federation, party, party.name, "external" if party.external else mode)


def published(federation: Federation, authority: Authority) -> str:
    """The file of the control node with the certificate of a party's own CA, for what isn't on a host."""
    if authority.ca is not None:
        return posixpath.join(federation.directory, authority.ca)
    return public_path(federation.state_directory, authority.party, authority.name)


def front_authority(federation: Federation, party: Party) -> Authority:
    """Whose certificates everybody is shown: the ACME server's where the party has one, else the party's own CA.

    No party is called so, since names have no underscore.
    """
    if party.pki_mode != "acme":
        return party_authority(federation, party)
    return _authority(federation, party, f"{party.name}_public", "acme")


def has_list(*authorities: Authority) -> bool:
    """Whether what trusts just these gets a list of what they withdrew; each has to have one. That of a partner comes
    with what it signs; of an external party there is none.
    """
    return all(authority.mode == "ownca" or authority.crl is not None for authority in authorities)


def believed(files: Mapping[str, str], *authorities: Authority) -> dict[str, str]:
    """What servers a way out believes: those of these CAs, of a certificate's ``files`` (``paths``), that they haven't
    withdrawn. ``files`` of whom no list is brought to (a kit's) have none.
    """
    found = {"ca": files["ca"]}
    return found | ({"crl": files["crl"]} if "crl" in files and has_list(*authorities) else {})


def vouched(files: Mapping[str, str], *authorities: Authority) -> dict[str, str]:
    """Whom a site of nginx lets in: whom these CAs, of a certificate's ``files`` (``paths``), vouch for and haven't
    withdrawn.
    """
    return {f"client_{key}": path for key, path in believed(files, *authorities).items()}


def store_authority(federation: Federation, party: Party, stack: str) -> Authority:
    """The CA that issues for one stack's store only, since a store takes every certificate of the CA it trusts.

    So it is one of our own, whoever signs the party's other certificates.
    """
    return _authority(federation, party, f"{party.name}-{stack}-store", "external" if party.external else "ownca")


def _authority(federation: Federation, party: Party, name: str, mode: str) -> Authority:
    ca = party.pki.get("ca") if mode in ("csr", "provided", "acme") else party.ca
    crl = party.pki.get("crl") if mode in ("csr", "provided") else None
    return Authority(name, party.name, mode, _title(f"{federation.name} {name} CA"), ca, crl)


def _title(text: str) -> str:
    """A CA's common name, within X.509's bound."""
    if len(text) <= MAX_COMMON_NAME:
        return text
    return f"{text[: MAX_COMMON_NAME - 13]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def service_name(party: Party, name: str) -> str:
    """What the certificate ``name`` is called among its DNS names, where it has to have one that is its own.

    Where the party's CA may certify some names only, it lies below the first of them.
    """
    names = party.pki.get("permitted", {}).get("names")
    return f"{name}.{names[0]}" if names else name


def is_permitted(party: Party, wanted: str) -> bool:
    """Whether the party's CA may certify this DNS name or address."""
    permitted = party.pki.get("permitted", {})
    return permits(permitted.get("names", ()), permitted.get("networks", ()), wanted)


def _dns_names(certificate: Certificate, party: Party) -> list[str]:
    """Its DNS names. Without any, the common name would be taken for one: then the CA has to permit it."""
    own = service_name(party, certificate.name)
    if own == certificate.name or certificate.authority != party.name:
        return list(certificate.dns_names)
    return [own, *(name for name in certificate.dns_names if name not in (own, certificate.name))]


def trusted(name: str, host: str, *authorities: str) -> Certificate:
    """What a component trusts that has no certificate of its own: of the files in ``paths`` only ``ca``."""
    return Certificate(name, host, "", "", usages=(), trust=authorities)


def describe(certificate: Certificate, federation: Federation, stack: str) -> dict[str, Any]:
    """The certificate as an entry of ``pki_certificates``; of an absent one only what finds it."""
    entry: dict[str, Any] = {
        "name": certificate.name,
        "state": certificate.state,
        "federation": federation.name,
        "stack": stack,
    }
    if certificate.state == "absent":
        return entry
    if not certificate.usages:
        return entry | {"usages": [], "trust": list(certificate.trust)}
    party = federation.parties[federation.host(certificate.host).party]
    if party.pki_mode == "provided" and certificate.authority == party.name:
        of_host = {"name": certificate.name, "host": certificate.host}
        entry |= {key: party.pki[key].format(**of_host) for key in ("certificate_file", "key_file")}
    return entry | {
        "authority": certificate.authority,
        "common_name": certificate.common_name,
        "dns_names": _dns_names(certificate, party),
        "addresses": list(certificate.addresses),
        "usages": list(certificate.usages),
        "key_type": KEY_TYPE,
        "lifetime_days": party.pki.get("lifetime_days", LIFETIME_DAYS),
        "formats": list(certificate.formats),
        "trust": list(certificate.trust or (certificate.authority,)),
    }


def find(described: Iterable[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """The certificate of that name among a host's (``pki_certificates``), with ``paths``.

    ValueError when it has none.
    """
    entries = {each["name"]: each for each in described if each.get("state", "present") == "present"}
    if name not in entries:
        raise ValueError(f"the host has no certificate '{name}', only {', '.join(sorted(entries)) or 'none'}")
    entry = dict(entries[name])
    return entry | {"paths": paths(entry["federation"], name)}
