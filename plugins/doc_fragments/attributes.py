# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What modules say of themselves in the same words; each adds how far it supports it, and its details."""

from __future__ import annotations


class ModuleDocFragment:
    """The fragments fedlearn.infra.attributes and fedlearn.infra.attributes.control_node."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates
      no change.
"""

    CONTROL_NODE = r"""
attributes:
  action:
    description: All of it happens in an action plugin on the control node; no connection is made to the host.
    support: full
  async:
    description: Supports being used with the C(async) keyword.
    support: none
"""
