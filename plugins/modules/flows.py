#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the flows action; it runs on the control node only."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: flows
short_description: Print every connection a federation needs
version_added: 0.1.0
author: fedlearn.infra contributors (@fedlearn)
description:
  - Reads the federation document on the control node, prints its flows as a table and writes them as CSV. It touches
    no host.
  - It is what one asks one's firewall team for. Under a viewpoint only flows of the party's hosts are told.
  - What hosts and the control node fetch from outside (packages, archives, the time) is told as outgoing. Where the
    document doesn't say from whom, it is whom programs ask by default; a host that is told otherwise, such as a mirror
    in its apt sources, asks there.
options:
  document:
    description: The federation document or viewpoint.
    type: path
    required: true
  stack:
    description: Only flows of this stack, and what its hosts need in any case (ssh, time, packages); empty means all.
    type: str
    default: ''
  path:
    description: The CSV file to write on the control node.
    type: path
    required: true
extends_documentation_fragment:
  - fedlearn.infra.attributes
  - fedlearn.infra.attributes.control_node
attributes:
  check_mode:
    support: full
    details: The CSV on the control node is written in check mode too, since it is what was asked for.
  diff_mode:
    support: none
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Print the flows of a federation
  fedlearn.infra.flows:
    document: inventories/demo/federation.yml
    path: build/demo/flows.csv
"""

RETURN = r"""
flows:
  description: A row for each connection.
  returned: success
  type: list
  elements: dict
  contains:
    stack:
      description: The stack that needs it; empty for what hosts need in any case.
      type: str
      returned: always
    direction:
      description: V(inside) between hosts of the federation, V(incoming) from others to them, V(outgoing) from them, or
        from the control node, to others. Under a viewpoint other parties' hosts are others.
      type: str
      returned: always
    source:
      description: Host that connects, or who else does (V(controller), V(clients)).
      type: str
      returned: always
    source_address:
      description: Its addresses, separated by blanks; empty when the document knows none.
      type: str
      returned: always
    destination:
      description: Host that is connected to, or a name or an address outside.
      type: str
      returned: always
    destination_address:
      description: Its addresses, separated by blanks.
      type: str
      returned: always
    protocol:
      description: V(tcp) or V(udp).
      type: str
      returned: always
    port:
      description: Port, or V(ephemeral) for the destination's range of ephemeral ports.
      type: str
      returned: always
    purpose:
      description: What the connection is for.
      type: str
      returned: always
    authentication:
      description: How the two prove who they are.
      type: str
      returned: always
path:
  description: The CSV file.
  returned: success
  type: str
"""
