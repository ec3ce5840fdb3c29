# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The time that tests of certificates take for now."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest


@pytest.fixture
def now(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module's NOW is the test's own: minutes may lie between it and the import, more than clocks may differ."""
    monkeypatch.setattr(request.module, "NOW", datetime.now(UTC).replace(microsecond=0))
