# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of models as NumPy and MindSpore write them, made without either."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence

Tensors = Mapping[str, tuple[Sequence[int], Sequence[float]]]
"""Shape and values by name."""


def npz(arrays: Tensors, kind: str = "<f4", order: bool = False) -> bytes:
    """What numpy.savez writes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, (shape, values) in arrays.items():
            header = repr({"descr": kind, "fortran_order": order, "shape": tuple(shape)}).encode() + b"\n"
            content = struct.pack(f"<{len(values)}f", *values)
            place = zipfile.ZipInfo(f"{name}.npy")  # has no time in it: the same bytes each time
            archive.writestr(place, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content)
    return file.getvalue()


def ckpt(arrays: Tensors, kind: str = "Float32", slices: int = 1) -> bytes:
    """What mindspore.save_checkpoint writes; lengths stay below 128 here."""

    def block(number: int, content: bytes) -> bytes:
        assert len(content) < 128
        return bytes([number << 3 | 2, len(content)]) + content

    whole = b""
    for name, (shape, values) in arrays.items():
        content = struct.pack(f"<{len(values)}f", *values)
        step = max(4, len(content) // slices)
        for start in range(0, max(len(content), 1), step):
            inner = b"".join(bytes([8, size]) for size in shape) + block(2, kind.encode())
            whole += block(1, block(1, name.encode()) + block(2, inner + block(3, content[start : start + step])))
    return whole
