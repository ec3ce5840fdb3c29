# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the redis role takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .._federation.model import Path
from .._federation.schema import PORT, Boolean, Choice, Integer, Items, Key, Number, OneOf, Rule, Section, Table, Text
from .backups import backup_variables
from .checking import (
    ADDRESSES,
    FILE,
    IDENTITY,
    PUBLIC_NAME,
    certified,
    check_instances,
    is_loopback,
    is_present,
)
from .listening import each_address, one_owner, services

_WORD = Text(min_length=0, pattern=r"[^\x00-\x1f\x7f]*", pattern_name="a text without control characters")
_VALUE = OneOf((Boolean(), Integer(), Number(), _WORD, Items(OneOf((Boolean(), Integer(), Number(), _WORD)))))

_BYTES = re.compile(r"(?P<number>[0-9]{1,15})(?P<unit>(?:[kmg]b?)?|b)", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}
"""As redis.conf has them."""
MAXMEMORY = "1gb"
_BESIDE = 256 << 20
"""Bytes that a server may have beside data, buffers and what it copies."""

_OURS = {
    "bind": "addresses",
    "port": "port",
    "tls-port": "port",
    "protected-mode": "allow_unauthenticated",
    "aclfile": "users",
    "user": "users",
    "appendonly": "persistence",
    "save": "persistence",
    "tls-cert-file": "tls",
    "tls-key-file": "tls",
    "tls-ca-cert-file": "tls",
    "tls-auth-clients": "tls",
}
"""Directives that follow from an instance's own keys."""

_BY_SYSTEMD = "systemd runs the server"
_SECRET = "it would be a secret in a file for all to read"  # noqa: S105 - a message
_BY_NAME = "backup and restore know its file by its name"
_ALONE = "the role knows servers that stand alone"
_REFUSED = {
    "appenddirname": _BY_NAME,
    "appendfilename": _BY_NAME,
    "cluster-enabled": _ALONE,
    "daemonize": _BY_SYSTEMD,
    "dbfilename": _BY_NAME,
    "dir": "data lie in the unit's state directory",
    "include": "the configuration is one file",
    "loadmodule": "it would run code from a path that the role doesn't manage",
    "logfile": "logs go to the journal",
    "masterauth": _SECRET,
    "pidfile": _BY_SYSTEMD,
    "replicaof": _ALONE,
    "requirepass": _SECRET,
    "slaveof": _ALONE,
    "supervised": _BY_SYSTEMD,
    "syslog-enabled": "logs go to the journal",
    "tls-ca-cert-dir": "one CA file says who may come",
    "tls-client-key-file-pass": _SECRET,
    "tls-key-file-pass": _SECRET,
    "unixsocket": "the server listens on its addresses only",
}


