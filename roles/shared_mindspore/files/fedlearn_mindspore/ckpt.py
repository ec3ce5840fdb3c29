# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MindSpore's .ckpt files, read and written without MindSpore.

What they look like says `tensors`. molecule/mindspore_full proves both directions against mindspore's load_checkpoint
and save_checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy

from fedlearn_mindspore import tensors
from fedlearn_mindspore.tensors import BYTES, TYPES, VARINT, CheckpointError

Weights = dict[str, "numpy.ndarray[Any, Any]"]

SLICE = 512 * 1024 * 1024
"""Bytes of one slice of a tensor; protocol buffers allow a message 2 GB."""

NAMES: Mapping[str, str] = {dtype: name for name, dtype in TYPES.items()}


def read(path: Path) -> Weights:
    """The tensors of a checkpoint, in the file's order. Raises CheckpointError for anything but a complete one."""
    try:
        weights = decode(path.read_bytes())
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if not weights:
        raise CheckpointError(f"{path}: holds no tensor")
    return weights


def write(path: Path, weights: Mapping[str, Any]) -> None:
    """Writes a checkpoint, complete or not at all: a sibling is written, synchronised and renamed."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        for chunk in encode(weights):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def decode(data: bytes) -> Weights:
    """The tensors of a checkpoint's bytes."""
    return {tensor.name: _array(tensor) for tensor in tensors.of_checkpoint(memoryview(data))}


def encode(weights: Mapping[str, Any]) -> Iterator[bytes]:
    """A checkpoint's bytes, in chunks."""
    for tag, given in weights.items():
        array = numpy.ascontiguousarray(given)
        if str(array.dtype) not in NAMES:
            raise CheckpointError(f"a checkpoint can't hold the type {array.dtype} of the tensor '{tag}'")
        content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        # MindSpore writes a single number without dimensions as dims [0]; a reader turns it back.
        dims = list(numpy.shape(given)) or [0]
        for start in range(0, max(len(content), 1), SLICE):
            tensor = b"".join(_number(1, size) for size in dims)
            tensor += _bytes(2, NAMES[str(array.dtype)].encode()) + _bytes(3, content[start : start + SLICE])
            yield _bytes(1, _bytes(1, tag.encode()) + _bytes(2, tensor))


def _array(tensor: tensors.Tensor) -> Any:
    flat = numpy.frombuffer(b"".join(tensor.slices), numpy.dtype(tensor.type).newbyteorder("<")).astype(tensor.type)
    return flat.reshape(tensor.shape)


def _write_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(number: int, value: int) -> bytes:
    return _write_varint(number << 3 | VARINT) + _write_varint(value)


def _bytes(number: int, value: bytes) -> bytes:
    return _write_varint(number << 3 | BYTES) + _write_varint(len(value)) + value
