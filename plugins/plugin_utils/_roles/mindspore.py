# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the MindSpore Federated roles take: scheduler, server, worker, and what they share.

``settings`` and ``runtime`` are the kind's own types, so a role takes what a document takes. But for paths: a document
names files beside it, a role files anywhere on the control node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .._federation.kinds.mindspore.placements import DEFAULT_APPLICATION, PLACEMENTS
from .._federation.kinds.mindspore.settings import SETTINGS, program_keys
from .._federation.kinds.mindspore.topology import EXCHANGE
from .._federation.model import Path
from .._federation.schema import (
    PORT,
    Anything,
    Boolean,
    Integer,
    Items,
    Key,
    Number,
    OneOf,
    Rule,
    Section,
    Table,
    Text,
)
from .checking import (
    CONTROL_FILE,
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

# ccsrc/common/core/comm_util.cc takes nothing else, and finds out only when it starts
_ADDRESS = Text(
    pattern=r"(?:[1-9]|[1-9]\d|1\d\d|2[0-4]\d|25[0-4])(?:\.(?:\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])){2}"
    r"\.(?:[1-9]|[1-9]\d|1\d\d|2[0-4]\d|25[0-4])",
    pattern_name="an IPv4 address that MindSpore Federated takes: its first and last number are from 1 to 254",
)


def _section(key: Key) -> Section:
    assert isinstance(key.type, Section)
    return key.type


def _runtime() -> Section:
    """The kind's ``runtime``, its paths being the control node's."""
    runtime = _section(PLACEMENTS["runtime"])
    python = _section(runtime.keys["python"])
    archive = _section(python.keys["archive"])
    source = Key(CONTROL_FILE, "URL, or file on the control node.", required=True)
    archive_key = Key(Section({**archive.keys, "source": source}), python.keys["archive"].doc)
    python_type = Section({**python.keys, "archive": archive_key}, rules=python.rules)
    return Section(
        {
            **runtime.keys,
            "python": Key(python_type, runtime.keys["python"].doc, default={}),
            "wheels": Key(CONTROL_FILE, "Folder on the control node with the wheels to install from."),
            "requirements": Key(CONTROL_FILE, "Pinned requirements with hashes, instead of the role's own."),
        }
    )


def _listen(address: Text, port: int, doc: str) -> Key:
    keys = {"address": Key(address, "Exactly one address.", required=True), "port": Key(PORT, "Port.", default=port)}
    return Key(Section(keys), doc, required=True)


_COMMON: Mapping[str, Key] = {
    **IDENTITY,
    "runtime": Key(_runtime(), "What the program runs on.", default={}),
    "settings": Key(SETTINGS, "MindSpore Federated's own keys: docs/federation.md lists them.", required=True),
}
_REDIS = Section(
    {
        "address": Key(Text(format="address"), "Numeric address.", required=True),
        "port": Key(PORT, "Port.", default=6379),
    }
)
_BUNDLE: Mapping[str, Key] = {
    "pkcs12": Key(FILE, "Own key and certificate; only root needs to read it.", required=True),
    "password": Key(FILE, "File with the bundle's password.", required=True),
    "ca": Key(FILE, "CA of the others' certificates.", required=True),
}


def _store(required: bool) -> Mapping[str, Key]:
    return {
        "store_ca": Key(FILE, "CA of Redis' certificate.", required=required),
        "store_certificate": Key(FILE, "Certificate to show Redis.", required=required),
        "store_key": Key(FILE, "Its key.", required=required),
    }


_WITH_STORE = Key(
    Section({**_BUNDLE, **_store(True)}), "Speak TLS, and with Redis too; without it everybody is trusted."
)

SCHEDULER = Section(
    {
        **_COMMON,
        "listen": _listen(
            _ADDRESS, 11202, "The REST interface. It asks nobody who they are, so: loopback, behind a proxy."
        ),
        "redis": Key(_REDIS, "The store.", required=True),
        "tls": _WITH_STORE,
    }
)


def _whole_model(values: Mapping[str, Any]) -> Breaches:
    if ("source" in values) != ("sha256" in values):
        return [((), "'source' and 'sha256' go together: another file is refused before anything starts")]
    return [] if values else [((), "is empty: give 'source' with 'sha256', or 'shapes'")]


_MODEL = Section(
    {
        "source": Key(
            Text(
                pattern=r"[^\x00-\x1f\x7f]+\.(?:ckpt|npz)",
                pattern_name="a file whose name ends with .ckpt or .npz",
            ),
            "File on the control node.",
        ),
        "sha256": Key(Text(format="sha256"), "Its sum: another file is refused before anything starts."),
        "shapes": Key(
            Table(Text(max_length=256), Items(Integer(1, 4294967295), min_items=1, max_items=16)),
            "Names and dimensions of the weights: those that the file has to hold, or zeros where there is no file.",
        ),
    },
    rules=(Rule("A file goes with its sum.", _whole_model),),
)

_PEER = Section(
    {
        "endpoint": Key(Text(format="address_port"), "Where its exchange listens.", required=True),
        "name": Key(Text(max_length=64), "Common name of its certificate."),
    }
)


def _named_peers(values: Mapping[str, Any]) -> Breaches:
    return [
        (("peers", index), "has no 'name': with tls a peer is known by its certificate's common name")
        for index, peer in enumerate(values["peers"])
        if "tls" in values and (isinstance(peer, str) or "name" not in peer)
    ]


_CHECKPOINTS = Section(
    {
        "address": Key(Text(format="address"), "Exactly one address.", required=True),
        "port": Key(PORT, "Port.", default=7666),
        "peers": Key(
            Items(OneOf((Text(format="address_port"), _PEER))),
            "The stack's other servers: their exchanges' `address:port`, with tls as `endpoint` and `name`.",
            default=[],
        ),
        "tls": Key(
            Section(
                {
                    "certificate": Key(FILE, "Certificate, then intermediates; of both usages.", required=True),
                    "key": Key(FILE, "Its key; only root needs to read it.", required=True),
                    "ca": Key(FILE, "CA of the peers' certificates.", required=True),
                }
            ),
            "Exchange by TLS, both sides known by certificate; without it whoever connects gets the model.",
        ),
    },
    rules=(Rule("With TLS peers have names.", _named_peers),),
)

SERVER = Section(
    {
        **_COMMON,
        "http": _listen(_ADDRESS, 6666, "Where workers and devices connect, or the proxy in front."),
        "tcp_address": Key(
            _ADDRESS, "Where the other servers reach this one; the program chooses the port.", required=True
        ),
        "redis": Key(_REDIS, "The store.", required=True),
        "tls": _WITH_STORE,
        "checkpoints": Key(_CHECKPOINTS, "The exchange of checkpoints with the other servers.", required=True),
        "initial_model": Key(_MODEL, "The model that training begins with; without it that of the linear example."),
    }
)


def _whole_store(values: Mapping[str, Any]) -> Breaches:
    given = [key for key in _store(False) if key in values]
    return [((), "'store_ca', 'store_certificate' and 'store_key' go together")] if 0 < len(given) < 3 else []


_APPLICATION = Section(
    {
        "callable": Key(Text(format="callable"), "The function that trains.", default=DEFAULT_APPLICATION),
        "source": Key(CONTROL_FILE, "Its package or file, on the control node."),
        "settings": Key(Anything(), "What the function is given; JSON data."),
    }
)


def _has_workers(values: Mapping[str, Any]) -> Breaches:
    if values["settings"]["server_mode"] != "FEDERATED_LEARNING":
        return []
    message = "FEDERATED_LEARNING has devices and no workers: set CLOUD_TRAINING, as on the servers"
    return [(("settings", "server_mode"), message)]


WORKER = Section(
    {
        **_COMMON,
        "server": Key(
            Section(
                {
                    "address": Key(_ADDRESS, "Numeric address.", required=True),
                    "port": Key(PORT, "Port.", default=6666),
                }
            ),
            "Where it connects: a server, or the proxy in front of all.",
            required=True,
        ),
        "redis": Key(_REDIS, "The store; only a worker in HYBRID_TRAINING connects to it."),
        "tls": Key(
            Section(
                {**_BUNDLE, **_store(False)},
                rules=(Rule("What Redis asks for is given whole.", _whole_store),),
            ),
            "Speak TLS.",
        ),
        "application": Key(_APPLICATION, "What it trains.", default={}),
    },
    rules=(Rule("A worker's mode has workers.", _has_workers),),
)


def _scheduler_places(instance: Mapping[str, Any]) -> list[Place]:
    return [_place(instance, "listen")]


def _server_places(instance: Mapping[str, Any]) -> list[Place]:
    return [_place(instance, "http"), _place(instance, "checkpoints", EXCHANGE)]


def _place(instance: Mapping[str, Any], key: str, part: str = "") -> Place:
    return Place(instance[key]["address"], instance[key]["port"], (key, "port"), part)


def _check(variable: str, instances: Any, section: Section, rules: tuple[Rule, ...] = ()) -> list[Instance]:
    """The instances with defaults, their settings under the keys that the program's version reads."""
    return [
        {**one, "settings": program_keys(one["settings"], one["runtime"]["version"])} if "settings" in one else one
        for one in check_instances(variable, instances, section, rules)
    ]


def check_schedulers(instances: Any) -> list[Instance]:
    """``mindspore_scheduler_instances`` with defaults. Raises RoleValueError."""
    return _check("mindspore_scheduler_instances", instances, SCHEDULER, (one_owner(_scheduler_places),))


def check_servers(instances: Any) -> list[Instance]:
    """``mindspore_server_instances`` with defaults, each with its ``exchange``'s name. Raises RoleValueError."""
    checked = _check("mindspore_server_instances", instances, SERVER, (one_owner(_server_places),))
    return [{**one, "exchange": one["name"] + EXCHANGE} for one in checked]


def check_workers(instances: Any) -> list[Instance]:
    """``mindspore_worker_instances`` with defaults. Raises RoleValueError."""
    return _check("mindspore_worker_instances", instances, WORKER)


def scheduler_listening(instances: Any) -> list[Instance]:
    """The ports that present schedulers are to have, as the preflight module takes them. Raises RoleValueError."""
    return services(check_schedulers(instances), _scheduler_places)


def server_listening(instances: Any) -> list[Instance]:
    """The ports that present servers and their exchanges are to have. Raises RoleValueError."""
    return services(check_servers(instances), _server_places)


_LEVEL = Key(Integer(0, 3), "Messages from 0 (all) over 1 (information) and 2 (warnings) to 3 (errors).", default=2)

SCHEDULER_VARIABLES: Mapping[str, Key] = {
    "mindspore_scheduler_instances": Key(Items(SCHEDULER), "The schedulers of this host.", default=[]),
    "mindspore_scheduler_health_timeout_seconds": Key(
        SECONDS,
        "How long a scheduler may take to answer after a start; its port opens only once Redis answers.",
        default=60,
    ),
    "mindspore_scheduler_ready_seconds": Key(
        Integer(2, 3600),
        "How long C(check) lets the state be anything but ready: while servers come and go it lapses for some seconds.",
        default=40,
    ),
    "mindspore_scheduler_log_level": _LEVEL,
    "mindspore_scheduler_tasks_max": Key(TASKS, "Processes and threads.", default=512),
    "mindspore_scheduler_memory_max": Key(MEMORY, "Memory of each scheduler.", default="4G"),
    "mindspore_scheduler_remove_data": Key(
        Boolean(), "Remove the state directories of absent instances.", default=False
    ),
}
"""All variables of the scheduler's role."""

SERVER_VARIABLES: Mapping[str, Key] = {
    "mindspore_server_instances": Key(Items(SERVER), "The servers of this host.", default=[]),
    "mindspore_server_health_timeout_seconds": Key(
        SECONDS,
        "How long a server may take to answer after a start; it waits for Redis, and for its peers' checkpoints.",
        default=150,
    ),
    "mindspore_server_wait_for_peers_seconds": Key(
        Number(minimum=0, maximum=3600),
        "How long a server without any checkpoint waits for peers it can't ask, before it ends and is started again.",
        default=60,
    ),
    "mindspore_server_exchange_seconds": Key(
        Number(minimum=0.1, maximum=3600),
        "How often a server's exchange asks its peers for newer checkpoints.",
        default=2,
    ),
    "mindspore_server_exchange_memory_max": Key(MEMORY, "Memory of each exchange.", default="4G"),
    "mindspore_server_log_level": _LEVEL,
    "mindspore_server_nofile": Key(
        Integer(1024, 1_073_741_816),
        "The least open files of each server; more where its C(settings.client.connection_num) needs them.",
        default=65535,
    ),
    "mindspore_server_tasks_max": Key(TASKS, "Processes and threads.", default=4096),
    "mindspore_server_memory_max": Key(MEMORY, "Memory of each server.", default="16G"),
    "mindspore_server_remove_data": Key(
        Boolean(), "Remove checkpoints and metrics of absent instances.", default=False
    ),
}
"""All variables of the server's role."""

WORKER_VARIABLES: Mapping[str, Key] = {
    "mindspore_worker_instances": Key(Items(WORKER), "The workers of this host.", default=[]),
    "mindspore_worker_health_timeout_seconds": Key(
        SECONDS, "How long a worker may take from its start until it counts as running.", default=60
    ),
    "mindspore_worker_patience_seconds": Key(
        Number(minimum=1),
        "How long a worker waits without any iteration coming about, before it ends and is started again.",
        default=3600,
    ),
    "mindspore_worker_log_level": _LEVEL,
    "mindspore_worker_tasks_max": Key(TASKS, "Processes and threads.", default=4096),
    "mindspore_worker_memory_max": Key(MEMORY, "Memory of each worker.", default="64G"),
    "mindspore_worker_cpu_quota": Key(
        Text(min_length=0, pattern=r"(?:[1-9][0-9]*%)?", pattern_name="a part such as 150%, or empty"),
        "Part of the host's processors a worker may use, such as 150% for one and a half; empty for all.",
        default="",
    ),
    "mindspore_worker_remove_data": Key(Boolean(), "Remove the results of absent instances.", default=False),
}
"""All variables of the worker's role."""

_PACKAGES = Items(Text())

SHARED_VARIABLES: Mapping[str, Key] = {
    "shared_mindspore_instances": Key(
        Items(Anything()),
        "The instances of the including role, checked by it; what they say of their runtime decides what is brought.",
        default=[],
    ),
    "shared_mindspore_python_packages": Key(
        _PACKAGES,
        "Packages for the Python source V(system), which only Debian 11 has; C(NAME=VERSION) pins.",
        default=["python3.9", "python3.9-venv", "libpython3.9"],
    ),
    "shared_mindspore_archive_packages": Key(
        _PACKAGES, "What a Python from an archive is linked against; depends on who built it.", default=[]
    ),
    "shared_mindspore_full_packages": Key(
        _PACKAGES, "What MindSpore itself (flavour V(full)) is linked against.", default=["libgomp1"]
    ),
}
"""All variables of what the three roles share."""


WITHOUT_PYTHON = (
    "only Debian 11 has the Python 3.9 that MindSpore Federated needs: elsewhere bring one "
    "(runtime: {python: {source: archive}}), or name one that is there (source: path)"
)


def _packages(instances: str) -> Callable[[Mapping[str, Any]], dict[str, list[Any]]]:
    """What the present instances of a list variable need of the distribution, by their runtimes."""

    def packages(values: Mapping[str, Any]) -> dict[str, list[Any]]:
        runtimes = [one.get("runtime") or {} for one in values[instances] if is_present(one)]
        sources = {(runtime.get("python") or {}).get("source", "system") for runtime in runtimes}
        flavours = {runtime.get("flavour", "light") for runtime in runtimes}
        asked = {
            "shared_mindspore_python_packages": "system" in sources,
            "shared_mindspore_archive_packages": "archive" in sources,
            "shared_mindspore_full_packages": "full" in flavours,
        }
        otherwise = [{"package": name, "text": WITHOUT_PYTHON} for name in values["shared_mindspore_python_packages"]]
        names = [name for variable, wanted in asked.items() if wanted for name in values[variable]]
        return {"names": names, "otherwise": otherwise if "system" in sources else []}

    return packages


ROLES = {
    "mindspore_scheduler": SCHEDULER_VARIABLES,
    "mindspore_server": SERVER_VARIABLES,
    "mindspore_worker": WORKER_VARIABLES,
    "shared_mindspore": SHARED_VARIABLES,
}
INSTANCES = {
    "mindspore_scheduler_instances": check_schedulers,
    "mindspore_server_instances": check_servers,
    "mindspore_worker_instances": check_workers,
}
LISTENING = {
    "mindspore_scheduler_instances": scheduler_listening,
    "mindspore_server_instances": server_listening,
}
PACKAGES = {
    role: _packages(f"{role}_instances")
    for role in ("mindspore_scheduler", "mindspore_server", "mindspore_worker", "shared_mindspore")
}
