# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Strict check of a role's list variable."""

from __future__ import annotations

DOCUMENTATION = r"""
name: checked
short_description: A role's instances, strictly checked and completed with defaults
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Checks types, ranges, addresses and the rules across keys, which argument_specs can't, and fills in the defaults.
  - Keys that are null count as not given; of an absent instance only name, state, federation and stack are looked at.
positional: variable
options:
  _input:
    description: The value of the variable.
    type: list
    elements: dict
    required: true
  variable:
    description: Name of the variable, which says what its instances may have.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Stop when an instance has a mistake
  ansible.builtin.set_fact:
    instances: "{{ redis_instances | fedlearn.infra.checked('redis_instances') }}"
"""

RETURN = r"""
_value:
  description: The instances with all defaults.
  type: list
  elements: dict
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.catalogue import INSTANCES
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.checking import RoleValueError


def checked(value: Any, variable: str) -> list[dict[str, Any]]:
    """The instances with all defaults, or an error with one line for each mistake."""
    if not isinstance(variable, str) or variable not in INSTANCES:
        raise AnsibleFilterError(f"fedlearn.infra.checked knows no variable '{variable}', only {', '.join(INSTANCES)}")
    try:
        return INSTANCES[variable](value)
    except RoleValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"checked": checked}
