# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds what is ours in a cluster and in no document any more, from the control node."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster import kubeconfig
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.api import Api, ApiError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.converge import (
    PARTY,
    Cluster,
    Key,
    RefusedError,
    Scope,
    orphans,
    words,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.readiness import Readiness

ARGUMENTS: dict[str, dict[str, Any]] = {
    "federation": {"type": "str", "required": True},
    "party": {"type": "str", "required": True},
    "kubeconfig": {"type": "path", "required": True},
    "expected": {"type": "list", "elements": "str", "required": True},
    "prune": {"type": "bool", "default": False},
    "remove_data": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 300},
}


class ActionModule(ActionBase):
    """Action plugin behind M(fedlearn.infra.cluster_orphans)."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What is there, or was."""
        super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            with closing(Api(kubeconfig.read(options["kubeconfig"]))) as api:
                return self._found(api, options)
        except (kubeconfig.KubeconfigError, ApiError, RefusedError) as error:
            return {"failed": True, "changed": False, "msg": str(error)}

    def _found(self, api: Api, options: Mapping[str, Any]) -> dict[str, Any]:
        left = orphans(api, options["federation"], options["party"], options["expected"])
        own, unclaimed = _counted(left.own), _counted(left.unclaimed)
        told = {
            "changed": bool(own) and options["prune"],
            "orphans": [{"kind": "in the cluster", "name": name, "objects": count} for name, count in own.items()],
            "summary": _summary(own),
            "warnings": _warnings(unclaimed),
        }
        going = [key for keys in left.own.values() for key in keys] if options["prune"] else []
        cluster = Cluster(api, Scope(options["federation"], options["party"], ""))
        cluster.check_removal(going)
        if not options["remove_data"]:
            cluster.check_losses(going, "fedlearn_remove_data")
        if self._task.check_mode:
            return told
        cluster.remove(going)
        staying = Readiness(api).wait_gone(going, options["timeout"])
        if staying:
            lines = "\n".join(f"{words(key)} is still there" for key in staying)
            return {**told, "failed": True, "msg": f"after {options['timeout']} s:\n{lines}"}
        return told


def _counted(found: Mapping[str, list[Key]]) -> dict[str, int]:
    return {name: len(keys) for name, keys in sorted(found.items())}


def _summary(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count} objects)" for name, count in counted.items())


def _warnings(unclaimed: Mapping[str, int]) -> list[str]:
    if not unclaimed:
        return []
    return [
        f"{_summary(unclaimed)}: in the cluster, not of this document, and without the label {PARTY}, as a former "
        "release made them. They stay: `site` of the party that has them labels them; what is nobody's any more has to "
        "be removed by hand"
    ]
