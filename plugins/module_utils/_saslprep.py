# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What SCRAM hashes of a password, for hosts and the control node."""

from __future__ import annotations

import stringprep
import unicodedata
from collections.abc import Callable
from typing import Literal

_PROHIBITED = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)
"""RFC 4013, 2.3, and what RFC 3454 knows no character for."""


def saslprep(password: str, normalize: Callable[[Literal["NFKC"], str], str] = unicodedata.normalize) -> str:
    """A password by RFC 4013, normalized as the server at hand does. Raises ValueError where it allows none such."""
    mapped = ("" if stringprep.in_table_b1(one) else " " if stringprep.in_table_c12(one) else one for one in password)
    prepared = normalize("NFKC", "".join(mapped))
    leftward = [stringprep.in_table_d1(one) for one in prepared]
    # RFC 3454, 6: what is written from right to left begins and ends so, and has nothing of the other direction
    mixed = any(leftward) and (not (leftward[0] and leftward[-1]) or any(map(stringprep.in_table_d2, prepared)))
    if not prepared or mixed or any(forbids(one) for forbids in _PROHIBITED for one in prepared):
        raise ValueError("has characters that SCRAM doesn't allow (RFC 4013): give another")
    return prepared
