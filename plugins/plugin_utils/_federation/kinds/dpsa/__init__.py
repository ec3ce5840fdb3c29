# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DPSA: sums under differential privacy, by two Janus aggregators that share no secret.

``settings`` is the programs' configuration key by key, ``placements`` what a stack may say, ``topology`` its two sides,
``instances`` what roles get, ``needed_certificates`` certificates, ``flows`` connections, ``rounds`` the verify round.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ... import acme
from ...model import Expansion, Federation, Path, Secret, Stack
from ...nodes import Report
from ...unknown import UNKNOWN
from . import flows, needed_certificates
from .instances import Instances, removal
from .placements import PLACEMENTS
from .rounds import verify_round
from .settings import SETTINGS
from .topology import Topology

__all__ = ["EXAMPLE", "NAME", "OWN_KEYS", "PLACEMENTS", "ROLES", "SETTINGS", "TLS", "UPPER_BOUNDS", "expand"]

NAME = "dpsa"
TLS = False  # there is no choice: what leaves a host does so over TLS
ROLES: Mapping[str, str] = {"janus": "coordinator", "dpsa_manager": "service", "dpsa_round": "participant"}

MAX_SKEW_MS = 60_000
"""Job leases allow for clocks that differ by as much, and reports lie in hours."""

OWN_KEYS: Collection[str] = ("programs", "client")
UPPER_BOUNDS: Collection[Path] = (("privacy", "max_epsilon"),)

EXAMPLE = """\
leader: {host: host1}                      # aggregator, manager, job programs and a PostgreSQL of its own
helper: {host: host2}                      # of another party: here of one, for trying out
allow_same_party: true                     # never for real data: who has both sides sees every report
controller: {host: host3}                  # who opens sessions: its client certificate lets it
privacy: {max_epsilon: 1.0}                # no session with more is let in, on either side
"""


def expand(stack: Stack, federation: Federation, report: Report) -> Expansion:
    """A stack's components, and all that follows from them."""
    before = len(report)
    topology = Topology(stack, federation, report)
    if not any(place is UNKNOWN or place.hosts for place in stack.placements.values()):
        return removal(topology) if len(report) == before else Expansion()
    topology.check()
    settings = topology.settings() if len(report) == before else {}
    if len(report) > before:
        return Expansion()
    parts = Instances(topology, settings)
    built, removed = parts.build(), removal(topology)
    built.take(removed)
    verify, transient = verify_round(parts)
    proofs = tuple(side.proof for side in topology.sides if side.by_acme)
    return Expansion(
        components=(*built.components, *removed.components),
        authorities=tuple(needed_certificates.authorities(parts)),
        certificates=(*needed_certificates.needed(parts), *removed.certificates),
        secrets=tuple(
            Secret(parts.secret(side), side.party.name, f"the {side.word}'s password for its database", in_turn=True)
            for side in topology.sides
            if side.ours
        ),
        proofs=proofs,
        flows=tuple(dict.fromkeys((*flows.needed(parts), *acme.flows(federation, proofs)))),
        fetched=tuple(acme.requests(federation, proofs)),
        variables=built.variables,
        verify=verify,
        transient=transient,
        max_skew_ms=MAX_SKEW_MS,
        real=not stack.options["programs"]["doubles"],
    )
