# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client of mindspore_federated 0.1.0, with two of its silent mistakes taken out.

It weighs what a worker uploads by the number of samples that it knew at the process' *first* upload
(UpdateModelKernelMod::Init in ccsrc/worker/kernel/update_model_kernel.h), and knows none until a server has taken the
worker into an iteration. When no server answers that (a proxy's 502, a lost connection), it returns as if one had
(StartFLJobKernelMod::Launch in start_fl_job_kernel.h). So a worker that came up before its servers uploaded zeros from
then on, and everybody's mean was wrong; and a number of samples that changed was weighed as the first one.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

SAMPLES = range(1, 65536)
"""As many as a server takes: StartFLJobKernel::ReadyForStartFLJob."""


class NotTakenInError(RuntimeError):
    """No server has taken this worker into its iteration."""


class Known:
    """How many samples the program's client knows of: CloudWorker::data_size of its library."""

    def __init__(self) -> None:
        package = importlib.import_module("mindspore_federated")
        library = ctypes.CDLL(str(Path(next(iter(package.__path__))) / "lib" / "libfederated.so"))
        name = "mindspore2fl6worker11CloudWorker"
        instance = getattr(library, f"_ZN9{name}11GetInstanceEv")
        instance.restype = ctypes.c_void_p
        self._worker = ctypes.c_void_p(instance())
        self._get = getattr(library, f"_ZNK9{name}9data_sizeEv")
        self._get.restype, self._get.argtypes = ctypes.c_int, [ctypes.c_void_p]
        self._set = getattr(library, f"_ZN9{name}13set_data_sizeEi")
        self._set.restype, self._set.argtypes = None, [ctypes.c_void_p, ctypes.c_int]

    def __call__(self) -> int:
        """0 while no server has taken the worker in."""
        return int(self._get(self._worker))

    def forget(self) -> None:
        """So that the next answer can be told from the last one."""
        self._set(self._worker, 0)


class Client:
    """`Federated_` of the package, by whose names it is called here too."""

    def __init__(self, federated: Any, known: Any, aggregation: Callable[[], str]) -> None:
        """`known`: a Known. `aggregation`: gives the aggregation_type, once the configuration is loaded."""
        self._federated = federated
        self._known = known
        self._aggregation = aggregation
        self._first = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._federated, name)

    def start_fl_job(self, samples: int) -> Any:
        """Has this worker taken into an iteration. Raises NotTakenInError, or RuntimeError with the servers' reason."""
        if samples not in SAMPLES:
            raise SystemExit(f"{samples} samples: servers take {SAMPLES.start} to {SAMPLES.stop - 1} of a worker")
        self._known.forget()
        answer = self._federated.start_fl_job(samples)
        if self._known() != samples:
            raise NotTakenInError("no server answered startFLJob")
        return answer

    def update_and_get_model(self, weights: Mapping[str, Sequence[float]]) -> Any:
        """Hands in weights and returns the federation's; {} when that came to nothing. Raises NotTakenInError."""
        samples = self._known()
        if not samples:
            raise NotTakenInError("no server has taken this worker into an iteration")
        self._first = self._first or samples
        if samples != self._first:
            weights = {name: self._reweighed(name, values, samples) for name, values in weights.items()}
        return self._federated.update_and_get_model(weights)

    def _reweighed(self, name: str, values: Sequence[float], samples: int) -> Sequence[float]:
        """What is weighed by `samples` once the client has weighed it by the first number of them (WeightingData)."""
        aggregation = self._aggregation()
        if aggregation == "Scaffold" and name.startswith("control."):
            return values
        factor = self._first / samples if aggregation == "FedNova" else samples / self._first
        return [value * factor for value in values]


def of(core: Any) -> Client:
    """The client of the package's `_mindspore_federated`."""
    return Client(core.Federated_, Known(), lambda: str(core.FLContext.get_instance().aggregation_type()))
