# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A participant of ``poc`` without a model: it adds its own step to the global one, so a training's result is known."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy
from xain_sdk import ParticipantABC

COUNT_BYTES = 4


class Adds(ParticipantABC):  # type: ignore[misc]
    """``settings``: ``step``, what it adds in each round, and ``samples``."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.step = numpy.array(settings["step"], float)
        self.samples = int(settings["samples"])
        self.model: numpy.ndarray | None = None

    def deserialize_training_input(self, data: bytes) -> numpy.ndarray:
        """The global model, which nobody has made before the first round."""
        self.model = numpy.load(io.BytesIO(data), allow_pickle=False) if data else numpy.zeros_like(self.step)
        return self.model

    def train_round(self, training_input: numpy.ndarray) -> numpy.ndarray:
        """The global model and its step."""
        return training_input + self.step

    def serialize_training_result(self, training_result: numpy.ndarray) -> bytes:
        """As the aggregators of the collection read it."""
        file = io.BytesIO()
        numpy.save(file, training_result, allow_pickle=False)
        return self.samples.to_bytes(COUNT_BYTES, "big") + file.getvalue()

    def result(self) -> dict[str, Any]:
        """The last global model that it was given, which is that of the round before the last."""
        values = [] if self.model is None else self.model.tolist()
        return {"values": values, "own": self.step.tolist(), "samples": self.samples}
