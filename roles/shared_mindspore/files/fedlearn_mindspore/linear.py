# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The default application: y = x1 - 2 x2 + 3 x3 + 0.5, learned by gradient descent in numpy.

Each worker makes its own data from `seed`. `offset` shifts the coefficients and the constant its data follow, so that
with offsets that cancel out one worker's data alone lead elsewhere, and only the mean over all is the right answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy

from fedlearn_mindspore.session import Session

TRUTH: tuple[float, ...] = (1.0, -2.0, 3.0, 0.5)
"""Three coefficients and the constant."""

SHAPES: Mapping[str, list[int]] = {"fc.weight": [1, 3], "fc.bias": [1]}
DEFAULTS: Mapping[str, Any] = {
    "weights": list(TRUTH[:-1]),
    "bias": TRUTH[-1],
    "offset": 0.0,
    "noise": 0.0,
    "seed": 1,
    "samples": 64,
    "learning_rate": 0.3,
    "steps": 40,
}
"""`offset` is one number for all four values, or four numbers."""


def train(session: Session) -> dict[str, Any]:
    """Trains until the servers say that the job has finished; returns the final weights and the own data's answer."""
    settings = settings_of(session.settings)
    inputs, targets = data(settings)
    values = flatten(session.weights) if session.weights else numpy.zeros(4)
    while True:
        local = descend(values, inputs, targets, settings["learning_rate"], settings["steps"])
        mean = session.exchange(unflatten(local), settings["samples"])
        if mean is None:
            break
        values = flatten(mean)
    return result(values, settings)


def settings_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults with what was given. Raises ValueError for a setting that doesn't exist or can't be."""
    unknown = sorted(set(given) - set(DEFAULTS))
    if unknown:
        raise ValueError(f"the application has no setting {unknown}: it has {sorted(DEFAULTS)}")
    settings = {**DEFAULTS, **given}
    if len(settings["weights"]) != 3 or numpy.shape(settings["offset"]) not in ((), (4,)):
        raise ValueError("there are three weights, and one offset or four")
    if settings["samples"] < 4 or settings["steps"] < 1:
        raise ValueError("samples is at least 4, steps at least 1")
    return settings


def data(settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """This worker's own inputs (with a column of ones) and targets, the same for the same seed."""
    random = numpy.random.RandomState(settings["seed"])
    inputs = numpy.hstack([random.standard_normal((settings["samples"], 3)), numpy.ones((settings["samples"], 1))])
    truth = numpy.array([*settings["weights"], settings["bias"]], float) + numpy.array(settings["offset"], float)
    return inputs, inputs @ truth + settings["noise"] * random.standard_normal(settings["samples"])


def descend(values: Any, inputs: Any, targets: Any, rate: float, steps: int) -> Any:
    """Some steps of gradient descent on the mean squared error, from given values."""
    for _step in range(steps):
        values = values - rate * inputs.T @ (inputs @ values - targets) / len(targets)
    return values


def result(values: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into the result file: the final values, and what this worker's data alone would have led to."""
    own = numpy.linalg.lstsq(*data(settings), rcond=None)[0]
    return {
        "values": [float(value) for value in values],
        "own": [float(value) for value in own],
        "samples": settings["samples"],
        "seed": settings["seed"],
    }


def flatten(weights: Mapping[str, Any]) -> Any:
    """The four values of a feature map."""
    return numpy.concatenate([numpy.asarray(weights[name], float).reshape(-1) for name in SHAPES])


def unflatten(values: Any) -> dict[str, Any]:
    """The feature map of four values."""
    return {"fc.weight": values[:3].reshape(1, 3), "fc.bias": values[3:].reshape(1)}
