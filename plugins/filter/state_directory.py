# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where what is kept on the control node lies there."""

from __future__ import annotations

DOCUMENTATION = r"""
name: state_directory
short_description: The folder on the control node with what verbs keep there
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Gives a folder as it is, and for the URL of a git repository the folder of its working copy, which
    M(fedlearn.infra.state) makes. That has the same path in each run.
options:
  _input:
    description: What C(fedlearn_state) says.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Make the secrets that are missing
  fedlearn.infra.secrets:
    state_directory: "{{ fedlearn_state | fedlearn.infra.state_directory }}"
    secrets: "{{ fedlearn_secrets }}"
"""

RETURN = r"""
_value:
  description: The path of a folder.
  type: str
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.location import directory_of


def state_directory(value: Any) -> Any:
    """The folder; what is no text stays what it is, as the folder of an inventory that has none."""
    return directory_of(value) if isinstance(value, str) else value


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"state_directory": state_directory}
