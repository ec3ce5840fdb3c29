# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No scenario is left out of the parts that `make test` and `make test-all` are made of."""

from __future__ import annotations

import shlex
import subprocess
import tomllib

from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.catalogue import INFRASTRUCTURE
from tests.unit.conftest import CHECKOUT

SCENARIOS = {path.parent.name for path in CHECKOUT.glob("molecule/*/molecule.yml")}
NEEDING = {path.parent.name for path in CHECKOUT.glob("molecule/*/needs.sh")}


def named(command: str) -> set[str]:
    """The scenarios that a part's command runs."""
    program, *words = shlex.split(command)
    if program == "tests/tools/scenario.sh":
        return {words[0]}
    if program == "tests/tools/defaults.sh":
        return {"default"}
    if program != "tests/tools/roles.sh":
        return set()
    if words[1:] and not words[1].startswith("-"):
        return set(words[1:])
    return SCENARIOS - NEEDING - {word.removeprefix("-") for word in words[1:]}


def test_each_scenario_is_in_a_part() -> None:
    parts = tomllib.loads((CHECKOUT / "tests/tools/parts.toml").read_text())
    run = set().union(*(named(part["command"]) for suite in parts.values() for part in suite["parts"]))
    assert run == SCENARIOS


def test_scenarios_that_run_side_by_side_have_a_network_each() -> None:
    """Of two whose networks were one the later couldn't make its host, as nginx and neursafe_ctl in two lanes."""
    tool = CHECKOUT / "tests/tools/network.sh"
    named_by = [(name, suite) for name in sorted(SCENARIOS) for suite in ("bullseye", "bookworm", "trixie")]
    networks = [subprocess.run([tool, *each], check=True, capture_output=True, text=True).stdout for each in named_by]
    assert len(set(networks)) == len(networks)
    other = subprocess.run([tool, *named_by[0], "mine"], check=True, capture_output=True, text=True).stdout
    assert other not in networks


def test_each_infrastructure_role_has_a_scenario_of_its_own_beside_the_default_one() -> None:
    assert set(INFRASTRUCTURE) - SCENARIOS == set()
