# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a key and its certificate are: read and proven by openssl once, and then believed from the record."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any

from . import der, openssl
from .installed import CERTIFICATE, KEY, Installed, digest


@dataclass(frozen=True)
class Anchors:
    """What the control node says of a certificate's authority, in PEM."""

    issuer: bytes | None  # the CA that signs now; in check mode it may not be made yet
    issuer_not_after: int  # seconds since 1970
    intermediates: bytes
    trust: bytes  # all CAs to trust
    crl: bytes = b""  # what these CAs have withdrawn; empty where one of them has no list
    revoked: tuple[str, ...] = ()  # serial numbers that the certificate itself mustn't have
    foreign: bool = False  # others sign: what a certificate says beyond the description is their affair

    @property
    def digest(self) -> str:
        """What a chain was verified with; empty where there is no issuer yet."""
        parts = [part for part in (self.issuer, self.intermediates) if part]
        return digest(*parts) if self.issuer else ""


@dataclass(frozen=True)
class Facts:
    """What openssl and the certificate itself said of the installed files; kept in the record for their digests."""

    common_name: str
    dns_names: tuple[str, ...]
    addresses: tuple[str, ...]
    usages: tuple[str, ...]
    key_type: str | None
    not_before: int
    not_after: int
    serial: str  # as openssl prints it
    issuer: str  # digest of the anchors the chain was verified with; empty when it wasn't
    chain_problem: str = ""


def examine(installed: Installed, anchors: Anchors, thorough: bool) -> Facts | None:
    """What the installed key and certificate are; None when they aren't there or don't belong together."""
    key, certificate = installed.content(KEY), installed.content(CERTIFICATE)
    if key is None or certificate is None:
        return None
    known = None if thorough else recorded_facts(installed, key, certificate, anchors)
    found = known or facts_of(key, certificate, anchors, ())
    return found if isinstance(found, Facts) else None


def recorded_facts(installed: Installed, key: bytes, certificate: bytes, anchors: Anchors) -> Facts | None:
    """What an earlier run proved of this very pair with these anchors, by the record."""
    if installed.record.get("certificate") == digest(key, certificate):
        with contextlib.suppress(TypeError, KeyError):
            facts = _facts_from_record(installed.record["facts"])
            if anchors.issuer is None or facts.issuer == anchors.digest:
                return facts
    return None


def _facts_from_record(given: dict[str, Any]) -> Facts:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return Facts(**values)


def facts_of(key: bytes | None, certificate: bytes, anchors: Anchors, usages: tuple[str, ...]) -> Facts | str:
    """The facts of a pair, or in words why it is none. Its chain is verified for ``usages``, or those it names."""
    try:
        blocks = der.blocks(certificate)
        parsed = der.certificate(blocks[0]) if blocks else None
    except der.DerError as error:
        return str(error)
    public = openssl.public_key(key) if key else None
    if parsed is None or len(blocks) != 1:
        return "%d certificates instead of one" % len(blocks)
    if public is None or public != parsed.public_key:
        return "the key and the certificate don't belong together"
    if parsed.is_authority or (parsed.others and not anchors.foreign):
        return "it is a CA's" if parsed.is_authority else "it has names or usages of another kind"
    issuer, strict = anchors.issuer, not anchors.foreign
    asked = usages or parsed.usages
    wrong = openssl.verify(certificate, issuer, asked, anchors.intermediates, strict) if issuer else None
    return Facts(
        common_name=parsed.common_name,
        dns_names=parsed.dns_names,
        addresses=parsed.addresses,
        usages=parsed.usages,
        key_type=der.key_type(parsed.public_key),
        not_before=parsed.not_before,
        not_after=parsed.not_after,
        serial=parsed.serial,
        issuer="" if wrong else anchors.digest,
        chain_problem=wrong or "",
    )


def moment(seconds: float) -> str:
    """A time as people and programs read it: UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
