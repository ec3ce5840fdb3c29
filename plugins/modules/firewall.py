#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall
short_description: Who may reach a federation's services, as one table of nftables
description:
  - Makes a table C(inet fedlearn-<federation>) that drops what comes to the services named here from where they
    don't expect it, and accepts everything else. Other tables stay untouched.
  - Rules that drop are loaded with a way back. The action then closes its connection, comes anew, and confirms;
    otherwise the host puts the former tables back after O(confirm_seconds).
  - Only what was confirmed is written down, for a unit that loads it before the network comes up.
  - Several federations share a host. Where they share a port, or the ephemeral range, each lets in whom the other
    names; the table of another federation changes only then.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  federation:
    description: Whose services these are. A later call for the same one replaces what it asked for.
    type: str
    default: default
  mode:
    description:
      - V(enforce) drops, V(report) counts what V(enforce) would drop, V(off) takes the federation's table away.
    type: str
    choices: ['off', report, enforce]
    default: 'off'
  services:
    description: Services of the federation on this host.
    type: list
    elements: dict
    default: []
    suboptions: &service
      name:
        description: What counters are told by.
        type: str
        required: true
      addresses:
        description: Where it listens; V(0.0.0.0) and V(::) are every address.
        type: list
        elements: str
        required: true
      protocol:
        description: Its protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
      port:
        description: Its port.
        type: int
      last_port:
        description: The last one, where there are several in a row.
        type: int
      ephemeral:
        description: It takes any port of the host's ephemeral range that is free; only attempts to connect are judged.
        type: bool
        default: false
      sources:
        description: Networks that may come; without any nobody but the host itself.
        type: list
        elements: str
        default: []
  others:
    description:
      - Services on this host that are none of the federation's. Their ports in the ephemeral range are left alone, and
        with O(default_drop=true) their sources may come.
    type: list
    elements: dict
    default: []
    suboptions: *service
  ssh_ports:
    description: Ports of the host's ssh server; the one this connection came by is always one of them.
    type: list
    elements: int
    default: [22]
  ssh_sources:
    description: Who may come by ssh with O(default_drop=true); where this connection comes from always may.
    type: list
    elements: str
    default: ['0.0.0.0/0', '::/0']
  default_drop:
    description: Also drop what no federation of the host names, by one table C(inet fedlearn) for the whole host.
    type: bool
    default: false
  confirm_seconds:
    description: How long the host waits for the controller to come anew.
    type: int
    default: 30
  keep_left:
    description:
      - Places that a former call guarded and O(services) doesn't name any more stay guarded as they were, and are told
        in RV(left). For a play that changes services only later, and then calls again without it.
      - In any case those stay on which a service of the federation is known to be, such as one that no document names
        any more and nobody has removed.
    type: bool
    default: false
  token:
    description: What the action confirms by; not for playbooks.
    type: str
  program:
    description: The program C(nft).
    type: path
    default: /usr/sbin/nft
  lock_timeout:
    description: Seconds to wait for another run that works on this host.
    type: int
    default: 120
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: Tells what differs, and loads nothing.
  diff_mode:
    support: full
    details: Shows the files.
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Let two hosts reach Redis, and nobody else
  fedlearn.infra.firewall:
    mode: enforce
    services:
      - name: redis
        addresses: [10.20.0.11]
        port: 23456
        sources: [10.20.0.12/32, 10.20.0.13/32]
  become: true
"""

RETURN = r"""
differing:
  description: Files, tables and units that were not, or in check mode are not, as asked for.
  returned: always
  type: list
  elements: str
counted:
  description: By service, what came from where it isn't expected; V(default) is the default drop.
  returned: always
  type: dict
left:
  description: Services that aren't named any more and whose places are still guarded.
  returned: always
  type: list
  elements: str
strangers:
  description: Who else listens in a guarded ephemeral range, one line each.
  returned: always
  type: list
  elements: str
rolled_back:
  description: Whether a former run's rules, which nobody had confirmed, were put back first.
  returned: always
  type: bool
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fedlearn.infra.plugins.module_utils._firewall import converge, kernel, rules
from ansible_collections.fedlearn.infra.plugins.module_utils._service import files, state
from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import ServiceError

