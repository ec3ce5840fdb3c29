# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes a file that outlives the run, on the control node. Documentation: the module of this name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import files
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.keeping import keep

ARGUMENTS: dict[str, dict[str, Any]] = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "required": True},
    "mode": {"type": "str", "default": "0600"},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Never a connection."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Whether it was, or would be, written."""
        super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        path, content, mode = options["path"], options["content"].encode(), int(options["mode"], 8)
        why = f"{Path(path).name} of {(task_vars or {}).get('inventory_hostname', 'a host')}"
        try:
            there = files.read(path)
            changed = there is None or there.content != content
            if not self._task.check_mode:
                keep(path, why, lambda: _write(path, content, mode))
        except files.FileTroubleError as error:
            raise AnsibleActionFail(str(error)) from None
        except OSError as error:
            raise AnsibleActionFail(f"{error.filename or path} can't be written: {error.strerror}") from None
        return {"changed": changed, "path": path}


def _write(path: str, content: bytes, mode: int) -> None:
    there = files.read(path)
    if there is None or there.content != content:
        for folder in reversed([each for each in Path(path).parents if not each.exists()]):
            folder.mkdir(mode=0o755 if mode & 0o044 else 0o700, exist_ok=True)
        files.write(path, content, mode)
