# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an authority withdraws: whom, when, and what the list says of it, asked of openssl."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import der
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import AuthorityDescription, Description
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki import revocation
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.authority import Authority
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.register import (
    Issued,
    Leaving,
    Register,
    RegisterError,
    written,
)

LAB = AuthorityDescription("lab", "lab", "ownca", "demo lab CA")
WEB = Description("web", "demo", "present", "lab", "web", usages=("client",))
pytestmark = pytest.mark.usefixtures("now")
NOW = datetime.now(UTC).replace(microsecond=0)
THEIRS = ec.generate_private_key(ec.SECP256R1())
Make = Callable[..., Authority]


@pytest.fixture
def authority(tmp_path: Path) -> Make:
    """The one authority of a state directory, as each run opens it anew; it counts how often its key is opened."""

    def made(**changes: Any) -> Authority:
        return Authority(replace(LAB, **changes), str(tmp_path), lambda: "p" * 64)

    made().make()
    return made


def issue(authority: Authority, host: str, name: str = "web", lifetime_days: int = 397) -> x509.Certificate:
    described = replace(WEB, name=name, lifetime_days=lifetime_days)
    certificate = authority.sign(described, ec.generate_private_key(ec.SECP256R1()).public_key(), NOW)
    authority.note(host, [(described, certificate)], NOW)
    return certificate


def the_list(authority: Authority) -> x509.CertificateRevocationList:
    [found] = revocation.read(Path(authority.crl_path).read_bytes())
    return found


def listed(authority: Authority) -> set[int]:
    return {each.serial_number for each in the_list(authority)}


def accepted(authority: Authority, certificate: x509.Certificate, folder: Path) -> bool:
    """Whether openssl takes a certificate with the whole chain checked against the list, as nginx and PostgreSQL do."""
    leaf = folder / "leaf.pem"
    leaf.write_bytes(certificate.public_bytes(Encoding.PEM))
    files = ["-CAfile", authority.certificate_path, "-CRLfile", authority.crl_path]
    return not subprocess.run(
        ["openssl", "verify", "-crl_check_all", "-x509_strict", *files, str(leaf)], capture_output=True, check=False
    ).returncode


def test_a_new_authority_has_a_list_that_refuses_nobody(authority: Make, tmp_path: Path) -> None:
    lab = authority()
    assert listed(lab) == set()
    assert lab.trust().crl == Path(lab.crl_path).read_text()
    assert accepted(lab, issue(lab, "ms1"), tmp_path)


def test_a_list_ends_with_its_ca_so_beyond_all_that_was_signed(authority: Make) -> None:
    lab = authority()
    last = issue(lab, "ms1", lifetime_days=36500)
    issuer = lab.trust().issuer
    assert issuer
    ends = the_list(lab).next_update_utc
    assert ends == issuer.not_valid_after_utc
    assert ends is not None
    assert ends >= last.not_valid_after_utc
    [block] = der.blocks(Path(lab.crl_path).read_bytes(), der.LIST)
    assert der.list_end(block) == int(ends.timestamp())


def test_a_list_begins_before_it_was_made_so_that_late_clocks_take_it(authority: Make) -> None:
    before = datetime.now(UTC)
    lab = authority()
    issue(lab, "ms1")
    lab.withdraw(Leaving("ms1", expected=[]), before)
    issuer = lab.trust().issuer
    assert issuer
    begins = the_list(lab).last_update_utc
    assert issuer.not_valid_before_utc <= begins <= before - timedelta(seconds=600)


@pytest.mark.parametrize(
    ("leaving", "gone"),
    [
        (Leaving("ms1"), set()),
        (Leaving("ms1", absent={("demo", "web")}), {"web of ms1"}),
        (Leaving("ms1", absent={("other", "web")}), set()),
        (Leaving("ms1", expected=["web", "store"]), set()),
        (Leaving("ms1", expected=["store"]), {"web of ms1"}),
        (Leaving("ms1", expected=[]), {"web of ms1", "store of ms1"}),
        (Leaving("ms2", expected=[]), {"web of ms2"}),
        (Leaving("ms1", hosts=["ms1", "ms2"]), set()),
        (Leaving("ms1", hosts=["ms1"]), {"web of ms2"}),
        (Leaving("ms1", expected=["web"], hosts=["ms1"]), {"store of ms1", "web of ms2"}),
    ],
)
def test_who_leaves_is_withdrawn_and_nobody_else(
    authority: Make, tmp_path: Path, leaving: Leaving, gone: set[str]
) -> None:
    lab = authority()
    had = {f"{name} of {host}": issue(lab, host, name) for name, host in (("web", "ms1"), ("store", "ms1"))}
    had["web of ms2"] = issue(lab, "ms2")
    assert {str(each).partition(",")[0] for each in lab.withdraw(leaving, NOW, check=True)} == gone
    assert listed(lab) == set()
    assert {str(each).partition(",")[0] for each in lab.withdraw(leaving, NOW)} == gone
    assert listed(lab) == {had[name].serial_number for name in gone}
    assert {name for name, certificate in had.items() if not accepted(lab, certificate, tmp_path)} == gone


