# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sends a backup to the host, where the module of this name puts it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

MODULE = "fedlearn.infra.restore"

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "source": {"type": "str", "required": True},
    "directory": {"type": "path", "required": True},
    "identity": {"type": "str", "default": "", "no_log": True},
    "put_back": {"type": "str", "required": True},
}


class ActionModule(ActionBase):
    """Action plugin behind M(fedlearn.infra.restore)."""

    TRANSFERS_FILES = False
    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """A transfer and one execution."""
        super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        source = _checked(options, (task_vars or {})["inventory_hostname"])
        if self._task.check_mode:
            return {"changed": True}
        shell = self._connection._shell
        if shell.tmpdir is None:
            self._make_tmp_path()
        archive = str(shell.join_path(shell.tmpdir, "archive"))
        self._transfer_file(str(source), archive)
        self._fixup_perms2((shell.tmpdir, archive))
        result: dict[str, Any] = self._execute_module(MODULE, {**options, "archive": archive}, task_vars=task_vars)
        result.pop("invocation", None)
        return result


def _checked(options: dict[str, Any], host: str) -> Path:
    """The file on the control node. Raises AnsibleActionFail where it can't be had, or not be read."""
    role, source = options["name"], Path(options["source"])
    if not options["source"]:
        place = Path(options["directory"], host)
        raise AnsibleActionFail(f"{role}_restore_from: which file of {place} is to be restored?")
    if source.suffix == ".age" and not options["identity"]:
        raise AnsibleActionFail(f"{role}_backup_secret: which secret is the key that {source} is encrypted for?")
    if not source.is_file():
        raise AnsibleActionFail(f"{role}_restore_from: there is no file {source}")
    return source
