# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A CA's change, step by step: whom everybody takes at each, asked of openssl, and what a killed step leaves."""

from __future__ import annotations

import os
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

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import files
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import AuthorityDescription, Description
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.authority import Authority
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.change import STEPS, ChangingAuthority
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.register import Leaving
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.signing import AuthorityError

LAB = AuthorityDescription("lab", "lab", "ownca", "demo lab CA")
WEB = Description("web", "demo", "present", "lab", "web", usages=("client",))
pytestmark = pytest.mark.usefixtures("now")
NOW = datetime.now(UTC).replace(microsecond=0)
Make = Callable[..., ChangingAuthority]


@pytest.fixture
def authority(tmp_path: Path) -> Make:
    """The authority of one state directory, as each run opens it anew."""

    def made(**changes: Any) -> ChangingAuthority:
        return ChangingAuthority(replace(LAB, **changes), str(tmp_path), lambda: "p" * 64)

    made().make()
    return made


def issue(authority: Authority) -> x509.Certificate:
    certificate = authority.sign(WEB, ec.generate_private_key(ec.SECP256R1()).public_key(), NOW)
    authority.note("ms1", [(WEB, certificate)], NOW)
    return certificate


class Verifier:
    """Somebody who checks clients, by what a host was told of the authority when it was last there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def learn(self, authority: Authority) -> None:
        trust = authority.trust()
        (self.folder / "ca.pem").write_text(trust.bundle)
        (self.folder / "crl.pem").write_text(trust.crl)

    def takes(self, certificate: x509.Certificate) -> bool:
        leaf = self.folder / "leaf.pem"
        leaf.write_bytes(certificate.public_bytes(Encoding.PEM))
        lists = ["-CAfile", self.folder / "ca.pem", "-CRLfile", self.folder / "crl.pem"]
        command = ["openssl", "verify", "-crl_check_all", "-x509_strict", *map(str, lists), str(leaf)]
        return not subprocess.run(command, capture_output=True, check=False).returncode


@pytest.fixture
def verifier(tmp_path: Path) -> Verifier:
    (tmp_path / "host").mkdir()
    return Verifier(tmp_path / "host")


def test_at_each_step_those_are_taken_who_may_still_come(authority: Make, verifier: Verifier) -> None:
    former = issue(authority())
    verifier.learn(authority())
    first = authority().trust().issuer
    assert authority().take("begin")
    assert authority().trust().issuer == first
    between = issue(authority())
    assert verifier.takes(former)
    assert verifier.takes(between)  # by those who haven't heard of the change yet
    verifier.learn(authority())
    assert authority().take("switch")
    new = issue(authority())
    assert authority().trust().issuer != first
    for certificate in (former, between, new):
        assert verifier.takes(certificate)
    verifier.learn(authority())
    for certificate in (former, between, new):
        assert verifier.takes(certificate)
    assert authority().take("end")
    assert verifier.takes(new)
    verifier.learn(authority())
    assert verifier.takes(new)
    assert not verifier.takes(former)
    assert not verifier.takes(between)
    assert authority().take("finish")
    verifier.learn(authority())
    assert verifier.takes(issue(authority()))
    assert [path.name for path in sorted(Path(authority().key_path).parent.glob("*.key"))] == ["lab.key"]


def test_who_signs_stands_first_in_what_hosts_trust(authority: Make) -> None:
    """MindSpore Federated holds its own certificate against the first of the file alone."""
    authority().make()
    for step in STEPS:
        assert authority().take(step)
        trust = authority().trust()
        first = x509.load_pem_x509_certificates(trust.bundle.encode())[0]
        issue(authority()).verify_directly_issued_by(first)
        assert first == trust.issuer


def test_who_is_withdrawn_during_a_change_is_refused_whichever_ca_signed(authority: Make, verifier: Verifier) -> None:
    former = issue(authority())
    authority().take("begin")
    authority().take("switch")
    new = issue(authority())
    verifier.learn(authority())
    assert verifier.takes(former)
    assert verifier.takes(new)
    assert len(authority().withdraw(Leaving("ms1", expected=[]), NOW)) == 2
    verifier.learn(authority())
    assert not verifier.takes(former)
    assert not verifier.takes(new)


def files_of(state: Path) -> dict[str, bytes]:
    return {str(path.relative_to(state)): path.read_bytes() for path in state.rglob("*") if path.is_file()}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_was_taken_or_is_not_the_next_one_changes_nothing(
    authority: Make, tmp_path: Path, step: str
) -> None:
    for taken in STEPS[: STEPS.index(step) + 1]:
        assert authority().take(taken)
    before = files_of(tmp_path)
    others = [other for other in STEPS if not authority().foreseen(other)]
    assert len(others) == 3
    for other in others:
        assert not authority().take(other)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("writes", range(1, 8))
def test_a_change_that_was_killed_anywhere_is_brought_to_its_end_and_nobody_is_refused_meanwhile(
    authority: Make, verifier: Verifier, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """Each time before the same write or rename, then the steps are taken again, all of them, as a new run does."""
    former = issue(authority())
    verifier.learn(authority())
    left = [writes]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            return real(*arguments, **more)

        return call

    def change() -> None:
        for step in STEPS:
            authority().take(step)
            if step == "begin":
                verifier.learn(authority())
            assert verifier.takes(former), step

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", counted(files.write))
        patch.setattr(os, "unlink", counted(os.unlink))
        with pytest.raises(KeyboardInterrupt):
            change()
    certificates = []
    for step in STEPS:
        authority().take(step)
        assert authority().trust().crl, step
        certificates.append(issue(authority()))
        if step != "finish":
            verifier.learn(authority())
        assert verifier.takes(certificates[-1]), step
    assert authority().phase == "finish"
    assert not verifier.takes(former)


def test_the_new_ca_may_certify_what_the_document_permits_now(authority: Make) -> None:
    state = str(Path(authority().key_path).parents[2])

    def limited() -> Authority:
        return Authority(replace(LAB, permitted_names=("lab.example",)), state, lambda: "p" * 64)

    with pytest.raises(AuthorityError, match="keeps what it was made with: change the CA"):
        limited().trust()
    for step in STEPS:
        authority(permitted_names=("lab.example",)).prove()
        authority(permitted_names=("lab.example",)).take(step)
        assert limited().trust().issuer
    issuer = limited().trust().issuer
    assert issuer
    names = issuer.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees
    assert names
    assert [each.value for each in names] == ["lab.example"]


def ended(authority: ChangingAuthority) -> x509.Certificate:
    """Have the CA end a year ago, with the key that it has."""
    key, certificate = authority.signer()
    over = NOW - timedelta(days=365)
    builder = x509.CertificateBuilder(certificate.subject, certificate.subject, key.public_key(), 7)
    builder = builder.not_valid_before(over - timedelta(days=365)).not_valid_after(over)
    for extension in certificate.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    former = builder.sign(key, hashes.SHA256())
    Path(authority.certificate_path).write_bytes(former.public_bytes(Encoding.PEM))
    Path(authority.crl_path).unlink()
    return former


def test_one_that_has_ended_signs_nothing_and_can_be_changed(authority: Make, verifier: Verifier) -> None:
    former = ended(authority())
    with pytest.raises(AuthorityError, match=r"has ended on \d{4}-\d\d-\d\d: change the CA"):
        Authority(LAB, authority()._state, lambda: "p" * 64).prove()
    authority().prove()
    assert authority().take("begin")
    assert not authority().take("begin")
    certificate = issue(authority())  # by the one that follows: there is nothing to overlap
    assert authority().trust().issuer != former
    for step in ("switch", "end", "finish"):
        assert authority().take(step)
    verifier.learn(authority())
    assert verifier.takes(certificate)
    authority().withdraw(Leaving("ms1", {("demo", "web")}, None, None), NOW)
    verifier.learn(authority())
    assert not verifier.takes(certificate)


def test_what_was_never_made_is_not_changed(tmp_path: Path) -> None:
    lab = ChangingAuthority(LAB, str(tmp_path), lambda: "p" * 64)
    with pytest.raises(AuthorityError, match="it has not been made yet, so there is nothing to change: run site"):
        lab.take("begin")
