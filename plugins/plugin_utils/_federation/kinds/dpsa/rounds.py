# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verify round: a session of its own, in which three clients on the controller's host submit known vectors.

It goes by the deployed managers and aggregators, as every session does, with a certificate and a bound on epsilon of
its own. Its answer is the sum of the vectors, give or take the noise that both aggregators add.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

from ... import network
from ...expanding import Roster, instance_name
from ...model import Component, RoundPart
from .instances import SITES, Instances, loopback, way_out
from .topology import LOOPBACK, VERIFY_EPSILON, WORDS

FIXED_BITS = 16
VECTORS = (
    (0.5, -0.25, 0.25, 0.5, -0.5, 0.25, 0.0, 0.125),
    (-0.25, 0.5, 0.5, -0.5, 0.25, 0.0, 0.125, 0.25),
    (0.25, 0.25, 0.5, 0.125, 0.0, -0.5, 0.5, -0.25),
)
"""All a little shorter than 1, of multiples of 2^-15: nothing of them is lost in 16 bits."""

MISSED = 1e-6
"""How likely a right sum is more than the bound off."""

TIMEOUT = 300

AGGREGATORS = 2


def noise_bound(epsilon: float, dimension: int, fixed_bits: int, missed: float = MISSED) -> float:
    """What the largest of so many numbers' noise stays below, but for one in 1/``missed`` rounds.

    Each aggregator adds to each number a discrete Gaussian of its own, in steps of the fixed-point numbers, with the
    standard deviation SENSITIVITY / epsilon: a report can move the sum by two times its length, which is 1 at most.
    """
    deviation = math.sqrt(AGGREGATORS) * 2.0 / epsilon
    quantile = NormalDist().inv_cdf((1.0 + (1.0 - missed) ** (1.0 / dimension)) / 2.0)
    return deviation * quantile + AGGREGATORS * 2.0 ** (1 - fixed_bits)


def answer() -> tuple[float, ...]:
    """What the round ends with, without the noise."""
    return tuple(math.fsum(column) for column in zip(*VECTORS, strict=True))


def verify_round(parts: Instances) -> tuple[dict[str, RoundPart], tuple[Component, ...]]:
    """The controller's host's part in it, and the components it brings; none without a controller or managers."""
    topology = parts.topology
    if topology.generation != "B" or not topology.controller.hosts:
        return {}, ()
    (host,) = topology.controller.hosts
    roster = Roster(topology.federation, topology.stack, transient=True)
    ways = {word: _way(parts, roster, word, host) for word in WORDS}
    name = instance_name(topology.federation, topology.stack, "round", transient=True)
    values = {
        "managers": ways,
        "epsilon": VERIFY_EPSILON,
        "fixed_bits": FIXED_BITS,
        "vectors": [list(one) for one in VECTORS],
        "runtime": _runtime(topology.federation.directory, topology.stack.options["client"]),
    }
    roster.present("dpsa_round", "controller", "round", host, values)
    part = RoundPart(
        answer(),
        noise_bound(VERIFY_EPSILON, len(VECTORS[0]), FIXED_BITS),
        TIMEOUT,
        participants=(name,),
        variables=roster.variables[host],
        conditions={"epsilon": VERIFY_EPSILON, "clients": len(VECTORS), "fixed_bits": FIXED_BITS, "missed": MISSED},
    )
    return {host: part}, tuple(roster.components)


def _way(parts: Instances, roster: Roster, word: str, host: str) -> str:
    """The round's way to one of the managers, which is told who it is by its certificate."""
    topology = parts.topology
    key = f"{word}_manager"
    port = topology.stack.options["local_ports"][key] + topology.stack.options["verify_port_shift"]
    side = topology.leader if word == "leader" else topology.helper
    values = way_out(topology, port, side.manager_site(), side, parts.servers(side), parts.paths(parts.verify_name))
    path = (*topology.stack.path, "local_ports", key)
    own = loopback("http", port, path)
    roster.present("nginx", "controller", f"{word}-manager", host, values, [own], variable=SITES)
    return str(network.Url("http", LOOPBACK, port))


def _runtime(directory: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """Files that the document names lie beside it."""
    files = ("requirements", "wheels")
    return {key: posixpath.join(directory, value) if key in files else value for key, value in told.items()}
