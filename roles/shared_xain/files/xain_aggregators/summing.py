# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A sum that grows with each message, so that ending a round takes no time and as many participants no more memory.

All is reckoned in blocks: beside the sum, what was sent and the model nothing as large is ever in memory.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import numpy

from . import messages

LARGEST = float(numpy.finfo(numpy.float64).max)
"""What sums are in, unless they are of whole numbers."""

MOST_KINDS = 2
"""Of weights in a round: a single upload of another kind than all others spoils none; two leave no room for theirs."""

Kind = tuple[tuple[int, ...], numpy.dtype]
"""Of weights: their shape, and the type of their numbers."""


class NothingToAggregateError(RuntimeError):
    """A round has ended without weights."""


class Sum:
    """What has come of weights of one kind."""

    def __init__(self, shape: tuple[int, ...], whole: bool) -> None:
        self.total = numpy.zeros(shape, numpy.int64 if whole else numpy.float64)
        self.participants = self.samples = 0

    def add(self, samples: int, times: int, array: numpy.ndarray, most: float) -> None:
        """Adds an array so many times, or raises NoWeightsError where a sum were larger, and adds nothing."""
        if array.dtype == numpy.uint64 and self.total.dtype == numpy.int64:
            check_holds(most, 0, array.max().item())
        with numpy.errstate(over="ignore"):
            for there, more in self._blocks(array):
                check_sum(there, more * times, most)
            for there, more in self._blocks(array):
                there += more * times
        self.participants += 1
        self.samples += samples

    def _blocks(self, array: numpy.ndarray) -> Iterator[tuple[numpy.ndarray, numpy.ndarray]]:
        """Parts of the sum, which can be changed, and the same ones of an array."""
        yield from messages.blocks((self.total, array), self.total.dtype)


class Summing:
    """Adds up what participants send; a subclass says what of it is the model.

    What was added is forgotten when a round ends, in whatever way: the program runs it again where it failed, and
    weights would count twice. Weights are of the last model's shape, and of its type or that of those which it was made
    of. Of a first round that is what most have sent.
    """

    weighted: bool
    """Whether an array counts as often as its participant has samples."""

    def __init__(self) -> None:
        self._known: set[Kind] = set()
        self._sums: dict[Kind, Sum] = {}
        self._most_megabytes = int(os.environ.get("FEDLEARN_MODEL_MEGABYTES", "0"))

    def add_weights(self, data: bytes) -> bool:
        """Whether they were weights, which then count."""
        try:
            samples, array = messages.read(data)
            self._add(samples, array)
        except messages.NoWeightsError as error:
            # the program only says that it refused some
            say(f"weights were refused: {error}")
            return False
        return True

    def _add(self, samples: int, array: numpy.ndarray) -> None:
        kind = (array.shape, array.dtype.newbyteorder("="))
        self._check_kind(kind)
        self._check_size(array.size, self.model_type(kind[1]))
        found = self._sums.get(kind) or Sum(array.shape, not self.weighted and array.dtype.kind in "iu")
        found.add(samples, samples if self.weighted else 1, array, self.most(kind[1]))
        self._sums[kind] = found

    def _check_kind(self, kind: Kind) -> None:
        """Only some kinds of weights have room in a round, and those of the last model's before any other."""
        if kind not in self._known if self._known else kind not in self._sums and len(self._sums) == MOST_KINDS:
            others = " and ".join(spoken(one) for one in self._known or self._sums)
            whose = "the last model's" if self._known else "others' of the round"
            raise messages.NoWeightsError(f"its array is {spoken(kind)}, and {whose} {others}")

    def _check_size(self, numbers: int, of: numpy.dtype) -> None:
        """A model is no larger than participants were told."""
        megabytes = numbers * of.itemsize / 2**20
        if 0 < self._most_megabytes < megabytes:
            raise messages.NoWeightsError(
                f"the model of its array, {of}, would have {megabytes:.1f} MB: more than max_model_size, "
                f"{self._most_megabytes}"
            )

    def aggregate(self) -> bytes:
        """The model, as .npy."""
        sums, self._sums = self._sums, {}
        if not sums:
            raise NothingToAggregateError("nobody's weights have come in this round")
        (shape, sent), found = max(sums.items(), key=lambda one: one[1].participants)
        for kind, other in sums.items():
            if other is not found:
                told = f"{other.participants} sent {spoken(kind)}, and {found.participants} {spoken((shape, sent))}"
                say(f"weights don't count: {told}")
        made = self.model_type(sent)
        model = messages.alone(self.model(found.total, found.samples), made)
        self._known = {(shape, sent), (shape, made)}
        return model

    def model(self, total: numpy.ndarray, samples: int) -> numpy.ndarray:
        """The model, of the sum, which may be changed, and all samples."""
        raise NotImplementedError

    def model_type(self, sent: numpy.dtype) -> numpy.dtype:
        """The type of its numbers, by that of what was sent."""
        raise NotImplementedError

    def most(self, sent: numpy.dtype) -> float:
        """The largest number that a sum may have, of arrays of a type."""
        raise NotImplementedError


def say(words: str) -> None:
    """A line of the log."""
    print(words, file=sys.stderr, flush=True)


def spoken(kind: Kind) -> str:
    """A kind of weights, in words."""
    return f"{kind[1]} of {kind[0]}"


def check_sum(there: numpy.ndarray, more: numpy.ndarray, most: float) -> None:
    """Refuses weights by which a sum were too large; sums of whole numbers that are have come out at the other end."""
    total = there + more
    if total.dtype.kind == "i" and (((there ^ total) & (more ^ total)) < 0).any():
        raise messages.NoWeightsError(f"with its array the round's sum were beyond {most:.3g}, and no model")
    if total.dtype.kind == "f":
        check_holds(most, total.min(), total.max())


def check_holds(most: float, low: float, high: float) -> None:
    """Refuses weights by which a sum were larger, or no number."""
    if not -most <= low <= high <= most:
        raise messages.NoWeightsError(f"with its array the round's sum were beyond {most:.3g}, and no model")
