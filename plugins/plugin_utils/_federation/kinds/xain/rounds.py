# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verify round, of which each generation has its own, with numbers that are known beforehand.

``python`` and ``poc``: three rounds of a training whose participants add known steps to the model. ``pet``: a round of
eight participants with marks, of whom some are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...expanding import instance_name
from ...model import Component, RoundPart
from . import known_adds, known_marks, known_steps
from .known_marks import MOST
from .parts import Copy, Member
from .placements import APPLICATIONS
from .poc_parts import own_code, tried_class
from .topology import Topology

MAX_ERROR = 1e-9

ROUNDS = 3
EPOCHS = 2
HEARTBEAT_TIMEOUT = 60
"""Nobody is to be taken for gone on a slow machine."""

PET = {
    **{f"min_{phase}_count": least for phase, least in (("sum", 1), ("update", 3), ("sum2", 1))},
    **{f"max_{phase}_count": MOST for phase in ("sum", "update", "sum2")},
    # who begins to ask later than others, or asks less often, is in time
    **{f"min_{phase}_time": seconds for phase, seconds in (("sum", 10), ("update", 8), ("sum2", 2))},
    **{f"max_{phase}_time": 30 for phase in ("sum", "update", "sum2")},
    # who isn't drawn for masks is drawn for models: rounds in which too few are drawn, which are tried again, are few
    "sum": 0.3,
    "update": 1.0,
}
MASK = {"group_type": "Prime", "data_type": "F64", "bound_type": "B0", "model_type": "M3"}


@dataclass(frozen=True, slots=True)
class Known:
    """A generation's round: how many take part at least, what they are given, and what they end with."""

    least: int
    timeout: int
    given: Callable[[int, int], dict[str, Any]]
    settings: Callable[[Mapping[str, Any], int], dict[str, Any]]
    answer: Callable[[Topology, int], tuple[float, ...]]
    conditions: Callable[[Topology], dict[str, Any]] = lambda _topology: {}


def _python_settings(deployed: Mapping[str, Any], count: int) -> dict[str, Any]:
    ai = {"rounds": ROUNDS, "epochs": EPOCHS, "min_participants": count, "fraction_participants": 1.0}
    metrics = {key: value for key, value in deployed["metrics"].items() if key != "password"}
    return {**deployed, "ai": ai, "metrics": {**metrics, "enable": False}}


def _pet_settings(deployed: Mapping[str, Any], count: int) -> dict[str, Any]:
    return {**deployed, "pet": PET, "mask": MASK, "model": {"length": count + known_marks.NUMBERS}}


def _poc_settings(deployed: Mapping[str, Any], count: int) -> dict[str, Any]:
    learning = {
        "rounds": ROUNDS,
        "participants_ratio": 1.0,
        "min_clients": count,
        "heartbeat_timeout": HEARTBEAT_TIMEOUT,
    }
    return {**deployed, "federated_learning": learning}


def _steps_answer(_topology: Topology, count: int) -> tuple[float, ...]:
    return known_steps.answer([known_steps.steps(index) for index in range(count)], ROUNDS, EPOCHS)


def _adds_answer(topology: Topology, count: int) -> tuple[float, ...]:
    answer = known_adds.ANSWERS[tried_class(topology)]
    return answer([known_adds.adds(index) for index in range(count)], ROUNDS)


def _tried(topology: Topology) -> dict[str, Any]:
    """Which class aggregates in the round, and which of the operator's therefore doesn't."""
    deployed, tried = topology.aggregator.options["python_class"], tried_class(topology)
    untried = {"not_tried": deployed} if own_code(topology) or deployed != tried else {}
    return {"python_class": tried, **untried}


KNOWN: Mapping[str, Known] = {
    "python": Known(
        least=2,
        timeout=180,
        given=lambda index, _count: known_steps.steps(index),
        settings=_python_settings,
        answer=_steps_answer,
    ),
    "poc": Known(
        least=2,
        timeout=180,
        given=lambda index, _count: known_adds.adds(index),
        settings=_poc_settings,
        answer=_adds_answer,
        conditions=_tried,
    ),
    "pet": Known(
        least=8,
        timeout=300,
        given=known_marks.marked,
        settings=_pet_settings,
        answer=lambda _topology, count: known_marks.answer(count),
    ),
}


def members(topology: Topology) -> tuple[Member, ...]:
    """The round's participants: as many on each host of the stack's, or beside the coordinator where there is none."""
    known = KNOWN[topology.generation]
    hosts = topology.participants.hosts[:MOST] or (topology.host,)
    placed = [(host, number) for number in range(1, 1 + max(1, -(-known.least // len(hosts)))) for host in hosts]
    return tuple(
        Member(
            host,
            f"participant-{number}",
            {"callable": APPLICATIONS[topology.generation], "settings": known.given(index, len(placed))},
        )
        for index, (host, number) in enumerate(placed)
    )


def verify_round(topology: Topology, copy: type[Copy]) -> tuple[dict[str, RoundPart], tuple[Component, ...]]:
    """Each host's part in the verify round, and the round's components."""
    known, taking = KNOWN[topology.generation], members(topology)
    roster = copy(topology, known.settings(topology.settings, len(taking)), taking).roster()
    names = {
        host: tuple(
            instance_name(topology.federation, topology.stack, one.component, transient=True)
            for one in taking
            if one.host == host
        )
        for host in roster.variables
    }
    expected, conditions = known.answer(topology, len(taking)), known.conditions(topology)
    verify = {
        host: RoundPart(
            expected,
            MAX_ERROR,
            known.timeout,
            participants=names[host],
            variables=variables,
            conditions=conditions,
        )
        for host, variables in roster.variables.items()
    }
    return verify, tuple(roster.components)
