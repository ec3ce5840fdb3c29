# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the postgresql role takes."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from .._federation.model import Path
from .._federation.schema import PORT, Boolean, Choice, Integer, Items, Key, Number, OneOf, Rule, Section, Table, Text
from .backups import backup_variables
from .checking import (
    ADDRESSES,
    FILE,
    IDENTITY,
    IN_TURN,
    PUBLIC_NAME,
    certified,
    check_instances,
    is_present,
    logins_of,
)
from .listening import each_address, one_owner, services
from .packages import of_present

MB_PER_CONNECTION = 8
"""What a connection's process takes of ``memory_mb``, of which half is for connections."""
RESERVED_CONNECTIONS = 5
"""Connections that no client gets: health, objects, backup."""

_OBJECT = r"(?!pg_)[a-z_][a-z0-9_-]*"
_OBJECT_NAME = "a name: a-z, 0-9, '_' and '-', a letter or '_' first, and not pg_"
ROLE_NAME = Text(max_length=63, pattern=rf"(?!(?:postgres|public|none)\Z){_OBJECT}", pattern_name=_OBJECT_NAME)
DATABASE_NAME = Text(
    max_length=50,
    pattern=rf"(?!(?:postgres|template[01])\Z){_OBJECT}",
    pattern_name=f"{_OBJECT_NAME}, nor a database of PostgreSQL itself",
)
_WORD = Text(min_length=0, pattern=r"[^\x00-\x1f\x7f]*", pattern_name="a text without control characters")

_OURS = {
    "archive_mode": "backup",
    "data_directory": "name",
    "listen_addresses": "addresses",
    "port": "port",
    "ssl": "tls",
    "ssl_ca_file": "tls",
    "ssl_cert_file": "tls",
    "ssl_key_file": "tls",
}
"""Settings that follow from an instance's own keys."""
_COMMAND = "it would be run as a command"
_REFUSED = {
    "archive_command": _COMMAND,
    "archive_library": "it would be run as code",
    "config_file": "the role says where files lie",
    "dynamic_library_path": "it would be run as code",
    "external_pid_file": "systemd runs the server",
    "hba_file": "who may come follows from the clients",
    "ident_file": "who may come follows from the clients",
    "log_destination": "logs go to the journal",
    "logging_collector": "logs go to the journal",
    "password_encryption": "passwords are scram-sha-256",
    "primary_conninfo": "it would be a secret in a file for all to read",
    "restore_command": _COMMAND,
    "ssl_passphrase_command": _COMMAND,
    "superuser_reserved_connections": "the role keeps some for itself",
    "unix_socket_directories": "the role looks for its socket there",
}


