# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""model.py PATH: writes the linear example's model as .npz, all ones. Without NumPy, which the control node lacks."""

from __future__ import annotations

import math
import struct
import sys
import zipfile

SHAPES = {"fc.weight": (1, 3), "fc.bias": (1,)}


def array(shape: tuple[int, ...]) -> bytes:
    """A .npy file of float32 ones (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html)."""
    header = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    count = math.prod(shape)
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + struct.pack(f"<{count}f", *[1.0] * count)


with zipfile.ZipFile(sys.argv[1], "w") as archive:
    for name, shape in SHAPES.items():
        archive.writestr(f"{name}.npy", array(shape))
