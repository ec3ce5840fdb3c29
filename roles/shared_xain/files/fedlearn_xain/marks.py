# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A participant of ``pet`` whose model is known, so that a round's result is.

``settings``: ``model``, which is the same in all rounds, and ``scalar``, how much it counts; ``all``, for a verify
round, what all participants' numbers and scalars are: then models begin with a mark for each participant, and it is
over once there is a global model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xaynet_sdk import ParticipantABC

LEAST = 1e-6
"""A mark that is there is larger, and one that isn't is 0 but for how numbers are rounded."""


def drawn(model: list[float], count: int) -> list[int]:
    """Whose models a global model is the mean of, by their marks."""
    return [place for place in range(count) if model[place] > LEAST]


def completed(model: list[float], everybody: list[dict[str, Any]]) -> list[float]:
    """The mean of all: the global model's numbers, and of those who weren't drawn what they would have added."""
    count = len(everybody)
    counted = drawn(model, count)
    whole, part = (sum(everybody[place]["scalar"] for place in places) for places in (range(count), counted))
    missing = [one for place, one in enumerate(everybody) if place not in counted]
    return [
        (part * mean + sum(one["scalar"] * one["numbers"][column] for one in missing)) / whole
        for column, mean in enumerate(model[count:])
    ]


class Marks(ParticipantABC):  # type: ignore[misc]
    """The participant."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.model, self.everybody = list(settings["model"]), settings.get("all")
        self.found: list[float] | None = None
        self.over = False

    @staticmethod
    def scalar(settings: Mapping[str, Any]) -> float:
        """How much its model counts."""
        return float(settings.get("scalar", 1.0))

    def deserialize_training_input(self, global_model: list[float]) -> list[float]:
        """As it is."""
        return global_model

    def train_round(self, training_input: list[float] | None) -> list[float]:
        """Its model, whatever the global one is."""
        return self.model

    def serialize_training_result(self, training_result: list[float]) -> list[float]:
        """As it is."""
        return training_result

    def on_new_global_model(self, global_model: list[float] | None) -> None:
        """The first one ends a verify round."""
        if global_model is not None:
            self.found = global_model
            self.over = self.everybody is not None

    def result(self) -> dict[str, Any]:
        """The global model completed, and what this participant's own is."""
        if self.found is None or self.everybody is None:
            return {"missed": "there was no global model, or nobody knows what it is to be"}
        count = len(self.everybody)
        return {
            "values": completed(self.found, self.everybody),
            "own": self.model[count:],
            "samples": 1,
            "drawn": drawn(self.found, count),
        }
