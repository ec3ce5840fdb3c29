# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Has a host load firewall rules, and confirms them over a connection that was made after they were loaded."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

MODULE = "fedlearn.infra.firewall"


class ActionModule(ActionBase):
    """Action plugin behind M(fedlearn.infra.firewall)."""

    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """One execution when nothing waits to be confirmed, two otherwise."""
        super().run(tmp, task_vars)
        given = {name: value for name, value in self._task.args.items() if name != "token"}
        loaded = self._module(given, task_vars)
        token = loaded.pop("token", None)
        if token is None or loaded.get("failed"):
            return loaded
        try:
            # what goes on over a connection that stands already proves nothing
            self._connection.reset()
            confirmed = self._module({**given, "token": token}, task_vars)
        except AnsibleConnectionFailure as error:
            return {**loaded, "changed": False, "failed": True, "msg": _told(given, str(error))}
        if confirmed.get("failed"):
            return {**confirmed, "changed": False}
        return {**confirmed, "changed": True, "differing": loaded["differing"], "diff": loaded.get("diff", [])}

    def _module(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(MODULE, arguments, task_vars=task_vars)
        result.pop("invocation", None)
        return result


def _told(given: dict[str, Any], reason: str) -> str:
    seconds = given.get("confirm_seconds", 30)
    return (
        f"with these rules the host doesn't answer a new connection any more: {reason.strip()}\n"
        f"It puts the former ones back {seconds} seconds after it loaded them; nothing was written down."
    )
