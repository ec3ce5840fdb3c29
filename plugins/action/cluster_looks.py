# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tries inside of pods what a role's instances are to be able to; on the control node, by the cluster's API."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster import kubeconfig
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.api import Api, ApiError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.looking import looked_at
from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests.catalogue import MANIFESTS


class ActionModule(ActionBase):
    """Action plugin behind M(fedlearn.infra.cluster_looks)."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What was tried, and by the instance what is wrong."""
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "role": {"type": "str", "required": True, "choices": sorted(MANIFESTS)},
                "instances": {"type": "list", "elements": "dict", "required": True},
                "kubeconfig": {"type": "path", "required": True},
                "timeout": {"type": "int", "default": 120},
            }
        )
        try:
            with closing(Api(kubeconfig.read(arguments["kubeconfig"]))) as api:
                return self._tried(api, arguments)
        except (kubeconfig.KubeconfigError, ApiError) as error:
            return {"failed": True, "changed": False, "msg": str(error)}

    @staticmethod
    def _tried(api: Api, arguments: Mapping[str, Any]) -> dict[str, Any]:
        checks: list[dict[str, Any]] = []
        ill: dict[str, str] = {}
        for instance in arguments["instances"]:
            if instance["state"] != "present":
                continue
            looks = MANIFESTS[arguments["role"]].looks(instance)
            rows = [row for one in looks for row in looked_at(api, one, arguments["timeout"])]
            checks += rows
            wrong = [f"{row['name']}: {row['detail']}" for row in rows if not row["passed"]]
            if wrong:
                ill[instance["name"]] = ", ".join(wrong)
        return {"changed": False, "checks": checks, "ill": ill}
