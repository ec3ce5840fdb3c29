# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No package goes for another that nobody said may go, and what is laid for an installation goes with its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.fedlearn.infra.plugins.modules import packages

SIMULATED = """\
NOTE: This is only a simulation!
Remv systemd-timesyncd [252.38-1~deb12u1]
Remv ntpsec [1.2.2]
Inst chrony (4.3-2+deb12u3 Debian:12.11/stable [amd64])
"""


def foresee(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], simulated: str, **options: Any
) -> dict[str, Any]:
    """What the module says in check mode of a host without chrony, where apt foresees this."""
    monkeypatch.setattr(packages, "missing", lambda _module, names: names)
    monkeypatch.setattr(packages, "run", lambda _module, _argv: (0 if simulated else 100, simulated))
    arguments = {"names": ["chrony"], "_ansible_check_mode": True, **options}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        packages.main()
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


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
    found = foresee(monkeypatch, capsys, simulated, replaces=["systemd-timesyncd", "ntpsec"])
    assert (found["changed"], found["missing"]) == (True, ["chrony"])


def test_nothing_is_installed_once_something_would_go(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(packages, "NO_DAEMONS", packages.During(str(tmp_path / "policy"), packages.MARK))
    monkeypatch.setattr(packages, "missing", lambda _module, names: names)
    monkeypatch.setattr(packages, "run", lambda _module, argv: asked.append(argv) or (0, SIMULATED))
    with patch_module_args({"names": ["chrony"]}), pytest.raises(SystemExit):
        packages.main()
    assert "apt would remove ntpsec, systemd-timesyncd for it" in json.loads(capsys.readouterr().out)["msg"]
    assert [argv[1] for argv in asked] == ["--simulate"]
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize(
    ("text", "value", "wanted", "changes"),
    [
        (NGINX, 4096, NGINX.replace("768", "4096"), ["FILE: worker_connections 768 -> 4096"]),
        (NGINX, 768, NGINX, []),
        (NGINX, 100, NGINX, []),
        ("  worker_connections   5 ;\n", 6, "  worker_connections   6 ;\n", ["FILE: worker_connections 5 -> 6"]),
    ],
)
def test_a_number_is_only_ever_raised(tmp_path: Path, text: str, value: int, wanted: str, changes: list[str]) -> None:
    path = tmp_path / "nginx.conf"
    path.write_text(text)
    found, said = packages.raised(str(path), "worker_connections", value)
    assert found == wanted
    assert said == [change.replace("FILE", str(path)) for change in changes]
    assert path.read_text() == text


@pytest.mark.parametrize("text", ["", "# worker_connections 768;\n", "my_worker_connections 768;\n"])
def test_a_number_that_stands_nowhere_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "nginx.conf"
    path.write_text(text)
    with pytest.raises(packages.files.ServiceError, match="there is no line 'worker_connections NUMBER;'"):
        packages.raised(str(path), "worker_connections", 4096)
