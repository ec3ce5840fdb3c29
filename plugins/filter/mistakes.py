# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with a role's list variable."""

from __future__ import annotations

DOCUMENTATION = r"""
name: mistakes
short_description: What is wrong with a role's instances, one line each
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Checks as P(fedlearn.infra.checked#filter) does, and lists the mistakes instead of failing.
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
    choices: [nginx_sites, redis_instances]
    required: true
"""

EXAMPLES = r"""
- name: Refuse values that are wrong
  ansible.builtin.assert:
    that: redis_instances | fedlearn.infra.mistakes('redis_instances') == []
"""

RETURN = r"""
_value:
  description: One line for each mistake, with the place it stands at.
  type: list
  elements: str
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.catalogue import CHECKS
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.checking import RoleValueError


def mistakes(value: Any, variable: str) -> list[str]:
    """One line for each mistake."""
    if variable not in CHECKS:
        raise AnsibleFilterError(f"fedlearn.infra.mistakes knows no variable '{variable}', only {', '.join(CHECKS)}")
    try:
        CHECKS[variable](value)
    except RoleValueError as error:
        return str(error).splitlines()
    return []


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Its name."""
        return {"mistakes": mistakes}
