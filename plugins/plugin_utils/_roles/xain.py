# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the xain roles take: coordinator, aggregator, participant, and what they share.

``settings`` and ``runtime`` are the kind's own types, so a role takes what a document takes. But for paths: a document
names files beside it, a role files anywhere on the control node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .._federation import network
from .._federation.kinds.xain.placements import BUCKET, GENERATIONS, MODEL_ARCHIVE, OUR_CLASS
from .._federation.kinds.xain.settings import SECTIONS
from .._federation.model import Path
from .._federation.python_programs import application_artifact, runtime
from .._federation.schema import (
    PORT,
    Anything,
    Boolean,
    Choice,
    Integer,
    Items,
    Key,
    OneOf,
    Rule,
    Section,
    Text,
    check_values,
)
from .applications import ARCHIVE, application
from .building import cargo_variables
from .checking import (
    CONTROL_FILE,
    FILE,
    IDENTITY,
    MEMORY,
    SECONDS,
    TASKS,
    check_instances,
    is_loopback,
    is_present,
)
from .listening import Place, one_owner, services

Breaches = list[tuple[Path, str]]
Instance = dict[str, Any]

_MEGABYTES = Integer(1, 1_048_576)

_STORAGE = Section(
    {
        "endpoint": Key(Text(format="origin"), "Where it is.", required=True),
        "bucket": Key(BUCKET, "The bucket.", required=True),
        "user": Key(Text(max_length=128), "The login, which S3 calls an access key.", required=True),
        "secret": Key(Text(format="secret"), "Name of the secret that is its password.", required=True),
    }
)


def _is_own(host: str) -> bool:
    """Whether a name or an address is the host's own."""
    return host == "localhost" or (network.is_numeric(host) and is_loopback(host))


def _in_the_clear(values: Mapping[str, Any]) -> Breaches:
    """Weights and signed requests go in the clear on a host only."""
    if "storage" not in values:
        return []
    endpoint = values["storage"]["endpoint"]
    url = network.parse_url(endpoint)
    if url.scheme == "https" or _is_own(url.host):
        return []
    return [(("storage", "endpoint"), f"'{endpoint}' is another host's, and without https all can be read on the way")]


_USED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "coordinator": {
        "storage": ("python", "pet"),
        "ca": ("python", "pet"),
        "redis": ("pet",),
        "program": ("pet", "poc"),
        "rpc": ("poc",),
        "aggregator_url": ("poc",),
    },
    "participant": {
        "storage": ("python",),
        "tls": ("python", "poc"),
        "ca": ("python",),
        "training": ("python", "poc"),
    },
}
"""Keys of an instance that some generations have no use for, and those that do."""

_NEEDED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "coordinator": {"python": ("storage",), "pet": ("storage", "redis"), "poc": ("rpc", "aggregator_url")},
    "participant": {"python": ("storage",)},
}


def _either(generations: tuple[str, ...]) -> str:
    return " or ".join(f"'{name}'" for name in generations)


def _generations(role: str) -> Rule:
    """An instance has what its generation needs, and nothing that it has no use for."""

    def check(values: Mapping[str, Any]) -> Breaches:
        own = values["generation"]
        unused = [
            ((key,), f"is for the generation {_either(generations)}, and this is '{own}'")
            for key, generations in _USED[role].items()
            if own not in generations and key in values
        ]
        missing = [
            ((key,), f"is missing: the generation '{own}' needs it")
            for key in _NEEDED[role].get(own, ())
            if key not in values
        ]
        return [*unused, *missing]

    return Rule("What an instance has is for its generation.", check)


_COMMON: Mapping[str, Key] = {
    **IDENTITY,
    "generation": Key(Choice(GENERATIONS), "Which of xain's programs.", default="python"),
    "runtime": runtime(CONTROL_FILE),
    "storage": Key(
        _STORAGE, "The bucket with weights and models; V(poc) has none, and participants of V(pet) reach none."
    ),
    "ca": Key(FILE, "CA of the storage's certificate; without it those that the host trusts."),
}


def _beyond_loopback(values: Mapping[str, Any]) -> Breaches:
    address = values["listen"]["address"]
    if is_loopback(address):
        return []
    message = f"'{address}' is reached by others, and the program asks nobody who they are: 127.0.0.1, behind nginx"
    return [(("listen", "address"), message)]


