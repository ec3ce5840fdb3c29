# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""xain-fl's own configuration, of the generation ``python``: every key, its type and range, and the rules across keys.

The program takes some of it silently: text for a boolean, ports that are none, participants that are taken for gone
before their next heartbeat. That is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...schema import Boolean, Choice, Integer, Key, Number, OneOf, Rule, Section, Table, Text
from .derived_keys import Breaches, derived

_PROGRAM = "xain-fl 0.6.0, xain_fl/config/schema.py"
_OURS = "bounds what anybody may send"

SDK_HEARTBEAT_SECONDS = 10
"""xain-sdk's participants send a heartbeat as often, and nobody can tell them otherwise."""

_SECONDS = Integer(1, 86_400)


def _key(type_: Any, doc: str, default: Any = None, unit: str = "") -> Key:
    return Key(type_, doc, default=default, unit=unit, source=_PROGRAM)


def _heartbeats(values: Mapping[str, Any]) -> Breaches:
    whole = values["heartbeat_time"] + values["heartbeat_timeout"]
    if whole > SDK_HEARTBEAT_SECONDS:
        return []
    message = (
        f"together with heartbeat_time it is {whole} s, and participants send a heartbeat each "
        f"{SDK_HEARTBEAT_SECONDS} s: each would be taken for gone before its next one"
    )
    return [(("heartbeat_timeout",), message)]


_SERVER_DERIVED, _SERVER_RULE = derived(
    _PROGRAM,
    {
        "host": "listens on loopback, behind nginx",
        "port": "follows from `coordinator.program_port`",
    },
)

_SERVER = Section(
    {
        **_SERVER_DERIVED,
        "grpc_options": _key(
            Table(
                Text(pattern=r"grpc\.[a-z0-9_.]+", pattern_name="the name of an option of gRPC, grpc.NAME"),
                OneOf((Integer(-1, 2_147_483_647), Text())),
            ),
            "gRPC's own options. Weights don't travel by it, so messages are small.",
            default={},
        ),
        "thread_pool_workers": _key(Integer(1, 10_000), "Requests that are worked on at once.", default=10),
        "heartbeat_time": _key(_SECONDS, "How often participants send a heartbeat.", default=10, unit="s"),
        "heartbeat_timeout": _key(_SECONDS, "How much later it may come.", default=5, unit="s"),
    },
    rules=(
        _SERVER_RULE,
        Rule("Who sends heartbeats as the SDK does isn't taken for gone.", _heartbeats),
    ),
)

_AI = Section(
    {
        "rounds": Key(
            Integer(1, 1_000_000),
            "Rounds of a training, the first of which only makes the initial model.",
            required=True,
            source=_PROGRAM,
        ),
        "epochs": _key(Integer(0, 1_000_000), "Epochs that participants train in each round.", default=1),
        "min_participants": _key(Integer(1, 100_000), "How many are selected for a round.", default=1),
        "fraction_participants": _key(
            Number(above=0, maximum=1),
            "Of those that are there: so many have to be there that this fraction of them is `min_participants`.",
            default=1.0,
        ),
    }
)

_STORAGE_DERIVED, _STORAGE_RULE = derived(
    _PROGRAM,
    {
        "endpoint": "follows from `storage`",
        "bucket": "follows from `storage.bucket`",
        "access_key_id": "is the coordinator's own login",
        "secret_access_key": "is a secret, which no document holds",
    },
)

_LOGGING = Section(
    {
        "level": _key(
            Choice(("notset", "debug", "info", "warning", "error", "critical")), "What is logged.", default="info"
        ),
        "console": _key(Boolean(), "Lines to read, instead of JSON.", default=False),
        "third_party": _key(Boolean(), "Also what libraries log, such as boto's.", default=False),
    }
)


def _metrics(values: Mapping[str, Any]) -> Breaches:
    if values["enable"] and "password" not in values:
        return [(("password",), "is missing: the name of the secret that is the password of `user`")]
    return []


_METRICS = Section(
    {
        "enable": _key(
            Boolean(), "Write figures into an InfluxDB 1.x, which is somebody else's to run.", default=False
        ),
        "host": _key(
            Choice(("127.0.0.1", "localhost")),
            "On the coordinator's host, since the program does no TLS towards it; a `tunnel` there may lead further.",
            default="127.0.0.1",
        ),
        "port": _key(Integer(1, 65535), "Its port.", default=8086),
        "user": _key(Text(max_length=128), "The user.", default="root"),
        "password": _key(Text(format="secret"), "Name of the secret that is its password."),
        "db_name": _key(Text(max_length=128), "The database.", default="metrics"),
    },
    rules=(Rule("Who writes figures has a password.", _metrics),),
)

SETTINGS = Section(
    {
        "server": _key(_SERVER, "The server of gRPC.", default={}),
        "ai": Key(_AI, "The training.", required=True, source=_PROGRAM),
        "storage": _key(Section(_STORAGE_DERIVED, rules=(_STORAGE_RULE,)), "The bucket; all of it is derived."),
        "logging": _key(_LOGGING, "Logs, in the journal.", default={}),
        "metrics": _key(_METRICS, "Figures.", default={}),
        "max_model_size": Key(
            Integer(1, 1_048_576),
            "The largest weights that are read from the bucket.",
            default=200,
            source=_OURS,
            unit="MB",
        ),
    },
    hint="generation 'python' has server, ai, storage, logging, metrics and max_model_size",
)


def participants_needed(settings: Mapping[str, Any]) -> int:
    """How many have to be there before a training begins, as the program reckons it."""
    return int(settings["ai"]["min_participants"] // settings["ai"]["fraction_participants"])


def too_few(settings: Mapping[str, Any], there: int) -> str:
    """Why a training never begins with as many participants; empty when it does."""
    needed = participants_needed(settings)
    if there >= needed:
        return ""
    return (
        f"a training begins when {needed} participants are there (ai.min_participants of "
        f"ai.fraction_participants), and {there} are placed or named: say how many there will be by `expected`"
    )


def program_configuration(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of complete settings the program's own sections that aren't derived."""
    return {name: dict(settings[name]) for name in ("server", "ai", "logging", "metrics")}
