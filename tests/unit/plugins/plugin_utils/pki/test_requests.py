# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests for others to sign: what a host sends is believed only as described, and an answer only for its request."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import openssl
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import AuthorityDescription, Description
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.authority import Authority
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.requests import Desk, Waiting, read_request
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.signing import AuthorityError
from tests.unit.plugins.module_utils.test_provided import Organisation

WEB = Description("web", "demo", "present", "lab", "web.h1", ("web", "*.lab.example"), ("10.2.0.1", "fd00::7"))
NAMES = ["web", "*.lab.example"]
ADDRESSES = ["10.2.0.1", "fd00::7"]
NOW = datetime.now(UTC)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
KEY = ec.generate_private_key(ec.SECP256R1())


def _subject(*names: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])


def request(
    key: Key = KEY,
    subject: tuple[str, ...] = ("web.h1",),
    names: list[x509.GeneralName] | None = None,
    usages: list[x509.ObjectIdentifier] | None = None,
    more: x509.ExtensionType | None = None,
) -> str:
    described = [x509.DNSName(each) for each in NAMES]
    described += [x509.IPAddress(ipaddress.ip_address(each)) for each in ADDRESSES]
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_subject(*subject))
        .add_extension(x509.SubjectAlternativeName(described if names is None else names), False)
        .add_extension(x509.ExtendedKeyUsage(usages or [ExtendedKeyUsageOID.SERVER_AUTH]), False)
    )
    if more is not None:
        builder = builder.add_extension(more, False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def answer(key: Key = KEY, days: float = 90, begun: float = 0) -> bytes:
    begin = NOW - timedelta(days=begun)
    builder = x509.CertificateBuilder(_subject("CA"), _subject("web.h1"), key.public_key(), 7)
    builder = builder.not_valid_before(begin).not_valid_after(begin + timedelta(days=days))
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.PEM)


