# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tensors of MindSpore's .ckpt files, and nothing but what Python itself has: control nodes read them too.

A checkpoint is one protocol buffers message, a list of named tensors:

    Checkpoint { repeated Value value = 1; }
    Value      { string tag = 1; Tensor tensor = 2; }
    Tensor     { repeated int64 dims = 1; string tensor_type = 2; bytes tensor_content = 3; }

A large tensor is cut into several values of the same tag, one after the other. Seen on
files that mindspore 2.0.0 wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

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
SIZES: Mapping[str, int] = {
    "float16": 2,
    "float32": 4,
    "float64": 8,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "bool": 1,
}
"""Bytes of one element."""


class CheckpointError(ValueError):
    """A file isn't a complete checkpoint. A ValueError, since FLServerJob tries the next older file only after one."""


class Tensor(NamedTuple):
    """One tensor: its type by numpy's name, its content in slices."""

    name: str
    shape: tuple[int, ...]
    type: str
    slices: tuple[memoryview, ...]


def of_checkpoint(data: memoryview) -> list[Tensor]:
    """The tensors of a checkpoint's bytes, in the file's order. Raises CheckpointError."""
    parts: dict[str, tuple[list[int], str, list[memoryview]]] = {}
    for number, value in _fields(data):
        if number != 1:
            continue
        tag, dims, type_name, content = _value(value)
        known = parts.setdefault(tag, (dims, type_name, []))
        if known[:2] != (dims, type_name):
            raise CheckpointError(f"slices of the tensor '{tag}' differ in shape or type")
        known[2].append(content)
    return [_tensor(tag, *part) for tag, part in parts.items()]


def _tensor(tag: str, dims: list[int], type_name: str, slices: list[memoryview]) -> Tensor:
    if type_name not in TYPES:
        raise CheckpointError(f"the tensor '{tag}' has the type '{type_name}', which isn't read here")
    elements, rest = divmod(sum(map(len, slices)), SIZES[TYPES[type_name]])
    shape = [] if dims == [0] and elements == 1 else dims
    wanted = 1
    for length in shape:
        wanted *= length
    if wanted != elements or rest:
        raise CheckpointError(f"the tensor '{tag}' of shape {shape} has {elements} elements")
    return Tensor(tag, tuple(shape), TYPES[type_name], tuple(slices))


def _value(data: memoryview) -> tuple[str, list[int], str, memoryview]:
    tag, dims, type_name, content = "", [], "", memoryview(b"")
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
                    content = _blob(part)
    if not tag or not type_name:
        raise CheckpointError("a value without a name or a type")
    return tag, dims, type_name, content


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
