# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of the logins used in turn is there, and by what password."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.module_utils._turns import settled

LOGINS: list[dict[str, Any]] = [
    {"name": "one", "state": "present", "secret": "alone"},
    {"name": "two_a", "state": "present", "secret": "both", "turn": "a"},
    {"name": "two_b", "state": "present", "secret": "both", "turn": "b"},
    {"name": "three_a", "state": "absent", "turn": "a"},
    {"name": "four", "secret": "alone"},
]


@pytest.mark.parametrize("valid", [{"a": "1"}, {"a": "1", "b": "2"}, {"b": "2"}])
def test_a_login_is_there_while_its_turn_has_a_password(valid: dict[str, str]) -> None:
    found = {one["name"]: (one["state"], one["password"]) for one in settled(LOGINS, {"alone": "0"}, {"both": valid})}
    assert found == {
        "one": ("present", "0"),
        "two_a": ("present", "1") if "a" in valid else ("absent", None),
        "two_b": ("present", "2") if "b" in valid else ("absent", None),
        "three_a": ("absent", None),
        "four": ("present", "0"),
    }
