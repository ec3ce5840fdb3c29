# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the dc_federated roles take: server, worker, and what they share.

``settings``, ``library`` and ``runtime`` are the kind's own types, so a role takes what a document takes. But for
paths: a document names files beside it, a role files anywhere on the control node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from .._federation.kinds.dc_federated import placements
from .._federation.kinds.dc_federated.settings import MEGABYTE, SETTINGS
from .._federation.model import Path
from .._federation.python_programs import runtime
from .._federation.schema import PORT, Anything, Boolean, Choice, Integer, Items, Key, OneOf, Rule, Section, Text
from .applications import ARCHIVE, application
from .backups import backup_variables
from .checking import (
    CONTROL_FILE,
    CONTROL_FOLDER,
    FILE,
    IDENTITY,
    MEMORY,
    SECONDS,
    TASKS,
    check_instances,
    is_present,
)
from .listening import Place, one_owner, services

Breaches = list[tuple[Path, str]]
Instance = dict[str, Any]


_COMMON: Mapping[str, Key] = {
    **IDENTITY,
    "library": placements.library(CONTROL_FILE, ARCHIVE),
    "runtime": runtime(CONTROL_FILE),
}

_ADMIN = Section(
    {
        "username": Key(
            Text(pattern=r"[A-Za-z0-9._-]{1,64}", pattern_name="a name of A-Z, a-z, 0-9, '.', '_' and '-'"),
            "Who the administrator is.",
            default="admin",
        ),
        "secret": Key(Text(format="secret"), "Name of the secret that is the password.", required=True),
    }
)


def _unused_keys(values: Mapping[str, Any]) -> Breaches:
    if values["settings"]["server_mode_safe"]:
        return []
    given = [name for name in ("key_files", "key_lists") if values[name]]
    return [((name,), "settings.server_mode_safe is false, so nobody's key is looked at") for name in given]


SERVER = Section(
    {
        **_COMMON,
        "application": application(
            "`build(arguments, settings)`, which returns the server.", "What it is given beside the arguments"
        ),
        "listen": Key(
            Section(
                {
                    "address": Key(Text(format="address"), "Exactly one address.", required=True),
                    "port": Key(PORT, "Port.", default=5000),
                }
            ),
            "Where workers connect, or nginx in front of it.",
            required=True,
        ),
        "tls": Key(
            Section(
                {
                    "certificate": Key(FILE, "Certificate, then intermediates.", required=True),
                    "key": Key(FILE, "Its key; only root needs to read it.", required=True),
                    "ca": Key(FILE, "CA of the certificate, for health and administration.", required=True),
                }
            ),
            "Speak TLS; without it plain, for nginx on the same host.",
        ),
        "settings": Key(SETTINGS, "The library's own arguments: docs/federation.md lists them.", default={}),
        "key_files": Key(
            Items(CONTROL_FILE),
            "Files of the control node with one worker's public key each. One that isn't there yet is left out: its "
            "worker has no key so far.",
            default=[],
        ),
        "key_lists": Key(
            Items(CONTROL_FILE),
            "Files of the control node with others' public keys, one a line; they have to be there.",
            default=[],
        ),
        "admin": Key(_ADMIN, "The administrator of the library's own interface, who lets workers in.", required=True),
        "expected": Key(Integer(1, 200_000), "How many workers there will be: five open files for each.", default=100),
    },
    rules=(Rule("Keys are for the safe mode.", _unused_keys),),
)


def _whole_key(values: Mapping[str, Any]) -> Breaches:
    if "key" not in values:
        message = "needs 'key': the key that it is the public half of"
        return [(("public_key_file",), message)] if "public_key_file" in values else []
    if values["transient"] or PurePosixPath(values["key"]).parent.name == values["name"]:
        return []
    wanted = f".../{values['name']}/worker.key"
    return [(("key",), f"lies in a folder of the worker's own, which goes with it: {wanted}")]


WORKER = Section(
    {
        **_COMMON,
        "application": application(
            "`run(arguments, settings)`, which takes part until it returns.", "What it is given beside the arguments"
        ),
        "server": Key(
            Section(
                {
                    "protocol": Key(Choice(("https", "http")), "How.", default="https"),
                    "host": Key(
                        OneOf((Text(format="address"), Text(format="dns_name"))), "Address or name.", required=True
                    ),
                    "port": Key(PORT, "Port.", default=443),
                }
            ),
            "Where it connects.",
            required=True,
        ),
        "ca": Key(FILE, "CA of the server's certificate; without it those that the host trusts."),
        "key": Key(
            FILE,
            "Its key, made where it is missing, in a folder of the name; beside it its `.pub`. Without it unsafe mode.",
        ),
        "public_key_file": Key(CONTROL_FILE, "Where the public half is laid on the control node."),
    },
    rules=(Rule("A public half has a key.", _whole_key),),
)


def _places(instance: Mapping[str, Any]) -> list[Place]:
    return [Place(instance["listen"]["address"], instance["listen"]["port"], key=("listen", "port"))]


def check_servers(instances: Any) -> list[Instance]:
    """``dc_federated_server_instances`` with defaults. Raises RoleValueError."""
    rules = (one_owner(_places),)
    return check_instances("dc_federated_server_instances", instances, SERVER, rules)


def check_workers(instances: Any) -> list[Instance]:
    """``dc_federated_worker_instances`` with defaults. Raises RoleValueError."""
    return check_instances("dc_federated_worker_instances", instances, WORKER)


