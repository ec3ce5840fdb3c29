# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the mongodb role takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._federation.model import Path
from .._federation.network import is_numeric
from .._federation.schema import PORT, Boolean, Choice, Integer, Items, Key, Rule, Section, Text
from .backups import backup_variables
from .building import built_variables
from .checking import (
    FILE,
    IDENTITY,
    IN_TURN,
    LOOPBACK,
    PUBLIC_NAME,
    check_instances,
    is_loopback,
    is_present,
    logins_of,
)
from .listening import Place, one_owner, services
from .packages import of_present

LONGEST_LOGIN = 63
LOGIN = Text(
    max_length=LONGEST_LOGIN,
    pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    pattern_name="a login: letters, digits, '.', '_', '-'",
)
DATABASE = Text(
    max_length=63,
    pattern=r"(?!(?:admin|config|local)\Z)(?!fedlearn_)[A-Za-z][A-Za-z0-9_-]*",
    pattern_name="a database: letters, digits, '_', '-', a letter first, and not admin, config, local or fedlearn_",
)
_HOST = Text(format="address_or_name")


def _client(tls: Mapping[str, Any]) -> list[tuple[Path, str]]:
    keys = ("client_ca", "client_certificate", "client_key")
    given = [key for key in keys if key in tls]
    missing = [key for key in keys if key not in tls] if given else []
    return [((missing[0],), f"is missing: {', '.join(keys)} go together")] if missing else []


def _pair(tls: Mapping[str, Any]) -> list[tuple[Path, str]]:
    missing = [key for key in ("certificate", "key") if key not in tls]
    return [((missing[0],), "is missing: certificate and key go together")] if len(missing) == 1 else []


