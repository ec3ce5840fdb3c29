# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists of a CA whose key lies elsewhere: hosts get them as they are, and never one that isn't that CA's."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import der
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import (
    AuthorityDescription,
    DescriptionError,
    describe_authority,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.authority import Authority
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.signing import AuthorityError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.sources import problems

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


class TheirCA:
    """Somebody's CA, and the lists that it signs."""

    def __init__(self, name: str = "theirs", ends: datetime = NOW + 365 * DAY) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder(self.name, self.name, self.key.public_key(), 1)
        builder = builder.not_valid_before(NOW - DAY).not_valid_after(ends)
        made = builder.add_extension(x509.BasicConstraints(True, None), True).sign(self.key, hashes.SHA256())
        self.pem = made.public_bytes(Encoding.PEM)

    def list(self, begins: datetime = NOW - DAY, ends: datetime = NOW + 30 * DAY, *, empty: bool = False) -> bytes:
        builder = x509.CertificateRevocationListBuilder(self.name, begins, ends)
        if not empty:
            builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(0xBAD, begins).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)


THEIRS, ISSUING, STRANGER = TheirCA(), TheirCA("issuing"), TheirCA()


def authority(folder: Path, ca: bytes, crl: bytes | None, mode: str = "csr") -> Authority:
    (folder / "ca.pem").write_bytes(ca)
    if crl is not None:
        (folder / "crl.pem").write_bytes(crl)
    described = AuthorityDescription("lab", "lab", mode, "", ca=f"{folder}/ca.pem", crl=f"{folder}/crl.pem")
    return Authority(described, str(folder), str)


@pytest.mark.parametrize("mode", ["csr", "provided", "external"])
def test_hosts_get_their_list_whole_and_are_told_when_it_ends(tmp_path: Path, mode: str) -> None:
    found = authority(tmp_path, THEIRS.pem, b"some words\n" + THEIRS.list(), mode)
    assert problems([found], {}, lambda *_asked: None) == []
    crl = found.trust().crl.encode()
    [block] = der.blocks(crl, der.LIST)
    assert der.list_end(block) == int((NOW + 30 * DAY).timestamp())
    assert 0xBAD in {each.serial_number for each in x509.load_pem_x509_crl(crl)}


def test_a_list_may_name_nobody(tmp_path: Path) -> None:
    found = authority(tmp_path, THEIRS.pem, THEIRS.list(empty=True))
    assert problems([found], {}, lambda *_asked: None) == []
    assert len(x509.load_pem_x509_crl(found.trust().crl.encode())) == 0


def test_of_several_certificates_each_has_a_list_in_whatever_order(tmp_path: Path) -> None:
    found = authority(tmp_path, THEIRS.pem + ISSUING.pem, ISSUING.list() + THEIRS.list())
    assert found.trust().crl.count("BEGIN X509 CRL") == 2


