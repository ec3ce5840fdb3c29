# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Folders and URLs are told apart, and a home that is none is told before anything is made."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._state import folder
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.errors import StateError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.git import Access
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.location import (
    directory_of,
    is_repository,
    room_around,
    room_of,
    trouble,
)
from tests.unit.conftest import CHECKOUT

STATE = re.compile(r"\bfedlearn_state\b")


@pytest.mark.parametrize("state", ["/srv/state", "state", ".", "a:b", "/srv/a@b:c", "git@", "C:state", "a b@c:d", ""])
def test_a_folder_is_no_repository(state: str) -> None:
    assert not is_repository(state)
    assert directory_of(state) == state
    assert room_around(state or ".") is None


@pytest.mark.parametrize(
    "url",
    [
        "git@git.example:demo.git",
        "git@[fd00::1]:demo.git",
        "ssh://git@git.example/demo.git",
        "ssh://git.example:2222/srv/demo.git",
        "ssh://git@[fd00::1]:22/demo.git",
        "file:///srv/demo.git",
    ],
)
def test_a_repository_is_one_that_can_be_used(url: str) -> None:
    assert is_repository(url)
    assert trouble(url) == ""
    assert room_around(directory_of(url)) == room_of(url)
    assert room_around(directory_of(url) + "/.ca/lab/lab.key") == room_of(url)
    assert room_around(directory_of(url) + "/../../other") is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://git.example/demo.git", "is reached by https"),
        ("ext::sh -c id", ""),
        ("ext://x", "is reached by ext"),
        ("ssh://git:CANARY@git.example/demo.git", "without a password"),
        ("ssh://-oProxyCommand=id/demo.git", "is no URL for ssh"),
        ("ssh://git@-oProxyCommand=id/demo.git", "is no URL for ssh"),
        ("ssh://git.example", "is no URL for ssh"),
    ],
)
def test_one_that_can_t_be_used_is_told(url: str, why: str) -> None:
    assert why in trouble(url)
    with pytest.raises(StateError):
        Access(url, "/dev/null", "/dev/null").check()


def test_ssh_wants_a_key_and_the_server_s_host_keys(tmp_path: Path) -> None:
    url, key = "git@git.example:demo.git", tmp_path / "key"
    with pytest.raises(StateError, match="fedlearn_state_key_file has to name a file with the deploy key"):
        Access(url).check()
    with pytest.raises(StateError, match=f"{key}, named by fedlearn_state_key_file, is no file"):
        Access(url, str(key), str(key)).check()
    key.touch()
    with pytest.raises(StateError, match=f"{key}, named by fedlearn_state_key_file, is empty: .*credential"):
        Access(url, str(key), str(key)).check()
    key.write_text("a key")
    with pytest.raises(StateError, match="fedlearn_state_known_hosts_file has to name a file with the git server's"):
        Access(url, str(key)).check()
    Access(url, str(key), str(key)).check()


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_that_can_be_made_is_a_home(tmp_path: Path) -> None:
    folder.check(tmp_path / "demo" / "lab")
    folder.check(tmp_path, thrown_away=tmp_path / "runner")


def test_one_that_nobody_may_write_to_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(StateError, match=rf"has no home: {tmp_path} can't be written to; give -e fedlearn_state="):
        folder.check(tmp_path / "demo" / "lab")


def test_a_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "demo").touch()
    with pytest.raises(StateError, match=r"has no home: .*/demo is no folder"):
        folder.check(tmp_path / "demo" / "lab")


def test_what_ends_with_the_job_is_none_unless_something_is_mounted_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    with pytest.raises(StateError, match=rf"{project} is thrown away after this job, and the next would begin"):
        folder.check(project, thrown_away=tmp_path)
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == project)
    folder.check(project / "demo", thrown_away=tmp_path)


def test_no_role_takes_a_url_for_a_folder() -> None:
    """Whatever lies below the state folder lies below a repository's working copy."""
    paths = [path for part in ("defaults", "tasks", "vars") for path in CHECKOUT.glob(f"roles/*/{part}/*.yml")]
    lines = [line for path in paths for line in path.read_text().splitlines() if "{{" in line and STATE.search(line)]
    assert len(lines) > 5
    assert [line for line in lines if "| fedlearn.infra.state_directory" not in line] == []