def _plain(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    if values.get("external") or values.get("tls") or is_loopback(values["address"]):
        return []
    told = f"'{values['address']}' is reached by others, and without tls all it is sent can be read on the way"
    return [(("address",), f"{told}: give tls, or listen on {LOOPBACK}")]


def _outside(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    external = values.get("external")
    if not external:
        return []
    told = "is of a server that the role runs; of an external one only 'external' and 'users' are said"
    breaches: list[tuple[Path, str]] = [((key,), told) for key in ("tls", "postgresql", "debug_port") if key in values]
    if "tls" not in external and not external["allow_unencrypted"]:
        breaches.append((("external",), "has no tls: give tls, or say allow_unencrypted: true"))
    return breaches


def _twice(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    breaches: list[tuple[Path, str]] = []
    seen: set[tuple[str, str]] = set()
    for index, user in enumerate(values["users"]):
        names = [(user["database"], login["name"]) for login in logins_of(user)]
        breaches += [
            (("users", index, "name"), f"'{name}' of {database} stands there twice")
            for database, name in names
            if (database, name) in seen
        ]
        seen.update(names)
    return breaches


def _proofs(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    breaches: list[tuple[Path, str]] = []
    for index, user in enumerate(values["users"]):
        if user["state"] == "present" and "secret" not in user:
            breaches.append((("users", index, "secret"), "is missing: the name of the secret that is its password"))
        if user["in_turn"] and len(user["name"]) > LONGEST_LOGIN - 2:
            breaches.append((("users", index, "name"), "has no room for '_a' and '_b': at most 61 characters"))
    return breaches


_EXTERNAL = Section(
    {
        "hosts": Key(Items(Text(format="endpoint"), min_items=1), "Where it is, each with its port.", required=True),
        "tls": Key(
            Section(
                {
                    "ca": Key(FILE, "CA of its certificates.", required=True),
                    "certificate": Key(FILE, "With key: the client certificate that is shown."),
                    "key": Key(FILE, "Its key."),
                },
                rules=(Rule("A certificate has its key.", _pair),),
            ),
            "How it is spoken to.",
        ),
        "allow_unencrypted": Key(Boolean(), "It may be spoken to without TLS.", default=False),
    }
)

_POSTGRESQL = Section(
    {
        "host": Key(_HOST, "Where it is; its certificate has this name.", required=True),
        "port": Key(PORT, "Its port.", default=5432),
        "database": Key(Text(max_length=63), "Its database, of encoding UTF8.", required=True),
        "user": Key(Text(max_length=63), "The login that owns this, or acts as its owner.", required=True),
        "secret": Key(Text(format="secret"), "Name of the secret that is its password.", required=True),
        "in_turn": Key(
            Boolean(),
            "It comes by C(<user>_a) and C(<user>_b) in turn, of a client with C(in_turn) there; each turn restarts "
            "FerretDB.",
            default=False,
        ),
        "ca": Key(FILE, "CA of its certificate; without it only a PostgreSQL of this host can be used."),
    },
    rules=(
        Rule(
            "Beyond the host only with TLS.",
            lambda values: (
                [(("ca",), f"is missing: '{values['host']}' isn't this host, so it is spoken to by TLS")]
                if "ca" not in values and values["host"] not in ("127.0.0.1", "::1", "localhost")
                else []
            ),
        ),
    ),
)

_USER = Section(
    {
        "name": Key(LOGIN, "The login.", required=True),
        "state": Key(Choice(("present", "absent")), "V(absent) drops it, and ends its sessions.", default="present"),
        "database": Key(
            DATABASE, "The database it logs in at (C(authSource)); it may use the others, too.", required=True
        ),
        "secret": Key(
            Text(format="secret"),
            "Name of the secret that is its password (SCRAM-SHA-256), without control characters.",
        ),
        "in_turn": IN_TURN,
    }
)

INSTANCE = Section(
    {
        **IDENTITY,
        "external": Key(
            _EXTERNAL, "A MongoDB that others run: it is checked and never managed. Without it a FerretDB."
        ),
        "address": Key(Text(format="address"), "Exactly the address to listen on.", default=LOOPBACK),
        "port": Key(PORT, "Port, of TLS where it is on.", default=27017),
        "public_name": PUBLIC_NAME,
        "debug_port": Key(
            PORT, "Port on 127.0.0.1 of C(/debug/readyz) and C(/debug/metrics); default: 10000 above port."
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
                rules=(Rule("Client certificates go together.", _client),),
            ),
            "Nothing but TLS; without it the server listens on loopback only.",
        ),
        "postgresql": Key(_POSTGRESQL, "Where the data lie; without it in SQLite files of the host."),
        "users": Key(Items(_USER), "Who may come. One that is listed no more stays.", default=[]),
    },
    rules=(
        Rule("An external one is not managed.", _outside),
        Rule("Beyond loopback only with TLS.", _plain),
        Rule("Logins are unique.", _twice),
        Rule("Every login has a password.", _proofs),
    ),
)

_HIGHEST = 65535
_ABOVE = 10_000


def is_served(instance: Mapping[str, Any]) -> bool:
    """Whether an instance is a server of this host."""
    return is_present(instance) and "external" not in instance


def _completed(instance: dict[str, Any]) -> dict[str, Any]:
    """The instance with every login of its users, and where it is reached."""
    if not is_present(instance):
        return instance
    users = [login for user in instance["users"] for login in logins_of(user)]
    return _reachable({**instance, "users": users})


def _reachable(instance: dict[str, Any]) -> dict[str, Any]:
    """The instance with its port for health and metrics, and the name its certificate is to have."""
    if not is_served(instance):
        return instance
    port = instance["port"] + (_ABOVE if instance["port"] + _ABOVE <= _HIGHEST else -_ABOVE)
    name = instance.get("public_name", instance["address"])
    return {"debug_port": port, "certified": {"name": name, "is_address": is_numeric(name)}, **instance}


def _places(instance: Mapping[str, Any]) -> list[Place]:
    if not is_served(instance):
        return []
    reached = _reachable(dict(instance))
    return [
        Place(reached["address"], reached["port"]),
        Place(LOOPBACK, reached["debug_port"], key=("debug_port",)),
    ]


def check(instances: Any) -> list[dict[str, Any]]:
    """``mongodb_instances`` with defaults. Raises RoleValueError."""
    rules = (one_owner(_places),)
    return [_completed(instance) for instance in check_instances("mongodb_instances", instances, INSTANCE, rules)]


def listening(instances: Any) -> list[dict[str, Any]]:
    """The ports that servers of this host are to have, as the preflight module takes them. Raises RoleValueError."""
    return services(check(instances), _places)


VARIABLES: Mapping[str, Key] = {
    "mongodb_instances": Key(Items(INSTANCE), "The servers of this host, and external ones it uses.", default=[]),
    **built_variables("mongodb", program="FerretDB 1.24", go="1.22"),
    "mongodb_packages": Key(
        Items(Text(), min_items=1),
        "What logins are made and tried with, and what encrypts backups; C(NAME=VERSION) pins.",
        default=["python3-pymongo", "age"],
    ),
    "mongodb_space_mb": Key(
        Integer(0, 1_000_000_000),
        "Room in C(/var/lib) that a new server with SQLite needs, for C(precheck).",
        default=500,
        unit="MB",
    ),
    "mongodb_health_timeout_seconds": Key(
        Integer(1, 3600), "How long a server may take to answer after a start.", default=60
    ),
    **backup_variables("mongodb", holds=": all data are in it"),
    "mongodb_remove_data": Key(Boolean(), "Remove the data of absent instances.", default=False),
}
"""All variables of the role."""


ROLES = {"mongodb": VARIABLES}
PACKAGES = {"mongodb": of_present("mongodb")}
KEPT = {"mongodb": is_served}
BUILT = {"mongodb": "FerretDB"}
# behind the database its data may lie in
INFRASTRUCTURE = {"mongodb": "data"}
BEFORE = {"postgresql": ["mongodb"]}
INSTANCES = {"mongodb_instances": check}
LISTENING = {"mongodb_instances": listening}
