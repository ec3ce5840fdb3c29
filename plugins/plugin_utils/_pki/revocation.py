# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists of what an authority has withdrawn (CRLs). A list is valid as long as its CA, so beyond all that this signed:
it never ends before a new one is made, whenever that is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import BACKDATED
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.register import Issued
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.signing import UNREADABLE

_PEM = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----\n?", re.DOTALL)


def make(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    issuer: x509.Certificate,
    revoked: Iterable[Issued],
    now: datetime,
    former: x509.CertificateRevocationList | None = None,
) -> x509.CertificateRevocationList:
    """The list of ``revoked`` that the certificate ``issuer`` with its ``key`` signs, newer than its ``former`` one
    whatever the clock says.
    """
    began, before = (issuer.not_valid_before_utc, 0) if former is None else _age(former)
    # a CA's key is one that signs
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(max(now - timedelta(seconds=BACKDATED), issuer.not_valid_before_utc, began))
        .next_update(issuer.not_valid_after_utc)
        .add_extension(identifier, critical=False)
        .add_extension(x509.CRLNumber(max(int(now.timestamp()), before + 1)), critical=False)
    )
    for each in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(int(each.serial, 16))
        builder = builder.add_revoked_certificate(
            entry.revocation_date(datetime.fromtimestamp(each.revoked, UTC)).build()
        )
    return builder.sign(key, hashes.SHA256())


def read(pem: bytes) -> list[x509.CertificateRevocationList]:
    """The lists of a file; of a damaged one those that can be read, since it can be made anew."""
    found = []
    for block in _PEM.findall(pem):
        try:
            one = x509.load_pem_x509_crl(block)
            one.issuer.rfc4514_string()  # its parts are read when they are asked for, damaged ones fail then
            list(one.extensions)
            list(one)
        except UNREADABLE:
            continue
        found.append(one)
    return found


def of_issuer(
    lists: Iterable[x509.CertificateRevocationList], issuer: x509.Certificate
) -> x509.CertificateRevocationList | None:
    """Of several the newest that a certificate's own key signed: whoever reads them goes by that one."""
    return max((each for each in lists if _signed(each, issuer)), key=_age, default=None)


def _signed(found: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        # a CA's key is one that signs
        return found.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (InvalidSignature, TypeError, UnsupportedAlgorithm):
        return False


def _age(found: x509.CertificateRevocationList) -> tuple[datetime, int]:
    """By which the newer of a CA's lists is known, both grow: when it begins, and its number (0 without one)."""
    try:
        return found.last_update_utc, found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (x509.ExtensionNotFound, ValueError):
        return found.last_update_utc, 0


def older(found: x509.CertificateRevocationList, former: x509.CertificateRevocationList) -> str:
    """In words, why a list of a CA can't follow another one of it; empty where it can, or is the same."""
    (begins, number), (began, before) = _age(found), _age(former)
    missing = {each.serial_number for each in former} - {each.serial_number for each in found}
    if begins >= began and number >= before and ((begins, number) != (began, before) or not missing):
        return ""
    return f"it has number {number} of {begins:%Y-%m-%d %H:%M:%S} UTC, taken was {before} of {began:%Y-%m-%d %H:%M:%S}"


def trouble(found: x509.CertificateRevocationList, now: datetime) -> str:
    """In words, why nobody relies on a list now; empty when that is wrong with none of it."""
    begins, ends = found.last_update_utc, found.next_update_utc
    if ends is not None and ends <= now:
        return f"has ended on {ends:%Y-%m-%d}, and who reads it lets nobody in any more: ask the party for the next one"
    if now < begins:
        return f"begins on {begins:%Y-%m-%d %H:%M} UTC, and this control node's clock says {now:%Y-%m-%d %H:%M}"
    return ""


def says(found: x509.CertificateRevocationList | None, revoked: Iterable[Issued]) -> bool:
    """Whether a list names these, and no others."""
    return found is not None and {each.serial_number for each in found} == {int(each.serial, 16) for each in revoked}
