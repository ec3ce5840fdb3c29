# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What roles need of a host's distribution."""

from __future__ import annotations

DOCUMENTATION = r"""
name: packages
short_description: What roles need of the distribution
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - What the roles' instances on the current host ask of M(fedlearn.infra.packages), each package once, so that one call
    of it brings those of all roles. Roles that need none add nothing.
  - Reads the host's variables; touches no host.
options:
  _terms:
    description: Roles.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Install what the roles of this host need
  fedlearn.infra.packages:
  args: "{{ lookup('fedlearn.infra.packages', 'redis', 'nginx') }}"
"""

RETURN = r"""
_raw:
  description: Options of M(fedlearn.infra.packages), C(names) among them.
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase

from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.catalogue import ROLES, packages


class LookupModule(LookupBase):
    """Ansible's door to :func:`packages`."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """The packages of the roles named."""
        self.set_options(var_options=variables, direct=kwargs)
        given = variables or {}
        names = {name for role in ROLES.values() for name in role if name in given}
        return [packages(terms, {name: self._templar.template(given[name]) for name in names})]
