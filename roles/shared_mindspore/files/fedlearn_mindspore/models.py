# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a server's first weights come from."""

from __future__ import annotations

import importlib
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from fedlearn_mindspore import ckpt

Weights = dict[str, "numpy.ndarray[Any, Any]"]
DEFAULT = "fedlearn_mindspore.linear"


def initial(description: Any) -> Weights:
    """The initial feature map, float32: of a .ckpt or .npz, of a table of shapes (zeros), or the default's."""
    if description is None:
        description = importlib.import_module(DEFAULT).SHAPES
    if isinstance(description, Mapping):
        return {str(name): numpy.zeros(tuple(shape), numpy.float32) for name, shape in description.items()}
    path = Path(str(description))
    weights = _read(path)
    floats = {name: array for name, array in weights.items() if array.dtype == numpy.float32}
    if not floats:
        raise SystemExit(f"{path}: holds no float32 tensor, and MindSpore Federated aggregates no other")
    for name, array in floats.items():
        if not numpy.isfinite(array).all():
            raise SystemExit(f"{path}: the tensor '{name}' holds values that aren't finite, and so would every answer")
    return floats


def _read(path: Path) -> Weights:
    try:
        if path.suffix == ".ckpt":
            return ckpt.read(path)
        with zipfile.ZipFile(path), numpy.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise SystemExit(f"initial model {path}: {error}") from error


def difference(weights: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """What makes weights unfit to continue a model, in words, or ''. Scaffold's control variates don't count."""
    shapes = {name: tuple(numpy.shape(array)) for name, array in weights.items() if not name.startswith("control.")}
    wanted = {name: tuple(numpy.shape(array)) for name, array in expected.items()}
    if shapes == wanted:
        return ""
    names = sorted(name for name in {**shapes, **wanted} if shapes.get(name) != wanted.get(name))
    return ", ".join(f"{name} is {shapes.get(name, 'absent')}, not {wanted.get(name, 'absent')}" for name in names[:3])
