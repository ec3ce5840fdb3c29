# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No package goes for another that nobody said may go, and what is laid for an installation goes with its end."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.fedlearn.infra.plugins.module_utils import _packages
from ansible_collections.fedlearn.infra.plugins.modules import artifact, packages

SIMULATED = """\
NOTE: This is only a simulation!
Remv systemd-timesyncd [252.38-1~deb12u1]
Remv ntpsec [1.2.2]
Inst chrony (4.3-2+deb12u3 Debian:12.11/stable [amd64])
"""


def apt_is(monkeypatch: pytest.MonkeyPatch, answers: Callable[[Any, list[str]], tuple[int, str]]) -> None:
    """Has something else answer in apt's stead."""
    for module in (packages, _packages):
        monkeypatch.setattr(module, "run", answers)


def foresee(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], simulated: str, **options: Any
) -> dict[str, Any]:
    """What the module says in check mode of a host without chrony, where apt foresees this."""
    monkeypatch.setattr(packages, "missing", lambda _module, names: names)
    apt_is(monkeypatch, lambda _module, _argv: (0 if simulated else 100, simulated))
    arguments = {"names": ["chrony"], "_ansible_check_mode": True, **options}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        packages.main()
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("fetched", [True, False], ids=["lists there", "no list was ever fetched"])
def test_what_is_not_to_be_had_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, fetched: bool
) -> None:
    """Without lists apt knows no package at all."""
    (tmp_path / "debian_Packages").touch() if fetched else None
    monkeypatch.setattr(_packages, "LISTS", f"{tmp_path}/*Packages*")
    monkeypatch.setattr(packages, "missing", lambda _module, names: names)
    apt_is(monkeypatch, lambda _module, _argv: (100, "E: Unable to locate package age\n"))
    otherwise = [{"package": "age", "text": "bring one"}, {"package": "rage", "text": "bring another"}]
    with (
        patch_module_args({"names": ["age"], "otherwise": otherwise, "_ansible_check_mode": True}),
        pytest.raises(SystemExit),
    ):
        packages.main()
    found = json.loads(capsys.readouterr().out)
    assert found.get("failed", False) is fetched
    assert found.get("msg", "") == (
        "age can't be installed: E: Unable to locate package age; bring one" if fetched else ""
    )


@pytest.mark.parametrize("had", [True, False])
def test_newer_lists_are_looked_at_and_leave_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], had: bool
) -> None:
    """An installation would fetch them: neither none nor old ones are a reason to refuse, or to let through."""
    rooms: list[Path] = []

    def apt(_module: Any, argv: list[str]) -> tuple[int, str]:
        if "-c" not in argv:
            return 100, "E: Unable to locate package age\n"
        conf = Path(argv[argv.index("-c") + 1])
        rooms.append(conf.parent)
        assert f'Dir::State::lists "{conf.parent}/lists";' in conf.read_text()
        wanted = (0, "") if had else (100, "E: Version '0.0-1' for 'age' was not found\n")
        return (0, "") if argv[-1] == "update" else wanted

    monkeypatch.setattr(packages, "missing", lambda _module, names: names)
    apt_is(monkeypatch, apt)
    with patch_module_args({"names": ["age=0.0-1"], "_ansible_check_mode": True}), pytest.raises(SystemExit):
        packages.main()
    told = json.loads(capsys.readouterr().out).get("msg")
    no_version = "of age there is no version at all: add the repository that has it"
    refused = f"age=0.0-1 can't be installed: E: Version '0.0-1' for 'age' was not found; {no_version}"
    assert told == (None if had else refused)
    assert len(rooms) == (2 if had else 3)
    assert not rooms[0].exists()


def test_what_would_go_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = foresee(monkeypatch, capsys, SIMULATED, replaces=["systemd-timesyncd"])
    assert found["failed"] is True
    assert found["msg"] == (
        "chrony can't be installed: apt would remove ntpsec for it: remove them yourself, or ask for it elsewhere"
    )


@pytest.mark.parametrize("simulated", [SIMULATED, SIMULATED.replace("Remv", "Inst"), ""])
def test_what_may_go_is_no_hindrance(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], simulated: str
) -> None:
    """Nor is a host on which apt can't tell yet, since no list was ever fetched."""
    monkeypatch.setattr(_packages, "LISTS", "/nowhere/*")
    found = foresee(monkeypatch, capsys, simulated, replaces=["systemd-timesyncd", "ntpsec"])
    assert (found["changed"], found["missing"]) == (True, ["chrony"])


