# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""xain: a coordinator of training rounds, with its models in a store of objects, and participants that come to it.

``settings`` is the programs' configuration, key by key in ``python_keys``, ``pet_keys`` and ``poc_keys``;
``placements`` what a stack may say, ``topology`` who runs where, ``parts`` what roles get, with ``python_parts``,
``pet_parts`` and ``poc_parts`` what generations have of their own; ``rounds`` the verify round and its numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ...model import Expansion, Federation, Path, Stack
from ...nodes import Report
from . import parts, rounds
from .pet_parts import PetCopy
from .placements import PLACEMENTS
from .poc_parts import PocCopy
from .python_parts import PythonCopy
from .settings import SETTINGS
from .topology import Topology

__all__ = ["EXAMPLE", "NAME", "OWN_KEYS", "PLACEMENTS", "ROLES", "SETTINGS", "TLS", "UPPER_BOUNDS", "expand"]

NAME = "xain"
TLS = False  # there is no choice: what leaves a host does so over TLS
ROLES: Mapping[str, str] = {
    "xain_coordinator": "coordinator",
    "xain_aggregator": "service",
    "xain_participant": "participant",
}

OWN_KEYS: Collection[str] = ("program",)
UPPER_BOUNDS: Collection[Path] = ()

EXAMPLE = """\
generation: python                         # xain-fl 0.6; pet for xaynet-server, which sees nobody's weights
coordinator: {host: host1}                 # https://host1, where participants connect, with a certificate each
storage: {host: host1}                     # MinIO: weights and models, in a bucket of the stack's
participants: {hosts: [host2, host3]}      # application: "myapp.participant:Mine" for your own
settings: {ai: {rounds: 3, min_participants: 2}}   # xain-fl's own configuration: docs/federation.md lists it
"""

COPIES: Mapping[str, type[parts.Copy]] = {"python": PythonCopy, "pet": PetCopy, "poc": PocCopy}


def expand(stack: Stack, federation: Federation, report: Report) -> Expansion:
    """A stack's components, and all that follows from them."""
    before = len(report)
    topology = Topology(stack, federation, report)
    topology.check()
    if len(report) > before:
        return Expansion()
    if not topology.coordinator.hosts:
        return parts.removal(topology)
    copy = COPIES[topology.generation]
    deployed = copy(topology, topology.settings).roster()
    removed = parts.removal(topology)
    deployed.take(removed)
    verify, transient = rounds.verify_round(topology, copy)
    return Expansion(
        components=(*deployed.components, *removed.components),
        authorities=tuple(topology.authorities),
        certificates=(*parts.certificates_of(topology, copy.logins), *removed.certificates),
        secrets=tuple(parts.secrets_of(topology, copy.logins)),
        flows=tuple(dict.fromkeys(parts.flows(topology, copy.logins))),
        fetched=tuple(parts.fetched_by(topology)),
        variables=deployed.variables,
        verify=verify,
        transient=transient,
    )
