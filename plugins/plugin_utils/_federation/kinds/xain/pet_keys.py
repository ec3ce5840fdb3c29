# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""xaynet-server's own configuration, of the generation ``pet``: every key, its type and range, and rules across keys.

The program takes some of it silently: keys it doesn't know, a model without weights, phases that end as they begin,
more updates than the mask bears, masks that are larger than what Redis keeps. That is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...schema import Boolean, Choice, Integer, Key, Number, Rule, Section, Text
from .derived_keys import Breaches, derived

_PROGRAM = "xaynet-server 0.2.0, src/settings/mod.rs"
_STORE = "xaynet-server 0.2.0, src/settings/s3.rs"

LARGEST_MASK = 512 << 20
"""Bytes that Redis takes for one value, and so for one mask."""

_COUNT = 1_000_000_000
_SECONDS = 31_536_000
_PHASES = {"sum": 1, "update": 3, "sum2": 1}
"""The phases of a round, each with the fewest participants that the protocol takes."""


def _key(type_: Any, doc: str, default: Any = None, unit: str = "", *, required: bool = False) -> Key:
    return Key(type_, doc, default=default, unit=unit, required=required, source=_PROGRAM)


_API_KEYS, _API_RULE = derived(
    _PROGRAM,
    {
        "bind_address": "follows from `coordinator.program_port`, on loopback, behind nginx",
        "tls_certificate": "is nginx that speaks TLS",
        "tls_key": "is nginx that speaks TLS",
        "tls_client_auth": "is nginx that asks for certificates; the program reads the key and asks nobody",
    },
)

_MIN_DOC = {
    "sum": "The fewest that make the keys which masks travel by.",
    "update": "The fewest whose models are aggregated.",
    "sum2": "The fewest that add up masks.",
}
_MAX_DOC = {
    "sum": "The most of them.",
    "update": "The most of them; not more than the mask bears.",
    "sum2": "The most of them.",
}
_MAX = {"sum": 100, "update": 1000, "sum2": 100}
_MIN_SECONDS = {"sum": 5, "update": 10, "sum2": 5}


def _phase(phase: str) -> dict[str, Key]:
    least = _PHASES[phase]
    return {
        f"min_{phase}_count": _key(Integer(least, _COUNT), _MIN_DOC[phase], default=least),
        f"max_{phase}_count": _key(Integer(least, _COUNT), _MAX_DOC[phase], default=_MAX[phase]),
        f"min_{phase}_time": _key(
            Integer(0, _SECONDS), "How long more than these may come.", default=_MIN_SECONDS[phase], unit="s"
        ),
        f"max_{phase}_time": _key(
            Integer(1, _SECONDS), "How long until a round without enough of them is given up.", default=3600, unit="s"
        ),
    }


def _ordered(values: Mapping[str, Any]) -> Breaches:
    """Of each phase the least is no more than the most."""
    pairs = [(f"min_{phase}_{what}", f"max_{phase}_{what}") for what in ("count", "time") for phase in _PHASES]
    pairs += [("min_sum2_count", "max_sum_count"), ("max_sum2_count", "max_sum_count")]
    return [
        ((lower,), f"{values[lower]} is more than {upper}, {values[upper]}")
        for lower, upper in pairs
        if values[lower] > values[upper]
    ]


def _starving(values: Mapping[str, Any]) -> Breaches:
    """As the program reckons it, in the same order: with some fractions 1.0000000000000002 comes out, and it ends."""
    drawn = values["sum"] + values["update"] - values["sum"] * values["update"]
    return [] if 0 < drawn <= 1 else [(("update",), f"with sum the program reckons {drawn}, more than everybody: less")]


_PET = Section(
    {
        **{name: key for phase in _PHASES for name, key in _phase(phase).items()},
        "sum": _key(
            Number(above=0, below=1),
            "The fraction of participants who are drawn to make masks and add them up.",
            required=True,
        ),
        "update": _key(
            Number(above=0, maximum=1), "Of the others, the fraction whose models are aggregated.", required=True
        ),
    },
    rules=(
        Rule("The least is no more than the most.", _ordered),
        Rule("Some are drawn, and not more than there are.", _starving),
    ),
)

_MASK = Section(
    {
        "group_type": _key(Choice(("Integer", "Prime", "Power2")), "The group that masks are of.", default="Prime"),
        "data_type": _key(Choice(("F32", "F64", "I32", "I64")), "The numbers of a model.", required=True),
        "bound_type": _key(
            Choice(("B0", "B2", "B4", "B6", "Bmax")),
            "Weights between -1 and 1, -100 and 100, ten thousand, a million, or whatever the numbers are: what is "
            "beyond is cut off there, silently.",
            required=True,
        ),
        "model_type": _key(
            Choice(("M3", "M6", "M9", "M12")),
            "How many models can be aggregated: a thousand, a million, 10^9, 10^12.",
            default="M3",
        ),
    }
)

_BOUNDS = {"B0": 1, "B2": 100, "B4": 10_000, "B6": 1_000_000}
_LARGEST = {"F32": (2**24 - 1) * 2**104, "F64": (2**53 - 1) * 2**971, "I32": 2**31, "I64": 2**63}
_DIGITS = {"F32": (10, 45), "F64": (20, 324), "I32": (10, 10), "I64": (10, 10)}


def most_models(mask: Mapping[str, Any]) -> int:
    """How many models can be aggregated under a mask."""
    return int("1" + "0" * int(mask["model_type"][1:]))


