# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""checkpoints.py FOLDER: MindSpore reads the .ckpt files we write, and we read those it writes. Runs on the host.

Prints {"written": [names], "read": [names]} of the tensors that came through with type, shape and every bit the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mindspore
import numpy
from fedlearn_mindspore import ckpt

SHAPES = {"scalar": (), "one": (1,), "row": (7,), "matrix": (2, 3), "kernel": (2, 1, 3, 4), "last-is-one": (4, 1)}


def tensors() -> dict[str, Any]:
    """One of each type and shape, with names such as layers have."""
    random = numpy.random.RandomState(1)
    made = {}
    for dtype in ckpt.NAMES:
        for shape_name, shape in SHAPES.items():
            values = random.uniform(0, 200, shape)
            made[f"network.layer-1.{shape_name}.{dtype}"] = numpy.asarray(values).astype(dtype)
    made["network.fc.bias.extreme"] = numpy.array([0.0, -0.0, numpy.inf, numpy.nan, 1e-45, 3.4e38], numpy.float32)
    return made


def same(one: Any, other: Any) -> bool:
    """To the bit."""
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def came_through(given: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Names of those that did, in the file's order. Whatever didn't is told on stderr."""
    good = [name for name, array in found.items() if name in given and same(given[name], array)]
    for name in sorted(set(given) | set(found)):
        if name not in good:
            sys.stderr.write(f"{name}: {given.get(name)!r} became {found.get(name)!r}\n")
    return good


def load(path: Path) -> dict[str, Any]:
    """What MindSpore reads of a file."""
    return {name: parameter.asnumpy() for name, parameter in mindspore.load_checkpoint(str(path)).items()}


def main(folder: Path) -> None:
    """Both ways, and MindSpore by itself."""
    given, ours, theirs = tensors(), folder / "ours.ckpt", folder / "theirs.ckpt"
    ckpt.write(ours, given)
    parameters = [{"name": name, "data": mindspore.Tensor(array)} for name, array in given.items()]
    mindspore.save_checkpoint(parameters, str(theirs))
    found = {
        "given": list(given),
        "written": came_through(given, load(ours)),
        "read": came_through(given, ckpt.read(theirs)),
        "by itself": came_through(given, load(theirs)),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
