# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A repository as the home of what verbs write: jobs one after the other, at once, and killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._state import location, repository
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.errors import StateError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.git import Access, Git
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.keeping import keep
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.repository import BRANCH, Repository

FORK = multiprocessing.get_context("fork")


def git(*words: str | Path, folder: Path) -> str:
    """git as whoever runs the tests has it."""
    writer = {f"GIT_{role}_{key}": "somebody" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    ended = subprocess.run(
        ["git", *words], cwd=folder, env=os.environ | writer, capture_output=True, text=True, check=True
    )
    return ended.stdout


@pytest.fixture
def home(tmp_path: Path) -> str:
    """An empty repository."""
    git("init", "--quiet", "--bare", tmp_path / "home.git", folder=tmp_path)
    return f"file://{tmp_path}/home.git"


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets what follows be the job of that name, in a fresh directory."""

    def begin(name: str) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))

    begin("first")
    return begin


def files(url: str) -> dict[str, str]:
    """What is in the repository."""
    folder = Path(url.removeprefix("file://"))
    names = git("ls-tree", "-r", "-z", "--name-only", BRANCH, folder=folder).split("\0")
    return {name: git("show", f"{BRANCH}:{name}", folder=folder) for name in names if name}


def opened(url: str) -> Path:
    return Path(Repository.open(Access(url)).directory)


def put(state: Path, name: str, text: str) -> None:
    """A file, whole or not at all."""
    path = state / name
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.1.fedlearn-new")
    aside.write_text(text)
    aside.replace(path)


def written(state: Path, name: str, text: str) -> None:
    keep(str(state), f"writes {name}", lambda: put(state, name, text))


# --- one job after the other ------------------------------------------------------------------------------------------


def test_what_a_job_writes_is_there_for_the_next_one(home: str, job: Callable[[str], None]) -> None:
    written(opened(home), "public/lab/lab.pem", "one\n")
    job("second")
    state = opened(home)
    assert (state / "public/lab/lab.pem").read_text() == "one\n"
    written(state, ".ca/lab/lab.key", "encrypted\n")
    keep(str(state), "drops it", (state / "public/lab/lab.pem").unlink)
    job("third")
    assert [path.name for path in opened(home).rglob("*") if path.is_file()] == ["lab.key"]
    assert files(home) == {".ca/lab/lab.key": "encrypted\n"}


def test_it_is_fetched_shallow_and_nobody_else_can_read_it(home: str, job: Callable[[str], None]) -> None:
    for number in range(3):
        written(opened(home), ".ca/lab/lab.key", f"{number}\n")
    job("second")
    state = opened(home)
    assert git("log", "--format=%s", "refs/fedlearn/here", folder=state.parent / "git").splitlines() == [
        "writes .ca/lab/lab.key"
    ]
    assert [oct(path.stat().st_mode & 0o777) for path in (state.parent, state / ".ca/lab/lab.key")] == [
        "0o700",
        "0o600",
    ]
    written(state, ".ca/lab/lab.key", "3\n")  # a shallow copy can push
    assert files(home) == {".ca/lab/lab.key": "3\n"}


def test_nothing_to_write_is_no_commit(home: str, job: Callable[[str], None]) -> None:
    state = opened(home)
    assert keep(str(state), "nothing", lambda: 7) == 7
    written(state, "public/a", "1\n")
    written(state, "public/a", "1\n")
    assert git("rev-list", "--count", BRANCH, folder=Path(home.removeprefix("file://"))) == "1\n"


def test_what_isn_t_to_be_kept_stays_here(home: str, job: Callable[[str], None]) -> None:
    state = opened(home)
    for name in (".backups/ms1/redis.gz", ".builds/minio", "build/demo/verify.json", ".ca/lab/.lab.lock", "other"):
        put(state, name, "x")
    put(state, "public/lab/.lab.pem.77.fedlearn-new", "half")
    written(state, "public/lab/lab.pem", "one\n")
    assert files(home) == {"public/lab/lab.pem": "one\n"}
    opened(home)
    assert (state / ".backups/ms1/redis.gz").exists()


def test_a_write_that_was_never_pushed_never_happened(home: str, job: Callable[[str], None]) -> None:
    state = opened(home)
    written(state, "public/a", "1\n")
    put(state, "public/a", "2\n")
    put(state, "public/b", "2\n")
    opened(home)
    assert {path.name: path.read_text() for path in (state / "public").iterdir()} == {"a": "1\n"}


@pytest.mark.slow
def test_a_copy_that_many_runs_use_is_cleared_up(home: str, job: Callable[[str], None]) -> None:
    """Of a user who runs verbs by hand: what git has of each write is packed some day."""
    state = opened(home)

    def many() -> None:
        for number in range(6000):
            put(state, f"public/{number}", str(number))

    keep(str(state), "many", many)
    loose = len(list((state.parent / "git" / "objects").glob("??/*")))
    opened(home)
    assert loose > 5000
    assert len(list((state.parent / "git" / "objects").glob("??/*"))) < 100
    written(state, "public/0", "again")
    job("second")
    assert len(list((opened(home) / "public").iterdir())) == 6000


def test_a_file_that_became_a_folder_elsewhere_is_one_here(home: str, job: Callable[[str], None]) -> None:
    state = opened(home)
    written(state, "public/a", "1\n")
    job("second")
    other = opened(home)

    def turn() -> None:
        (other / "public" / "a").unlink()
        put(other, "public/a/b", "2\n")

    keep(str(other), "a folder", turn)
    job("first")
    assert (opened(home) / "public" / "a" / "b").read_text() == "2\n"


# --- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".secrets/lab.yml", "survey_token: in-clear\n"),
        (".ca/lab/lab.key", "-----BEGIN PRIVATE KEY-----\nMIG\n"),
        ("public/lab/a.pem", "x\n-----BEGIN EC PRIVATE KEY-----\nMIG\n"),
        (".exchange/lab/signer.key", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3\n"),
        (".keyrings/a/ms1.json", "AGE-SECRET-KEY-1QQ"),
    ],
)
def test_a_secret_in_clear_is_never_pushed(home: str, job: Callable[[str], None], name: str, text: str) -> None:
    state = opened(home)
    written(state, "public/lab/lab.pem", "one\n")
    with pytest.raises(StateError, match=f"{name} .*encrypted, and nothing of it was pushed"):
        written(state, name, text)
    with pytest.raises(StateError, match="nothing of it was pushed"):
        written(state, "public/lab/other.pem", "two\n")
    assert files(home) == {"public/lab/lab.pem": "one\n"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".secrets/lab.yml", "$ANSIBLE_VAULT;1.1;AES256\n61\n"),
        (".ca/lab/lab.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIG\n"),
        (".escrow/ms1/keys.age", "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n"),
    ],
)
def test_an_encrypted_one_is(home: str, job: Callable[[str], None], name: str, text: str) -> None:
    written(opened(home), name, text)
    assert files(home) == {name: text}


def test_a_copy_that_nobody_opened_is_no_folder(home: str, job: Callable[[str], None]) -> None:
    with pytest.raises(StateError, match=r"no working copy .* fedlearn\.infra\.state opens it"):
        written(Path(location.directory_of(home)), "public/a", "1\n")


def test_a_repository_that_isn_t_there_is_told(tmp_path: Path, job: Callable[[str], None]) -> None:
    with pytest.raises(StateError, match=r"file:///nowhere/a\.git: git ls-remote failed: .*does not"):
        opened("file:///nowhere/a.git")


def test_one_that_takes_nothing_is_told_before_anything_is_made(home: str, job: Callable[[str], None]) -> None:
    made = Repository.open(Access(home))
    made.prove_writable()
    written(Path(made.directory), "public/a", "1\n")
    made.prove_writable()
    (Path(home.removeprefix("file://")) / "HEAD").unlink()
    with pytest.raises(StateError):
        made.prove_writable()


def test_a_push_that_the_server_refuses_is_no_lost_race(home: str, job: Callable[[str], None]) -> None:
    state = opened(home)
    hook = Path(home.removeprefix("file://")) / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'not on a Sunday' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(StateError, match=r"git push failed: .*not on a Sunday"):
        written(state, "public/a", "1\n")


def test_what_the_user_has_configured_is_of_no_account(
    home: str, job: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-push", "reference-transaction", "post-checkout", "post-index-change"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        (hooks / name).chmod(0o755)
    config = tmp_path / ".gitconfig"
    config.write_text(f"[core]\nhooksPath = {hooks}\nautocrlf = true\n[push]\ndefault = nothing\n")
    for name, value in {"HOME": tmp_path, "GIT_CONFIG_GLOBAL": config, "GIT_DIR": "/nowhere", "GIT_TRACE": "2"}.items():
        monkeypatch.setenv(name, str(value))
    state = opened(home)
    monkeypatch.delenv("GIT_DIR")
    written(state, "public/a", "1\r\n2\n")
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    monkeypatch.delenv("HOME")
    assert files(home) == {"public/a": "1\n2\n"}  # as Python reads it


def test_what_others_pushed_leads_nowhere(home: str, job: Callable[[str], None], tmp_path: Path) -> None:
    """Links, attributes and a list of what to ignore: all are files like others."""
    other = tmp_path / "other"
    git("clone", "--quiet", home, other, folder=tmp_path)
    (other / "public").mkdir()
    (other / "public" / "link").symlink_to("/etc/passwd")
    (other / "public" / ".gitignore").write_text("*\n")
    (other / ".gitattributes").write_text("* text eol=crlf ident\n")
    git("add", "--force", "--all", folder=other)
    git("commit", "--quiet", "--message", "by hand", folder=other)
    git("push", "--quiet", "origin", f"HEAD:{BRANCH}", folder=other)
    state = opened(home)
    assert not (state / "public" / "link").is_symlink()
    written(state, "public/a", "$Id$\n")
    job("second")
    assert (opened(home) / "public" / "a").read_bytes() == b"$Id$\n"


# --- at once ----------------------------------------------------------------------------------------------------------


def at_once(count: int, work: Callable[[int], None]) -> None:
    """So many processes that begin together, each to a good end."""
    barrier = FORK.Barrier(count)
    begun = [FORK.Process(target=_begin, args=(barrier, work, number)) for number in range(count)]
    for each in begun:
        each.start()
    for each in begun:
        each.join(120)
    assert [each.exitcode for each in begun] == [0] * count


def _begin(barrier: Barrier, work: Callable[[int], None], number: int) -> None:
    barrier.wait(60)
    work(number)


def make(state: Path, name: str, text: str) -> str:
    """What is made only where it is missing, as a CA is; which one there is then."""

    def write() -> str:
        if not (state / name).exists():
            put(state, name, text)
        return (state / name).read_text()

    return keep(str(state), f"makes {name}", write)


def test_of_what_two_jobs_make_at_once_one_is_left_and_both_have_it(
    home: str, job: Callable[[str], None], tmp_path: Path
) -> None:
    def work(number: int) -> None:
        job(f"job-{number}")
        state = opened(home)
        found = make(state, ".ca/lab/lab.key", f"of {number}\n")
        (tmp_path / f"told-{number}").write_text(found)
        written(state, f".ca/lab/lab.issued/host-{number}.json", found)

    at_once(4, work)
    kept = files(home)
    assert len(kept) == 5
    assert {(tmp_path / f"told-{number}").read_text() for number in range(4)} == {kept[".ca/lab/lab.key"]}
    assert set(kept.values()) == {kept[".ca/lab/lab.key"]}


@pytest.mark.slow
def test_nothing_of_many_jobs_and_their_forks_is_lost(home: str, job: Callable[[str], None]) -> None:
    """Three slices with three forks each, that all write files of their own and add lines to one."""

    def slice_(number: int) -> None:
        job(f"job-{number}")
        state = opened(home)
        forks = [FORK.Process(target=fork, args=(state, f"{number}{letter}")) for letter in "abc"]
        for each in forks:
            each.start()
        for each in forks:
            each.join(120)
        assert [each.exitcode for each in forks] == [0, 0, 0]

    def fork(state: Path, name: str) -> None:
        def add() -> None:
            path = state / "public" / "all"
            there = path.read_text().split() if path.exists() else []
            put(state, "public/all", "\n".join(sorted({*there, name})))

        for number in range(3):
            written(state, f"public/{name}/{number}", name)
        keep(str(state), f"adds {name}", add)

    at_once(3, slice_)
    names = [f"{number}{letter}" for number in range(3) for letter in "abc"]
    assert files(home).pop("public/all").split() == names
    assert {*files(home)} == {"public/all", *(f"public/{name}/{number}" for name in names for number in range(3))}


@pytest.mark.slow
def test_forks_share_pushes(home: str, job: Callable[[str], None], tmp_path: Path) -> None:
    """While one pushes the others write, so that a slow server isn't asked once a host."""
    state = opened(home)
    hook = Path(home.removeprefix("file://")) / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nsleep 1\necho push >>{tmp_path}/pushes\n")
    hook.chmod(0o755)
    at_once(8, lambda number: written(state, f"public/{number}", "x"))
    assert len(files(home)) == 8
    assert len((tmp_path / "pushes").read_text().split()) < 8


@pytest.mark.slow
def test_who_reads_meanwhile_never_misses_a_file(home: str, job: Callable[[str], None], tmp_path: Path) -> None:
    """Another job's version replaces a file that is read here: it is old or new, always there, and whole."""
    size = 1 << 22
    state = opened(home)
    written(state, "public/a", "0" * size)

    def work(number: int) -> None:
        if number == 0:
            for version in range(1, 5):
                job("other")
                written(opened(home), "public/a", str(version) * size)
                job("first")
                opened(home)
            (tmp_path / "done").touch()
        while not (tmp_path / "done").exists():
            assert (state / "public" / "a").stat().st_size == size

    at_once(2, work)
    assert (state / "public" / "a").read_text() == "4" * size


def test_a_push_whose_answer_got_lost_counts(
    home: str, job: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = opened(home)
    ended = Git.ended

    def cut_off(self: Git, *words: str, feed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        done = ended(self, *words, feed=feed)
        return subprocess.CompletedProcess([], 128, b"", b"the connection broke") if words[0] == "push" else done

    monkeypatch.setattr(Git, "ended", cut_off)
    done = []

    def write() -> int:
        put(state, "public/a", "1\n")
        done.append(1)
        return len(done)

    assert keep(str(state), "once", write) == 1
    assert files(home) == {"public/a": "1\n"}


def test_who_always_loses_gives_up_and_says_so(
    home: str, job: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = opened(home)
    monkeypatch.setattr(repository, "PATIENCE", 0.0)
    monkeypatch.setattr(Repository, "_push", lambda self: False)
    with pytest.raises(StateError, match="others pushed before this run for 0 seconds, and nothing was written"):
        written(state, "public/a", "1\n")


# --- killed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["write-tree", "commit-tree", "update-ref", "push", "pushed"])
def test_a_killed_job_is_finished_by_the_next(
    home: str, job: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Killed before that command of git, or when its push was through: by then it counts."""
    written(opened(home), "public/before", "0\n")

    def die(_number: int) -> None:
        state = opened(home)
        ended = Git.ended

        def killed(self: Git, *words: str, feed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
            if words[0] == command:
                (state.parent / "git" / "index.lock").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            done = ended(self, *words, feed=feed)
            if words[0] == "push" and command == "pushed":
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        monkeypatch.setattr(Git, "ended", killed)
        make(state, ".ca/lab/lab.key", "of the first\n")

    began = FORK.Process(target=die, args=(0,))
    began.start()
    began.join(60)
    assert began.exitcode == -signal.SIGKILL
    state = opened(home)  # in the same place: nothing of it is in the way
    kept = make(state, ".ca/lab/lab.key", "of the second\n")
    assert kept == ("of the first\n" if command == "pushed" else "of the second\n")
    assert files(home) == {"public/before": "0\n", ".ca/lab/lab.key": kept}


# --- the room ---------------------------------------------------------------------------------------------------------


def test_what_is_known_of_the_key_is_where_it_lies(home: str, job: Callable[[str], None], tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("CANARY-OF-THE-KEY\n")
    state = Path(Repository.open(Access(home, str(key), str(key))).directory)
    written(state, "public/a", "1\n")
    assert json.loads((state.parent / "access.json").read_text())["key_file"] == str(key)
    assert "CANARY" not in "".join(path.read_text("latin-1") for path in state.parent.rglob("*") if path.is_file())
