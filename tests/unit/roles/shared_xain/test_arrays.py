# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Of what lies in the bucket of `python` arrays are read, as they were put there, and nothing else."""

from __future__ import annotations

import importlib
import math
import os
import pickle
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

FILES = Path(__file__).resolve().parents[4] / "roles" / "shared_xain" / "files"
KINDS = ("<f8", ">f8", "<f4", "<f2", "<i8", ">i4", "|i1", "<u2", "|b1")


@pytest.fixture(scope="module")
def arrays() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FILES))
        yield importlib.import_module("fedlearn_xain.arrays")


@st.composite
def sent(draw: st.DrawFn) -> tuple[numpy.ndarray, bytes]:
    """An array, and a pickle of it."""
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    size = math.prod(shape)
    numbers = draw(st.lists(st.integers(0, 100), min_size=size, max_size=size))
    array = numpy.array(numbers).reshape(shape).astype(draw(st.sampled_from(KINDS)))
    array = numpy.asfortranarray(array) if draw(st.booleans()) else array
    return array, pickle.dumps(array, draw(st.integers(3, 5)))


@given(one=sent())
def test_arrays_come_out_as_they_went_in(arrays: Any, one: tuple[numpy.ndarray, bytes]) -> None:
    array, content = one
    found = arrays.loads(content)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert (found == array).all()
    assert found.flags.writeable


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02Nr" + struct.pack("<I", 2**28) + b".",
        b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N.",
        b"N" + b"0N" * 1_000_000 + b".",
    ],
    ids=["places for many objects", "a long frame", "many steps"],
)
def test_few_bytes_take_little_memory_and_time(arrays: Any, content: bytes) -> None:
    """The reader in C made room for 2**29 objects, because nine bytes said so."""
    tracemalloc.start()
    try:
        with pytest.raises(arrays.NoArrayError):
            arrays.loads(content)
        assert tracemalloc.get_traced_memory()[1] < 5 * len(content) + 1_000_000
    finally:
        tracemalloc.stop()


def test_a_pickle_has_one_array_however_often_it_asks(arrays: Any) -> None:
    """Each is a copy of what was brought once."""
    one = b"cnumpy.core.multiarray\n_reconstruct\n)R"
    with pytest.raises(arrays.NoArrayError, match="more than one array"):
        arrays.loads(b"\x80\x02" + one + b"0" + one + b".")


def test_a_pickle_changes_nothing_of_what_stands_for_names(arrays: Any) -> None:
    """It was a function of the module, whose attributes stayed after the pickle."""
    stand = arrays._Unpickler(b"").find_class("numpy", "dtype")
    assert not hasattr(stand, "__dict__")
    for state in (b"}X\x01\x00\x00\x00aX\x01\x00\x00\x00bsb", b"N}X\x05\x00\x00\x00_callK\x01s\x86b"):
        with pytest.raises(arrays.NoArrayError):
            arrays.loads(b"\x80\x02cnumpy\ndtype\n" + state + b"X\x02\x00\x00\x00f8\x85R.")


class Calls:
    """What a pickle would call."""

    def __init__(self, named: Any, *arguments: Any) -> None:
        self.named, self.arguments = named, arguments

    def __reduce__(self) -> Any:
        return self.named, self.arguments


RECONSTRUCT = numpy.zeros(1).__reduce__()[0]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (pickle.dumps(Calls(os.system, "true")), "system, which no array needs"),
        (pickle.dumps([numpy.zeros(3), Calls(eval, "1")]), "it names builtins.eval, which no array needs"),
        # memory that nobody filled, with what was in it before
        (b"S'" + b"a" * 5000 + b"'\n0cnumpy\nndarray\n((I500\ntS'<u8'\ntR.", "it is no pickle of an array: TypeError"),
        (pickle.dumps(Calls(numpy.ndarray, (10**9,))), "it is no pickle of an array: TypeError"),
        (pickle.dumps([Calls(RECONSTRUCT, numpy.ndarray, (500,), b"d"), "a" * 5000]), "it is no array of numbers"),
        (pickle.dumps(Calls(RECONSTRUCT, numpy.ndarray, (500,), b"d")), "it is no array of numbers"),
        (pickle.dumps(numpy.zeros(9)).replace(b"K\x09", b"K\x7f"), "it says that it has 1016 bytes, and brings 72"),
        (pickle.dumps(numpy.zeros(9)).replace(b"K\x09", b"K\x08"), "it says that it has 64 bytes, and brings 72"),
        (pickle.dumps(numpy.array([{}], dtype=object)), "it is no array of numbers"),
        (pickle.dumps(numpy.array(["a"])), "it is no array of numbers"),
        (pickle.dumps(numpy.dtype("f8")), "it is no array of numbers"),
        (pickle.dumps([1.0]), "it is no array of numbers"),
        (pickle.dumps(None), "it is no array of numbers"),
        (b"", "it is no pickle of an array: ValueError"),
        (pickle.dumps(numpy.array([1.0, math.nan])), "it has numbers in it that are none, or infinite"),
        (pickle.dumps(numpy.array([-math.inf], "f4")), "it has numbers in it that are none, or infinite"),
    ],
)
def test_nothing_else_comes_out(arrays: Any, content: bytes, why: str) -> None:
    with pytest.raises(arrays.NoArrayError) as caught:
        arrays.loads(content)
    assert why in str(caught.value)
