#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kept_file
short_description: Write a file that verbs keep on the control node
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
description:
  - Writes a text that a host told, such as a public key, for others to read. In the working copy of a repository it is
    there once it is pushed; see M(fedlearn.infra.state).
  - Its folder is made where it is missing.
options:
  path:
    description: The path on the control node.
    type: path
    required: true
  content:
    description: The text.
    type: str
    required: true
  mode:
    description: Its permissions. In a working copy that is fetched anew nobody but the user has any.
    type: str
    default: '0600'
extends_documentation_fragment:
  - fedlearn.infra.attributes
  - fedlearn.infra.attributes.control_node
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: fedlearn.infra.state
"""

EXAMPLES = r"""
- name: Lay the host's public key where others find it
  fedlearn.infra.kept_file:
    path: "{{ fedlearn_state | fedlearn.infra.state_directory }}/public/lab/{{ inventory_hostname }}.pub"
    content: "{{ made.stdout }}\n"
    mode: "0644"
"""

RETURN = r"""
path:
  description: The path on the control node.
  returned: success
  type: str
"""
