# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a htpasswd file keeps of a password."""

from __future__ import annotations

DOCUMENTATION = r"""
name: bcrypt
short_description: The bcrypt hash of a password, the same each time
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Gives a hash that a second run makes again, so that a file with it doesn't change. The salt is drawn from the
    password and O(place) by scrypt.
  - Needs no package on the host, and on the control node a libcrypt that knows bcrypt, as that of glibc systems does.
positional: place
options:
  _input:
    description: The password, of at most 72 bytes.
    type: str
    required: true
  place:
    description: Where it is used, such as host, service and login; the same password has another hash elsewhere.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Write a line of a htpasswd file
  ansible.builtin.copy:
    content: "ci:{{ lookup('fedlearn.infra.secret', 'registry_ci') | fedlearn.infra.bcrypt('images/ci') }}\n"
    dest: /etc/example/htpasswd
    mode: "0600"
  no_log: true
"""

RETURN = r"""
_value:
  description: The hash, beginning with C($2y$).
  type: str
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.fedlearn.infra.plugins.plugin_utils import passwords


def bcrypt(value: str, place: str) -> str:
    """The hash, or an error that doesn't show the password."""
    if not isinstance(value, str) or not isinstance(place, str):
        raise AnsibleFilterError("fedlearn.infra.bcrypt: password and place must be texts")
    try:
        return passwords.bcrypt(value, place)
    except ValueError as error:
        raise AnsibleFilterError(f"fedlearn.infra.bcrypt: the password of {place} {error}") from None


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"bcrypt": bcrypt}
