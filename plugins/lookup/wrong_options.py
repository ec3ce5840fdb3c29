# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which options of this run are misspelt, or have a value that they don't take."""

from __future__ import annotations

DOCUMENTATION = r"""
name: wrong_options
short_description: Options of this run that the collection's playbooks don't take
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Compares the names that C(-e) gave with what the playbooks take. Ansible passes over a name that nobody uses, so
    C(remove -e stak=lenet) would remove every stack.
  - A name that is like none of them is taken for a variable of the user's own.
  - Compares values with what surveys of AWX let through, for those who come by another way.
  - Touches no host.
"""

EXAMPLES = r"""
- name: Refuse options that nobody takes
  ansible.builtin.assert:
    that: query('fedlearn.infra.wrong_options') == []
    fail_msg: "{{ query('fedlearn.infra.wrong_options') | join('; ') }}"
"""

RETURN = r"""
_raw:
  description: A sentence for each, with the way out.
  type: list
  elements: str
"""

from collections.abc import Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible.utils.vars import load_extra_vars

from ansible_collections.fedlearn.infra.plugins.plugin_utils._awx.verbs import misspelt, out_of_range


class LookupModule(LookupBase):
    """Ansible's door to :func:`misspelt` and :func:`out_of_range`."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """The sentences."""
        given = load_extra_vars(self._loader)
        return misspelt(given) + out_of_range(given)
