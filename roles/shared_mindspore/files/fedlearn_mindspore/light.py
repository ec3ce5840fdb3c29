# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MindSpore Federated without MindSpore.

The package's __init__ imports everything it has, and with it MindSpore (2.8 GB), of which scheduler and servers use
three names: Tensor, save_checkpoint and load_checkpoint. So both packages are registered here: `mindspore_federated`
with its path only, so that its submodules load as always, and a `mindspore` that consists of those three names.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy

from fedlearn_mindspore import ckpt


class Tensor:
    """What MindSpore Federated wraps an array in to save it, and gets back from a checkpoint."""

    def __init__(self, data: Any) -> None:
        self._array = numpy.asarray(data)

    def asnumpy(self) -> Any:
        """The array."""
        return self._array


def save_checkpoint(parameters: Iterable[Mapping[str, Any]], file_name: str) -> None:
    """Writes parameters, each {"name", "data"}, as MindSpore does, but complete or not at all."""
    ckpt.write(Path(file_name), {str(item["name"]): item["data"].asnumpy() for item in parameters})


def load_checkpoint(file_name: str) -> dict[str, Tensor]:
    """Name to Tensor. Raises ValueError for a file that isn't a complete checkpoint."""
    return {name: Tensor(array) for name, array in ckpt.read(Path(file_name)).items()}


def register() -> None:
    """Makes `import mindspore` and `import mindspore_federated.<submodule>` work without MindSpore."""
    spec = importlib.util.find_spec("mindspore_federated")
    if spec is None or spec.origin is None:
        raise SystemExit("this environment has no mindspore_federated: is the unit started with its Python?")
    root = Path(spec.origin).parent
    for name in ("mindspore_federated", "mindspore_federated.common"):
        package = ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    mindspore = ModuleType("mindspore")
    mindspore.__dict__.update(Tensor=Tensor, save_checkpoint=save_checkpoint, load_checkpoint=load_checkpoint)
    sys.modules["mindspore"] = mindspore
