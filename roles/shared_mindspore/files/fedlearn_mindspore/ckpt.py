# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MindSpore's .ckpt files, read and written without MindSpore.

A checkpoint is one protocol buffers message, a list of named tensors:

    Checkpoint { repeated Value value = 1; }
    Value      { string tag = 1; Tensor tensor = 2; }
    Tensor     { repeated int64 dims = 1; string tensor_type = 2; bytes tensor_content = 3; }

A large tensor is cut into several values of the same tag, one after the other. Seen on files that mindspore 2.0.0
wrote; molecule/mindspore_full proves both directions against its load_checkpoint and save_checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy

Weights = dict[str, "numpy.ndarray[Any, Any]"]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
SLICE = 512 * 1024 * 1024
"""Bytes of one slice of a tensor; protocol buffers allow a message 2 GB."""

TYPES: Mapping[str, str] = {
    "Float16": "float16",
    "Float32": "float32",
    "Float64": "float64",
    "Int8": "int8",
    "Int16": "int16",
    "Int32": "int32",
    "Int64": "int64",
    "UInt8": "uint8",
    "UInt16": "uint16",
    "UInt32": "uint32",
    "UInt64": "uint64",
    "Bool": "bool",
}
NAMES: Mapping[str, str] = {dtype: name for name, dtype in TYPES.items()}


class CheckpointError(ValueError):
    """A file isn't a complete checkpoint. A ValueError, since FLServerJob tries the next older file only after one."""


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
    parts: dict[str, tuple[list[int], str, list[bytes]]] = {}
    for number, value in _fields(memoryview(data)):
        if number != 1:
            continue
        tag, dims, type_name, content = _value(value)
        known = parts.setdefault(tag, (dims, type_name, []))
        if known[:2] != (dims, type_name):
            raise CheckpointError(f"slices of the tensor '{tag}' differ in shape or type")
        known[2].append(content)
    return {tag: _array(tag, dims, name, b"".join(slices)) for tag, (dims, name, slices) in parts.items()}


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


def _value(data: memoryview) -> tuple[str, list[int], str, bytes]:
    tag, dims, type_name, content = "", [], "", b""
    for number, field in _fields(data):
        if number == 1:
            tag = _text(field)
        elif number == 2:
            for inner, part in _fields(field):
                if inner == 1:
                    dims.extend([part] if isinstance(part, int) else _packed(part))
                elif inner == 2:
                    type_name = _text(part)
                elif inner == 3:
                    content = bytes(_blob(part))
    if not tag or not type_name:
        raise CheckpointError("a value without a name or a type")
    return tag, dims, type_name, content


def _array(tag: str, dims: list[int], type_name: str, content: bytes) -> Any:
    if type_name not in TYPES:
        raise CheckpointError(f"the tensor '{tag}' has the type '{type_name}', which isn't read here")
    flat = numpy.frombuffer(content, numpy.dtype(TYPES[type_name]).newbyteorder("<")).astype(TYPES[type_name])
    shape = [] if dims == [0] and flat.size == 1 else dims
    size = 1
    for length in shape:
        size *= length
    if size != flat.size:
        raise CheckpointError(f"the tensor '{tag}' of shape {shape} has {flat.size} elements")
    return flat.reshape(shape)


def _fields(data: Any) -> Iterator[tuple[int, Any]]:
    """(field number, value) of a message: an int, or a memoryview for length-delimited ones."""
    view = _blob(data)
    position = 0
    while position < len(view):
        key, position = _varint(view, position)
        kind = key & 7
        if kind == VARINT:
            value, position = _varint(view, position)
            yield key >> 3, value
            continue
        if kind == BYTES:
            length, position = _varint(view, position)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise CheckpointError("not a protocol buffers message")
        if position + length > len(view):
            raise CheckpointError("cut off")
        yield key >> 3, view[position : position + length]
        position += length


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(view):
            raise CheckpointError("cut off")
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise CheckpointError("not a protocol buffers message")


def _packed(view: memoryview) -> list[int]:
    values, position = [], 0
    while position < len(view):
        value, position = _varint(view, position)
        values.append(value)
    return values


def _blob(value: Any) -> memoryview:
    if not isinstance(value, memoryview):
        raise CheckpointError("not a checkpoint")
    return value


def _text(value: Any) -> str:
    try:
        return bytes(_blob(value)).decode()
    except UnicodeDecodeError as error:
        raise CheckpointError("not a checkpoint") from error


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
