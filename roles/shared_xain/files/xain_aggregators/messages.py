# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What participants send: how many samples they trained on, as four bytes, the first the highest, and an array as .npy.

What they get is the array alone.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import Optional

import numpy
from numpy.lib import format as npy

COUNT_BYTES = 4
NUMBERS = "fiu"
"""Kinds of numbers; arrays of objects would be code of somebody else's."""

LARGEST_NUMBER = 8
"""In bytes: larger ones are others on other machines."""

BLOCK = 16_384
"""So many numbers are reckoned at once."""

HEADERS = {(1, 0): (2, npy.read_array_header_1_0), (2, 0): (4, npy.read_array_header_2_0)}
"""Of versions of .npy how many bytes say how long the header is, and what reads it; others have names in them."""

LONGEST_HEADER = 1000
"""In bytes: no array of numbers has a longer one. numpy has Python parse it, and one that is deep enough ends the
whole program."""


class NoWeightsError(ValueError):
    """Why a message is none of weights."""


def read(data: bytes) -> tuple[int, numpy.ndarray]:
    """The number of samples and the array of a message."""
    samples = int.from_bytes(data[:COUNT_BYTES], "big")
    try:
        array = _array(data)
    except NoWeightsError:
        raise
    except Exception as error:  # whatever bytes of somebody else's make of it
        raise NoWeightsError(f"it has no array in it: {type(error).__name__}") from error
    if not samples:
        raise NoWeightsError("it says that there were no samples")
    # none of these is made as large as the array
    if not numpy.isfinite(array.min()) or not numpy.isfinite(array.max()):
        raise NoWeightsError("its array has numbers in it that are none, or infinite")
    return samples, array


def _array(data: bytes) -> numpy.ndarray:
    """The array, which is no larger than what was sent."""
    file = io.BytesIO(data)
    file.seek(COUNT_BYTES)
    version = npy.read_magic(file)
    if version not in HEADERS:
        raise NoWeightsError("it has no array of numbers in it")
    length, header = HEADERS[version]
    if int.from_bytes(data[file.tell() : file.tell() + length], "little") > LONGEST_HEADER:
        raise NoWeightsError(f"its array has a header of more than {LONGEST_HEADER} bytes")
    shape, by_columns, kind = header(file)
    if kind.kind not in NUMBERS or kind.itemsize > LARGEST_NUMBER:
        raise NoWeightsError("it has no array of numbers in it")
    if min(shape, default=1) < 1:
        raise NoWeightsError("its array is empty")
    flat = numpy.frombuffer(data, kind, math.prod(shape), file.tell())
    return flat.reshape(shape, order="F" if by_columns else "C")


def written(samples: int, array: numpy.ndarray) -> bytes:
    """A message."""
    return samples.to_bytes(COUNT_BYTES, "big") + alone(array)


def alone(array: numpy.ndarray, kind: Optional[numpy.dtype] = None) -> bytes:  # noqa: UP045 - Python 3.9 runs this
    """An array as .npy, its numbers of another type where that is said."""
    kind, file = kind or array.dtype, io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": npy.dtype_to_descr(kind), "fortran_order": False, "shape": array.shape})
    for (block,) in blocks((array,), kind):
        file.write(block.tobytes())
    return file.getvalue()


def blocks(arrays: tuple[numpy.ndarray, ...], kind: numpy.dtype) -> Iterator[tuple[numpy.ndarray, ...]]:
    """Parts of arrays of one shape, as numbers of a type, in the order of rows; the first of them can be changed."""
    flags = [["readwrite"], *[["readonly"]] * (len(arrays) - 1)]
    loop = numpy.nditer(
        arrays, ["external_loop", "buffered"], flags, [kind] * len(arrays),
        order="C", casting="unsafe", buffersize=BLOCK,
    )  # fmt: skip
    with loop:
        for found in loop:
            yield found if len(arrays) > 1 else (found,)