SERVICE = {
    "name": {"type": "str", "required": True},
    "addresses": {"type": "list", "elements": "str", "required": True},
    "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
    "port": {"type": "int"},
    "last_port": {"type": "int"},
    "ephemeral": {"type": "bool", "default": False},
    "sources": {"type": "list", "elements": "str", "default": []},
}
CLAIMED = ("mode", "services", "others", "ssh_ports", "ssh_sources", "default_drop")
ARGUMENTS = {
    "federation": {"type": "str", "default": "default"},
    "mode": {"type": "str", "choices": ["off", "report", "enforce"], "default": "off"},
    "services": {"type": "list", "elements": "dict", "default": [], "options": SERVICE},
    "others": {"type": "list", "elements": "dict", "default": [], "options": SERVICE},
    "ssh_ports": {"type": "list", "elements": "int", "default": [22]},
    "ssh_sources": {"type": "list", "elements": "str", "default": list(rules.EVERYBODY)},
    "default_drop": {"type": "bool", "default": False},
    "confirm_seconds": {"type": "int", "default": 30},
    "keep_left": {"type": "bool", "default": False},
    "token": {"type": "str", "no_log": False},
    "program": {"type": "path", "default": "/usr/sbin/nft"},
    "lock_timeout": {"type": "int", "default": 120},
}


def claim(params: dict) -> dict:
    """What is asked for, without what isn't said; nothing where the mode is off."""
    asked = {key: params[key] for key in CLAIMED}
    for key in ("services", "others"):
        asked[key] = [{name: value for name, value in one.items() if value is not None} for one in asked[key]]
    if asked["mode"] == "off":
        asked.update(services=[], others=[], default_drop=False)
    return asked


def refuse_ssh(firewall: converge.Firewall) -> None:
    """Nothing that names the port of ssh is loaded: it is never judged."""
    around = firewall.around
    for one in firewall.claims:
        for service in one.services:
            if any(place.protocol == "tcp" and place.ports == (around.ssh_port,) * 2 for place in service.places):
                raise ServiceError(f"'{service.name}' has port {around.ssh_port}, by which this connection came")


def diff(firewall: converge.Firewall) -> list:
    """Files before and after."""
    shown = []
    for part in firewall.parts:
        wanted = part.files(firewall.nft.program)
        for path in part.differing:
            before = files.read(path).decode("utf-8", "replace")
            shown.append({"before_header": path, "after_header": path, "before": before, "after": wanted.get(path, "")})
    return shown


def run(module: AnsibleModule) -> dict:
    """Compares, and makes it so."""
    params = module.params
    nft = kernel.Nft(params["program"])
    rolled_back = False
    if not module.check_mode:
        if params["token"]:
            kernel.confirm(params["token"])
        elif nft.is_there:
            rolled_back = kernel.settle(nft)
    firewall = converge.Firewall(params["federation"], claim(params), params["program"], keep_left=params["keep_left"])
    refuse_ssh(firewall)
    firewall.compare()
    differing, strangers = firewall.differing, firewall.strangers()
    if strangers and firewall.to_load:
        way_out = "name it in firewall_others, or have it listen below the ephemeral range"
        raise ServiceError("\n".join(f"{one} and would lose its clients: {way_out}" for one in strangers))
    result = {
        "changed": bool(differing),
        "differing": differing,
        "left": [service["name"] for service in firewall.left],
        "strangers": strangers,
        "rolled_back": rolled_back,
        "counted": {},
        "diff": diff(firewall) if module._diff else [],
    }
    if differing and not module.check_mode:
        result.update(converge.converge(firewall, confirmed=bool(params["token"]), seconds=params["confirm_seconds"]))
    if nft.is_there:
        present = nft.names()
        for part in (part for part in firewall.parts if part.table and part.name in present):
            result["counted"].update(nft.counted(part.name))
    return result


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if os.geteuid() != 0:
        module.fail_json(msg="firewall needs root on the host: set `become: true`")
    try:
        if module.check_mode:
            result = run(module)
        else:
            # what another run loaded isn't taken from under it before it could confirm
            free = (lambda: True) if module.params["token"] else kernel.is_settled
            with state.Lock(
                "started to set up the firewall", module.params["lock_timeout"], free=free, tell=module.warn
            ):
                result = run(module)
    except (ServiceError, OSError) as error:
        module.fail_json(msg=str(error))
    for one in result["strangers"]:
        module.warn(f"{one}, in the ephemeral range that is guarded: only {module.params['federation']}'s may connect")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
