# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A device that takes part in FEDERATED_LEARNING: as much of MindSpore Federated's protocol as a round needs.

Requests and answers are flatbuffers. Numbers below are a field's place in its table (mindspore_federated/schema,
fl_job.fbs and cipher.fbs of 0.1.0).
"""

from __future__ import annotations

import http.client
import ssl
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
from flatbuffers.number_types import Float32Flags, Int32Flags
from flatbuffers.table import Table

SUCCEED = 200
NOT_READY = 201


@dataclass(frozen=True)
class Answer:
    """What a server answered; ``plan`` is what startFLJob tells of the training."""

    code: int
    reason: str
    iteration: int
    weights: dict[str, list[float]]
    plan: dict[str, str]


class Device:
    """One participant, known to the servers by its name."""

    def __init__(self, address: tuple[str, int], authority: str, job: str, name: str) -> None:
        self.address = address
        self.context = ssl.create_default_context(cafile=authority)
        self.job = job
        self.name = name

    def start(self, samples: int) -> Answer:
        """Asks to take part in the current iteration with so many samples."""
        answer = self._post("startFLJob", [self.job, self.name, 0, samples, _now()])
        return Answer(_int(answer, 0), _text(answer, 1), _int(answer, 2), _weights(answer, 6), _plan(answer))

    def update(self, iteration: int, weights: Mapping[str, Sequence[float]]) -> Answer:
        """Hands in the iteration's weights, each multiplied by the number of samples."""
        answer = self._post("updateModel", [self.job, self.name, iteration, dict(weights), _now()])
        return Answer(_int(answer, 0), _text(answer, 1), iteration, {}, {})

    def model(self, iteration: int) -> Answer:
        """The model after an iteration, if it is there."""
        answer = self._post("getModel", [self.job, iteration, _now()])
        return Answer(_int(answer, 0), _text(answer, 1), _int(answer, 2), _weights(answer, 3), {})

    def _post(self, path: str, fields: Sequence[Any]) -> Table:
        connection = http.client.HTTPSConnection(*self.address, timeout=30, context=self.context)
        connection.request("POST", f"/{path}", body=_request(fields))
        content = connection.getresponse().read()
        connection.close()
        (root,) = struct.unpack_from("<I", content)
        return Table(content, root)


def _now() -> str:
    return str(round(time.time() * 1000))


# --- writing ----------------------------------------------------------------------------------------------------------


def _request(fields: Sequence[Any]) -> bytes:
    """A request whose first fields are these: strings, whole numbers, and weights by name."""
    builder = flatbuffers.Builder(1024)
    written = [_child(builder, value) for value in fields]
    builder.StartObject(len(fields))
    for place, value in enumerate(written):
        if isinstance(fields[place], int):
            builder.PrependInt32Slot(place, value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(place, value, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def _child(builder: flatbuffers.Builder, value: Any) -> int:
    """What a field refers to, which stands before its table; a number stands in the table itself."""
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, Mapping):
        return _feature_maps(builder, value)
    return int(value)


def _feature_maps(builder: flatbuffers.Builder, weights: Mapping[str, Sequence[float]]) -> int:
    maps = []
    for name, values in weights.items():
        told = builder.CreateString(name)
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependFloat32(value)
        data = builder.EndVector()
        builder.StartObject(2)
        builder.PrependUOffsetTRelativeSlot(0, told, 0)
        builder.PrependUOffsetTRelativeSlot(1, data, 0)
        maps.append(builder.EndObject())
    builder.StartVector(4, len(maps), 4)
    for each in reversed(maps):
        builder.PrependUOffsetTRelative(each)
    return int(builder.EndVector())


# --- reading ----------------------------------------------------------------------------------------------------------


def _place(table: Table, field: int) -> int:
    """Where a field of a table is; 0 when it is absent."""
    offset = int(table.Offset(4 + 2 * field))
    return table.Pos + offset if offset else 0


def _int(table: Table, field: int) -> int:
    place = _place(table, field)
    return int(table.Get(Int32Flags, place)) if place else 0


def _text(table: Table, field: int) -> str:
    place = _place(table, field)
    return bytes(table.String(place)).decode() if place else ""


def _table(table: Table, field: int) -> Table | None:
    place = _place(table, field)
    return Table(table.Bytes, table.Indirect(place)) if place else None


def _weights(table: Table, field: int) -> dict[str, list[float]]:
    if not _place(table, field):
        return {}
    offset = table.Offset(4 + 2 * field)
    start, length = table.Vector(offset), table.VectorLen(offset)
    maps = [Table(table.Bytes, table.Indirect(start + 4 * index)) for index in range(length)]
    return {_text(each, 0): _floats(each, 1) for each in maps}


def _floats(table: Table, field: int) -> list[float]:
    offset = table.Offset(4 + 2 * field)
    start, length = table.Vector(offset), table.VectorLen(offset)
    return [float(table.Get(Float32Flags, start + 4 * index)) for index in range(length)]


def _plan(answer: Table) -> dict[str, str]:
    """Mode, job and encryption."""
    plan = _table(answer, 5)
    cipher = _table(plan, 10) if plan else None
    if plan is None or cipher is None:
        return {}
    return {"server_mode": _text(plan, 0), "fl_name": _text(plan, 1), "encryption": _text(cipher, 0)}
