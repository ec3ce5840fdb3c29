# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Participants of ``pet`` that add a mark and known numbers (``fedlearn_xain.marks``), and what a round ends with.

Who is drawn is chance, and nobody is told. So each participant has a weight of its own, its mark, which is 1 in its
model and 0 in all others: the global model's marks say who was drawn. Completed by the numbers of those who weren't,
its mean is the mean of all, whoever was drawn; it is right only when the global model is the mean of exactly those,
each with its own number of samples.
"""

from __future__ import annotations

import math
from typing import Any

NUMBERS = 3
MOST = 16
"""More participants than that would prove nothing more."""


def numbers(index: int) -> list[float]:
    """What the participant with this index has beside its mark; between -1 and 1, or masks of B0 would cut it off."""
    return [1 / (index + 1), -0.25 * (index % 4) + 0.125, (index + 1) ** 2 / 1024]


def scalar(index: int) -> float:
    """How much the model of the participant with this index counts: as its samples, of the most that one may have."""
    return (index + 1) / MOST


def known(index: int, length: int, *, whole: bool) -> dict[str, Any]:
    """A deployed participant's: its numbers, and nothing in the model's other weights; ``whole`` numbers are all 0."""
    own = [0] * NUMBERS if whole else numbers(index)
    return {"model": [*own, *[type(own[0])()] * length][:length]}


def marked(index: int, count: int) -> dict[str, Any]:
    """A round's participant: of ``count`` marks its own, and what all of them have."""
    marks = [float(place == index) for place in range(count)]
    everybody = [{"numbers": numbers(place), "scalar": scalar(place)} for place in range(count)]
    return {"model": [*marks, *numbers(index)], "scalar": scalar(index), "all": everybody}


def answer(count: int) -> tuple[float, ...]:
    """The mean of the numbers of all, weighted."""
    whole = math.fsum(map(scalar, range(count)))
    weighted = ([value * scalar(index) for value in numbers(index)] for index in range(count))
    return tuple(math.fsum(column) / whole for column in zip(*weighted, strict=True))
