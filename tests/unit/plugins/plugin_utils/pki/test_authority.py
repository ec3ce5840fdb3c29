# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A CA on its control node: what it signs, and what becomes of hostile requests, damage, and two runs at once."""

from __future__ import annotations

import base64
import ipaddress
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import AttributeOID, NameOID

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import openssl
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import (
    AuthorityDescription,
    Description,
    DescriptionError,
    describe,
    describe_authority,
)
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.files import FileTroubleError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.authority import Authority
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.signing import AuthorityError, proven_key

LAB = AuthorityDescription("lab", "lab", "ownca", "demo lab CA", 3650)
WEB = Description(
    "web", "demo", "present", "lab", "web.host1", ("web",), ("10.20.0.11",), ("server",), lifetime_days=90
)
CHALLENGE = "nonce web"
pytestmark = pytest.mark.usefixtures("now")
NOW = datetime.now(UTC).replace(microsecond=0)

Make = Callable[..., Authority]


@pytest.fixture
def authority(tmp_path: Path) -> Make:
    """An authority in a directory of its own, opened with a passphrase."""

    def made(passphrase: str = "p" * 64, **changes: Any) -> Authority:
        return Authority(replace(LAB, **changes), str(tmp_path / "state"), lambda: passphrase)

    return made


def request(key: Any = None, challenge: str = CHALLENGE, add: Callable[..., Any] = lambda builder: builder) -> str:
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, challenge)])
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    builder = add(x509.CertificateSigningRequestBuilder().subject_name(name))
    return str(builder.sign(key, digest).public_bytes(Encoding.PEM).decode())


def files_of(state: Path) -> dict[str, bytes]:
    return {str(path.relative_to(state)): path.read_bytes() for path in state.rglob("*") if path.is_file()}


# ... requests


def test_of_a_request_only_the_key_is_taken(authority: Make) -> None:
    """Whatever else a host writes into it: to be a CA, another's names, usages, extensions nobody knows."""

    def greedy(builder: Any) -> Any:
        return (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("scheduler"), x509.DNSName("*")]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.5.29.37.0")]), critical=False)
            .add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"x"), critical=True)
            .add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"x")
        )

    key = ec.generate_private_key(ec.SECP256R1())
    ca = authority()
    ca.make()
    signed = ca.sign(WEB, proven_key(request(key, add=greedy), CHALLENGE, WEB), NOW)
    assert signed.public_key() == key.public_key()
    assert signed.subject.rfc4514_string() == "CN=web.host1"
    issuer = ca.trust().issuer
    assert issuer is not None
    signed.verify_directly_issued_by(issuer)
    names = signed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["web", "10.20.0.11"]
    assert not signed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usages = signed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [usage._name for usage in usages] == ["serverAuth"]
    assert len(signed.extensions) == 6
    assert signed.not_valid_after_utc == NOW + timedelta(days=90)


def of_a_foreign_key() -> str:
    """Another host's public key put into a request that our own key signed."""
    own, foreign = (ec.generate_private_key(ec.SECP256R1()) for _count in range(2))
    der = x509.load_pem_x509_csr(request(own).encode()).public_bytes(Encoding.DER)
    encoded = [key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for key in (own, foreign)]
    assert der.count(encoded[0]) == 1
    text = base64.encodebytes(der.replace(*encoded)).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{text}-----END CERTIFICATE REQUEST-----\n"


