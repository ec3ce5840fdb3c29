# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The dpsa_round role on one host, as an unprivileged sudo user: a round without managers ends, and is done once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_host import RoleHost

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
(INSTANCE,) = VARIABLES["dpsa_round_instances"]
UNIT, STATE = "fedlearn-round.service", "/var/lib/fedlearn-round"


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "dpsa_round", VARIABLES, ("round",))


def ended(role: RoleHost) -> dict[str, Any]:
    """What the round ended with, once it has."""
    role.sh(
        f"for i in $(seq 100); do [ -e {STATE}/result.json ] && ls {STATE} | grep -q finished && break; sleep 0.3; done"
    )
    found: dict[str, Any] = json.loads(role.sh(f"cat {STATE}/result.json"))
    return found


def test_a_round_without_managers_says_so(role: RoleHost) -> None:
    found = ended(role)
    assert found["missed"].startswith("could not ask both managers where the aggregators are: ")
    assert ("values" in found, found["clients"], "backtrace" in found["missed"]) == (False, 3, False)


def test_it_isn_t_run_again_and_is_well(role: RoleHost) -> None:
    ended(role)
    before = role.sh(f"stat -c %Y {STATE}/result.json")
    assert role.play().changed == 0
    role.sh(f"systemctl start {UNIT}")
    assert role.sh(f"stat -c %Y {STATE}/result.json") == before
    assert role.play(entry="check").failed == 0


def test_another_round_is_run(role: RoleHost) -> None:
    ended(role)
    other = [{**INSTANCE, "vectors": INSTANCE["vectors"][:2]}]
    try:
        assert role.play(dpsa_round_instances=other).changed == 1
        role.sh(f"for i in $(seq 100); do [ $(ls {STATE} | grep -c finished) = 2 ] && break; sleep 0.3; done")
        assert ended(role)["clients"] == 2
    finally:
        role.play()


def test_the_unit_is_hardened(role: RoleHost) -> None:
    told = role.sh(f"systemd-analyze security --no-pager {UNIT} | tail -1")
    assert float(told.split(":")[1].split()[0]) <= 2.5, told


def test_what_is_wrong_changes_nothing(role: RoleHost) -> None:
    run = role.play(dpsa_round_instances=[{**INSTANCE, "vectors": [[1.0, 1.0], [0.0, 0.0]]}])
    assert (run.failed, run.changed) == (1, 0)
    assert "vectors[0]: is 1.41 long, and reports longer than 1 are dropped" in run.words


def test_nothing_is_left_but_the_result_and_then_not_that(role: RoleHost) -> None:
    owned = role.owned()
    assert owned
    try:
        assert role.play(entry="remove").failed == 0
        assert [path for path in owned if role.try_sh(f"test -e {path}")[0] == 0] == []
        assert role.try_sh(f"test -e {STATE}/result.json")[0] == 0
        assert role.play(entry="remove", dpsa_round_remove_data=True).failed == 0
        assert role.try_sh(f"test -e {STATE}/result.json")[0] != 0
    finally:
        role.play()
    assert ended(role)["clients"] == 3