def _tokens_in_the_clear(values: Mapping[str, Any]) -> Breaches:
    """Tokens and weights go in the clear on a host only."""
    url = values.get("aggregator_url", "")
    if not url or network.parse_url(url).scheme == "https" or _is_own(network.parse_url(url).host):
        return []
    return [(("aggregator_url",), f"'{url}' is another host's, and without https all can be read on the way")]


def _by_generation(values: Mapping[str, Any]) -> Breaches:
    """The settings are those of the generation's program."""
    _checked, mistakes = check_values(SECTIONS[values["generation"]], values["settings"])
    return [(("settings", *(step for step in one.path.split(".") if step)), one.message) for one in mistakes]


def _redis_elsewhere(values: Mapping[str, Any]) -> Breaches:
    address = values.get("redis", {}).get("address", "127.0.0.1")
    if is_loopback(address):
        return []
    return [(("redis", "address"), f"'{address}' is another host's, and the program speaks to its Redis in the clear")]


_REDIS = Section(
    {
        "address": Key(Text(format="address"), "On loopback.", default="127.0.0.1"),
        "port": Key(PORT, "Port.", default=6379),
        "user": Key(Text(max_length=63), "The login.", required=True),
        "secret": Key(Text(format="secret"), "Name of the secret that is its password.", required=True),
    }
)

_PROGRAM = Key(
    ARCHIVE,
    "An archive with the program at its top: of V(pet) C(coordinator), xaynet-server with the feature "
    "model-persistence; of V(poc) what a control node has built, C(coordinator), C(aggregator) and C(python). Without "
    "it the control node builds one.",
)


def _listen(port: int) -> Key:
    section = {
        "address": Key(Text(format="address"), "On loopback.", default="127.0.0.1"),
        "port": Key(PORT, "Port.", default=port),
    }
    return Key(Section(section), "Where nginx on the same host reaches it.", default={})


def _rpc(own: int, peer: str, its: int) -> Section:
    """Both programs of ``poc`` on loopback; where they are on two hosts, proxies lead there."""
    return Section(
        {
            "port": Key(PORT, "Where it listens on loopback for the other.", default=own),
            peer: Key(PORT, "Where the other is on loopback.", default=its),
        },
        rules=(
            Rule(
                "Both have a port of their own.",
                lambda values: (
                    [((peer,), f"{values[peer]} is its own port, too")] if values["port"] == values[peer] else []
                ),
            ),
        ),
    )


COORDINATOR = Section(
    {
        **_COMMON,
        "redis": Key(_REDIS, "Of V(pet): its own Redis, which nobody else uses."),
        "program": _PROGRAM,
        "rpc": Key(
            _rpc(5555, "aggregator_port", 6666),
            "Of V(poc): how both programs reach each other.",
        ),
        "aggregator_url": Key(
            Text(format="origin"), "Of V(poc): where participants reach the aggregator, by which it hands them on."
        ),
        "memory_max": Key(MEMORY, "Memory of this one, where it isn't C(xain_coordinator_memory_max)."),
        "listen": _listen(50050),
        "settings": Key(Anything(), "The program's configuration: docs/federation.md lists it.", required=True),
    },
    rules=(
        _generations("coordinator"),
        Rule("Settings are those of the generation.", _by_generation),
        Rule("It listens on loopback.", _beyond_loopback),
        Rule("Its Redis is on its host.", _redis_elsewhere),
        Rule("Participants are led to an encrypted place.", _tokens_in_the_clear),
        Rule("Weights travel encrypted.", _in_the_clear),
    ),
)


def _settings_of_poc(values: Mapping[str, Any]) -> Breaches:
    return _by_generation({**values, "generation": "poc"})


AGGREGATOR = Section(
    {
        **IDENTITY,
        "generation": Key(Choice(("poc",)), "The one that has aggregators.", default="poc"),
        "runtime": _COMMON["runtime"],
        "program": _PROGRAM,
        "python_class": Key(
            Text(format="callable"), "The class that aggregates, made without arguments.", default=OUR_CLASS
        ),
        "class_artifact": application_artifact(CONTROL_FILE, ARCHIVE),
        "rpc": Key(_rpc(6666, "coordinator_port", 5555), "How both programs reach each other.", default={}),
        "listen": _listen(50052),
        "keep_models": Key(Integer(0, 10_000), "How many global models are kept as files.", default=3),
        "model_archive": MODEL_ARCHIVE,
        "memory_max": Key(MEMORY, "Memory of this one, where it isn't C(xain_aggregator_memory_max)."),
        "settings": Key(Anything(), "The programs' configuration: docs/federation.md lists it.", required=True),
    },
    rules=(
        Rule("Settings are those of the generation.", _settings_of_poc),
        Rule("It listens on loopback.", _beyond_loopback),
    ),
)


