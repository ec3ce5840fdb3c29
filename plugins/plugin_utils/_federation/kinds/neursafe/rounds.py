# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verify round: a job of its own, which each of the stack's clients that has PyTorch takes part in.

It goes by the deployed server and clients, as every job does, and is begun inside of the job scheduler's pod
(``_manifests/neursafe_round.py``). Each client fits the known task from far off, so who doesn't learn shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...model import RoundPart

if TYPE_CHECKING:
    from .topology import Topology

RUNTIME = "pytorch"
ANSWER = (1.0, -2.0, 3.0, 0.5)
MAX_ERROR = 1e-3
TIMEOUT = 900


def verify_round(topology: Topology) -> dict[str, RoundPart]:
    """The server's cluster's part in it; none without a server, with doubles, or where no client has PyTorch."""
    places = topology.server.places
    if not places or any(client.is_double for client in topology.standalone):
        return {}
    told = [client.settings["task_manager"] for client in topology.clients if client.place.cluster is not None]
    told += [client.settings for client in topology.standalone if client.place.hosts]
    clients = sum(RUNTIME in settings["runtime"].split(",") for settings in told)
    if not clients:
        return {}
    conditions = {"clients": clients, "runtime": RUNTIME, "rounds": 1}
    return {places[0]: RoundPart(ANSWER, MAX_ERROR, TIMEOUT, participants=(topology.name,), conditions=conditions)}
