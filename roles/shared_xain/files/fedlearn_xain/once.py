# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a participant of ``poc`` adds to its weights, so that what it has to send again counts once.

The coordinator may hear of an upload late, or never, and asks again for what the aggregator has; who was started again
doesn't know what came of it, and others may know it by another number. So each of ours says who it is, by a name that
chance made and nobody else is told, behind its weights; ``kept`` takes that off again. The class, and others'
participants, know nothing of it. This runs in the Python that the aggregator embeds (3.9), too.
"""

from __future__ import annotations

NAME_BYTES = 16
SIGN = bytes.fromhex("7d7e1c5f0b6a4e0f9d53c2a8e4b1f607")
"""No other weights end like this."""


def signed(weights: bytes, name: bytes) -> bytes:
    """Weights, and whose they are; without weights it asks again for what was answered."""
    return weights + SIGN + name


def parted(sent: bytes) -> tuple[bytes, bytes]:
    """Weights, and whose they are; empty where nobody said."""
    end = len(sent) - NAME_BYTES - len(SIGN)
    if end < 0 or sent[end:-NAME_BYTES] != SIGN:
        return sent, b""
    return sent[:end], sent[-NAME_BYTES:]
