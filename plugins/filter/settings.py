# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A system's own settings, strictly checked."""

from __future__ import annotations

DOCUMENTATION = r"""
name: settings
short_description: A system's own settings, strictly checked and completed with defaults
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Checks types, ranges and the rules across keys of a system's own configuration, which argument_specs can't, and
    fills
    in the defaults. The same schema checks the document.
  - Fails with one line for each mistake. In a template of a role's service each begins with the role and the instance.
positional: kind
options:
  _input:
    description: The settings.
    type: dict
    required: true
  kind:
    description: The system, by its word in the document.
    type: str
    required: true
  version:
    description:
      - The version of the program. Keys are then called as that version reads them.
      - With no version they are called as in the document.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Write the configuration
  ansible.builtin.copy:
    content: "{{ settings | fedlearn.infra.settings('mindspore', version='0.1.0') | to_nice_yaml }}"
    dest: /etc/example.yaml
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The settings with all defaults.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import role_settings as library
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.arguments import expect_texts


def settings(value: Mapping[str, Any], kind: str, version: str = "") -> dict[str, Any]:
    """The settings with all defaults, or an error with one line for each mistake."""
    try:
        expect_texts(kind=kind, version=version)
        return library.checked(kind, value, version)
    except ValueError as error:
        raise AnsibleFilterError(f"fedlearn.infra.settings: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"settings": settings}
