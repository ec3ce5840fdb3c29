# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""House prices: a participant of xain's generation ``poc`` that learns from a file of its host, as Kaggle's train.csv.

One step of gradient descent a round, on a linear model; weighted by samples, the mean of all participants' steps is the
step that all of their data together would give.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
from xain_sdk import ParticipantABC

FEATURES = {
    "OverallQual": (6, 1.4),
    "OverallCond": (5.6, 1.1),
    "YearBuilt": (1970, 30),
    "LotArea": (10_500, 10_000),
    "GrLivArea": (1500, 525),
    "GarageCars": (1.8, 0.75),
}
"""Columns, each with what is subtracted from it and what it is divided by, the same for all participants."""

PRICE, PRICES_IN = "SalePrice", 100_000
COUNT_BYTES = 4


def read(path: Path) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Features, with a column of ones for what a house costs anyway, and prices."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    scaled = [
        [1.0, *((float(row[name]) - middle) / width for name, (middle, width) in FEATURES.items())] for row in rows
    ]
    return numpy.array(scaled), numpy.array([float(row[PRICE]) / PRICES_IN for row in rows])


class Houses(ParticipantABC):  # type: ignore[misc]
    """``settings``: ``data``, the path of the file, and ``rate``, how far a step goes."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.features, self.prices = read(Path(settings["data"]))
        self.rate = float(settings.get("rate", 0.3))
        self.model = numpy.zeros(1 + len(FEATURES))

    def deserialize_training_input(self, data: bytes) -> numpy.ndarray:
        """The global model; before the first round there is none."""
        if data:
            self.model = numpy.load(io.BytesIO(data), allow_pickle=False)
        return self.model

    def train_round(self, training_input: numpy.ndarray) -> numpy.ndarray:
        """The model after a step."""
        wrong = self.features @ training_input - self.prices
        return training_input - self.rate * (self.features.T @ wrong) / len(wrong)

    def serialize_training_result(self, training_result: numpy.ndarray) -> bytes:
        """On how many houses it was trained, and the model, as the collection's classes that aggregate read it."""
        file = io.BytesIO()
        numpy.save(file, training_result, allow_pickle=False)
        return len(self.prices).to_bytes(COUNT_BYTES, "big") + file.getvalue()

    def result(self) -> dict[str, Any]:
        """``result.json``: the last model that it was given, and by how much it is wrong of its own houses."""
        wrong = (self.features @ self.model - self.prices) * PRICES_IN
        error = float(numpy.sqrt((wrong**2).mean()))
        return {"values": self.model.tolist(), "samples": len(self.prices), "error": error}
