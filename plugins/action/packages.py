# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tells the module how long a host waits for others who install packages."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.fedlearn.infra.plugins.plugin_utils.apt_wait import seconds

MODULE = "fedlearn.infra.packages"


class ActionModule(ActionBase):
    """Action plugin behind M(fedlearn.infra.packages)."""

    _supports_check_mode = True
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """One execution."""
        super().run(tmp, task_vars)
        try:
            waits = seconds(self._task.args.get("lock_timeout"), task_vars or {}, self._templar)
        except ValueError as mistake:
            raise AnsibleActionFail(str(mistake)) from None
        asked = {**self._task.args, "lock_timeout": waits}
        answer: dict[str, Any] = self._execute_module(MODULE, asked, task_vars=task_vars)
        return answer
