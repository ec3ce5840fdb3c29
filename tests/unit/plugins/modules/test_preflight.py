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


def test_a_port_is_held_in_its_own_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"--tcp": "", "--udp": 'UNCONN 0 0 127.0.0.1:123 0.0.0.0:* users:(("ntpd",pid=1,fd=3))\n'}
    module = SimpleNamespace(run_command=lambda argv, check_rc: (0, said[argv[3]], ""))
    monkeypatch.setattr(preflight, "unit_of", lambda _pid: "ntpsec.service")
    port = {"name": "lab", "address": "127.0.0.1", "port": 123, "unit": "chrony.service"}
    assert preflight.problem({**port, "protocol": "tcp"}, preflight.listeners(module, "tcp")) is None
    assert preflight.problem({**port, "protocol": "udp"}, preflight.listeners(module, "udp")) == (
        "lab: 127.0.0.1 UDP port 123: held by ntpd (process 1, ntpsec.service)"
    )
    own = {**port, "protocol": "udp", "unit": "ntpsec.service"}
    assert preflight.problem(own, preflight.listeners(module, "udp")) is None
