# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MindSpore Federated: scheduler, servers and workers over Redis.

``settings`` is its configuration key by key, ``placements`` what a stack may say, ``topology`` who runs where,
``instances`` what roles get, ``rounds`` what workers train, ``needed_certificates`` and ``flows`` what
that takes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ... import network
from ...model import Expansion, Federation, Path, Stack
from ...nodes import Report
from ...unknown import UNKNOWN
from . import flows, needed_certificates, rounds
from .instances import Instances, removal
from .placements import PLACEMENTS
from .settings import SETTINGS, program_keys
from .topology import Topology, complete_settings

__all__ = [
    "EXAMPLE",
    "NAME",
    "OWN_KEYS",
    "PLACEMENTS",
    "ROLES",
    "SETTINGS",
    "TLS",
    "UPPER_BOUNDS",
    "expand",
    "program_keys",
]

NAME = "mindspore"
TLS = True
ROLES: Mapping[str, str] = {
    "mindspore_scheduler": "coordinator",
    "mindspore_server": "service",
    "mindspore_worker": "participant",
}

MAX_SKEW_MS = 5000
"""Servers look at the timestamps of clients."""

OWN_KEYS: Collection[str] = ("runtime",)
UPPER_BOUNDS: Collection[Path] = ()

EXAMPLE = """\
redis: {host: host1}                       # the store that scheduler and servers share
scheduler: {host: host1}                   # its REST interface: host1:11202, client certificates only
servers: {hosts: [host2, host3]}           # per_host: 2 for two on each; initial_model for a model of your own
workers: {hosts: [host2, host3]}           # each trains on its own data; leave it out when devices do
proxy: {host: host1}                       # workers then outlive a server
settings: {fl_iteration_num: 3}            # MindSpore Federated's own keys: docs/federation.md lists them
"""


def expand(stack: Stack, federation: Federation, report: Report) -> Expansion:
    """A stack's components, and all that follows from them."""
    before = len(report)
    topology = Topology(stack, federation, report)
    if not any(placement.hosts for placement in stack.placements.values() if placement is not UNKNOWN):
        return removal(topology) if len(report) == before else Expansion()
    topology.check_placements()
    settings = complete_settings(topology, report)
    return _expansion(Instances(topology, settings))


def _expansion(parts: Instances) -> Expansion:
    """All parts of a right stack."""
    deployed, verify = rounds.deployed_copy(parts), rounds.verify_copy(parts)
    built, transient = parts.copy(deployed), parts.copy(verify)
    removed = removal(parts.topology)
    built.take(removed)
    return Expansion(
        components=(*built.components, *removed.components),
        authorities=tuple(needed_certificates.authorities(parts)),
        certificates=(*needed_certificates.needed(parts), *removed.certificates),
        flows=tuple(flows.needed(parts, deployed, verify)),
        fetched=tuple(flows.fetched(parts, deployed, verify)),
        variables=built.variables,
        verify=rounds.verify_round(parts, verify, transient),
        transient=tuple(transient.components),
        known=rounds.known_results(parts, deployed),
        open_files={**removed.open_files, **_open_files(parts)},
        max_skew_ms=MAX_SKEW_MS,
    )


def _open_files(parts: Instances) -> dict[str, int]:
    """Open files that hosts with servers or the proxy allow a process: one for each connection."""
    needed = network.nofile_limit(parts.settings["client"]["connection_num"], per_client=1)
    return dict.fromkeys((*parts.topology.servers.hosts, *parts.topology.proxy.hosts), needed)
