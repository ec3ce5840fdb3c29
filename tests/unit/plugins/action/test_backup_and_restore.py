# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Data brought to the control node and put back; the scripts are run, and connection and host are this machine."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task

from ansible_collections.fedlearn.infra.plugins.action import backup, restore
from ansible_collections.fedlearn.infra.plugins.modules import backup as packing
from ansible_collections.fedlearn.infra.plugins.modules import restore as unpacking

HOST = {"inventory_hostname": "store1"}


class Connection:
    """Files of this machine; ``spoil`` is done to what was fetched."""

    become = None

    def __init__(self, spoil: Any = None) -> None:
        self._shell, self.spoil = SimpleNamespace(tmpdir=None), spoil

    def fetch_file(self, remote: str, local: str) -> None:
        shutil.copyfile(remote, local)
        if self.spoil:
            self.spoil(Path(local))


def action(
    plugin: Any, connection: Any, executed: list[tuple[str, dict[str, Any]]], made: dict[str, Any], **options: Any
) -> Any:
    """An action whose executions are written down; the first one's answer is ``made``."""
    task = Task.load({"action": f"fedlearn.infra.{plugin.__name__.rpartition('.')[2]}", "args": {}})
    task.args, task.check_mode = options, False
    parts = {"play_context": None, "templar": None, "shared_loader_obj": None}
    found = plugin.ActionModule(task=task, connection=connection, loader=DataLoader(), **parts)

    def execute(name: str, arguments: dict[str, Any], task_vars: Any = None) -> dict[str, Any]:
        executed.append((name, arguments))
        return dict(made) if len(executed) == 1 else {"changed": True}

    found._execute_module = execute
    return found


@pytest.fixture
def packed(tmp_path: Path) -> dict[str, Any]:
    """What the module answers."""
    (tmp_path / "packed").write_bytes(b"all of it")
    return {"path": str(tmp_path / "packed"), "digest": hashlib.sha256(b"all of it").hexdigest(), "changed": False}


def options(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"name": "redis", "collect": "true", "directory": str(tmp_path / "backups"), **more}


@pytest.mark.parametrize(("recipient", "ending"), [("", ".tar"), ("age1" + 58 * "q", ".tar.age")], ids=["clear", "age"])
def test_a_backup_is_brought_and_leaves_the_host(
    tmp_path: Path, packed: dict[str, Any], recipient: str, ending: str
) -> None:
    executed: list[tuple[str, dict[str, Any]]] = []
    made = action(backup, Connection(), executed, packed, **options(tmp_path, recipient=recipient)).run(task_vars=HOST)
    place = Path(made["dest"])
    assert (made["changed"], place.parent, place.read_bytes()) == (True, tmp_path / "backups/store1", b"all of it")
    assert place.name.startswith("redis-")
    assert place.name.endswith(f"Z{ending}")
    assert [place.stat().st_mode & 0o777, place.parent.stat().st_mode & 0o777] == [0o600, 0o700]
    assert executed[1:] == [("ansible.legacy.file", {"path": packed["path"], "state": "absent"})]


def refuse(_file: Path) -> None:
    raise AnsibleError("the connection is gone")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(lambda file: file.write_bytes(b"half"), "isn't what the host has"), (refuse, "the connection is gone")],
    ids=["changed on its way", "cut off"],
)
def test_what_isn_t_whole_has_no_name_and_leaves_the_host(
    tmp_path: Path, packed: dict[str, Any], spoil: Any, message: str
) -> None:
    executed: list[tuple[str, dict[str, Any]]] = []
    with pytest.raises(AnsibleError, match=message):
        action(backup, Connection(spoil), executed, packed, **options(tmp_path)).run(task_vars=HOST)
    assert list((tmp_path / "backups/store1").iterdir()) == []
    assert len(executed) == 2


def test_why_nothing_was_packed_is_told(tmp_path: Path) -> None:
    executed: list[tuple[str, dict[str, Any]]] = []
    failed = {"failed": True, "msg": "disk full"}
    assert action(backup, Connection(), executed, failed, **options(tmp_path)).run(task_vars=HOST) == failed
    assert len(executed) == 1


