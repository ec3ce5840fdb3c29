# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many open files a server needs."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nofile_limit
short_description: How many open files a server with so many clients needs
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Gives the value of C(LimitNOFILE) for a server, never less than O(minimum).
  - Fails when it is more than a Linux process can have.
positional: per_client
options:
  _input:
    description: The number of clients at once.
    type: int
    required: true
  per_client:
    description: Open files that one client takes. Five are what a gevent server needs.
    type: int
    default: 5
  reserve:
    description: Open files for logs, libraries and the like.
    type: int
    default: 512
  minimum:
    description: The least that is returned.
    type: int
    default: 65535
"""

EXAMPLES = r"""
- name: Say what 20000 workers need
  ansible.builtin.debug:
    msg: "{{ 20000 | fedlearn.infra.nofile_limit }}"
"""

RETURN = r"""
_value:
  description: The number of open files.
  type: int
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import network


def nofile_limit(value: int, per_client: int = 5, reserve: int = 512, minimum: int = 65535) -> int:
    """The number of open files."""
    numbers = {"clients": value, "per_client": per_client, "reserve": reserve, "minimum": minimum}
    wrong = [name for name, number in numbers.items() if isinstance(number, bool) or not isinstance(number, int)]
    if wrong:
        raise AnsibleFilterError(f"fedlearn.infra.nofile_limit: {', '.join(wrong)} must be a whole number")
    try:
        return network.nofile_limit(value, per_client, reserve, minimum)
    except ValueError as error:
        raise AnsibleFilterError(f"fedlearn.infra.nofile_limit: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"nofile_limit": nofile_limit}
