# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role dpsa_round takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .._federation.kinds.dpsa.placements import client_runtime
from .._federation.model import Path
from .._federation.schema import Boolean, Integer, Items, Key, Number, Rule, Section, Text
from .checking import CONTROL_FILE, IDENTITY, check_instances, is_present

Breaches = list[tuple[Path, str]]

_ORIGIN = Text(format="origin")


def _one_length(values: Mapping[str, Any]) -> Breaches:
    first, *others = values["vectors"]
    return [
        (("vectors", index), f"has {len(one)} numbers, and the first has {len(first)}")
        for index, one in enumerate(others, 1)
        if len(one) != len(first)
    ]


def _in_the_ball(values: Mapping[str, Any]) -> Breaches:
    """The aggregators drop what is longer, without a word to the client."""
    lengths = [math.sqrt(math.fsum(value * value for value in one)) for one in values["vectors"]]
    return [
        (("vectors", index), f"is {length:.3g} long, and reports longer than 1 are dropped")
        for index, length in enumerate(lengths)
        if length > 1
    ]


def _bits(values: Mapping[str, Any]) -> Breaches:
    if values["fixed_bits"] in (16, 32):
        return []
    return [(("fixed_bits",), f"16 or 32, not {values['fixed_bits']}: the programs know no others")]


ROUND = Section(
    {
        **IDENTITY,
        "managers": Key(
            Section(
                {
                    "leader": Key(_ORIGIN, "The leader's.", required=True),
                    "helper": Key(_ORIGIN, "The helper's.", required=True),
                }
            ),
            "Where both managers are reached from this host: with private CAs by its own nginx on loopback.",
            required=True,
        ),
        "epsilon": Key(Number(above=0), "That of the session.", required=True),
        "fixed_bits": Key(Integer(16, 32), "How fine numbers are: 16 or 32 bits.", default=16),
        "vectors": Key(
            Items(Items(Number(-1, 1), min_items=1), min_items=2),
            "What each client submits: no longer than 1. Fewer than two are never collected.",
            required=True,
        ),
        "runtime": client_runtime(CONTROL_FILE),
    },
    rules=(
        Rule("Vectors have one length.", _one_length),
        Rule("Vectors are no longer than 1.", _in_the_ball),
        Rule("Numbers have 16 or 32 bits.", _bits),
    ),
)


def check(instances: Any) -> list[dict[str, Any]]:
    """``dpsa_round_instances`` with defaults. Raises RoleValueError."""
    return check_instances("dpsa_round_instances", instances, ROUND)


VARIABLES: Mapping[str, Key] = {
    "dpsa_round_instances": Key(Items(ROUND), "The rounds of this host.", default=[]),
    "dpsa_round_packages": Key(
        Items(Text()),
        "What environments are made with; C(NAME=VERSION) pins.",
        default=["python3", "python3-venv"],
    ),
    "dpsa_round_memory_max": Key(
        Text(pattern=r"[1-9][0-9]*[KMGT]?|infinity", pattern_name="bytes such as 4G, or infinity"),
        "Memory of each round.",
        default="1G",
    ),
    "dpsa_round_remove_data": Key(Boolean(), "Remove the results of absent instances.", default=False),
}


def _packages(values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What present instances need of the distribution: nothing with a Python of their own."""
    runtimes = [one.get("runtime") or {} for one in values["dpsa_round_instances"] if is_present(one)]
    ours = any(runtime.get("python", "/usr/bin/python3") == "/usr/bin/python3" for runtime in runtimes)
    return {"names": values["dpsa_round_packages"] if ours else []}


ROLES = {"dpsa_round": VARIABLES}
PACKAGES = {"dpsa_round": _packages}
INSTANCES = {"dpsa_round_instances": check}
