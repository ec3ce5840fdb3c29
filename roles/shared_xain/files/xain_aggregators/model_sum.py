# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sum of what participants send, however many samples they have."""

from __future__ import annotations

import numpy

from .summing import LARGEST, Summing


class Aggregator(Summing):
    """The sum; of whole numbers it is one of int64."""

    weighted = False

    def model(self, total: numpy.ndarray, kind: numpy.dtype, samples: int) -> numpy.ndarray:
        """The sum itself."""
        return total.astype(kind) if kind.kind == "f" else total

    def most(self, kind: numpy.dtype) -> float:
        """The largest of the model's type."""
        if kind.kind == "f":
            return min(LARGEST, float(numpy.finfo(kind).max))
        return int(numpy.iinfo(numpy.int64).max)
