# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much memory a server may have."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.redis import check

MIB = 1 << 20


def checked(**values: Any) -> dict[str, Any]:
    (instance,) = check([{"name": "store", **values}])
    return instance


def test_data_are_bounded_and_never_evicted_unless_told() -> None:
    settings = checked()["settings"]
    assert settings == {"maxmemory": "1gb", "maxmemory-policy": "noeviction"}
    told = {"maxmemory": 1048576, "maxmemory-policy": "allkeys-lru", "hz": 10}
    assert checked(settings=told)["settings"] == told


@pytest.mark.parametrize(
    ("persistence", "maxmemory", "bytes_"),
    [
        ("none", "64mb", 96 * MIB),
        ("none", "64MB", 96 * MIB),
        ("none", 64 * MIB, 96 * MIB),
        ("none", "64m", 96_000_000),
        ("rdb", "64mb", 160 * MIB),
        ("aof", "2gb", 5120 * MIB),
    ],
)
def test_the_unit_has_room_beside_data_and_for_the_copy_of_what_changes_while_they_are_saved(
    persistence: str, maxmemory: str | int, bytes_: int
) -> None:
    found = checked(persistence=persistence, settings={"maxmemory": maxmemory})["memory_max"]
    assert int(found) - 256 * MIB == bytes_


@pytest.mark.parametrize("zero", ["0", 0, "0mb"])
def test_who_wants_no_bound_has_none(zero: str | int) -> None:
    assert checked(settings={"maxmemory": zero})["memory_max"] == "infinity"
