# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A learning task whose right answer is known beforehand: y = x1 - 2 x2 + 3 x3 + 0.5.

Each participant's own data follow the truth plus an offset on every coefficient, so that a participant alone ends
elsewhere, and only the mean over all participants is the answer.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

TRUTH = (1.0, -2.0, 3.0, 0.5)
"""Three weights, then the bias."""

MAX_ERROR = 0.05
"""How far a round may end from the answer."""

SAMPLES = 64
_MARGIN = 2.0  # a mean with one participant left out is at least this many times MAX_ERROR off


def seed(*words: str) -> int:
    """A seed below 2**31 that stays the same for the same words."""
    return int.from_bytes(hashlib.sha256("\n".join(words).encode()).digest()[:4], "big") >> 1


def balanced_offsets(participants: int) -> list[float]:
    """An offset for each participant: 0.5 or more away from zero, and exactly zero in sum; one participant has none.

    They grow with the number of participants, so that the mean without one of them is off by twice MAX_ERROR or more.
    All are multiples of a half, which floating-point numbers add without error.
    """
    if participants == 1:
        return [0.0]
    step = 0.5 * max(1, math.ceil(_MARGIN * MAX_ERROR * (participants - 1) / 0.5))
    pairs = participants if participants % 2 == 0 else participants - 3
    offsets = [step if index % 2 == 0 else -step for index in range(pairs)]
    return offsets if participants % 2 == 0 else [*offsets, step, step, -2 * step]


def steady_offset(index: int) -> float:
    """The offset of a participant that stays: it depends on its index alone, lest others' change when one joins."""
    size = 0.5 * (1 + index // 2 % 4)
    return size if index % 2 == 0 else -size


def answer(offsets: Sequence[float]) -> list[float]:
    """What a round over participants with these offsets and equally many samples ends with."""
    shift = math.fsum(offsets) / len(offsets) if offsets else 0.0
    return [value + shift for value in TRUTH]


def settings(offset: float, seed_: int) -> dict[str, Any]:
    """The settings of the application that trains the task, for one participant."""
    return {"offset": [offset] * len(TRUTH), "samples": SAMPLES, "seed": seed_}
