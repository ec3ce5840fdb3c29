# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tunnel role takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._federation.model import Path
from .._federation.schema import PORT, Boolean, Choice, Integer, Items, Key, Rule, Section, Text
from .checking import FILE, IDENTITY, check_instances, is_loopback, is_present
from .listening import Place, one_owner, services
from .packages import of_present


def _on_loopback(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    if is_loopback(values["address"]):
        return []
    message = f"'{values['address']}' is reached by others, who would come out at the other end as this host: 127.0.0.1"
    return [(("address",), message)]


_LISTEN = Section(
    {
        "address": Key(Text(format="address"), "On loopback.", default="127.0.0.1"),
        "port": Key(PORT, "Port.", required=True),
    },
    rules=(Rule("What goes in is plain, so it stays on its host.", _on_loopback),),
)

_CONNECT = Section(
    {
        "host": Key(Text(format="address_or_name"), "The other end.", required=True),
        "port": Key(PORT, "Its port.", required=True),
        "name": Key(
            Text(format="address_or_name"), "The name or address that its certificate has to say; default: the host."
        ),
    }
)


def _pair(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    return [((), "'certificate' and 'key' go together")] if ("certificate" in values) != ("key" in values) else []


_TLS = Section(
    {
        "ca": Key(FILE, "CA of the other end's certificate.", required=True),
        "certificate": Key(FILE, "Certificate to show."),
        "key": Key(FILE, "Its key; only root needs to read it."),
    },
    rules=(Rule("A certificate has its key.", _pair),),
)

INSTANCE = Section(
    {
        **IDENTITY,
        "listen": Key(_LISTEN, "Where programs of this host connect to, without TLS.", required=True),
        "connect": Key(_CONNECT, "Where that leads, over TLS.", required=True),
        "protocol": Key(
            Choice(("tls", "postgresql")),
            "What the other end speaks: TLS from the first byte, or PostgreSQL, which is asked for TLS first.",
            default="tls",
        ),
        "tls": Key(_TLS, "Whom to trust, and what to show.", required=True),
    }
)


def _places(instance: Mapping[str, Any]) -> list[Place]:
    return [Place(instance["listen"]["address"], instance["listen"]["port"], key=("listen",))]


def _named(instance: dict[str, Any]) -> dict[str, Any]:
    if not is_present(instance):
        return instance
    connect = {"name": instance["connect"]["host"], **instance["connect"]}
    return {**instance, "connect": connect}


def check(instances: Any) -> list[dict[str, Any]]:
    """``tunnel_instances`` with defaults. Raises RoleValueError."""
    rules = (one_owner(_places),)
    return [_named(instance) for instance in check_instances("tunnel_instances", instances, INSTANCE, rules)]


def listening(instances: Any) -> list[dict[str, Any]]:
    """The ports that present instances are to have, as the preflight module takes them. Raises RoleValueError."""
    return services(check(instances), _places)


VARIABLES: Mapping[str, Key] = {
    "tunnel_instances": Key(Items(INSTANCE), "The tunnels of this host.", default=[]),
    "tunnel_packages": Key(
        Items(Text(), min_items=1), "What stunnel is in; C(NAME=VERSION) pins.", default=["stunnel4"]
    ),
    "tunnel_program": Key(FILE, "stunnel's program.", default="/usr/bin/stunnel4"),
    "tunnel_health_timeout_seconds": Key(
        Integer(1, 3600), "How long a tunnel may take to reach the other end after a start.", default=30
    ),
    "tunnel_remove_data": Key(Boolean(), "Accepted as by every role: a tunnel has no data.", default=False),
}
"""All variables of the role."""


ROLES = {"tunnel": VARIABLES}
PACKAGES = {"tunnel": of_present("tunnel")}
INFRASTRUCTURE = {"tunnel": "front"}
INSTANCES = {"tunnel_instances": check}
LISTENING = {"tunnel_instances": listening}
