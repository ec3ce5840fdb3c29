# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One variable says how long hosts wait for others who install packages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils.apt_wait import VARIABLE, seconds

TEMPLAR = SimpleNamespace(template=lambda value: 90 if value == "{{ ninety }}" else value)


@pytest.mark.parametrize(
    ("option", "variables", "waits"),
    [
        (None, {}, 120),
        (None, {VARIABLE: 30}, 30),
        (None, {VARIABLE: "30"}, 30),
        (None, {VARIABLE: "{{ ninety }}"}, 90),
        (None, {VARIABLE: 0}, 0),
        (5, {VARIABLE: 30}, 5),
    ],
)
def test_a_task_a_variable_or_two_minutes(option: int | None, variables: dict[str, Any], waits: int) -> None:
    assert seconds(option, variables, TEMPLAR) == waits


@pytest.mark.parametrize("value", ["soon", -1, 3601, 1.5, True, None, ""])
def test_what_is_no_time_is_told(value: Any) -> None:
    with pytest.raises(ValueError, match=f"{VARIABLE}: expected a whole number from 0 to 3600, found"):
        seconds(None, {VARIABLE: value}, TEMPLAR)
