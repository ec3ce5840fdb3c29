#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: orphans
short_description: Find, and where asked to remove, services and certificates that the document no longer names
description:
  - Compares what C(/var/lib/fedlearn/<federation>) says is ours on a host (services in C(owned.json), certificates in
    C(certificates)) with the names that the inventory expects there.
  - A service that is ours and isn't expected is an orphan. It is reported and, with O(prune=true), stopped,
    disabled and removed with its files. Its data stay unless O(remove_data=true).
  - So is a certificate, which O(prune=true) removes with its key. They are looked at only where O(expected) lists
    C(certificates).
  - Other federations on the host are left alone.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  federation:
    description: Name of the federation.
    type: str
    required: true
  expected:
    description:
      - The names that belong on this host, lists by kind. C(certificates) are those of certificates; all other
        lists (C(services), C(sites), ...) together are those of services.
    type: dict
    required: true
  prune:
    description: Remove orphans.
    type: bool
    default: false
  remove_data:
    description: With O(prune=true), also remove the data of orphans, and data that earlier removals left.
    type: bool
    default: false
  lock_timeout:
    description: Seconds to wait for another run that works on this host.
    type: int
    default: 120
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: Reports orphans and removes none.
  diff_mode:
    support: full
    details: Lists what is removed.
  idempotent:
    support: full
    details: A second run finds nothing to remove.
seealso:
  - module: fedlearn.infra.managed_service
"""

EXAMPLES = r"""
- name: Report orphans
  fedlearn.infra.orphans:
    federation: demo
    expected:
      services: [demo-lenet-redis, demo-lenet-scheduler]
"""

RETURN = r"""
orphans:
  description: What is ours and not expected, as it was found.
  returned: always
  type: list
  elements: dict
  contains:
    kind: {description: "V(service) or V(certificate).", type: str}
    name: {description: Name of the instance or certificate., type: str}
    units: {description: Its units., type: list, elements: str}
    files: {description: Its files., type: list, elements: str}
    ports: {description: Where it listens., type: list, elements: dict}
    data: {description: Where its data lie., type: list, elements: str}
    running: {description: Whether one of its units runs., type: bool}
summary:
  description: The same in one line, kind and name of each; empty when there is none.
  returned: always
  type: str
  sample: service demo-lenet-redis, certificate demo-lenet-redis
left_data:
  description: Data of services that were removed without them, by name.
  returned: always
  type: dict
removed:
  description: Names of the orphans that were, or in check mode would be, removed.
  returned: always
  type: list
  elements: str
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import removal, watching
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import Description
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.files import FileTroubleError
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.installed import Layout, locked, recorded
from ansible_collections.fedlearn.infra.plugins.module_utils._service import state, units
from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import ServiceError
from ansible_collections.fedlearn.infra.plugins.module_utils._service.removal import Removal
from ansible_collections.fedlearn.infra.plugins.module_utils._service.service import Options

LAYOUT = Layout()


def expected_services(expected: dict) -> set:
    """All names of all lists but the certificates'."""
    lists = [names for kind, names in expected.items() if kind != "certificates" and isinstance(names, list)]
    return {name for names in lists for name in names}


def describe(name: str, entry: dict, shown: dict) -> dict:
    told = {key: entry.get(key, []) for key in ("units", "files", "ports", "data")}
    running = any(shown[unit].running for unit in entry["units"])
    return {"kind": "service", "name": name, **told, "running": running}


def find_services(owned: state.Owned, expected: set) -> list:
    orphans = {name: entry for name, entry in sorted(owned.services.items()) if name not in expected}
    shown = units.show([unit for entry in orphans.values() for unit in entry["units"]])
    return [describe(name, entry, shown) for name, entry in orphans.items()]


def find_certificates(federation: str, expected: list | None) -> list:
    """Certificates that we installed and nobody expects."""
    if expected is None:
        return []
    nothing = {"units": [], "ports": [], "data": [], "running": False}
    found = []
    for name in sorted(set(recorded(LAYOUT, federation)) - set(expected)):
        outcome = removal.remove(LAYOUT, Description(name, federation, "absent"), check=True)
        found.append({"kind": "certificate", "name": name, "files": outcome.files, **nothing})
    return found


def remove_certificates(federation: str, names: list) -> None:
    with locked(LAYOUT):
        for name in names:
            removal.remove(LAYOUT, Description(name, federation, "absent"))
        watching.settle(LAYOUT, federation)


def remove_services(owned: state.Owned, names: list, remove_data: bool) -> list:
    """Removes services; returns what went wrong with which."""
    wrong = []
    for name in names:
        wanted = {"name": name, "state": "absent", "unit": None, "units": [], "files": [], "validate": [], "watch": []}
        service = Removal(wanted, owned, Options(remove_data, False, {}))
        try:
            service.compare(units.show(service.unit_names))
            service.withdraw()
        except (ServiceError, OSError) as error:
            service.undo(str(error))
            wrong.append(f"{name}: {service.outcome.reason}")
    return wrong


def run(module: AnsibleModule) -> dict:
    params = module.params
    federation, owned = params["federation"], state.Owned(params["federation"])
    expected = expected_services(params["expected"])
    services = find_services(owned, expected)
    certificates = find_certificates(federation, params["expected"].get("certificates"))
    names = [orphan["name"] for orphan in services] if params["prune"] else []
    unused = [orphan["name"] for orphan in certificates] if params["prune"] else []
    if params["prune"] and params["remove_data"]:
        names += [name for name in sorted(owned.left_data) if name not in expected and name not in names]
    result = {
        "changed": bool(names or unused),
        "orphans": services + certificates,
        "summary": ", ".join(f"{orphan['kind']} {orphan['name']}" for orphan in services + certificates),
        "left_data": dict(owned.left_data),
        "removed": names + unused,
    }
    if module._diff:
        lines = [path for orphan in result["orphans"] if params["prune"] for path in orphan["files"]]
        result["diff"] = {"before": "".join(f"{line}\n" for line in lines), "after": ""}
    if result["changed"] and not module.check_mode:
        wrong = remove_services(owned, names, params["remove_data"])
        result["left_data"] = dict(owned.left_data)
        if wrong:
            result["msg"] = "\n".join(wrong)
        else:  # what a service still reads stays with it
            remove_certificates(federation, unused)
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "federation": {"type": "str", "required": True},
            "expected": {"type": "dict", "required": True},
            "prune": {"type": "bool", "default": False},
            "remove_data": {"type": "bool", "default": False},
            "lock_timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    if os.geteuid() != 0:
        module.fail_json(msg="orphans needs root on the host: set `become: true`")
    if os.path.basename(module.params["federation"]) != module.params["federation"]:
        module.fail_json(msg="federation must be a name")
    try:
        if module.check_mode or not module.params["prune"]:
            result = run(module)
        else:
            with state.Lock("started to remove orphans", module.params["lock_timeout"], tell=module.warn):
                result = run(module)
    except (ServiceError, FileTroubleError, OSError) as error:
        module.fail_json(msg=str(error))
    if "msg" in result:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
