# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which instances a role's backup is made of."""

from __future__ import annotations

DOCUMENTATION = r"""
name: kept
short_description: Names of a role's instances whose data a backup is made of
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Of the current host's instances of a role those that run and keep data on it, by the variable C(<role>_instances). A
    Redis without persistence keeps none, nor does a MongoDB that others run.
  - Reads the host's variables; touches no host.
options:
  _terms:
    description: One role, as one that has the entry point C(backup).
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse to go on without a file
  ansible.builtin.assert:
    that: redis_restore_from | length > 0
  when: query('fedlearn.infra.kept', 'redis') | length > 0
"""

RETURN = r"""
_list:
  description: Names of instances.
  type: list
  elements: str
"""

from collections.abc import Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase

from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.catalogue import kept


class LookupModule(LookupBase):
    """Ansible's door to :func:`kept`."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """The names of the role's instances."""
        self.set_options(var_options=variables, direct=kwargs)
        (role,) = terms
        return kept(role, self._templar.template((variables or {}).get(f"{role}_instances", [])))
