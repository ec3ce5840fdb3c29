#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: secrets
short_description: Make the secrets that parties lack, on the control node
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
description:
  - Keeps each party's secrets in C(<state_directory>/.secrets/<party>.yml), encrypted as a whole with ansible-vault
    and the vault identity that was loaded. The lookup P(fedlearn.infra.secret#lookup) reads them.
  - Runs once for all hosts of a play, as if C(run_once) stood on the task.
  - Only adds. A value that is there is never changed, and none is ever shown.
  - A secret that comes in turns is replaced in two steps. With O(turn=begin) its next value is added beside the one in
    use, and with O(turn=end) the former one is dropped.
  - A file keeps the vault identity it was encrypted with. A new one gets the configured identity to encrypt with, or
    the first.
options:
  secrets:
    description: The secrets that have to be there.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the secret.
        type: str
        required: true
      party:
        description: The party whose secret it is.
        type: str
        required: true
      kind:
        description:
          - V(password) is for a program to ask for, 32 letters and digits. V(passphrase) is for encrypting a key, 64
            of them.
          - V(hex) and V(base64url) (without padding) are 32 random bytes, for a program that takes a key.
        type: str
        choices: [password, passphrase, hex, base64url]
        default: password
      length:
        description:
          - Number of characters, 20 to 512, where the kind's isn't right.
          - For V(hex) and V(base64url) the number of bytes, 16 to 512.
        type: int
      maker:
        description:
          - The party that makes it, where two share it.
          - Where the task names that party's secret too, both get one value. Otherwise this party's isn't made, and a
            warning says how it comes.
        type: str
      purpose:
        description: What it is for. Not kept.
        type: str
      stack:
        description: The stack that needs it. Not kept.
        type: str
      in_turn:
        description: It is the password of a client that has two logins, used in turn, and can be replaced.
        type: bool
        default: false
  turn:
    description:
      - V(begin) gives each secret that comes in turns its next value, unless it has one already; V(end) drops all but
        the newest. Other secrets are left alone.
    type: str
    choices: [none, begin, end]
    default: none
  state_directory:
    description: Directory on the control node below which C(.secrets/) lies.
    type: path
    required: true
extends_documentation_fragment:
  - fedlearn.infra.attributes
  - fedlearn.infra.attributes.control_node
attributes:
  check_mode:
    support: full
    details: Returns the names of the secrets that would be made.
  diff_mode:
    support: full
    details: Shows names, never values.
  idempotent:
    support: full
    details: A secret that is there is never changed.
notes:
  - Needs a vault identity, for example C(--vault-password-file).
seealso:
  - plugin: fedlearn.infra.secret
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Make the secrets that are missing
  fedlearn.infra.secrets:
    state_directory: "{{ fedlearn_state | fedlearn.infra.state_directory }}"
    secrets:
      - name: ca_lab
        party: lab
        kind: passphrase
"""

RETURN = r"""
added:
  description: By party, the names of the secrets that were made, or would be in check mode.
  returned: success
  type: dict
  sample: {lab: [ca_lab]}
awaited:
  description: By party, the names of the secrets that another party's control node makes and that aren't there yet.
  returned: success
  type: dict
  sample: {clinic-a: [survey_token]}
begun:
  description: By party, the names of the secrets that got their next value.
  returned: with O(turn=begin)
  type: dict
ended:
  description: By party, the names of the secrets whose former value was dropped.
  returned: with O(turn=end)
  type: dict
files:
  description: By party, the path of the file on the control node.
  returned: success
  type: dict
"""
