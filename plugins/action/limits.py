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
        """One execution, and a command in a second one where sessions are limited otherwise than before."""
        super().run(tmp, task_vars)
        written: dict[str, Any] = self._execute_module(MODULE, self._task.args, task_vars=task_vars)
        written.pop("invocation", None)
        confirm = written.pop("confirm", None)
        if not confirm or written.get("failed"):
            return written
        try:
            # pam_limits has its say only when somebody comes in
            self._connection.reset()
            answer = self._low_level_execute_command(confirm)
        except AnsibleError as error:
            answer = {"rc": 1, "stdout": "", "stderr": str(error)}
        number = str(answer["stdout"]).strip()
        if answer["rc"] != 0 or not number:
            # a connection that was let in and given no session would be used again, and refuse all that follows
            with suppress(AnsibleError):
                self._connection.reset()
            # over a terminal, as sudo gets one, all is said on one of the two
            said = f"{answer['stdout']}\n{answer['stderr']}"
            return {**written, "changed": False, "failed": True, "msg": told(said)}
        written["nofile"]["sessions"]["login"] = -1 if number == "unlimited" else int(number)
        return written


def told(said: str) -> str:
    """Why nobody confirmed: what the host says, or what follows from its silence."""
    lines = (line.strip() for line in said.splitlines())
    reason = "\n".join(line for line in lines if line and not line.startswith("Shared connection to "))
    if "put back" in reason:
        return reason
    return (
        f"with these limits nobody comes in and becomes root any more: {reason or 'nothing was answered'}\n"
        "The host puts the former ones back 30 seconds after it wrote them."
    )
