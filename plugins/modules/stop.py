#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: stop
short_description: Stop and disable services of ours, and change nothing else
description:
  - Stops and disables the units that C(/var/lib/fedlearn/<federation>/owned.json) says belong to services of these
    names; where it knows nothing of a name, the unit C(fedlearn-<name>.service).
  - Files and data stay as they are. The next run of M(fedlearn.infra.managed_service) starts the services again.
  - A unit of the distribution that a service only adds to, such as the host's nginx, goes on.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  federation:
    description: Name of the federation.
    type: str
    required: true
  services:
    description: Names of the services. Those that aren't on this host are passed over.
    type: list
    elements: str
    required: true
  lock_timeout:
    description: Seconds to wait for another run that works on this host.
    type: int
    default: 120
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: Names what would be stopped and stops nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: A second run finds nothing to stop.
seealso:
  - module: fedlearn.infra.managed_service
"""

EXAMPLES = r"""
- name: Stop the servers
  fedlearn.infra.stop:
    federation: demo
    services: [demo-lenet-server-1, demo-lenet-server-1-checkpoints]
  become: true
"""

RETURN = r"""
units:
  description: The units that were, or in check mode would be, stopped or disabled.
  returned: always
  type: list
  elements: str
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fedlearn.infra.plugins.module_utils._service import removal, state, units
from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import ServiceError


def units_of(owned: state.Owned, name: str) -> list:
    """The units that are this service's alone."""
    entry = owned.services.get(name)
    if entry is None:
        return [os.path.basename(path) for path in removal.stray_unit(name)]
    return [] if entry.get("unit") else entry.get("units", [])


def run(module: AnsibleModule) -> dict:
    owned = state.Owned(module.params["federation"])
    shown = units.show([unit for name in module.params["services"] for unit in units_of(owned, name)])
    enabled = [unit.name for unit in shown.values() if unit.enabled == "enabled"]
    running = [unit.name for unit in shown.values() if unit.running]
    if not module.check_mode:
        end(enabled, running)
    found = [name for name in shown if name in enabled or name in running]
    return {"changed": bool(found), "units": found}


def end(enabled: list, running: list) -> None:
    """Disables first: what then can't be stopped stays down after a boot at least."""
    if enabled:
        units.must("disable", *enabled)
    if running:
        code, output = units.verb("stop", *running)
        still = [unit.name for unit in units.show(running).values() if unit.running]
        if still:
            raise ServiceError(f"{', '.join(still)} can't be stopped: {units.ending(output) or code}")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "federation": {"type": "str", "required": True},
            "services": {"type": "list", "elements": "str", "required": True},
            "lock_timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    if os.geteuid() != 0:
        module.fail_json(msg="stop needs root on the host: set `become: true`")
    for name in (module.params["federation"], *module.params["services"]):
        if os.path.basename(name) != name:
            module.fail_json(msg=f"'{name}' is no name")
    try:
        if module.check_mode:
            result = run(module)
        else:
            with state.Lock("started to stop services", module.params["lock_timeout"], tell=module.warn):
                result = run(module)
    except (ServiceError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
