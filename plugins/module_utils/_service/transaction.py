# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changing one service: place files, act on processes, settle when it is healthy; undo when one of these fails."""

from __future__ import annotations

import os
import time
from typing import Any

from ansible_collections.fedlearn.infra.plugins.module_utils._service import files, health, listeners, state, units
from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import File, ServiceError
from ansible_collections.fedlearn.infra.plugins.module_utils._service.service import PAST, Options, Present

# Where tests can end or hold a run, in this order; those of a failure and of a removal come last.
STEPS = (
    "locked",
    "compared",
    "journalled",
    "staged",
    "validated",
    "renamed",
    "placed",
    "checked",
    "enabled",
    "reloaded",
    "acted",
    "healthy",
    "recorded",
    "cleaned",
)
UNDO_STEPS = ("undoing", "restored", "undone")
REMOVAL_STEPS = ("stopped", "removed", "withdrawn", "forgotten")

# Users and directories first: other files may belong to them.
_APPLY = {"/sysusers.d/": ["systemd-sysusers"], "/tmpfiles.d/": ["systemd-tmpfiles", "--create"]}  # noqa: S108 - no temporary file


class Transaction(Present):
    """One service on its way from what was found to what is wanted."""

    def __init__(self, wanted: dict[str, Any], owned: state.Owned, options: Options) -> None:
        super().__init__(wanted, owned, options)
        self.acted = False
        self._since = time.time()

    # -- place ---------------------------------------------------------------------------------------------------------

    def place(self) -> None:
        """Brings all files into place: staged, validated one by one, renamed, validated as a whole.

        The whole is validated before any action, also when it is only a watched file that changed.
        """
        state.point("compared", self.name)
        self._clean_staged()
        if self.record.stale:  # else this change would be undone to what was before the last one
            self.record.drop_former()
        if self.changes or self.obsolete or self.obsolete_units:
            self._journal()
            self._place_files()
            for name in self.obsolete_units:
                units.verb("disable", "--now", name)
            for path in self.obsolete:
                self.remove_unless_shared(path)
            state.point("placed", self.name)
            if not self.only_limits:
                self.validate_whole()
        elif self.action in ("start", "restart", "reload"):
            self.validate_whole()

    def _clean_staged(self) -> None:
        """Removes what a killed run had staged."""
        if (self.record.content or {}).get("pending"):
            for path in self.record.manifest()["entries"]:
                files.remove(files.staged_path(path))

    def _journal(self) -> None:
        """Notes on disk what is about to change, so that a run killed from here on is finished by the next."""
        paths = [(file.path, file.restore) for file, _found in self.changes] + [(path, True) for path in self.obsolete]
        shown = [self.shown[name] for name in self.unit_names]
        enabled = [unit.name for unit in shown if unit.enabled == "enabled"]
        foreign = [path for path in self.wanted["data"] if path not in self.data and state.data_exists(path)]
        about = {"was_running": shown[0].running, "enabled": enabled, "owned": self.entry, "foreign": foreign}
        self.record.keep_former(paths, about)
        self.foreign = self.record.foreign
        record = dict(self.record.content or {})
        if self.action in ("restart", "reload"):
            record["pending"] = self.action
        record.setdefault("pending", "none")
        self.record.save(record)
        entry = self.wanted_entry()
        for key in ("units", "files"):
            entry[key] = entry[key] + [one for one in self.entry.get(key, []) if one not in entry[key]]
        self.save_entry(entry, self._directories())
        state.point("journalled", self.name)

    def _directories(self) -> list[str]:
        """Directories that exist for our files only: those to be made now, and those made for other services."""
        missing = [one for file, _found in self.changes for one in files.missing_directories(file.path)]
        shared = state.directories()
        return missing + [one for one in shared if any(file.path.startswith(one + "/") for file in self.files)]

    def _place_files(self) -> None:
        changing = [file for file, _found in self.changes]
        for file in changing:
            argv = next((argv for folder, argv in _APPLY.items() if folder in file.path), None)
            if argv:
                self._stage(file)
                files.place(file.path)
                self._run([*argv, file.path], f"{argv[0]} refused {file.path}")
        later = [file for file in changing if not any(folder in file.path for folder in _APPLY)]
        for file in later:
            self._stage(file)
        state.point("validated", self.name)
        for file in later:
            files.place(file.path)
            state.point("renamed", self.name)

    def _stage(self, file: File) -> None:
        staged = files.stage(file, self.options.uploads.get(file.sha256))
        state.point("staged", self.name)
        if file.validate:
            argv = [word.replace("%s", staged) for word in file.validate]
            self._run(argv, f"{units.spoken(argv)} refused the new {file.path}")

    @staticmethod
    def _run(argv: list[str], refusal: str) -> None:
        code, output = units.run(argv, units.VALIDATE_SECONDS)
        if code != 0:
            raise ServiceError(f"{refusal}: {units.ending(output)}")

    def try_stage(self) -> None:
        """Stages and validates, then drops the staged copies: what a deferred service can be told today."""
        tested = [file for file, _found in self.changes if file.validate and not files.missing_directories(file.path)]
        try:
            for file in tested:
                self._stage(file)
        finally:
            for file in tested:
                files.remove(files.staged_path(file.path))

    # -- act -----------------------------------------------------------------------------------------------------------

    def enable(self) -> None:
        """Enables units, lifting masks; disables those of stopped services. systemd is told once for all services."""
        for name in self.to_enable:
            if not self.enabling:
                units.must("disable", "--no-reload", name)
                continue
            if self.shown[name].enabled.startswith("masked"):
                units.must("unmask", "--no-reload", name)
                units.must("unmask", "--no-reload", "--runtime", name)
            units.must("enable", "--no-reload", name)
        state.point("enabled", self.name)

    def refuse_hidden_units(self) -> None:
        """Raises ServiceError where systemd has a unit from another file than ours."""
        if not self.reload_manager or not self.unit_paths:
            return
        for unit, path in zip(units.show(self.own_units).values(), self.unit_paths):
            if unit.fragment != path:
                loaded = unit.fragment or "nowhere"
                raise ServiceError(f"{unit.name} is loaded from {loaded} and not from {path}: remove what hides it")

    def act(self) -> None:
        """Starts, restarts, reloads or stops. That the unit is well afterwards is for settle() to see."""
        self.begin_acting()
        names = self.acting_units
        if self.action == "stop":
            units.must("stop", *names)
        elif self.action == "reload":
            units.must("reload", self.main)
        elif self.action != "none":
            units.verb("reset-failed", *names)
            units.verb(*(["--no-block"] if self.wanted["type"] == "job" else []), self.action, *names)
        state.point("acted", self.name)

    def begin_acting(self) -> None:
        """Remembers that, and from when on, its processes were touched."""
        self.acted = self.action != "none"
        if self.acted:  # its own check let it take over what was there
            self.foreign = []
        self._since = time.time()

    # -- settle --------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Waits for health, then notes what the service was healthy with."""
        if self.wanted["state"] == "started":
            self._await_health()
            self.outcome.healthy = True
            if self.acted and self.action == "restart":
                self.outcome.pause = round(time.time() - self._since, 1)
        if not self.differs:
            return
        state.point("healthy", self.name)
        if self.entry_differs:
            self.save_entry(self.wanted_entry(), [])
        invocation = units.show([self.main])[self.main].invocation if self.outcome.healthy else None
        proven = {"items": self.items, "units": self.unit_digests, "health": self.wanted["health"]}
        self.record.save({**proven, "invocation": invocation})
        state.point("recorded", self.name)
        self.record.drop_former()
        self.outcome.changed = True
        self.outcome.action = PAST[self.action]
        state.point("cleaned", self.name)

    def _await_health(self) -> None:
        unit = self.shown[self.main]
        if self.finished or not (self.acted or health.wrong_now(unit, self.wanted)):
            return
        reason = health.wait(self.main, self.wanted, 0 if self.action in ("start", "restart") else unit.restarts)
        if reason:
            raise ServiceError(reason)

    # -- undo ----------------------------------------------------------------------------------------------------------

    def undo(self, reason: str) -> None:
        """Puts the former state back after a failure, and says what became of it."""
        self.failed = True
        self.outcome.healthy = False
        self.outcome.reason = reason
        if self.acted:
            self.outcome.journal = units.journal(self.unit_names, self._since)
            held = listeners.held(self.unit_names, self.wanted["ports"])
            self.outcome.reason += f"; {held}" if held and "by another program" not in reason else ""
        state.point("undoing", self.name)
        try:
            self.outcome.reason += self._undo()
        except (ServiceError, OSError) as error:
            self.outcome.reason += f"; putting the former state back failed too ({error}): the next run tries again"
        state.point("undone", self.name)

    def _undo(self) -> str:
        manifest = self.record.manifest()
        entries = manifest["entries"]
        born = [os.path.basename(path) for path in self.unit_paths if entries.get(path, {}).get("kind") == "absent"]
        again = [name for name in self.to_enable if self.enabling and name not in born]
        if "owned" not in manifest:
            return self._nothing_put_back() + self._enable_again(again)
        if born:
            units.verb("disable", "--now", *born)
        touched = self.record.put_back()
        state.point("restored", self.name)
        if any(path.startswith((units.PERMANENT, units.TRANSIENT)) for path in touched):
            units.reload_manager()
        for name in manifest["enabled"]:
            units.verb("enable", name)
        self.outcome.rolled_back = self.outcome.changed = bool(touched) or self.acted
        told = self._former_again(manifest["was_running"]) if self.outcome.changed else self._nothing_changed()
        self._remove_made_directories(manifest["owned"])
        if manifest["owned"]:
            self.save_entry(manifest["owned"], [])
        else:
            self.forget_entry()
        return told + self._enable_again(again)

    def _nothing_put_back(self) -> str:
        """What to tell where no file was to change."""
        if self.acted:
            return "; there is no former state to put back"
        touched = self.changes or self.obsolete or self.action != "none"
        if not touched and self.shown[self.main].running:
            return f"; nothing of it differs, so it was left running: if it hangs, `systemctl restart {self.main}`"
        return "; nothing was changed"

    def _enable_again(self, names: list[str]) -> str:
        """Enables units that somebody disabled: they are to start with the host, with the former files as well."""
        enabled = [name for name in names if units.verb("enable", name)[0] == 0]
        self.outcome.changed = self.outcome.changed or bool(enabled)
        return f"; enabled again: {', '.join(enabled)}" if enabled else ""

    def _remove_made_directories(self, former: dict[str, Any]) -> None:
        """Removes what was made for the change; what somebody else uses by now stays remembered."""
        before, now = former.get("directories", []), self.entry.get("directories", [])
        for directory in sorted(set(now) - set(before), reverse=True):
            files.remove_empty(directory)
        self.entry["directories"] = [one for one in now if one in before or os.path.lexists(one)]

    def _nothing_changed(self) -> str:
        """The failure came before the first rename: only what was noted for it goes."""
        record = dict(self.record.content or {})
        record.pop("pending", None)
        self._end_record(record)
        return "; nothing was changed"

    def _end_record(self, record: dict[str, Any]) -> None:
        if record.get("items"):
            self.record.save(record)
            self.record.drop_former()
        else:
            self.record.forget()

    def _former_again(self, was_running: bool) -> str:
        """Brings the former process back, where one was running; returns what to tell of it."""
        told = "; rolled back, it was not running before"
        record = dict(self.record.content or {})
        record.pop("pending", None)
        if was_running:
            told = "; rolled back, the former service is running"
            wrong = self._restart_former(record) if self.acted else None
            if wrong:
                told = f"; rolled back, but the former service isn't well either: {wrong}"
                record["pending"] = "restart"
        elif not self.distribution:
            units.verb("stop", self.main)
            units.verb("reset-failed", self.main)
        self._end_record(record)
        return told

    def _restart_former(self, record: dict[str, Any]) -> str | None:
        units.verb("reset-failed", self.main)
        units.verb("reload" if self.action == "reload" else "restart", self.main)
        wrong = None if self.finished else health.wait(self.main, self.former, 0)
        record["invocation"] = units.show([self.main])[self.main].invocation
        return wrong
