# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What certificates of our own CAs say, and what of a host's request is believed."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import (
    BACKDATED,
    AuthorityDescription,
    Description,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.names import LOOPBACK

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
REQUEST_LIMIT = 16384
"""Bytes of a signing request; one for RSA with 8192 bits has 2,700."""
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""All that the library has been seen to raise for a certificate with one wrong byte."""
UNREADABLE_REQUEST = (*UNREADABLE, UnicodeEncodeError, InvalidSignature)
"""The same for a request."""
_CURVES = {"ec-p256": "secp256r1", "ec-p384": "secp384r1"}
_USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


class AuthorityError(Exception):
    """An authority can't be used, or a request can't be signed; the text says which, why, and the way out."""


def proven_key(pem: str, challenge: str, description: Description) -> PublicKey:
    """The public key of a signing request, and nothing else of it.

    The request must have been made for ``challenge`` (so in this run, for this certificate), be signed by the key it
    carries, and that key be of the kind described. AuthorityError otherwise.
    """
    where = f"certificate {description.name}: the host's signing request"
    if not isinstance(pem, str) or len(pem) > REQUEST_LIMIT:
        raise AuthorityError(f"{where} is no text of at most {REQUEST_LIMIT} characters")
    try:
        request = x509.load_pem_x509_csr(pem.encode("ascii"))
        subject = [str(item.value) for item in request.subject]
        if subject != [challenge]:
            raise AuthorityError(f"{where} was not made in this run for this certificate")
        return requested_key(request, description, where)
    except UNREADABLE_REQUEST as error:
        raise AuthorityError(f"{where} can't be read: {error}") from None


def requested_key(request: x509.CertificateSigningRequest, description: Description, where: str) -> PublicKey:
    """The public key of a request that is signed by it, and of the kind described; AuthorityError otherwise."""
    public_key = request.public_key()
    if not request.is_signature_valid:
        raise AuthorityError(f"{where} isn't signed by the key it carries")
    if (
        not isinstance(public_key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey))
        or _kind(public_key) != description.key_type
    ):
        raise AuthorityError(f"{where} carries another kind of key than {description.key_type}")
    if isinstance(public_key, rsa.RSAPublicKey) and public_key.public_numbers().e != 65537:
        raise AuthorityError(f"{where} carries an RSA key with another exponent than 65537")
    return public_key


def _kind(public_key: PublicKey) -> str:
    if isinstance(public_key, rsa.RSAPublicKey):
        return f"rsa-{public_key.key_size}"
    return next((kind for kind, curve in _CURVES.items() if curve == public_key.curve.name), public_key.curve.name)


def leaf(
    description: Description, public_key: PublicKey, key: PrivateKey, issuer: x509.Certificate, now: datetime
) -> x509.Certificate:
    """A certificate for ``public_key``, signed by ``key`` of ``issuer``, that says what ``description`` says."""
    end = min(now + timedelta(days=description.lifetime_days), issuer.not_valid_after_utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(description.common_name))
        .issuer_name(issuer.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - timedelta(seconds=BACKDATED), issuer.not_valid_before_utc))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_leaf_key_usage(public_key), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_USAGES[word] for word in description.usages]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_authority_key_identifier(issuer), critical=False)
    )
    names: list[x509.GeneralName] = [x509.DNSName(each) for each in description.dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in description.addresses]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256())


def self_signed(description: AuthorityDescription, key: PrivateKey) -> x509.Certificate:
    """A CA's own certificate."""
    now = datetime.now(UTC)
    named = name(description.common_name)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=BACKDATED))
        .not_valid_after(now + timedelta(days=description.lifetime_days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    limits = constraints(description)
    if limits:
        builder = builder.add_extension(limits, critical=True)
    return builder.sign(key, hashes.SHA256())


def constraints(description: AuthorityDescription) -> x509.NameConstraints | None:
    """What the CA's certificate says it may certify; None when that is everything."""
    networks = (*description.permitted_networks, *LOOPBACK) if description.permitted_networks else ()
    permitted: list[x509.GeneralName] = [x509.DNSName(name) for name in description.permitted_names]
    permitted += [x509.IPAddress(ipaddress.ip_network(network)) for network in networks]
    return x509.NameConstraints(permitted, None) if permitted else None


def _leaf_key_usage(public_key: PublicKey) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=isinstance(public_key, rsa.RSAPublicKey),
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        # a CA's key is one that signs
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def pem(item: x509.Certificate | x509.CertificateRevocationList) -> str:
    """A certificate or list as text."""
    return item.public_bytes(serialization.Encoding.PEM).decode("ascii")


def name(common_name: str) -> x509.Name:
    """A subject that is nothing but a common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def encoded(public_key: object) -> bytes:
    """A public key's bytes, by which two are compared."""
    # every kind of public key has it, and they have no common base
    return public_key.public_bytes(  # type: ignore[attr-defined, no-any-return]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
