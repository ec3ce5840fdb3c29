# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room on disks, and ports, are looked for before anything is brought to a host."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.module_utils._service import state
from ansible_collections.fedlearn.infra.plugins.modules import preflight


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Free MB by file system, which is the first folder of a path."""
    found: dict[str, int] = {}
    first = {"/opt": 1, "/tmp": 2, "/var": 3, "/": 4}

    def stat(path: str) -> SimpleNamespace:
        return SimpleNamespace(st_dev=next(number for folder, number in first.items() if path.startswith(folder)))

    def statvfs(path: str) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=found[path], f_frsize=1_000_000)

    there = ("/opt", "/tmp", "/var/lib", "/")
    exists = there.__contains__
    monkeypatch.setattr(
        preflight,
        "os",
        SimpleNamespace(stat=stat, statvfs=statvfs, path=SimpleNamespace(exists=exists, dirname=os.path.dirname)),
    )
    return found


def need(path: str, megabytes: int, name: str = "light", **more: Any) -> dict[str, Any]:
    return {"path": path, "megabytes": megabytes, "name": name, "unless": None, **more}


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host's range for outgoing connections, and what is kept out of it."""
    monkeypatch.setattr(preflight, "SYSTEM", str(tmp_path))
    (tmp_path / "ip_local_port_range").write_text("32768\t60999\n")
    (tmp_path / "ip_local_reserved_ports").write_text("33000,40000-40010\n")
    return tmp_path


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize(
    ("port", "doubtful"),
    [(32767, False), (32768, True), (33000, False), (33456, True), (40010, False), (60999, True), (61000, False)],
)
def test_a_port_that_any_connection_may_take_is_doubtful(port: int, doubtful: bool) -> None:
    wanted = {"name": "store", "address": "10.0.0.1", "port": port, "protocol": "tcp", "unit": "store.service"}
    assert preflight.doubts([wanted]) == (
        [
            f"store: port {port} is one that the host gives to its own connections (32768 to 60999), so at a start "
            "it may be taken: choose one outside, or keep it free by the sysctl net.ipv4.ip_local_reserved_ports"
        ]
        if doubtful
        else []
    )


def test_a_host_that_says_nothing_of_its_range_gives_no_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "SYSTEM", str(tmp_path))
    assert preflight.doubts([{"name": "store", "port": 40000}]) == []


def test_enough_room_is_no_problem(free: dict[str, int]) -> None:
    free.update({"/opt": 300, "/tmp": 100})
    assert preflight.lacking([need("/opt", 200), need("/opt", 100), need("/tmp", 100)]) == []


def test_what_several_need_of_a_file_system_is_added_up_and_told_in_one_line(free: dict[str, int]) -> None:
    free.update({"/opt": 299, "/tmp": 20})
    assert preflight.lacking([need("/opt/fedlearn", 200), need("/opt", 100, "x"), need("/tmp", 100)]) == [
        "/opt/fedlearn and /opt: 299 MB are free and 300 MB are needed (200 MB in /opt/fedlearn for light, 100 MB in "
        "/opt for x): make room, or mount a bigger disk there",
        "/tmp: 20 MB are free and 100 MB are needed (100 MB in /tmp for light): "
        "make room, or mount a bigger disk there",
    ]


def test_what_is_there_needs_no_room(free: dict[str, int], tmp_path: Path) -> None:
    free.update({"/opt": 0})
    (tmp_path / "0.1.0-abc").mkdir()
    assert preflight.lacking([need("/opt", 200, unless=f"{tmp_path}/0.1.0-*")]) == []
    assert len(preflight.lacking([need("/opt", 200, unless=f"{tmp_path}/0.2.0-*")])) == 1


def test_a_folder_that_can_not_be_written_to_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def statvfs(path: str) -> SimpleNamespace:
        return SimpleNamespace(f_flag=os.ST_RDONLY | os.ST_NOSUID if path == "/etc" else os.ST_NOSUID)

    monkeypatch.setattr(preflight.os, "statvfs", statvfs)
    found = preflight.read_only()
    assert len(found) == 1
    assert found[0].startswith("/etc is read-only, and what is deployed lies there: mount it writable")


def test_a_port_is_held_in_its_own_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"--tcp": "", "--udp": 'UNCONN 0 0 127.0.0.1:123 0.0.0.0:* users:(("ntpd",pid=1,fd=3))\n'}
    module = SimpleNamespace(run_command=lambda argv, check_rc: (0, said[argv[3]], ""))
    monkeypatch.setattr(preflight, "unit_of", lambda _pid: "ntpsec.service")
    port = {"name": "lab", "address": "127.0.0.1", "port": 123, "unit": "chrony.service"}
    assert preflight.problem({**port, "protocol": "tcp"}, preflight.listeners(module, "tcp")) is None
    assert preflight.problem({**port, "protocol": "udp"}, preflight.listeners(module, "udp")) == (
        "lab: 127.0.0.1 UDP port 123: held by ntpd (process 1, ntpsec.service): end it, or choose another port"
    )
    own = {**port, "protocol": "udp", "unit": "ntpsec.service"}
    assert preflight.problem(own, preflight.listeners(module, "udp")) is None


