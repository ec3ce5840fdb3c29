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
            "maker": {"type": "str"},
            "purpose": {"type": "str"},
            "stack": {"type": "str"},
            "in_turn": {"type": "bool", "default": False},
        },
    },
    "turn": {"type": "str", "default": "none", "choices": ["none", "begin", "end"]},
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
            return self._ensure(options) if options["turn"] == "none" else self._turn(options)
        except (VaultTroubleError, FileTroubleError) as error:
            raise AnsibleActionFail(str(error)) from None
        except OSError as error:
            place = error.filename or options["state_directory"]
            raise AnsibleActionFail(f"{place} can't be written: {error.strerror}") from None

    def _ensure(self, options: dict[str, Any]) -> dict[str, Any]:
        wanted = _distinct([wanted_secret(item) for item in options["secrets"]])
        parties = dict.fromkeys(item.party for item in wanted)
        files = {party: VaultFile(options["state_directory"], party, self._loader._vault) for party in parties}
        here, awaited = _makers_here(wanted, files)
        for party, items in _by_party(here).items():
            files[party].add(items, write=False)  # a file that can't be opened ends this before another one is changed
        _check_shared(here, files)
        added = self._add(here, files)
        return {
            "changed": bool(added),
            "added": added,
            "awaited": {party: [item.name for item in items] for party, items in _by_party(awaited).items()},
            "warnings": [_way_of(item, files[item.party]) for item in awaited],
            "files": {party: file.path for party, file in files.items()},
            "diff": {"before": {}, "after": {"added": added}} if added else {},
        }

    def _turn(self, options: dict[str, Any]) -> dict[str, Any]:
        """Begin or end the replacement of all that come in turns; names by party."""
        wanted = [item for item in _distinct([wanted_secret(item) for item in options["secrets"]]) if item.in_turn]
        changed: dict[str, list[str]] = {}
        files = {
            party: VaultFile(options["state_directory"], party, self._loader._vault) for party in _by_party(wanted)
        }
        for file in files.values():
            file.read()  # one that can't be opened ends this before another one is changed
        for party, items in _by_party(wanted).items():
            file = files[party]
            turn = file.begin_turn if options["turn"] == "begin" else file.end_turn
            names = turn(items, write=not self._task.check_mode)
            if names:
                changed[party] = names
        result = {"begun" if options["turn"] == "begin" else "ended": changed}
        return {
            "changed": bool(changed),
            **result,
            "files": {party: file.path for party, file in files.items()},
            "diff": {"before": {}, "after": result} if changed else {},
        }

    def _add(self, wanted: list[Wanted], files: dict[str, VaultFile]) -> dict[str, list[str]]:
        """The names of what was added, by party. What a party makes comes first, then what it hands to others."""
        added: dict[str, list[str]] = {}
        for items in ([item for item in wanted if not item.maker], [item for item in wanted if item.maker]):
            for party, own in _by_party(items).items():
                handed = {item.name: files[item.maker].read().get(item.name, "") for item in own if item.maker}
                names = files[party].add(own, write=not self._task.check_mode, handed=handed)
                if names:
                    added.setdefault(party, []).extend(names)
        return added


def _by_party(items: list[Wanted]) -> dict[str, list[Wanted]]:
    """The wanted secrets of each party."""
    found: dict[str, list[Wanted]] = {}
    for item in items:
        found.setdefault(item.party, []).append(item)
    return found


def _makers_here(wanted: list[Wanted], files: dict[str, VaultFile]) -> tuple[list[Wanted], list[Wanted]]:
    """Those whose maker's secrets are made here, and those whose party still waits for another control node's."""
    made = {(item.party, item.name) for item in wanted if not item.maker}
    here = [item for item in wanted if not item.maker or (item.maker, item.name) in made]
    elsewhere = [item for item in wanted if item not in here]
    return here, [item for item in elsewhere if not files[item.party].read().get(item.name)]


def _check_shared(items: list[Wanted], files: dict[str, VaultFile]) -> None:
    """VaultTroubleError when two parties that share a secret have two values."""
    for item in items:
        if item.maker:
            own, theirs = (files[party].read().get(item.name) for party in (item.party, item.maker))
            if own and own != theirs:
                raise VaultTroubleError(
                    f"secret {item.name}: {item.party} has another value than {item.maker}, who makes it: take it out "
                    f"with ansible-vault edit {files[item.party].path}"
                )


def _way_of(item: Wanted, file: VaultFile) -> str:
    """How a secret comes that another party makes."""
    return (
        f"secret {item.name} of party {item.party} is made by party {item.maker}: ask them for it, and write it down "
        f"with ansible-vault edit {file.path}"
    )


def _distinct(items: list[Wanted]) -> list[Wanted]:
    """``items`` without repetitions; VaultTroubleError when one name is wanted in two forms."""
    found: dict[tuple[str, str], Wanted] = {}
    for item in items:
        if found.setdefault((item.party, item.name), item) != item:
            raise VaultTroubleError(
                f"secret {item.name} of party {item.party} is wanted in two forms; make kind and length the same"
            )
    return list(found.values())
