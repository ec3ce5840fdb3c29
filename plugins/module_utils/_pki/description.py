# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a certificate is to say: read from a task's options, checked on the control node and once more on the host."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,126}[a-z0-9])?")
DNS_NAME = re.compile(
    r"(?=.{1,253}\Z)(?:\*\.)?[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
# Printable ASCII without what separates or quotes in a distinguished name, a configuration file or a log line.
COMMON_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._@:-]{0,62}[A-Za-z0-9])?")
KEY_TYPE = re.compile(r"ec-p256|ec-p384|rsa-([0-9]{3,5})")
RSA_BITS = (3072, 8192)
HOST_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._@+-]+){2,}")
SERIAL = re.compile(r"[0-9A-Fa-f]{1,40}")
USAGES = ("server", "client")
FORMATS = ("pem", "pkcs12")
MODES = ("ownca", "external", "csr", "provided", "acme")
DAY = 86400
BACKDATED = 600
"""Seconds a certificate is valid before it was signed, so that a host whose clock is a little late takes it."""

CHALLENGES = ("http-01", "dns-01")
URL = re.compile(
    r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?|https://\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?/[A-Za-z0-9._~/-]*"
)
CONTACT = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+")
ACME_OPTIONS: dict[str, dict[str, Any]] = {
    "directory": {"type": "str", "required": True},
    "server_ca": {"type": "path"},
    "challenge": {"type": "str", "default": "http-01", "choices": list(CHALLENGES)},
    "hook": {"type": "path"},
    "address": {"type": "str"},
    "port": {"type": "int", "default": 80},
    "inner_port": {"type": "int"},
    "contact": {"type": "str"},
}
AUTHORITY_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "party": {"type": "str", "required": True},
    "mode": {"type": "str", "default": "ownca", "choices": list(MODES)},
    "common_name": {"type": "str"},
    "lifetime_days": {"type": "int", "default": 3650},
    "ca": {"type": "path"},
    "crl": {"type": "path"},
    "published": {"type": "list", "elements": "path", "default": []},
    "permitted_names": {"type": "list", "elements": "str", "default": []},
    "permitted_networks": {"type": "list", "elements": "str", "default": []},
    "revoked": {"type": "list", "elements": "str", "default": []},
    "acme": {"type": "dict", "options": ACME_OPTIONS},
}
CERTIFICATE_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
    "federation": {"type": "str", "required": True},
    "stack": {"type": "str"},
    "authority": {"type": "str"},
    "common_name": {"type": "str"},
    "dns_names": {"type": "list", "elements": "str", "default": []},
    "addresses": {"type": "list", "elements": "str", "default": []},
    "usages": {"type": "list", "elements": "str", "default": ["server"], "choices": list(USAGES)},
    "key_type": {"type": "str", "default": "ec-p256"},
    "lifetime_days": {"type": "int", "default": 397},
    "formats": {"type": "list", "elements": "str", "default": ["pem"], "choices": list(FORMATS)},
    "trust": {"type": "list", "elements": "str", "default": []},
    "certificate_file": {"type": "str"},
    "key_file": {"type": "str", "no_log": False},
}
PACKAGE_OPTIONS: dict[str, dict[str, Any]] = {
    program: {"type": "list", "elements": "str", "default": []} for program in ("openssl", "dehydrated")
}


class DescriptionError(ValueError):
    """The description itself is wrong; the text names the certificate or authority, what is wrong, and the way out."""


@dataclass(frozen=True)
class Description:
    """One certificate of a host; without usages no certificate, but only the CAs that something there trusts.

    ``dns_names`` and ``addresses`` are what it is valid for (addresses in their shortest form), ``usages`` of USAGES,
    ``lifetime_days`` from its signing on, ``trust`` the authorities whose certificates make up ca.pem.
    ``certificate_file`` and ``key_file`` are where somebody else keeps them on the host, if it is one of those.
    """

    name: str
    federation: str
    state: str
    authority: str = ""
    common_name: str = ""
    dns_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    usages: tuple[str, ...] = ("server",)
    key_type: str = "ec-p256"
    lifetime_days: int = 397
    formats: tuple[str, ...] = ("pem",)
    trust: tuple[str, ...] = ()
    certificate_file: str = ""
    key_file: str = ""


