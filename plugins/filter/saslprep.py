# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What SCRAM hashes of a password."""

from __future__ import annotations

DOCUMENTATION = r"""
name: saslprep
short_description: A password as SCRAM hashes it
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Prepares a password by RFC 4013. Fails where that allows none such, before a server is asked to take it.
positional: place
options:
  _input:
    description: The password.
    type: str
    required: true
  place:
    description: Whose it is, for the message; the password itself is never shown.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse a password that no login can have
  ansible.builtin.assert:
    that: lookup('fedlearn.infra.secret', 'documents_jobs') | fedlearn.infra.saslprep('login jobs of documents') != ''
    quiet: true
  no_log: true
"""

RETURN = r"""
_value:
  description: The password, prepared.
  type: str
"""

import unicodedata
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.fedlearn.infra.plugins.module_utils._saslprep import saslprep as prepared


def saslprep(value: str, place: str) -> str:
    """The password, prepared, or an error that doesn't show it."""
    if not isinstance(value, str) or not isinstance(place, str):
        raise AnsibleFilterError("fedlearn.infra.saslprep: password and place must be texts")
    try:
        # as MongoDB's clients normalize, by the Unicode of the RFC
        return prepared(value, unicodedata.ucd_3_2_0.normalize)
    except ValueError as error:
        raise AnsibleFilterError(f"{place}: its password {error}") from None


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"saslprep": saslprep}
