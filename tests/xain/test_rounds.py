# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""xain on three hosts: proven by a round with known numbers, by rounds that must fail, left alone by a second run."""

from __future__ import annotations

import pytest
from standing_demo import recap
from training import Rounds

EXPECTED = [7.5, -1.75, 3.5]
MOST_EXECUTIONS = 8
"""The host that has store and participant, both right."""


def test_a_round_ends_with_the_known_numbers(rounds: Rounds) -> None:
    code, found = rounds.verify()
    assert [row for row in found["checks"] if not row["passed"]] == []
    assert (code, found["passed"], found["real"]) == (0, True, True)
    assert found["expected"] == EXPECTED
    assert found["max_error"] <= 1e-9
    assert [worker["samples"] for worker in found["workers"]] == [10, 30]


@pytest.mark.parametrize("wrong", ["a participant left out", "a wrong number of samples", "a round too few"])
def test_a_round_that_is_not_whole_fails_by_its_number(rounds: Rounds, wrong: str) -> None:
    parts = rounds.round_parts()
    (coordinator,) = parts["x1"]["images"]["variables"]["xain_coordinator_instances"]
    (participant,) = parts["x3"]["images"]["variables"]["xain_participant_instances"]
    if wrong == "a participant left out":
        coordinator["settings"]["ai"]["min_participants"] = 1
        parts["x3"] = {}
    elif wrong == "a wrong number of samples":
        participant["application"]["settings"]["samples"] = 50
    else:
        coordinator["settings"]["ai"]["rounds"] = 2
    code, found = rounds.verify_with(parts)
    assert (code, found["passed"]) == (2, False)
    told = [row["detail"] for row in found["checks"] if not row["passed"]]
    assert told
    assert {"off by" in detail for detail in told if "expected" in detail} == {True}, told


def test_a_second_run_changes_nothing_in_few_executions(rounds: Rounds) -> None:
    before = rounds.files(), rounds.processes()
    again = rounds.site()
    assert (rounds.files(), rounds.processes()) == before
    found = recap(again.output)
    assert {host: found[host]["changed"] for host in rounds.hosts} == dict.fromkeys(rounds.hosts, 0)
    assert max(again.per_host().values()) <= MOST_EXECUTIONS, again.per_host()
