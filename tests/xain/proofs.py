# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each generation that is deployed has to hold."""

from __future__ import annotations

from typing import Any

from standing_demo import recap
from training import Rounds

MOST_EXECUTIONS = 8
"""On the host that has most beside its participant, all of it right."""


def check_exact(standing: Rounds, expected: list[float]) -> None:
    """A round of two participants ends with the known numbers."""
    code, found = standing.verify()
    assert [row for row in found["checks"] if not row["passed"]] == []
    assert (code, found["passed"], found["real"]) == (0, True, True)
    assert found["expected"] == expected
    assert found["max_error"] <= 1e-9
    assert [worker["samples"] for worker in found["workers"]] == [10, 30]


def check_fails_by_its_number(standing: Rounds, parts: dict[str, Any]) -> None:
    """A round of these parts, which isn't whole, fails, and by nothing but its number."""
    code, found = standing.verify_with(parts)
    assert (code, found["passed"]) == (2, False)
    told = [row["detail"] for row in found["checks"] if not row["passed"]]
    assert told
    assert {"off by" in detail for detail in told if "expected" in detail} == {True}, told


def check_left_alone(standing: Rounds, most: int = MOST_EXECUTIONS) -> None:
    """A second run changes nothing, in few executions."""
    before = standing.files(), standing.processes()
    again = standing.site()
    assert (standing.files(), standing.processes()) == before
    found = recap(again.output)
    assert {host: found[host]["changed"] for host in standing.hosts} == dict.fromkeys(standing.hosts, 0)
    assert max(again.per_host().values()) <= most, again.per_host()
