# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dc_federated: one server of long polls, behind nginx, and workers known by their keys.

``settings`` are the library's own arguments, ``placements`` what a stack may say, ``topology`` who runs where,
``parts`` what roles get.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ... import acme, network
from ...model import Expansion, Federation, Path, Stack
from ...nodes import Report
from . import parts
from .placements import PLACEMENTS
from .settings import SETTINGS
from .topology import Topology

__all__ = ["EXAMPLE", "NAME", "OWN_KEYS", "PLACEMENTS", "ROLES", "SETTINGS", "TLS", "UPPER_BOUNDS", "expand"]

NAME = "dc_federated"
TLS = True
ROLES: Mapping[str, str] = {"dc_federated_server": "service", "dc_federated_worker": "participant"}

OWN_KEYS: Collection[str] = ("library", "runtime")
UPPER_BOUNDS: Collection[Path] = ()

EXAMPLE = """\
library: {preinstalled: /opt/dc_federated} # a checkout of the library on the hosts; or source: FOLDER beside this file
server: {host: host1}                      # application: "myapp.server:build" for your own
proxy: {host: host1}                       # https://host1, what workers connect to
workers: {hosts: [host2, host3]}           # each makes its own key; expected: 1000 and keys: [FILE] for others' workers
settings: {model_check_interval: 1}        # DCFServer's own arguments: docs/federation.md lists them
"""

FILES_PER_WORKER = 5
FILES_PER_CONNECTION = 2


def expand(stack: Stack, federation: Federation, report: Report) -> Expansion:
    """A stack's components, and all that follows from them."""
    before = len(report)
    topology = Topology(stack, federation, report)
    topology.check()
    if len(report) > before:
        return Expansion()
    if not topology.server.hosts:
        return parts.removal(topology)
    return _expansion(topology)


def _expansion(topology: Topology) -> Expansion:
    deployed = parts.Copy(topology, 0, transient=False)
    roster, removed = deployed.roster(), parts.removal(topology)
    roster.take(removed)
    verify, transient = parts.verify_round(topology)
    proofs = (topology.proof,) if topology.by_acme else ()
    return Expansion(
        components=(*roster.components, *removed.components),
        authorities=tuple(parts.authorities(topology)),
        certificates=(*parts.certificates_of(topology), *removed.certificates),
        secrets=(topology.administrator(),),
        proofs=proofs,
        flows=(*parts.flows(topology), *acme.flows(topology.federation, proofs)),
        fetched=tuple(acme.requests(topology.federation, proofs)),
        variables=roster.variables,
        verify=verify,
        transient=transient,
        open_files={**removed.open_files, **_open_files(topology)},
        kit=parts.kit(topology),
        real=not topology.library["double"],
    )


def _open_files(topology: Topology) -> dict[str, int]:
    """What the server's and the proxy's processes are to be allowed."""
    server = network.nofile_limit(topology.expected, per_client=FILES_PER_WORKER)
    proxy = network.nofile_limit(topology.expected, per_client=FILES_PER_CONNECTION)
    needed = dict.fromkeys(topology.proxy.hosts, proxy)
    for host in topology.server.hosts:
        needed[host] = max(server, needed.get(host, 0))
    return needed
