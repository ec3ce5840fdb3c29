# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One service on one host: compare, place, act, settle; and undo when one of them fails."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

from ansible_collections.fedlearn.infra.plugins.module_utils._service import files, health, state, units
from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import File, Found, ServiceError

STEPS = (
    "locked", "compared", "journalled", "early", "staged", "validated", "renamed", "placed", "checked", "reloaded", "enabled",
    "acted", "healthy", "recorded", "cleaned", "undoing", "restored", "stopped", "removed", "forgotten",
)
_RANK = {"none": 0, "reload": 1, "restart": 2, "start": 3}
_EARLY = {"/sysusers.d/": ["systemd-sysusers"], "/tmpfiles.d/": ["systemd-tmpfiles", "--create"]}
_VALIDATE_SECONDS = 60


@dataclass
class Options:
    """What one call is to do. `deferred`: leave services whose running process would restart as they are."""

    check: bool
    deferred: bool
    remove_data: bool
    transient: bool
    uploads: Dict[str, str]  # sha256 -> where the large file arrived


@dataclass
class Outcome:
    """What the module returns of one service."""

    changed: bool = False
    action: str = "none"
    deferred: bool = False
    healthy: Optional[bool] = None
    rolled_back: bool = False
    reason: str = ""
    journal: List[str] = field(default_factory=list)
    overrides: List[str] = field(default_factory=list)
    files: List[str] = field(default_factory=list)


