# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A sum that grows with each message, so that ending a round takes no time and as many participants no more memory."""

from __future__ import annotations

import sys
from typing import Optional

import numpy

from . import messages

LARGEST = float(numpy.finfo(numpy.float64).max)
"""What sums are in, unless they are of whole numbers."""


class NothingToAggregateError(RuntimeError):
    """A round has ended without weights."""


class Summing:
    """Adds up what participants send; a subclass says what of it is the model.

    What was added is forgotten when a round ends, in whatever way: the program runs it again where it failed, and
    weights would count twice. Of the last model the shape is known, and weights of another one are none of it.
    """

    weighted: bool
    """Whether an array counts as often as its participant has samples."""

    def __init__(self) -> None:
        self._shape: Optional[tuple[int, ...]] = None  # noqa: UP045 - the embedded interpreter is Python 3.9
        self._forget()

    def _forget(self) -> None:
        self._total: Optional[numpy.ndarray] = None  # noqa: UP045 - as above
        self._kind = numpy.dtype(float)
        self._samples = 0

    def add_weights(self, data: bytes) -> bool:
        """Whether they were weights, which then count."""
        try:
            samples, array = messages.read(data)
            self._add(samples, array)
        except messages.NoWeightsError as error:
            # the program only says that it refused some
            print(f"weights were refused: {error}", file=sys.stderr, flush=True)
            return False
        return True

    def _add(self, samples: int, array: numpy.ndarray) -> None:
        self._check_alike(array)
        with numpy.errstate(over="ignore"):
            total = self._with(samples, array)
        check_holds(self.most(array.dtype), total.min(), total.max())
        self._total, self._kind = total, array.dtype
        self._samples += samples

    def _check_alike(self, array: numpy.ndarray) -> None:
        """Weights of a round are of one shape and type, those of a training of one shape."""
        if self._total is None:
            if self._shape not in (None, array.shape):
                raise messages.NoWeightsError(
                    f"its array is of {array.shape}, and the last model's was of {self._shape}"
                )
        elif (array.shape, array.dtype) != (self._total.shape, self._kind):
            raise messages.NoWeightsError(
                f"its array is {array.dtype} of {array.shape}, and the first of the round's was {self._kind} of "
                f"{self._total.shape}"
            )

    def _with(self, samples: int, array: numpy.ndarray) -> numpy.ndarray:
        """The round's sum with one more."""
        if not self.weighted and array.dtype.kind in "iu":
            self._check_whole(array)
            more = array.astype(numpy.int64)
        else:
            more = array.astype(numpy.float64)
        if self.weighted:
            more *= samples
        return more if self._total is None else numpy.add(self._total, more, out=more)

    def _check_whole(self, array: numpy.ndarray) -> None:
        """Whole numbers that are too large would become others."""
        there = numpy.zeros(1, numpy.int64) if self._total is None else self._total
        low, high = (there.min().item() + array.min().item(), there.max().item() + array.max().item())
        check_holds(self.most(array.dtype), low, high)

    def aggregate(self) -> bytes:
        """The model, as .npy."""
        total, kind, samples = self._total, self._kind, self._samples
        self._forget()
        if total is None:
            raise NothingToAggregateError("nobody's weights have come in this round")
        model = messages.alone(self.model(total, kind, samples))
        self._shape = total.shape
        return model

    def model(self, total: numpy.ndarray, kind: numpy.dtype, samples: int) -> numpy.ndarray:
        """The model, of the sum, the type of what was sent, and all samples."""
        raise NotImplementedError

    def most(self, kind: numpy.dtype) -> float:
        """The largest number that a sum may have, of arrays of a type."""
        raise NotImplementedError


def check_holds(most: float, low: float, high: float) -> None:
    """Refuses weights by which a sum were larger, or no number."""
    if not -most <= low <= high <= most:
        raise messages.NoWeightsError(f"with its array the round's sum were above {most:.3g}, and no model")
