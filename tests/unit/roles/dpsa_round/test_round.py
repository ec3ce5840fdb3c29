# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program of a round: its steps, whichever of them fails, and what it writes."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[4] / "roles/dpsa_round/files/round.py"
VECTORS = [[0.5, -0.25], [0.25, 0.25], [-0.5, 0.5]]


def imported() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fedlearn_round", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["fedlearn_round"] = module
    spec.loader.exec_module(module)
    return module


round_ = imported()


class Panic(BaseException):
    """As PyO3 tells a panic of Rust."""


class Library:
    """The published client's functions; each notes that it was called, and one of them may fail."""

    def __init__(self, fails: str = "", error: BaseException | None = None, equal: bool = True) -> None:
        self.fails, self.error, self.equal = (
            fails,
            error or Panic("it broke\n\nStack backtrace:\n   0: <unknown>"),
            equal,
        )
        self.called: list[str] = []
        self.submitted: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        def function(*arguments: Any) -> Any:
            self.called.append(name)
            if name == self.fails:
                raise self.error
            if name == "client_api_submit":
                self.submitted.append(arguments[2])
            return {
                "controller_api_start_round": "task",
                "client_api_verify_privacy_parameter": self.equal,
                "controller_api_collect": [sum(column) for column in zip(*self.submitted, strict=True)],
            }.get(name)

        return function


def config(tmp_path: Path) -> dict[str, Any]:
    return {
        "managers": {"leader": "http://127.0.0.1:1", "helper": "http://127.0.0.1:2"},
        "epsilon": 100.0,
        "fixed_bits": 16,
        "vectors": VECTORS,
        "state": str(tmp_path),
        "digest": "0123",
    }


def test_a_round_ends_with_the_sum_and_without_its_session(tmp_path: Path) -> None:
    library = Library()
    found = round_.result(config(tmp_path), library, tuple)
    assert found == {"own": VECTORS[0], "epsilon": 100.0, "clients": 3, "values": [0.25, 0.5]}
    assert library.called.count("client_api_verify_privacy_parameter") == 3
    assert library.called[-1] == "controller_api_end_session"


@pytest.mark.parametrize(
    ("fails", "step", "ended"),
    [
        ("controller_api_new_state", "ask both managers where the aggregators are", False),
        ("controller_api_create_session", "open a session", False),
        ("controller_api_start_round", "start a round", True),
        ("client_api_verify_privacy_parameter", "have client 1 check the epsilon", True),
        ("client_api_submit", "have client 1 submit its vector", True),
        ("controller_api_collect", "collect the sum", True),
        ("controller_api_end_session", "end the session", True),
    ],
)
def test_a_step_that_fails_is_told_and_the_session_ended(tmp_path: Path, fails: str, step: str, ended: bool) -> None:
    library = Library(fails)
    found = round_.result(config(tmp_path), library, tuple)
    assert found["missed"] == f"could not {step}: it broke"
    assert "values" not in found
    assert ("controller_api_end_session" in library.called) is ended


def test_a_client_that_finds_another_epsilon_submits_nothing(tmp_path: Path) -> None:
    library = Library(equal=False)
    found = round_.result(config(tmp_path), library, tuple)
    assert "the managers have another one than 100.0" in found["missed"]
    assert library.submitted == []


def test_whoever_ends_the_program_ends_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        round_.result(config(tmp_path), Library("client_api_submit", KeyboardInterrupt()), tuple)


def test_a_failed_round_is_a_result_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "round.json"
    told.write_text(json.dumps(config(tmp_path)))
    monkeypatch.setitem(sys.modules, "dpsa4fl_bindings", Library("client_api_submit"))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "numpy", ModuleType("numpy"))
    monkeypatch.setattr(sys.modules["numpy"], "array", lambda vector, **_: vector, raising=False)
    monkeypatch.setattr(sys.modules["numpy"], "float32", None, raising=False)
    assert round_.main([str(told)]) == 0
    assert json.loads((tmp_path / "result.json").read_text())["missed"].endswith("submit its vector: it broke")
    assert (tmp_path / "finished-0123").exists()
