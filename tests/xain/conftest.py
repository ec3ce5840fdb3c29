# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lets the tests find what they share, and gives them the deployed federations `rounds`, `masks` and `counts`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from training import Counts, Masks, Rounds


@pytest.fixture(scope="session")
def rounds() -> Rounds:
    federation = Rounds()
    federation.begin()
    return federation


@pytest.fixture(scope="session")
def masks() -> Masks:
    federation = Masks()
    federation.begin()
    return federation


@pytest.fixture(scope="session")
def counts() -> Counts:
    federation = Counts()
    federation.begin()
    return federation
