# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes what a new federation begins with, on the control node; only files that aren't there yet."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.first_files import first_files
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.loading import load


class ActionModule(ActionBase):
    """Action plugin behind M(fedlearn.infra.init)."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the files that are missing, and say what to do with them."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "kind": {"type": "str", "required": True},
                "federation": {"type": "str", "default": "mine"},
                "directory": {"type": "path", "required": True},
            }
        )
        directory = Path(arguments["directory"])
        try:
            files = first_files(arguments["kind"], arguments["federation"])
            missing = {name: text for name, text in files.items() if not os.path.lexists(directory / name)}
            verify = "fedlearn.infra.verify -e verify=round" if has_round(files) else "fedlearn.infra.verify"
            if not self._task.check_mode:
                write(directory, missing)
        except (OSError, ValueError) as error:
            raise AnsibleActionFail(str(error)) from None
        result.update(
            changed=bool(missing),
            directory=str(directory),
            written=list(missing),
            kept=[name for name in files if name not in missing],
            next_steps=next_steps(directory, verify),
            diff=[
                {"before": "", "after": text, "before_header": "(not there)", "after_header": str(directory / name)}
                for name, text in missing.items()
            ],
        )
        return result


def write(directory: Path, files: Mapping[str, str]) -> None:
    """Write files that are not there; one that came meanwhile is an error, never overwritten."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)


def has_round(files: Mapping[str, str]) -> bool:
    """Whether what runs by the first document can be proven by a round."""
    with tempfile.TemporaryDirectory() as room:
        write(Path(room), files)
        expansions = load(str(Path(room, "federation.yml"))).expansions
    return any(expansion.verify for expansion in expansions.values())


def next_steps(directory: Path, verify: str) -> list[str]:
    """The commands that make the document true, and prove it; ansible.cfg and build/ are those of the directory."""
    run = "ansible-playbook -i federation.yml"
    return [
        f"cd {shlex.quote(str(directory))}, and change federation.yml: your hosts, their addresses, what runs where",
        "(umask 077; set -C; openssl rand -base64 32 > ~/.vault-pass)  # keep it: nothing opens without it",
        "export ANSIBLE_VAULT_PASSWORD_FILE=~/.vault-pass",
        "ansible-inventory -i federation.yml --graph",
        f"{run} fedlearn.infra.secrets",
        f"{run} fedlearn.infra.precheck",
        f"{run} fedlearn.infra.site",
        f"{run} {verify}",
    ]
