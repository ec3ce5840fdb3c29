# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which credentials of a job's template gave the job nothing."""

from __future__ import annotations

DOCUMENTATION = r"""
name: missing_credentials
short_description: Credentials of a template that gave its job nothing
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - A job of AWX to which a credential is missing, or one whose values nobody entered, would get as far as it can.
    This tells all of them before any host is touched.
  - A user or key of the host's own variables is as good as AWX's.
options:
  _terms:
    description:
      - For each credential by its name what it gives, C(Machine), C(Vault), or the variable with the path of its file.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Refuse to go on without them
  ansible.builtin.assert:
    that: query('fedlearn.infra.missing_credentials', credentials) == []
    fail_msg: "{{ query('fedlearn.infra.missing_credentials', credentials) | join('; ') }}"
  vars:
    credentials: {demo lab ssh: Machine, demo lab vault: Vault}
"""

RETURN = r"""
_raw:
  description: A sentence for each, with the way out.
  type: list
  elements: str
"""

import os
from collections.abc import Mapping
from typing import Any

from ansible import context
from ansible.plugins.lookup import LookupBase

from ansible_collections.fedlearn.infra.plugins.plugin_utils._awx.objects import MACHINE, VAULT

OWN_WAYS = (
    "ansible_password",
    "ansible_ssh_pass",
    "ansible_ssh_password",
    "ansible_private_key_file",
    "ansible_ssh_private_key_file",
)


class LookupModule(LookupBase):
    """Looks at what the run was given; opens nothing."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """The sentences."""
        return [
            f"the credential '{name}' gave this job nothing: enter its values, and see that the job's template has it"
            for name, gives in terms[0].items()
            if not self._is_given(gives, variables or {})
        ]

    def _is_given(self, gives: str, variables: Mapping[str, Any]) -> bool:
        if gives == VAULT:
            return bool(self._loader._vault.secrets)
        if gives == MACHINE:
            here = variables.get("ansible_connection") == "local" or any(variables.get(name) for name in OWN_WAYS)
            return here or "SSH_AUTH_SOCK" in os.environ or bool(context.CLIARGS.get("ask_pass"))
        return bool(variables.get(gives))
