#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the images action; it runs on the control node only."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: images
short_description: Build the images of a stack, and record their digests
version_added: 0.1.0
author: fedlearn.infra contributors (@fedlearn)
description:
  - Runs the command that the key C(build) of an instance's C(images) gives, in a copy of the checkout given there, with
    the parameters C(--registry), C(--tag), C(--https_proxy), C(--http_proxy) and C(--no_proxy). Then it asks the
    registry for the digest of each image, and writes these into the file C(record).
  - Nothing is built as long as checkout and parameters are as they were, and the registry has what was recorded.
  - Without checkout, program, container engine or base images it fails before anything is changed, and names them.
  - The registry's password is in a file that only the user can read, in a folder that goes with the build; container
    engines find it by C(DOCKER_CONFIG) and C(REGISTRY_AUTH_FILE).
options:
  instances:
    description: Instances of the role C(neursafe_server), complete with their defaults, as
      P(fedlearn.infra.checked#filter) gives them.
    type: list
    elements: dict
    required: true
  logs:
    description: The folder for what commands say, a file for each instance that is built.
    type: path
    default: build
  plan:
    description:
      - Build nothing, and compare what was recorded with what the registry has for the tag, and for who pulls.
    type: bool
    default: false
extends_documentation_fragment:
  - fedlearn.infra.attributes
  - fedlearn.infra.attributes.control_node
attributes:
  check_mode:
    support: full
    details: Tells what would be built. Base images that the engine lacks are fetched by it, as before a build.
  diff_mode:
    support: none
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Build what is missing
  fedlearn.infra.images:
    instances: "{{ neursafe_server_instances | fedlearn.infra.checked('neursafe_server_instances') }}"
"""

RETURN = r"""
built:
  description: The instances whose images were built, or in check mode would be.
  returned: when O(plan=false)
  type: list
  elements: str
digests:
  description: By instance the digest of each component's image.
  returned: when O(plan=false)
  type: dict
differing:
  description: By instance what differs from what was recorded.
  returned: when O(plan=true)
  type: dict
ill:
  description: By instance what nodes wouldn't get, or why its registry or its record tells nothing.
  returned: when O(plan=true)
  type: dict
"""
