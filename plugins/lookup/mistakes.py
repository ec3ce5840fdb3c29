# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with a role's variables."""

from __future__ import annotations

DOCUMENTATION = r"""
name: mistakes
short_description: What is wrong with a role's variables, one line each
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Checks types, ranges, addresses and the rules across keys of the variables of a role, which argument_specs can't.
  - Reads the host's variables; touches no host.
options:
  _terms:
    description: Roles.
    type: list
    elements: str
    required: true
  unknown:
    description: Whether a role whose variables aren't described here is refused, with the names of those that are, or
      left to its own tasks.
    type: str
    choices: [refuse, skip]
    default: refuse
"""

EXAMPLES = r"""
- name: Refuse values that are wrong
  ansible.builtin.assert:
    that: redis_mistakes == []
    fail_msg: "{{ redis_mistakes }}"
  vars:
    redis_mistakes: "{{ query('fedlearn.infra.mistakes', 'redis') }}"
"""

RETURN = r"""
_list:
  description: One line for each mistake, with the place it stands at.
  type: list
  elements: str
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.catalogue import ROLES, mistakes


class LookupModule(LookupBase):
    """Ansible's door to :func:`mistakes`."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """The mistakes in the variables of each role named."""
        self.set_options(var_options=variables, direct=kwargs)
        given = variables or {}
        found: list[str] = []
        for role in terms:
            if role not in ROLES and self.get_option("unknown") == "skip":
                continue
            if role not in ROLES:
                raise AnsibleLookupError(f"fedlearn.infra.mistakes knows no role '{role}', only {', '.join(ROLES)}")
            values = {name: self._templar.template(given[name]) for name in ROLES[role] if name in given}
            found += mistakes(role, values)
        return found