REFUSED = {
    "foreign key": (of_a_foreign_key, "isn't signed by the key it carries"),
    "another run's": (lambda: request(challenge="earlier web"), "was not made in this run for this certificate"),
    "another certificate's": (lambda: request(challenge="nonce store"), "was not made in this run"),
    "more names": (
        lambda: request(
            add=lambda builder: x509.CertificateSigningRequestBuilder().subject_name(
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text) for text in (CHALLENGE, "x")])
            )
        ),
        "was not made in this run",
    ),
    "another curve": (lambda: request(ec.generate_private_key(ec.SECP384R1())), "another kind of key than ec-p256"),
    "rsa": (lambda: request(rsa.generate_private_key(65537, 2048)), "another kind of key than ec-p256"),
    "ed25519": (lambda: request(ed25519.Ed25519PrivateKey.generate()), "another kind of key than ec-p256"),
    "no request": (lambda: "x", "can't be read"),
    "no text": (lambda: None, "is no text of at most 16384 characters"),
    "no ASCII": (lambda: "\u00e9", "can't be read"),
    "huge": (lambda: "x" * 16385, "is no text of at most 16384 characters"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_request_that_is_not_to_be_trusted_is_refused(kind: str) -> None:
    make, message = REFUSED[kind]
    with pytest.raises(AuthorityError, match=f"^certificate web: the host's signing request .*{message}"):
        # what a host sends may be of any type, which is what is tried here
        proven_key(make(), CHALLENGE, WEB)  # type: ignore[no-untyped-call, arg-type]


def test_an_rsa_key_with_another_exponent_is_refused() -> None:
    description = replace(WEB, key_type="rsa-3072")
    with pytest.raises(AuthorityError, match="another exponent than 65537"):
        proven_key(request(rsa.generate_private_key(3, 3072)), CHALLENGE, description)


# ... time


@pytest.mark.parametrize(
    ("days", "message"),
    [
        (-1, "its certificate begins on .* UTC, and this control node's clock says .*: set the clock"),
        (-10_000, "its certificate begins on .*: set the clock"),
        (3651, "its certificate in .*lab.pem has ended on .*: change the CA"),
    ],
)
def test_nothing_is_signed_before_the_ca_begins_or_after_it_ends(authority: Make, days: int, message: str) -> None:
    ca = authority()
    ca.make()
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(AuthorityError, match=f"^authority lab of party lab: {message}"):
        ca.sign(WEB, key, NOW + timedelta(days=days))


def test_a_certificate_ends_with_its_ca(authority: Make) -> None:
    ca = authority(lifetime_days=30)
    ca.make()
    signed = ca.sign(WEB, ec.generate_private_key(ec.SECP256R1()).public_key(), NOW)
    assert signed.not_valid_after_utc == ca.signer()[1].not_valid_after_utc


# ... files


def test_what_it_makes_is_private_or_public(authority: Make, tmp_path: Path) -> None:
    authority().make()
    modes = {
        path: (tmp_path / "state" / path).stat().st_mode & 0o777 for path in (".ca/lab/lab.key", "public/lab/lab.pem")
    }
    assert modes == {".ca/lab/lab.key": 0o600, "public/lab/lab.pem": 0o644}
    assert (tmp_path / "state/.ca").stat().st_mode & 0o777 == 0o700
    assert b"ENCRYPTED" in files_of(tmp_path / "state")[".ca/lab/lab.key"]
    assert b"PRIVATE" not in files_of(tmp_path / "state")["public/lab/lab.pem"]


def test_forks_that_begin_at_once_make_one_ca(authority: Make) -> None:
    """Each host's task is a process of its own."""

    def make(answers: Any) -> None:
        ca = authority()
        if not ca.exists():
            ca.make()
        answers.put(ca.trust().bundle)

    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    forks = [context.Process(target=make, args=(answers,)) for _count in range(8)]
    for fork in forks:
        fork.start()
    bundles = {answers.get(timeout=60) for _fork in forks}
    for fork in forks:
        fork.join()
    assert len(bundles) == 1
    assert authority().signer()


@pytest.mark.parametrize("lost", ["public/lab/lab.pem", "public"])
def test_a_run_killed_before_the_certificate_was_written_is_finished_with_the_same_key(
    authority: Make, tmp_path: Path, lost: str
) -> None:
    authority().make()
    key = (tmp_path / "state/.ca/lab/lab.key").read_bytes()
    for path in sorted((tmp_path / "state" / lost).rglob("*"), reverse=True) or [tmp_path / "state" / lost]:
        path.rmdir() if path.is_dir() else path.unlink()
    (tmp_path / "state/public/lab").mkdir(parents=True, exist_ok=True)
    (tmp_path / "state/.ca/lab/.lab.key.0123456789ab.fedlearn-new").write_text("half a ke")
    (tmp_path / "state/public/lab/.lab.pem.0123456789ab.fedlearn-new").write_text("half a ce")
    authority().make()
    assert authority().signer()
    assert (tmp_path / "state/.ca/lab/lab.key").read_bytes() == key
    assert sorted(files_of(tmp_path / "state")) == [
        ".ca/lab/.lab.lock",
        ".ca/lab/lab.key",
        "public/lab/lab.crl.pem",
        "public/lab/lab.pem",
    ]


def chmod(state: Path) -> None:
    (state / ".ca/lab/lab.key").chmod(0o640)


def unencrypted(state: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (state / ".ca/lab/lab.key").write_bytes(content)


def truncated(state: Path) -> None:
    (state / ".ca/lab/lab.key").write_bytes((state / ".ca/lab/lab.key").read_bytes()[:150])


def link(state: Path) -> None:
    (state / ".ca/lab/lab.key").rename(state / "elsewhere")
    (state / ".ca/lab/lab.key").symlink_to(state / "elsewhere")


def of_another(state: Path) -> None:
    other = Authority(LAB, str(state / "other"), lambda: "p" * 64)
    other.make()
    (state / "other/.ca/lab/lab.key").rename(state / ".ca/lab/lab.key")


def linked_folder(state: Path) -> None:
    (state / ".ca").rename(state / "elsewhere")
    (state / ".ca").symlink_to(state / "elsewhere")


def others_folder(state: Path) -> None:
    (state / ".ca").chmod(0o777)


KEYS: dict[Callable[[Path], None], str] = {
    chmod: "lab.key has mode 0640, so others can read it: chmod 0600 it, and change the CA if somebody may have",
    unencrypted: "lab.key isn't encrypted: encrypt it with the secret, or begin a new CA",
    truncated: "the secret ca_lab doesn't open .*lab.key: they are of different age, or the file is damaged; restore",
    link: "lab.key is a symbolic link; a regular file belongs there: remove the link",
    of_another: "lab.key belongs to none of the certificates in .*lab.pem: restore the one that fits",
    linked_folder: r"\.ca is a symbolic link; a real directory belongs there: remove the link",
    others_folder: r"\.ca can be written to by others \(mode 0777\): chmod go-w",
}


@pytest.mark.parametrize("damage", KEYS, ids=lambda damage: damage.__name__)
def test_a_key_that_may_not_be_used_signs_nothing_and_stays(
    authority: Make, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    authority().make()
    damage(tmp_path / "state")
    before = files_of(tmp_path / "state")
    with pytest.raises((AuthorityError, FileTroubleError), match=KEYS[damage]):
        authority().sign(WEB, ec.generate_private_key(ec.SECP256R1()).public_key(), NOW)
    with pytest.raises((AuthorityError, FileTroubleError), match=KEYS[damage]):
        authority().prove()
    assert files_of(tmp_path / "state") == before


def test_another_passphrase_opens_nothing(authority: Make) -> None:
    authority().make()
    with pytest.raises(AuthorityError, match="the secret ca_lab doesn't open"):
        authority("q" * 64).signer()


def test_a_certificate_whose_key_is_lost_is_not_replaced(authority: Make, tmp_path: Path) -> None:
    authority().make()
    (tmp_path / "state/.ca/lab/lab.key").unlink()
    before = files_of(tmp_path / "state")
    with pytest.raises(AuthorityError, match=r"is there, but its key .* is not: bring .* together .*, or move"):
        authority().make()
    assert files_of(tmp_path / "state") == before


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@pytest.mark.parametrize("mode", ["ownca", "external"])
def test_a_certificate_with_a_wrong_byte_anywhere_is_read_or_refused_in_words(
    authority: Make, tmp_path: Path, mode: str
) -> None:
    """A partner's file is a stranger's; nothing else than the two errors that a task shows as one line is raised."""
    authority().make()
    path = tmp_path / "state/public/lab/lab.pem"
    der = x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)
    said = []
    for place in range(len(der)):
        damaged = der[:place] + bytes([der[place] ^ 0x20]) + der[place + 1 :]
        text = base64.encodebytes(damaged).decode()
        path.write_text(f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n")
        try:
            authority(mode=mode, ca=str(path)).trust()
        except AuthorityError as error:
            said.append(str(error))
    assert len(said) > 100
    assert [one for one in said if "restore it" not in one and "is no CA's" not in one and "wanted is" not in one] == []


def test_a_certificate_that_lies_elsewhere_is_of_a_ca_that_was_made(authority: Make, tmp_path: Path) -> None:
    published = tmp_path / "clone/public/lab/lab.pem"
    published.parent.mkdir(parents=True)
    published.touch()
    ca = authority(published=(str(tmp_path / "none"), str(published)))
    for use in (ca.exists, ca.make, ca.prove):
        with pytest.raises(AuthorityError, match=f"{published} is there, but its key .*/state/.ca/lab/lab.key is not"):
            use()
    assert sorted(files_of(tmp_path / "state")) in ([], [".ca/lab/.lab.lock"])
    authority().make()
    assert ca.exists()


def end(authority: Make, tmp_path: Path, *days: int) -> Authority:
    """An external authority whose file has CAs that end so many days from now."""
    bundle = b""
    for number, each in enumerate(days):
        made = Authority(replace(LAB, lifetime_days=40), str(tmp_path / str(number)), lambda: "p" * 64)
        made.make()
        issuer = made.signer()[1]
        begin, end_ = NOW + timedelta(days=each - 30), NOW + timedelta(days=each)
        builder = x509.CertificateBuilder(issuer.issuer, issuer.subject, issuer.public_key(), number + 1, begin, end_)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        bundle += builder.sign(made.signer()[0], hashes.SHA256()).public_bytes(Encoding.PEM)
    (tmp_path / "partner.pem").write_bytes(bundle)
    return authority(mode="external", ca=str(tmp_path / "partner.pem"))


def test_a_partner_s_certificate_is_fit_to_be_trusted(authority: Make, tmp_path: Path) -> None:
    end(authority, tmp_path, 10).prove_trust()
    end(authority, tmp_path, -10, 10).prove_trust()  # during a change of the CA
    with pytest.raises(AuthorityError, match=r"partner.pem has ended on .*: ask the party for the one that followed"):
        end(authority, tmp_path, -10, -5).prove_trust()
    with pytest.raises(AuthorityError, match=r"its certificate begins on .*: set the clock"):
        end(authority, tmp_path, 60).prove_trust()
    (tmp_path / "partner.pem").unlink()
    with pytest.raises(AuthorityError, match=r"partner.pem is missing: ask the party for its CA certificate"):
        authority(mode="external", ca=str(tmp_path / "partner.pem")).prove_trust()


def test_a_partner_s_file_with_a_key_in_it_is_refused(authority: Make, tmp_path: Path) -> None:
    authority().make()
    both = b"".join((tmp_path / "state" / path).read_bytes() for path in (".ca/lab/lab.key", "public/lab/lab.pem"))
    (tmp_path / "both.pem").write_bytes(both)
    with pytest.raises(AuthorityError, match=r"both.pem holds a private key, .*: take it out, and tell the party"):
        authority(mode="external", ca=str(tmp_path / "both.pem")).prove_trust()


NO_CERTIFICATES = {
    "empty": b"",
    "zeros": b"\0" * 100,
    "short": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
}


@pytest.mark.parametrize("content", NO_CERTIFICATES.values(), ids=NO_CERTIFICATES)
def test_what_is_no_certificate_is_refused(authority: Make, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(AuthorityError, match=r"/ca.pem holds no certificate in PEM form, or a damaged one \("):
        authority(mode="external", ca=str(tmp_path / "ca.pem")).trust()


def test_only_certificates_go_to_hosts(authority: Make, tmp_path: Path) -> None:
    """Somebody's file with the key in it, too."""
    authority().make()
    both = b"".join((tmp_path / "state" / path).read_bytes() for path in (".ca/lab/lab.key", "public/lab/lab.pem"))
    (tmp_path / "both.pem").write_bytes(b"# ours\n" + both)
    bundle = authority(mode="external", ca=str(tmp_path / "both.pem")).trust().bundle
    assert bundle == (tmp_path / "state/public/lab/lab.pem").read_text()


@pytest.mark.parametrize(("path", "message"), [("/dev/zero", "is no regular file"), ("/tmp", "is no regular file")])
def test_what_is_no_file_is_not_read(authority: Make, path: str, message: str) -> None:
    with pytest.raises(FileTroubleError, match=message):
        authority(mode="external", ca=path).trust()


def test_a_state_directory_that_is_a_file_is_told(authority: Make, tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(AuthorityError, match=r"^authority lab of party lab: .*/state can't be written: File exists"):
        authority().make()


BAD_NAMES = ["../x", "a/b", ".", "..", "a\n", "A", "", "a" * 129, "-a", "a.b", "a\0", "\u0430"]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("key", ["name", "party"])
def test_no_name_leads_elsewhere(key: str, name: str) -> None:
    options = {"name": "lab", "party": "lab", "mode": "ownca", "common_name": "x", "lifetime_days": 10}
    with pytest.raises(DescriptionError, match=r"^authority .*a name has lower-case letters"):
        describe_authority({**options, key: name})


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("key", ["name", "federation", "authority"])
def test_no_certificate_s_name_leads_elsewhere(key: str, name: str) -> None:
    options = {"name": "web", "federation": "demo", "authority": "lab", "state": "present", "trust": []}
    with pytest.raises(DescriptionError, match=r"^certificate .*a name has lower-case letters"):
        describe({**options, key: name})


# ... what a CA may certify

LIMITS = {"permitted_names": ("lab.example",), "permitted_networks": ("10.20.0.0/16",)}
INSIDE = replace(WEB, dns_names=("web.lab.example",), addresses=("10.20.0.11", "127.0.0.1"))


def test_what_it_may_certify_stands_in_its_certificate_and_who_verifies_holds_it_to_that(authority: Make) -> None:
    ca = authority(**LIMITS)
    ca.make()
    issuer = ca.trust().issuer
    assert issuer is not None
    assert issuer.extensions.get_extension_for_class(x509.NameConstraints).critical
    good = ca.sign(INSIDE, ec.generate_private_key(ec.SECP256R1()).public_key(), NOW)
    pem = good.public_bytes(Encoding.PEM)
    assert openssl.verify(pem, ca.trust().issuer_pem.encode(), ("server",)) is None
    # a key that was taken signs what it likes
    key, _certificate = ca.signer()
    for wrong in (x509.DNSName("bank.example"), x509.IPAddress(ipaddress.ip_address("10.21.0.1"))):
        builder = x509.CertificateBuilder(issuer.subject, good.subject, good.public_key(), 7)
        builder = builder.not_valid_before(good.not_valid_before_utc).not_valid_after(good.not_valid_after_utc)
        for extension in good.extensions:
            names = isinstance(extension.value, x509.SubjectAlternativeName)
            value = x509.SubjectAlternativeName([wrong]) if names else extension.value
            builder = builder.add_extension(value, extension.critical)
        forged = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        assert "permitted subtree violation" in str(openssl.verify(forged, ca.trust().issuer_pem.encode(), ("server",)))


@pytest.mark.parametrize("changed", [{"dns_names": ("web",)}, {"addresses": ("10.21.0.1",)}, {"addresses": ("::2",)}])
def test_it_signs_nothing_outside(authority: Make, changed: dict[str, Any]) -> None:
    ca = authority(**LIMITS)
    ca.make()
    outside = next(iter(changed.values()))[0]
    with pytest.raises(
        AuthorityError, match=f"certificate web: authority lab of party lab isn't permitted to certify {outside}"
    ):
        ca.sign(replace(INSIDE, **changed), ec.generate_private_key(ec.SECP256R1()).public_key(), NOW)


@pytest.mark.parametrize("common_name", ["web.bank.example", "web"])
def test_a_common_name_that_stands_for_a_dns_name_is_inside_too(authority: Make, common_name: str) -> None:
    """Who verifies takes it for one where there is no other, so a client's certificate would be worth nothing."""
    ca = authority(**LIMITS)
    ca.make()
    client = replace(INSIDE, common_name=common_name, dns_names=(), addresses=(), usages=("client",))
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    if "." in common_name:
        with pytest.raises(AuthorityError, match=r"isn't permitted to certify web\.bank\.example"):
            ca.sign(client, key, NOW)
    else:
        signed = ca.sign(client, key, NOW).public_bytes(Encoding.PEM)
        assert openssl.verify(signed, ca.trust().issuer_pem.encode(), ("client",)) is None


def test_a_ca_that_was_made_for_something_else_is_told(authority: Make) -> None:
    authority().make()
    for ca, look in ((authority(**LIMITS), "trust"), (authority(**LIMITS), "signer"), (authority(**LIMITS), "prove")):
        with pytest.raises(AuthorityError, match="says otherwise than permitted_names and permitted_networks"):
            getattr(ca, look)()
    assert authority().trust().issuer is not None
