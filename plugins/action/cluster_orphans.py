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
    Cluster,
    RefusedError,
    Scope,
    orphans,
    words,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    "federation": {"type": "str", "required": True},
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
        found = orphans(api, options["federation"], options["expected"])
        rows = [{"kind": "in the cluster", "name": name, "objects": len(keys)} for name, keys in sorted(found.items())]
        told = {
            "changed": bool(rows) and options["prune"],
            "orphans": rows,
            "summary": ", ".join(f"{row['name']} ({row['objects']} objects)" for row in rows),
        }
        going = [key for keys in found.values() for key in keys] if options["prune"] else []
        cluster = Cluster(api, Scope(options["federation"], ""))
        if not options["remove_data"]:
            cluster.check_losses(going, "fedlearn_remove_data")
        if self._task.check_mode:
            return told
        cluster.remove(going)
        left = cluster.wait_gone(going, options["timeout"])
        if left:
            lines = "\n".join(f"{words(key)} is still there" for key in left)
            return {**told, "failed": True, "msg": f"after {options['timeout']} s:\n{lines}"}
        return told