def _reserved(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    settings = values["settings"]
    return [
        (("settings", key), f"follows from the instance's '{_OURS[key]}': set that") for key in settings if key in _OURS
    ] + [(("settings", key), f"can't be set: {_REFUSED[key]}") for key in settings if key in _REFUSED]


ARCHIVE_TIMEOUT = "5min"
"""What was written longer ago is in the archive."""
LONGEST_NAME = 63


def _present(values: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    """The clients that are to be there, with their places in the list."""
    return [(index, client) for index, client in enumerate(values["clients"]) if client["state"] == "present"]


def _unencrypted(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    breaches: list[tuple[Path, str]] = []
    for index, client in _present(values):
        if values.get("tls") or client["allow_unencrypted"]:
            continue
        breaches += [
            (
                ("clients", index, "addresses", place),
                f"'{network}' is beyond this host, and without tls all it is sent can be read on the way: give the "
                "instance tls, or say allow_unencrypted: true",
            )
            for place, network in enumerate(client["addresses"])
            if not ipaddress.ip_network(network).is_loopback
        ]
    return breaches


def _certificates(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    vouched = bool((values.get("tls") or {}).get("client_ca"))
    return [
        (("clients", index, "certificate"), "needs tls.client_ca: the CA that vouches for it")
        for index, client in _present(values)
        if client["certificate"] != "none" and not vouched
    ]


def _whose_list(tls: Mapping[str, Any]) -> list[tuple[Path, str]]:
    alone = "client_crl" in tls and "client_ca" not in tls
    return [(("client_crl",), "needs client_ca: the CA whose certificates are withdrawn")] if alone else []


def _proofs(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    silent: list[tuple[Path, str]] = [
        (("clients", index), "says who it is by nothing: give secret, or certificate: subject")
        for index, client in _present(values)
        if "secret" not in client and client["certificate"] != "subject"
    ]
    return silent + [
        (("clients", index, "certificate"), "is shown over TLS only: leave out allow_unencrypted")
        for index, client in _present(values)
        if client["certificate"] != "none" and client["allow_unencrypted"]
    ]


def _twice(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    breaches: list[tuple[Path, str]] = []
    for what in ("databases", "clients"):
        seen: set[str] = set()
        for index, one in enumerate(values[what]):
            names = [login["name"] for login in logins_of(one)]
            breaches += [((what, index, "name"), f"'{name}' stands there twice") for name in names if name in seen]
            seen.update(names)
    return breaches


def _databases(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    names = [database["name"] for database in values["databases"]]
    told = f"(there are {', '.join(names)})" if names else "(there are none)"
    return [
        (
            ("clients", index, "database"),
            f"no database of this instance is called '{client['database']}' {told}"
            if "database" in client
            else f"is missing: which one may it reach {told}?",
        )
        for index, client in _present(values)
        if client.get("database") not in names
    ]


def _groups(values: Mapping[str, Any]) -> set[str]:
    """The roles that own databases or carry their grants, which nobody logs in as."""
    names = [database["name"] for database in values["databases"]]
    owners = {database.get("owner", database["name"]) for database in values["databases"]}
    return owners | {f"{name}_{access}" for name in names for access in ("read", "write")}


def _logins(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    groups = _groups(values)
    return [
        (
            ("clients", index, "name"),
            f"'{login['name']}' is the role that databases are owned or granted by: nobody logs in as that",
        )
        for index, client in enumerate(values["clients"])
        for login in logins_of(client)
        if login["name"] in groups
    ]


def _turns(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    breaches: list[tuple[Path, str]] = []
    for index, client in _present(values):
        if not client["in_turn"]:
            continue
        if client["certificate"] == "subject":
            told = "no certificate's common name is that of both its logins: say any, or leave out in_turn"
            breaches.append((("clients", index, "certificate"), told))
        if len(client["name"]) > LONGEST_NAME - 2:
            breaches.append((("clients", index, "name"), "has no room for '_a' and '_b': at most 61 characters"))
    return breaches


def _most(memory_mb: int) -> int:
    """How many connections a server of that memory carries: whoever comes and goes, it needs no restart."""
    return memory_mb // 2 // MB_PER_CONNECTION


def _budget(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    # while a password is replaced, both logins of a client may have theirs open
    wanted = sum(login["connections"] for _index, client in _present(values) for login in logins_of(client))
    memory, given = values["memory_mb"], values["settings"].get("max_connections", RESERVED_CONNECTIONS + 1)
    if isinstance(given, bool) or not isinstance(given, int) or given <= RESERVED_CONNECTIONS:
        return [(("settings", "max_connections"), f"is a whole number above {RESERVED_CONNECTIONS}, without quotes")]
    if "max_connections" in values["settings"]:
        room, why = given, f"max_connections: {given}"
    else:
        room, why = _most(memory), f"half of memory_mb: {memory}, {MB_PER_CONNECTION} MB each"
    room -= RESERVED_CONNECTIONS
    if wanted <= room:
        return []
    told = f"may open {wanted} connections, and there is room for {room} ({why}, {RESERVED_CONNECTIONS} in reserve)"
    return [(("clients",), f"{told}: raise it, or lower theirs")]


_DATABASE = Section(
    {
        "name": Key(DATABASE_NAME, "Its name.", required=True),
        "owner": Key(ROLE_NAME, "The role that owns all in it, which nobody logs in as; default: the database's name."),
        "extensions": Key(
            Items(Text(max_length=63, pattern=r"[a-z][a-z0-9_-]*", pattern_name="the name of an extension")),
            "Extensions it has; their packages belong into C(postgresql_packages).",
            default=[],
        ),
    }
)

_CLIENT = Section(
    {
        "name": Key(ROLE_NAME, "The login.", required=True),
        "state": Key(
            Choice(("present", "absent")),
            "V(absent) shuts the login out at once, and drops it when its last session has ended.",
            default="present",
        ),
        "database": Key(DATABASE_NAME, "The one database it comes for."),
        "access": Key(
            Choice(("owner", "write", "read")),
            "V(owner) acts as the owner, so that what one login makes another of its kind can change; V(write) and "
            "V(read) reach the tables of schema public.",
            default="owner",
        ),
        "secret": Key(Text(format="secret"), "Name of the secret that is its password (scram-sha-256)."),
        "in_turn": IN_TURN,
        "certificate": Key(
            Choice(("none", "any", "subject")),
            "The client certificate it needs: one of tls.client_ca, or one whose common name is the login. V(subject) "
            "without secret is enough to come in.",
            default="none",
        ),
        "addresses": Key(
            Items(Text(format="network"), min_items=1),
            "Networks it comes from; C(10.0.0.5/32) is one host.",
            default=["127.0.0.0/8", "::1/128"],
        ),
        "connections": Key(
            Integer(1, 10_000), "How many it may have open, of those that C(memory_mb) has room for.", default=10
        ),
        "allow_unencrypted": Key(
            Boolean(),
            "It may come without TLS, for programs that can't do it; from this host it always may.",
            default=False,
        ),
    }
)

INSTANCE = Section(
    {
        **IDENTITY,
        "addresses": Key(ADDRESSES, "Exactly the addresses to listen on.", default=["127.0.0.1"]),
        "port": Key(PORT, "Port.", default=5432),
        "public_name": PUBLIC_NAME,
        "version": Key(
            Integer(13, 99), "Major version; default: the newest installed when it is first started, and then that one."
        ),
        "locale": Key(
            Text(max_length=63, pattern=r"[A-Za-z0-9_.@-]+", pattern_name="the name of a locale, such as C.UTF-8"),
            "Sorting and messages of its databases, chosen when it is first started; the encoding is always UTF-8.",
            default="C.UTF-8",
        ),
        "memory_mb": Key(
            Integer(128, 16_777_216),
            "What it may use: buffers, caches and the memory of connections are sized by it.",
            default=512,
            unit="MB",
        ),
        "tls": Key(
            Section(
                {
                    "certificate": Key(FILE, "Certificate, then intermediates.", required=True),
                    "key": Key(FILE, "Its key; only root needs to read it.", required=True),
                    "ca": Key(FILE, "CA of that certificate, which it is checked with.", required=True),
                    "client_ca": Key(FILE, "CA of client certificates, where clients need them."),
                    "client_crl": Key(
                        FILE, "That CA's list of those it withdrew; while it is out of date none comes in."
                    ),
                },
                rules=(Rule("A list of withdrawn certificates is of a CA.", _whose_list),),
            ),
            "From beyond this host nothing but TLS; without it nobody comes from there.",
        ),
        "backup": Key(
            Choice(("dump", "archive")),
            "What a backup is. V(dump) is a dump of each database. V(archive) is a copy of the whole server and all "
            "that was written since, so that any moment between can be restored.",
            default="dump",
        ),
        "databases": Key(Items(_DATABASE), "Its databases. One that is listed no more stays.", default=[]),
        "clients": Key(
            Items(_CLIENT), "Who may come. One that is listed no more is shut out, its login stays.", default=[]
        ),
        "settings": Key(
            Table(
                Text(pattern=r"[a-z_]+(?:\.[a-z_]+)?", pattern_name="the name of a setting"),
                OneOf((Boolean(), Integer(), Number(), _WORD)),
            ),
            "Settings of postgresql.conf, over those the role derives.",
            default={},
        ),
    },
    rules=(
        Rule("Settings that the role sets, or that would break it, can't be set.", _reserved),
        Rule("Names are unique; a login is for one database.", _twice),
        Rule("A client names one of the databases.", _databases),
        Rule("A login is no owner.", _logins),
        Rule("Every client proves who it is.", _proofs),
        Rule("Two logins are for a client whose password is replaced.", _turns),
        Rule("Client certificates need a CA.", _certificates),
        Rule("Beyond the host only with TLS, unless told.", _unencrypted),
        Rule("The server carries what its clients may open.", _budget),
    ),
)


def _derived(instance: dict[str, Any]) -> dict[str, Any]:
    """The instance with every login, what its certificate has to be valid for, and the settings that follow from its
    memory, below those it was given."""
    if not is_present(instance):
        return instance
    memory, given = instance["memory_mb"], instance["settings"]
    connections = given.get("max_connections", _most(memory))
    derived = {
        "effective_cache_size": f"{memory * 3 // 4}MB",
        "maintenance_work_mem": f"{memory // 16}MB",
        "max_connections": connections,
        "shared_buffers": f"{memory // 4}MB",
        "work_mem": f"{max(memory * 1024 // 4 // connections, 64)}kB",
    }
    if instance["backup"] == "archive":
        derived["archive_timeout"] = ARCHIVE_TIMEOUT
    logins = [login for client in instance["clients"] for login in logins_of(client)]
    return {**instance, "clients": logins, "settings": {**derived, **given}, "certified": certified(instance)}


def check(instances: Any) -> list[dict[str, Any]]:
    """``postgresql_instances`` with defaults, sizes and every login of its clients. Raises RoleValueError."""
    rules = (one_owner(each_address),)
    return [_derived(instance) for instance in check_instances("postgresql_instances", instances, INSTANCE, rules)]


def listening(instances: Any) -> list[dict[str, Any]]:
    """The ports that present instances are to have, as the preflight module takes them. Raises RoleValueError."""
    return services(check(instances), each_address)


VARIABLES: Mapping[str, Key] = {
    "postgresql_instances": Key(Items(INSTANCE), "The servers of this host.", default=[]),
    "postgresql_packages": Key(
        Items(Text(), min_items=1),
        "The server of Debian's release, what its databases are looked at with, and what encrypts backups; "
        "C(NAME=VERSION) pins.",
        default=["postgresql", "python3-psycopg2", "age"],
    ),
    "postgresql_space_mb": Key(
        Integer(0, 1_000_000_000),
        "Room in C(/var/lib) that a new server needs, for C(precheck).",
        default=500,
        unit="MB",
    ),
    "postgresql_health_timeout_seconds": Key(
        Integer(1, 3600), "How long a server may take to answer after a start.", default=60
    ),
    "postgresql_withdraw_seconds": Key(
        Integer(0, 86_400),
        "How long C(withdraw) waits for the last session of a login whose password was replaced.",
        default=60,
    ),
    **backup_variables("postgresql", holds=": all data are in it", plain=" Without it a backup is plain."),
    "postgresql_restore_until": Key(
        Text(min_length=0, pattern=r"[0-9 :.,TZ+-]*", pattern_name="a time such as 2026-11-28 08:30:00+00"),
        "The moment to restore, of servers with V(archive); default: all that is in the backup.",
        default="",
    ),
    "postgresql_base_days": Key(
        Integer(1, 366),
        "How old the copy of a whole server may be that an archive begins with; a backup then makes a new one.",
        default=7,
        unit="days",
    ),
    "postgresql_remove_data": Key(Boolean(), "Remove the data of absent instances.", default=False),
}
"""All variables of the role."""

# the first installation would make a cluster, for the next boot to start on port 5432
_MEANWHILE = {"path": "/etc/postgresql-common/createcluster.d/fedlearn.conf", "content": "create_main_cluster = off\n"}


ROLES = {"postgresql": VARIABLES}
PACKAGES = {"postgresql": of_present("postgresql", during=[_MEANWHILE])}
INFRASTRUCTURE = {"postgresql": "data"}
INSTANCES = {"postgresql_instances": check}
LISTENING = {"postgresql_instances": listening}
