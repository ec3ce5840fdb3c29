# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far a host's clock is from ours, told by readings between two looks at our own.

Pure functions, so that a skew and a jump can be tested without a host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations


@dataclass(frozen=True, slots=True)
class Reading:
    """What the host's clock said, and what ours did before we asked and once we knew; seconds since the epoch."""

    before: float
    host: float
    after: float

    @property
    def least(self) -> float:
        """The skew if the host had looked at the last moment."""
        return self.host - self.after

    @property
    def most(self) -> float:
        """The skew if the host had looked at the first moment."""
        return self.host - self.before

    @property
    def middle(self) -> float:
        """The skew if both ways took half of the time."""
        return (self.least + self.most) / 2


@dataclass(frozen=True, slots=True)
class Skew:
    """How many seconds a host's clock is ahead of ours, give or take; and what it jumped by while it was looked at."""

    seconds: float
    give_or_take: float
    jump: float = 0.0


def measured(readings: Sequence[Reading]) -> Skew:
    """What some readings, in their order, say together.

    Each says between which two numbers the skew is, so the truth is where all of them overlap. Where they don't the
    clock jumped, and the last one says where it is now.
    """
    least, most = max(each.least for each in readings), min(each.most for each in readings)
    if least <= most:
        return Skew((least + most) / 2, (most - least) / 2)
    first, second = max(combinations(readings, 2), key=lambda pair: _apart(*pair))
    last = readings[-1]
    return Skew(last.middle, (last.most - last.least) / 2, second.middle - first.middle)


def _apart(first: Reading, second: Reading) -> float:
    """How far two readings are from agreeing; at most 0 where they do."""
    return max(first.least - second.most, second.least - first.most)


def trouble(skew: Skew, bound: float, whose: str = "the control node's") -> str:
    """What is wrong with a clock that is to be within ``bound`` seconds of ours; empty where nothing surely is.

    ``whose`` clock it was compared with.
    """
    if abs(skew.jump) > bound:
        way_out = "find what sets it: two programs that keep the time, a virtual machine that was stopped, or a person"
        return f"the clock jumped by {skew.jump:+.3f} s while it was looked at: {way_out}"
    if abs(skew.seconds) - skew.give_or_take > bound:
        return (
            f"the clock is {skew.seconds:+.3f} s off {whose} (give or take {skew.give_or_take:.3f} s), "
            f"and at most {bound:g} s are borne: synchronise both, hosts by the role time_sync or what you have"
        )
    return ""
