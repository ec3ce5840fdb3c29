# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runtime full beside runtime light, on one host that has its own Python 3.9."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_host import RoleHost

SCENARIO = Path(__file__).parents[1]
VARIABLES = yaml.safe_load((SCENARIO / "vars.yml").read_text())
TRUTH = [1.0, -2.0, 3.0, 0.5]


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "mindspore_worker", VARIABLES)


def environment(role: RoleHost, unit: str) -> str:
    """The interpreter of a unit."""
    return role.sh(f"systemctl cat fedlearn-{unit} | grep -o '/opt/fedlearn/mindspore-[^ ]*/bin/python'").strip()


@pytest.mark.parametrize("worker", ["worker-light", "worker-full"])
def test_both_learn_what_neither_had_alone(role: RoleHost, worker: str) -> None:
    found = role.result(worker)
    assert found["values"] == pytest.approx(TRUTH, abs=0.05)
    for own, right in zip(found["own"], TRUTH, strict=True):
        assert abs(own - right) == pytest.approx(0.5, abs=0.01)


def test_they_end_with_the_same_weights(role: RoleHost) -> None:
    assert role.result("worker-light")["values"] == pytest.approx(role.result("worker-full")["values"], abs=1e-5)


def test_the_full_worker_trained_with_mindspore_itself(role: RoleHost) -> None:
    assert role.result("worker-full")["mindspore"] == "2.0.0"
    assert "/mindspore-full/" in environment(role, "worker-full")
    assert "/mindspore-full/" in environment(role, "server-full")
    assert "/mindspore-light/" in environment(role, "server-light")
    maps = "/proc/$(systemctl show -p MainPID --value fedlearn-{})/maps"
    assert role.try_sh("grep -q libmindspore_core " + maps.format("server-full"))[0] == 0
    assert role.try_sh("grep -q libmindspore_core " + maps.format("server-light"))[0] == 1


def test_both_servers_hold_the_last_checkpoint(role: RoleHost) -> None:
    newest = [
        role.sh(f"ls /var/lib/fedlearn-server-{one}/checkpoints | sort | tail -1").strip() for one in ("light", "full")
    ]
    assert newest[0] == newest[1]
    assert newest[0].startswith("both_recovery_iteration_3_")


@pytest.mark.parametrize("unit", ["server-full", "worker-full"])
def test_hardened_as_the_light_ones(role: RoleHost, unit: str) -> None:
    assert role.exposure(f"fedlearn-{unit}.service") <= 2.5


def test_checkpoints_are_mindspores_own_both_ways(role: RoleHost) -> None:
    program = base64.b64encode((SCENARIO / "checkpoints.py").read_bytes()).decode()
    role.sh(f"mkdir -p /tmp/proof && echo {program} | base64 -d > /tmp/proof/checkpoints.py")
    launcher = role.sh("systemctl show -p Environment --value fedlearn-worker-full | grep -o '/opt/[^ ]*launcher[^ ]*'")
    said = role.sh(
        f"PYTHONPATH={launcher.strip()} {environment(role, 'worker-full')} /tmp/proof/checkpoints.py /tmp/proof"
    )
    found = json.loads(said.splitlines()[-1])
    assert len(found["given"]) > 60
    assert found["read"] == found["given"]
    # MindSpore gives a single truth value back as a row of one, of its own files too
    assert found["written"] == found["by itself"]
    assert set(found["given"]) - set(found["written"]) == {"network.layer-1.scalar.bool"}


def test_second_run_changes_nothing(role: RoleHost) -> None:
    again = role.play(most=2)
    assert (again.code, again.changed) == (0, 0), again.text
