# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A class that aggregates, for xain's generation ``poc``: of each number the median, which no few liars move far.

It runs in the Python that the aggregator embeds (3.9, numpy 1.19), where `xain_aggregators` of the collection can be
imported. Its reader takes no more memory than what was sent, whatever that says of itself; `numpy.load` would.
"""

from __future__ import annotations

import numpy
from xain_aggregators import messages


class Median:
    """Made without arguments, by the program."""

    def __init__(self) -> None:
        self.sent: list[numpy.ndarray] = []

    def add_weights(self, data: bytes) -> bool:
        """Whether these bytes count: four with the number of samples, which is of no use here, and an array as .npy."""
        try:
            _samples, array = messages.read(data)
        except messages.NoWeightsError:
            return False
        if array.dtype.kind != "f" or (self.sent and array.shape != self.sent[0].shape):
            return False
        self.sent.append(array)
        return True

    def aggregate(self) -> bytes:
        """The model. What was sent is forgotten first: where this fails the round is run again."""
        sent, self.sent = self.sent, []
        return messages.alone(numpy.median(numpy.stack(sent), axis=0))
