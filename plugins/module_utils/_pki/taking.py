# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs on the host when provided files change: they are proven and laid in place, and their services load them.

Services are those that remember other content of these files than there is now; each is reloaded or restarted as its
``watch`` says. What one loaded is noted in its record, so that the next run finds nothing to do.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import acme, files
from .description import Description
from .installed import Installed, Layout, locked, recorded
from .openssl import OpensslError
from .outcome import RefusedError
from .provided import from_record, provide

_PATIENCE = 20.0
"""Seconds in which both files of a pair are there: they are renewed one after the other."""
_SERVICE_WAIT = 600.0
_RANK = ("none", "reload", "restart")


def main(federation: str, renewal: str = "") -> int:
    """The program's exit status. With ``renewal`` ACME servers are asked first for what is due."""
    layout = Layout()
    try:
        wrong = acme.renew(layout, federation) if renewal else []
        wrong += _take_and_load(layout, federation)
    except (files.FileTroubleError, OSError, ValueError) as error:
        wrong = [str(error)]
    for line in wrong:
        _say(line)
    return 1 if wrong else 0


def _say(line: str) -> None:
    """A line for the journal."""
    sys.stdout.write(f"{line}\n")


def _take_and_load(layout: Layout, federation: str) -> list[str]:
    end = time.monotonic() + _PATIENCE
    while True:
        with locked(layout):
            wrong = take(layout, federation)
        if not wrong or time.monotonic() > end:
            break
        time.sleep(1)
    return wrong + load(layout, federation)


def take(layout: Layout, federation: str) -> list[str]:
    """Take in what was renewed; what went wrong, one line a certificate."""
    wrong = []
    for name in recorded(layout, federation):
        source = from_record(Installed(layout, Description(name, federation, "present"), create=False).record)
        if source is None:
            continue
        try:
            outcome = provide(layout, *source, time.time())
        except (RefusedError, OpensslError, files.FileTroubleError, OSError) as error:
            wrong.append(f"certificate {name}: {error}")
        else:
            if outcome.changed:
                _say(f"certificate {name}: {outcome.action}")
    return wrong


def load(layout: Layout, federation: str) -> list[str]:
    """Have each service load what changed below the directory of certificates; what went wrong, a line each."""
    mine = os.path.join(layout.configuration, "fedlearn", federation, "pki") + os.sep
    wrong: list[str] = []
    with _service_lock(layout):
        for unit, services in _concerned(layout, mine).items():
            change = max((change for service in services for change in service.changes), key=_RANK.index)
            if change != "none" and _act(unit, change):
                wrong.append(f"{unit} couldn't {change}: see its journal; its files are in place")
                continue
            _say(f"{unit}: {change}")
            for service in services:
                service.note()
    return wrong


@dataclass
class _Service:
    """A service whose files changed since it loaded them: its record, and their digests now."""

    path: str
    record: dict[str, Any]
    now: dict[str, str]

    @property
    def changes(self) -> list[str]:
        return [self.record["items"][path][0] for path in self.now]

    def note(self) -> None:
        """Remember that it loaded them."""
        for path, digest in self.now.items():
            self.record["items"][path][1] = digest
        files.write(self.path, (json.dumps(self.record, indent=1, sort_keys=True) + "\n").encode(), 0o600)


def _concerned(layout: Layout, mine: str) -> dict[str, list[_Service]]:
    """Running units, each with its services, of which a unit like nginx's has several."""
    found: dict[str, list[_Service]] = {}
    for place, name, record in _records(layout):
        items: dict[str, list[str]] = record.get("items") or {}
        now = {path: _digest(path) for path in items if path.startswith(mine)}
        now = {path: digest for path, digest in now.items() if digest != items[path][1]}
        unit = _unit(place, name) if now and not record.get("pending") else None
        if unit and not _systemctl("is-active", "--quiet", unit):
            found.setdefault(unit, []).append(_Service(os.path.join(place, "services", f"{name}.json"), record, now))
    return found


def _act(unit: str, change: str) -> int:
    """Reload where it can, else restart; not 0 when the unit doesn't run afterwards."""
    verb = "reload-or-restart" if change == "reload" else "restart"
    return _systemctl(verb, unit) or _systemctl("is-active", "--quiet", unit)


def _systemctl(*words: str) -> int:
    return subprocess.run(["systemctl", *words], capture_output=True, check=False).returncode


def _records(layout: Layout) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """State directory of a federation, name and record of each service on this host: any may read these files."""
    root = os.path.join(layout.state, "fedlearn")
    for federation in sorted(os.listdir(root)):
        place = os.path.join(root, federation)
        folder = os.path.join(place, "services")
        for entry in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            found = files.read(os.path.join(folder, entry)) if entry.endswith(".json") else None
            if found:
                yield place, entry[: -len(".json")], json.loads(found.content)


def _unit(place: str, name: str) -> str | None:
    """The main unit of a service, by owned.json."""
    found = files.read(os.path.join(place, "owned.json"))
    entry = json.loads(found.content)["services"].get(name) if found else None
    return (entry["unit"] or next(iter(entry["units"]), None)) if entry else None


def _digest(path: str) -> str:
    """As the record of a service has it."""
    found = files.read(path)
    return hashlib.sha256(found.content).hexdigest() if found else "absent"


@contextlib.contextmanager
def _service_lock(layout: Layout) -> Iterator[None]:
    """The lock of whoever changes services on this host."""
    path = os.path.join(layout.run, "fedlearn", "lock")
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with files.lock(path, _SERVICE_WAIT):
        yield
