# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the firewall role takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from .._federation.model import Path
from .._federation.schema import PORT, Boolean, Choice, Integer, Items, Key, Rule, Section, Text
from .checking import FILE, NAME, check_instances, is_present

Breaches = list[tuple[Path, str]]

MODE = Choice(("off", "report", "enforce"))
EVERYBODY = ["0.0.0.0/0", "::/0"]
ANY = ["0.0.0.0", "::"]  # noqa: S104 - every address of the host, listened on by others
_BIND = Items(Text(format="bind_address"), min_items=1)
_NETWORKS = Items(Text(format="network"))


def _ports(values: Mapping[str, Any]) -> Breaches:
    if values.get("ephemeral"):
        more = [key for key in ("port", "last_port") if key in values]
        found: Breaches = [((key,), "an ephemeral port is chosen at each start: leave it out") for key in more]
        if values["protocol"] != "tcp":
            found.append((("protocol",), "of an ephemeral port only attempts to connect are judged, and udp has none"))
        return found
    if "port" not in values:
        return [(("port",), "is missing: where it listens, or ephemeral: true")]
    if values.get("last_port", values["port"]) < values["port"]:
        return [(("last_port",), f"{values['last_port']} is below port {values['port']}")]
    return []


_SERVICE: Mapping[str, Key] = {
    "name": Key(dataclasses.replace(NAME, max_length=120), "What counters are told by.", required=True),
    "state": Key(Choice(("present", "absent")), "V(absent): as if it weren't in the list.", default="present"),
    "protocol": Key(Choice(("tcp", "udp")), "Its protocol.", default="tcp"),
    "port": Key(PORT, "Its port."),
    "last_port": Key(PORT, "The last one, where there are several in a row."),
}
_RULES = (Rule("A port, or an ephemeral one.", _ports),)

SERVICE = Section(
    {
        **_SERVICE,
        "addresses": Key(_BIND, "Where it listens; 0.0.0.0 and :: are every address.", required=True),
        "ephemeral": Key(
            Boolean(),
            "It takes any free port of the host's ephemeral range; connecting to these is judged.",
            default=False,
        ),
        "sources": Key(_NETWORKS, "Networks that may come; without any nobody but the host itself.", default=[]),
    },
    rules=_RULES,
)

OTHER = Section(
    {
        **_SERVICE,
        "addresses": Key(_BIND, "Where it listens.", default=ANY),
        "sources": Key(_NETWORKS, "Networks that may come.", default=EVERYBODY),
    },
    rules=_RULES,
)

VARIABLES: Mapping[str, Key] = {
    "firewall_mode": Key(
        MODE,
        "V(enforce) drops, V(report) counts what V(enforce) would drop, V(off) takes the federation's table away.",
        default="off",
    ),
    "firewall_services": Key(Items(SERVICE), "The federation's services on this host.", default=[]),
    "firewall_others": Key(
        Items(OTHER),
        "Services of others on this host, which no ephemeral range and no default drop is to take their clients from.",
        default=[],
    ),
    "firewall_ssh_ports": Key(
        Items(PORT, min_items=1),
        "Ports of the host's ssh server, which are never judged; the one that Ansible came by is one in any case.",
        default=[22],
    ),
    "firewall_default_drop": Key(
        Boolean(), "Also drop what no federation names, by one table for the whole host.", default=False
    ),
    "firewall_ssh_sources": Key(
        _NETWORKS,
        "Who may come by ssh where there is a default drop; where Ansible comes from may in any case.",
        default=EVERYBODY,
    ),
    "firewall_keep_left": Key(
        Boolean(),
        "Leave guarded, for now, what V(firewall_services) named and doesn't any more; see README.md.",
        default=False,
    ),
    "firewall_confirm_seconds": Key(
        Integer(5, 600), "How long a host waits for a new connection before it puts the former rules back.", default=30
    ),
    "firewall_packages": Key(Items(Text(), min_items=1), "Debian's nft; C(NAME=VERSION) pins.", default=["nftables"]),
    "firewall_program": Key(FILE, "The program.", default="/usr/sbin/nft"),
}
"""All variables of the role."""


def _completed(variable: str, section: Section) -> Callable[[Any], list[dict[str, Any]]]:
    """The check of a list of services, which gives those that are present, with defaults. Raises RoleValueError."""

    def check(services: Any) -> list[dict[str, Any]]:
        present = (one for one in check_instances(variable, services, section) if is_present(one))
        return [{key: value for key, value in one.items() if key != "state"} for one in present]

    return check


def _packages(values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What rules need of the distribution, where there are any; YAML reads off as false."""
    guards = values["firewall_services"] or values["firewall_default_drop"]
    return {"names": values["firewall_packages"] if guards and values["firewall_mode"] not in ("off", False) else []}


ROLES = {"firewall": VARIABLES}
PACKAGES = {"firewall": _packages}
INFRASTRUCTURE = {"firewall": "base"}
INSTANCES = {
    "firewall_services": _completed("firewall_services", SERVICE),
    "firewall_others": _completed("firewall_others", OTHER),
}
