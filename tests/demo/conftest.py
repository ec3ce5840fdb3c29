# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lets the tests find tests/support, and gives them the demo and changed documents for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from standing_demo import Changed, Demo


@pytest.fixture(scope="session")
def demo() -> Demo:
    return Demo()


@pytest.fixture
def document(demo: Demo, tmp_path: Path) -> Iterator[Changed]:
    """Afterwards the demo is as `make demo` made it."""
    with demo.changing(tmp_path) as changed:
        yield changed
