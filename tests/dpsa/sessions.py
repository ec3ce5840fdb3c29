# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sessions of the published client that go on while something happens to both sides; doubles have none."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

from parties import CHECKOUT, CONTROLLER, LEADER, rows_of

PROGRAM = Path(__file__).with_name("on_hosts") / "session.py"
REQUIREMENTS = CHECKOUT / "roles" / "dpsa_round" / "files" / "requirements.txt"
ROOM, CLIENT = "/root/session", "/root/client"
"""On the controller's host."""
PATIENCE_SECONDS = 300
CLIENTS = ("one", "two")


def on_controller(command: str) -> str:
    return LEADER.sh(command, CONTROLLER)


def bring_client() -> None:
    """The client as a verify round has it, in an environment that stays."""
    make = "apt-get install -qq -y python3-venv >/dev/null 2>&1 && python3 -m venv " + CLIENT
    install = f"{CLIENT}/bin/pip install --quiet --require-hashes --requirement {CLIENT}/requirements.txt"
    laid = f"cat >{CLIENT}/requirements.txt <<'FILE'\n{REQUIREMENTS.read_text()}FILE"
    there = f"{CLIENT}/is-there"
    on_controller(f"[ -e {there} ] && exit; set -e\n{make}\n{laid}\n{install} >&2\ntouch {there}")


def wait_for(command: str, what: str) -> str:
    """What the controller's host prints once a command succeeds there."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (told := on_controller(f"{command} 2>/dev/null || true")):
        log = on_controller("journalctl -u fedlearn-test-control -n 20 -o cat || true")
        assert time.monotonic() < deadline, f"{what}:\n{log}"
        time.sleep(1)
    return told


class Session:
    """One round of the controller's, which ends with this block."""

    def __enter__(self) -> Session:
        bring_client()
        on_controller(f"rm -rf {ROOM} && mkdir {ROOM} && cat >{ROOM}/session.py <<'FILE'\n{PROGRAM.read_text()}FILE")
        self._start("control", "control")
        self.task = wait_for(f"cat {ROOM}/task", "no session was opened")
        return self

    def __exit__(self, *_error: object) -> None:
        ending = "systemctl is-active --quiet fedlearn-test-control || break; sleep 0.5"
        on_controller(f"touch {ROOM}/stop {ROOM}/collect; for _ in $(seq 60); do {ending}; done")
        on_controller("systemctl stop 'fedlearn-test-*' || true")

    @staticmethod
    def _start(unit: str, *words: str) -> None:
        run = f"{CLIENT}/bin/python {ROOM}/session.py {words[0]} {ROOM} {' '.join(words[1:])}"
        on_controller(f"systemd-run --quiet --collect --unit=fedlearn-test-{unit} {run}")

    def begin_uploads(self) -> None:
        """Clients submit one report after the other, until `end_uploads`."""
        for name in CLIENTS:
            self._start(name, "upload", name)

    @staticmethod
    def uploads() -> dict[str, Any]:
        """What was taken so far, and what clients were told whose report wasn't."""
        told = [json.loads(on_controller(f"cat {ROOM}/{name} 2>/dev/null || echo '{{}}'")) for name in CLIENTS]
        missed = [reason for each in told for reason in each.get("missed", [])]
        return {"taken": sum(each.get("taken", 0) for each in told), "missed": missed}

    def upload(self, least: int) -> int:
        """At least so many reports; how many were taken."""
        self.begin_uploads()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (told := self.uploads())["taken"] < least:
            assert time.monotonic() < deadline, told
            time.sleep(1)
        return int(self.end_uploads()["taken"])

    def end_uploads(self) -> dict[str, Any]:
        """As `uploads`, once each client had an answer."""
        units = " ".join(f"fedlearn-test-{name}" for name in CLIENTS)
        wait_for(f"touch {ROOM}/stop; systemctl is-active {units} | grep -q '^active' || echo ended", "clients go on")
        return self.uploads()

    def collect(self) -> int:
        """How many reports are in what the controller collected."""
        on_controller(f"touch {ROOM}/collect")
        wait_for(f"cat {ROOM}/collected", "nothing was collected")
        return int(self.of_leader("max(report_count)", "collection_jobs AS one"))

    def stored(self) -> int:
        """How many reports the leader's database has of this round."""
        return int(self.of_leader("count(*)", "client_reports AS one"))

    def taken_up(self) -> None:
        """Returns when each report stored is in a job that no driver holds: of those that come into one later the
        helper knows more than a backup of the leader's, and what was held is taken up ten minutes after a restore.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        counted = "count(*) FILTER (WHERE NOT aggregation_started)"
        held = "count(*) FILTER (WHERE lease_expiry > now() AT TIME ZONE 'UTC')"
        for what, table in ((counted, "client_reports AS one"), (held, "aggregation_jobs AS one")):
            while waiting := int(self.of_leader(what, table)):
                assert time.monotonic() < deadline, f"{waiting} of {table} wait"
                time.sleep(1)

    def of_leader(self, what: str, table: str) -> str:
        """What a table of the leader's, as ``one``, has of this round's task."""
        task = base64.urlsafe_b64decode(self.task + "=").hex()
        of_task = f"JOIN tasks ON tasks.id = one.task_id WHERE tasks.task_id = '\\x{task}'"
        return rows_of(LEADER, f"SELECT {what} FROM {table} {of_task}")