_TLS = Section(
    {
        "ca": Key(FILE, "CA of the coordinator's certificate.", required=True),
        "certificate": Key(FILE, "Certificate to show, then intermediates."),
        "key": Key(FILE, "Its key; only root needs to read it."),
    },
    rules=(
        Rule(
            "A certificate has its key.",
            lambda values: (
                [((), "'certificate' and 'key' go together")] if ("certificate" in values) != ("key" in values) else []
            ),
        ),
    ),
)


def _plain(values: Mapping[str, Any]) -> Breaches:
    host = values["coordinator"]["host"]
    if _is_own(host):
        return []
    if values["generation"] == "pet":
        message = f"'{host}' is another host, and the SDK trusts the world's CAs only: nginx on this one leads there"
        return [(("coordinator", "host"), message)]
    if "tls" in values:
        return []
    return [(("tls",), f"is missing: '{host}' is another host, and the SDK by itself speaks in the clear")]


PARTICIPANT = Section(
    {
        **_COMMON,
        "application": application(
            "`make(settings)`, such as a class: returns a C(Participant) of xain-sdk, or a C(ParticipantABC) of "
            "xaynet_sdk for V(pet), of xain-sdk for V(poc).",
            "What it is given",
        ),
        "training": Key(
            Anything(),
            "What makes the training another than the last, such as its rounds, JSON data: who has finished that takes "
            "part in this.",
        ),
        "coordinator": Key(
            Section(
                {
                    "host": Key(
                        OneOf((Text(format="address"), Text(format="dns_name"))), "Address or name.", required=True
                    ),
                    "port": Key(PORT, "Port.", default=443),
                }
            ),
            "Where it connects.",
            required=True,
        ),
        "tls": Key(_TLS, "Speak TLS; without it plain, on loopback."),
        "max_model_size": Key(_MEGABYTES, "The largest global model it takes.", default=200, unit="MB"),
        "log_level": Key(
            Choice(("notset", "debug", "info", "warning", "error", "critical")), "What is logged.", default="info"
        ),
        "heartbeat_seconds": Key(
            Integer(1, 3600), "How often it sends a heartbeat, and so asks for its turn.", default=10, unit="s"
        ),
    },
    rules=(
        _generations("participant"),
        Rule("It connects over TLS, unless on its host.", _plain),
        Rule("Weights travel encrypted.", _in_the_clear),
    ),
)


def _places(instance: Mapping[str, Any]) -> list[Place]:
    listen = [Place(instance["listen"]["address"], instance["listen"]["port"], key=("listen", "port"))]
    if instance["generation"] != "poc":
        return listen
    return [*listen, Place("127.0.0.1", instance["rpc"]["port"], key=("rpc", "port"))]


def check_coordinators(instances: Any) -> list[Instance]:
    """``xain_coordinator_instances`` with defaults. Raises RoleValueError."""
    rules = (one_owner(_places),)
    checked = check_instances("xain_coordinator_instances", instances, COORDINATOR, rules)
    return [_complete(instance) if is_present(instance) else instance for instance in checked]


def _complete(instance: Instance) -> Instance:
    """With the defaults of its generation's settings."""
    settings, _mistakes = check_values(SECTIONS[instance["generation"]], instance["settings"])
    return {**instance, "settings": settings}


def check_aggregators(instances: Any) -> list[Instance]:
    """``xain_aggregator_instances`` with defaults. Raises RoleValueError."""
    checked = check_instances("xain_aggregator_instances", instances, AGGREGATOR, (one_owner(_places),))
    return [_complete(instance) if is_present(instance) else instance for instance in checked]


def check_participants(instances: Any) -> list[Instance]:
    """``xain_participant_instances`` with defaults. Raises RoleValueError."""
    return check_instances("xain_participant_instances", instances, PARTICIPANT)


def coordinators_listening(instances: Any) -> list[Instance]:
    """The ports that present coordinators are to have, as the preflight module takes them. Raises RoleValueError."""
    return services(check_coordinators(instances), _places)


def aggregators_listening(instances: Any) -> list[Instance]:
    """The ports that present aggregators are to have, as the preflight module takes them. Raises RoleValueError."""
    return services(check_aggregators(instances), _places)


