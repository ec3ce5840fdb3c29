# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What workers train, and what they are known to end with: as deployed, and in a verify round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ... import known_task
from ...expanding import Roster
from ...model import RoundPart
from ...schema import complete
from .instances import Copy, Instances
from .placements import DEFAULT_APPLICATION
from .settings import SETTINGS

VERIFY_WORKERS = 32
"""More workers than that would prove nothing more in a round."""

TIMEOUT = 240
"""Seconds that a round may take, the start of its programs included."""

Part = dict[str, Any]


def _application(parts: Instances) -> Part:
    """The deployed workers' application, as the document has it."""
    given = parts.topology.workers.options.get("application", {})
    source = given.get("source")
    return {
        "callable": given.get("callable", DEFAULT_APPLICATION),
        "source": parts.beside(source) if source else None,
        "settings": given.get("settings", {}),
    }


def _trains_known_task(parts: Instances) -> bool:
    """Whether the deployed workers train the known task: the default application without settings of the user's."""
    application = _application(parts)
    ours = application["callable"] == DEFAULT_APPLICATION and not application["source"]
    return bool(ours and not application["settings"])


def _seed(parts: Instances) -> int:
    return known_task.seed(parts.federation.name, parts.stack.name)


def deployed_copy(parts: Instances) -> Copy:
    """The stack as the document has it."""
    shared, known, seed = _application(parts), _trains_known_task(parts), _seed(parts)

    def application(index: int) -> Mapping[str, Any]:
        if not known:
            return shared
        return {**shared, "settings": known_task.settings(known_task.steady_offset(index), seed + index)}

    return Copy(0, parts.settings, parts.topology.worker_places(), application)


def verify_copy(parts: Instances) -> Copy:
    """The transient copy: the known task, on the workers' hosts, or the servers' where the stack has no workers."""
    workers = parts.topology.worker_places() or [(host, 1) for host in parts.topology.servers.hosts]
    workers = workers[:VERIFY_WORKERS]
    offsets = known_task.balanced_offsets(len(workers))
    seed = _seed(parts)

    def application(index: int) -> Mapping[str, Any]:
        task = known_task.settings(offsets[index], seed + index)
        return {"callable": DEFAULT_APPLICATION, "source": None, "settings": task}

    settings = _verify_settings(parts, len(workers))
    return Copy(parts.topology.shift, settings, workers, application, transient=True)


def _verify_settings(parts: Instances, workers: int) -> Part:
    """The round's settings: every worker takes part, and nothing of the deployed training but its TLS."""
    values = {
        "fl_name": f"verify-{parts.settings['fl_name']}",
        "fl_iteration_num": 3,
        "server_mode": "CLOUD_TRAINING",
        "round": {
            "start_fl_job_threshold": workers,
            "start_fl_job_time_window": 60000,
            "update_model_time_window": 60000,
            "global_iteration_time_window": 120000,
        },
        "ssl": parts.settings["ssl"],
    }
    return complete(SETTINGS, values, (*parts.stack.path, "settings"), parts.topology.report)


def verify_round(parts: Instances, verify: Copy, transient: Roster) -> dict[str, RoundPart]:
    """Each host's part in the verify round."""
    expected = known_task.answer(known_task.balanced_offsets(len(verify.workers)))
    participants = parts.participants(verify)
    return {
        host: _part(parts, expected, participants.get(host, ()), variables)
        for host, variables in transient.variables.items()
    }


def known_results(parts: Instances, deployed: Copy) -> dict[str, RoundPart]:
    """What deployed workers end with, where that is known: all take part in every iteration of the known task."""
    workers = len(deployed.workers)
    if not workers or parts.model or not _trains_known_task(parts) or not _everyone_counts(parts.settings, workers):
        return {}
    expected = known_task.answer([known_task.steady_offset(index) for index in range(workers)])
    return {host: _part(parts, expected, names, {}) for host, names in parts.participants(deployed).items()}


def _everyone_counts(settings: Mapping[str, Any], workers: int) -> bool:
    """Whether an iteration is the plain mean over all workers."""
    round_ = settings["round"]
    return bool(
        settings["server_mode"] == "CLOUD_TRAINING"
        and settings["aggregation"]["aggregation_type"] == "FedAvg"
        and round_["start_fl_job_threshold"] == workers
        and round_["update_model_ratio"] == 1
    )


def _part(
    parts: Instances, expected: Sequence[float], participants: Sequence[str], variables: Mapping[str, list[Part]]
) -> RoundPart:
    return RoundPart(
        tuple(expected),
        known_task.MAX_ERROR,
        TIMEOUT,
        _seed(parts),
        participants=tuple(participants),
        variables=variables,
    )
