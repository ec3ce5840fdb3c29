# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose weights they are stands behind them, and is parted from them again."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "roles" / "shared_xain" / "files"))

from fedlearn_xain import once

NAMES = st.binary(min_size=once.NAME_BYTES, max_size=once.NAME_BYTES)


@given(weights=st.binary(max_size=80), name=NAMES)
@example(weights=once.SIGN, name=bytes(once.NAME_BYTES))
def test_whose_weights_they_are_is_parted_from_them(weights: bytes, name: bytes) -> None:
    assert once.parted(once.signed(weights, name)) == (weights, name)
    assert once.parted(weights) == (weights, b"")
