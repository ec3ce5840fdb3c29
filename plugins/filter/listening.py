# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ports a role's list variable asks for."""

from __future__ import annotations

DOCUMENTATION = r"""
name: listening
short_description: The ports a role's instances are to listen on
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Gives what M(fedlearn.infra.preflight) takes. Instances that aren't to run ask for none.
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
- name: Look for ports that others hold
  fedlearn.infra.preflight:
    ports: "{{ redis_instances | fedlearn.infra.listening('redis_instances') }}"
"""

RETURN = r"""
_value:
  description: Dictionaries of C(name), C(address), C(port) and C(unit).
  type: list
  elements: dict
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.catalogue import LISTENING
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.checking import RoleValueError


def listening(value: Any, variable: str) -> list[dict[str, Any]]:
    """The ports, or an error with one line for each mistake."""
    if not isinstance(variable, str) or variable not in LISTENING:
        raise AnsibleFilterError(
            f"fedlearn.infra.listening knows no variable '{variable}', only {', '.join(LISTENING)}"
        )
    try:
        return LISTENING[variable](value)
    except RoleValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"listening": listening}
