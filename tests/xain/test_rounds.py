# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""xain on three hosts: proven by a round with known numbers, by rounds that must fail, left alone by a second run."""

from __future__ import annotations

import pytest
from proofs import check_exact, check_fails_by_its_number, check_left_alone
from training import Rounds

EXPECTED = [7.5, -1.75, 3.5]


def test_a_round_ends_with_the_known_numbers(rounds: Rounds) -> None:
    check_exact(rounds, EXPECTED)


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
    check_fails_by_its_number(rounds, parts)


def test_a_second_run_changes_nothing_in_few_executions(rounds: Rounds) -> None:
    check_left_alone(rounds)
