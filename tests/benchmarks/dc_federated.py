# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A thousand workers of dc_federated poll through nginx and TLS: how soon all are told of a model, at what cost.

The library is that of FEDLEARN_UPSTREAM_DIR, or its double: the result says which. Server and nginx share a host,
the clients are on another.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.hosts import CHECKOUT, BenchError

sys.path[:0] = [str(CHECKOUT / "tests" / "support"), str(CHECKOUT / "tests" / "dc_federated")]

from deployment import REAL, ROOM, Polls  # noqa: E402 - it is found by the path above

WORKERS, MOST, FILES_EACH = 1000, 10_000, 6
PROGRAM = Path(__file__).with_name("dc_federated_hosts") / "load.py"
PYTHON = "$(ls -d /opt/fedlearn/dc_federated-python/*/bin/python | tail -n1) -B /var/tmp/load.py"
SERVER, CLIENTS, ADDRESS = "p1", "p3", "10.98.54.11"
PATIENCE_SECONDS = 300


def measure() -> dict[str, Any]:
    """Told and dropped, and files and memory of the server meanwhile: of 1,000, and of as many as its files allow."""
    hosts = [sys.executable, str(CHECKOUT / "molecule" / "shared" / "hosts.py")]
    places = [f"p{number}=10.98.54.1{number}" for number in (1, 2, 3)]
    subprocess.run([*hosts, "up", "--suite", "bookworm", "--subnet", "10.98.54.0/24", "dcf", *places], check=True)
    try:
        polls = Polls()
        polls.begin()
        master = polls.pid(SERVER, "polls-near-server")
        files = int(polls.run(SERVER, f"awk '/open files/ {{print $4}}' /proc/{master}/limits"))
        most = min(MOST, (files - 200) // FILES_EACH)
        runs = {str(count): polled(polls, count) for count in dict.fromkeys((WORKERS, most))}
    finally:
        subprocess.run([*hosts, "down", "dcf"], check=True)
    first = runs[str(WORKERS)]
    figures = {
        "dropped of 1,000": float(first["dropped"]),
        "told, 99th percentile, s": first["told_p99"],
        "files a worker": first["files"] / WORKERS,
        f"dropped of {most}": float(runs[str(most)]["dropped"]),
    }
    goals = {"dropped of 1,000": 0.0, "told, 99th percentile, s": 5.0, "files a worker": float(FILES_EACH)}
    return {"real": REAL, "runs": runs, "figures": figures, "goals": {**goals, f"dropped of {most}": 0.0}}


def polled(polls: Polls, count: int) -> dict[str, Any]:
    """So many workers with keys of their own, known to the server without a restart, and a new model."""
    polls.run(CLIENTS, f"cat >/var/tmp/load.py <<'END-OF-FILE'\n{PROGRAM.read_text()}\nEND-OF-FILE")
    public = polls.run(CLIENTS, f"{PYTHON} keys {count} /var/tmp/load.keys")
    (ROOM / "load.keys").write_text(public)

    def expect(document: dict[str, Any]) -> None:
        document["stacks"]["near"]["workers"] |= {"expected": count, "keys": "load.keys"}

    polls.write(expect)
    polls.site("-e", "stack=near")
    authority = "/etc/fedlearn/polls/pki/polls-near-worker/ca.pem"
    ended: dict[str, Any] = {}
    run = f"ulimit -n $(ulimit -Hn); {PYTHON} run {ADDRESS} {authority} /var/tmp/load.keys"
    clients = threading.Thread(target=lambda: ended.update(json.loads(polls.run(CLIENTS, run))))
    clients.start()
    waiting = "ss -Htn state established '( sport = :5000 )' | wc -l"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while int(polls.run(SERVER, waiting)) < count - 1:
        if time.monotonic() > deadline:
            raise BenchError(f"{count} polls never waited at the server")
        time.sleep(2)
    time.sleep(5)
    master = polls.pid(SERVER, "polls-near-server")
    child = int(polls.run(SERVER, f"cat /proc/{master}/task/{master}/children"))
    files = int(polls.run(SERVER, f"ls /proc/{child}/fd | wc -l"))
    memory = int(polls.run(SERVER, f"awk '/VmRSS/ {{print $2}}' /proc/{child}/status"))
    polls.run(CLIENTS, "touch /tmp/release")
    clients.join(PATIENCE_SECONDS)
    if not ended.get("seconds"):
        raise BenchError(f"nobody was told: {ended}")
    seconds = ended.pop("seconds")
    return {
        **ended,
        "told_p50": statistics.median(seconds),
        "told_p99": seconds[int(len(seconds) * 0.99) - 1],
        "told_last": seconds[-1],
        "files": files,
        "server_megabytes": memory / 1024,
    }
