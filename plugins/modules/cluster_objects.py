#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the cluster_objects action; it runs on the control node only."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: cluster_objects
short_description: Converge what a role's instances are in a Kubernetes cluster
version_added: 0.1.0
author: fedlearn.infra contributors (@fedlearn)
description:
  - Derives the manifests of all instances of a role, compares them with the cluster, and applies what differs by
    server-side apply, all in one go. What is there as asked isn't touched. What of the instances is there and wanted no
    more is removed, found by its labels.
  - Nothing is changed where anything is refused. That is a version of Kubernetes before 1.30, credentials that the API
    doesn't know, rights that are missing (all of them are named), an object of somebody else's by a name of ours,
    another instance of a role of which a cluster takes one, a folder, a disk or a user of nodes that an instance of
    another document has, a port of nodes that another Service has, a namespace of jobs that wouldn't take their pods
    (the API is asked for one without effect), a manifest that the API doesn't take, and, unless O(remove_data), a
    namespace that is to go with something in it that isn't ours, of whatever kind, or with a claim whose volume goes.
  - What lies in a namespace that isn't there yet is tried in C(default), as far as its values go. Where the API refuses
    such an object all the same, the run ends there, and the next one goes on.
  - What others put into objects of ours is told, and goes, but for labels and annotations. What the cluster itself puts
    in at each apply, as a webhook has it do, stays, and a warning tells it once.
  - Deployments are waited for. One that isn't ready in time fails the task, with what its pods wait for.
  - It needs nothing but this collection; kubectl isn't called. A program that the kubeconfig names for credentials is.
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
  federation:
    description: Stands in the labels of all objects. Those of other federations are never touched.
    type: str
    required: true
  party:
    description: Stands there, too. Parties of one federation may have one cluster, each its own objects.
    type: str
    required: true
  kubeconfig:
    description: File of the control node that says how the cluster is reached. Its current context counts.
    type: path
    required: true
  plan:
    description: Compare only. Deployments are asked for once, and waited for never.
    type: bool
    default: false
  wait:
    description: Wait for deployments.
    type: bool
    default: true
  prune:
    description: Also remove objects of the role's instances that aren't in O(instances) at all.
    type: bool
    default: false
  remove_data:
    description: Have namespaces go whatever is in them.
    type: bool
    default: false
  render:
    description:
      - Write the manifests into this folder instead, a folder for each instance, numbered as they are to be applied.
        Files of an absent instance go, with O(prune) those of the role's instances that aren't in O(instances), too.
        The cluster isn't asked. No secret is read or written, Secrets name the keys that are left out.
    type: path
  timeout:
    description: Seconds in which deployments are to be ready, and what is removed to be gone.
    type: int
    default: 300
extends_documentation_fragment:
  - fedlearn.infra.attributes
  - fedlearn.infra.attributes.control_node
attributes:
  check_mode:
    support: full
    details: The API itself says what would change (C(dryRun)).
  diff_mode:
    support: full
    details: Names objects, and shows nothing of them.
  idempotent:
    support: full
seealso:
  - module: fedlearn.infra.managed_service
"""

EXAMPLES = r"""
- name: Converge the servers in the cluster
  fedlearn.infra.cluster_objects:
    role: neursafe_server
    instances: "{{ neursafe_server_checked }}"
    federation: demo
    party: lab
    kubeconfig: /etc/fedlearn/kc.kubeconfig

- name: Write their manifests for a review
  fedlearn.infra.cluster_objects:
    role: neursafe_server
    instances: "{{ neursafe_server_checked }}"
    federation: demo
    party: lab
    kubeconfig: /etc/fedlearn/kc.kubeconfig
    render: manifests
"""

RETURN = r"""
created:
  description: Objects that weren't there, by kind, namespace and name.
  returned: unless rendered
  type: list
  elements: str
updated:
  description: Objects that differed.
  returned: unless rendered
  type: list
  elements: str
removed:
  description: Objects that were wanted no more.
  returned: unless rendered
  type: list
  elements: str
orphans:
  description: Objects of instances that aren't in O(instances). They stay unless O(prune).
  returned: always
  type: list
  elements: str
differing:
  description: What differs, or differed, by instance.
  returned: always
  type: dict
ill:
  description: What isn't ready, by instance, with the reason.
  returned: always
  type: dict
simulated:
  description: Deployments whose pods are said to run by something that runs no containers, as kwok does in tests.
  returned: with O(plan), and in check mode
  type: list
  elements: str
rendered:
  description: The files that were written or removed.
  returned: with O(render)
  type: list
  elements: str
"""
