# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Participants of ``poc`` that add known steps to the model (``fedlearn_xain.adds``), and what their rounds end with.

In each round every participant adds its step to the global model, and the next is the mean of what they send, weighted
by samples, or the sum of it. A participant is given the model of the round before; so the last that it has, is right
only with every participant in all rounds but the last, and of the mean with its own number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .placements import OUR_CLASS, OUR_SUM


def adds(index: int) -> dict[str, Any]:
    """What the participant with this index adds in each round, and on how many samples."""
    return {"step": [index + 1.0, -0.25 * (index + 1) ** 2, 1 / (index + 1)], "samples": 10 + 20 * index}


def answer(taking: Sequence[Mapping[str, Any]], rounds: int) -> tuple[float, ...]:
    """The model that these are given last in a training of so many rounds, of a class that makes the mean."""
    samples = sum(one["samples"] for one in taking)
    weighted = ([value * one["samples"] for value in one["step"]] for one in taking)
    return tuple((rounds - 1) * math.fsum(column) / samples for column in zip(*weighted, strict=True))


def total(taking: Sequence[Mapping[str, Any]], rounds: int) -> tuple[float, ...]:
    """The same of a class that makes the sum: each sends the model once more."""
    times = sum(len(taking) ** former for former in range(rounds - 1))
    return tuple(times * math.fsum(column) for column in zip(*(one["step"] for one in taking), strict=True))


ANSWERS = {OUR_CLASS: answer, OUR_SUM: total}
"""By the class that aggregates; of somebody else's nothing is known."""
