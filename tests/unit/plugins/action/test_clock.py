# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the clock action asks a host, and what it tells."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task

from ansible_collections.fedlearn.infra.plugins.action.clock import ActionModule


def measure(monkeypatch: pytest.MonkeyPatch, answers: Iterator[str], **options: Any) -> dict[str, Any]:
    """What the action says of a host whose clock gives these answers."""

    def ask(_action: ActionModule, command: str, sudoable: bool) -> dict[str, Any]:
        assert (command, sudoable) == ("date +%s.%N", False)
        said = next(answers)
        return {"rc": 0 if said else 127, "stdout": said, "stderr": "" if said else "sh: 1: date: not found\n"}

    monkeypatch.setattr(ActionModule, "_low_level_execute_command", ask)
    monkeypatch.setattr(ActionModule, "_compute_environment_string", lambda _action: "")
    task = Task.load({"action": "fedlearn.infra.clock", "args": {}})
    task.args = options
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    action = ActionModule(
        task=task,
        connection=connection,
        play_context=None,
        loader=DataLoader(),
        templar=None,
        shared_loader_obj=None,
    )
    return action.run(task_vars={})


def ahead(*seconds: float) -> Iterator[str]:
    """A clock that is so far ahead, one look after the other."""
    return (f"{time.time() + each:.9f}\n" for each in seconds)


@pytest.mark.parametrize("skew", [90, -90])
def test_a_skew_is_told_in_size_and_sign(monkeypatch: pytest.MonkeyPatch, skew: int) -> None:
    found = measure(monkeypatch, ahead(skew, skew, skew), max_skew_ms=5000)
    assert abs(found["skew_ms"] - skew * 1000) <= found["give_or_take_ms"] + 0.1
    assert found["jump_ms"] == 0
    assert found["failed"] is True
    assert found["msg"].startswith(f"the clock is {skew:+d}.0")


def test_a_jump_between_two_looks_is_told_in_size_and_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measure(monkeypatch, ahead(0, -90), readings=2, max_skew_ms=5000)
    assert round(found["jump_ms"] / 1000) == round(found["skew_ms"] / 1000) == -90
    assert found["msg"].startswith("the clock jumped by -90.0")


def test_without_a_bound_it_only_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measure(monkeypatch, ahead(90, 90, 90))
    assert set(found) == {"changed", "skew_ms", "give_or_take_ms", "jump_ms"}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("", "the clock can't be read: `date +%s.%N` says: sh: 1: date: not found"),
        ("1800000000.%N\n", "the clock can't be read: `date +%s.%N` says: 1800000000.%N"),
    ],
)
def test_a_host_that_does_not_say_the_time_is_told(monkeypatch: pytest.MonkeyPatch, answer: str, message: str) -> None:
    with pytest.raises(AnsibleActionFail) as raised:
        measure(monkeypatch, iter([answer]))
    assert str(raised.value) == message


def test_nothing_is_measured_without_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnsibleActionFail, match="readings: expected a number of at least 1, found 0"):
        measure(monkeypatch, ahead(), readings=0)
