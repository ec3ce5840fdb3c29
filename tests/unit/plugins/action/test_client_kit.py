# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose kits are written when no stack is named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.action.client_kit import _stacks
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.client_kits import NoKitError

BOTH: Any = SimpleNamespace(
    stacks={name: SimpleNamespace(name=name, kind=kind) for name, kind in (("survey", "dpsa"), ("first", "xain"))}
)
ONE: Any = SimpleNamespace(stacks={"first": BOTH.stacks["first"]})
NEITHER: Any = SimpleNamespace(stacks={"lenet": SimpleNamespace(name="lenet", kind="mindspore")})


@pytest.mark.parametrize(
    ("stack", "client", "found"),
    [("", "", ["survey"]), ("", "others", ["first"]), ("first", "", ["first"]), ("survey", "", ["survey"])],
)
def test_another_system_s_stack_is_in_nobody_s_way(stack: str, client: str, found: list[str]) -> None:
    assert [one.name for one in _stacks(BOTH, stack, client)] == found


def test_the_only_one_there_is_needs_no_name() -> None:
    assert [one.name for one in _stacks(ONE, "", "")] == ["first"]


@pytest.mark.parametrize(
    ("stack", "told"),
    [
        ("", "no stack is of kind dpsa or xain, which alone have kits"),
        ("lenet", "there is no stack 'lenet' of kind dpsa or xain"),
    ],
)
def test_who_has_none_is_told_so(stack: str, told: str) -> None:
    with pytest.raises(NoKitError, match=told):
        _stacks(NEITHER, stack, "")
