# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests that somebody else is to sign: laid out on the control node, and the answers picked up there.

``<state>/public/<party>/requests/<host>/<certificate>.csr``, the answer beside it as ``.pem``: the certificate, and
after it what leads to its CA. What a host sends is believed only as far as it says what is described.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import files
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import Description
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.authority import Authority
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.signing import (
    REQUEST_LIMIT,
    UNREADABLE_REQUEST,
    AuthorityError,
    requested_key,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.keeping import keep

_WORDS = ("another subject", "other dns_names", "other addresses", "other usages", "more")
_USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True)
class Waiting:
    """An answer that hasn't come yet. ``laid`` is whether the request was put there just now.

    ``due`` is whether one lies there that has to be renewed.
    """

    request: str
    answer: str
    laid: bool
    due: bool = False

    def __str__(self) -> str:
        line = f"waits to be signed: the request is {self.request}, and the certificate belongs into {self.answer}"
        return f"{line} (a third of the lifetime of the one there is left, or less)" if self.due else line


class Desk:
    """Where one host's requests lie."""

    def __init__(self, state_directory: str, party: str, host: str) -> None:
        self._state, self._parts = state_directory, ("public", party, "requests", host)

    def exchange(self, description: Description, pem: object, now: datetime) -> bytes | Waiting:
        """The answer to a host's request; where there is none, the request is laid out.

        AuthorityError for a request that says anything else than what is described, and for an answer to another one.
        """
        request = read_request(description, pem)
        path, answer = self._paths(description)
        why = f"certificate {description.name}: request of {self._parts[-1]}"
        laid = keep(self._state, why, lambda: self._lay(path, answer, description, request))
        found = files.read(answer)
        if found is None:
            return Waiting(path, answer, laid)
        certificate = self._answered(description, request, found.content, answer)
        if _is_due(certificate, now):
            return Waiting(path, answer, laid, due=True)
        return found.content

    def prove(self, description: Description, authority: Authority, now: datetime) -> None:
        """AuthorityError when an answer lies there that no host could take: told before any is touched."""
        path, answer = self._paths(description)
        there, found = files.read(path), files.read(answer)
        if there is None or found is None:
            return
        try:
            request = read_request(description, there.content.decode("ascii", "replace"))
        except AuthorityError:
            return  # what is described has changed since: the host asks for another one
        certificate = self._answered(description, request, found.content, answer)
        where = f"certificate {description.name}: {answer}"
        for wrong in _wrong(description, certificate, now):
            raise AuthorityError(f"{where}: {wrong}: have the request beside it signed again")
        if not authority.signs(certificate, x509.load_pem_x509_certificates(found.content)[1:]):
            raise AuthorityError(
                f"{where} doesn't lead to the CA in {authority.certificate_path}: put what leads there after it, or "
                "have the request beside it signed again"
            )

    def told(self, description: Description) -> str:
        """What a run without a request can say: what waits here to be signed; nothing when an answer is there."""
        path, answer = self._paths(description)
        waits = os.path.lexists(path) and not os.path.lexists(answer)
        return str(Waiting(path, answer, laid=False)) if waits else ""

    def _paths(self, description: Description) -> tuple[str, str]:
        folder = os.path.join(self._state, *self._parts)
        return (os.path.join(folder, f"{description.name}.csr"), os.path.join(folder, f"{description.name}.pem"))

    def _lay(self, path: str, answer: str, description: Description, request: x509.CertificateSigningRequest) -> bool:
        """Write the request unless one for the same key and names is there; the answer to a former one is set aside."""
        files.directory(self._state, *self._parts, create=True, foreign_write=0o002)
        there = files.read(path)
        if there is not None:
            try:
                former = read_request(description, there.content.decode("ascii", "replace"))
            except AuthorityError:
                former = None
            if former and _encoded(former) == _encoded(request):
                return False
            if os.path.lexists(answer):
                os.rename(answer, f"{answer}.former")
        files.write(path, request.public_bytes(serialization.Encoding.PEM), 0o644)
        return True

    def _answered(
        self, description: Description, request: x509.CertificateSigningRequest, content: bytes, path: str
    ) -> x509.Certificate:
        """The certificate of an answer, which has to be for the very key of the request."""
        where = f"certificate {description.name}: {path}"
        if b"PRIVATE KEY-----" in content:
            raise AuthorityError(f"{where} holds a private key, and keys stay on their hosts: take it out")
        try:
            certificate = x509.load_pem_x509_certificates(content)[0]
            fits = _encoded(certificate) == _encoded(request)
        except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
            raise AuthorityError(f"{where} holds no certificate in PEM form: {str(error)[:100]}") from None
        if not fits:
            raise AuthorityError(f"{where} was signed for another key than that of the request beside it")
        return certificate