def test_withdrawing_again_finds_nothing_and_signs_nothing(authority: Make) -> None:
    lab = authority()
    issue(lab, "ms1")
    assert lab.withdraw(Leaving("ms1", expected=[]), NOW)
    before = Path(lab.crl_path).stat()
    assert authority().withdraw(Leaving("ms1", expected=[]), NOW) == []
    assert Path(lab.crl_path).stat().st_ino == before.st_ino


def test_one_that_comes_back_is_told_what_it_mustnt_have_any_more(authority: Make) -> None:
    lab = authority()
    former = issue(lab, "ms1")
    lab.withdraw(Leaving("ms1", expected=[]), NOW)
    assert lab.revoked("ms1") == {"web": [written(former.serial_number)]}
    assert lab.revoked("ms2") == {}
    issue(lab, "ms1")
    assert lab.withdraw(Leaving("ms1", expected=["web"]), NOW) == []


def test_numbers_that_are_named_are_withdrawn_known_or_not(authority: Make, tmp_path: Path) -> None:
    lab = authority()
    known, unknown = issue(lab, "ms1"), 0xABCDE
    numbers = (f"{known.serial_number:x}", f"{unknown:x}")
    found = authority(revoked=numbers).withdraw(Leaving("ms2"), NOW)
    assert sorted(str(each) for each in found) == sorted(
        [f"web of ms1, serial number {written(known.serial_number)}", "serial number 0ABCDE"]
    )
    assert listed(lab) == {known.serial_number, unknown}
    assert not accepted(lab, known, tmp_path)
    assert authority(revoked=numbers).withdraw(Leaving("ms2"), NOW) == []
    assert lab.revoked("ms1") == {"web": [written(known.serial_number)], "": ["0ABCDE"]}
    # it stays withdrawn
    assert authority().withdraw(Leaving("ms2"), NOW) == []
    assert listed(lab) == {known.serial_number, unknown}


def test_what_has_ended_is_forgotten(authority: Make) -> None:
    lab = authority()
    issue(lab, "ms1", lifetime_days=1)
    lasting = issue(lab, "ms2")
    lab.withdraw(Leaving("ms1", expected=[], hosts=["ms1"]), NOW)
    assert len(listed(lab)) == 2
    lab.withdraw(Leaving("ms1", hosts=[]), NOW + timedelta(days=2))
    issue(lab, "ms3")
    lab.withdraw(Leaving("ms3", expected=[]), NOW + timedelta(days=2))
    assert lasting.serial_number in listed(lab)
    assert len(listed(lab)) == 2
    assert lab.register.hosts() == []


