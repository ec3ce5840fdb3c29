# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A repository behind OpenSSH's server on loopback: a deploy key that may write, one that may not, other servers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.errors import StateError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.git import Access, Git
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.repository import Repository
from tests.unit.plugins.plugin_utils.state.test_repository import files, git, written

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SSHD is None, reason="OpenSSH's server isn't on this machine"),
]

CONFIGURATION = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
PasswordAuthentication no
PermitRootLogin prohibit-password
PidFile none
StrictModes no
UsePAM no
"""
ONLY = 'restrict,command="{command}" {key}'
WRITES = 'git shell -c \\"$SSH_ORIGINAL_COMMAND\\"'
READS = "case $SSH_ORIGINAL_COMMAND in git-upload-pack*) ;; *) echo this key is read-only >&2; exit 1;; esac; " + WRITES


@dataclass(frozen=True)
class Server:
    """A git server, what is reached by a key that may write, and the address of a file on it."""

    access: Access
    folder: Path
    bare: str


def make_key(path: Path) -> str:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(words, check=True)
    return path.with_suffix(".pub").read_text().strip()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    host, deploy, reader = (make_key(folder / name) for name in ("host", "deploy", "reader"))
    (folder / "authorized").write_text(
        "\n".join(ONLY.format(command=command, key=key) for command, key in ((WRITES, deploy), (READS, reader))) + "\n"
    )
    (folder / "known").write_text(f"[127.0.0.1]:{port} {host}\n")
    (folder / "sshd_config").write_text(CONFIGURATION.format(port=port, folder=folder))
    git("init", "--quiet", "--bare", folder / "home.git", folder=folder)
    looked = subprocess.run(
        [str(SSHD), "-t", "-f", str(folder / "sshd_config")], capture_output=True, text=True, check=False
    )
    if looked.returncode != 0:
        pytest.skip(f"OpenSSH's server doesn't start on this machine: {looked.stderr}")
    running = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.DEVNULL)
    try:
        _until_it_listens(port, running)
        user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
        url = f"ssh://{user}@127.0.0.1:{port}{folder}/home.git"
        access = Access(url, str(folder / "deploy"), str(folder / "known"))
        yield Server(access, folder, f"file://{folder}/home.git")
    finally:
        running.terminate()
        running.wait(30)


def _until_it_listens(port: int, running: subprocess.Popen[bytes]) -> None:
    for _try in range(200):
        assert running.poll() is None, "sshd ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("sshd doesn't listen")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets what follows be the job of that name, in a fresh directory."""

    def begin(name: str) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))

    begin("first")
    return begin


def test_what_a_job_writes_by_its_deploy_key_is_there_for_the_next_one(
    server: Server, job: Callable[[str], None]
) -> None:
    opened = Repository.open(server.access)
    opened.prove_writable()
    written(opened.directory, "public/a", "1\n")
    job("second")
    second = Repository.open(server.access).directory
    written(second, "public/b", "2\n")
    written(opened.directory, "public/c", "3\n")  # which lost the race, and did it again
    assert files(server.bare) == {"public/a": "1\n", "public/b": "2\n", "public/c": "3\n"}


def test_a_server_with_another_host_key_gets_nothing(server: Server, job: Callable[[str], None]) -> None:
    other = make_key(server.folder / "other")
    known = server.folder / "known-other"
    known.write_text((server.folder / "known").read_text().split()[0] + f" {other}\n")
    for keys in (known.read_text(), "# none\n"):
        known.write_text(keys)
        with pytest.raises(StateError, match=r"Host key verification failed.*; fedlearn_state_known_hosts_file is to"):
            Repository.open(replace(server.access, known_hosts_file=str(known)))


def test_what_is_no_key_is_told(server: Server, job: Callable[[str], None], tmp_path: Path) -> None:
    (tmp_path / "none").write_text("no key\n")
    with pytest.raises(StateError, match="; the file that fedlearn_state_key_file names has no private key"):
        Repository.open(replace(server.access, key_file=str(tmp_path / "none")))


def test_a_key_that_may_only_read_is_told_before_anything_is_made(server: Server, job: Callable[[str], None]) -> None:
    opened = Repository.open(replace(server.access, key_file=str(server.folder / "reader")))
    with pytest.raises(StateError, match=r"can be read and not written to, so nothing .*: this key is read-only"):
        opened.prove_writable()


def test_a_key_of_somebody_else_s_is_refused_and_no_agent_is_asked(
    server: Server, job: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Though the agent of whoever runs this has the right one."""
    make_key(tmp_path / "stranger")
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.DEVNULL)
    try:
        while not (tmp_path / "agent").exists():
            time.sleep(0.01)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        subprocess.run(["ssh-add", "-q", server.access.key_file], check=True)
        with pytest.raises(StateError, match=r"Permission denied.*; give the git server the public half"):
            Repository.open(replace(server.access, key_file=str(tmp_path / "stranger")))
    finally:
        agent.terminate()
        agent.wait(30)


def test_paths_with_blanks_and_signs_are_taken_as_they_are(
    server: Server, job: Callable[[str], None], tmp_path: Path
) -> None:
    odd = tmp_path / "a folder, 100% odd"
    odd.mkdir()
    key, known = odd / "key", odd / "known"
    key.write_bytes(Path(server.access.key_file).read_bytes())
    key.chmod(0o600)
    known.write_bytes(Path(server.access.known_hosts_file).read_bytes())
    assert Repository.open(Access(server.access.url, str(key), str(known))).directory.is_dir()


def test_nothing_of_the_key_is_in_a_command_or_its_environment(
    server: Server, job: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    run = subprocess.run

    def noted(words: list[str], check: bool = False, **how: Any) -> Any:
        seen.append(repr((words, how.get("env"))))
        return run(words, check=check, **how)

    monkeypatch.setattr(subprocess, "run", noted)
    opened = Repository.open(server.access)
    written(opened.directory, "public/d", "4\n")
    secret = Path(server.access.key_file).read_text().splitlines()
    assert len(seen) > 5
    assert server.access.key_file in seen[0]
    assert [line for line in secret if any(line in each for each in seen)] == []
    assert isinstance(opened._git, Git)