@pytest.mark.parametrize(
    ("port", "names", "told"),
    [
        (6666, [], True),
        (6667, [], False),
        (6666, ["a.test"], False),
        (7777, ["a.test", "b.test"], True),
        (666, [], False),
    ],
)
def test_another_site_for_the_same_names_is_a_problem(port: int, names: list[str], told: bool) -> None:
    files = {
        "/etc/nginx/conf.d/own.conf": "    listen 10.0.0.1:6666 ssl;\n    server_name _;\n",
        "/etc/nginx/conf.d/any.conf": "    listen 10.0.0.1:6666 ssl so_keepalive=on;\n    server_name _;\n",
        "/etc/nginx/sites-enabled/b": "listen [fd00::1]:80;\n  listen 10.0.0.1:7777;\n  server_name b.test c.test;\n",
    }
    site = {
        "name": "x",
        "address": "10.0.0.1",
        "port": port,
        "server_names": names,
        "file": "/etc/nginx/conf.d/own.conf",
    }
    found = preflight.site_problem(site, files)
    assert (found is not None) is told
    if found:
        path = "/etc/nginx/conf.d/any.conf" if port == 6666 else "/etc/nginx/sites-enabled/b"
        assert (
            found == f"x: 10.0.0.1 port {port}: another site is there for the same names ({path}): choose another port"
        )


def test_too_few_open_files_are_told_with_the_number(monkeypatch):
    monkeypatch.setattr(preflight.resource, "getrlimit", lambda what: (1024, 20_000))
    monkeypatch.setattr(preflight, "may_open", lambda number: number <= 65_535)
    wanted = [{"name": name, "number": number, "reason": "why"} for name, number in (("a", 70_000), ("b", 60_000))]
    assert preflight.too_few(wanted) == [
        "a: 70000 open files are needed (why), and this machine allows 20000: set fs.nr_open to 70000 at least, of a "
        "container its own limit (--ulimit nofile=70000)"
    ]


def test_who_logs_in_as_whom_a_folder_is_kept_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    people = [("ann", 1000, 1000, "/bin/bash"), ("ben", 1001, 1001, ""), ("daemon", 1002, 1002, "/usr/sbin/nologin")]
    accounts = [SimpleNamespace(pw_name=n, pw_uid=u, pw_gid=g, pw_shell=s) for n, u, g, s in people]
    unlisted = {71002: SimpleNamespace(pw_name="eve", pw_uid=71002, pw_gid=100, pw_shell="/bin/sh")}
    groups = {71000: SimpleNamespace(gr_mem=["ben", "daemon"]), 71001: SimpleNamespace(gr_mem=[])}
    monkeypatch.setattr(
        preflight, "pwd", SimpleNamespace(getpwall=lambda: list(accounts), getpwuid=unlisted.__getitem__)
    )
    monkeypatch.setattr(preflight, "grp", SimpleNamespace(getgrgid=groups.__getitem__))
    told = {number: preflight.who_has(number) for number in (1000, 1001, 1002, 71000, 71001, 71002)}
    assert told == {1000: ["ann"], 1001: ["ben"], 1002: [], 71000: ["ben"], 71001: [], 71002: ["eve"]}
    kept = [{"name": "files", "path": "/mnt/models", "number": number} for number in (1000, 1002)]
    assert preflight.shared(kept) == [
        "files: /mnt/models is kept for user and group 1000, and ann would have what lies there: choose a number that "
        "nobody logs in with"
    ]


def test_what_a_role_s_script_says_is_told_of_its_instance() -> None:
    """It is called with the packages that come."""
    says = {"one": 'echo "$1 $2 isn\'t enough"; exit 1', "two": '[ "$2" = age ]'}
    trials = [{"name": name, "script": script} for name, script in says.items()]
    assert preflight.refused(trials, ["age"]) == ["one: precheck age isn't enough"]


def test_data_of_somebody_else_are_told_of_as_the_deploy_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "ROOT", str(tmp_path))
    monkeypatch.setattr(state, "holds_data", lambda path: path.endswith("theirs"))
    stores = [{"name": "theirs"}, {"name": "new", "federation": "mine"}]
    assert preflight.strangers(stores, "mine") == [
        "theirs: /var/lib/fedlearn-theirs is there and isn't this instance's: it is left alone; move it away, or name "
        "the instance otherwise"
    ]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "owned.json").write_text("?")
    damaged = f"new: {tmp_path}/mine/owned.json: is damaged; restore it, or move it away and run again"
    assert preflight.strangers(stores[1:], "mine") == [damaged]