def test_what_a_host_asks_for_by_openssl_is_what_is_described(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(openssl.generate_key("ec-p256"))
    for usages in (("server",), ("client",), ("server", "client")):
        wanted = Description("web", "demo", "present", "lab", "a b.c_@:-1", WEB.dns_names, WEB.addresses, usages)
        assert read_request(wanted, openssl.certificate_request(str(key), wanted)).is_signature_valid
    nameless = Description("web", "demo", "present", "lab", "web", usages=("client",))
    assert read_request(nameless, openssl.certificate_request(str(key), nameless))


UNTRUSTED = {
    "no text": (None, "is no text of at most 16384 characters"),
    "too long": ("x" * 16385, "is no text of at most 16384 characters"),
    "no request": ("x", "can't be read"),
    "a certificate": (answer().decode(), "can't be read"),
    "another name": (request(subject=("root",)), "asks for another subject than described: root"),
    "two names": (request(subject=("web.h1", "root")), "asks for another subject than described: web.h1, root"),
    "one more DNS name": (
        request(names=[*(x509.DNSName(each) for each in NAMES), x509.DNSName("bank.example")]),
        r"asks for other dns_names than described: \*\.lab\.example, bank\.example, web",
    ),
    "another address": (
        request(names=[*(x509.DNSName(each) for each in NAMES), x509.IPAddress(ipaddress.ip_address("10.9.9.9"))]),
        r"asks for other addresses than described: 10\.9\.9\.9",
    ),
    "a mail address": (
        request(
            names=[
                *(x509.DNSName(each) for each in NAMES),
                *(x509.IPAddress(ipaddress.ip_address(each)) for each in ADDRESSES),
                x509.RFC822Name("root@bank.example"),
            ]
        ),
        "asks for more than described: .*root@bank",
    ),
    "another usage": (
        request(usages=[ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CODE_SIGNING]),
        "asks for other usages than described",
    ),
    "to be a CA": (request(more=x509.BasicConstraints(True, None)), r"asks for more than described: 2\.5\.29\.19"),
    "another kind of key": (
        request(key=ec.generate_private_key(ec.SECP384R1())),
        "carries another kind of key than ec-p256",
    ),
}


@pytest.mark.parametrize("case", UNTRUSTED)
def test_a_request_that_says_anything_else_is_refused_and_not_laid_out(tmp_path: Path, case: str) -> None:
    pem, reason = UNTRUSTED[case]
    with pytest.raises(AuthorityError, match=f"certificate web: the host's signing request {reason}"):
        Desk(str(tmp_path), "lab", "h1").exchange(WEB, pem, NOW)
    assert list(tmp_path.iterdir()) == []


def test_a_request_waits_where_it_was_laid_until_its_answer_is_there(tmp_path: Path) -> None:
    desk = Desk(str(tmp_path), "lab", "h1")
    assert desk.told(WEB) == ""
    waiting = desk.exchange(WEB, request() + "whatever a host adds\n", NOW)
    assert isinstance(waiting, Waiting)
    assert waiting.laid
    laid = Path(waiting.request)
    assert laid.relative_to(tmp_path).as_posix() == "public/lab/requests/h1/web.csr"
    assert "whatever" not in laid.read_text()
    assert (
        str(waiting) == f"waits to be signed: the request is {laid}, and the certificate belongs into {waiting.answer}"
    )
    assert desk.told(WEB) == str(waiting)
    before = laid.read_bytes()
    again = desk.exchange(WEB, request(), NOW)
    assert isinstance(again, Waiting)
    assert (again.laid, laid.read_bytes()) == (False, before)
    Path(waiting.answer).write_bytes(answer())
    assert desk.told(WEB) == ""
    assert desk.exchange(WEB, request(), NOW) == answer_of(waiting)
    due = desk.exchange(WEB, request(), NOW + timedelta(days=61))
    assert str(due) == f"{waiting} (a third of the lifetime of the one there is left, or less)"


def answer_of(waiting: Waiting) -> bytes:
    return Path(waiting.answer).read_bytes()


def test_a_new_key_is_a_new_request_and_sets_the_former_answer_aside(tmp_path: Path) -> None:
    desk = Desk(str(tmp_path), "lab", "h1")
    waiting = desk.exchange(WEB, request(), NOW)
    assert isinstance(waiting, Waiting)
    Path(waiting.answer).write_bytes(answer())
    again = desk.exchange(WEB, request(key=ec.generate_private_key(ec.SECP256R1())), NOW)
    assert isinstance(again, Waiting)
    assert again.laid
    assert sorted(path.name for path in Path(waiting.request).parent.iterdir()) == ["web.csr", "web.pem.former"]


def signed(
    names: list[str] | None = None, usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH, **changed: Any
) -> tuple[bytes, bytes]:
    """A whole answer and its CA's certificate; ``by`` another CA, ``over`` days ago."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    begin, over = NOW - timedelta(days=400), changed.get("over")
    root = x509.CertificateBuilder(_subject("CA"), _subject("CA"), ca_key.public_key(), 1)
    root = root.not_valid_before(begin).not_valid_after(NOW + timedelta(days=400))
    ca = root.add_extension(x509.BasicConstraints(True, None), True).sign(ca_key, hashes.SHA256())
    ends = NOW - timedelta(days=over) if over else NOW + timedelta(days=90)
    builder = x509.CertificateBuilder(_subject("CA"), _subject("web.h1"), KEY.public_key(), 7)
    builder = builder.not_valid_before(begin).not_valid_after(ends)
    found: list[x509.GeneralName] = [x509.DNSName(each) for each in (NAMES if names is None else names)]
    found += [x509.IPAddress(ipaddress.ip_address(each)) for each in ADDRESSES]
    builder = builder.add_extension(x509.SubjectAlternativeName(found), False)
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), False)
    signer = ec.generate_private_key(ec.SECP256R1()) if changed.get("by_another") else ca_key
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM), ca.public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (signed(), ""),
        (signed(names=["web", "x.lab.example", "*.lab.example", "more.example"]), ""),
        (
            signed(over=10),
            f"it has ended on {NOW - timedelta(days=10):%Y-%m-%d}: have the request beside it signed again",
        ),
        (signed(names=["web"]), r"it lacks \*.lab.example \(has web, 10.2.0.1, fd00::7\)"),
        (signed(usage=ExtendedKeyUsageOID.CLIENT_AUTH), "it isn't for the usage server"),
        (signed(by_another=True), "doesn't lead to the CA in "),
    ],
    ids=["right", "more names", "ended", "a name less", "another usage", "another CA"],
)
def test_an_answer_is_proven_before_any_host_is_touched(
    tmp_path: Path, given: tuple[bytes, bytes], reason: str
) -> None:
    content, ca = given
    (tmp_path / "ca.pem").write_bytes(ca)
    description = AuthorityDescription("lab", "lab", "csr", "", ca=str(tmp_path / "ca.pem"))
    authority, desk = Authority(description, str(tmp_path), str), Desk(str(tmp_path), "lab", "h1")
    desk.prove(WEB, authority, NOW)  # nobody has asked yet
    waiting = desk.exchange(WEB, request(), NOW)
    assert isinstance(waiting, Waiting)
    desk.prove(WEB, authority, NOW)  # nobody has answered yet
    Path(waiting.answer).write_bytes(content)
    if not reason:
        desk.prove(WEB, authority, NOW)
        return
    with pytest.raises(AuthorityError, match=f"certificate web: {waiting.answer}:? {reason}"):
        desk.prove(WEB, authority, NOW)


def test_an_answer_may_bring_what_leads_to_the_ca(tmp_path: Path) -> None:
    organisation = Organisation()
    (tmp_path / "ca.pem").write_bytes(organisation.root)
    description = AuthorityDescription("lab", "lab", "csr", "", ca=str(tmp_path / "ca.pem"))
    authority = Authority(description, str(tmp_path), str)
    leaf, between = x509.load_pem_x509_certificates(organisation.issue(KEY))
    assert authority.signs(leaf, [between])
    assert authority.signs(leaf, [between, between, leaf])
    assert not authority.signs(leaf, [])


PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (answer(ec.generate_private_key(ec.SECP256R1())), "was signed for another key than that of the request beside"),
        (answer() + PRIVATE, "holds a private key, and keys stay on their hosts: take it out"),
        (b"signed, thanks", "holds no certificate in PEM form"),
        (b"", "holds no certificate in PEM form"),
    ],
    ids=["another key", "a private key", "text", "nothing"],
)
def test_an_answer_that_does_not_fit_its_request_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    desk = Desk(str(tmp_path), "lab", "h1")
    waiting = desk.exchange(WEB, request(), NOW)
    assert isinstance(waiting, Waiting)
    Path(waiting.answer).write_bytes(content)
    with pytest.raises(AuthorityError, match=f"certificate web: .*web.pem {reason}"):
        desk.exchange(WEB, request(), NOW)
