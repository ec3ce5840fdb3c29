# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Opens what is kept on the control node; runs once there. Documentation: the module of this name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.fedlearn.infra.plugins.module_utils._pki.files import FileTroubleError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state import folder
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.git import Access
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.location import is_repository
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.repository import Repository

ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "required": True},
    "key_file": {"type": "str", "default": "", "no_log": False},
    "known_hosts_file": {"type": "str", "default": ""},
    "writable": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Never a connection; of a repository nothing changes but its working copy here."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Where it lies; a failure where it can't be read, or written to by who has to."""
        super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            return {"changed": False, "directory": _opened(options, _thrown_away(task_vars or {}))}
        except FileTroubleError as error:
            raise AnsibleActionFail(str(error)) from None


def _opened(options: dict[str, Any], thrown_away: Path | None) -> str:
    state = str(options["state"])
    if not is_repository(state):
        if options["writable"]:
            folder.check(Path(state), thrown_away)
        return state
    named = (options[name] for name in ("key_file", "known_hosts_file"))
    access = Access(state, *(str(Path(path).expanduser().absolute()) if path else "" for path in named))
    repository = Repository.open(access)
    if options["writable"]:
        repository.prove_writable()
    return str(repository.directory)


def _thrown_away(variables: dict[str, Any]) -> Path | None:
    """The folder of a job of AWX, which ends with it; None where this is none."""
    if "awx_job_id" not in variables:
        return None
    artifacts = os.environ.get("AWX_ISOLATED_DATA_DIR") or "/runner/artifacts/0"
    return Path(artifacts).parent.parent
