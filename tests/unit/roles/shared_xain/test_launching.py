# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What launchers of xain have in common."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

FILES = Path(__file__).resolve().parents[4] / "roles" / "shared_xain" / "files"
sys.path.append(str(FILES))
from fedlearn_xain import launching  # noqa: E402 - found by the line above


def test_a_training_that_is_over_leaves_its_result_and_a_mark_of_its_settings(tmp_path: Path) -> None:
    config = {"state": str(tmp_path), "digest": "d1"}
    launching.finish(config, SimpleNamespace())
    assert [path.name for path in tmp_path.iterdir()] == ["finished-d1"]
    launching.finish(config, SimpleNamespace(result=lambda: {"values": [1.0]}))
    assert json.loads((tmp_path / "result.json").read_text()) == {"values": [1.0]}


@pytest.mark.parametrize(
    ("extra", "named", "ran", "said"),
    [
        ([], "json:loads", 1, ""),
        (["--check"], "json:loads", 0, ""),
        (["--check"], "json:gone", 0, "application json:gone: json has no callable 'gone'"),
    ],
)
def test_a_participant_is_started_or_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: list[str], named: str, ran: int, said: str
) -> None:
    (tmp_path / "launcher.json").write_text(json.dumps({"application": {"callable": named}, "state": str(tmp_path)}))
    monkeypatch.setattr(sys, "argv", ["it", "--config", str(tmp_path / "launcher.json"), *extra])
    monkeypatch.setattr(launching, "drop_root", lambda: None)
    runs: list[object] = []
    told = ""
    try:
        launching.start_participant("it", runs.append)
    except SystemExit as ended:
        told = str(ended)
    assert (len(runs), told) == (ran, said)


def test_two_participants_of_one_folder_are_one_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "launcher.json").write_text(json.dumps({"application": {}, "state": str(tmp_path)}))
    monkeypatch.setattr(sys, "argv", ["it", "--config", str(tmp_path / "launcher.json")])
    told: list[str] = []

    def second(_config: object) -> None:
        with pytest.raises(SystemExit) as ended:
            launching.start_participant("it", lambda _config: told.append("ran"))
        told.append(str(ended.value))

    launching.start_participant("it", second)
    launching.start_participant("it", lambda _config: told.append("ran"))
    assert told == [
        f"{tmp_path}: a participant runs that has this folder for its state, and two would be taken for one: stop it, "
        "or give each a folder of its own",
        "ran",
    ]


def test_an_application_takes_nothing_s_place_while_root_looks_at_it(tmp_path: Path) -> None:
    for name in ("sitecustomize", "json", "socket", "mine"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\nmake = print\n")
    (tmp_path / "launcher.json").write_text(json.dumps({"application": {"callable": "mine:make"}}))
    look = "import sys; from fedlearn_xain import launching; sys.argv = ['it', '--config', sys.argv[1], '--check']; "
    look += "launching.drop_root = lambda: None; launching.start_participant('it', print)"
    environment = {**os.environ, "PYTHONPATH": str(FILES), launching.PROGRAM_PATH: str(tmp_path)}
    subprocess.run([sys.executable, "-B", "-c", look, tmp_path / "launcher.json"], env=environment, check=True)
    assert (tmp_path / "ran").read_text() == "mine"


def test_a_training_under_way_is_a_file(tmp_path: Path) -> None:
    note = launching.noting(tmp_path / "training")
    note(None)
    note("round 1 of 2")
    assert (tmp_path / "training").read_text() == "round 1 of 2\n"
    note(None)
    assert list(tmp_path.iterdir()) == []