class Service:
    """What a role wants of one service, beside what the host has."""

    def __init__(self, wanted: Dict[str, Any], owned: state.Owned, options: Options) -> None:
        self.name: str = wanted["name"]
        self.wanted, self.owned, self.options = wanted, owned, options
        self.absent = wanted["state"] == "absent"
        self.outcome = Outcome()
        self.record = state.Record(owned.federation, self.name)
        self.entry: Dict[str, Any] = owned.services.get(self.name) or {}
        self.distribution: Optional[str] = wanted.get("unit") or self.entry.get("unit")
        self.files: List[File] = []
        self.unit_paths: List[str] = []
        self.changes: List[Tuple[File, Found]] = []
        self.obsolete: List[str] = []
        self.obsolete_units: List[str] = []
        self.to_enable: List[str] = []
        self.action = "none"
        self.reload_manager = False
        self.differs = False  # whether a run would change anything
        self.failed = False
        self.acted = False
        self._since = time.time()
        self._items: Dict[str, List[str]] = {}
        if not self.absent:
            self._want_files()

    def _want_files(self) -> None:
        directory = units.TRANSIENT if self.options.transient else units.PERMANENT
        for unit in self.wanted["units"]:
            content = unit["content"].encode()
            self.files.append(File(f"{directory}/{unit['name']}", files.digest_of(content), len(content), 0o644, "root", "root", content))
        self.unit_paths = [file.path for file in self.files]
        self.files += [File(**file) for file in self.wanted["files"]]

    # -- compare -------------------------------------------------------------------------------------------------------

    @property
    def unit_names(self) -> List[str]:
        """Units this service is about, the main one first."""
        if self.distribution:
            return [self.distribution]
        names = [unit["name"] for unit in self.wanted.get("units", [])]
        return names + [name for name in self.entry.get("units", []) if name not in names]

    @property
    def main(self) -> str:
        return self.unit_names[0]

    def compare(self, shown: Dict[str, units.Unit]) -> None:
        """Finds all that differs. Changes nothing."""
        self._shown = shown
        self.outcome.overrides = [path for name in self.unit_names for path in shown[name].dropins]
        if self.absent:
            left = self.options.remove_data and any(state.data_exists(path) for path in self._data())
            self.differs = bool(self.entry) or left or self._stray_unit() is not None
            return
        self._refuse_foreign_units()
        for file in self.files:
            found = files.look(file.path)
            if found.kind == "other":
                raise ServiceError(f"{file.path}: something that is neither file nor link lies there; move it away")
            if not self._same(file, found):
                self.changes.append((file, found))
        paths = {file.path for file in self.files}
        self.obsolete = [path for path in self.entry.get("files", []) if path not in paths and os.path.lexists(path)]
        names = [unit["name"] for unit in self.wanted["units"]]
        self.obsolete_units = [] if self.distribution else [name for name in self.entry.get("units", []) if name not in names]
        self._compare_units()
        self._items = {file.path: [file.change, file.digest()] for file in self.files}
        self._items.update({watch["path"]: [watch["change"], files.digest_tree(watch["path"])] for watch in self.wanted["watch"]})
        self.action = self._needed_action()
        record = self.record.content or {}
        self.differs = bool(
            self.changes or self.obsolete or self.obsolete_units or self.to_enable or self.action != "none" or self.reload_manager
            or self._entry_differs() or record.get("pending") or record.get("items") != self._items
        )

    @staticmethod
    def _same(file: File, found: Found) -> bool:
        if found.kind != "file" or found.sha256 != file.sha256 or found.mode != file.mode:
            return False
        try:
            return found.uid == files.uid_of(file.owner) and found.gid == files.gid_of(file.group)
        except ServiceError:
            return False  # its user comes with this very change

    def _refuse_foreign_units(self) -> None:
        for path in self.unit_paths:
            if path in self.entry.get("files", []):
                continue
            for federation, name in state.claims(path):
                if (federation, name) != (self.owned.federation, self.name):
                    raise ServiceError(f"{path}: belongs to service {name} of federation {federation}")

    def _compare_units(self) -> None:
        enabling = self.wanted["state"] == "started" and not self.options.transient
        for unit in [{"name": self.distribution, "install": True}] if self.distribution else self.wanted["units"]:
            shown = self._shown[unit["name"]]
            path = next((path for path in self.unit_paths if path.endswith("/" + unit["name"])), shown.fragment)
            if enabling and unit["install"] and not shown.is_enabled:
                self.to_enable.append(unit["name"])
            if not enabling and not self.distribution and shown.enabled == "enabled":
                self.to_enable.append(unit["name"])
            if shown.needs_reload or (not self.distribution and shown.fragment != path):
                self.reload_manager = True
        if any(file.path in self.unit_paths for file, _found in self.changes) or self.obsolete_units:
            self.reload_manager = True

    def _needed_action(self) -> str:
        unit = self._shown[self.main]
        if self.wanted["state"] == "stopped":
            return "stop" if unit.running else "none"
        if self.finished and not unit.running:
            return "none"
        if not unit.running or any(not self._shown[name].running for name in self._secondary()):
            return "start" if not unit.running else self._strongest(["restart"])
        record = self.record.content or {}
        before: Dict[str, List[str]] = record.get("items", {})
        classes = [file.change for file, found in self.changes if found.kind != "file" or found.sha256 != file.sha256]
        classes += [change for path, (change, digest) in self._items.items() if before.get(path, ["", ""])[1] != digest]
        classes += [change for path, (change, _digest) in before.items() if path not in self._items]
        classes.append(record.get("pending") or "none")
        if not self.distribution and "items" not in record:
            classes.append("restart")
        if unit.invocation != record.get("invocation"):
            classes += self._unproven(unit)
        return self._strongest(classes)

    def _secondary(self) -> List[str]:
        if self.distribution:
            return []
        return [unit["name"] for unit in self.wanted["units"][1:] if unit["install"]]

    def _unproven(self, unit: units.Unit) -> List[str]:
        """Of a process that isn't the one proven healthy: what was written only after it started."""
        return [file.change for file in self.files if files.look(file.path).modified_ns / 1e9 > unit.started]

    def _strongest(self, classes: List[str]) -> str:
        strongest = max(classes, key=lambda one: _RANK[one], default="none")
        return "restart" if strongest == "reload" and not self._shown[self.main].can_reload else strongest

    @property
    def missing_upload(self) -> List[str]:
        """Digests of large files that have to be transferred first."""
        return [
            file.sha256 for file, found in self.changes
            if file.content is None and found.sha256 != file.sha256 and file.sha256 not in self.options.uploads
        ]

    @property
    def interrupts(self) -> bool:
        """Whether a running process would be restarted."""
        return self.action == "restart" and self._shown[self.main].running

    # -- place ---------------------------------------------------------------------------------------------------------

    def place(self) -> None:
        """Brings all files into place: staged, validated one by one, renamed, validated as a whole."""
        state.point("compared", self.name)
        self._clean_staged()
        if self.changes or self.obsolete or self.obsolete_units:
            self._journal()
            self._place_early()
            self._stage([file for file, _found in self.changes if not _is_early(file.path)])
            for file, _found in self.changes:
                if not _is_early(file.path):
                    files.place(file.path)
                    state.point("renamed", self.name)
            for name in self.obsolete_units:
                units.verb("disable", "--now", name)
            for path in self.obsolete:
                self._remove_unless_shared(path)
            state.point("placed", self.name)
            self._validate_whole()

    def _entry_differs(self) -> bool:
        return {key: value for key, value in self.entry.items() if key != "directories"} != self._entry()

    def _journal(self) -> None:
        """Notes on disk what is about to change, so that a run killed from here on is finished by the next."""
        paths = [(file.path, file.restore) for file, _found in self.changes] + [(path, True) for path in self.obsolete]
        shown = [self._shown[name] for name in self.unit_names]
        enabled = [unit.name for unit in shown if unit.enabled == "enabled"]
        self.record.keep_former(paths, {"was_running": shown[0].running, "enabled": enabled, "owned": self.entry})
        record = dict(self.record.content or {})
        record["pending"] = self.action if self.action in ("restart", "reload") else record.get("pending") or "none"
        self.record.save(record)
        entry = self._entry()
        for key in ("units", "files"):
            entry[key] += [one for one in self.entry.get(key, []) if one not in entry[key]]
        self._save_entry(entry, self._directories())
        state.point("journalled", self.name)

    def _entry(self) -> Dict[str, Any]:
        """What owned.json is to say of this service, but for the directories that were made for it."""
        return {
            "units": self._own_units(), "unit": self.wanted["unit"], "type": self.wanted["type"],
            "files": [file.path for file in self.files], "ports": self.wanted["ports"], "data": self.wanted["data"],
            "validate": self.wanted["validate"], "transient": self.options.transient,
        }

    def _directories(self) -> List[str]:
        """Directories that exist for our files only: those to be made now, and those other services had made."""
        missing = [directory for file, _found in self.changes for directory in files.missing_directories(file.path)]
        shared = state.directories()
        return missing + [one for one in shared if any(file.path.startswith(one + "/") for file in self.files)]

    def _save_entry(self, entry: Dict[str, Any], made: List[str]) -> None:
        entry["directories"] = list(dict.fromkeys(self.entry.get("directories", []) + made))
        self.owned.services[self.name] = self.entry = entry
        left = [path for path in self._left_data() if path not in entry["data"]]
        self.owned.left_data.pop(self.name, None)
        if left:
            self.owned.left_data[self.name] = {"data": left}
        self.owned.save()

    def _left_data(self) -> List[str]:
        left: List[str] = (self.owned.left_data.get(self.name) or {}).get("data", [])
        return left

    def _place_early(self) -> None:
        """Users and directories first: other files may belong to them."""
        early = [file for file, _found in self.changes if _is_early(file.path)]
        self._stage(early)
        for file in early:
            files.place(file.path)
            argv = next(argv for folder, argv in _EARLY.items() if folder in file.path)
            code, output = units.run(argv + [file.path], _VALIDATE_SECONDS)
            if code != 0:
                raise ServiceError(f"{argv[0]} refused {file.path}: {output.strip()[-500:]}")
        if early:
            state.point("early", self.name)

    def _stage(self, wanted: List[File]) -> None:
        for file in wanted:
            staged = files.stage(file, self.options.uploads.get(file.sha256), [])
            state.point("staged", self.name)
            if file.validate:
                code, output = units.run([word.replace("%s", staged) for word in file.validate], _VALIDATE_SECONDS)
                if code != 0:
                    raise ServiceError(f"{file.validate[0]} refused the new {file.path}: {output.strip()[-500:]}")
        state.point("validated", self.name)

    def _validate_whole(self) -> None:
        argv = self.wanted.get("validate") or self.entry.get("validate")
        if argv:
            code, output = units.run(argv, _VALIDATE_SECONDS)
            if code != 0:
                raise ServiceError(f"{' '.join(argv)} refused the new configuration: {output.strip()[-700:]}")
        state.point("checked", self.name)

    def try_stage(self) -> None:
        """Stages and validates, then drops the staged copies: what a deferred service can be told today."""
        testable = [file for file, _found in self.changes if file.validate and not files.missing_directories(file.path)]
        try:
            self._stage(testable)
        finally:
            for file in testable:
                files.remove(files.staged_path(file.path))

    def _clean_staged(self) -> None:
        if (self.record.content or {}).get("pending"):
            for path in self.record.manifest()["entries"]:
                files.remove(files.staged_path(path))

    def _remove_unless_shared(self, path: str) -> None:
        if all(claim == (self.owned.federation, self.name) for claim in state.claims(path)):
            files.remove(path)
            state.point("removed", self.name)

    # -- act and settle ------------------------------------------------------------------------------------------------

    def enable(self) -> None:
        """Enables (or, stopped and transient ones, disables) units, lifting masks."""
        for name in self.to_enable:
            if self.wanted["state"] != "started" or self.options.transient:
                units.must("disable", name)
                continue
            if self._shown[name].enabled.startswith("masked"):
                units.must("unmask", name)
                units.must("unmask", "--runtime", name)
            units.must("enable", name)
        if self.reload_manager and not self.distribution:
            for (name, unit), path in zip(units.show(self._own_units()).items(), self.unit_paths):
                if unit.fragment != path:
                    raise ServiceError(f"{name} is loaded from {unit.fragment or 'nowhere'} and not from {path}: remove what hides it")
        state.point("enabled", self.name)

    def _own_units(self) -> List[str]:
        return [unit["name"] for unit in self.wanted["units"]]

    def act(self) -> None:
        """Starts, restarts, reloads or stops. That the unit is well afterwards is for settle() to see."""
        self.acted = self.action != "none"
        self._since = time.time()
        names = self.names_to_act()
        if self.action == "stop":
            units.must("stop", *names)
        elif self.action == "reload":
            units.must("reload", self.main)
        elif self.action != "none":
            units.verb("reset-failed", *names)
            flags = ["--no-block"] if self.wanted["type"] == "job" else []
            units.verb(*flags, self.action, *names)
        state.point("acted", self.name)

    def names_to_act(self) -> List[str]:
        """The main unit and those that run beside it."""
        return [self.main] + self._secondary()

    def acted_together(self, since: float) -> None:
        """The unit was started in one call with others'."""
        self.acted, self._since = True, since

    def settle(self) -> None:
        """Waits for health, then notes what the service was healthy with."""
        items = self._items
        invocation = None
        if self.wanted["state"] == "started":
            proving = self.action in ("start", "restart")
            before = self._shown[self.main].restarts if not proving else 0
            reason = self._wait(self.wanted["health"], before, proving)
            if reason:
                raise ServiceError(reason)
            self.outcome.healthy = True
            invocation = units.show([self.main])[self.main].invocation if self.differs else None
        state.point("healthy", self.name)
        if self.differs:
            if self._entry_differs():
                self._save_entry(self._entry(), [])
            self.record.save({"items": items, "invocation": invocation, "health": self.wanted["health"]})
            state.point("recorded", self.name)
            self.record.drop_former()
            self.outcome.changed = True
            self.outcome.action = PAST[self.action]
            state.point("cleaned", self.name)

    def _wait(self, spec: Dict[str, Any], restarts: int, proving: bool) -> Optional[str]:
        if self.finished:
            return None
        return health.wait(self.main, spec, self.wanted["type"] == "job", self.wanted["finished"], restarts, proving)

    @property
    def finished(self) -> bool:
        """Whether this is a job whose work is done."""
        return bool(self.wanted["finished"]) and os.path.exists(self.wanted["finished"])

    # -- undo ----------------------------------------------------------------------------------------------------------

    def undo(self, reason: str) -> None:
        """Puts the former state back after a failure, and says what became of it."""
        self.failed = True
        self.outcome.healthy = False
        self.outcome.reason = reason
        names = self.unit_names
        if self.acted:
            self.outcome.journal = units.journal(names, self._since)
        state.point("undoing", self.name)
        try:
            self.outcome.reason += self._undo()
        except (ServiceError, OSError) as error:
            self.outcome.reason += f"; putting the former state back failed too ({error}): the next run tries again"

    def _undo(self) -> str:
        manifest = self.record.manifest()
        if not manifest["entries"]:
            return "; nothing was changed" if not self.acted else "; there is no former state to put back"
        born = [os.path.basename(path) for path in self.unit_paths if manifest["entries"].get(path, {}).get("kind") == "absent"]
        if born:
            units.verb("disable", "--now", *born)
        touched = self.record.put_back()
        state.point("restored", self.name)
        if any(path.startswith((units.PERMANENT, units.TRANSIENT)) for path in touched):
            units.reload_manager()
        for name in manifest["enabled"]:
            units.verb("enable", name)
        self.outcome.rolled_back = True
        self.outcome.changed = bool(touched) or self.acted
        former = self._former_again(manifest["was_running"])
        if manifest["owned"]:
            self._save_entry(manifest["owned"], [])
        else:
            self._forget_entry()
        return former

    def _former_again(self, was_running: bool) -> str:
        """Brings the former process back, where one was running; returns what to tell of it."""
        said, record = "; rolled back, it was not running before", dict(self.record.content or {})
        record.pop("pending", None)
        if not was_running and not self.distribution:
            units.verb("stop", self.main)
            units.verb("reset-failed", self.main)
        elif was_running:
            said = "; rolled back, the former service is running"
            wrong = self._restart_former(record) if self.acted else None
            if wrong:
                said, record["pending"] = f"; rolled back, but the former service isn't well either: {wrong}", "restart"
        if record.get("items"):
            self.record.save(record)
            self.record.drop_former()
        else:
            self.record.forget()
        return said

    def _restart_former(self, record: Dict[str, Any]) -> Optional[str]:
        units.verb("reset-failed", self.main)
        units.verb("reload" if self.action == "reload" else "restart", self.main)
        wrong = self._wait(record.get("health") or self.wanted["health"], 0, True)
        record["invocation"] = units.show([self.main])[self.main].invocation
        return wrong

    # -- removal -------------------------------------------------------------------------------------------------------

    def _data(self) -> List[str]:
        return list(dict.fromkeys(self.entry.get("data", []) + self._left_data()))

    def _stray_unit(self) -> Optional[str]:
        """A unit of this name that owned.json doesn't know, after that file was lost."""
        path = f"{units.PERMANENT}/fedlearn-{self.name}.service"
        return path if not self.entry and os.path.lexists(path) and not any(state.claims(path)) else None

    def withdraw(self) -> None:
        """Stops and removes the service: units, files, our state of it; data only when told."""
        stray = self._stray_unit()
        names = list(self.entry.get("units", [])) + ([os.path.basename(stray)] if stray else [])
        paths = list(self.entry.get("files", [])) + ([stray] if stray else [])
        if names:
            units.verb("disable", "--now", *names)
            still = [name for name, unit in units.show(names).items() if unit.running]
            if still:
                raise ServiceError(f"{', '.join(still)} cannot be stopped")
        state.point("stopped", self.name)
        if self.distribution:
            self.record.keep_former([(path, True) for path in paths], {"was_running": True, "enabled": [], "owned": self.entry})
        for path in paths:
            self._remove_unless_shared(path)
        if names:
            units.reload_manager()
            units.verb("reset-failed", *names)
        elif self.distribution:
            self._validate_whole()
            if units.show([self.distribution])[self.distribution].active == "active":
                units.must("reload", self.distribution)
        if self.options.remove_data:
            for path in self._data():
                state.remove_data(path)
        self.record.forget()
        self._forget_entry()
        self.outcome.changed, self.outcome.action = True, "removed"
        state.point("forgotten", self.name)

    def _forget_entry(self) -> None:
        data = [path for path in self._data() if state.data_exists(path)]
        entry = self.owned.services.pop(self.name, {})
        for directory in reversed(entry.get("directories", [])):
            files.remove_empty(directory)
        self.owned.left_data.pop(self.name, None)
        if data:
            self.owned.left_data[self.name] = {"data": data}
        self.owned.save()


PAST = {"none": "none", "start": "started", "restart": "restarted", "reload": "reloaded", "stop": "stopped"}


def _is_early(path: str) -> bool:
    return any(folder in path for folder in _EARLY)
