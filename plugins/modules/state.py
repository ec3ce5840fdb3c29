#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: state
short_description: Open what verbs keep on the control node
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
description:
  - CAs with their encrypted keys, secrets, and what parties hand each other are kept in a folder, or in a git
    repository. Of a repository this fetches the newest into a working copy, which all that follows in the run reads
    and writes; the filter P(fedlearn.infra.state_directory#filter) says where it lies.
  - What is written there later in the run is pushed by who writes it, before any host relies on it. A push that comes
    too late is fetched, and the write is done again on that.
  - Only the folders C(.ca), C(.escrow), C(.exchange), C(.keyrings), C(.secrets) and C(public) are kept in a repository,
    on its branch C(fedlearn-state), and a secret in clear is refused. Backups, builds and reports stay on this control
    node.
  - git is run without any configuration of the user or the machine, without hooks, and asks nothing.
  - Runs once for all hosts of a play, as if C(run_once) stood on the task.
options:
  state:
    description:
      - A folder, or the URL of a git repository, as C(ssh://git@git.example/demo.git), C(git@git.example:demo.git), or
        C(file://) and a path.
    type: str
    required: true
  key_file:
    description:
      - A file with the deploy key by which a repository is reached by ssh, without a passphrase. It may write there.
      - It is never copied. No agent, and no other key of the user, is asked.
    type: str
    default: ''
  known_hosts_file:
    description: A file with the host keys of the git server, as C(known_hosts) has them. No other server is talked to.
    type: str
    default: ''
  writable:
    description:
      - Whether the run has to write there. Then this fails where it couldn't, or where what it writes would be thrown
        away with the job.
    type: bool
    default: false
extends_documentation_fragment:
  - fedlearn.infra.attributes
  - fedlearn.infra.attributes.control_node
attributes:
  check_mode:
    support: full
    details: Nothing but the working copy changes in any mode.
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - plugin: fedlearn.infra.state_directory
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Fetch what is kept
  fedlearn.infra.state:
    state: git@git.example:demo-state.git
    key_file: /run/credentials/deploy-key
    known_hosts_file: /run/credentials/known_hosts
    writable: true
"""

RETURN = r"""
directory:
  description: The folder on the control node.
  returned: success
  type: str
"""