@dataclass(frozen=True)
class AuthorityDescription:
    """One CA.

    ``ca`` is a file on the control node that holds the certificates of one whose key lies elsewhere, ``crl`` one that
    holds what these have withdrawn. ``published`` are
    other files there that may hold this CA's own: where one does, it was made already. ``permitted_names`` and
    ``permitted_networks`` are all that its certificate lets it certify; without any of a kind it may certify all.
    ``revoked`` are serial numbers of what it is to withdraw whatever else is known of that. ``acme`` is how one of mode
    acme is asked, with the file of ``server_ca`` on the control node.
    """

    name: str
    party: str
    mode: str
    common_name: str
    lifetime_days: int = 3650
    ca: str | None = field(default=None)
    crl: str | None = field(default=None)
    published: tuple[str, ...] = ()
    permitted_names: tuple[str, ...] = ()
    permitted_networks: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()
    acme: Mapping[str, Any] = field(default_factory=dict)

    @property
    def elsewhere(self) -> bool:
        """Whether its key isn't on the control node, so that its certificates have to be brought there."""
        return self.mode != "ownca"


def check_name(value: str, what: str) -> str:
    """``value`` if it can be part of a path and of a unit's name; DescriptionError otherwise."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise DescriptionError(
            f"{what} {shorten(value)!r}: a name has lower-case letters, digits, '-' and '_', begins "
            "and ends with a letter or digit, "
            "and is at most 128 characters long"
        )
    return value


def shorten(value: object) -> str:
    """``value`` as text short enough for a message."""
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def describe(options: Mapping[str, Any]) -> Description:
    """The certificate that ``options`` (one item of the task's list, types already coerced) ask for."""
    name = check_name(options["name"], "certificate")
    federation = check_name(options["federation"], f"certificate {name}: federation")
    if options["state"] == "absent":
        return Description(name=name, federation=federation, state="absent")
    where = f"certificate {name}"
    if options.get("usages") == []:
        return Description(name, federation, "present", usages=(), trust=_only_trusted(options, where))
    authority = check_name(options.get("authority") or "", f"{where}: authority")
    trust = tuple(check_name(item, f"{where}: trust") for item in options["trust"]) or (authority,)
    description = Description(
        name=name,
        federation=federation,
        state="present",
        authority=authority,
        common_name=_common_name(options.get("common_name") or "", where),
        dns_names=tuple(dict.fromkeys(_dns_name(item, where) for item in options["dns_names"])),
        addresses=tuple(dict.fromkeys(_address(item, where) for item in options["addresses"])),
        usages=tuple(word for word in USAGES if word in options["usages"]),
        key_type=_key_type(options["key_type"], where),
        lifetime_days=_days(options["lifetime_days"], where),
        formats=tuple(word for word in FORMATS if word == "pem" or word in options["formats"]),
        trust=tuple(dict.fromkeys(trust)),
        certificate_file=_file(options, "certificate_file", where),
        key_file=_file(options, "key_file", where),
    )
    if bool(description.certificate_file) != bool(description.key_file):
        raise DescriptionError(f"{where}: certificate_file and key_file are given together")
    if "server" in description.usages and not (description.dns_names or description.addresses):
        raise DescriptionError(f"{where}: a server's certificate needs at least one of dns_names and addresses")
    return description


def _only_trusted(options: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The authorities of what is no certificate: nobody signs, and somebody is trusted."""
    if options.get("authority") or not options["trust"]:
        raise DescriptionError(
            f"{where}: usages is empty; say server, client or both, or give only trust: then it is no certificate, but "
            "the CAs that something trusts"
        )
    return tuple(dict.fromkeys(check_name(item, f"{where}: trust") for item in options["trust"]))


def describe_authority(options: Mapping[str, Any]) -> AuthorityDescription:
    """The authority that ``options`` describe; DescriptionError for what this version doesn't do or can't be."""
    name = check_name(options["name"], "authority")
    where = f"authority {name}"
    party = check_name(options["party"], f"{where}: party")
    mode = options["mode"]
    common_name = options.get("common_name") or ""
    if mode == "ownca":
        common_name = _common_name(common_name, where)
    elif options.get("ca") and not options["ca"].startswith("/"):
        raise DescriptionError("{}: ca {!r} has to be an absolute path".format(where, shorten(options["ca"])))
    if options.get("crl") and mode not in ("external", "csr", "provided"):
        raise DescriptionError(
            f"{where}: crl is of who has its own key elsewhere and lets clients in, not of mode {mode}"
        )
    return AuthorityDescription(
        name=name,
        party=party,
        mode=mode,
        common_name=common_name,
        lifetime_days=_days(options["lifetime_days"], where),
        ca=options.get("ca"),
        crl=options.get("crl"),
        published=tuple(options.get("published") or ()),
        permitted_names=tuple(_dns_name(each, where) for each in options.get("permitted_names") or ()),
        permitted_networks=tuple(_network(each, where) for each in options.get("permitted_networks") or ()),
        acme=_acme(options.get("acme"), mode, where),
        revoked=tuple(_serial(each, where) for each in options.get("revoked") or ()),
    )


def describe_all(items: list[dict[str, Any]]) -> list[Description]:
    """All certificates of a task; a certificate described twice is a mistake."""
    found: dict[str, Description] = {}
    for options in items:
        description = describe(options)
        if description.name in found:
            raise DescriptionError(f"certificate {description.name} is described twice; remove one")
        found[description.name] = description
    return list(found.values())


def key_bits(key_type: str) -> int | None:
    """The length of an RSA key type in bits; None for another."""
    match = KEY_TYPE.fullmatch(key_type)
    return int(match.group(1)) if match and match.group(1) else None


def _key_type(value: str, where: str) -> str:
    if not isinstance(value, str) or not KEY_TYPE.fullmatch(value):
        raise DescriptionError(f"{where}: key_type {shorten(value)!r}: use ec-p256, ec-p384, rsa-3072 or rsa-4096")
    bits = key_bits(value)
    if bits is not None and not RSA_BITS[0] <= bits <= RSA_BITS[1]:
        raise DescriptionError(
            "%s: key_type %s: RSA keys have %d to %d bits (MindSpore Federated fails every handshake "
            "with less); use ec-p256 or rsa-3072" % ((where, value, *RSA_BITS))
        )
    return value


def _common_name(value: str, where: str) -> str:
    if not COMMON_NAME.fullmatch(value):
        raise DescriptionError(
            f"{where}: common_name {shorten(value)!r}: 1 to 64 characters of letters, digits, space "
            "and . _ @ : - (no letter with an accent, no comma, no slash)"
        )
    return value


def _dns_name(value: str, where: str) -> str:
    if not DNS_NAME.fullmatch(value):
        raise DescriptionError(f"{where}: dns_names: {shorten(value)!r} is no host name")
    if re.fullmatch(r"[0-9.]+", value):
        raise DescriptionError(f"{where}: dns_names: {value!r} is an address; it belongs into addresses")
    return value.lower()


def _address(value: str, where: str) -> str:
    try:
        address = ipaddress.ip_address(value)
        if "%" in value:
            raise ValueError(value)
        return str(address)
    except ValueError:
        raise DescriptionError(f"{where}: addresses: {shorten(value)!r} is no IPv4 or IPv6 address") from None


def _file(options: Mapping[str, Any], key: str, where: str) -> str:
    """A path on the host, which goes into a unit file too."""
    value = options.get(key) or ""
    if value and not HOST_PATH.fullmatch(value):
        raise DescriptionError(f"{where}: {key} {shorten(value)!r}: an absolute path of letters, digits and ._@+/-")
    return value


def _network(value: str, where: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise DescriptionError(f"{where}: permitted_networks: {error}") from None


def _acme(options: Mapping[str, Any] | None, mode: str, where: str) -> dict[str, Any]:
    """How an ACME server is asked; what goes into files that bash reads is checked here."""
    if (mode == "acme") != bool(options):
        raise DescriptionError(f"{where}: acme is what mode acme takes, and only that")
    given = {key: value for key, value in (options or {}).items() if value is not None}
    for key, pattern in (("directory", URL), ("contact", CONTACT), ("hook", HOST_PATH)):
        if key in given and not pattern.fullmatch(given[key]):
            raise DescriptionError(f"{where}: acme.{key} {shorten(given[key])!r} is no {_ACME_WORDS[key]}")
    if given and (given["challenge"] == "dns-01") != ("hook" in given):
        raise DescriptionError(f"{where}: acme.hook is the program that changes the DNS for challenge dns-01")
    if "address" in given:
        given["address"] = _address(given["address"], f"{where}: acme")
    return given


_ACME_WORDS = {
    "directory": "URL of an ACME server's directory (https://...)",
    "contact": "address of mail",
    "hook": "absolute path of letters, digits and ._@+/-",
}


def _serial(value: str, where: str) -> str:
    if not SERIAL.fullmatch(value):
        raise DescriptionError(
            f"{where}: revoked: {shorten(value)!r} is no serial number as `openssl x509 -noout -serial` prints it"
        )
    return value


def _days(value: int, where: str) -> int:
    if not 1 <= value <= 36500:
        raise DescriptionError(f"{where}: lifetime_days {shorten(value)}: a number from 1 to 36500")
    return value
