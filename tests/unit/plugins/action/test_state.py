# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verbs by the real command, as jobs that keep nothing but a repository, and those that have no home."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task

from ansible_collections.fedlearn.infra.plugins.action import kept_file, state
from tests.unit.conftest import BIN, CHECKOUT
from tests.unit.plugins.plugin_utils.state.test_repository import files, git

NO_CONNECTION = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))


def act(plugin: Any, variables: dict[str, Any] | None = None, *, check: bool = False, **options: Any) -> dict[str, Any]:
    """A task of the action plugin."""
    task = Task.load({"action": f"fedlearn.infra.{plugin.__name__.rpartition('.')[2]}", "args": {}})
    task.args, task.check_mode = options, check
    parts = {"play_context": None, "templar": None, "shared_loader_obj": None}
    action = plugin.ActionModule(task=task, connection=NO_CONNECTION, loader=DataLoader(), **parts)
    found: dict[str, Any] = action.run(task_vars=variables or {"inventory_hostname": "ms1"})
    return found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty repository."""
    git("init", "--quiet", "--bare", tmp_path / "home.git", folder=tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "first"))
    return f"file://{tmp_path}/home.git"


# --- the tasks --------------------------------------------------------------------------------------------------------


def test_a_folder_is_looked_at_where_it_is_to_be_written_to(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert act(state, state=str(file))["directory"] == str(file)
    with pytest.raises(AnsibleActionFail, match="has no home"):
        act(state, state=str(file), writable=True)
    assert act(state, state=str(tmp_path), writable=True)["directory"] == str(tmp_path)


def test_the_folder_of_a_job_of_awx_is_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWX_ISOLATED_DATA_DIR", f"{tmp_path}/artifacts/7")
    act(state, state=f"{tmp_path}/project", writable=True)
    with pytest.raises(AnsibleActionFail, match="is thrown away after this job"):
        act(state, {"awx_job_id": 7}, state=f"{tmp_path}/project", writable=True)


@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
def test_a_repository_is_fetched_in_any_mode(home: str, check: bool) -> None:
    opened = act(state, state=home, writable=True, check=check)
    assert opened["changed"] is False
    assert Path(opened["directory"]).is_dir()


def test_a_key_is_found_from_where_the_command_was_called(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git runs elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    opened = Path(act(state, state=home, key_file="deploy-key", known_hosts_file="~/hosts")["directory"])
    told = json.loads((opened.parent / "access.json").read_text())
    assert (told["key_file"], told["known_hosts_file"]) == (f"{tmp_path}/deploy-key", f"{tmp_path}/me/hosts")


def test_what_a_host_told_is_kept(home: str) -> None:
    place = act(state, state=home)["directory"]
    told = {"path": f"{place}/public/lab/ms1.pub", "content": "ssh-ed25519 AAAA\n", "mode": "0644"}
    assert act(kept_file, check=True, **told) == {"changed": True, "path": told["path"]}
    assert not (Path(place) / "public").exists()
    assert [act(kept_file, **told)["changed"] for _time in range(2)] == [True, False]
    assert files(home) == {"public/lab/ms1.pub": "ssh-ed25519 AAAA\n"}


def test_in_a_folder_it_has_the_mode_that_it_is_to_have(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    act(kept_file, path=str(path), content="x\n", mode="0640")
    assert oct(path.stat().st_mode) == "0o100640"
    act(kept_file, path=str(tmp_path / "c" / "d" / "e"), content="x\n")
    assert {oct(path.stat().st_mode & 0o777) for path in (tmp_path / "c", tmp_path / "c" / "d")} == {"0o700"}
    with pytest.raises(AnsibleActionFail, match=r"a/b/c can't be "):
        act(kept_file, path=str(path / "c"), content="x\n")


# --- verbs ------------------------------------------------------------------------------------------------------------

Verb = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def verb(tmp_path: Path, home: str) -> Verb:
    """Runs a verb in a fresh directory, as a job."""
    count = iter(range(100))
    (tmp_path / "vault-pass").write_text("known\n")

    def job(name: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        room = tmp_path / f"job-{next(count)}"
        room.mkdir()
        for source in (CHECKOUT / "inventories").glob("dpsa*"):
            (room / source.name).mkdir()
            for file in source.glob("*.yml"):
                (room / source.name / file.name).write_bytes(file.read_bytes())
        given = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "GIT_"))}
        given |= {
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_HOME": str(room / "ansible"),
            "XDG_CACHE_HOME": str(room / "cache"),
            "NO_COLOR": "1",
        }
        command = [BIN / "ansible-playbook", "-i", "dpsa-leader/federation.yml", f"fedlearn.infra.{name}"]
        command += ["--vault-password-file", tmp_path / "vault-pass", "-e", f"fedlearn_build={room}/build", *words]
        unreachable = ["-e", "ansible_host=127.0.0.1", "-e", "ansible_port=1"]
        return subprocess.run(
            [*command, *unreachable], cwd=room, env=given | variables, capture_output=True, text=True, check=False
        )

    return job


@pytest.mark.slow
def test_jobs_that_keep_nothing_but_a_repository_go_on_where_the_one_before_ended(home: str, verb: Verb) -> None:
    """Secrets, what is accepted, a CA, and what partners get: the inventory alone says where these are kept."""
    there = {"FEDLEARN_STATE_REPOSITORY": home}
    shown = verb("accept", **there)
    digest = next(word for word in shown.stdout.split("digest=")[1:])[:64]
    for name, *words in (("secrets",), ("accept", "-e", f"digest={digest}"), ("exchange",)):
        ended = verb(name, *words, **there)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert re.search("changed=[1-9]", ended.stdout), ended.stdout
    kept = files(home)
    assert {".secrets/clinic-a.yml", ".exchange/accepted.yml", ".exchange/clinic-a/signer.key"} <= set(kept)
    assert {".ca/clinic-a/clinic-a.key", "public/clinic-a/clinic-a.pem", "public/clinic-a/exchange.json"} <= set(kept)
    for name, *words in (("secrets",), ("accept", "-e", f"digest={digest}"), ("exchange",)):
        again = verb(name, *words, **there)
        assert again.returncode == 0, again.stdout + again.stderr
        assert not re.search("changed=[1-9]", again.stdout), again.stdout
    assert files(home) == kept
    assert verb("site", **there).returncode == 4  # as far as its hosts, which aren't there
    assert set(kept) <= set(files(home))


@pytest.mark.slow
def test_a_verb_that_could_keep_nothing_says_so_before_any_host_is_touched(verb: Verb) -> None:
    for name in ("precheck", "site", "rotate"):
        ended = verb(name, "-e", "fedlearn_state=git@git.example:demo.git")
        assert ended.returncode == 2
        assert "fedlearn_state_key_file has to name a file with the deploy key" in ended.stdout + ended.stderr
        assert "UNREACHABLE" not in ended.stdout


@pytest.mark.slow
def test_backups_are_not_left_beside_a_working_copy(home: str, verb: Verb) -> None:
    kept = {"FEDLEARN_STATE_REPOSITORY": home}
    digest = next(word for word in verb("accept", **kept).stdout.split("digest=")[1:])[:64]
    assert verb("accept", "-e", f"digest={digest}", **kept).returncode == 0
    ended = verb("backup", **kept)
    assert ended.returncode == 2
    assert f"backups aren't kept in {home}: -e fedlearn_backup_directory=FOLDER" in " ".join(ended.stdout.split())
