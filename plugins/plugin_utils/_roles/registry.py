# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the registry role takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._federation.model import Path
from .._federation.network import is_numeric, join, parse_url
from .._federation.schema import PORT, Boolean, Integer, Items, Key, Rule, Section, Text
from .backups import backup_variables
from .checking import (
    FILE,
    IDENTITY,
    IN_TURN,
    LOOPBACK,
    check_instances,
    is_loopback,
    is_present,
    logins_of,
)
from .listening import Place, one_owner, services
from .packages import of_present

USER = Text(
    max_length=64, pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*", pattern_name="a login: letters, digits, '.', '_', '-'"
)
SCHEDULE = Text(
    max_length=100,
    pattern=r"[A-Za-z0-9*:.,/~ -]+",
    pattern_name="a time as systemd.time(7) has it, such as Sun 03:00, or never",
)


def _plain(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    if values.get("tls") or is_loopback(values["address"]):
        return []
    told = f"'{values['address']}' is reached by others, and without tls passwords can be read on the way"
    return [(("address",), f"{told}: give tls, or listen on {LOOPBACK}")]


def _twice(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    breaches: list[tuple[Path, str]] = []
    seen: set[str] = set()
    for index, user in enumerate(values["users"]):
        names = [login["name"] for login in logins_of(user)]
        breaches += [(("users", index, "name"), f"'{name}' stands there twice") for name in names if name in seen]
        seen.update(names)
    return breaches


def _scheme(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    plain = values.get("tls") and values.get("public_url", "https:").startswith("http:")
    return [(("public_url",), "is http, and with tls the registry speaks nothing but https")] if plain else []


def _together(tls: Mapping[str, Any]) -> list[tuple[Path, str]]:
    keys = ("client_ca", "client_certificate", "client_key")
    given = [key for key in keys if key in tls]
    missing = [key for key in keys if key not in tls] if given else []
    return [((missing[0],), f"is missing: {', '.join(keys)} go together")] if missing else []


INSTANCE = Section(
    {
        **IDENTITY,
        "address": Key(Text(format="address"), "Exactly the address to listen on.", default=LOOPBACK),
        "port": Key(PORT, "Port, of TLS where it is on.", default=5000),
        "metrics_port": Key(PORT, "Port on 127.0.0.1 of C(/metrics) and C(/debug/health); default: none."),
        "public_url": Key(
            Text(format="origin"),
            "What clients call it, where that isn't its address and port; its certificate has that name.",
        ),
        "tls": Key(
            Section(
                {
                    "certificate": Key(FILE, "Certificate, then intermediates.", required=True),
                    "key": Key(FILE, "Its key; only root needs to read it.", required=True),
                    "ca": Key(FILE, "CA of that certificate, which it is checked with.", required=True),
                    "client_ca": Key(FILE, "With it nobody comes in without a certificate of this CA."),
                    "client_certificate": Key(FILE, "With client_ca: what the role's own checks come with."),
                    "client_key": Key(FILE, "Its key."),
                },
                rules=(Rule("Client certificates go together.", _together),),
            ),
            "Nothing but TLS; without it the registry listens on loopback only.",
        ),
        "users": Key(
            Items(
                Section(
                    {
                        "name": Key(USER, "The login.", required=True),
                        "secret": Key(
                            Text(format="secret"),
                            "Name of the secret that is its password, of at most 72 bytes (bcrypt).",
                            required=True,
                        ),
                        "in_turn": IN_TURN,
                    }
                ),
                min_items=1,
            ),
            "Who may push and pull. The first one makes the role's own push and pull.",
            required=True,
        ),
        "allow_delete": Key(
            Boolean(), "Clients may delete manifests; collections then take what these held.", default=True
        ),
        "read_only": Key(Boolean(), "Nobody pushes or deletes.", default=False),
        "collect_garbage": Key(
            SCHEDULE,
            "When layers that no manifest holds are removed; it can be pulled from meanwhile. V(never) for not at all.",
            default="Sun 03:00",
        ),
        "collect_untagged": Key(
            Boolean(),
            "Remove manifests without a tag, too. Not for images of several platforms: their parts have none.",
            default=False,
        ),
    },
    rules=(
        Rule("Beyond loopback only with TLS.", _plain),
        Rule("Logins are unique.", _twice),
        Rule("With TLS clients use https.", _scheme),
    ),
)


def _places(instance: Mapping[str, Any]) -> list[Place]:
    metrics = [instance["metrics_port"]] if "metrics_port" in instance else []
    return [
        Place(instance["address"], instance["port"]),
        *(Place(LOOPBACK, port, key=("metrics_port",)) for port in metrics),
    ]


def _reached(instance: dict[str, Any]) -> dict[str, Any]:
    """The instance with every login, the URL it answers at, and the name its certificate is to have."""
    if not is_present(instance):
        return instance
    address, port = instance["address"], instance["port"]
    own = f"{'https' if instance.get('tls') else 'http'}://{join(address, port)}"
    name = parse_url(instance.get("public_url", own)).host
    users = [login for user in instance["users"] for login in logins_of(user)]
    return {**instance, "users": users, "url": own, "certified": {"name": name, "is_address": is_numeric(name)}}


def check(instances: Any) -> list[dict[str, Any]]:
    """``registry_instances`` with defaults, and where each is reached. Raises RoleValueError."""
    rules = (one_owner(_places),)
    return [_reached(instance) for instance in check_instances("registry_instances", instances, INSTANCE, rules)]


def listening(instances: Any) -> list[dict[str, Any]]:
    """The ports that present instances are to have, as the preflight module takes them. Raises RoleValueError."""
    return services(check(instances), _places)


VARIABLES: Mapping[str, Key] = {
    "registry_instances": Key(Items(INSTANCE), "The registries of this host.", default=[]),
    "registry_packages": Key(
        Items(Text(), min_items=1),
        "What the program is in, and what encrypts backups; C(NAME=VERSION) pins.",
        default=["docker-registry", "age"],
    ),
    "registry_space_mb": Key(
        Integer(0, 1_000_000_000),
        "Room in C(/var/lib) that a new registry needs, for C(precheck).",
        default=2000,
        unit="MB",
    ),
    "registry_health_timeout_seconds": Key(
        Integer(1, 3600), "How long a registry may take to answer after a start.", default=60
    ),
    **backup_variables("registry", holds=": all images are in it"),
    "registry_remove_data": Key(Boolean(), "Remove the data of absent instances.", default=False),
}
"""All variables of the role."""

# a unit without [Install]: the package's own, which listens on every address, isn't enabled for the next boot
_MEANWHILE = {"path": "/etc/systemd/system/docker-registry.service", "content": ""}


ROLES = {"registry": VARIABLES}
PACKAGES = {"registry": of_present("registry", during=[_MEANWHILE])}
INFRASTRUCTURE = {"registry": "data"}
INSTANCES = {"registry_instances": check}
LISTENING = {"registry_instances": listening}
