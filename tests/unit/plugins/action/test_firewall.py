# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the firewall action confirms what a host loaded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task

from ansible_collections.fedlearn.infra.plugins.action.firewall import ActionModule

LOADED = {"changed": True, "differing": ["table fedlearn-demo"], "token": "abc"}


def converge(monkeypatch: pytest.MonkeyPatch, *answers: Any, **options: Any) -> tuple[dict[str, Any], list[str]]:
    """What the action ends with, and what it did: 'look', 'reset', 'confirm TOKEN'."""
    left, did = list(answers), list[str]()

    def execute(_action: ActionModule, _name: str, arguments: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        did.append(f"confirm {arguments['token']}" if "token" in arguments else "look")
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    monkeypatch.setattr(ActionModule, "_execute_module", execute)
    task = Task.load({"action": "fedlearn.infra.firewall", "args": {}})
    task.args = options
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None), reset=lambda: did.append("reset"))
    action = ActionModule(
        task=task,
        connection=connection,
        play_context=None,
        loader=DataLoader(),
        templar=None,
        shared_loader_obj=None,
    )
    return action.run(task_vars={}), did


def test_nothing_to_confirm_is_one_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    found, did = converge(monkeypatch, {"changed": False, "differing": []}, mode="enforce")
    assert (found["changed"], did) == (False, ["look"])


def test_what_was_loaded_is_confirmed_over_a_new_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    found, did = converge(monkeypatch, LOADED, {"changed": True, "differing": ["a file"]}, mode="enforce")
    assert did == ["look", "reset", "confirm abc"]
    assert (found["changed"], found["differing"]) == (True, ["table fedlearn-demo"])
    assert "token" not in found


def test_a_playbook_confirms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _found, did = converge(monkeypatch, {"changed": False, "differing": []}, mode="enforce", token="stale")
    assert did == ["look"]


def test_a_host_that_does_not_answer_is_told_to_put_its_rules_back(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _did = converge(monkeypatch, LOADED, AnsibleConnectionFailure("timed out"), confirm_seconds=45)
    assert (found["failed"], found["changed"]) == (True, False)
    assert found["msg"].startswith("with these rules the host doesn't answer a new connection any more: timed out")
    assert "45 seconds" in found["msg"]


def test_a_confirmation_that_comes_too_late_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    late = {"failed": True, "msg": "the confirmation came too late"}
    found, _did = converge(monkeypatch, LOADED, late, mode="enforce")
    assert (found["failed"], found["changed"], found["msg"]) == (True, False, late["msg"])


def test_a_look_that_fails_confirms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found, did = converge(monkeypatch, {"failed": True, "msg": "no", "token": "abc"}, mode="enforce")
    assert (found["failed"], did) == (True, ["look"])
