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
    """A changed copy of the demo's document with the same state beside it; afterwards the hosts are as before."""

    def changed(old: str, new: str) -> Path:
        text = (demo.inventory / "federation.yml").read_text()
        assert old in text
        demo.beside(tmp_path)
        (tmp_path / "federation.yml").write_text(text.replace(old, new))
        return tmp_path / "federation.yml"

    yield changed
    restored = demo.playbook("site.yml", "-e", "fedlearn_prune=true")
    assert restored.returncode == 0, restored.output