REFUSED = {
    "no file": (THEIRS.pem, None, "is missing: ask the party for its list of withdrawn certificates"),
    "no list": (THEIRS.pem, THEIRS.pem, "holds no list of withdrawn certificates in PEM form"),
    "of a CA that is called the same": (
        THEIRS.pem,
        STRANGER.list(),
        "the list of CN=theirs is signed by none of the certificates in ",
    ),
    "a stranger's beside theirs": (
        THEIRS.pem,
        THEIRS.list() + STRANGER.list(),
        "the list of CN=theirs is signed by none of the certificates in ",
    ),
    "one of two": (THEIRS.pem + ISSUING.pem, THEIRS.list(), "has no list of CN=issuing, and who reads lists refuses"),
    "ended": (
        THEIRS.pem,
        THEIRS.list(NOW - 9 * DAY, NOW - DAY),
        f"the list of CN=theirs has ended on {NOW - DAY:%Y-%m-%d}, and who reads it lets nobody in any more",
    ),
    "not begun": (THEIRS.pem, THEIRS.list(NOW + DAY, NOW + 2 * DAY), "the list of CN=theirs begins on "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_list_that_nobody_could_rely_on_is_refused_before_any_host_is_touched(tmp_path: Path, case: str) -> None:
    ca, crl, reason = REFUSED[case]
    found = authority(tmp_path, ca, crl)
    [told] = problems([found], {}, lambda *_asked: None)
    assert told.startswith(f"authority lab of party lab: {tmp_path}/crl.pem")
    assert reason in told
    with pytest.raises(AuthorityError):
        found.trust()


def test_a_byte_that_was_changed_is_noticed(tmp_path: Path) -> None:
    content = bytearray(THEIRS.list())
    block = bytearray(der.blocks(bytes(content), der.LIST)[0])
    block[-1] ^= 1
    damaged = x509.load_der_x509_crl(bytes(block)).public_bytes(Encoding.PEM)
    assert "is signed by none" in problems([authority(tmp_path, THEIRS.pem, damaged)], {}, lambda *_asked: None)[0]


@pytest.mark.parametrize("mode", ["ownca", "acme"])
def test_who_signs_here_or_for_servers_only_takes_none(mode: str) -> None:
    asked = {"acme": {"directory": "https://acme.example/dir", "challenge": "http-01"}} if mode == "acme" else {}
    said = {
        "name": "lab",
        "party": "lab",
        "mode": mode,
        "common_name": "lab",
        "lifetime_days": 1,
        "crl": "/srv/crl.pem",
    }
    with pytest.raises(DescriptionError, match=f"not of mode {mode}"):
        describe_authority({**said, **asked})


# ... of a partner, which come anew from time to time

ACCEPTED = {
    "the first": (THEIRS.list(), b""),
    "the same again": (THEIRS.list(NOW - DAY), THEIRS.list(NOW - DAY)),
    "a newer one": (THEIRS.list(NOW - DAY), THEIRS.list(NOW - 2 * DAY)),
    "of a CA that has changed": (THEIRS.list(NOW - 2 * DAY), STRANGER.list(NOW - DAY)),
    "after a file that was damaged here": (THEIRS.list(), b"-----BEGIN X509 CRL-----\nno"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_partner_s_list_follows_the_one_that_was_taken(tmp_path: Path, case: str) -> None:
    authority(tmp_path, THEIRS.pem, None, "external").prove_follows(THEIRS.pem, *ACCEPTED[case])


PUT_BACK = {
    "an older one": (THEIRS.list(NOW - 2 * DAY), THEIRS.list(NOW - DAY), "is older than what was taken: it has number"),
    "of the same time without somebody": (
        THEIRS.list(NOW - DAY, empty=True),
        THEIRS.list(NOW - DAY),
        "somebody put a former one back: ask the party for its newest",
    ),
    "of another CA": (STRANGER.list(), THEIRS.list(), "is signed by none of the certificates in"),
    "the former one beside a stranger's": (THEIRS.list() + STRANGER.list(), THEIRS.list(), "is signed by none of"),
    "cut off": (THEIRS.list()[:-30], THEIRS.list(), "holds no list of withdrawn certificates in PEM form"),
    "nothing": (b"", THEIRS.list(), "holds no list of withdrawn certificates in PEM form"),
    "ended": (THEIRS.list(NOW - 9 * DAY, NOW - DAY), b"", "has ended on "),
}


@pytest.mark.parametrize("case", PUT_BACK)
def test_a_partner_s_list_that_won_t_do_is_refused(tmp_path: Path, case: str) -> None:
    came, former, reason = PUT_BACK[case]
    with pytest.raises(AuthorityError, match=re.escape(reason)):
        authority(tmp_path, THEIRS.pem, None, "external").prove_follows(THEIRS.pem, came, former)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(THEIRS.list()) - 1), st.integers(0, 255))
def test_whatever_byte_is_changed_a_list_is_refused_or_says_the_same(tmp_path: Path, place: int, byte: int) -> None:
    said = THEIRS.list(NOW - DAY)
    [right] = der.blocks(said, der.LIST)
    block = bytearray(right)
    block[place % len(block)] = byte
    came = b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(block) + b"-----END X509 CRL-----\n"
    found = authority(tmp_path, THEIRS.pem, None, "external")
    if bytes(block) == right:
        found.prove_follows(THEIRS.pem, came, said)
        return
    with pytest.raises(AuthorityError):
        found.prove_follows(THEIRS.pem, came, said)


def test_of_a_certificate_that_has_ended_nobody_needs_a_list(tmp_path: Path) -> None:
    """As at the end of a change of CAs: who is vouched for by that one comes in nowhere."""
    gone = TheirCA("gone", ends=NOW - DAY / 2)
    both = gone.pem + THEIRS.pem
    for lists in (THEIRS.list(), THEIRS.list() + gone.list(NOW - 2 * DAY, NOW - DAY / 2)):
        found = authority(tmp_path, both, lists, "external")
        found.prove_follows(both, lists, b"")
        assert found.trust().crl
