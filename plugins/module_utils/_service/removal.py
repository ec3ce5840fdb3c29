# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Taking a service away: all that owned.json says belongs to it, its data only when told."""

from __future__ import annotations

import os
import time

from ansible_collections.fedlearn.infra.plugins.module_utils._service import files, state, units
from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import ServiceError
from ansible_collections.fedlearn.infra.plugins.module_utils._service.service import Service


def stray_unit(name: str) -> list[str]:
    """The unit file of a service that no owned.json knows (it was lost, or restored from an older backup)."""
    path = f"{units.PERMANENT}/fedlearn-{name}.service"
    return [path] if os.path.lexists(path) and not any(state.claims(path)) else []


class Removal(Service):
    """A service that is to go. Its entry stays until everything else is gone, so that a killed removal goes on."""

    absent = True

    def compare(self, shown: dict[str, units.Unit]) -> None:
        super().compare(shown)
        stray = [] if self.entry else stray_unit(self.name)
        self.obsolete = list(self.entry.get("files", [])) + stray
        self.to_stop = list(self.entry.get("units", [])) + [os.path.basename(path) for path in stray]
        data = self.options.remove_data and any(state.data_exists(path) for path in self.data)
        self.differs = bool(self.entry or self.obsolete or data or self.record.content is not None)

    def withdraw(self) -> None:
        """Stops, disables and removes the service; data only with `remove_data`."""
        self._stop()
        if self.distribution:
            about = {"was_running": True, "enabled": [], "owned": self.entry}
            self.record.keep_former([(path, True) for path in self.obsolete], about)
        for path in self.obsolete:
            files.remove(files.staged_path(path))
            self.remove_unless_shared(path)
        if any(units.is_unit_file(path) for path in self.obsolete):
            units.reload_manager()
        if self.to_stop:
            units.verb("reset-failed", *self.to_stop)
        if self.distribution:
            self._tell_distribution(self.distribution)
        state.point("withdrawn", self.name)
        if self.options.remove_data:
            for path in self.data:
                state.remove_data(path)
        self.record.forget()
        self.forget_entry()
        self.outcome.changed, self.outcome.action = True, "removed"
        state.point("forgotten", self.name)

    def _stop(self) -> None:
        if self.to_stop:
            units.verb("disable", "--now", *self.to_stop)
            units.verb("stop", *self.to_stop)
            still = [name for name, unit in units.show(self.to_stop).items() if unit.running]
            if still:
                raise ServiceError(f"{', '.join(still)} can't be stopped")
        state.point("stopped", self.name)

    def _tell_distribution(self, unit: str) -> None:
        self.validate_whole()
        shown = units.show([unit])[unit]
        if shown.active == "active":
            units.must("reload" if shown.can_reload else "restart", unit)

    def undo(self, reason: str) -> None:
        """Puts a distribution unit's files back; everything else that is gone stays gone, the next run goes on."""
        self.failed = True
        since = time.time()
        self.outcome.reason = reason
        if self.distribution:
            try:
                touched = self.record.put_back()
                self.record.drop_former()
                self.outcome.rolled_back = bool(touched)
                self.outcome.reason += "; its files were put back" if touched else ""
            except (ServiceError, OSError) as error:
                self.outcome.reason += f"; putting its files back failed too ({error}): the next run tries again"
        self.outcome.journal = units.journal(self.unit_names, since) if self.unit_names else []
