#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the init action; it runs on the control node only."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: init
short_description: Write what a new federation begins with
version_added: 0.1.0
author: fedlearn.infra contributors (@fedlearn)
description:
  - Writes a commented first document, C(federation.yml), a viewpoint on it, C(parties/lab/federation.yml), and the
    C(.gitignore) and C(ansible.cfg) that belong beside them. It runs on the control node and touches no host.
  - Only what isn't there yet is written. A file that is there is never changed.
options:
  kind:
    description: The kind of the document's stack. An unknown one is refused, and the message names the known ones.
    type: str
    required: true
  federation:
    description: The federation's name, part of unit and path names.
    type: str
    default: mine
  directory:
    description: The directory to write into, made where it is missing.
    type: path
    required: true
extends_documentation_fragment:
  - fedlearn.infra.attributes
  - fedlearn.infra.attributes.control_node
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Begin a federation with MindSpore Federated
  fedlearn.infra.init:
    kind: mindspore
    federation: clinics
    directory: inventories/clinics
"""

RETURN = r"""
directory:
  description: Where the files are.
  returned: success
  type: str
written:
  description: The files that were written, or would be in check mode, from the directory.
  returned: success
  type: list
  elements: str
kept:
  description: The files that were there already.
  returned: success
  type: list
  elements: str
next_steps:
  description: The commands that make the document true, in their order.
  returned: success
  type: list
  elements: str
"""