def _reserved(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    settings = values.get("settings", {})
    return [
        (("settings", key), f"follows from the instance's '{_OURS[key]}': set that") for key in settings if key in _OURS
    ] + [(("settings", key), f"can't be set: {_REFUSED[key]}") for key in settings if key in _REFUSED]


def _bytes(value: Any) -> int | None:
    """What a directive says; None where it says no number of bytes that a machine could have."""
    found = None if isinstance(value, bool) else _BYTES.fullmatch(str(value))
    number = int(found["number"]) * _UNITS[found["unit"].lower()] if found else -1
    return number if 0 <= number <= 1 << 50 else None


def _measured(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    value = values["settings"].get("maxmemory", MAXMEMORY)
    wrong = _bytes(value) is None
    return [(("settings", "maxmemory"), f"'{value}' is no number of bytes, such as 512mb")] if wrong else []


def memory_max(instance: Mapping[str, Any]) -> str:
    """MemoryMax of its unit: who is bound by ``maxmemory`` refuses writes, and who meets this one is killed.

    So there is room for clients' buffers and for what the allocator can't give back; where data are kept, also for the
    copy of every page that is written while another process saves them.
    """
    data = _bytes(instance["settings"].get("maxmemory", MAXMEMORY))
    return str(data * (5 if _has_data(instance) else 3) // 2 + _BESIDE) if data else "infinity"


def _open(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    if (values.get("tls") or {}).get("client_ca") or values["users"] or values["allow_unauthenticated"]:
        return []
    way_out = "give tls.client_ca or users, listen on 127.0.0.1, or say allow_unauthenticated: true"
    return _reached(values, f"nobody is asked who they are: {way_out}")


def _unencrypted(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    if values.get("tls") or not values["users"] or values["allow_unencrypted"]:
        return []
    way_out = "give tls, listen on 127.0.0.1, or say allow_unencrypted: true"
    return _reached(values, f"without tls passwords can be read on the way: {way_out}")


def _reached(values: Mapping[str, Any], so: str) -> list[tuple[Path, str]]:
    """A breach at each address that others reach."""
    return [
        (("addresses", index), f"'{address}' is reached by others, and {so}")
        for index, address in enumerate(values["addresses"])
        if not is_loopback(address)
    ]


def _asked(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    names = [user["name"] for user in values["users"]]
    breaches: list[tuple[Path, str]] = [
        (("users", index, "name"), f"'{name}' stands there twice")
        for index, name in enumerate(names)
        if name in names[:index]
    ]
    if names and values["allow_unauthenticated"]:
        breaches.append((("allow_unauthenticated",), "with users everybody is asked who they are: leave it out"))
    return breaches


def _whose(tls: Mapping[str, Any]) -> list[tuple[Path, str]]:
    unknown = "client_ca" not in tls and "server_ca" not in tls
    return [(("server_ca",), "is missing: without client_ca, the CA of the certificate")] if unknown else []


_PATTERN = Text(
    max_length=200,
    pattern=r"[!#-&(-\[\]-~]+",
    pattern_name="a pattern such as jobs:*, without white space, quotes and \\",
)

_USER = Section(
    {
        "name": Key(
            Text(
                max_length=63,
                pattern=r"(?!(?:default|fedlearn)\Z)[A-Za-z0-9][A-Za-z0-9._-]*",
                pattern_name="a login: letters, digits, '.', '_', '-', and neither default nor fedlearn",
            ),
            "The login.",
            required=True,
        ),
        "secret": Key(Text(format="secret"), "Name of the secret that is its password.", required=True),
        "in_turn": Key(
            Boolean(),
            "Its password can be replaced while it is connected: meanwhile the former one and the next are valid.",
            default=False,
        ),
        "commands": Key(
            Items(
                Text(
                    pattern=r"[+-](?:@[a-z]+|[a-z-]+(?:\|[a-z-]+)?)",
                    pattern_name="a rule of commands, such as +@read, -@dangerous or +config|get",
                )
            ),
            "What it may do, later rules over earlier ones.",
            default=["+@all", "-@admin", "-@dangerous"],
        ),
        "keys": Key(Items(_PATTERN), "Which keys it reaches.", default=["*"]),
        "channels": Key(Items(_PATTERN), "Which channels it reaches; from Redis 6.2 on (Debian 12).", default=[]),
    }
)

INSTANCE = Section(
    {
        **IDENTITY,
        "addresses": Key(ADDRESSES, "Exactly the addresses to listen on.", default=["127.0.0.1"]),
        "port": Key(PORT, "Port, of TLS where it is on.", default=23456),
        "public_name": PUBLIC_NAME,
        "persistence": Key(
            Choice(("none", "rdb", "aof")),
            "What survives a restart: nothing, snapshots, or every write.",
            default="none",
        ),
        "tls": Key(
            Section(
                {
                    "certificate": Key(
                        FILE,
                        "Certificate, then intermediates; with client_ca of both usages, server and client.",
                        required=True,
                    ),
                    "key": Key(FILE, "Its key; only root needs to read it.", required=True),
                    "client_ca": Key(
                        FILE,
                        "With it nobody comes in without a certificate of this CA. Redis takes all of them, so one CA "
                        "for one Redis.",
                    ),
                    "server_ca": Key(
                        FILE, "CA of the server's own certificate, where it is another one than client_ca."
                    ),
                },
                rules=(Rule("The server's certificate can be checked.", _whose),),
            ),
            "Nothing but TLS; without it plain.",
        ),
        "users": Key(
            Items(_USER),
            "Who may come, by a password; with client_ca a certificate is needed, too. Nobody else comes in.",
            default=[],
        ),
        "allow_unauthenticated": Key(
            Boolean(),
            "Be open to everybody who reaches the addresses (MindSpore knows no password).",
            default=False,
        ),
        "allow_unencrypted": Key(Boolean(), "With users and without tls, serve others than this host.", default=False),
        "settings": Key(
            Table(Text(pattern=r"[a-z][a-z0-9-]*", pattern_name="the name of a directive"), _VALUE),
            "Directives of redis.conf; a list is a directive with several words. Without V(maxmemory) that is "
            f"{MAXMEMORY}, and the unit's C(MemoryMax) follows from it; V(0) bounds neither.",
            default={},
        ),
    },
    rules=(
        Rule("Directives that the role sets, or that would break it, are no settings.", _reserved),
        Rule("Memory for data is a number.", _measured),
        Rule("Open beyond loopback only when told.", _open),
        Rule("Passwords cross the network only with TLS, unless told.", _unencrypted),
        Rule("Users are who may come.", _asked),
    ),
)


def check(instances: Any) -> list[dict[str, Any]]:
    """``redis_instances`` with defaults, and what follows from them. Raises RoleValueError."""
    checked = check_instances("redis_instances", instances, INSTANCE, (one_owner(each_address),))
    return [_completed(one) if is_present(one) else one for one in checked]


def _completed(instance: Mapping[str, Any]) -> dict[str, Any]:
    """An instance with its bounds, and what its certificate has to be valid for."""
    settings = {"maxmemory": MAXMEMORY, "maxmemory-policy": "noeviction", **instance["settings"]}
    return {**instance, "settings": settings, "certified": certified(instance), "memory_max": memory_max(instance)}


def listening(instances: Any) -> list[dict[str, Any]]:
    """The ports that present instances are to have, as the preflight module takes them. Raises RoleValueError."""
    return services(check(instances), each_address)


VARIABLES: Mapping[str, Key] = {
    "redis_instances": Key(Items(INSTANCE), "The servers of this host.", default=[]),
    "redis_packages": Key(
        Items(Text(), min_items=1),
        "What the server and its client are in; C(NAME=VERSION) pins.",
        default=["redis-tools"],
    ),
    "redis_backup_packages": Key(
        Items(Text()),
        "What encrypts backups, installed where a server keeps data; C(NAME=VERSION) pins.",
        default=["age"],
    ),
    "redis_program": Key(
        FILE,
        "The server's program; it is called as C(redis-server), which decides what it is.",
        default="/usr/bin/redis-check-rdb",
    ),
    "redis_client": Key(FILE, "The client, for health.", default="/usr/bin/redis-cli"),
    "redis_health_timeout_seconds": Key(
        Integer(1, 3600), "How long a server may take to answer after a start.", default=60
    ),
    "redis_space_mb": Key(
        Integer(0, 1_000_000_000),
        "Room in C(/var/lib) that a new server with persistence needs, for C(precheck).",
        default=500,
        unit="MB",
    ),
    **backup_variables("redis", holds=": all data are in it", plain=" Without it a backup is plain."),
    "redis_remove_data": Key(Boolean(), "Remove the data of absent instances.", default=False),
}
"""All variables of the role."""


def _has_data(instance: Mapping[str, Any]) -> bool:
    return bool(instance.get("persistence", "none") != "none")


def _packages(values: Mapping[str, Any]) -> dict[str, list[Any]]:
    present = [instance for instance in values["redis_instances"] if is_present(instance)]
    beside = values["redis_backup_packages"] if any(map(_has_data, present)) else []
    return {"names": [*values["redis_packages"], *beside] if present else []}


ROLES = {"redis": VARIABLES}
PACKAGES = {"redis": _packages}
KEPT = {"redis": _has_data}
INFRASTRUCTURE = {"redis": "data"}
INSTANCES = {"redis_instances": check}
LISTENING = {"redis_instances": listening}
