# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Neursafe FL: its server's components and its clients on Kubernetes, by manifests of this collection.

``settings`` is the system's own configuration, ``placements`` what a stack may say, ``topology`` what follows of the
server, ``clients`` and ``standalone`` of clients, ``database`` and ``storage`` of what they keep their state in,
``gateway`` of what lets users and clients in by TLS, ``operators`` of these users, ``rounds`` of the verify round,
``names`` what they are called.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ...model import Expansion, Federation, Path, Stack
from ...nodes import Report
from ...unknown import UNKNOWN
from .placements import PLACEMENTS
from .rounds import verify_round
from .settings import SETTINGS
from .tenants import held
from .topology import Topology

__all__ = ["EXAMPLE", "NAME", "OWN_KEYS", "PLACEMENTS", "ROLES", "SETTINGS", "TLS", "UPPER_BOUNDS", "expand"]

NAME = "neursafe"
TLS = False  # the programs speak none to each other: NetworkPolicies say who reaches whom
ROLES: Mapping[str, str] = {
    "neursafe_server": "service",
    "neursafe_client": "participant",
    "neursafe_standalone": "participant",
    "neursafe_ctl": "participant",
}

OWN_KEYS: Collection[str] = ()
UPPER_BOUNDS: Collection[Path] = ()

EXAMPLE = """\
server:
  cluster: cluster1
  images: {registry: "registry.example:5000", tag: "1.0"}     # built by upstream's build_images.sh
storage: {host: host1}                                        # MinIO: a bucket for each folder of /mnt/neursafe_fl
database: {host: host1}                                       # PostgreSQL; engine: mongodb for FerretDB
nodes: {hosts: [host2, host3]}                                # the cluster's: they mount the buckets
namespaces: [default]
"""


def expand(stack: Stack, federation: Federation, report: Report) -> Expansion:
    """A stack's components, and all that follows from them."""
    before = len(report)
    if any(placement is UNKNOWN for placement in stack.placements.values()):
        return Expansion()
    topology = Topology(stack, federation, report)
    topology.check()
    if len(report) > before:
        return Expansion()
    roster, certificates = topology.roster(), tuple(topology.certificates())
    present = any(certificate.state == "present" for certificate in certificates)
    return Expansion(
        components=tuple(roster.components),
        held=tuple(held(topology)),
        authorities=tuple(topology.gateway.authorities if topology.gateway.there else [topology.authority])
        if present
        else (),
        certificates=certificates,
        secrets=tuple(topology.all_secrets()),
        flows=tuple(dict.fromkeys(topology.all_flows())),
        fetched=(
            *(flow for client in topology.standalone for flow in client.fetched()),
            *topology.operators.fetched(),
        ),
        variables=roster.variables,
        verify=verify_round(topology),
        real=not any(client.is_double for client in topology.standalone),
    )
