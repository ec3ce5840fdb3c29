# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lets the tests find what they share, and gives them the federation `pinned`, its registry filled by nobody yet."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from pinned import Pinned


@pytest.fixture(scope="session")
def pinned() -> Pinned:
    federation = Pinned()
    federation.begin()
    return federation
