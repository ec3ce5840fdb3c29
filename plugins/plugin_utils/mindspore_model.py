# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether MindSpore's servers can begin with a model, seen on the control node: before any host is touched.

Checkpoints are read by the very module that servers read them with, which needs Python alone.
"""

from __future__ import annotations

import ast
import importlib.util
import math
import struct
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

SHOWN = 3
"""Tensors that a message names at most."""

_LAUNCHER = Path(__file__).resolve().parents[2] / "roles" / "shared_mindspore" / "files" / "fedlearn_mindspore"


def _launcher_module(name: str) -> ModuleType:
    """A module of what hosts run, by its path: no package holds it here."""
    spec = importlib.util.spec_from_file_location(f"fedlearn_mindspore_{name}", _LAUNCHER / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{_LAUNCHER / name}.py is missing: install the collection anew")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tensors = _launcher_module("tensors")


def mistake(path: Path, shapes: Mapping[str, Sequence[int]] | None = None) -> str:
    """What keeps servers from beginning with the model of a .ckpt or .npz file, in words; empty where nothing does.

    With ``shapes`` it has to hold float32 tensors of these names and dimensions, and no other.
    """
    try:
        return _judge([each for each in _tensors(path) if each.type == "float32"], shapes)
    except OSError as error:
        return str(error)
    except Exception as error:  # whatever a file that is no model makes its readers raise
        whole = "checkpoint" if path.suffix == ".ckpt" else "archive of NumPy's arrays"
        return f"it is no complete {whole}: {str(error) or type(error).__name__}"


def _tensors(path: Path) -> list[Any]:
    if path.suffix == ".ckpt":
        found: list[Any] = tensors.of_checkpoint(memoryview(path.read_bytes()))
        return found
    with zipfile.ZipFile(path) as archive:
        return [_array(name.removesuffix(".npy"), archive.read(name)) for name in archive.namelist()]


def _array(name: str, content: bytes) -> Any:
    """One array of NumPy's format, version 1 to 3 (numpy/lib/format.py)."""
    if content[:6] != b"\x93NUMPY":
        raise ValueError(f"'{name}' is no array of NumPy")
    start, size = (10, "<H") if content[6] == 1 else (12, "<I")
    (length,) = struct.unpack(size, content[8:start])
    try:
        header = ast.literal_eval(content[start : start + length].decode("latin-1"))
        kind, shape = str(header["descr"]), tuple(header["shape"])
    except (SyntaxError, KeyError, TypeError) as error:
        raise ValueError(f"'{name}' is no array of NumPy") from error
    if "O" in kind:
        raise ValueError(f"'{name}' holds objects of Python, which nobody loads")
    data = memoryview(content)[start + length :]
    if kind != "<f4":
        return tensors.Tensor(name, shape, kind, (data,))
    if len(data) != 4 * math.prod(shape):
        raise ValueError(f"'{name}' of shape {list(shape)} has {len(data) // 4} elements")
    return tensors.Tensor(name, shape, "float32", (data,))


def _judge(found: Iterable[Any], shapes: Mapping[str, Sequence[int]] | None) -> str:
    floats = {each.name: each for each in found}
    if not floats:
        return "it holds no float32 tensor, and MindSpore Federated aggregates no other"
    for name, each in floats.items():
        if 0 in each.shape:
            return f"the tensor '{name}' of shape {list(each.shape)} has no element"
        # a sum isn't finite where one of the values isn't: all of float32 fits into Python's floats
        if not math.isfinite(sum(memoryview(b"".join(each.slices)).cast("f"))):
            return f"the tensor '{name}' holds values that aren't finite, and so would every answer"
    wanted = {name: tuple(shape) for name, shape in (shapes or {}).items()}
    held = {name: tuple(each.shape) for name, each in floats.items()}
    if not wanted or held == wanted:
        return ""
    return f"it holds {_told(held)}, and what workers train is {_told(wanted)}"


def _told(shapes: Mapping[str, Sequence[int]]) -> str:
    shown = [f"{name}: {list(shape)}" for name, shape in sorted(shapes.items())]
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return f"{{{', '.join(shown[:SHOWN])}}}{more}"
