#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the awx action; it runs on the control node only."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: awx
short_description: Write what AWX runs a federation's verbs by
version_added: 0.1.0
author: fedlearn.infra contributors (@fedlearn)
description:
  - Derives from the document, and from what the collection's playbooks take, what AWX is to hold, and writes it into
    the folder C(awx/) of the project. It runs on the control node, touches no host, and asks no AWX.
  - C(objects.yml) has the variables of the collection C(infra.aap_configuration), C(apply.yml) is a playbook that
    hands the same to the modules of C(awx.awx), and C(requests.json) has it as plain JSON, in the order in which the
    API takes it. The other playbooks there are what the templates run.
  - Each party of the document is an organisation with credentials, project, inventory, templates and a workflow of its
    own. Of several parties each has a viewpoint, C(parties/<party>/federation.yml) beside the document.
  - No secret is in it. Credentials are made without values, which somebody enters in AWX.
  - The same input gives the same files, byte by byte. What it wrote before and doesn't write any more is removed.
options:
  document:
    description: The federation document or viewpoint.
    type: path
    required: true
  project:
    description: The root of the project, as AWX fetches it. The document lies in it.
    type: path
    default: .
  url:
    description: The URL that AWX fetches the project from. One that isn't http gets a credential for its key.
    type: str
    required: true
  branch:
    description: The branch of the project; empty means its default.
    type: str
    default: ''
  image:
    description: The image that jobs run in.
    type: str
    required: true
  state:
    description:
      - The folder that outlives jobs, where each federation's parties keep CAs and secrets below it. An absolute path,
        which is mounted into every job.
      - Or the URL of a git repository, in which C({federation}) and C({party}) are replaced. It is reached by a deploy
        key, for which there is a credential then. See M(fedlearn.infra.state).
    type: str
    required: true
  backups:
    description:
      - With a repository the folder for backups, which are none of it. An absolute path, which is mounted into every
        job. Without one nothing is backed up or restored by AWX.
    type: str
    default: ''
  webhook:
    description: The URL that is told when a job fails, or a workflow waits for approval; empty means nobody is.
    type: str
    default: ''
  ca_passphrase:
    description: Whether AWX keeps the passphrase of a party's CAs, as a credential, and not C(.secrets/).
    type: bool
    default: false
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
- name: Write what AWX needs
  fedlearn.infra.awx:
    document: federation.yml
    url: https://git.example/clinics.git
    image: registry.example/fedlearn:0.1.0
    state: /var/lib/fedlearn-state
"""

RETURN = r"""
directory:
  description: Where the files are.
  returned: success
  type: str
written:
  description: The files that were written, or would be in check mode.
  returned: success
  type: list
  elements: str
removed:
  description: The files that were removed, since they are written no more.
  returned: success
  type: list
  elements: str
templates:
  description: The names of all job templates.
  returned: success
  type: list
  elements: str
"""
