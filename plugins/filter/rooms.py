# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The room that instances want for their data."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rooms
short_description: The room that instances want for their data
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - What M(fedlearn.infra.preflight) takes as C(space), for instances whose data lie in the folder of their unit.
options:
  _input:
    description: Names of instances.
    type: list
    elements: str
    required: true
  megabytes:
    description: How much each wants.
    type: int
    required: true
  unless:
    description: What below its folder says that it had room already; without it the folder itself does.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Look for room
  fedlearn.infra.preflight:
    space: "{{ ['demo-store'] | fedlearn.infra.rooms(200, 'data') }}"
"""

RETURN = r"""
_value:
  description: C(space) of M(fedlearn.infra.preflight).
  type: list
  elements: dict
"""

from collections.abc import Callable, Iterable
from typing import Any


def rooms(names: Iterable[str], megabytes: int, unless: str = "") -> list[dict[str, Any]]:
    """One for each."""
    folders = {name: f"/var/lib/fedlearn-{name}" for name in names}
    return [
        {"name": name, "path": path, "megabytes": megabytes, "unless": f"{path}/{unless}" if unless else path}
        for name, path in folders.items()
    ]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"rooms": rooms}
