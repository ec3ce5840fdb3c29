# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A sum that grows with each message, so that ending a round takes no time and as many participants no more memory."""

from __future__ import annotations

import sys
from typing import Optional

import numpy

from . import messages


class NothingToAggregateError(RuntimeError):
    """A round has ended without weights."""


class Summing:
    """Adds up what participants send; a subclass says what of it is the model.

    What was added is forgotten when a round ends, in whatever way: the program runs it again where it failed, and
    weights would count twice.
    """

    weighted: bool
    """Whether an array counts as often as its participant has samples."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._total: Optional[numpy.ndarray] = None  # noqa: UP045 - the embedded interpreter is Python 3.9
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
        whole = array.dtype.kind in "iu" and not self.weighted
        wide = array.astype(numpy.int64 if whole else numpy.float64)
        if self.weighted:
            wide *= samples
        if self._total is None:
            self._total, self._kind = wide, array.dtype
        elif array.shape != self._total.shape or array.dtype != self._kind:
            raise messages.NoWeightsError(
                f"its array is {array.dtype} of {array.shape}, and the first of the round's was {self._kind} of "
                f"{self._total.shape}"
            )
        else:
            self._total += wide
        self._samples += samples

    def aggregate(self) -> bytes:
        """The model, as .npy."""
        total, kind, samples = self._total, self._kind, self._samples
        self._forget()
        if total is None:
            raise NothingToAggregateError("nobody's weights have come in this round")
        return messages.alone(self.model(total, kind, samples))

    def model(self, total: numpy.ndarray, kind: numpy.dtype, samples: int) -> numpy.ndarray:
        """The model, of the sum, the type of what was sent, and all samples."""
        raise NotImplementedError
