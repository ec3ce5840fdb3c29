# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which collection this is."""

from __future__ import annotations

DOCUMENTATION = r"""
name: version
short_description: The version of this collection
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Returns the version of the collection that runs, so that what another version generated is told from it.
  - Reads a file of the control node; touches no host.
"""

EXAMPLES = r"""
- name: Refuse to run what another version generated
  ansible.builtin.assert:
    that: fedlearn_generated_by == lookup('fedlearn.infra.version')
"""

RETURN = r"""
_raw:
  description: The version.
  type: list
  elements: str
"""

from collections.abc import Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase

from ansible_collections.fedlearn.infra.plugins.plugin_utils.collection import version


class LookupModule(LookupBase):
    """Ansible's door to :func:`version`."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """The version, alone."""
        return [version()]
