# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the roles janus and dpsa_manager take.

``settings`` are the kind's own types, by program and generation, so a role takes what a document takes. But for paths:
a document names files beside it, a role files anywhere on the control node.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._federation.given_programs import of_role
from .._federation.kinds.dpsa.placements import ESCROW
from .._federation.kinds.dpsa.settings import JANUS_PROGRAMS, generations_of, program_section
from .._federation.model import Path
from .._federation.schema import (
    PORT,
    Anything,
    Boolean,
    Choice,
    Integer,
    Items,
    Key,
    Number,
    Rule,
    Section,
    Text,
    check_values,
)
from .checking import CONTROL_FOLDER, FILE, IDENTITY, LOOPBACK, NAME, check_instances, is_loopback, is_present
from .listening import Place, one_owner, services

Breaches = list[tuple[Path, str]]


def _on_loopback(values: Mapping[str, Any]) -> Breaches:
    if is_loopback(values["address"]):
        return []
    return [(("address",), f"'{values['address']}' is reached by others, and the program speaks no TLS: 127.0.0.1")]


_LISTEN = Section(
    {
        "address": Key(Text(format="address"), "On loopback: the program speaks no TLS.", default="127.0.0.1"),
        "port": Key(PORT, "Port.", required=True),
    },
    rules=(Rule("Plain HTTP stays on its host.", _on_loopback),),
)

_LOGIN_NAME = Text(max_length=61, pattern=r"[a-z_][a-z0-9_]*", pattern_name="a login: a-z, 0-9 and '_'")

_DIRECT = Section(
    {
        "host": Key(Text(format="address_or_name"), "Where PostgreSQL is.", required=True),
        "port": Key(PORT, "Its port.", default=5432),
        "ca": Key(FILE, "CA of its certificate.", required=True),
    }
)

_DATABASE = Section(
    {
        "host": Key(Text(format="address_or_name"), "Where PostgreSQL is.", default="127.0.0.1"),
        "port": Key(PORT, "Its port.", default=5432),
        "name": Key(
            Text(max_length=63, pattern=r"[a-z_][a-z0-9_-]*", pattern_name="a name"), "Database.", required=True
        ),
        "login": Key(_LOGIN_NAME, "Login, of two used in turn without their `_a` and `_b`.", required=True),
        "secret": Key(
            Text(format="secret"), "Name of the secret that is its password, two values in turn.", required=True
        ),
        "ca": Key(FILE, "CA of its certificate: then nothing but TLS. Generation C; B is for loopback only."),
        "direct": Key(
            _DIRECT, "Where it really is, when the host is this one's end of a tunnel: migrations go there over TLS."
        ),
    }
)


def _encrypted(values: Mapping[str, Any]) -> Breaches:
    database, generation = values["database"], values["generation"]
    if "ca" in database and generation == "B":
        return [(("database", "ca"), "generation B speaks no TLS to its database: place it on loopback")]
    near = database["host"] in ("localhost", "127.0.0.1", "::1")
    if "ca" not in database and not near:
        return [
            (("database", "host"), f"'{database['host']}' is reached unencrypted: give ca, or place it on loopback")
        ]
    return []


_COMMON: Mapping[str, Key] = {
    **IDENTITY,
    "generation": Key(Choice(("B", "C")), "Which Janus: B is 269b675c, C 0.7.135.", default="B"),
    "programs": Key(of_role(), "Where the programs come from.", required=True),
    "doubles": Key(
        Boolean(), "They are doubles, for tests: refused without this, and nothing else with it.", default=False
    ),
    "keyring": Key(
        NAME,
        "Whose datastore keys: C(/var/lib/fedlearn-<keyring>/datastore-keys), made on this host and never leaving it.",
        required=True,
    ),
    "database": Key(_DATABASE, "The database, with the login's turns.", required=True),
    "health_port": Key(PORT, "On loopback, where it says that it is well; of this process alone.", required=True),
}


def _file_fits(program_of: str, values: Mapping[str, Any]) -> Breaches:
    """The settings are those of the program in its generation."""
    program = values.get(program_of, "manager")
    if values["generation"] not in generations_of(program):
        return [
            (
                (program_of if program_of in values else "generation",),
                f"generation {values['generation']} has no '{program}'",
            )
        ]
    _checked, mistakes = check_values(program_section(program, values["generation"]), values["settings"])
    return [(("settings", *(step for step in one.path.split(".") if step)), one.message) for one in mistakes]


def _listens(values: Mapping[str, Any]) -> Breaches:
    if values["program"] != "aggregator" and "escrow" in values:
        return [(("escrow",), "is the aggregator's: it has the keys of all")]
    if (values["program"] == "aggregator") == ("listen" in values):
        return []
    return [(("program",), "the aggregator, and none of the others, has 'listen'")]


