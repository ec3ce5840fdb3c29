# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Gives the tests a changed document; each leaves the demo as `make demo` made it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from standing_demo import Changed, Demo


@pytest.fixture
def document(demo: Demo, tmp_path: Path) -> Iterator[Changed]:
    with demo.changing(tmp_path) as changed:
        yield changed
