# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One service on one host: what is wanted of it, what was found, and what differs. Nothing here changes the host."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.fedlearn.infra.plugins.module_utils._service import files, limits, listeners, state, units
from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import File, Found, ServiceError

PAST = {"none": "none", "start": "started", "restart": "restarted", "reload": "reloaded", "stop": "stopped"}
_TOLD_BYTES = 1000
_RANK = {"none": 0, "reload": 1, "restart": 2}


@dataclass
class Options:
    """What one call is to do."""

    remove_data: bool
    transient: bool
    uploads: dict[str, str]  # sha256 -> where the large file arrived
    keeping: bool = False  # whether lines stay that files keep


@dataclass
class Outcome:
    """What the module returns of one service."""

    changed: bool = False
    action: str = "none"
    deferred: bool = False
    kept: bool = False
    healthy: bool | None = None
    pause: float = 0.0
    rolled_back: bool = False
    reason: str = ""
    journal: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    inside: str = ""
    files: list[str] = field(default_factory=list)


class Service:
    """One instance: its description (`wanted`), its entry in owned.json, its record, and what compare() found."""

    absent = False

    def __init__(self, wanted: dict[str, Any], owned: state.Owned, options: Options) -> None:
        self.name: str = wanted["name"]
        self.wanted, self.owned, self.options = wanted, owned, options
        self.outcome = Outcome()
        self.record = state.Record(owned.federation, self.name)
        self.foreign = self.record.foreign
        self.entry: dict[str, Any] = owned.services.get(self.name) or {}
        self.distribution: str | None = wanted["unit"] or self.entry.get("unit")
        self.files: list[File] = []
        self.failed = False
        self.differs = False  # whether a run would change anything
        self.action = "none"  # none, start, restart, reload, stop
        self.changes: list[tuple[File, Found]] = []
        self.obsolete: list[str] = []
        self.to_enable: list[str] = []
        self.unwell: dict[str, str] = {}  # stopped, ill, differing or failed -> the reason
        self.warning = ""

    @property
    def unit_names(self) -> list[str]:
        """The units this service is about, the main one first."""
        if self.distribution:
            return [self.distribution]
        names = [unit["name"] for unit in self.wanted["units"]]
        return names + [name for name in self.entry.get("units", []) if name not in names]

    def compare(self, shown: dict[str, units.Unit]) -> None:
        """Finds all that differs."""
        self.shown = shown
        ours = {file.path for file in self.files} | set(self.entry.get("files", []))
        found = [path for name in self.unit_names for path in shown[name].dropins]
        self.outcome.overrides = [path for path in dict.fromkeys(found) if path not in ours]

    @property
    def missing_uploads(self) -> list[str]:
        """Digests of large files that have to be transferred first."""
        return []

    @property
    def interrupts(self) -> bool:
        """Whether a running process would be restarted."""
        return False

    @property
    def idle(self) -> list[units.Unit]:
        """Its units that are to run and don't."""
        return []

    @property
    def differing(self) -> str:
        """In words, what a run would change beside starting what is idle; empty where that is nothing."""
        return "would be removed" if self.differs else ""

    # -- what owned.json says of it ------------------------------------------------------------------------------------

    @property
    def data(self) -> list[str]:
        """Where its data lie, also those that stayed when it was removed."""
        known = dict.fromkeys(self.entry.get("data", []) + self.left_data)
        return [path for path in known if path not in self.foreign]

    @property
    def left_data(self) -> list[str]:
        left: list[str] = (self.owned.left_data.get(self.name) or {}).get("data", [])
        return left

    def save_entry(self, entry: dict[str, Any], made: list[str]) -> None:
        """Writes its entry; `made` are directories that exist because of it."""
        entry["directories"] = list(dict.fromkeys(self.entry.get("directories", []) + made))
        left = [path for path in self.left_data if path not in entry["data"]]
        self.owned.services[self.name] = self.entry = entry
        self._keep_left(left)

    def forget_entry(self) -> None:
        """Removes its entry and the directories made for it; data that exist stay remembered."""
        left = [path for path in self.data if state.data_exists(path)]
        entry = self.owned.services.pop(self.name, {})
        for directory in sorted(entry.get("directories", []), reverse=True):
            files.remove_empty(directory)
        self._keep_left(left)

    def _keep_left(self, left: list[str]) -> None:
        self.owned.left_data.pop(self.name, None)
        if left:
            self.owned.left_data[self.name] = {"data": left}
        self.owned.save()

    def remove_unless_shared(self, path: str) -> None:
        """Removes a file of ours that no other service, of any federation, needs."""
        if all(claim == (self.owned.federation, self.name) for claim in state.claims(path)):
            files.remove(path)
            state.point("removed", self.name)

    def validate_whole(self) -> None:
        """Runs the service's own check of all its configuration in place."""
        argv = self.wanted["validate"] or self.entry.get("validate")
        if argv:
            code, output = units.run(argv, units.VALIDATE_SECONDS)
            if code != 0:
                raise ServiceError(f"{units.spoken(argv)} refused the new configuration: {units.ending(output)}")
        state.point("checked", self.name)


