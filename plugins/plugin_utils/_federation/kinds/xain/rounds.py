# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verify round: three rounds of a training whose participants add known steps to the model."""

from __future__ import annotations

from ...expanding import instance_name
from ...model import Component, RoundPart
from .known_steps import answer, steps
from .parts import Copy, Member
from .placements import DEFAULT_APPLICATION
from .topology import Topology

ROUNDS = 3
EPOCHS = 2
LEAST = 2
MOST = 16
"""More participants than that would prove nothing more."""

TIMEOUT = 180
MAX_ERROR = 1e-9


def members(topology: Topology) -> tuple[Member, ...]:
    """The round's participants: one on each host of the stack's, two where there is one, or beside the coordinator."""
    hosts = topology.participants.hosts[:MOST] or (topology.host,)
    placed = [(host, number) for number in range(1, 1 + max(1, LEAST // len(hosts))) for host in hosts]
    return tuple(
        Member(host, f"participant-{number}", {"callable": DEFAULT_APPLICATION, "settings": steps(index)})
        for index, (host, number) in enumerate(placed)
    )


def verify_round(topology: Topology) -> tuple[dict[str, RoundPart], tuple[Component, ...]]:
    """Each host's part in the verify round, and the round's components."""
    taking = members(topology)
    ai = {"rounds": ROUNDS, "epochs": EPOCHS, "min_participants": len(taking), "fraction_participants": 1.0}
    settings = {**topology.settings, "ai": ai, "metrics": {**topology.settings["metrics"], "enable": False}}
    settings["metrics"].pop("password", None)
    roster = Copy(topology, settings, taking).roster()
    expected = answer([steps(index) for index in range(len(taking))], ROUNDS, EPOCHS)
    names = {
        host: tuple(
            instance_name(topology.federation, topology.stack, one.component, transient=True)
            for one in taking
            if one.host == host
        )
        for host in roster.variables
    }
    verify = {
        host: RoundPart(expected, MAX_ERROR, TIMEOUT, participants=names[host], variables=variables)
        for host, variables in roster.variables.items()
    }
    return verify, tuple(roster.components)
