# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Another training of ``poc`` is another configuration of the aggregator, too: else it would begin with a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import pytest
from ansible.plugins.filter.core import to_nice_json

TEMPLATES = Path(__file__).resolve().parents[4] / "roles" / "xain_aggregator" / "templates"
LEARNING = {"rounds": 3, "participants_ratio": 1.0, "min_clients": 2, "heartbeat_timeout": 15}


def configuration(**changed: Any) -> Any:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.ChainableUndefined)
    environment.filters["to_nice_json"] = to_nice_json
    learning = {**LEARNING, **changed}
    instance = {
        "name": "a",
        "listen": {"address": "127.0.0.1", "port": 50052},
        "rpc": {"port": 6666, "coordinator_port": 5555},
        "python_class": "mine:Mine",
        "keep_models": 3,
        "settings": {"logging": {"filter": "info"}, "max_model_size": 1, "federated_learning": learning},
    }
    found = {"artifacts": {"a/program": {"path": "/opt/program"}}}
    text = environment.get_template("etc/fedlearn/federation/instance/launcher.json.j2").render(
        instance=instance, shared_xain_artifacts=found
    )
    return json.loads(text)


@pytest.mark.parametrize(
    "changed", [{"rounds": 4}, {"participants_ratio": 0.5}, {"min_clients": 3}, {"heartbeat_timeout": 60}]
)
def test_what_restarts_the_coordinator_for_another_training_restarts_the_aggregator(changed: dict[str, Any]) -> None:
    assert configuration(**changed) != configuration()
    assert configuration(**changed)["federated_learning"] == {**LEARNING, **changed}
    # the program itself knows no such section
    assert "federated_learning" not in configuration()["configuration"]
