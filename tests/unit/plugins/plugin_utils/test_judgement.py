# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.fedlearn.infra.plugins.plugin_utils import judgement

TRUTH = [1.0, -2.0, 3.0, 0.5]
numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8)


def row(instance, values=None, outcome="finished", seconds=3.0):
    content = {"content": {"values": values, "own": [9.0], "samples": 10}} if outcome == "finished" else {}
    return {"instance": instance, "outcome": outcome, "detail": "no result after 9 s", "seconds": seconds, **content}


def known(*rows, real=True, participants=2):
    return judgement.Round("mindspore", "round", real, TRUTH, 0.05, 7, participants, list(rows))


@given(numbers)
def test_a_vector_is_at_no_distance_from_itself(values):
    assert judgement.distance(values, values) == 0


@given(numbers, st.floats(0.01, 1e3), st.integers(0, 7))
def test_distance_is_the_largest_difference(values, step, index):
    moved = list(values)
    moved[index % len(values)] += step
    assert judgement.distance(values, moved) == pytest.approx(step, rel=1e-6)


@pytest.mark.parametrize(
    "observed",
    [None, [], [1.0, -2.0, 3.0], [*TRUTH, 0.0], [1.0, -2.0, 3.0, math.nan], ["1", -2.0, 3.0, 0.5], "text", {"a": 1}],
)
def test_what_is_no_vector_of_that_length_is_infinitely_far(observed):
    assert judgement.distance(TRUTH, observed) == math.inf


def test_right_numbers_pass():
    entry = judgement.judge_round(known(row("w1", TRUTH), row("w2", [1.01, -2, 3, 0.5])), [])
    assert entry["passed"] is True
    assert entry["max_error"] == pytest.approx(0.01)
    assert [each["final"] for each in entry["workers"]] == [TRUTH, [1.01, -2, 3, 0.5]]


def test_a_round_without_a_participant_proves_nothing():
    entry = judgement.judge_round(known(participants=0), [])
    assert entry["passed"] is False
    assert entry["checks"] == [
        {"name": "every participant answered", "passed": False, "detail": "0 of 0 participants reported"}
    ]


def test_a_wrong_number_fails_by_the_number_it_shows():
    entry = judgement.judge_round(known(row("w1", TRUTH), row("w2", [2.0, -2.0, 3.0, 0.5])), [])
    assert entry["passed"] is False
    assert [each for each in entry["checks"] if not each["passed"]] == [
        {
            "name": "result of w2",
            "passed": False,
            "detail": "expected [1.0, -2.0, 3.0, 0.5] within 0.05, observed [2.0, -2.0, 3.0, 0.5]: off by 1",
        }
    ]


def test_a_time_out_is_a_failure_of_another_kind():
    entry = judgement.judge_round(known(row("w1", TRUTH), row("w2", outcome="timeout")), [])
    assert entry["passed"] is False
    details = [each["detail"] for each in entry["checks"] if not each["passed"]]
    assert details == ["the round timed out: no result after 9 s"]


def test_who_came_too_late_is_no_wrong_number():
    late = {**row("w2", TRUTH), "content": {"missed": "the training was over"}}
    entry = judgement.judge_round(known(late, row("w1", TRUTH)), [])
    assert (entry["passed"], entry["observed"]) == (False, TRUTH)
    assert [each["detail"] for each in entry["checks"] if not each["passed"]] == ["it has none: the training was over"]


def test_a_participant_that_never_reported_fails_the_round():
    entry = judgement.judge_round(known(row("w1", TRUTH)), [])
    assert entry["passed"] is False
    assert {"name": "every participant answered", "passed": False, "detail": "1 of 2 participants reported"} in entry[
        "checks"
    ]


def test_a_failed_probe_fails_a_round_with_right_numbers():
    failed = judgement.check("ms1: redis", False, "no answer")
    assert judgement.judge_round(known(row("w1", TRUTH), row("w2", TRUTH)), [failed])["passed"] is False


def test_a_double_never_passes():
    assert judgement.judge_round(known(row("w1", TRUTH), row("w2", TRUTH), real=False), [])["passed"] is None
    assert judgement.judge_probe("dpsa", False, [judgement.check("up", True)])["passed"] is None


def test_what_fails_with_a_double_has_failed():
    assert judgement.judge_round(known(row("w1", TRUTH), real=False), [])["passed"] is False
    assert judgement.judge_probe("dpsa", False, [judgement.check("up", False, "no answer")])["passed"] is False


def test_a_probe_that_looked_at_nothing_has_not_passed():
    assert judgement.judge_probe("mindspore", True, [])["passed"] is False


