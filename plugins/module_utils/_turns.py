# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logins used in turn, so that a password can be replaced while its client goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def settled(
    logins: Iterable[Mapping[str, Any]], passwords: Mapping[str, str], turns: Mapping[str, Mapping[str, str]]
) -> list[dict[str, Any]]:
    """Each login with its ``state`` and, when present, its ``password``; absent where its turn has no valid value.

    ``passwords`` has the value of each secret, ``turns`` the valid values of those of logins with a ``turn``.
    """
    found: list[dict[str, Any]] = []
    for login in logins:
        password = None
        if login.get("state", "present") == "present":
            turn = login.get("turn")
            password = turns[login["secret"]].get(turn) if turn else passwords[login["secret"]]
        state = "absent" if password is None else "present"
        found.append({**login, "state": state, "password": password})
    return found
