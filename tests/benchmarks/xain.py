# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Trainings of xain's generation `poc` on one host, through nginx with TLS and past it on loopback, in turn.

Models of the SDK's sizes, two rounds with two participants; then two hundred participants, three rounds. Participants
are xain_hosts/load.py, which compute nothing.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.hosts import CHECKOUT, BenchError

SET = os.environ.setdefault("FEDLEARN_XAIN_SET", "bench-xain")
os.environ.setdefault("FEDLEARN_XAIN_NETWORK", "10.98.58")
sys.path[:0] = [str(CHECKOUT / "tests" / "support"), str(CHECKOUT / "tests" / "xain")]

from places import NETWORK, X1  # noqa: E402 - it is found by the path above
from standing_demo import until  # noqa: E402 - likewise
from training import Counts, Document  # noqa: E402 - likewise

PROGRAM = Path(__file__).with_name("xain_hosts") / "load.py"
SIZES = {"1 kB": 1000, "10 MB": 10_000_000, "50 MB": 50_000_000}
RUNS = 5
PAUSES = {2: 0.02, 200: 0.5}
"""Seconds between two questions of a participant, by how many there are."""

MANY = 200
WAYS = ("direct", "nginx")


class Loaded(Counts):
    """Both programs on one host, whose own participant doesn't run: its certificate is what those of the load show."""

    def __init__(self) -> None:
        super().__init__("bench", ("x1",))

    def write(self, change: Callable[[Document], None] = lambda document: None) -> None:
        """The document, with all of it on one host."""

        def together(document: Document) -> None:
            party, stack = document["parties"]["lab"], document["stacks"]["first"]
            party["hosts"] = {"x1": party["hosts"]["x1"]}
            stack["aggregator"]["host"] = "x1"
            stack["participants"] = {"hosts": ["x1"], "expected": 2}
            stack["settings"]["federated_learning"] |= {"rounds": 2, "min_clients": 2, "heartbeat_timeout": 60}
            change(document)

        super().write(together)

    def forget(self) -> None:
        """Nothing: each training begins with a restart of both."""

    def begin(self) -> None:
        """Deployed, and its participant at rest."""
        super().begin()
        self.rest()

    def rest(self) -> None:
        """Its participant goes, and the load comes."""
        self.run("x1", f"systemctl stop {self.participant}")
        self.run("x1", f"cat >/var/tmp/load.py <<'END-OF-FILE'\n{PROGRAM.read_text()}\nEND-OF-FILE")

    def trained(self, way: str, size: int, count: int) -> dict[str, Any]:
        """A training from its beginning, and what both programs had at most."""
        self.run("x1", f"systemctl restart {self.coordinator} {self.aggregator}")
        for port in (50050, 50052):
            if not until(60, lambda port=port: self.run("x1", f"ss -Hltn 'sport = :{port}'"), bool):
                raise BenchError(f"port {port} never answered")
        said = self.run("x1", f"python3 -B /var/tmp/load.py {way} {size} {count} {PAUSES[count]} {X1}")
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        if found["unfinished"]:
            raise BenchError(f"{way}, {size} bytes, {count} participants: {found}")
        return {**found, "megabytes": {name: self.peak(name) for name in ("coordinator", "aggregator")}}

    def peak(self, name: str) -> float:
        """The most memory that a program had, in MB."""
        return int(self.run("x1", f"awk '/VmHWM/ {{print $2}}' /proc/$(pgrep -x {name})/status")) / 1024


def measure() -> dict[str, Any]:
    """Seconds of both ways for each size; requests that failed of many; memory."""
    hosts = [sys.executable, str(CHECKOUT / "molecule" / "shared" / "hosts.py")]
    subprocess.run([str(CHECKOUT / "molecule" / "xain_poc" / "needs.sh")], check=True)
    subprocess.run([*hosts, "up", "--suite", "bookworm", "--subnet", f"{NETWORK}.0/24", SET, f"x1={X1}"], check=True)
    try:
        loaded = Loaded()
        loaded.begin()
        runs: dict[str, dict[str, list[Any]]] = {name: {way: [] for way in WAYS} for name in SIZES}
        for name, size in SIZES.items():
            for _run in range(RUNS):
                for way in WAYS:
                    runs[name][way].append(loaded.trained(way, size, 2))
        loaded.write(many)
        loaded.site("-e", "fedlearn_disrupt=first")
        loaded.rest()
        crowd = loaded.trained("nginx", SIZES["1 kB"], MANY)
    finally:
        subprocess.run([*hosts, "down", SET], check=True)
    return {"runs": runs, "crowd": crowd, **judged(runs, crowd)}


def many(document: Document) -> None:
    """Two hundred participants and three rounds."""
    stack = document["stacks"]["first"]
    stack["participants"]["expected"] = MANY
    stack["settings"]["federated_learning"] |= {"rounds": 3, "min_clients": MANY}


def judged(runs: dict[str, dict[str, list[Any]]], crowd: dict[str, Any]) -> dict[str, Any]:
    """Ratios of medians, without a goal, and what failed, of which there is to be nothing."""
    figures: dict[str, float] = {}
    for name, ways in runs.items():
        seconds = {way: statistics.median(run["seconds"] for run in each) for way, each in ways.items()}
        figures[f"{name}, nginx to direct"] = seconds["nginx"] / seconds["direct"]
        for program in ("coordinator", "aggregator"):
            most = max(run["megabytes"][program] for each in ways.values() for run in each)
            figures[f"{name}, {program}, MB"] = most
    goals: dict[str, float | None] = dict.fromkeys(figures)
    failed = crowd["failed"] + sum(run["failed"] for ways in runs.values() for each in ways.values() for run in each)
    figures |= {"requests failed": float(failed), f"{MANY} participants, s": crowd["seconds"]}
    goals |= {"requests failed": 0.0, f"{MANY} participants, s": None}
    for program, megabytes in crowd["megabytes"].items():
        figures[f"{MANY} participants, {program}, MB"] = megabytes
        goals[f"{MANY} participants, {program}, MB"] = None
    return {"figures": figures, "goals": goals}