def _way(values: Mapping[str, Any]) -> Breaches:
    if values["delivered"] and values["program"] == "aggregator":
        return [(("delivered",), "the aggregator's host makes the keyring")]
    if values["keys_for"] and values["program"] != "aggregator":
        return [(("keys_for",), "is the aggregator's: its host has the keyring")]
    if (values["delivered"] or values["keys_for"]) and "keys_folder" not in values:
        return [((), "the key 'keys_folder' is missing: where keyrings lie on their way")]
    return []


JANUS = Section(
    {
        **_COMMON,
        "program": Key(Choice(JANUS_PROGRAMS), "Which of Janus' programs.", required=True),
        "listen": Key(_LISTEN, "Where the aggregator serves."),
        "escrow": ESCROW,
        "delivered": Key(
            Boolean(),
            "The keyring isn't made here: the aggregator's host encrypts its own for this one, in C(keys_folder).",
            default=False,
        ),
        "keys_for": Key(
            Items(Text()),
            "Hosts, by their names in the inventory, that the aggregator's encrypts its keyring for.",
            default=[],
        ),
        "keys_folder": Key(CONTROL_FOLDER, "Where encrypted keyrings lie on the control node, on their way."),
        "settings": Key(Anything(), "The program's own keys: docs/federation.md lists them.", default={}),
    },
    rules=(
        Rule("Keyrings for other hosts have a way.", _way),
        Rule("The aggregator listens.", _listens),
        Rule("The database is reached encrypted, or on loopback.", _encrypted),
        Rule("Settings are those of the program.", lambda values: _file_fits("program", values)),
    ),
)

_ORIGIN = Text(format="origin")

MANAGER = Section(
    {
        **_COMMON,
        "listen": Key(_LISTEN, "Where the manager serves, for its gate alone.", required=True),
        "gate": Key(_LISTEN, "Where its gate serves, for nginx: no session gets by with more epsilon.", required=True),
        "max_epsilon": Key(Number(above=0), "The most that a session may have.", required=True),
        "verify": Key(
            Section(
                {
                    "subject": Key(
                        Text(max_length=1024), "Of its certificate, as nginx tells it: C(CN=NAME).", required=True
                    ),
                    "max_epsilon": Key(Number(above=0), "The most that its sessions may have.", required=True),
                }
            ),
            "Whose sessions are a verify round's, which has a bound of its own and takes nobody else's data.",
        ),
        "role": Key(
            Choice(("leader", "helper")), "Which side it is: sessions for the other are refused.", required=True
        ),
        "urls": Key(
            Section(
                {
                    "leader_endpoint": Key(_ORIGIN, "The leader's aggregator, as the other calls it.", required=True),
                    "helper_endpoint": Key(_ORIGIN, "The helper's, likewise.", required=True),
                    "external_leader": Key(_ORIGIN, "The leader's, as clients call it.", required=True),
                    "external_helper": Key(_ORIGIN, "The helper's, likewise.", required=True),
                }
            ),
            "Where both aggregators are; the external ones are the same letter by letter on both sides.",
            required=True,
        ),
        "settings": Key(Anything(), "The program's own keys: docs/federation.md lists them.", default={}),
    },
    rules=(
        Rule("The database is reached encrypted, or on loopback.", _encrypted),
        Rule("Settings are those of the program.", lambda values: _file_fits("", values)),
    ),
)


def _places(instance: Mapping[str, Any]) -> list[Place]:
    """Where an instance's processes listen."""
    health = Place(LOOPBACK, instance["health_port"], key=("health_port",))
    parts = {"listen": "", "gate": "-gate"}
    return [
        health,
        *(
            Place(instance[key]["address"], instance[key]["port"], (key, "port"), part)
            for key, part in parts.items()
            if key in instance
        ),
    ]


def _complete(instance: dict[str, Any], program: str) -> dict[str, Any]:
    """With the defaults of its program's settings."""
    if not is_present(instance):
        return instance
    settings, _mistakes = check_values(program_section(program, instance["generation"]), instance["settings"])
    return {**instance, "settings": settings}


_RULES = (one_owner(_places),)


def check_janus(instances: Any) -> list[dict[str, Any]]:
    """``janus_instances`` with defaults. Raises RoleValueError."""
    checked = check_instances("janus_instances", instances, JANUS, _RULES)
    return [_complete(instance, instance.get("program", "")) for instance in checked]


