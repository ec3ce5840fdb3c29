# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CAs, certificates and secrets of jobs that keep nothing but a repository: one CA, and no file is lost."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import load_pem_x509_certificates

from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import AuthorityDescription, Description
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.authority import Authority
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.change import STEPS, ChangingAuthority
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.register import Leaving
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.vaultfile import VaultFile, Wanted
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.git import Access, Git
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.repository import Repository
from tests.unit.plugins.plugin_utils.state.test_repository import git

FORK = multiprocessing.get_context("fork")
LAB = AuthorityDescription("lab", "lab", "ownca", "demo lab CA", 3650)
Job = Callable[[str], str]


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """The state directory of a job, in a fresh directory by its name, that fetched what is kept."""
    git("init", "--quiet", "--bare", tmp_path / "home.git", folder=tmp_path)

    def begin(name: str) -> str:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        return str(Repository.open(Access(f"file://{tmp_path}/home.git")).directory)

    return begin


def lab(state: str) -> Authority:
    return Authority(LAB, state, lambda: "p" * 64)


def now() -> datetime:
    """As it is: on a busy machine what a module is loaded at may be long before the CA that a test makes."""
    return datetime.now(UTC).replace(microsecond=0)


def deploy(state: str, host: str) -> x509.Certificate:
    """What a job does for a host: the CA, and a certificate that is written down before the host has it."""
    authority = lab(state)
    if not authority.exists_for_good():
        authority.make()
    authority.trust()
    about = Description("web", "demo", "present", "lab", host, usages=("client",))
    made = authority.sign(about, ec.generate_private_key(ec.SECP256R1()).public_key(), now())
    authority.note(host, [(about, made)], now())
    return made


def at_once(*works: Callable[[], None]) -> None:
    """In processes that begin together, each to a good end."""
    barrier = FORK.Barrier(len(works))
    begun = [FORK.Process(target=_begin, args=(barrier, work)) for work in works]
    for each in begun:
        each.start()
    for each in begun:
        each.join(120)
    assert [each.exitcode for each in begun] == [0] * len(works)


def _begin(barrier: Barrier, work: Callable[[], None]) -> None:
    barrier.wait(60)
    work()


def test_a_first_deploy_a_renewal_and_a_third_job_have_one_ca(job: Job) -> None:
    first = deploy(job("first"), "ms1")
    renewed = deploy(job("second"), "ms1")
    state = job("third")
    issuer = lab(state).trust().issuer
    assert issuer is not None
    for each in (first, renewed):
        each.verify_directly_issued_by(issuer)
    assert len(lab(state).register.issued("ms1")) == 2


@pytest.mark.slow
def test_three_slices_at_once_on_nothing_have_one_ca_and_lose_no_certificate(job: Job, tmp_path: Path) -> None:
    """Each with three forks, as one host's certificate is signed beside the others'."""

    def of_slice(number: int) -> None:
        state = job(f"job-{number}")
        at_once(*(partial(of_host, state, f"{number}{letter}") for letter in "abc"))

    def of_host(state: str, host: str) -> None:
        made = deploy(state, host)
        (tmp_path / f"{host}.issuer").write_text(lab(state).trust().issuer_pem)
        (tmp_path / f"{host}.serial").write_text(f"{made.serial_number:X}")

    at_once(*(partial(of_slice, number) for number in range(3)))
    state = job("later")
    hosts = [f"{number}{letter}" for number in range(3) for letter in "abc"]
    assert lab(state).register.hosts() == hosts
    assert {(tmp_path / f"{host}.issuer").read_text() for host in hosts} == {lab(state).trust().issuer_pem}
    noted = {host: [int(each.serial, 16) for each in lab(state).register.issued(host)] for host in hosts}
    assert noted == {host: [int((tmp_path / f"{host}.serial").read_text(), 16)] for host in hosts}


@pytest.mark.slow
def test_of_three_jobs_at_once_one_may_be_killed_at_any_moment(job: Job, tmp_path: Path) -> None:
    """Whatever a host has by then is of the one CA, and in the register; again and again on what is there."""

    def of_job(number: int) -> None:
        os.setsid()
        state = job(f"job-{number}")
        forks = [FORK.Process(target=of_host, args=(state, f"{number}{letter}")) for letter in "ab"]
        for each in forks:
            each.start()
        for each in forks:
            each.join()

    def of_host(state: str, host: str) -> None:
        for _time in range(2):
            made = deploy(state, host)
            with (tmp_path / "handed").open("a") as handed:
                issuer = made.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
                handed.write(f"{made.serial_number} {(issuer or b'').hex()}\n")

    for killed in range(3):
        jobs = [FORK.Process(target=of_job, args=(number,)) for number in range(3)]
        for each in jobs:
            each.start()
        until(tmp_path / "handed")  # so the first one is killed once somebody has a certificate, the others anywhere
        with contextlib.suppress(ProcessLookupError):
            os.killpg(jobs[killed].pid or 0, signal.SIGKILL)
        for each in jobs:
            each.join(120)
    authority = lab(job("later"))
    rows = [line.split() for line in (tmp_path / "handed").read_text().splitlines()]
    noted = {int(each.serial, 16) for host in authority.register.hosts() for each in authority.register.issued(host)}
    assert len(rows) >= 2 * 2 * 2 * 3
    assert {int(serial) for serial, _issuer in rows} <= noted
    (own,) = load_pem_x509_certificates(Path(authority.certificate_path).read_bytes())
    key = x509.SubjectKeyIdentifier.from_public_key(own.public_key()).digest.hex()
    assert {issuer for _serial, issuer in rows} == {key}


