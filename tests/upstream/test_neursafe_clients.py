# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Neursafe's client, and the double that stands in for it on hosts: one suite on both, by the setup file of the role.

The programs are run on Python 3.7, where there is one and a checkout of them (tests/support/neursafe_programs.py).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.neursafe_standalone import check
from tests.support import neursafe_programs

CHECKOUT = Path(__file__).resolve().parents[2]
DOUBLE = CHECKOUT / "tests" / "doubles" / "neursafe" / "bin" / "python3.7"
READY = CHECKOUT / "roles" / "neursafe_standalone" / "files" / "ready.py"
NAMED = CHECKOUT / "roles" / "neursafe_standalone" / "files" / "named.py"
SECONDS = 180
"""As the programs take on a loaded machine."""


@pytest.fixture(scope="module", params=["double", "program"])
def python(request: pytest.FixtureRequest) -> str:
    """What runs the client: a double, or the program."""
    if request.param == "double":
        return str(DOUBLE)
    if neursafe_programs.missing():
        pytest.skip(neursafe_programs.missing())
    return str(neursafe_programs.brought())


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Room:
    """A client's files, laid as the role lays them, but for where they are."""

    def __init__(self, folder: Path, **keys: Any) -> None:
        self.folder, self.port, self.server = folder, free_port(), free_port()
        self.more: dict[str, str] = {}
        given = {
            "name": "k",
            "listen": {"address": "127.0.0.1", "port": self.port},
            "server": f"127.0.0.1:{self.server}",
            "datasets": {"mnist": "/srv"},
            "settings": {"label": "ward", "max_task_parallelism": 2, "options": {"REPORT_HEARTBEAT": 1}},
        }
        (self.instance,) = check([given | keys])
        setup = json.loads(json.dumps(self.instance["setup"]).replace("/var/lib/fedlearn-k", str(folder)))
        for name in ("lmdb", "workspace", "task_configs"):
            (folder / name).mkdir()
        (folder / "datasets.json").write_text(json.dumps(self.instance["datasets"]))
        self.setup: dict[str, Any] = setup | {"datasets": str(folder / "datasets.json")}

    def write(self, **changed: Any) -> str:
        path = self.folder / "setup.json"
        path.write_text(
            json.dumps({key: value for key, value in {**self.setup, **changed}.items() if value is not None})
        )
        return str(path)

    def environment(self) -> dict[str, str]:
        options = {key: str(value) for key, value in self.instance["settings"]["options"].items()}
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PLATFORM": "linux", **options, **self.more}


@contextmanager
def running(python: str, room: Room, module: str, *arguments: str, by: str = "") -> Iterator[Path]:
    """A program for the time of the block, by itself or by a script, and the file that has what it says."""
    log = room.folder / f"{module}.log"
    with log.open("w") as said:
        command = [python, "-u", "-B", *([by] if by else ["-m", f"neursafe_fl.python.{module}.app"]), *arguments]
        process = subprocess.Popen(command, stdout=said, stderr=said, env=room.environment(), cwd=room.folder)
    try:
        yield log
    finally:
        process.kill()
        process.wait()


@contextmanager
def selector(python: str, room: Room) -> Iterator[None]:
    """Whoever takes registrations, of the same kind as the client."""
    setup = room.folder / "selector.json"
    setup.write_text(
        json.dumps({"host": "127.0.0.1", "port": room.server, "auth_client": "false", "log_level": "info"})
    )
    arguments = ["127.0.0.1", str(room.server)] if python == str(DOUBLE) else ["--config_file", str(setup)]
    with running(python, room, "selector", *arguments):
        answers(room.server)
        yield


def answers(port: int) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < end, f"nobody listens on {port}"
            time.sleep(0.1)
        else:
            return


def says(log: Path, *words: str) -> str:
    """What it said until it said all of the words."""
    end = time.monotonic() + SECONDS
    while any(word not in log.read_text() for word in words):
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.1)
    return log.read_text()


