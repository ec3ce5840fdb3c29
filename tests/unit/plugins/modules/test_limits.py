# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of a machine that allows less than was asked for."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.fedlearn.infra.plugins.modules import limits


@pytest.mark.parametrize("written", [False, True], ids=["first run", "again"])
def test_what_is_refused_is_told_in_every_run_with_host_and_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], written: bool
) -> None:
    """Core shows a module's warnings without the host they come from."""
    warnings: list[str] = []
    monkeypatch.setattr(limits.AnsibleModule, "warn", lambda _module, text: warnings.append(text))
    monkeypatch.setattr(limits, "allowed", lambda number: min(number, 1024))
    monkeypatch.setattr(limits, "usual", lambda _module, _what: 0)
    monkeypatch.setattr(limits, "read", lambda _path: None)
    if written:
        monkeypatch.setattr(limits, "is_as_wanted", lambda _path, _text: True)
    arguments = {"nofile": 65535, "host": "ms1", "_ansible_check_mode": True}
    with patch_module_args(arguments), pytest.raises(SystemExit) as ended:
        limits.main()
    told = (
        "nofile: 65535 was asked for, this machine allows 1024, enough for 102 workers: raise fs.nr_open, in a "
        "container its own limit (--ulimit nofile=), or ask for less (limits_nofile)"
    )
    found = json.loads(capsys.readouterr().out)
    assert (ended.value.code, found["changed"], found["told"]) == (0, not written, {"limits": told})
    assert warnings == [f"ms1: {told}"]


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only other file with limits, on a machine that allows whatever is asked for."""
    monkeypatch.setattr(limits, "OTHERS", (str(tmp_path / "limits.conf"), str(tmp_path / "nowhere/*.conf")))
    monkeypatch.setattr(limits, "allowed", lambda number, _what=0: number)
    monkeypatch.setattr(limits, "may_have", lambda _number, _what=0: True)
    return tmp_path / "limits.conf"


def test_who_has_less_by_another_file_is_named(others: Path) -> None:
    others.write_text(
        "# nobody soft nofile 1\n* soft nofile 1000\n@games - nofile 100 # few\nroot hard nofile 9999\n"
        "nobody soft nproc 5\nmore soft nofile unlimited\n%all - nofile 1\n@games hard nofile 100\nbroken line\n"
    )
    assert limits.with_less("nofile", 2000) == ["*", "@games"]
    assert limits.with_less("nproc", 6) == ["nobody"]
    assert limits.entries("nofile", ["*", "root", "*", "@games"], 2000, 4000).splitlines() == [
        "* soft nofile 2000",
        "* hard nofile 4000",
        "root soft nofile 2000",
        "root hard nofile 9999",
        "@games soft nofile 2000",
        "@games hard nofile 4000",
    ]


def test_who_has_more_by_another_file_keeps_it(others: Path) -> None:
    """Ours is the last one that is read, so what it says of all and of root counts."""
    others.write_text("* soft nofile 1\n* - nofile 200000\nroot soft nofile unlimited\nlow soft nofile 10\n")
    with others.open("a") as stream:
        stream.write("low hard nofile 300000\n")
    names = ["*", "root", *limits.with_less("nofile", 2000)]
    assert limits.entries("nofile", names, 2000, 4000).splitlines() == [
        "* soft nofile 200000",
        "* hard nofile 200000",
        "root soft nofile unlimited",
        "root hard nofile unlimited",
        "low soft nofile 2000",
        "low hard nofile 300000",
    ]


@pytest.mark.parametrize(
    ("by_systemd", "theirs", "written"),
    [
        ("15000", "", []),
        ("infinity", "", []),
        ("15000", "@games - nproc 50\n", ["@games soft nproc 4096", "@games hard nproc 4096"]),
        ("infinity", "* soft nproc 8000\n", []),
        ("infinity", "* soft nproc 50\n* hard nproc unlimited\n", ["* soft nproc 4096", "* hard nproc unlimited"]),
        ("100", "* - nproc unlimited\n", []),
        ("100", "", ["* soft nproc 4096", "* hard nproc 4096"]),
    ],
)
def test_processes_are_written_for_those_alone_who_have_fewer(
    monkeypatch: pytest.MonkeyPatch, others: Path, by_systemd: str, theirs: str, written: list[str]
) -> None:
    others.write_text(theirs)
    module = SimpleNamespace(run_command=lambda _argv: (0, f"{by_systemd}\n", ""), check_mode=True)
    monkeypatch.setattr(limits, "read", lambda path: theirs if path == str(others) else None)
    claims = limits.Claims()
    claims.by_federation["one"] = {"nofile": 1024, "sysctls": {}, "nproc": 4096}
    plan = limits.Plan(module, claims)
    assert [line for line in plan.texts[limits.LIMITS].splitlines() if " nproc " in line] == written
    assert plan.nproc == (4096 if written else 0)


def test_a_file_that_is_read_later_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"/a/zz.conf": "* hard nofile 10\n", "/a/zzz.conf": "# nofile\n", "/a/b.conf": "* hard nofile 10\n"}
    monkeypatch.setattr(limits, "LIMITS", "/a/y.conf")
    monkeypatch.setattr(limits, "other_files", lambda: list(texts))
    monkeypatch.setattr(limits, "read", texts.get)
    assert limits.overruling("nofile") == "/a/zz.conf"
    assert limits.overruling("nproc").startswith("another file in ")


def test_a_session_that_is_held_down_lowers_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root without the right to raise limits, by a login that has fewer: what it can't try it doesn't write."""
    monkeypatch.setattr(
        limits, "read", lambda _path: "Limit  Soft  Hard  Units\nMax open files    1024    20000    files\n"
    )
    for soft, asked in ((20000, 65535), (1200, 1200), (65535, 65535)):
        limits.refuse_to_lower(soft, asked)
    with pytest.raises(limits.RefusedError, match=r"this session may have 1200 and can't have more, .* others 20000"):
        limits.refuse_to_lower(1200, 65535)
    monkeypatch.setattr(limits, "read", lambda _path: None)
    limits.refuse_to_lower(1200, 65535)


def test_what_can_not_be_written_leaves_no_way_back_waiting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It would put the same limits in place again later, as a change that nobody made."""
    present = tmp_path / "limits.conf"
    present.write_text("* soft nofile 1000\n")

    def write(path: str, text: str | None) -> None:
        if path == str(present):
            raise limits.ServiceError(f"{path}: Read-only file system")
        Path(path).write_text(text or "")

    monkeypatch.setattr(limits, "LIMITS", str(present))
    monkeypatch.setattr(limits, "UNDO", str(tmp_path / "undo"))
    monkeypatch.setattr(limits, "CONFIRM", str(tmp_path / "undo" / "confirm"))
    monkeypatch.setattr(limits, "write", write)
    module = SimpleNamespace(run_command=lambda _argv: (0, "", ""))
    plan = SimpleNamespace(texts={str(present): "* soft nofile 2000\n"}, soft=2000)
    with pytest.raises(limits.RefusedError, match=r"Read-only file system; the former limits were put back"):
        limits.settle(module, plan, [str(present)])
    assert [path.name for path in tmp_path.iterdir()] == ["limits.conf"]
