# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The configuration of the Rust proof of concept, xain-fl 0.8, of the generation ``poc``: every key of both programs.

They take some of it silently: keys they don't know, a number of rounds that is none or stands in quotes, a ratio by
which nobody is ever selected. That is refused here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...schema import Integer, Key, Number, Rule, Section, Text
from .derived_keys import Breaches, derived

_COORDINATOR = "xain-fl 0.8.0, src/coordinator/settings.rs"
_AGGREGATOR = "xain-fl 0.8.0, src/aggregator/settings.rs"
_LOGS = "xain-fl 0.8.0, src/common/settings.rs"
_OURS = "bounds what anybody may send, and what a model may take"

MOST_ROUNDS = 4_294_967_295
"""The program counts in 32 bits."""

HEARTBEATS = 3
"""So many participants of ours send before they would be taken for gone, each second at most."""

SURE_HEARTBEATS = HEARTBEATS - 1.5
"""As long the coordinator is sure to know one that has gone (`KNOWN_HEARTBEATS` of its launcher), when that was just
before its next one.
"""

RESTART_SECONDS = 4
"""In which one of ours is there again on a busy host, however long its application takes: a second (`RestartSec` of its
unit), and three to start.
"""


def _of_coordinator(type_: Any, doc: str, default: Any = None, unit: str = "", *, required: bool = False) -> Key:
    return Key(type_, doc, default=default, unit=unit, required=required, source=_COORDINATOR)


def least_participants(settings: Mapping[str, Any]) -> int:
    """How many take part in a round at least, as the program reckons it."""
    learning = settings["federated_learning"]
    return int(learning["participants_ratio"] * learning["min_clients"])


def _nobody(values: Mapping[str, Any]) -> Breaches:
    """The program rounds down, and then selects nobody for ever."""
    if least_participants({"federated_learning": values}):
        return []
    ratio, clients = values["participants_ratio"], values["min_clients"]
    return [(("participants_ratio",), f"{ratio} of min_clients, {clients}, is nobody: no round would ever begin")]


_LEARNING = Section(
    {
        "rounds": _of_coordinator(Integer(1, MOST_ROUNDS), "Rounds of a training.", default=10),
        "participants_ratio": _of_coordinator(
            Number(above=0, maximum=1),
            "The fraction of those that are there who are selected for a round.",
            default=1.0,
        ),
        "min_clients": _of_coordinator(
            Integer(1, 1_000_000), "How many have to be there before some are selected.", default=1
        ),
        "heartbeat_timeout": _of_coordinator(
            Integer(HEARTBEATS, 86_400),
            "A participant that hasn't sent a heartbeat for so long is taken for gone. Ours send one each third of it, "
            "in whole seconds; others' have to wait less between two.",
            default=15,
            unit="s",
        ),
    },
    rules=(Rule("Somebody is selected.", _nobody),),
)

_DERIVED, _DERIVED_RULE = derived(
    _COORDINATOR, {"aggregator_url": "follows from `aggregator`, where nginx lets participants in"}
)
_API_KEYS, _API_RULE = derived(
    _COORDINATOR, {"bind_address": "follows from `program_port` of each placement, on loopback, behind nginx"}
)
_RPC_KEYS, _RPC_RULE = derived(
    _COORDINATOR,
    {
        "bind_address": "follows from `rpc_port`, on loopback",
        "aggregator_address": "follows from `aggregator.rpc_port`, on loopback",
        "coordinator_address": "follows from `coordinator.rpc_port`, on loopback",
    },
)
_STORE_KEYS, _STORE_RULE = derived(
    _COORDINATOR,
    {
        "database_url": "is read by no program that is built without `influx_metrics`, as these are",
        "database_name": "is read by no program that is built without `influx_metrics`, as these are",
    },
)
_PYTHON_KEYS, _PYTHON_RULE = derived(
    _AGGREGATOR,
    {
        "module": "follows from `aggregator.python_class`",
        "class": "follows from `aggregator.python_class`",
    },
)
_TELEMETRY_KEYS, _TELEMETRY_RULE = derived(
    _LOGS, {"telemetry": "is read by no program that is built without `telemetry`, as these are"}
)


