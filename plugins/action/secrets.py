# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes the secrets that are missing; runs once, on the control node. Documentation: the module of this name."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.fedlearn.infra.plugins.module_utils._pki.files import FileTroubleError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.vaultfile import (
    LENGTHS,
    VaultFile,
    VaultTroubleError,
    Wanted,
    by_party,
    wanted_secret,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    "secrets": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "no_log": False,
        "options": {
            "name": {"type": "str", "required": True},
            "party": {"type": "str", "required": True},
            "kind": {"type": "str", "default": "password", "choices": list(LENGTHS)},
            "length": {"type": "int"},
            "purpose": {"type": "str"},
        },
    },
    "state_directory": {"type": "path", "required": True},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Adds to each party's file what it lacks; never a connection, never a value in the result."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Names of the secrets added, or in check mode those that would be, by party."""
        super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            return self._ensure(options)
        except (VaultTroubleError, FileTroubleError) as error:
            raise AnsibleActionFail(str(error)) from None
        except OSError as error:
            place = error.filename or options["state_directory"]
            raise AnsibleActionFail(f"{place} can't be written: {error.strerror}") from None

    def _ensure(self, options: dict[str, Any]) -> dict[str, Any]:
        wanted = _distinct([wanted_secret(item) for item in options["secrets"]])
        added: dict[str, list[str]] = {}
        paths: dict[str, str] = {}
        parties = by_party(wanted, lambda party: VaultFile(options["state_directory"], party, self._loader._vault))
        for file, items in parties:
            file.add(items, write=False)  # a file that can't be opened ends this before another one is changed
        for file, items in parties:
            names = file.add(items, write=not self._task.check_mode)
            paths[file.party] = file.path
            if names:
                added[file.party] = names
        return {
            "changed": bool(added),
            "added": added,
            "files": paths,
            "diff": {"before": {}, "after": {"added": added}} if added else {},
        }


def _distinct(items: list[Wanted]) -> list[Wanted]:
    """``items`` without repetitions; VaultTroubleError when one name is wanted in two forms."""
    found: dict[tuple[str, str], Wanted] = {}
    for item in items:
        if found.setdefault((item.party, item.name), item) != item:
            raise VaultTroubleError(
                f"secret {item.name} of party {item.party} is wanted in two forms; make kind and length the same"
            )
    return list(found.values())