COORDINATOR_VARIABLES: Mapping[str, Key] = {
    "xain_coordinator_instances": Key(Items(COORDINATOR), "The coordinators of this host.", default=[]),
    "xain_coordinator_health_timeout_seconds": Key(
        SECONDS, "How long a coordinator may take to answer after a start.", default=60
    ),
    "xain_coordinator_tasks_max": Key(TASKS, "Processes and threads.", default=512),
    "xain_coordinator_memory_max": Key(MEMORY, "Memory of each coordinator.", default="4G"),
    "xain_coordinator_disrupt": Key(
        Text(min_length=0),
        "The stack, or without one the instance, whose coordinator is restarted or goes though a training is under "
        "way, which is lost; of V(pet) what is lost is the last global model, where settings change that it is made "
        "by.",
        default="{{ fedlearn_disrupt | default('', true) }}",
    ),
    "xain_coordinator_remove_data": Key(
        Boolean(), "Accepted as by every role: models are in the storage.", default=False
    ),
}
"""All variables of the coordinator's role."""

AGGREGATOR_VARIABLES: Mapping[str, Key] = {
    "xain_aggregator_instances": Key(Items(AGGREGATOR), "The aggregators of this host.", default=[]),
    "xain_aggregator_health_timeout_seconds": Key(
        SECONDS, "How long an aggregator that is restarted may take to answer.", default=60
    ),
    "xain_aggregator_tasks_max": Key(TASKS, "Processes and threads.", default=512),
    "xain_aggregator_memory_max": Key(MEMORY, "Memory of each aggregator.", default="4G"),
    "xain_aggregator_disrupt": Key(
        Text(min_length=0),
        "The stack, or without one the instance, whose aggregator is restarted or goes though a training is under way, "
        "whose model is lost to participants.",
        default="{{ fedlearn_disrupt | default('', true) }}",
    ),
    "xain_aggregator_remove_data": Key(Boolean(), "Remove the kept models of absent instances.", default=False),
}
"""All variables of the aggregator's role."""

PARTICIPANT_VARIABLES: Mapping[str, Key] = {
    "xain_participant_instances": Key(Items(PARTICIPANT), "The participants of this host.", default=[]),
    "xain_participant_health_timeout_seconds": Key(SECONDS, "How long a participant may take to start.", default=60),
    "xain_participant_tasks_max": Key(TASKS, "Processes and threads.", default=4096),
    "xain_participant_memory_max": Key(MEMORY, "Memory of each participant.", default="16G"),
    "xain_participant_remove_data": Key(Boolean(), "Remove results of absent instances.", default=False),
}
"""All variables of the participant's role."""

SHARED_VARIABLES: Mapping[str, Key] = {
    "shared_xain_instances": Key(
        Items(Anything()),
        "The instances of the including role, checked by it; what they say of runtime and application decides what is "
        "brought.",
        default=[],
    ),
    "shared_xain_packages": Key(
        Items(Text()),
        "What environments are made with; C(NAME=VERSION) pins.",
        default=["python3", "python3-venv"],
    ),
    **cargo_variables(
        "shared_xain",
        rust="1.95",
        needs="for V(pet) a C compiler, make, pkg-config, OpenSSL 3 and its headers, for V(poc) mmdebstrap and root",
    ),
}
"""All variables of what the roles share."""


def _packages(instances: str) -> Callable[[Mapping[str, Any]], dict[str, list[Any]]]:
    """What the present instances of a list variable need of the distribution: none with a Python of their own."""

    def packages(values: Mapping[str, Any]) -> dict[str, list[Any]]:
        runtimes = [one.get("runtime") or {} for one in values[instances] if is_present(one)]
        ours = any(runtime.get("python", "/usr/bin/python3") == "/usr/bin/python3" for runtime in runtimes)
        return {"names": values["shared_xain_packages"] if ours else []}

    return packages


ROLES = {
    "xain_coordinator": COORDINATOR_VARIABLES,
    "xain_aggregator": AGGREGATOR_VARIABLES,
    "xain_participant": PARTICIPANT_VARIABLES,
    "shared_xain": SHARED_VARIABLES,
}
INSTANCES = {
    "xain_coordinator_instances": check_coordinators,
    "xain_aggregator_instances": check_aggregators,
    "xain_participant_instances": check_participants,
}
LISTENING = {
    "xain_coordinator_instances": coordinators_listening,
    "xain_aggregator_instances": aggregators_listening,
}
PACKAGES = {
    role: _packages(f"{role}_instances")
    for role in ("xain_coordinator", "xain_aggregator", "xain_participant", "shared_xain")
}
