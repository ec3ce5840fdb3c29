#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the well action; it runs on the control node only."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: well
short_description: Fail when what a role looked at isn't well, and name it
version_added: 0.1.0
author: fedlearn.infra contributors (@fedlearn)
description:
  - Ends the C(check) of a role. It fails when there is anything to name, with a line for each that gives name, state
    and reason; the playbooks C(status) and C(verify) keep what it returns.
options:
  unwell:
    description: What M(fedlearn.infra.managed_service) returned under this name.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The instance.
        type: str
        required: true
      state:
        description:
          - V(stopped), it is to run and doesn't; V(ill), it runs and its health checks fail; V(differing), a deploy
            would change it; V(failed), the look at it failed.
        type: str
        choices: [stopped, ill, differing, failed]
        required: true
      reason:
        description: Why.
        type: str
        required: true
  ill:
    description: What else is ill, by name, with a reason or a list of them. Whose list is empty is well.
    type: dict
    default: {}
  differing:
    description: What else a deploy would change, by name, with what differs or a list. Whose list is empty is well.
    type: dict
    default: {}
  artifacts:
    description: What M(fedlearn.infra.artifact) returned in check mode. What it would bring, or finds changed, differs.
    type: dict
    default: {}
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
    details: It never changes anything.
"""

EXAMPLES = r"""
- name: Compare the servers with what was asked
  fedlearn.infra.managed_service:
    instances: "{{ redis_checked }}"
    service: service.yml.j2
    plan: true
  become: true
  register: redis_found
  changed_when: false

- name: Name those that aren't well
  fedlearn.infra.well:
    unwell: "{{ redis_found.unwell }}"
"""

RETURN = r"""
unwell:
  description: All that isn't well, as O(unwell) has it.
  returned: always
  type: list
  elements: dict
"""