@given(st.lists(st.sampled_from(judgement.VERDICTS)))
def test_the_worst_verdict_wins(verdicts):
    assert judgement.worst(verdicts) == (
        judgement.VERDICTS[max(map(judgement.VERDICTS.index, verdicts))] if verdicts else "ok"
    )


def test_days_a_certificate_has_left():
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    rows = {"a": {"not_after": "2026-12-05T12:00:00Z"}, "old": {"not_after": "2026-11-24T12:00:00Z"}, "none": {}}
    assert judgement.certificate_days(rows, now) == {"a": 10, "old": -1}
    assert judgement.list_days({"a": {"crl_not_after": "2026-12-05T12:00:00Z"}, "b": {}}, now) == {"a": 10}


CLOCK = {"clock_skew_ms": 0.0, "clock_give_or_take_ms": 0.0, "clock_jump_ms": 0.0, "clock_max_skew_ms": 5000}


@pytest.mark.parametrize(
    ("status", "warning"),
    [
        ({"certificate_days": {"a": 13, "b": 14}}, "certificate a ends in 13 days: run site"),
        (
            {"revocation_list_days": {"a": 13, "b": 14}},
            "certificate a: the list of what its CA has withdrawn ends in 13 days, with that CA: change the CA",
        ),
        (
            {**CLOCK, "clock_skew_ms": -6001.0, "clock_give_or_take_ms": 2.0},
            "the clock is -6.001 s off the control node's (give or take 0.002 s), and at most 5 s are borne: "
            "synchronise both, hosts by the role time_sync or what you have",
        ),
        (
            {**CLOCK, "clock_skew_ms": 90012.0, "clock_max_skew_ms": 250},
            "the clock is +90.012 s off the control node's (give or take 0.000 s), and at most 0.25 s are borne: "
            "synchronise both, hosts by the role time_sync or what you have",
        ),
        (
            {**CLOCK, "clock_jump_ms": -90000.0},
            "the clock jumped by -90.000 s while it was looked at: find what sets it: two programs that keep the time, "
            "a virtual machine that was stopped, or a person",
        ),
        (
            {"release": "Debian 11"},
            "Debian 11 has had no security updates since 2026-08-31: plan the move to a newer release",
        ),
    ],
)
def test_what_an_operator_is_warned_of(status, warning):
    assert judgement.warnings(status) == [warning]


def at(skew: float, give_or_take: float = 0.0, most: float = 5000.0, jump: float = 0.0) -> dict[str, float]:
    """What `status` found of a host's clock, in milliseconds."""
    names = ("skew", "give_or_take", "max_skew", "jump")
    return {f"clock_{name}_ms": value for name, value in zip(names, (skew, give_or_take, most, jump), strict=True)}


@pytest.mark.parametrize(
    ("clocks", "told"),
    [
        ({"a": at(2500), "b": at(-2500)}, {}),
        ({"a": at(3000, 1.0), "b": at(-3000, 2.0)}, {"a": ("+6.000", "b"), "b": ("-6.000", "a")}),
        ({"a": at(3000, 600), "b": at(-3000, 600)}, {}),  # a slow link makes no false alarm
        ({"a": at(4000), "b": at(0), "c": at(-2000)}, {"a": ("+6.000", "c"), "c": ("-6.000", "a")}),
        ({"a": at(90000), "b": at(0), "c": at(0, jump=-90000.0)}, {}),  # who is far off from ours is told that
        ({"a": at(4000, most=60000), "b": at(-2000, most=5000)}, {"a": ("+6.000", "b"), "b": ("-6.000", "a")}),
        ({"a": at(4000), "b": {}}, {}),
    ],
)
def test_clocks_that_are_each_near_ours_may_be_too_far_from_each_other(clocks, told):
    found = judgement.clocks_apart(clocks)
    assert {name: words.split(" (give or take")[0] for name, words in found.items()} == {
        name: f"the clock is {seconds} s off that of {other}" for name, (seconds, other) in told.items()
    }


def test_nothing_to_warn_of():
    assert (
        judgement.warnings({"certificate_days": {"a": 90}, **CLOCK, "clock_skew_ms": 5000.0, "release": "Debian 13"})
        == []
    )


def test_a_summary_tells_how_each_stack_was_proven_and_with_what_numbers():
    good, double = judgement.judge_round(known(), []), judgement.judge_round(known(real=False), [])
    good.update(passed=True, observed=[1.0], max_error=0.01)
    double.update(passed=None)
    probe = judgement.judge_probe("mindspore", True, [judgement.check("up", False, "down")])
    assert judgement.summary({"one": good, "two": probe, "three": double}) == [
        f"one: passed (round), expected {list(TRUTH)}, observed [1.0], largest error 0.01",
        "two: FAILED (probe)",
        f"three: not counted, a double stands in for the system (round), expected {list(TRUTH)}, observed None,"
        " largest error None",
    ]
