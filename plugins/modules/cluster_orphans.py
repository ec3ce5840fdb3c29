#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the cluster_orphans action; it runs on the control node only."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: cluster_orphans
short_description: Find, and remove where asked to, what is ours in a cluster and in no document any more
version_added: 0.1.0
author: fedlearn.infra contributors (@fedlearn)
description:
  - Compares the instances that objects in the cluster bear by their labels with those that the document has, whatever
    role they are of. Other federations' and other parties' objects are never touched.
  - What bears no party, since a former release made it, is told by a warning and stays.
  - What would go with data, or with what isn't ours, is refused; see M(fedlearn.infra.cluster_objects).
options:
  federation:
    description: Whose objects they are.
    type: str
    required: true
  party:
    description: Of which party of the federation. Parties may have one cluster.
    type: str
    required: true
  kubeconfig:
    description: File of the control node that says how the cluster is reached. Its current context counts.
    type: path
    required: true
  expected:
    description: Names of the instances that are in the document.
    type: list
    elements: str
    required: true
  prune:
    description: Remove them.
    type: bool
    default: false
  remove_data:
    description: Remove them whatever goes with them.
    type: bool
    default: false
  timeout:
    description: Seconds in which what is removed is to be gone.
    type: int
    default: 300
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
  - module: fedlearn.infra.cluster_objects
  - module: fedlearn.infra.orphans
"""

EXAMPLES = r"""
- name: See what is ours in the cluster and in no document any more
  fedlearn.infra.cluster_orphans:
    federation: demo
    party: lab
    kubeconfig: /etc/fedlearn/kc.kubeconfig
    expected: [demo-imaging-server]
"""

RETURN = r"""
orphans:
  description: Each instance as it was found, with how many objects it has.
  returned: success
  type: list
  elements: dict
  sample: [{kind: in the cluster, name: demo-imaging-client-b, objects: 14}]
summary:
  description: The same in a line; empty where there is none.
  returned: success
  type: str
"""
