# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Arrays out of pickles, and nothing else: weights come from whoever may write into the bucket."""

from __future__ import annotations

import functools
import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy

MEGABYTE = 1_000_000
NUMBERS = re.compile(r"[fiub][0-9]{1,2}")
"""Kinds of numbers, and their bytes; an array of objects is none."""


MOST_STEPS = 200
"""Of a pickle; those of numpy's arrays have some 50."""


class NoArrayError(ValueError):
    """Why something is no array of numbers."""


class _Kind:
    """What a pickle says of an array's numbers: their kind, and then in which order their bytes are."""

    def __init__(self, name: str) -> None:
        self.name, self.order = name, "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def kind(self) -> numpy.dtype:
        """As numpy has it."""
        if not NUMBERS.fullmatch(self.name):
            raise NoArrayError("it is no array of numbers")
        return numpy.dtype(self.name).newbyteorder(self.order)


class _Array:
    """What a pickle says of an array: only with its numbers is it one."""

    found: numpy.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _version, shape, kind, by_columns, content = state
        self.fill(content, kind, shape, "F" if by_columns else "C")

    def fill(self, content: bytes, kind: Any, shape: tuple[int, ...], order: str) -> None:
        """The array is what it brings, and never memory that nobody filled."""
        if self.found is not None or not isinstance(kind, _Kind) or not isinstance(content, (bytes, bytearray)):
            raise NoArrayError("it is no array of numbers")
        has = kind.kind().itemsize * math.prod(shape)
        if has != len(content):
            raise NoArrayError(f"it says that it has {has} bytes, and brings {len(content)}")
        numbers = numpy.frombuffer(content, kind.kind()) if content else numpy.empty(0, kind.kind())
        self.found = numbers.reshape(shape, order=order).copy(order)


class _Pickle:
    """What stands for the names in one pickle."""

    def __init__(self) -> None:
        self._has_array = False

    def described(self, name: str, *_copied: Any) -> _Kind:
        return _Kind(name)

    def to_be_filled(self, *_as_all_are: Any) -> _Array:
        if self._has_array:  # each is a copy of what was brought once
            raise NoArrayError("it has more than one array in it")
        self._has_array = True
        return _Array()

    def filled(self, content: bytes, kind: Any, shape: tuple[int, ...], order: str, *_more: Any) -> _Array:
        array = self.to_be_filled()
        array.fill(content, kind, shape, order)
        return array

    def nothing(self) -> None:
        """The class of arrays, which is told and not called."""


NAMED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Pickle.nothing,
    ("numpy", "dtype"): _Pickle.described,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Pickle.to_be_filled for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Pickle.filled for core in ("core", "_core")},
}
"""All that numpy's own pickles of an array name, those of numpy 1 and 2, and what stands for it: nothing of numpy's is
called by a pickle, since numpy hands out memory as it is, with what was in it before."""


class _Stand:
    """What a pickle gets for a name. It can call it, and change nothing of it."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *given: Any) -> Any:
        return self._call(*given)

    def __setstate__(self, state: Any) -> None:
        raise NoArrayError("it is no array of numbers")


class _Unpickler(pickle._Unpickler):
    """The one in Python: that in C makes room for as many objects as nine bytes say that there will be."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self._pickle = _Pickle()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in NAMED:
            raise NoArrayError(f"it names {module}.{name}, which no array needs")
        return _Stand(functools.partial(NAMED[module, name], self._pickle))


def check_steps(content: bytes) -> None:
    """A pickle is a program, and may be one that takes its reader long. Raises NoArrayError."""
    for number, _step in enumerate(pickletools.genops(content)):
        if number >= MOST_STEPS:
            raise NoArrayError(f"it has more than the {MOST_STEPS} steps that no array needs")


def loads(content: bytes) -> numpy.ndarray:
    """The array of a pickle. Raises NoArrayError."""
    try:
        check_steps(content)
        array = _Unpickler(content).load()
    except NoArrayError:
        raise
    except Exception as error:  # whatever bytes of somebody else's make of it
        raise NoArrayError(f"it is no pickle of an array: {type(error).__name__}") from error
    if not isinstance(array, _Array) or array.found is None:
        raise NoArrayError("it is no array of numbers")
    if not numpy.isfinite(array.found).all():
        raise NoArrayError("it has numbers in it that are none, or infinite")
    return array.found


def fetched(store: Any, key: str, most: int) -> Any:
    """An object's array; ``store`` is one of the program's classes for S3, ``most`` how many bytes it may have."""
    found = store.s3.Object(store.config.bucket, key).get()
    if found["ContentLength"] > most:
        raise NoArrayError(f"{key} has {found['ContentLength']} bytes, and {most} are the most")
    return loads(found["Body"].read())
