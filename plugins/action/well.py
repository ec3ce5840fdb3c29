# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fails when what a role looked at isn't well, and names it; on the control node only."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.fedlearn.infra.plugins.plugin_utils import judgement


class ActionModule(ActionBase):
    """Action plugin behind M(fedlearn.infra.well)."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return all that isn't well; ``failed``, with a line for each, when there is any."""
        super().run(tmp, task_vars)
        row = {name: {"type": "str", "required": True} for name in ("name", "reason")}
        row["state"] = {**row["name"], "choices": list(judgement.STATES)}
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "unwell": {"type": "list", "elements": "dict", "options": row, "default": []},
                "ill": {"type": "dict", "default": {}},
                "differing": {"type": "dict", "default": {}},
                "artifacts": {"type": "dict", "default": {}},
            }
        )
        unwell = [*arguments["unwell"]]
        for state in ("ill", "differing"):
            for name, reasons in arguments[state].items():
                reason = reasons if isinstance(reasons, str) else ", ".join(reasons)
                unwell += [{"name": name, "state": state, "reason": reason}] if reason else []
        for name, artifact in (arguments["artifacts"].get("artifacts") or {}).items():
            if artifact["changed"] or artifact["drift"]:
                reason = f"{artifact['path']} is missing, or isn't as it was brought"
                unwell.append({"name": name, "state": "differing", "reason": reason})
        result: dict[str, Any] = {"changed": False, "unwell": unwell}
        if unwell:
            result.update(failed=True, msg="\n".join(judgement.told(unwell)))
        return result