@pytest.mark.parametrize("step", ["_settle_lists", "register"])
def test_a_run_that_was_killed_is_made_good_by_the_next(
    authority: Make, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    lab = authority()
    gone = issue(lab, "ms1")

    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if step == "register":  # it is noted as withdrawn, and still as issued
            patch.setattr(Register, "issued", killed)
            with pytest.raises(KeyboardInterrupt):
                lab.register.revoke([Issued(written(gone.serial_number), 1 << 33, "ms1", "demo", "web")], 1)
        else:
            patch.setattr(Authority, step, killed)
            with pytest.raises(KeyboardInterrupt):
                lab.withdraw(Leaving("ms1", expected=[]), NOW)
    assert listed(lab) == set()
    authority().withdraw(Leaving("ms1", expected=[]), NOW)
    assert listed(lab) == {gone.serial_number}
    assert lab.register.hosts() == []


def test_a_list_that_was_lost_or_damaged_is_made_anew(authority: Make) -> None:
    lab = authority()
    gone = issue(lab, "ms1")
    lab.withdraw(Leaving("ms1", expected=[]), NOW)
    path = Path(lab.crl_path)
    for content in (None, b"", path.read_bytes()[:200], path.read_bytes().replace(b"MI", b"MX", 1)):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        assert lab.trust().crl == ""
        lab.make()
        assert listed(lab) == {gone.serial_number}
        assert lab.trust().crl == path.read_text()


def test_a_list_of_somebody_else_is_none(authority: Make, tmp_path: Path) -> None:
    other = Authority(LAB, str(tmp_path / "other"), lambda: "p" * 64)
    other.make()
    lab = authority()
    Path(lab.crl_path).write_bytes(Path(other.crl_path).read_bytes())
    assert lab.trust().crl == ""


def test_a_damaged_register_is_told_with_the_way_out(authority: Make) -> None:
    lab = authority()
    issue(lab, "ms1")
    path = Path(lab.key_path).parent / "lab.issued/ms1.json"
    assert [row["certificate"] for row in json.loads(path.read_text())] == ["web"]
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("{")
    with pytest.raises(RegisterError, match=r"ms1\.json is damaged .*: restore it; without it nothing that it held"):
        lab.withdraw(Leaving("ms1", expected=[]), NOW)


def test_a_hosts_name_is_never_a_path(authority: Make) -> None:
    lab = authority()
    names = ["..", "a/b", "fd00::1", "ms1.lab.example"]
    for name in names:
        issue(lab, name)
    assert lab.register.hosts() == sorted(names)
    folder = Path(lab.key_path).parent
    assert sorted(path.name for path in folder.iterdir()) == [".lab.lock", "lab.issued", "lab.key"]


def test_who_signs_elsewhere_withdraws_there(tmp_path: Path) -> None:
    partner = Authority(AuthorityDescription("partner", "partner", "external", ""), str(tmp_path), lambda: "")
    assert partner.withdraw(Leaving("ms1", expected=[]), NOW) == []
    assert list(tmp_path.iterdir()) == []


def test_a_list_is_newer_than_the_one_before_it_whatever_the_clock_says(authority: Make) -> None:
    """Else who took the former one of a partner's would take this one for an old one, put back."""
    lab = authority()
    former = the_list(lab)
    for name, now in (("a", NOW - timedelta(days=3)), ("b", NOW), ("c", NOW), ("d", NOW - timedelta(hours=1))):
        issue(lab, name)
        lab.withdraw(Leaving(name, expected=[]), now)
        found = the_list(lab)
        assert (revocation.older(found, former), revocation.older(found, found)) == ("", "")
        assert revocation.older(found=former, former=found)
        former = found


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(1, 3)), st.frozensets(st.integers(1, 3))),
        min_size=2,
        max_size=2,
    )
)
def test_a_list_follows_another_unless_it_is_older(said: list[tuple[int, int | None, frozenset[int]]]) -> None:
    former, found = (of_partner(*each) for each in said)
    (began, before, were), (begins, number, are) = said
    follows = begins >= began and (number or 0) >= (before or 0)
    if (begins, number or 0) == (began, before or 0):
        follows = were <= are
    assert (revocation.older(found, former) == "") is follows


def of_partner(hours: int, number: int | None, revoked: frozenset[int]) -> x509.CertificateRevocationList:
    """A list as anybody's CA may sign it."""
    begins = NOW - timedelta(hours=9 - hours)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "theirs")])
    builder = x509.CertificateRevocationListBuilder(name, begins, NOW + timedelta(days=9))
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    for serial in revoked:
        builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, begins).build())
    return builder.sign(THEIRS, hashes.SHA256())


def test_of_two_lists_of_a_ca_the_newer_one_counts_in_whatever_order(authority: Make) -> None:
    lab = authority()
    former = the_list(lab)
    issue(lab, "ms1")
    lab.withdraw(Leaving("ms1", expected=[]), NOW + timedelta(hours=1))
    newest, issuer = the_list(lab), lab.trust().issuer
    assert issuer
    for both in ([former, newest], [newest, former]):
        assert revocation.of_issuer(both, issuer) == newest


def test_lists_that_a_former_release_never_made_are_made_by_exchange_too(authority: Make) -> None:
    lab = authority()
    assert not lab.lacks_lists()
    Path(lab.crl_path).unlink()
    assert lab.lacks_lists()
    lab.make()
    assert not lab.lacks_lists()
