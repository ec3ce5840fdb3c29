#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the cluster_looks action; it runs on the control node only."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: cluster_looks
short_description: Try inside of pods what a role's instances in a cluster are to be able to
version_added: 0.1.0
author: fedlearn.infra contributors (@fedlearn)
description:
  - Runs in a ready pod of each component what the role knows to try there, by the component's own variables, rights and
    ways, as C(kubectl exec) would. What is written is taken away again.
  - Where no pod is ready nothing is tried, which M(fedlearn.infra.cluster_objects) tells; nor where pods are simulated.
  - It takes the rights to create and get C(pods/exec) and to get C(pods/log) in the instances' namespaces.
options:
  role:
    description: Whose instances they are.
    type: str
    required: true
    choices: [neursafe_client, neursafe_server]
  instances:
    description: The role's instances, checked and with defaults (P(fedlearn.infra.checked#filter)).
    type: list
    elements: dict
    required: true
  kubeconfig:
    description: File of the control node that says how the cluster is reached. Its current context counts.
    type: path
    required: true
  timeout:
    description: Seconds in which all that is tried in a pod is to end.
    type: int
    default: 120
extends_documentation_fragment:
  - fedlearn.infra.attributes
  - fedlearn.infra.attributes.control_node
attributes:
  check_mode:
    support: full
    details: Looks just the same.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: It changes nothing.
seealso:
  - module: fedlearn.infra.cluster_objects
"""

EXAMPLES = r"""
- name: Try what the servers are to be able to
  fedlearn.infra.cluster_looks:
    role: neursafe_server
    instances: "{{ neursafe_server_checked }}"
    kubeconfig: /etc/fedlearn/kc.kubeconfig
"""

RETURN = r"""
checks:
  description: What was tried, a row each.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: "The component, and what it is to do.", type: str}
    passed: {description: Whether it did., type: bool}
    detail: {description: What is wrong., type: str}
ill:
  description: What is wrong, by instance.
  returned: success
  type: dict
"""