def test_a_folder_that_can_t_be_made_is_told(tmp_path: Path, packed: dict[str, Any]) -> None:
    (tmp_path / "backups").touch()
    with pytest.raises(AnsibleActionFail, match=r"backups.* can't be written: "):
        action(backup, Connection(), [], packed, **options(tmp_path)).run(task_vars=HOST)


@pytest.mark.parametrize("plugin", [backup, restore])
def test_check_mode_reaches_no_host(tmp_path: Path, plugin: Any) -> None:
    given = options(tmp_path)
    if plugin is restore:
        (tmp_path / "file.tar").touch()
        given = {"name": "redis", "directory": "/b", "put_back": "true", "source": str(tmp_path / "file.tar")}
    executed: list[tuple[str, dict[str, Any]]] = []
    checked = action(plugin, Connection(), executed, {}, **given)
    checked._task.check_mode = True
    assert (checked.run(task_vars=HOST), executed) == ({"changed": True}, [])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "redis_restore_from: which file of /b/store1 is to be restored?"),
        ("/x/gone.tar", "redis_restore_from: there is no file /x/gone.tar"),
        ("/x/a.tar.age", "redis_backup_secret: which secret is the key that /x/a.tar.age is encrypted for?"),
    ],
)
def test_what_is_missing_for_a_restore_is_asked_for(source: str, message: str) -> None:
    executed: list[tuple[str, dict[str, Any]]] = []
    given = {"name": "redis", "directory": "/b", "put_back": "true", "source": source}
    with pytest.raises(AnsibleActionFail) as told:
        action(restore, Connection(), executed, {}, **given).run(task_vars=HOST)
    assert (message in str(told.value), executed) == (True, [])


# --- the parts on the host --------------------------------------------------------------------------------------------


def bash(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)


def test_what_was_collected_is_packed() -> None:
    ended = bash(packing.script("unit_pack", 'echo said; echo data >"$room/file"', 'tar -C "$room" -cf - .', ""))
    digest, path = ended.stdout.split()
    try:
        assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == digest
        with tarfile.open(path) as archive:
            assert sorted(archive.getnames()) == [".", "./file"]
    finally:
        Path(path).unlink()
    assert list(Path("/var/tmp").glob("fedlearn-unit_pack.*")) == []


@pytest.mark.parametrize(
    ("collect", "pack"),
    [("echo why >&2; false", "true"), ("true", "echo why >&2; false | cat")],
    ids=["collect", "pack"],
)
def test_what_can_t_be_collected_leaves_nothing(collect: str, pack: str) -> None:
    ended = bash(packing.script("unit_fail", collect, pack, ""))
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "why\n")
    assert list(Path("/var/tmp").glob("fedlearn-unit_fail.*")) == []


class Module:
    """What of AnsibleModule a restore needs."""

    @staticmethod
    def run_command(command: list[str], data: str | None) -> tuple[int, str, str]:
        ended = subprocess.run(command, input=data or "", capture_output=True, text=True, check=False)
        return ended.returncode, ended.stdout, ended.stderr


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A file with `data` in it."""
    (tmp_path / "data").write_text("kept")
    with tarfile.open(tmp_path / "backup.tar", "w") as file:
        file.add(tmp_path / "data", "data")
    (tmp_path / "room").mkdir()
    return tmp_path / "backup.tar"


def put_back(archive: Path, script: str) -> str:
    given = {"archive": str(archive), "source": "/b/redis.tar", "identity": "", "put_back": script}
    return unpacking.put_back(Module, given, str(archive.with_name("room")))


def test_what_is_unpacked_is_put_back(archive: Path, tmp_path: Path) -> None:
    assert put_back(archive, f'cp "$room/data" {tmp_path}/again') == ""
    assert (tmp_path / "again").read_text() == "kept"


def test_what_can_t_be_read_whole_is_put_back_by_nobody(archive: Path, tmp_path: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:700])
    told = put_back(archive, f"touch {tmp_path}/again")
    assert told.startswith("/b/redis.tar can't be read whole, and nothing was restored: tar: ")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("script", "told"), [("echo why; false", "why"), ("echo why >&2; exit 3", "why"), ("exit 3", "exit code 3")]
)
def test_why_it_can_t_be_put_back_is_told(archive: Path, script: str, told: str) -> None:
    assert put_back(archive, script) == told
