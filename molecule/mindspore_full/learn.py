# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The linear example as MindSpore's users write it: Model.train with a FederatedLearningManager."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mindspore
import numpy
from fedlearn_mindspore import linear
from mindspore import Model, nn
from mindspore.dataset import NumpySlicesDataset
from mindspore_federated import FederatedLearningManager

ITERATIONS = 3


class Network(nn.Cell):
    """One dense layer, whose parameters are called as the servers' are: fc.weight and fc.bias."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Dense(3, 1, weight_init="zeros", bias_init="zeros")

    def construct(self, inputs: Any) -> Any:
        """The layer's output."""
        return self.fc(inputs)


def train(session: Any) -> Mapping[str, Any]:
    """All of the own data in each step, and an exchange after each `steps` of them."""
    settings = linear.settings_of(session.settings)
    inputs, targets = linear.data(settings)
    columns = (inputs[:, :3].astype(numpy.float32), targets.reshape(-1, 1).astype(numpy.float32))
    data = NumpySlicesDataset(columns, ["inputs", "targets"], shuffle=False).batch(settings["samples"])
    network = Network()
    manager = FederatedLearningManager(
        model=network,
        sync_frequency=settings["steps"],
        data_size=settings["samples"],
        **session.manager_arguments(),
    )
    # MindSpore's mean squared error has no half before it
    optimizer = nn.SGD(network.trainable_params(), settings["learning_rate"] / 2)
    model = Model(network, nn.MSELoss(), optimizer)
    model.train(ITERATIONS, data.repeat(settings["steps"]), callbacks=[manager], dataset_sink_mode=False)
    weights = {parameter.name: parameter.asnumpy() for parameter in network.trainable_params()}
    return {**linear.result(linear.flatten(weights), settings), "mindspore": mindspore.__version__}
