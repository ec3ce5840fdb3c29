# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mean of what participants send, each as often as it has samples."""

from __future__ import annotations

import numpy

from .summing import LARGEST, Summing


class Aggregator(Summing):
    """The mean; of whole numbers it is one of float64."""

    weighted = True

    def model(self, total: numpy.ndarray, kind: numpy.dtype, samples: int) -> numpy.ndarray:
        """The sum, divided by all samples."""
        mean = total / samples
        return mean.astype(kind) if kind.kind == "f" else mean

    def most(self, kind: numpy.dtype) -> float:
        """Whatever the sum is, a mean is no larger than what was sent."""
        return LARGEST
