# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A party's certification authority on its control node: made when it is missing, opened for signing only.

Key: ``<state>/.ca/<party>/<authority>.key``, PKCS#8 encrypted with a secret. Certificates:
``<state>/public/<party>/<authority>.pem``; there may be several during a CA change, all are trusted, and the one that
belongs to the key signs (``change.py``). Beside them, as ``<authority>.crl.pem``, what it has withdrawn.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import files
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import (
    AuthorityDescription,
    Description,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki import revocation
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.names import (
    MAX_LIST_BYTES,
    certificate_file,
    crl_path,
    former_key_path,
    key_path,
    list_file,
    next_key_path,
    permits,
    public_path,
    secret_name,
    taken_path,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.register import Issued, Leaving, Register, written
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.signing import (
    UNREADABLE,
    AuthorityError,
    PrivateKey,
    PublicKey,
    constraints,
    encoded,
    leaf,
    name,
    pem,
    self_signed,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.keeping import keep, look

T = TypeVar("T")
_DNS_LIKE = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+")


@dataclass(frozen=True, slots=True)
class Trust:
    """What hosts are told of an authority: the certificate that signs now, and all that are to be trusted (PEM).

    Where the key lies elsewhere, any of them may have signed; ``last`` is when the last of them ends. ``crl`` are the
    lists of what it has withdrawn, one for each certificate; empty where there is none.
    """

    issuer: x509.Certificate | None
    bundle: str
    last: int = 0
    crl: str = ""

    @property
    def issuer_pem(self) -> str:
        """The signing certificate as PEM; all of them where the key lies elsewhere, and empty when there is none."""
        return pem(self.issuer) if self.issuer else self.bundle

    @property
    def issuer_not_after(self) -> int:
        """When the signing certificate ends, in seconds since 1970."""
        return int(self.issuer.not_valid_after_utc.timestamp()) if self.issuer else self.last


class Authority:
    """One authority in one state directory. ``passphrase`` is called only when the key is made or opened."""

    def __init__(self, description: AuthorityDescription, state_directory: str, passphrase: Callable[[], str]) -> None:
        self.description = description
        self._state = state_directory
        self._passphrase = passphrase
        self._signer: tuple[PrivateKey, x509.Certificate] | None = None
        self.register = Register(state_directory, description.party, description.name)

    @property
    def where(self) -> str:
        """The authority as messages name it."""
        return f"authority {self.description.name} of party {self.description.party}"

    @property
    def key_path(self) -> str:
        """The file of the encrypted key."""
        return key_path(self._state, self.description.party, self.description.name)

    @property
    def next_key_path(self) -> str:
        """The file of the key that follows, during a change."""
        return next_key_path(self._state, self.description.party, self.description.name)

    @property
    def former_key_path(self) -> str:
        """The file of the key that was, during a change."""
        return former_key_path(self._state, self.description.party, self.description.name)

    @property
    def certificate_path(self) -> str:
        """The file of the certificates to trust."""
        if self.description.elsewhere and self.description.ca:
            return self.description.ca
        return public_path(self._state, self.description.party, self.description.name)

    @property
    def crl_path(self) -> str:
        """The file of what it has withdrawn."""
        return crl_path(self._state, self.description.party, self.description.name)

    def exists(self) -> bool:
        """Whether it has been made. AuthorityError when its certificates are there and the key is not."""
        if self.description.elsewhere:
            return True
        key = os.path.lexists(self.key_path)
        certificates = [self.certificate_path, *self.description.published]
        made = next((path for path in certificates if os.path.lexists(path)), None)
        if made and not key:
            party = self.description.party
            raise AuthorityError(
                f"{self.where}: {made} is there, but its key {self.key_path} is not: bring .ca/{party} and "
                f".secrets/{party}.yml together from where this CA was made into {self._state}, "
                "or move the certificate away to begin a new CA (hosts get new certificates then)"
            )
        return key and os.path.lexists(self.certificate_path)

    def make(self) -> None:
        """Make key, certificate and list of what is withdrawn, each only if it is missing.

        Safe beside other runs and after a killed one. What is there when it returns stays.
        """
        try:
            self._keep("made", self._make_what_is_missing)
        except OSError as error:
            place = error.filename or self._state
            raise AuthorityError(f"{self.where}: {place} can't be written: {error.strerror}") from None

    def lacks_lists(self) -> bool:
        """Whether it exists without lists that say what the register does, as a former release made it: ``make`` then
        signs them.
        """
        return not self.description.elsewhere and self.exists() and self._lists_differ()

    def exists_for_good(self) -> bool:
        """Whether it has been made, and no other run's is still to come in its place."""
        return self.description.elsewhere or look(self._state, self.exists)

    def _make_what_is_missing(self) -> None:
        if not self.exists():
            self._make()
        self._settle_lists(datetime.now(UTC))

    def _make(self) -> None:
        files.sweep(self.key_path)
        key = self._open_key() if os.path.lexists(self.key_path) else self._make_key(self.key_path)
        self._write_certificates([self_signed(self.description, key)])

    def _write_certificates(self, certificates: Iterable[x509.Certificate]) -> None:
        self._directory("public", 0o755)
        files.sweep(self.certificate_path)
        files.write(self.certificate_path, bundle(certificates).encode("ascii"), 0o644)

    def trust(self) -> Trust:
        """What hosts need to know; the key is opened for it only during a change.

        The certificate that signs stands first: MindSpore Federated holds its own against the first of the file
        (ccsrc/common/core/comm_util.cc, verifyCertPipeline).
        """
        certificates = self._certificates(self._content())
        if self.description.elsewhere:
            last = max(int(each.not_valid_after_utc.timestamp()) for each in certificates)
            return Trust(
                None, bundle(certificates), last, self._their_lists(certificates) if self.description.crl else ""
            )
        crl = self._crl(certificates)
        self._check_permitted(certificates[-1])
        issuer = certificates[0] if len(certificates) == 1 else self.signer()[1]
        others = [each for each in certificates if each != issuer]
        return Trust(issuer, bundle([issuer, *others]), crl=crl)

    def _content(self) -> bytes:
        """The file of the certificates to trust."""
        found = files.read(self.certificate_path)
        if found is None:
            raise AuthorityError(f"{self.where}: {self.certificate_path} is missing: {self._way_to_it()}")
        return found.content

    def _way_to_it(self) -> str:
        """How its certificate comes here."""
        party, name = self.description.party, self.description.name
        if self.certificate_path == taken_path(self._state, party, certificate_file(name)):
            return self._way_by_exchange()
        if self.description.elsewhere:
            return "ask the party for its CA certificate and put it there"
        return "it has not been made yet: site does it"

    def _way_by_exchange(self) -> str:
        party = self.description.party
        return f"it comes with what the party signs and hands over: lay that into public/{party}, and run site"

    def prove_trust(self, content: bytes | None = None) -> None:
        """AuthorityError unless an external authority's certificates, by default those there, can be trusted now."""
        content, now = self._content() if content is None else content, datetime.now(UTC)
        if b"PRIVATE KEY-----" in content:
            raise AuthorityError(
                f"{self.where}: {self.certificate_path} holds a private key, which nobody but the party may have: "
                "take it out, and tell the party that others have seen it"
            )
        certificates = self._certificates(content)
        if not any(each.not_valid_before_utc <= now < each.not_valid_after_utc for each in certificates):
            newest = max(certificates, key=lambda each: each.not_valid_after_utc)
            self._check_dates(newest, now, "ask the party for the one that followed")

    def signer(self) -> tuple[PrivateKey, x509.Certificate]:
        """The opened key and the certificate that belongs to it, checked for being able to sign now."""
        if self._signer is None:
            with self._locked():
                key = self._open_key()
                certificates = self._certificates(self._content())
                certificate = self._certificate_of(key, certificates)
                if _has_ended(certificate) and os.path.lexists(self.next_key_path):
                    # its change has begun, and there is nothing that it could sign meanwhile
                    key = self._open_key(self.next_key_path)
                    certificate = self._certificate_of(key, certificates)
            self._check_permitted(certificates[-1])
            self._signer = key, certificate
        return self._signer

    def sign(self, description: Description, public_key: PublicKey, now: datetime) -> x509.Certificate:
        """A certificate for ``public_key`` that says what ``description`` says and nothing else."""
        key, issuer = self.signer()
        self._check_dates(issuer, now)
        allowed = self.description.permitted_names, self.description.permitted_networks
        names = [*description.dns_names, *description.addresses]
        if not description.dns_names and _DNS_LIKE.fullmatch(description.common_name):
            names.append(description.common_name)  # who verifies takes it for a DNS name
        outside = [each for each in names if not permits(*allowed, each)]
        if outside:
            raise AuthorityError(
                f"certificate {description.name}: {self.where} isn't permitted to certify {', '.join(outside)}"
            )
        return leaf(description, public_key, key, issuer, now)

    # ... what was issued, and what of that is withdrawn

    def note(self, host: str, signed: Iterable[tuple[Description, x509.Certificate]], now: datetime) -> None:
        """Remember what was signed for a host, before it gets it: what isn't known can't be withdrawn."""
        rows = [
            Issued(
                serial=written(certificate.serial_number),
                ends=int(certificate.not_valid_after_utc.timestamp()),
                host=host,
                federation=description.federation,
                certificate=description.name,
            )
            for description, certificate in signed
        ]
        self._keep(f"signed for {host}", lambda: self.register.add(host, rows, int(now.timestamp())))

    def withdraw(self, leaving: Leaving, now: datetime, check: bool = False) -> list[Issued]:
        """Put who leaves on the list, and whom the description names; gives who wasn't on it.

        With ``check`` only that.
        """
        if self.description.elsewhere or not self.exists():
            return []
        found = self._to_withdraw(leaving)
        if check or not (found or self._lists_differ()):
            return found

        def write() -> list[Issued]:
            gone = self._to_withdraw(leaving)
            self.register.revoke(gone, int(now.timestamp()))
            self._settle_lists(now)
            return gone

        return self._keep("withdrew certificates", write)

    def revoked(self, host: str) -> dict[str, list[str]]:
        """Serial numbers that were withdrawn of a host's certificates, by name; by no name those of who knows whom."""
        found: dict[str, list[str]] = {}
        for each in self.register.revoked():
            if each.host in ("", host):
                found.setdefault(each.certificate, []).append(each.serial)
        return found

    def _to_withdraw(self, leaving: Leaving) -> list[Issued]:
        found = {each.serial: each for each in leaving.of(self.register)}
        named = {written(int(serial, 16)) for serial in self.description.revoked}
        if named:
            named -= {each.serial for each in self.register.revoked()}
            found |= {each.serial: each for each in self.register.find(named)}
            last = max(each.not_valid_after_utc for each in self._certificates(self._content()))
            ends = int(last.timestamp())
            found |= {serial: Issued(serial, ends) for serial in sorted(named - found.keys())}
        return list(found.values())

    def _crl(self, certificates: Iterable[x509.Certificate]) -> str:
        """The lists of these: all, or none at all, since who verifies by lists refuses whom it has none of."""
        lists, found = self._lists(), ""
        for certificate in certificates:
            its = revocation.of_issuer(lists, certificate)
            if its is None:
                return ""
            found += pem(its)
        return found

    def prove_lists(self) -> None:
        """AuthorityError unless the file of what an authority elsewhere withdraws is fit to be relied on now."""
        if self.description.elsewhere and self.description.crl:
            self._their_lists(self._certificates(self._content()))

    def prove_follows(self, certificates: bytes, lists: bytes, former: bytes) -> None:
        """AuthorityError unless an external authority's lists are fit to be relied on now, and as new as former ones.

        Of a CA that has been changed there are no former ones.
        """
        trusted = self._certificates(certificates)
        self._their_lists(trusted, lists)
        now_known, known = revocation.read(lists), revocation.read(former)
        for certificate in trusted:
            its, before = (revocation.of_issuer(each, certificate) for each in (now_known, known))
            told = "" if its is None or before is None else revocation.older(its, before)
            if told:
                where = f"{self.where}: {self.description.crl}: the list of {certificate.subject.rfc4514_string()}"
                way_out = "somebody put a former one back: ask the party for its newest"
                raise AuthorityError(f"{where} is older than what was taken: {told}; {way_out}")

    def _their_lists(self, certificates: Iterable[x509.Certificate], content: bytes | None = None) -> str:
        """Their lists, by default those of their file, one of each of these, as others than we signed them."""
        path, now = self.description.crl or "", datetime.now(UTC)
        where, way_out = f"{self.where}: {path}", "ask the party for one that is right"
        lists = revocation.read(self._list_content() if content is None else content)
        if not lists:
            raise AuthorityError(f"{where} holds no list of withdrawn certificates in PEM form: {way_out}")
        foreign = [each for each in lists if all(revocation.of_issuer([each], one) is None for one in certificates)]
        if foreign:
            said = foreign[0].issuer.rfc4514_string() or "nobody"
            raise AuthorityError(
                f"{where}: the list of {said} is signed by none of the certificates in "
                f"{self.certificate_path}: {way_out}"
            )
        for certificate in certificates:
            its = revocation.of_issuer(lists, certificate)
            subject = certificate.subject.rfc4514_string()
            if _has_ended(certificate):
                continue  # it lets nobody in
            if its is None:
                raise AuthorityError(
                    f"{where} has no list of {subject}, and who reads lists refuses all of a CA without one: {way_out}"
                )
            wrong = revocation.trouble(its, now)
            if wrong:
                raise AuthorityError(f"{where}: the list of {subject} {wrong}")
        return "".join(pem(each) for each in lists)

    def _list_content(self) -> bytes:
        """The file of what an authority elsewhere has withdrawn."""
        path, party = self.description.crl or "", self.description.party
        found = files.read(path, MAX_LIST_BYTES)
        if found is not None:
            return found.content
        way_out = "ask the party for its list of withdrawn certificates"
        if path == taken_path(self._state, party, list_file(self.description.name)):
            way_out = self._way_by_exchange()
        raise AuthorityError(f"{self.where}: {path} is missing: {way_out}")

    def _lists(self) -> list[x509.CertificateRevocationList]:
        found = files.read(self.crl_path, MAX_LIST_BYTES)
        return revocation.read(found.content) if found else []

    def _lists_differ(self) -> bool:
        """Whether its certificates don't have a list each, that says the same as the register."""
        revoked, lists = self.register.revoked(), self._lists()
        certificates = self._certificates(self._content())
        current = [each for each in certificates if not _has_ended(each)]
        if len(lists) < len(current) or len(lists) > len(certificates):
            return True
        return not all(revocation.says(revocation.of_issuer(lists, each), revoked) for each in current)

    def _settle_lists(self, now: datetime) -> None:
        """Sign a list for each of its certificates that it has the key of; with the lock held."""
        if not self._lists_differ():
            return
        revoked, former, made = self.register.revoked(), self._lists(), []
        paths = (path for path in (self.key_path, self.next_key_path, self.former_key_path) if os.path.lexists(path))
        keys = {encoded(key.public_key()): key for key in map(self._open_key, paths)}
        for certificate in self._certificates(self._content()):
            key = keys.get(encoded(certificate.public_key()))
            kept = revocation.of_issuer(former, certificate)
            if key is not None and not _has_ended(certificate):
                made.append(revocation.make(key, certificate, revoked, now, kept))
            elif kept is not None:
                made.append(kept)
        files.sweep(self.crl_path)
        files.write(self.crl_path, "".join(pem(each) for each in made).encode("ascii"), 0o644)

    # ... what is looked at

    def _check_permitted(self, certificate: x509.Certificate) -> None:
        """AuthorityError when the CA was made for other names and networks than it is to be for now."""
        try:
            found = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        except x509.ExtensionNotFound:
            found = None
        if found != constraints(self.description):
            raise AuthorityError(
                f"{self.where}: its certificate in {self.certificate_path} says otherwise than permitted_names and "
                "permitted_networks what it may certify, and keeps what it was made with: change the CA"
            )

    def signs(self, certificate: x509.Certificate, between: Iterable[x509.Certificate]) -> bool:
        """Whether a chain leads from a certificate, by some of those between, to one of the authority's."""
        waiting, left = [certificate], list(between)
        roots = self._certificates(self._content())
        while waiting:
            found = waiting.pop()
            if any(_signed(found, root) for root in roots):
                return True
            waiting += [each for each in left if _signed(found, each)]
            left = [each for each in left if each not in waiting]
        return False

    def prove(self) -> None:
        """AuthorityError unless it could sign now, or be made now; changes nothing."""
        if self.exists():
            self._check_dates(self.signer()[1], datetime.now(UTC))
        else:
            self._passphrase()

    def _check_dates(self, issuer: x509.Certificate, now: datetime, way_out: str = "change the CA") -> None:
        if issuer.not_valid_after_utc <= now:
            raise AuthorityError(
                f"{self.where}: its certificate in {self.certificate_path} has ended on "
                f"{issuer.not_valid_after_utc:%Y-%m-%d}: {way_out}"
            )
        if now < issuer.not_valid_before_utc:
            raise AuthorityError(
                f"{self.where}: its certificate begins on {issuer.not_valid_before_utc:%Y-%m-%d %H:%M} UTC, and this "
                f"control node's clock says {now:%Y-%m-%d %H:%M}: set the clock"
            )

    def _keep(self, what: str, write: Callable[[], T]) -> T:
        """Do a write with the authority's lock held; what it says has to be right when it is done again."""

        def locked() -> T:
            with self._locked():
                return write()

        return keep(self._state, f"{self.where}: {what}", locked)

    def _locked(self) -> AbstractContextManager[None]:
        directory = self._directory(".ca", 0o700)
        return files.lock(os.path.join(directory, f".{self.description.name}.lock"))

    def _directory(self, kind: str, mode: int) -> str:
        os.makedirs(self._state, mode=0o700, exist_ok=True)
        path = files.directory(self._state, kind, self.description.party, create=True, mode=mode, foreign_write=0o002)
        if path is None:
            raise AssertionError("made just now")
        return path

    def _make_key(self, path: str) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        encryption = serialization.BestAvailableEncryption(self._passphrase().encode("utf-8"))
        content = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        files.write(path, content, 0o600)
        return key

    def _open_key(self, path: str = "") -> PrivateKey:
        path = path or self.key_path
        found = files.read(path)
        if found is None:
            raise AuthorityError(f"{self.where}: its key {path} is missing")
        if found.mode & 0o077:
            raise AuthorityError(
                f"{self.where}: {path} has mode {found.mode:04o}, so others can read it: "
                "chmod 0600 it, and change the CA if somebody may have"
            )
        if found.content.startswith(b"-----BEGIN") and b"ENCRYPTED" not in found.content.split(b"\n", 1)[0]:
            raise AuthorityError(f"{self.where}: {path} isn't encrypted: encrypt it with the secret, or begin a new CA")
        try:
            key = serialization.load_pem_private_key(found.content, self._passphrase().encode("utf-8"))
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise AuthorityError(
                f"{self.where}: the secret {secret_name(self.description.name)} doesn't open {path}: "
                "they are of different age, or the file is damaged; restore the pair"
            ) from None
        if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
            raise AuthorityError(f"{self.where}: {path} holds a key that is neither EC nor RSA")
        return key

    def _certificates(self, content: bytes) -> list[x509.Certificate]:
        try:
            certificates = x509.load_pem_x509_certificates(content)
            for certificate in certificates:  # its parts are read when they are asked for, damaged ones fail then
                encoded(certificate.public_key())
                certificate.subject.rfc4514_string()
                list(certificate.extensions)
        except UNREADABLE as error:
            raise AuthorityError(
                f"{self.where}: {self.certificate_path} holds no certificate in PEM form, or a damaged one "
                f"({str(error)[:100]}): restore it, or ask the party for it"
            ) from None
        for certificate in certificates:
            self._check(certificate)
        return certificates

    def _check(self, certificate: x509.Certificate) -> None:
        try:
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        except x509.ExtensionNotFound:
            constraints = None
        if constraints is None or not constraints.ca:
            raise AuthorityError(
                f"{self.where}: {self.certificate_path}: {certificate.subject.rfc4514_string()} is no CA's certificate"
            )
        if self.description.mode == "ownca" and certificate.subject != name(self.description.common_name):
            raise AuthorityError(
                f"{self.where}: {self.certificate_path} is of {certificate.subject.rfc4514_string()}, "
                f"wanted is CN={self.description.common_name}: "
                "give this federation a fedlearn_state of its own, or the authority another name"
            )

    def _certificate_of(self, key: PrivateKey, certificates: Iterable[x509.Certificate]) -> x509.Certificate:
        public = encoded(key.public_key())
        for certificate in certificates:
            if encoded(certificate.public_key()) == public:
                return certificate
        raise AuthorityError(
            f"{self.where}: {self.key_path} belongs to none of the certificates in "
            f"{self.certificate_path}: restore the one that fits"
        )


def bundle(certificates: Iterable[x509.Certificate]) -> str:
    """Certificates one after the other, in PEM form."""
    return "".join(pem(each) for each in certificates)


def _has_ended(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc <= datetime.now(UTC)


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