def test_a_client_registers_and_reports_in_the_words_that_health_looks_for(python: str, tmp_path: Path) -> None:
    room = Room(tmp_path)
    looked_for = (CHECKOUT / "roles" / "neursafe_standalone" / "files" / "registered.sh").read_text()
    words = ("Register client success", "Report client to server success")
    assert all(word in looked_for for word in words)
    with selector(python, room), running(python, room, "client", "--config_file", room.write()) as log:
        says(log, *words)
        answers(room.port)


@pytest.mark.parametrize(("by", "goes_on"), [("", False), (str(NAMED), True)], ids=["by itself", "named"])
def test_a_client_that_began_anew_goes_on_when_the_former_one_expires(
    python: str, tmp_path: Path, by: str, goes_on: bool
) -> None:
    """By itself it loses its address where others are known, too; where this ends to hold, nothing needs to name it."""
    (tmp_path / "k").mkdir()
    (tmp_path / "other").mkdir()
    room, other = Room(tmp_path / "k"), Room(tmp_path / "other")
    # the program begins in seconds: its former one mustn't have expired by then
    seconds = 3 if python == str(DOUBLE) else 15
    room.more = {"SINGLE_HEART": str(seconds)}
    arguments = ("client", "--config_file", room.write())
    lost = f"Report client to server failed '127.0.0.1:{room.port}'"
    beside = running(python, other, "client", "--config_file", other.write(server=room.setup["server"]))
    with selector(python, room), beside as log:
        says(log, "Report client to server success")
        with running(python, room, *arguments, by=by) as log:
            says(log, "Report client to server success")
        with running(python, room, *arguments, by=by) as log:
            says(log, "Report client to server success", *([] if goes_on else [lost]))
            time.sleep(2 * seconds + 2 if goes_on else 0)
            assert (lost not in log.read_text()) is goes_on, log.read_text()[-3000:]


def test_a_client_that_doesn_t_register_only_listens(python: str, tmp_path: Path) -> None:
    room = Room(tmp_path, settings={"registration": False})
    assert room.instance["report_seconds"] is None
    with running(python, room, "client", "--config_file", room.write()) as log:
        answers(room.port)
        assert "Register client success" not in says(log, "The registration switch is off")