def bytes_per_weight(mask: Mapping[str, Any]) -> int:
    """How many bytes a masked weight has: a number of the mask's group, whose order follows from the other keys."""
    unbounded = mask["bound_type"] == "Bmax"
    bound = _LARGEST[mask["data_type"]] if unbounded else _BOUNDS[mask["bound_type"]]
    digits = _DIGITS[mask["data_type"]][unbounded]
    # a prime or a power of two that is no less has as many bits
    order = 2 * bound * most_models(mask) * int("1" + "0" * digits)
    return (order.bit_length() + 7) // 8


def mask_bytes(settings: Mapping[str, Any]) -> int:
    """How large a whole mask is, and so a masked model."""
    return int(settings["model"]["length"]) * bytes_per_weight(settings["mask"])


def memory_mb(settings: Mapping[str, Any]) -> int:
    """What a coordinator is allowed, in MB: half as much again as the most that one was seen to have.

    With five participants that was 97 MB for 200,000 weights of 6 bytes, and 415 MB for a million.
    """
    return 256 + int(settings["model"]["length"]) * (400 + 4 * bytes_per_weight(settings["mask"])) * 3 // 2_000_000


_MODEL = Section({"length": _key(Integer(1, _COUNT), "How many weights a model has.", required=True)})

_INFLUX_KEYS, _INFLUX_RULE = derived(
    _PROGRAM,
    {
        "url": "is needed in the file and used by no program that is built without `metrics`, as this one is",
        "db": "is needed in the file and used by no program that is built without `metrics`, as this one is",
    },
)
_REDIS_KEYS, _REDIS_RULE = derived(
    _PROGRAM, {"url": "leads to a Redis of the coordinator's own, on its host: `coordinator.redis_port`"}
)
_BUCKETS_KEYS, _BUCKETS_RULE = derived(_STORE, {"global_models": "follows from `storage.bucket`"})
_S3_KEYS, _S3_RULE = derived(
    _STORE,
    {
        "access_key": "is the coordinator's own login",
        "secret_access_key": "is a secret, which no document holds",
        "region": "follows from `storage`",
    },
)


def _borne(values: Mapping[str, Any]) -> Breaches:
    most, bears = values["pet"]["max_update_count"], most_models(values["mask"])
    if most <= bears:
        return []
    return [(("pet", "max_update_count"), f"{most} is more than the mask's {bears}: mask.model_type says how many")]


def _kept(values: Mapping[str, Any]) -> Breaches:
    size = mask_bytes(values)
    if size <= LARGEST_MASK:
        return []
    each = bytes_per_weight(values["mask"])
    message = f"masks have {size} bytes, {each} for each weight, and Redis keeps {LARGEST_MASK}: fewer, or another mask"
    return [(("model", "length"), message)]


SETTINGS = Section(
    {
        "api": _key(Section(_API_KEYS, rules=(_API_RULE,)), "The server of HTTP; all of it is derived."),
        "pet": _key(_PET, "The protocol: who is drawn, how many are needed, how long it waits.", required=True),
        "mask": _key(_MASK, "How models are masked.", required=True),
        "model": _key(_MODEL, "The model.", required=True),
        "metrics": _key(
            Section(
                {"influxdb": _key(Section(_INFLUX_KEYS, rules=(_INFLUX_RULE,)), "Where figures would go.")},
            ),
            "Figures.",
        ),
        "redis": _key(Section(_REDIS_KEYS, rules=(_REDIS_RULE,)), "The coordinator's Redis; all of it is derived."),
        "log": _key(
            Section(
                {
                    "filter": _key(
                        Text(
                            max_length=1024,
                            pattern=r"[A-Za-z0-9_:=,.\-\[\]{}]+",
                            pattern_name="directives such as info, or xaynet_server=debug,http=warn,info",
                        ),
                        "What is logged.",
                        default="info",
                    )
                }
            ),
            "Logs, in the journal.",
            default={},
        ),
        "s3": Key(
            Section(
                {
                    **_S3_KEYS,
                    "buckets": Key(Section(_BUCKETS_KEYS, rules=(_BUCKETS_RULE,)), "The bucket.", source=_STORE),
                },
                rules=(_S3_RULE,),
            ),
            "The bucket that global models are in; all of it is derived.",
            source=_STORE,
        ),
        "restore": Key(
            Section(
                {
                    "enable": Key(
                        Boolean(),
                        "A coordinator that starts goes on with the last global model; without it all begin anew.",
                        default=True,
                        source=_STORE,
                    )
                }
            ),
            "What a restart does.",
            default={},
            source=_STORE,
        ),
    },
    rules=(
        Rule("Not more models than the mask bears.", _borne),
        Rule("Redis keeps the masks.", _kept),
    ),
    hint="generation 'pet' has pet, mask, model, log and restore",
)


def program_configuration(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of complete settings the program's own sections that aren't derived."""
    return {name: dict(settings[name]) for name in ("pet", "mask", "model", "log", "restore")}


def too_few(settings: Mapping[str, Any], there: int) -> str:
    """Why no round, or hardly one, ends well with as many participants; empty when most do."""
    pet = settings["pet"]
    # who makes masks has no model aggregated in the same round
    needed = pet["min_sum_count"] + pet["min_update_count"]
    if there < needed:
        return (
            f"a round needs {needed} participants (pet.min_sum_count and pet.min_update_count), and {there} are "
            "placed or named: say how many there will be by `expected`"
        )
    drawn = {"sum": there * pet["sum"], "update": there * (1 - pet["sum"]) * pet["update"]}
    for phase, on_average in drawn.items():
        if on_average < pet[f"min_{phase}_count"]:
            return (
                f"of {there} participants {on_average:.3g} are drawn for the phase '{phase}' on average, and "
                f"pet.min_{phase}_count is {pet[f'min_{phase}_count']}: most rounds would fail; draw more by "
                f"pet.{phase}, or say how many participants there will be by `expected`"
            )
    return ""
