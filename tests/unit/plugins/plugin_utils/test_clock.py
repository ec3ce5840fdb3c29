# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What readings of a clock say: size, sign and bounds of a skew, and jumps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.fedlearn.infra.plugins.plugin_utils import clock
from ansible_collections.fedlearn.infra.plugins.plugin_utils.clock import Reading, Skew

BEGIN = 1_800_000_000.0
DELAYS = st.tuples(st.floats(0.0005, 2.0), st.floats(0.0005, 2.0))
"""There and back, in seconds: a slow link is as likely one way as the other."""
CLOSE = 1e-5
"""What floating-point numbers of this size can't tell apart."""


def readings(delays: list[tuple[float, float]], skews: list[float]) -> list[Reading]:
    """Readings one after the other, of a clock that was each time ahead by one of ``skews``."""
    found, now = [], BEGIN
    for (there, back), skew in zip(delays, skews, strict=True):
        found.append(Reading(now, now + there + skew, now + there + back))
        now += there + back
    return found


@given(st.lists(DELAYS, min_size=1, max_size=6), st.floats(-1e6, 1e6))
def test_the_truth_is_within_what_is_told(delays: list[tuple[float, float]], skew: float) -> None:
    found = clock.measured(readings(delays, [skew] * len(delays)))
    assert found.jump == 0.0
    assert abs(found.seconds - skew) <= found.give_or_take + CLOSE
    assert found.give_or_take <= min(there + back for there, back in delays) / 2 + CLOSE


@given(st.lists(DELAYS, min_size=2, max_size=6), st.data(), st.floats(5, 1e6), st.sampled_from([1, -1]))
def test_a_jump_is_found_in_size_and_sign(
    delays: list[tuple[float, float]], data: st.DataObject, size: float, sign: int
) -> None:
    """One beyond what all delays together (4 s) could explain."""
    first = data.draw(st.integers(1, len(delays) - 1))
    found = clock.measured(readings(delays, [0.0] * first + [sign * size] * (len(delays) - first)))
    assert abs(found.jump - sign * size) <= 4 + CLOSE
    assert abs(found.seconds - sign * size) <= found.give_or_take + CLOSE


def test_both_ways_alike_are_exact() -> None:
    assert clock.measured([Reading(100.0, 190.5, 101.0)]) == Skew(90.0, 0.5)
    assert clock.measured([Reading(100.0, 10.5, 101.0)]) == Skew(-90.0, 0.5)


def test_a_jump_that_was_undone_is_told_too() -> None:
    there_and_back = [Reading(0.0, 0.5, 1.0), Reading(1.0, 91.5, 2.0), Reading(2.0, 2.5, 3.0)]
    assert clock.measured(there_and_back) == Skew(0.0, 0.5, 90.0)


@pytest.mark.parametrize(
    ("skew", "message"),
    [
        (Skew(0.9, 0.1), ""),
        (Skew(-1.05, 0.1), ""),  # perhaps no more than a second
        (
            Skew(90.0123, 0.004),
            "the clock is +90.012 s off the control node's (give or take 0.004 s), and at most 1 s are borne: "
            "synchronise both, hosts by the role time_sync or what you have",
        ),
        (
            Skew(-90.0, 0.25),
            "the clock is -90.000 s off the control node's (give or take 0.250 s), and at most 1 s are borne: "
            "synchronise both, hosts by the role time_sync or what you have",
        ),
        (
            Skew(0.0, 0.01, -90.0),
            "the clock jumped by -90.000 s while it was looked at: find what sets it: two programs that keep the time, "
            "a virtual machine that was stopped, or a person",
        ),
        (Skew(0.0, 0.01, 0.5), ""),
    ],
)
def test_what_is_surely_beyond_the_bound_is_told_exactly(skew: Skew, message: str) -> None:
    assert clock.trouble(skew, 1.0) == message
