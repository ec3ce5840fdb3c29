# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""FedAvg of a model of two weights: an application on Debian's torch, whose workers learn what is known beforehand."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

sys.path.append("/usr/lib/python3/dist-packages")  # what the environment has goes first

import torch
from dc_federated.algorithms.fed_avg.fed_avg_model_trainer import FedAvgModelTrainer
from dc_federated.algorithms.fed_avg.fed_avg_server import FedAvgServer
from dc_federated.algorithms.fed_avg.fed_avg_worker import FedAvgWorker


class Averaged(BaseException):
    """The first model that comes of all workers' updates."""


class Trainer(FedAvgModelTrainer):
    """One step of gradient descent, which ends at what is to be learned, wherever it begins."""

    def __init__(self, learned: list[float] | None = None, samples: int = 0) -> None:
        self.model = torch.nn.Linear(2, 1, bias=False)
        self.learned, self.samples = learned, samples

    def train(self) -> None:
        descent = torch.optim.SGD(self.model.parameters(), lr=1.0)
        descent.zero_grad()
        wrong = self.model(torch.eye(2)).flatten() - torch.tensor(self.learned)
        (0.5 * wrong.square().sum()).backward()
        descent.step()

    def test(self) -> None:
        """There is nothing to be tried."""

    def get_model(self) -> Any:
        return self.model

    def load_model_from_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state_dict)
        if self.learned:
            raise Averaged(self.model.weight.flatten().tolist())

    def get_per_session_train_size(self) -> int:
        return self.samples


def build(arguments: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """The server: there is a new model when so many ``workers`` have sent theirs.

    With ``trapped`` as if nobody had told torch that pickles are meant.
    """
    from fedlearn_dc_federated.server import fed_avg

    if settings.get("trapped"):
        del os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"]
    return FedAvgServer(Trainer(), update_lim=settings["workers"], **fed_avg(arguments))


def run(arguments: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A worker, which returns with the first model of all: what it learns, and of how many samples, is its host's."""
    from fedlearn_dc_federated.worker import fed_avg

    learned, samples = settings["learned"][socket.gethostname()]
    worker = FedAvgWorker(Trainer(learned, samples), **fed_avg(arguments))
    try:
        worker.start()
    except Averaged as model:
        return {"values": model.args[0], "torch": torch.__version__}
    raise RuntimeError("the library's worker came to an end without a model")
