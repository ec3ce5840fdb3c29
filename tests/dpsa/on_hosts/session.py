# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A session of the published client on the controller's host, as long as a test takes; Python 3.9.

session.py control FOLDER        opens one, says FOLDER/task, collects when there is FOLDER/collect, and ends it
session.py upload FOLDER NAME    submits one report after the other, until there is FOLDER/stop; FOLDER/NAME counts
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import dpsa4fl_bindings as library
import numpy

MANAGERS = ("http://127.0.0.1:9981", "http://127.0.0.1:9982")
VECTOR = numpy.array([0.125] * 8, dtype=numpy.float32)
EPSILON, FIXED_BITS = 1.0, 16
PAUSE_SECONDS = 0.3


def write(path: Path, text: str) -> None:
    """A file, whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def control(room: Path) -> None:
    """The session, whose keys are in this process alone."""
    state = library.controller_api_new_state(len(VECTOR), EPSILON, FIXED_BITS, *MANAGERS)
    library.controller_api_create_session(state)
    try:
        write(room / "task", library.controller_api_start_round(state))
        while not (room / "collect").exists():
            time.sleep(0.5)
        write(room / "collected", json.dumps([float(value) for value in library.controller_api_collect(state)]))
    finally:
        library.controller_api_end_session(state)


def upload(room: Path, name: str) -> None:
    """Counts what was taken, and what a client was told when it wasn't; panics of the library are no Exception.

    The client asks managers once, at its first report, so that it can go on without them.
    """
    task, taken, missed = (room / "task").read_text(), 0, []
    client = library.client_api_new_state(*MANAGERS)
    while not (room / "stop").exists():
        try:
            library.client_api_submit(client, task, VECTOR)
            taken += 1
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            missed.append(str(error).partition("\n\nStack backtrace:")[0])
        write(room / name, json.dumps({"taken": taken, "missed": missed}))
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    what, folder, *more = sys.argv[1:]
    {"control": control, "upload": upload}[what](Path(folder), *more)
