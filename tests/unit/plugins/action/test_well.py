# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a role's check ends: well, or with a line for each that isn't."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task

from ansible_collections.fedlearn.infra.plugins.action.well import ActionModule

STOPPED = {"name": "redis", "state": "stopped", "reason": "fedlearn-redis.service is inactive (dead)"}


def well(**options: Any) -> dict[str, Any]:
    task = Task.load({"action": "fedlearn.infra.well", "args": {}})
    task.args = options
    action = ActionModule(
        task=task,
        connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)),
        play_context=None,
        loader=DataLoader(),
        templar=None,
        shared_loader_obj=None,
    )
    return action.run(task_vars={})


def test_nothing_to_name_is_well() -> None:
    assert well(unwell=[], ill={}, differing={"limits": [], "pki": ""}) == {"changed": False, "unwell": []}


def test_all_that_is_not_well_is_named_in_a_line_each() -> None:
    found = well(unwell=[STOPPED], ill={"scheduler": "CLUSTER_NODE_TIMEOUT"}, differing={"limits": ["/a", "/b"]})
    assert found["failed"] is True
    assert found["unwell"] == [
        STOPPED,
        {"name": "scheduler", "state": "ill", "reason": "CLUSTER_NODE_TIMEOUT"},
        {"name": "limits", "state": "differing", "reason": "/a, /b"},
    ]
    assert found["msg"].splitlines() == [
        "redis: stopped: fedlearn-redis.service is inactive (dead)",
        "scheduler: ill: CLUSTER_NODE_TIMEOUT",
        "limits: differing: /a, /b",
    ]


def test_software_that_is_not_as_it_was_brought_differs() -> None:
    software = {
        "s/environment": {"path": "/opt/e", "changed": True, "drift": False},
        "s/launcher": {"path": "/opt/l", "changed": False, "drift": False},
        "s/python": {"path": "/usr/p", "changed": False, "drift": True},
    }
    assert well(artifacts={"artifacts": software})["unwell"] == [
        {"name": name, "state": "differing", "reason": f"{path} is missing, or isn't as it was brought"}
        for name, path in (("s/environment", "/opt/e"), ("s/python", "/usr/p"))
    ]


def test_a_state_that_nobody_knows_is_refused() -> None:
    with pytest.raises(AnsibleError, match="value of state must be one of"):
        well(unwell=[{**STOPPED, "state": "dead"}])