def _wrong(description: Description, certificate: x509.Certificate, now: datetime) -> Iterator[str]:
    """What of an answer isn't as described; one may say more, and a wildcard covers."""
    if certificate.not_valid_after_utc <= now:
        yield f"it has ended on {certificate.not_valid_after_utc:%Y-%m-%d}"
    names, usages = _certified(certificate)
    lacking = [
        each for each in description.dns_names if each not in names and f"*.{each.partition('.')[2]}" not in names
    ]
    lacking += [each for each in description.addresses if each not in names]
    if lacking:
        yield f"it lacks {', '.join(lacking)} (has {', '.join(names) or 'none'})"
    missing = [usage for usage in description.usages if _USAGES[usage] not in usages]
    if missing:
        yield f"it isn't for the usage {' and '.join(missing)}"
    known = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if "client" in description.usages and known != [description.common_name]:
        yield f"its common name is {', '.join(known) or 'none'}, to be {description.common_name}"


def _certified(certificate: x509.Certificate) -> tuple[list[str], list[x509.ObjectIdentifier]]:
    """Names and addresses of a certificate, and its usages."""
    names: list[str] = []
    usages: list[x509.ObjectIdentifier] = []
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names = [str(each.value) for each in extension.value if isinstance(each, (x509.DNSName, x509.IPAddress))]
        elif isinstance(extension.value, x509.ExtendedKeyUsage):
            usages = list(extension.value)
    return names, usages


def read_request(description: Description, pem: object) -> x509.CertificateSigningRequest:
    """A host's request, once it is proven to ask for what is described and for nothing else; AuthorityError if not."""
    where = f"certificate {description.name}: the host's signing request"
    if not isinstance(pem, str) or len(pem) > REQUEST_LIMIT:
        raise AuthorityError(f"{where} is no text of at most {REQUEST_LIMIT} characters")
    try:
        request = x509.load_pem_x509_csr(pem.encode("ascii"))
        requested_key(request, description, where)
        said = _said(request)
    except UNREADABLE_REQUEST as error:
        raise AuthorityError(f"{where} can't be read: {error}") from None
    wanted: tuple[list[str], ...] = (
        [description.common_name],
        sorted(description.dns_names),
        sorted(description.addresses),
        sorted(_USAGES[usage].dotted_string for usage in description.usages),
        [],
    )
    for what, is_, to_be in zip(_WORDS, said, wanted, strict=True):
        if is_ != to_be:
            raise AuthorityError(f"{where} asks for {what} than described: {', '.join(is_)[:200] or 'none'}")
    return request


def _said(request: x509.CertificateSigningRequest) -> tuple[list[str], ...]:
    """Subject, names, addresses, usages and whatever else a request asks for."""
    names: list[x509.GeneralName] = []
    usages: list[str] = []
    others: list[str] = []
    for extension in request.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names = list(extension.value)
        elif isinstance(extension.value, x509.ExtendedKeyUsage):
            usages = [each.dotted_string for each in extension.value]
        else:
            others.append(extension.oid.dotted_string)
    kinds = (x509.DNSName, x509.IPAddress)
    others += [str(each) for each in names if not isinstance(each, kinds)]
    return (
        [str(each.value) for each in request.subject],
        sorted(each.value for each in names if isinstance(each, x509.DNSName)),
        sorted(str(each.value) for each in names if isinstance(each, x509.IPAddress)),
        sorted(usages),
        others,
    )


def _is_due(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether a third of its lifetime is left, or less: then the host asks for another one."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return (end - now) <= (end - begin) / 3


def _encoded(item: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return item.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
