# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of a machine that allows less than was asked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.fedlearn.infra.plugins.modules import limits


def test_a_warning_names_host_and_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Core shows a module's warnings without the host they come from."""
    warnings: list[str] = []
    monkeypatch.setattr(limits.AnsibleModule, "warn", lambda _module, text: warnings.append(text))
    monkeypatch.setattr(limits, "allowed", lambda number: min(number, 1024))
    monkeypatch.setattr(limits, "usual", lambda _module, _what: 0)
    monkeypatch.setattr(limits, "read", lambda _path: None)
    arguments = {"nofile": 65535, "host": "ms1", "_ansible_check_mode": True}
    with patch_module_args(arguments), pytest.raises(SystemExit) as ended:
        limits.main()
    assert ended.value.code == 0
    assert warnings == [
        "ms1: nofile: 65535 was asked for, this machine allows 1024, enough for 102 workers: raise fs.nr_open, in a "
        "container its own limit (--ulimit nofile=), or ask for less (limits_nofile)"
    ]


def test_who_has_less_by_another_file_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "limits.conf").write_text(
        "# nobody soft nofile 1\n* soft nofile 1000\n@games - nofile 100 # few\nroot hard nofile 9999\n"
        "nobody soft nproc 5\nmore soft nofile unlimited\n%all - nofile 1\n@games hard nofile 100\nbroken line\n"
    )
    monkeypatch.setattr(limits, "OTHERS", (str(tmp_path / "limits.conf"), str(tmp_path / "nowhere/*.conf")))
    assert limits.with_less("nofile", 2000) == ["*", "@games"]
    assert limits.with_less("nproc", 6) == ["nobody"]
    assert limits.limits_text(2000, 4000, 6).splitlines()[1:] == [
        "* soft nofile 2000",
        "* hard nofile 4000",
        "root soft nofile 2000",
        "root hard nofile 4000",
        "@games soft nofile 2000",
        "@games hard nofile 4000",
        "* - nproc 6",
        "nobody - nproc 6",
    ]


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
