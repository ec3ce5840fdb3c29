#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the report action; it runs on the control node only."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: report
short_description: Join what the hosts of a run found into one verdict
version_added: 0.1.0
author: fedlearn.infra contributors (@fedlearn)
description:
  - Runs once for all hosts, on the control node, and touches none. It reads what the plays before it set for each host
    (C(fedlearn_checks), C(fedlearn_results), C(fedlearn_host_status)) and writes it as JSON.
  - A backup report names the files that were brought, with size and digest, and fails for what could not be.
  - A verify report whose numbers are wrong, or a check of which failed, fails the task and says the numbers.
options:
  report:
    description: Which report to write.
    type: str
    required: true
    choices: [verify, status, backup]
  mode:
    description:
      - Whether a verify was a V(probe) of what runs, or a V(round) with known numbers beside it.
      - With V(round) a stack whose kind has no round fails, since nothing proves that it works.
    type: str
    choices: [probe, round]
    default: probe
  stack:
    description: Only this stack; empty means all.
    type: str
    default: ''
  path:
    description: The file on the control node, replaced atomically.
    type: path
    required: true
extends_documentation_fragment:
  - fedlearn.infra.attributes
  - fedlearn.infra.attributes.control_node
attributes:
  check_mode:
    support: full
    details: The report on the control node is written in check mode too, since it is what was asked for.
  diff_mode:
    support: none
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Judge the round
  fedlearn.infra.report:
    report: verify
    mode: round
    path: build/demo/verify.json
"""

RETURN = r"""
report:
  description: What was written to O(path).
  returned: always
  type: dict
summary:
  description:
    - Of a verify a line for each stack; of a round with the numbers expected and observed.
    - Of a status the verdict, then a line for each that isn't as it is to be.
  returned: always
  type: list
  elements: str
"""
