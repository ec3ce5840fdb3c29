# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mean of what participants send, each as often as it has samples."""

from __future__ import annotations

import numpy

from .summing import LARGEST, Summing

SHORT_BYTES = 2
"""Of whole numbers that float32 holds."""


class Aggregator(Summing):
    """The mean, of the type of what was sent; of whole numbers float64, of those of one or two bytes float32."""

    weighted = True

    def model(self, total: numpy.ndarray, samples: int) -> numpy.ndarray:
        """The sum, divided by all samples."""
        return numpy.divide(total, samples, out=total)

    def model_type(self, sent: numpy.dtype) -> numpy.dtype:
        """The type of what was sent, or one that holds what lies between whole numbers of it."""
        if sent.kind == "f":
            return sent
        return numpy.dtype(numpy.float32 if sent.itemsize <= SHORT_BYTES else numpy.float64)

    def most(self, sent: numpy.dtype) -> float:
        """Whatever the sum is, a mean is no larger than what was sent."""
        return LARGEST
