#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the audit action; it runs on the control node only."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: audit
short_description: Report whether the parties of a federation are separate
version_added: 0.1.0
author: fedlearn.infra contributors (@fedlearn)
description:
  - Each party audits its own side only. What has to differ from the other's goes into C(public/<party>/audit.json) as
    keyed hashes, fingerprints and commitments; what the other party published is joined with it. The key is the
    document's digest, which is in it, so who has it can try which value a hash is of, and finds out addresses that way;
    secrets are too long for that.
  - Each row is V(proved), V(violated) or V(not checked), with the evidence. One that needs the report of a party that
    is missing, of another document, or older than seven days is V(not checked).
  - It runs once, for all hosts, and never makes a connection but to try the TCP ports of the party's own hosts.
options:
  step:
    description:
      - V(prepare) says what M(fedlearn.infra.audit_host) is to look for.
      - V(report) joins what hosts registered as C(fedlearn_audited), C(fedlearn_checks) and C(fedlearn_clock) with the
        reports of the others, and fails where a row is violated.
    type: str
    required: true
    choices: [prepare, report]
  document:
    description: The document or viewpoint.
    type: path
    required: true
  exchange:
    description: Own party, shared document and partners, as the inventory says them in C(fedlearn_exchange).
    type: dict
    required: true
  state_directory:
    description: The folder on the control node with C(public/), C(.secrets/) and C(.exchange/).
    type: path
    required: true
  backup_directory:
    description: Where backups are brought to.
    type: path
    required: true
  path:
    description: The report to write; the readable one lies beside it, as C(.txt).
    type: path
    required: true
  max_skew_ms:
    description: How far the clocks of hosts may be from the control node's.
    type: int
    default: 60000
extends_documentation_fragment:
  - fedlearn.infra.attributes
  - fedlearn.infra.attributes.control_node
attributes:
  check_mode:
    support: full
    details: The reports are written in check mode too, since they are what was asked for.
  diff_mode:
    support: none
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Write the report
  fedlearn.infra.audit:
    step: report
    document: "{{ fedlearn_document }}"
    exchange: "{{ fedlearn_exchange }}"
    state_directory: "{{ fedlearn_state | fedlearn.infra.state_directory }}"
    backup_directory: "{{ fedlearn_state | fedlearn.infra.state_directory }}/.backups"
    path: build/audit.json
"""

RETURN = r"""
sought:
  description: What hosts look for.
  returned: with step prepare
  type: dict
own:
  description: The own secrets by their keyed hashes.
  returned: with step prepare
  type: dict
software:
  description: By host, of each program that runs there, the sums of its files.
  returned: with step prepare
  type: dict
without:
  description: Why there is nothing to look for of a party.
  returned: with step prepare
  type: list
  elements: str
report:
  description: The report.
  returned: with step report
  type: dict
violated:
  description: Rows that are violated.
  returned: with step report
  type: list
  elements: str
"""
