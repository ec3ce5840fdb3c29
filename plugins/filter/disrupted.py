# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which instances may be restarted though something is under way in them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: disrupted
short_description: The instances that C(fedlearn_disrupt) is about
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Gives the names of those of a stack; an instance without a stack is named itself.
positional: whom
options:
  _input:
    description: Instances of a role, each with C(name) and perhaps C(stack).
    type: list
    elements: dict
    required: true
  whom:
    description: The stack, or the instance; empty for none.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Name those that may lose a training
  ansible.builtin.debug:
    msg: "{{ xain_coordinator_instances | fedlearn.infra.disrupted('vision') }}"
"""

RETURN = r"""
_value:
  description: Their names.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def disrupted(instances: Sequence[Mapping[str, Any]], whom: str) -> list[str]:
    """Their names."""
    return [one["name"] for one in instances if (one.get("stack") or one["name"]) == whom]


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"disrupted": disrupted}
