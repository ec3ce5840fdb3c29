# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What participants send: how many samples they trained on, as four bytes, the first the highest, and an array as .npy.

What they get is the array alone.
"""

from __future__ import annotations

import io

import numpy

COUNT_BYTES = 4
NUMBERS = "fiu"
"""Kinds of numbers; arrays of objects would be code of somebody else's."""


class NoWeightsError(ValueError):
    """Why a message is none of weights."""


def read(data: bytes) -> tuple[int, numpy.ndarray]:
    """The number of samples and the array of a message."""
    samples = int.from_bytes(data[:COUNT_BYTES], "big")
    try:
        array = numpy.load(io.BytesIO(data[COUNT_BYTES:]), allow_pickle=False)
    except Exception as error:  # whatever bytes of somebody else's make of it
        raise NoWeightsError(f"it has no array in it: {type(error).__name__}") from error
    if not isinstance(array, numpy.ndarray) or array.dtype.kind not in NUMBERS:
        raise NoWeightsError("it has no array of numbers in it")
    if not samples:
        raise NoWeightsError("it says that there were no samples")
    if not numpy.isfinite(array).all():
        raise NoWeightsError("its array has numbers in it that are none, or infinite")
    return samples, array


def written(samples: int, array: numpy.ndarray) -> bytes:
    """A message."""
    return samples.to_bytes(COUNT_BYTES, "big") + alone(array)


def alone(array: numpy.ndarray) -> bytes:
    """An array as .npy."""
    file = io.BytesIO()
    numpy.save(file, array, allow_pickle=False)
    return file.getvalue()