SETTINGS = Section(
    {
        **_DERIVED,
        "federated_learning": _of_coordinator(_LEARNING, "The training.", default={}),
        "logging": Key(
            Section(
                {
                    **_TELEMETRY_KEYS,
                    "filter": Key(
                        Text(
                            pattern=r"(?:(?:xain_fl(?:::[a-z_]+)*=)?(?:error|warn|info|debug|trace)(?:,(?!$)|$))+",
                            pattern_name="a level such as info, or of parts such as info,xain_fl::coordinator=debug",
                        ),
                        "What both programs log; parts of them that log tokens are always silent.",
                        default="info",
                        source=_LOGS,
                    ),
                },
                rules=(_TELEMETRY_RULE,),
            ),
            "Logs, in the journal.",
            default={},
            source=_LOGS,
        ),
        "api": _of_coordinator(Section(_API_KEYS, rules=(_API_RULE,)), "The servers of HTTP; all of it is derived."),
        "rpc": _of_coordinator(
            Section(_RPC_KEYS, rules=(_RPC_RULE,)), "How both programs reach each other; all of it is derived."
        ),
        "metric_store": _of_coordinator(Section(_STORE_KEYS, rules=(_STORE_RULE,)), "Where figures would go."),
        "aggregation": Key(
            Section(
                {
                    "python": Key(
                        Section(_PYTHON_KEYS, rules=(_PYTHON_RULE,)), "The class that aggregates.", source=_AGGREGATOR
                    )
                }
            ),
            "Who aggregates; all of it is derived.",
            source=_AGGREGATOR,
        ),
        "max_model_size": Key(
            Integer(1, 1_048_576), "The largest model that is sent or made.", default=200, source=_OURS, unit="MB"
        ),
    },
    rules=(_DERIVED_RULE,),
    hint="generation 'poc' has federated_learning, logging and max_model_size",
)

LEAST_MEMORY_MB = 512
MODELS_IN_MEMORY = 13
"""How many times a model's size the aggregator may have of two participants that send at once. Of 50 MB 7 were seen in
numbers of eight bytes, and of those of two bytes, whose sums have eight, 10, or 12 where one sent another kind; one
more is there while weights are parted from whose they are."""

OF_EACH_OTHER = 2
"""How many more of each other one: of 4 participants 14 were seen in all, and 35 of 15."""


def memory_mb(settings: Mapping[str, Any], expected: int, *, keeps: bool) -> int:
    """What the aggregator is allowed, in MB, when all send at once, to a class that ``keeps`` what they sent or not."""
    others = max(0, expected - 2, int(settings["federated_learning"]["min_clients"]) - 2)
    models = MODELS_IN_MEMORY + (OF_EACH_OTHER + keeps) * others
    return LEAST_MEMORY_MB + models * int(settings["max_model_size"])


def program_configuration(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of complete settings those that aren't derived."""
    return {name: settings[name] for name in ("federated_learning", "logging", "max_model_size")}


def heartbeat_seconds(settings: Mapping[str, Any]) -> int:
    """Some in the time after which a participant is taken for gone."""
    return int(settings["federated_learning"]["heartbeat_timeout"]) // HEARTBEATS


def too_short(settings: Mapping[str, Any]) -> str:
    """Why a restart of a participant may lose a training; empty where it doesn't."""
    sure = math.floor(SURE_HEARTBEATS * heartbeat_seconds(settings))
    if sure >= RESTART_SECONDS:
        return ""
    least = HEARTBEATS * math.ceil(RESTART_SECONDS / SURE_HEARTBEATS)
    return (
        f"a participant that is restarted, such as for a new certificate, may be known for {sure} s only, and "
        f"takes up to {RESTART_SECONDS} s: the training may be lost by it; {least} s are enough"
    )


def too_few(settings: Mapping[str, Any], there: int) -> str:
    """Why no round begins with as many participants; empty when it does."""
    needed = settings["federated_learning"]["min_clients"]
    if there >= needed:
        return ""
    return (
        f"a round begins when {needed} participants are there (federated_learning.min_clients), and {there} are "
        "placed or named: say how many there will be by `expected`"
    )
