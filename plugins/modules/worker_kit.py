#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the worker_kit action; it runs on the control node only."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: worker_kit
short_description: Write a folder with which machines of others take part
version_added: 0.1.0
author: fedlearn.infra contributors (@fedlearn)
description:
  - Renders a role's description of a kit, and what it lists, into a folder of the control node. It touches no host, and
    runs once, however many hosts a play has.
  - The folder has a list of its files' sums, C(SHA256SUMS), by which who gets it can prove it. A folder that holds
    anything else is refused, and never changed.
  - Nothing in a kit is secret. Keys are made on the machine that uses them.
options:
  directory:
    description: The folder to write, made where it is missing. Files of a former kit that are in this one no more go.
    type: path
    required: true
  kit:
    description:
      - The role's template that describes the kit. It renders to YAML, with a list C(files). Each has its C(path) in
        the kit, and C(template), one of the role's, or C(source), a file or a folder of the control node, or C(archive)
        with its C(sha256), which is unpacked.
      - C(run) makes a template a program, and one that is C(changeable) has no sum, since who gets the kit may edit it.
    type: str
    required: true
  instance:
    description: The instance that the kit is for, as C(instance) in templates.
    type: dict
    required: true
extends_documentation_fragment:
  - fedlearn.infra.attributes
  - fedlearn.infra.attributes.control_node
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Of each file its sum, not its content.
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Write a kit
  fedlearn.infra.worker_kit:
    directory: build/demo/worker_kit/vision
    kit: kit.yml.j2
    instance: "{{ dc_federated_worker_checked | first }}"
"""

RETURN = r"""
directory:
  description: Where the kit is.
  returned: success
  type: str
files:
  description: The kit's files, from the directory.
  returned: success
  type: list
  elements: str
"""
