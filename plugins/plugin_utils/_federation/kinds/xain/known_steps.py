# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Participants that add known steps to the model (``fedlearn_xain.steps``), and what a training of theirs ends with.

The first round makes the model, the mean of what participants begin with; in each other one every participant adds its
step in each epoch, and the mean is weighted by samples. So the numbers are right only with every participant, its own
number of samples, all rounds and all epochs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def steps(index: int) -> dict[str, Any]:
    """What the participant with this index begins with, adds in each epoch, and on how many samples."""
    return {
        "start": [float(index), 2.0 * index + 0.5, 1.0],
        "step": [index + 1.0, -0.25 * (index + 1) ** 2, 1 / (index + 1)],
        "samples": 10 + 20 * index,
    }


def answer(taking: Sequence[Mapping[str, Any]], rounds: int, epochs: int) -> tuple[float, ...]:
    """What a training of these ends with."""
    samples = sum(one["samples"] for one in taking)
    starts = [math.fsum(column) / len(taking) for column in zip(*(one["start"] for one in taking), strict=True)]
    weighted = ([value * one["samples"] for value in one["step"]] for one in taking)
    means = [math.fsum(column) / samples for column in zip(*weighted, strict=True)]
    return tuple(start + (rounds - 1) * epochs * mean for start, mean in zip(starts, means, strict=True))