class Present(Service):
    """A service that is to be there."""

    def __init__(self, wanted: dict[str, Any], owned: state.Owned, options: Options) -> None:
        super().__init__(wanted, owned, options)
        self.distribution = wanted["unit"]
        self.reload_manager = False
        self.obsolete_units: list[str] = []
        self.items: dict[str, list[str]] = {}  # path -> [change, digest]: what the process depends on
        self.limited: set[str] = set()  # units and drop-ins of which nothing but limits differs
        directory = units.TRANSIENT if options.transient else units.PERMANENT
        for unit in wanted["units"]:
            self.files.append(_unit_file(f"{directory}/{unit['name']}", unit["content"].encode()))
        self.unit_paths = [file.path for file in self.files]
        self.files += [File(**file) for file in wanted["files"]]

    @property
    def main(self) -> str:
        return self.unit_names[0]

    @property
    def enabling(self) -> bool:
        """Whether its units are to start with the host."""
        return self.wanted["state"] == "started" and not self.options.transient

    @property
    def finished(self) -> bool:
        """Whether this is a job whose work is done."""
        return bool(self.wanted["finished"]) and os.path.exists(self.wanted["finished"])

    @property
    def told(self) -> str:
        """What a job that is done says of its end: the text in that file, mostly none. Its own user writes it."""
        path = self.wanted["finished"]
        if not self.finished or files.look(path).size > _TOLD_BYTES:
            return ""
        return files.read(path).decode("utf-8", "replace").strip()

    @property
    def own_units(self) -> list[str]:
        return [unit["name"] for unit in self.wanted["units"]]

    @property
    def acting_units(self) -> list[str]:
        """The main unit and those that are started beside it."""
        return [self.main] + [unit["name"] for unit in self.wanted["units"][1:] if unit["install"]]

    def compare(self, shown: dict[str, units.Unit]) -> None:
        super().compare(shown)
        self._refuse_foreign_units()
        self._refuse_foreign_data()
        if self.options.keeping:
            self._keep_lines()
        found = {file.path: files.look(file.path) for file in self.files}
        self.changes = [(file, found[file.path]) for file in self.files if not _same(file, found[file.path])]
        self.obsolete = [path for path in self.entry.get("files", []) if path not in found and os.path.lexists(path)]
        if not self.distribution:
            self.obsolete_units = [name for name in self.entry.get("units", []) if name not in self.own_units]
        self._compare_units()
        self.items = {file.path: [file.change, file.digest()] for file in self.files}
        for watch in self.wanted["watch"]:
            self.items[watch["path"]] = [watch["change"], files.digest_tree(watch["path"])]
        if self.wanted["inside_change"] != "none" and not self.changes and shown[self.main].running:
            self.look_inside()
        self.action = self._needed_action(found)
        record = self.record.content or {}
        self.differs = bool(
            self.changes
            or self.obsolete
            or self.obsolete_units
            or self.to_enable
            or self.reload_manager
            or self.action != "none"
            or self.entry_differs
            or record.get("pending")
            or self.record.stale
            or record.get("items") != self.items
        )

    def refuse_held_ports(self, moving: Collection[str]) -> None:
        """Raises ServiceError where it can't listen, since others do: what runs would be stopped for nothing, and what
        reloads may go on without a word.

        ``moving`` are units of this very run, which may leave a port that another one of it takes.
        """
        if self.action in ("start", "restart", "reload"):
            held = listeners.held({*self.unit_names, *moving}, self.wanted["ports"])
            if held:
                raise ServiceError(held)

    def _keep_lines(self) -> None:
        """Leaves in our own files the lines they keep; the call that comes later takes them out."""
        ours = self.entry.get("files", [])
        kept = [files.with_kept_lines(one, files.read(one.path)) if one.path in ours else one for one in self.files]
        self.outcome.kept = kept != self.files
        self.files = kept

    def look_inside(self) -> None:
        """Asks it by its own command whether what it holds is as it was made; silence says that it is."""
        if not self.wanted["inside"]:
            return
        code, output = units.run(self.wanted["inside"], units.VALIDATE_SECONDS)
        self.outcome.inside = units.ending(output) or ("" if code == 0 else f"exit status {code}")

    def _refuse_foreign_units(self) -> None:
        for path in self.unit_paths:
            if path in self.entry.get("files", []):
                continue
            for federation, name in state.claims(path):
                if (federation, name) != (self.owned.federation, self.name):
                    raise ServiceError(f"{path}: belongs to service {name} of federation {federation}")

    def _refuse_foreign_data(self) -> None:
        for path in self.wanted["data"] if self.wanted["own_data"] else []:
            told = state.stranger(self.owned, self.name, path)
            if told:
                raise ServiceError(told)

    def _compare_units(self) -> None:
        if self.distribution:
            if self.enabling and not self.shown[self.distribution].is_enabled:
                self.to_enable.append(self.distribution)
            self.reload_manager = self.shown[self.distribution].needs_reload
        for unit, path in zip(self.wanted["units"], self.unit_paths):
            shown = self.shown[unit["name"]]
            if shown.enabled == "enabled" if not self.enabling else unit["install"] and not shown.is_enabled:
                self.to_enable.append(unit["name"])
            if shown.needs_reload or shown.fragment != path:
                self.reload_manager = True
        if any(units.is_unit_file(file.path) for file, _found in self.changes) or self.obsolete_units:
            self.reload_manager = True

    def _needed_action(self, found: dict[str, Found]) -> str:
        unit = self.shown[self.main]
        if self.wanted["state"] == "stopped":
            return "stop" if unit.running else "none"
        if not unit.running:
            return "none" if self.finished else "start"
        record = self.record.content or {}
        before: dict[str, list[str]] = record.get("items", {})
        altered = {file.path: file.change for file, there in self.changes if there.sha256 != file.sha256}
        altered |= {
            path: change for path, (change, digest) in self.items.items() if before.get(path, [""])[-1] != digest
        }
        self.limited = self._limited(found, altered)
        classes = [change for path, change in altered.items() if path not in self.limited]
        classes += [change for path, (change, _digest) in before.items() if path not in self.items]
        classes.append(record.get("pending") or "none")
        if self.outcome.inside:
            classes.append(self.wanted["inside_change"])
        if not self.distribution and "items" not in record:
            classes.append("restart")  # who started that process, and with what, isn't known
        if unit.invocation != record.get("invocation"):
            # not the process that was proven healthy: it can't have read what was written after it started
            classes += [file.change for file in self.files if found[file.path].modified_ns / 1e9 > unit.started]
        if any(not self.shown[name].running for name in self.acting_units):
            classes.append("restart")
        strongest = max(classes, key=lambda change: _RANK[change])
        return "restart" if strongest == "reload" and not unit.can_reload else strongest

    @property
    def only_limits(self) -> bool:
        """Whether nothing but limits of what runs changes: nothing is asked of its configuration, nor of a process."""
        alone = {file.path for file, _found in self.changes} <= self.limited
        return bool(self.limited) and alone and self.action == "none" and not (self.obsolete or self.obsolete_units)

    def _limited(self, found: dict[str, Found], altered: Collection[str]) -> set[str]:
        """Of altered units and drop-ins those whose limits alone differ, and that its processes survive."""
        those = [
            file for file in self.files if file.path in altered and self._differs_in_limits(file, found[file.path])
        ]
        for file in those:
            unit = self.shown.get(limits.unit_of(file.path))
            low = limits.too_low(unit, file.content or b"") if unit else ""
            if low:
                self.warning = f"{low}: that takes a restart"
                return set()
        return {file.path for file in those}

    def _differs_in_limits(self, file: File, found: Found) -> bool:
        """Whether its process runs with this unit, as it lies there and as it is to be, but for limits."""
        if file.content is None or found.kind != "file" or not units.is_unit_file(file.path):
            return False
        record, there = self.record.content or {}, limits.digest_without(files.read(file.path))
        proven: str | None = record.get("units", {}).get(file.path)
        if proven is None:  # a record of a former release
            same = record.get("items", {}).get(file.path, [""])[-1] == replace(file, sha256=found.sha256).digest()
            proven = there if same else ""
        return limits.digest_without(file.content) == there == proven

    @property
    def unit_digests(self) -> dict[str, str]:
        """Units and drop-ins, without limits."""
        mine = [file for file in self.files if file.content is not None and units.is_unit_file(file.path)]
        return {file.path: limits.digest_without(file.content or b"") for file in mine}

    @property
    def missing_uploads(self) -> list[str]:
        return [
            file.sha256
            for file, found in self.changes
            if file.content is None and found.sha256 != file.sha256 and file.sha256 not in self.options.uploads
        ]

    @property
    def interrupts(self) -> bool:
        return self.action == "restart"

    @property
    def idle(self) -> list[units.Unit]:
        if self.wanted["state"] != "started" or self.finished:
            return []
        return [self.shown[name] for name in self.acting_units if not self.shown[name].running]

    @property
    def differing(self) -> str:
        before = (self.record.content or {}).get("items", {})
        paths = [file.path for file, _found in self.changes] + self.obsolete
        paths += [path for path in {**self.items, **before} if self.items.get(path) != before.get(path)]
        told = list(dict.fromkeys(paths)) + [f"unit {name}" for name in self.obsolete_units]
        told += [f"enablement of {name}" for name in self.to_enable]
        if self.wanted["inside_change"] != "none" and self.outcome.inside:
            told.append(self.outcome.inside)
        if self.idle:
            return ", ".join(told)
        if self.reload_manager and not told:
            told.append("what systemd has loaded")
        if self.entry_differs and not told:
            told.append("its entry in owned.json")
        if self.differs and not told and self.action == "none":
            told.append("what a run that was cut off left")
        doing = "" if self.action == "none" else f"would be {PAST[self.action]}"
        return "; ".join(part for part in (", ".join(told), doing) if part)

    @property
    def former(self) -> dict[str, Any]:
        """What is wanted, with the health that was last proven: that of a process which isn't changed yet."""
        return {**self.wanted, "health": (self.record.content or {}).get("health") or self.wanted["health"]}

    # -- what owned.json is to say of it -------------------------------------------------------------------------------

    def wanted_entry(self) -> dict[str, Any]:
        """Its entry in owned.json, but for the directories that were made for it."""
        return {
            "units": self.own_units,
            "unit": self.distribution,
            "type": self.wanted["type"],
            "files": [file.path for file in self.files],
            "ports": self.wanted["ports"],
            "data": self.wanted["data"],
            "validate": self.wanted["validate"],
            "transient": self.options.transient,
        }

    @property
    def entry_differs(self) -> bool:
        return {key: value for key, value in self.entry.items() if key != "directories"} != self.wanted_entry()


def _unit_file(path: str, content: bytes) -> File:
    return File(path, files.digest_of(content), len(content), 0o644, "root", "root", content)


def _same(file: File, found: Found) -> bool:
    """Whether a file is as it is to be."""
    if found.kind == "other":
        raise ServiceError(f"{file.path}: something that is neither file nor link lies there; move it away")
    if found.kind != "file" or found.sha256 != file.sha256 or found.mode != file.mode:
        return False
    try:
        return found.uid == files.uid_of(file.owner) and found.gid == files.gid_of(file.group)
    except ServiceError:
        return False  # its user comes with this very change
