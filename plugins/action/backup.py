# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fetches what the module of this name packed on the host, and leaves nothing there."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

MODULE = "fedlearn.infra.backup"

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "collect": {"type": "str", "required": True},
    "pack": {"type": "str"},
    "directory": {"type": "path", "required": True},
    "recipient": {"type": "str", "default": ""},
}


class ActionModule(ActionBase):
    """Action plugin behind M(fedlearn.infra.backup)."""

    TRANSFERS_FILES = False
    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """One execution that packs, a transfer, and one that removes."""
        super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        if self._task.check_mode:
            return {"changed": True}
        given = {name: value for name, value in options.items() if value is not None}
        made: dict[str, Any] = self._execute_module(MODULE, given, task_vars=task_vars)
        made.pop("invocation", None)
        if made.get("failed") or made.get("unreachable"):
            return made
        kind = "tar.age" if options["recipient"] else "tar"
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        place = Path(
            options["directory"], (task_vars or {})["inventory_hostname"], f"{options['name']}-{moment}.{kind}"
        )
        try:
            self._bring(made["path"], place, made["digest"])
        finally:
            gone = {"path": made["path"], "state": "absent"}
            self._execute_module("ansible.legacy.file", gone, task_vars=task_vars)
        return {"changed": True, "dest": str(place)}

    def _bring(self, remote: str, place: Path, digest: str) -> None:
        """Have the file under its name once it is whole. Raises AnsibleActionFail."""
        # the same each time, so that what a killed run left goes
        unfinished = place.with_name(f".{place.name.partition('-')[0]}.unfinished")
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            place.parent.chmod(0o700)
            unfinished.touch(mode=0o600)
            self._fetch(remote, unfinished, digest)
            unfinished.replace(place)
        except OSError as error:
            raise AnsibleActionFail(f"{error.filename or place} can't be written: {error.strerror}") from None

    def _fetch(self, remote: str, unfinished: Path, digest: str) -> None:
        """The host's file, or none. Raises AnsibleError."""
        try:
            # not through become: it would have to fit into memory
            self._connection.fetch_file(remote, str(unfinished))
            with unfinished.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    raise AnsibleActionFail(
                        "what was fetched isn't what the host has: it was changed on its way. Run it again"
                    )
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
