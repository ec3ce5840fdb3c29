# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A participant without a model: it adds its own step to the global one, so that a training's result is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy
from xain_sdk.participant import Participant


class Steps(Participant):  # type: ignore[misc]
    """``settings``: ``start``, its initial weights, ``step``, what it adds in each epoch, and ``samples``."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.start, self.step = numpy.array(settings["start"], float), numpy.array(settings["step"], float)
        self.samples = int(settings["samples"])

    def init_weights(self) -> numpy.ndarray:
        """What it begins with."""
        return self.start

    def train_round(self, weights: numpy.ndarray, epochs: int, epoch_base: int) -> tuple[numpy.ndarray, int]:
        """The global model and its step, once for each epoch."""
        return weights + epochs * self.step, self.samples

    def result(self, weights: numpy.ndarray) -> dict[str, Any]:
        """What the last global model is, and what this participant's own data alone would have made of it."""
        return {"values": weights.tolist(), "own": self.step.tolist(), "samples": self.samples}