@pytest.mark.parametrize("replaces", [[], ["systemd-timesyncd"]], ids=["nothing may go", "another may go"])
def test_nothing_is_installed_once_something_would_go(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, replaces: list[str]
) -> None:
    """Where nothing may go, apt itself refuses to remove; else what would go is looked at first."""
    asked: list[list[str]] = []

    def apt(_module: Any, argv: list[str]) -> tuple[int, str]:
        asked.append(argv)
        if "--simulate" in argv:
            return 0, SIMULATED
        assert "--no-remove" in argv, "apt would have removed"
        return 100, "E: Packages need to be removed but remove is disabled.\n"

    monkeypatch.setattr(packages, "NO_DAEMONS", packages.During(str(tmp_path / "policy"), packages.MARK))
    monkeypatch.setattr(packages, "missing", lambda _module, names: names)
    apt_is(monkeypatch, apt)
    with patch_module_args({"names": ["chrony"], "replaces": replaces}), pytest.raises(SystemExit):
        packages.main()
    others = ", ".join(name for name in ("ntpsec", "systemd-timesyncd") if name not in replaces)
    assert f"apt would remove {others} for it" in json.loads(capsys.readouterr().out)["msg"]
    assert not any("update" in argv or "dpkg" in argv for argv in asked)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wanted", "lacking"),
    [
        (["age", "nowhere"], ["nowhere"]),
        (["age=1.1"], []),
        (["age=1.2"], ["age=1.2"]),
        (["half"], ["half"]),
    ],
)
def test_another_version_than_the_one_that_is_pinned_is_missing_to_artifacts_too(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    wanted: list[str],
    lacking: list[str],
) -> None:
    there = {"age": ("installed", "1.1"), "half": ("half-configured", "3")}

    def query(_module: Any, argv: list[str], **_options: Any) -> tuple[int, str, str]:
        form = next(one for one in argv if "${Package}" in one).rpartition("--showformat=")[2].replace("\\n", "\n")
        rows = [
            form.replace("${Package}", name).replace("${db:Status-Status}", state).replace("${Version}", version)
            for name, (state, version) in there.items()
            if name in argv
        ]
        return 0, "".join(rows), ""

    monkeypatch.setattr(AnsibleModule, "run_command", query)
    payload = base64.b64encode(zlib.compress(json.dumps({"artifacts": [], "absent": [], "spared": []}).encode()))
    given = {"payload": payload.decode(), "packages": wanted, "root": str(tmp_path)}
    with patch_module_args(given), pytest.raises(SystemExit):
        artifact.main()
    assert json.loads(capsys.readouterr().out).get("missing_packages", []) == lacking


@pytest.mark.parametrize("before", [None, "the administrator's\n"])
@pytest.mark.parametrize("killed", [False, True], ids=["", "after a killed run"])
def test_a_file_is_laid_and_what_was_there_comes_back(tmp_path: Path, before: str | None, killed: bool) -> None:
    path = tmp_path / "file"
    if before:
        path.write_text(before)
    during = packages.During(str(path), f"{packages.MARK}off\n")
    assert not during.left
    for _run in range(1 + killed):
        during.lay()
        assert path.read_text() == f"{packages.MARK}off\n"
        assert during.left
    during.put_back()
    assert [one.read_text() for one in tmp_path.iterdir()] == ([before] if before else [])
    assert not during.left


NGINX = "user www-data;\nevents {\n\tworker_connections 768;\n\t# multi_accept on;\n}\n"


def noted(before: int, now: int, line: str = "\tworker_connections {};") -> str:
    """NGINX with a number that was raised."""
    indent = line[: len(line) - len(line.lstrip())]
    note = f"{indent}# fedlearn.infra raised worker_connections from {before} to {now}\n"
    return NGINX.replace("\tworker_connections 768;", note + line.format(now))


def settled(path: Path, text: str, value: int) -> tuple[str, list[str]]:
    path.write_text(text)
    found, said = packages.raised(str(path), "worker_connections", value)
    assert path.read_text() == text
    return found, [one.removeprefix(f"{path}: worker_connections ") for one in said]


@pytest.mark.parametrize(
    ("text", "value", "wanted", "changes"),
    [
        (NGINX, 4096, noted(768, 4096), ["768 -> 4096"]),
        (NGINX, 768, NGINX, []),
        (NGINX, 100, NGINX, []),
        (noted(768, 4096), 4096, noted(768, 4096), []),
        (noted(768, 4096), 100, noted(768, 4096), []),
        (noted(768, 4096), 5000, noted(768, 5000), ["4096 -> 5000"]),
        # somebody has changed it since
        (noted(768, 4096).replace("connections 4096;", "connections 900;"), 4096, noted(900, 4096), ["900 -> 4096"]),
        (
            NGINX.replace("768;", " 5 ; multi_accept on;"),
            6,
            noted(5, 6, "\tworker_connections  {} ; multi_accept on;"),
            ["5 -> 6"],
        ),
    ],
)
def test_a_number_is_only_ever_raised(tmp_path: Path, text: str, value: int, wanted: str, changes: list[str]) -> None:
    assert settled(tmp_path / "nginx.conf", text, value) == (wanted, changes)