def check_managers(instances: Any) -> list[dict[str, Any]]:
    """``dpsa_manager_instances`` with defaults. Raises RoleValueError."""
    checked = check_instances("dpsa_manager_instances", instances, MANAGER, _RULES)
    return [_complete(instance, "manager") for instance in checked]


VARIABLES: Mapping[str, Key] = {
    "janus_instances": Key(Items(JANUS), "Janus' processes on this host.", default=[]),
    "janus_packages": Key(
        Items(Text(), min_items=1),
        "What migrations are applied and sealed columns opened with; C(NAME=VERSION) pins.",
        default=["python3-psycopg2", "python3-cryptography"],
    ),
    "janus_keys_step": Key(
        Choice(("add", "promote", "withdraw")),
        "For C(keys): C(add) has another key open, C(promote) has it seal, C(withdraw) lets those go that don't seal.",
        default="add",
    ),
    "janus_escrow_directory": Key(
        CONTROL_FOLDER,
        "Folder on the control node that keys are kept in, encrypted for C(escrow); never that of databases' backups.",
        default="{{ fedlearn_state | default(inventory_dir) | fedlearn.infra.state_directory }}/.escrow",
    ),
    "janus_accept_unrecoverable": Key(
        Boolean(),
        "For C(escrow): take backups of databases whose keys nobody has but their host.",
        default="{{ accept_unrecoverable | default(false, true) | bool }}",
    ),
    "janus_log": Key(
        Text(pattern=r"[!-~]+", pattern_name="what RUST_LOG takes, such as info"), "C(RUST_LOG).", default="info"
    ),
    "janus_nofile": Key(Integer(1024, 1_073_741_816), "C(LimitNOFILE) of each process.", default=65535),
    "janus_memory_max": Key(
        Text(pattern=r"[1-9][0-9]*[KMGT]?", pattern_name="bytes such as 2G"),
        "C(MemoryMax) of each process.",
        default="2G",
    ),
    "janus_health_timeout_seconds": Key(
        Integer(1, 3600), "How long a process may take to say that it is well after a start.", default=60
    ),
    "janus_max_skew_ms": Key(
        Integer(1, 86_400_000),
        "How far the clock may be from the control node's: reports are dated, and drivers hold work by the clock.",
        default=60_000,
        unit="ms",
    ),
    "janus_remove_data": Key(
        Boolean(), "Remove the datastore keys of absent instances: what is sealed with them is lost.", default=False
    ),
}

MANAGER_VARIABLES: Mapping[str, Key] = {
    "dpsa_manager_instances": Key(Items(MANAGER), "The managers of this host, each with its gate.", default=[]),
    "dpsa_manager_log": Key(VARIABLES["janus_log"].type, "C(RUST_LOG).", default="info"),
    "dpsa_manager_nofile": Key(Integer(1024, 1_073_741_816), "C(LimitNOFILE) of each process.", default=65535),
    "dpsa_manager_memory_max": Key(VARIABLES["janus_memory_max"].type, "C(MemoryMax) of each process.", default="512M"),
    "dpsa_manager_log_seconds": Key(
        Integer(60, 604_800), "How long what a manager prints is kept: tokens are in it.", default=86_400, unit="s"
    ),
    "dpsa_manager_health_timeout_seconds": Key(
        Integer(1, 3600), "How long a manager may take to say that it is well after a start.", default=60
    ),
    "dpsa_manager_disrupt": Key(
        Text(min_length=0),
        "The stack, or without one the instance, whose manager is restarted though sessions are open in it.",
        default="{{ fedlearn_disrupt | default('', true) }}",
    ),
    "dpsa_manager_remove_data": Key(Boolean(), "Accepted as by every role: a manager has none.", default=False),
}


def _packages(values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What present instances need of the distribution."""
    present = [instance for instance in values["janus_instances"] if is_present(instance)]
    words = ("escrow", "keys_for", "delivered")
    kept = ["age"] if any(instance.get(word) for instance in present for word in words) else []
    return {"names": [*values["janus_packages"], *kept] if present else []}


def listening_janus(instances: Any) -> list[dict[str, Any]]:
    """The ports that present instances are to have, as the preflight module takes them. Raises RoleValueError."""
    return services(check_janus(instances), _places)


def listening_managers(instances: Any) -> list[dict[str, Any]]:
    """The same, of managers and gates."""
    return services(check_managers(instances), _places)


ROLES = {"janus": VARIABLES, "dpsa_manager": MANAGER_VARIABLES}
PACKAGES = {"janus": _packages}
INSTANCES = {"janus_instances": check_janus, "dpsa_manager_instances": check_managers}
LISTENING = {"janus_instances": listening_janus, "dpsa_manager_instances": listening_managers}