@pytest.mark.slow
def test_a_fork_takes_no_ca_for_made_that_another_one_s_push_may_still_lose(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One fork's push of a CA is held up, a second fork comes, and meanwhile another job pushes its own CA."""
    state = job("first")

    def held_up() -> None:
        ended = Git.ended

        def late(self: Git, *words: str, feed: bytes = b"") -> Any:
            if words[0] == "push":
                (tmp_path / "pushing").touch()
                until(tmp_path / "go")
            return ended(self, *words, feed=feed)

        monkeypatch.setattr(Git, "ended", late)
        deploy(state, "ms1")

    def beside() -> None:
        until(tmp_path / "pushing")
        deploy(state, "ms2")
        (tmp_path / "trusted").write_text(lab(state).trust().issuer_pem)

    def sign(*arguments: Any) -> Any:
        (tmp_path / "signed").touch()
        return signs(*arguments)

    signs = Authority.sign
    monkeypatch.setattr(Authority, "sign", sign)
    begun = [FORK.Process(target=each) for each in (held_up, beside)]
    for each in begun:
        each.start()
    until(tmp_path / "pushing")
    until(tmp_path / "signed", seconds=2)  # it isn't to come so far
    early = (tmp_path / "signed").exists()
    deploy(job("other"), "ms3")
    (tmp_path / "go").touch()
    for each in begun:
        each.join(60)
    assert [each.exitcode for each in begun] == [0, 0]
    assert not early
    assert (tmp_path / "trusted").read_text() == lab(job("later")).trust().issuer_pem
    assert lab(job("later")).register.hosts() == ["ms1", "ms2", "ms3"]


def until(path: Path, seconds: float = 30) -> None:
    """Wait for a file, if it comes."""
    end = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)


def test_what_two_jobs_withdraw_at_once_is_on_the_list(job: Job, tmp_path: Path) -> None:
    state = job("first")
    serials = {deploy(state, host).serial_number for host in ("ms1", "ms2", "ms3")}

    def withdraw(host: str) -> None:
        lab(job(host)).withdraw(Leaving(host, expected=()), now())

    at_once(*(partial(withdraw, host) for host in ("ms1", "ms2", "ms3")))
    state = job("later")
    (listed,) = [x509.load_pem_x509_crl(Path(lab(state).crl_path).read_bytes())]
    assert {each.serial_number for each in listed} == serials
    assert lab(state).register.hosts() == []


def secrets(state: str) -> VaultFile:
    return VaultFile(state, "lab", VaultLib([("default", VaultSecret(b"known"))]))


def wanted(*names: str, **more: Any) -> list[Wanted]:
    return [Wanted(name, "lab", "password", 32, **more) for name in names]


def test_a_secret_that_two_jobs_make_at_once_has_one_value_and_each_job_s_own_are_there(
    job: Job, tmp_path: Path
) -> None:
    def make(number: int) -> None:
        state = job(f"job-{number}")
        secrets(state).add(wanted("shared", f"own_{number}"))
        (tmp_path / f"shared-{number}").write_text(secrets(state).read()["shared"])

    at_once(*(partial(make, number) for number in range(3)))
    kept = secrets(job("later")).read()
    assert set(kept) == {"shared", "own_0", "own_1", "own_2"}
    assert {(tmp_path / f"shared-{number}").read_text() for number in range(3)} == {kept["shared"]}


def test_a_password_that_two_jobs_replace_at_once_has_one_next_value(job: Job) -> None:
    secrets(job("first")).add(wanted("store", in_turn=True))
    turn = wanted("store", in_turn=True)

    def replace(name: str) -> None:
        secrets(job(name)).begin_turn(turn)

    at_once(*(partial(replace, name) for name in "ab"))
    state = job("later")
    assert set(secrets(state).turns("store")["valid"]) == {"a", "b"}
    secrets(state).end_turn(turn)
    assert set(secrets(job("last")).turns("store")["valid"]) == {"b"}


@pytest.mark.parametrize("at", STEPS)
def test_a_change_of_the_ca_that_a_killed_job_began_is_ended_by_the_next(
    job: Job, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Killed when a step was pushed: no other key is made."""
    deploy(job("first"), "ms1")
    before = STEPS[: STEPS.index(at)]

    def die() -> None:
        state = job("second")
        ended = Git.ended

        def killed(self: Git, *words: str, feed: bytes = b"") -> Any:
            done = ended(self, *words, feed=feed)
            if words[0] == "push":
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        authority = ChangingAuthority(LAB, state, lambda: "p" * 64)
        for step in before:
            assert authority.take(step)
        monkeypatch.setattr(Git, "ended", killed)
        authority.take(at)

    began = FORK.Process(target=die)
    began.start()
    began.join(60)
    assert began.exitcode == -signal.SIGKILL
    state = job("third")
    authority = ChangingAuthority(LAB, state, lambda: "p" * 64)
    assert authority.phase == at
    taken = {step: authority.take(step) for step in STEPS}
    after = STEPS[STEPS.index(at) + 1 :] if at != "finish" else STEPS
    assert taken == {step: step in after for step in STEPS}
    (left,) = load_pem_x509_certificates(Path(lab(job("last")).certificate_path).read_bytes())
    assert lab(job("last")).trust().issuer == left
