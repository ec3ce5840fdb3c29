# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sum of what participants send, however many samples they have."""

from __future__ import annotations

import numpy

from .summing import LARGEST, Summing


class Aggregator(Summing):
    """The sum, of the type of what was sent; of whole numbers it is exact, and one of int64."""

    weighted = False

    def model(self, total: numpy.ndarray, samples: int) -> numpy.ndarray:
        """The sum itself."""
        return total

    def model_type(self, sent: numpy.dtype) -> numpy.dtype:
        """The type of what was sent, or the largest of whole numbers."""
        return sent if sent.kind == "f" else numpy.dtype(numpy.int64)

    def most(self, sent: numpy.dtype) -> float:
        """The largest of the model's type."""
        if sent.kind == "f":
            return min(LARGEST, float(numpy.finfo(sent).max))
        return int(numpy.iinfo(numpy.int64).max)
