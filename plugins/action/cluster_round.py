# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs verify's round of a stack inside of its pods; on the control node, by the cluster's API."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster import kubeconfig
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.api import Api, ApiError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.looking import round_of
from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests.catalogue import ROUNDS
from ansible_collections.fedlearn.infra.plugins.plugin_utils.judgement import Row


class ActionModule(ActionBase):
    """Action plugin behind M(fedlearn.infra.cluster_round)."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """A row for each stack's round."""
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "role": {"type": "str", "required": True, "choices": sorted(ROUNDS)},
                "instances": {"type": "list", "elements": "dict", "required": True},
                "rounds": {"type": "dict", "required": True},
                "kubeconfig": {"type": "path", "required": True},
            }
        )
        if self._task.check_mode:
            return {"changed": False, "rows": {}}
        try:
            with closing(Api(kubeconfig.read(arguments["kubeconfig"]))) as api:
                return {"changed": False, "rows": self._rows(api, arguments)}
        except (kubeconfig.KubeconfigError, ApiError) as error:
            return {"failed": True, "changed": False, "msg": str(error)}

    @staticmethod
    def _rows(api: Api, arguments: Mapping[str, Any]) -> dict[str, list[Row]]:
        rows = {}
        for instance in arguments["instances"]:
            known = arguments["rounds"].get(instance.get("stack"))
            if instance["state"] == "present" and known:
                # what a round that was cut off left is another one's
                name = f"fedlearn-{secrets.token_hex(4)}"
                clients, seconds = known["conditions"]["clients"], known["timeout"]
                trial = ROUNDS[arguments["role"]].trial(instance, name, clients, seconds)
                rows[instance["stack"]] = [round_of(api, trial, instance["name"], seconds)]
        return rows