def server_listening(instances: Any) -> list[Instance]:
    """The ports that present servers are to have, as the preflight module takes them. Raises RoleValueError."""
    return services(check_servers(instances), _places)


SERVER_VARIABLES: Mapping[str, Key] = {
    "dc_federated_server_instances": Key(Items(SERVER), "The servers of this host.", default=[]),
    "dc_federated_server_health_timeout_seconds": Key(
        SECONDS, "How long a server may take to answer after a start.", default=60
    ),
    "dc_federated_server_nofile": Key(
        Integer(1024, 1_073_741_816),
        "The least open files of each server; more where C(expected) needs them.",
        default=65535,
    ),
    "dc_federated_server_tasks_max": Key(TASKS, "Processes and threads.", default=512),
    "dc_federated_server_memory_max": Key(MEMORY, "Memory of each server.", default="4G"),
    "dc_federated_server_allow_empty_key_list": Key(
        Boolean(), "Take an empty list of keys where there was a full one: it locks every worker out.", default=False
    ),
    "dc_federated_server_packages": Key(Items(Text()), "What encrypts backups; C(NAME=VERSION) pins.", default=["age"]),
    "dc_federated_server_remove_data": Key(Boolean(), "Remove the state of absent instances.", default=False),
    **backup_variables("dc_federated_server", holds=": the database of keys, and what applications keep"),
}
"""All variables of the server's role."""

WORKER_VARIABLES: Mapping[str, Key] = {
    "dc_federated_worker_instances": Key(Items(WORKER), "The workers of this host.", default=[]),
    "dc_federated_worker_health_timeout_seconds": Key(
        SECONDS, "How long a worker may take from its start until its application runs.", default=60
    ),
    "dc_federated_worker_tasks_max": Key(TASKS, "Processes and threads.", default=4096),
    "dc_federated_worker_memory_max": Key(MEMORY, "Memory of each worker.", default="16G"),
    "dc_federated_worker_remove_data": Key(
        Boolean(), "Remove results and keys of absent instances: a key is then lost.", default=False
    ),
    "dc_federated_worker_kit_directory": Key(
        CONTROL_FOLDER,
        "Folder on the control node that C(kit) writes, of the first instance: what machines that nobody deploys to "
        "from here take part with.",
        default="build/worker_kit",
    ),
    "dc_federated_worker_kit_ca": Key(
        Text(min_length=0),
        "File on the control node that is the kit's C(ca.pem), where the instance has a C(ca).",
        default="",
    ),
}
"""All variables of the worker's role."""

SHARED_VARIABLES: Mapping[str, Key] = {
    "shared_dc_federated_instances": Key(
        Items(Anything()),
        "The instances of the including role, checked by it; what they say of library and runtime decides what is "
        "brought.",
        default=[],
    ),
    "shared_dc_federated_packages": Key(
        Items(Text()),
        "What environments are made with; C(NAME=VERSION) pins.",
        default=["python3", "python3-venv"],
    ),
    "shared_dc_federated_role": Key(
        Text(), "The including role, where it needs more of the distribution.", default="shared_dc_federated"
    ),
}
"""All variables of what the two roles share."""


COPIES = 3
"""How often an update is in memory at once, unpacked: as it came, as it is proven, and as the application reads it."""

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def _memory_for_updates(values: Mapping[str, Any]) -> list[str]:
    """A server that an update which it takes ends would be sent it again by its worker, and again."""
    given = str(values["dc_federated_server_memory_max"])
    if given == "infinity":
        return []
    most = int(given.rstrip("KMGT")) * _UNITS.get(given[-1], 1)
    present = [one for one in check_servers(values["dc_federated_server_instances"]) if is_present(one)]
    largest = max((one["settings"]["max_update_size"] for one in present), default=0)
    if COPIES * largest * MEGABYTE <= most:
        return []
    gigabytes = -(-COPIES * largest * MEGABYTE // _UNITS["G"])
    reason = f"settings.max_update_size is {largest}, and an update of so many MB is in memory {COPIES} times"
    return [f"dc_federated_server_memory_max: {given} is too little, since {reason}: say at least {gigabytes}G"]


def _packages(role: str) -> Callable[[Mapping[str, Any]], dict[str, list[Any]]]:
    """What a role's present instances need of the distribution: no Python where they have one of their own."""

    def packages(values: Mapping[str, Any]) -> dict[str, list[Any]]:
        runtimes = [one.get("runtime") or {} for one in values[f"{role}_instances"] if is_present(one)]
        ours = any(runtime.get("python", "/usr/bin/python3") == "/usr/bin/python3" for runtime in runtimes)
        beside = values["dc_federated_server_packages"] if runtimes and role == "dc_federated_server" else []
        return {"names": [*(values["shared_dc_federated_packages"] if ours else []), *beside]}

    return packages


ROLES = {
    "dc_federated_server": SERVER_VARIABLES,
    "dc_federated_worker": WORKER_VARIABLES,
    "shared_dc_federated": SHARED_VARIABLES,
}
INSTANCES = {
    "dc_federated_server_instances": check_servers,
    "dc_federated_worker_instances": check_workers,
}
LISTENING = {"dc_federated_server_instances": server_listening}
TOGETHER = {"dc_federated_server": _memory_for_updates}
PACKAGES = {role: _packages(role) for role in ("dc_federated_server", "dc_federated_worker", "shared_dc_federated")}