def test_a_client_whom_nobody_takes_ends(python: str, tmp_path: Path) -> None:
    room = Room(tmp_path)
    done = subprocess.run(
        [python, "-m", "neursafe_fl.python.client.app", "--config_file", room.write()],
        env=room.environment(), cwd=tmp_path, capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode != 0
    assert "Register client success" not in done.stderr


WRONG: tuple[dict[str, Any], ...] = (
    {"server": None},
    {"lmdb_path": None},
    {"workspace": "/nowhere"},
    {"task_config_entry": "/nowhere"},
    {"platform": "bsd"},
    {"storage_quota": 0},
)


@pytest.mark.parametrize("changed", WRONG, ids=str)
def test_what_it_can_t_work_with_ends_it(python: str, tmp_path: Path, changed: dict[str, Any]) -> None:
    room = Room(tmp_path)
    done = subprocess.run(
        [python, "-m", "neursafe_fl.python.client.app", "--config_file", room.write(**changed)],
        env=room.environment(), cwd=tmp_path, capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode != 0


def ready(python: str, folder: Path, doubles: str) -> str:
    """What the role's look at a client says; nothing where it can be started."""
    command = [python, "-B", str(READY), str(folder), doubles]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (done.stdout.strip() == ""), done.stdout + done.stderr
    return done.stdout.strip()


def test_the_role_knows_a_double_from_the_program(python: str, tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.write()
    is_double = python == str(DOUBLE)
    for word, well in (("true", is_double), ("false", not is_double)):
        done = subprocess.run(
            [python, "-B", str(READY), str(tmp_path), word], capture_output=True, text=True, check=False
        )
        assert (done.returncode == 0) is well, done.stdout
    (tmp_path / "datasets.json").write_text('{"mnist": "/nowhere"}')
    said = subprocess.run(
        [python, "-B", str(READY), str(tmp_path), "true"], capture_output=True, text=True, check=False
    )
    assert "data set 'mnist': there is no /nowhere" in said.stdout


SETTINGS = CHECKOUT / "roles" / "neursafe_ctl" / "files" / "settings.py"
ELSEWHERE = """
import runpy, sys
from pathlib import Path
import neursafe_fl.python.cli.nsfl as nsfl
names = runpy.run_path(sys.argv[1])
for function in ("found", "write", "same", "remove"):
    names[function].__globals__["SETTINGS"] = Path(sys.argv[3])
sys.exit(names["main"](sys.argv[2], sys.argv[4], *sys.argv[5:]))
"""
"""The role's script for nsfl-ctl, with settings that lie elsewhere than in /etc."""


def test_nsfl_ctl_s_settings_are_what_its_own_code_makes_of_them(python: str, tmp_path: Path) -> None:
    settings = tmp_path / "nsfl.json"
    (tmp_path / "told.json").write_text(json.dumps({"api_server": "127.0.0.1:8088", "user": "operators"}))
    (tmp_path / "password").write_text("only for the test\n")

    def asked(word: str, *more: str) -> str:
        command = [python, "-B", "-c", ELSEWHERE, str(SETTINGS), word, str(settings), str(tmp_path), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == (done.stdout.strip() == ""), done.stdout + done.stderr
        return done.stdout.strip()

    assert asked("possible", str(python == str(DOUBLE)).lower()) == ""
    assert "and doubles says otherwise" in asked("possible", str(python != str(DOUBLE)).lower())
    assert asked("same") == f"there is no {settings}"
    assert asked("write") == ""
    assert asked("same") == ""
    assert oct(settings.stat().st_mode & 0o777) == "0o600"
    assert "only for the test" not in settings.read_text()
    opened = "import sys; from neursafe_fl.python.cli.core.aes import decrypt; print(decrypt(sys.stdin.read()))"
    sealed, command = json.loads(settings.read_text())["password"], [python, "-B", "-c", opened]
    found = subprocess.run(command, input=sealed, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "only for the test"
    (tmp_path / "password").write_text("another\n")
    assert f"{settings} has another password" in asked("same")
    assert (asked("remove"), settings.exists()) == ("", True)
    (tmp_path / "password").write_text("only for the test\n")
    assert (asked("remove"), settings.exists()) == ("", False)


LIMIT = """
import sys
from neursafe_fl.python.client.executor.cgroup import Cgroup
cgroup = Cgroup("task")
for limit in (cgroup.set_cpu_quota, cgroup.set_memory_quota):
    try:
        limit(1, 1)
    except OSError as error:
        print("not limited:", error.strerror)
cgroup.clear()
"""
"""As a task is limited (linux_executor.py): an OSError is told, and the task goes on."""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees other folders in place of control groups")
@pytest.mark.parametrize(("folders", "ends_well"), [("cpu memory", True), ("", False)])
def test_empty_folders_of_control_groups_let_tasks_go_on_and_none_end_them(folders: str, ends_well: bool) -> None:
    if neursafe_programs.missing():
        pytest.skip(neursafe_programs.missing())
    python = str(neursafe_programs.brought())
    made = f"mkdir {' '.join(f'/sys/fs/cgroup/{name}' for name in folders.split())}" if folders else "true"
    mounted = f"mount -t tmpfs none /sys/fs/cgroup && {made} && mount -o remount,ro /sys/fs/cgroup"
    command = ["unshare", "--mount", "sh", "-ec", f'{mounted}; exec "$@"', "sh", python, "-c", LIMIT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is ends_well, done.stderr
    assert ("not limited: Read-only file system" in done.stdout) is ends_well
    assert ("AttributeError" in done.stderr) is not ends_well
