#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the cluster_round action; it runs on the control node only."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: cluster_round
short_description: Run verify's round of stacks inside of their pods
version_added: 0.1.0
author: fedlearn.infra contributors (@fedlearn)
description:
  - Begins in a ready pod of each stack's server a job of its own whose answer is known, waits for its end, and takes it
    away with all that it brought. A job that fails is a row that failed, and no failure of the task.
  - It takes the rights to create and get C(pods/exec) in the instances' namespaces.
options:
  role:
    description: Whose instances they are.
    type: str
    required: true
    choices: [neursafe_server]
  instances:
    description: The role's instances, checked and with defaults (P(fedlearn.infra.checked#filter)).
    type: list
    elements: dict
    required: true
  rounds:
    description: By stack, what is known of its round, as the inventory has it in C(fedlearn_verify).
    type: dict
    required: true
  kubeconfig:
    description: File of the control node that says how the cluster is reached. Its current context counts.
    type: path
    required: true
extends_documentation_fragment:
  - fedlearn.infra.attributes
  - fedlearn.infra.attributes.control_node
attributes:
  check_mode:
    support: full
    details: Runs nothing, and has no rows.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: Each is a round of its own, which leaves nothing.
seealso:
  - module: fedlearn.infra.cluster_looks
"""

EXAMPLES = r"""
- name: Run the rounds of all servers of this cluster
  fedlearn.infra.cluster_round:
    role: neursafe_server
    instances: "{{ neursafe_server_checked }}"
    rounds: "{{ fedlearn_verify }}"
    kubeconfig: /etc/fedlearn/kc.kubeconfig
"""

RETURN = r"""
rows:
  description: By stack, how its round ended, as M(fedlearn.infra.round_results) tells it.
  returned: success
  type: dict
"""
