#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the client_kit action; it runs on the control node only."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: client_kit
short_description: Write what a client needs who is no host of the document
version_added: 0.1.0
author: fedlearn.infra contributors (@fedlearn)
description:
  - Programs of DPSA trust public CAs only and speak no TLS with others. So with private CAs a client has an nginx on
    loopback that leads to both sides. The kit holds its sites, the CAs of both sides, and a README that says how they
    are laid in place.
  - The sites are those that hosts of the document get, and that a verify round goes by.
  - Of xain the kit holds the launcher that participants of the document have, its configuration, and the CA. Who takes
    part shows a certificate, and is one of C(participants.clients). In its generation V(pet) nginx does that, and its
    site is in the kit. No password is.
  - A controller shows a certificate of its party's CA beside. Its key is made where it is used; of the request only the
    public key counts.
  - It runs on the control node only and touches no host.
options:
  document:
    description: The federation document or viewpoint.
    type: path
    required: true
  stack:
    description: Only the kit of this stack; empty means of all that have any.
    type: str
    default: ''
  controller:
    description: The controller's kit instead of a client's.
    type: bool
    default: false
  client:
    description: Of xain, whose kit it is, one of C(participants.clients); needed where these are several.
    type: str
    default: ''
  request:
    description:
      - The signing request (PEM) of who shows a certificate, which is then in the kit. Of DPSA it needs O(controller).
    type: path
  authorities:
    description: The CAs, as M(fedlearn.infra.certificates) takes them.
    type: list
    elements: dict
    required: true
  state_directory:
    description: Where CAs and secrets lie on the control node.
    type: path
    required: true
  path:
    description: The folder to write to, on the control node; a kit is a folder in it.
    type: path
    required: true
extends_documentation_fragment:
  - fedlearn.infra.attributes
  - fedlearn.infra.attributes.control_node
attributes:
  check_mode:
    support: full
    details: Nothing is written or signed.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: A request is signed again when a third of its certificate's lifetime is left, or another CA signs.
"""

EXAMPLES = r"""
- name: Write the kit of clients
  fedlearn.infra.client_kit:
    document: inventories/dpsa-leader/federation.yml
    authorities: "{{ fedlearn_authorities }}"
    state_directory: "{{ fedlearn_state | fedlearn.infra.state_directory }}"
    path: build/dpsa/client_kit
"""

RETURN = r"""
kits:
  description: The kits that were or would be written, by the name of their stack.
  returned: success
  type: dict
  contains:
    path:
      description: The folder.
      type: str
      returned: always
    ways:
      description: Which side's program is reached by which URL.
      type: dict
      returned: always
    serial:
      description: Serial number of the certificate that was signed, by which it can be withdrawn (C(pki.revoked)).
      type: str
      returned: when one was
"""
