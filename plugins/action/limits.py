# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Has a host limit new sessions, and confirms it by a login that was made afterwards."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

MODULE = "fedlearn.infra.limits"


class ActionModule(ActionBase):
    """Action plugin behind M(fedlearn.infra.limits)."""

    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """One execution, and a second one where sessions are limited otherwise than before."""
        super().run(tmp, task_vars)
        given = {name: value for name, value in self._task.args.items() if name != "confirm"}
        written = self._module(given, task_vars)
        if not written.pop("unconfirmed", False) or written.get("failed"):
            return written
        try:
            # pam_limits has its say only when somebody comes in
            self._connection.reset()
            confirmed = self._module({**given, "confirm": True}, task_vars)
        except AnsibleError as error:
            confirmed = {"failed": True, "msg": str(error)}
        if confirmed.get("failed"):
            # a connection that was let in and given no session would be used again, and refuse all that follows
            with suppress(AnsibleError):
                self._connection.reset()
            return {**written, "changed": False, "failed": True, "msg": _told(str(confirmed.get("msg", "")))}
        written["nofile"]["sessions"].update(confirmed["nofile"]["sessions"])
        return written

    def _module(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(MODULE, arguments, task_vars=task_vars)
        result.pop("invocation", None)
        return result


def _told(reason: str) -> str:
    if "put back" in reason:
        return reason
    return (
        f"with these limits nobody comes in and becomes root any more: {reason.strip()}\n"
        "The host puts the former ones back 30 seconds after it wrote them."
    )
