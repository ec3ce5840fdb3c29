#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the exchange action; it runs on the control node only."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: exchange
short_description: Sign what partners get, and take over what they signed
version_added: 0.1.0
author: fedlearn.infra contributors (@fedlearn)
description:
  - A party that deploys its side by a viewpoint hands C(public/<party>/) to its partners. C(exchange.json) there names
    each file by its sha256, with the federation, the party, a number that grows and an end;
    C(exchange.json.sig) is its signature, as C(ssh-keygen -Y sign -n exchange@fedlearn.infra) makes it.
  - Of a partner nothing is used from there. What is signed by a key that the viewpoint pins, for this federation and
    this party, not ended, not older than what was seen, and with each file as it was signed, is copied to
    C(.exchange/<party>/) in one step, and read there.
  - With each CA that has one comes its list of withdrawn certificates, signed by that CA and not older than what was
    taken.
  - A CA of which nothing is left that was trusted before, and a shared document that changed, are taken only when their
    digest was accepted.
  - It runs once, for all hosts, and never makes a connection.
options:
  step:
    description:
      - V(agree) fails unless the shared document is the one that was accepted.
      - V(publish) makes the party's key where there is none, and signs its folder where it says something else than it
        did, or is past half of its time.
      - V(compare) looks for what lies in the party's folder otherwise than it was signed; it needs no key.
      - V(take) proves what partners handed over, and takes it over.
      - V(accept) shows what waits to be accepted, and accepts what has O(digest).
    type: str
    required: true
    choices: [agree, publish, compare, take, accept]
  federation:
    description: The federation's name.
    type: str
    required: true
  exchange:
    description: Own party, shared document and partners, as the inventory says them in C(fedlearn_exchange).
    type: dict
    required: true
  authorities:
    description: The CAs of the federation, as M(fedlearn.infra.certificates) takes them.
    type: list
    elements: dict
    default: []
  state_directory:
    description: The folder on the control node with C(public/), C(.secrets/) and C(.exchange/).
    type: path
    required: true
  days:
    description: How long what is signed lasts, at most 400.
    type: int
    default: 90
  digest:
    description: The sha256 of what is accepted.
    type: str
    default: ''
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
    details: Signs anew only what says something else or is past half of its time.
"""

EXAMPLES = r"""
- name: Take over what partners signed
  fedlearn.infra.exchange:
    step: take
    federation: "{{ fedlearn_federation }}"
    exchange: "{{ fedlearn_exchange }}"
    authorities: "{{ fedlearn_authorities }}"
    state_directory: "{{ fedlearn_state | fedlearn.infra.state_directory }}"
  register: taken
"""

RETURN = r"""
folder:
  description: What is to be handed to partners.
  returned: with step publish
  type: str
signer:
  description: The fingerprint that partners pin, to be told by another way than the folder.
  returned: with step publish
  type: str
  sample: SHA256:uL8Vw0iPpBwJ9Dvl3qyTJ1cZ1hGZb3mTDPzmnsLcnWQ
number:
  description: The number that partners compare.
  returned: with step publish
  type: int
expires:
  description: The day on which partners refuse it.
  returned: with step publish
  type: str
unsigned:
  description: Names of files that partners have otherwise, or not at all, as long as they aren't signed.
  returned: with step compare
  type: list
  elements: str
waits:
  description: What isn't there yet of which partner, a line each.
  returned: with step take
  type: list
  elements: str
missing:
  description: The CAs that nothing was taken of.
  returned: with step take
  type: list
  elements: str
told:
  description: What is no mistake, and is to be known.
  returned: with step take
  type: list
  elements: str
waiting:
  description: What waits to be accepted, by its digest, in words.
  returned: with step accept
  type: dict
accepted:
  description: What was accepted, in words.
  returned: with step accept, when something was
  type: list
  elements: str
"""