@pytest.mark.parametrize(
    ("text", "wanted", "changes"),
    [
        (noted(768, 4096), NGINX, ["4096 -> 768"]),
        (noted(768, 4096).replace("connections 4096;", "connections 900;"), NGINX.replace("768", "900"), []),
        (NGINX, NGINX, []),
        ("", "", []),
    ],
)
def test_a_raised_number_is_put_back_unless_somebody_changed_it(
    tmp_path: Path, text: str, wanted: str, changes: list[str]
) -> None:
    assert settled(tmp_path / "nginx.conf", text, 0) == (wanted, changes)


def test_a_number_stays_raised_while_somebody_needs_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, site = tmp_path / "nginx.conf", tmp_path / "fedlearn-site.conf"
    path.write_text(noted(768, 4096))
    site.touch()
    number = {"path": str(path), "directive": "worker_connections", "value": 0, "needed_by": f"{tmp_path}/fedlearn-*"}
    for changed, text in ((False, noted(768, 4096)), (True, NGINX), (False, NGINX)):
        with patch_module_args({"names": [], "minimums": [number]}), pytest.raises(SystemExit):
            packages.main()
        assert json.loads(capsys.readouterr().out)["changed"] is changed
        assert path.read_text() == text
        site.unlink(missing_ok=True)


@pytest.mark.parametrize("text", ["", "# worker_connections 768;\n", "my_worker_connections 768;\n"])
def test_a_number_that_stands_nowhere_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "nginx.conf"
    path.write_text(text)
    with pytest.raises(packages.files.ServiceError, match="there is no line 'worker_connections NUMBER;'"):
        packages.raised(str(path), "worker_connections", 4096)


@contextmanager
def held(lock: Path) -> Iterator[str]:
    """Somebody else has a lock; the process."""
    program = f"import fcntl; to = open({str(lock)!r}, 'w'); fcntl.lockf(to, fcntl.LOCK_EX); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        yield str(holder.pid)
        holder.stdin.close()


def install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], room: Path, **options: Any) -> Any:
    """What the module says of a host that lacks a package."""
    monkeypatch.setattr(packages, "NO_DAEMONS", packages.During(str(room / "policy"), packages.MARK))
    monkeypatch.setattr(packages, "missing", lambda _module, names: names)
    monkeypatch.setattr(packages, "LOCKS", (str(room / "lock"),))
    with patch_module_args({"names": ["chrony"], **options}), pytest.raises(SystemExit):
        packages.main()
    return json.loads(capsys.readouterr().out)


def test_who_holds_the_package_manager_is_told_and_waited_for_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    apt_is(monkeypatch, lambda _module, argv: pytest.fail(f"ran {argv}"))
    begun = time.monotonic()
    with held(tmp_path / "lock") as process:
        told = install(monkeypatch, capsys, tmp_path, lock_timeout=1)["msg"]
    assert told.startswith(f"chrony can't be installed: {tmp_path}/lock is held by process {process} (")
    assert told.endswith(
        ", and 1 seconds of waiting are over; wait until that has ended, or give fedlearn_apt_wait_seconds more"
    )
    assert 1 <= time.monotonic() - begun < 2.5


def test_the_first_call_that_meets_a_lock_is_the_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Somebody was quicker, and held it for as long as apt waited."""
    told = f"E: Unable to acquire the dpkg frontend lock ({tmp_path}/lock), is another process using it?"
    monkeypatch.setattr(packages, "LOCKED", re.compile(re.escape(f"{tmp_path}/lock")))
    asked: list[list[str]] = []

    def apt(_module: Any, argv: list[str]) -> tuple[int, str]:
        asked.append(argv)
        return 100, told

    apt_is(monkeypatch, apt)
    found = install(monkeypatch, capsys, tmp_path, lock_timeout=7)
    assert told in found["msg"]
    assert ["DPkg::Lock::Timeout=7" in argv for argv in asked] == [True]


def test_who_lets_go_in_time_hinders_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    apt_is(monkeypatch, lambda _module, _argv: (0, ""))
    with held(tmp_path / "lock"):
        monkeypatch.setattr(packages.time, "sleep", lambda _seconds: monkeypatch.setattr(packages, "LOCKS", ()))
        assert install(monkeypatch, capsys, tmp_path)["changed"] is True


@pytest.mark.parametrize(
    ("known", "told"),
    [
        (
            " age | 1.2 | http://x sid/main\n age | 1.2 | http://y sid/main\n age | 1.1 | http://x\n",
            "is 1.2, 1.1: pin one",
        ),
        ("", "is no version at all: add the repository that has it"),
    ],
)
def test_which_versions_there_are_is_told_where_one_is_pinned_that_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, known: str, told: str
) -> None:
    absent = "E: Version '0.0-1' for 'age' was not found"
    apt_is(monkeypatch, lambda _module, argv: (0, known) if argv[0] == "apt-cache" else (100, absent))
    found = install(monkeypatch, capsys, tmp_path, names=["age=0.0-1", "hello"])
    assert f"age=0.0-1, hello can't be installed: {absent}; of age there {told}" in found["msg"]


def test_apts_last_words_are_told() -> None:
    assert packages.reason("E: one\nE: two\n") == "E: one / E: two"
