# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A thousand workers of dc_federated poll through nginx and TLS: how soon all are told of a model, at what cost.

Then what happens to hosts happens while they poll, and updates go through nginx and past it, in turn. The library is
that of FEDLEARN_UPSTREAM_DIR, or its double: the result says which. Server and nginx share a host, the clients are on
another.
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

from deployment import HOST_SET, NET, REAL, ROOM, Polls  # noqa: E402 - it is found by the path above

WORKERS, MOST, FILES_EACH = 1000, 10_000, 6
PROGRAM = Path(__file__).with_name("dc_federated_hosts") / "load.py"
PYTHON = "$(ls -d /opt/fedlearn/dc_federated-python/*/bin/python | tail -n1) -B /var/tmp/load.py"
SERVER, CLIENTS, ADDRESS = "p1", "p3", f"{NET}.11"
FAR_CLIENT = "p2"
PLACES = {"beside": f"{ADDRESS}:443", "apart": f"{NET}.12:443", "server": f"{NET}.13:5000"}
"""nginx on its server's host, nginx that speaks TLS with a server on another, and that server's own TLS."""

AUTHORITY = "/etc/fedlearn/polls/pki/polls-near-worker/ca.pem"
PATIENCE_SECONDS = 300
LORISES, LORIS_SECONDS = 200, 40
RATIO = 1.15
"""What nginx may add to an update's time."""


def measure() -> dict[str, Any]:
    """Told and dropped, and files and memory of the server meanwhile: of 1,000, and of as many as its files allow."""
    hosts = [sys.executable, str(CHECKOUT / "molecule" / "shared" / "hosts.py")]
    places = [f"p{number}={NET}.1{number}" for number in (1, 2, 3)]
    subprocess.run([*hosts, "up", "--suite", "bookworm", "--subnet", f"{NET}.0/24", HOST_SET, *places], check=True)
    try:
        polls = Polls()
        polls.begin()
        master = polls.pid(SERVER, "polls-near-server")
        files = int(polls.run(SERVER, f"awk '/open files/ {{print $4}}' /proc/{master}/limits"))
        most = min(MOST, (files - 200) // FILES_EACH)
        # first, while the servers that are compared know one worker each
        sent = updates(polls)
        runs = {str(count): polled(polls, count) for count in dict.fromkeys((WORKERS, most))}
        through = disturbed(polls)
    finally:
        subprocess.run([*hosts, "down", HOST_SET], check=True)
    return {"real": REAL, "runs": runs, "disturbed": through, "updates": sent, **judged(runs, through, sent, most)}


def judged(runs: dict[str, Any], through: dict[str, Any], sent: dict[str, Any], most: int) -> dict[str, Any]:
    """The figures that have goals."""
    first = runs[str(WORKERS)]
    figures = {
        "dropped of 1,000": float(first["dropped"]),
        "told, 99th percentile, s": first["told_p99"],
        "files a worker": first["files"] / WORKERS,
        f"dropped of {most}": float(runs[str(most)]["dropped"]),
    }
    goals: dict[str, float | None] = {
        "dropped of 1,000": 0.0,
        "told, 99th percentile, s": 5.0,
        "files a worker": float(FILES_EACH),
        f"dropped of {most}": 0.0,
    }
    for phase in UNBROKEN:
        figures[f"broken by {phase}"] = float(through["phases"][phase]["broken"])
        goals[f"broken by {phase}"] = 0.0
    figures["not told after all of it"] = float(through["of"] - through["told"])
    goals["not told after all of it"] = 0.0
    for way in ("beside", "apart"):
        for part in ("p50", "p99"):
            small = sent["streamed"]["0"]
            figures[f"small request, nginx {way}, ms more, {part}"] = small[way][part] - small["server"][part]
            goals[f"small request, nginx {way}, ms more, {part}"] = None
        for size in ("1", "20", "200"):
            spent = sent["streamed"][size]
            figures[f"{size} MB, nginx {way}"] = spent[way]["p50"] / spent["server"]["p50"]
            goals[f"{size} MB, nginx {way}"] = RATIO
    return {"figures": figures, "goals": goals}


def known(polls: Polls, count: int) -> None:
    """So many keys on the clients' host, whose workers the server of `near` lets in without a restart."""
    polls.run(CLIENTS, f"cat >/var/tmp/load.py <<'END-OF-FILE'\n{PROGRAM.read_text()}\nEND-OF-FILE")
    expect(polls, polls.run(CLIENTS, f"{PYTHON} keys {count} /var/tmp/load.keys"))
    polls.site("-e", "stack=near")


def expect(polls: Polls, keys: str) -> None:
    """The document has the owners of these keys, one a line, as workers of `near`."""
    (ROOM / "load.keys").write_text(keys)

    def change(document: dict[str, Any]) -> None:
        document["stacks"]["near"]["workers"] |= {"expected": len(keys.split()), "keys": "load.keys"}

    polls.write(change)


def polled(polls: Polls, count: int) -> dict[str, Any]:
    """So many workers with keys of their own, known to the server without a restart, and a new model."""
    known(polls, count)
    ended: dict[str, Any] = {}
    run = f"ulimit -n $(ulimit -Hn); {PYTHON} run {ADDRESS} {AUTHORITY} /var/tmp/load.keys"
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


UNBROKEN = ("reload", "certificates", "kill 100", "slow-loris")
"""What no other worker's poll may end by; a restart of the server ends all of them."""


def disturbed(polls: Polls) -> dict[str, Any]:
    """1,000 polls, while nginx is reloaded, certificates replaced, workers killed, connections dawdle, the server is
    restarted; then a new model.
    """
    known(polls, WORKERS + 2)  # one sends the model, one measures
    ended: dict[str, Any] = {}
    run = f"ulimit -n $(ulimit -Hn); {PYTHON} hold {ADDRESS} {AUTHORITY} /var/tmp/load.keys"
    clients = threading.Thread(target=lambda: ended.update(json.loads(polls.run(CLIENTS, run))))
    clients.start()
    whole(polls, "begin")
    for phase, act in (
        ("reload", lambda: polls.run(SERVER, "systemctl reload nginx; sleep 15")),
        (
            "certificates",
            lambda: polls.playbook("fedlearn.infra.rotate", "-e", "what=certificates", "-e", "stack=near"),
        ),
        ("kill 100", lambda: time.sleep(15)),
        ("slow-loris", lambda: dawdle(polls, ended)),
        ("restart", lambda: polls.run(SERVER, "systemctl restart fedlearn-polls-near-server; sleep 5")),
    ):
        polls.run(CLIENTS, f"echo '{phase}' >/tmp/load.phase; sleep 1")
        act()
        whole(polls, phase)
    polls.run(CLIENTS, "touch /tmp/release")
    clients.join(PATIENCE_SECONDS)
    if "phases" not in ended:
        raise BenchError(f"the workers never came to an end: {ended}")
    return ended


def whole(polls: Polls, phase: str) -> None:
    """Waits until all workers poll, in this phase."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        status = json.loads(polls.run(CLIENTS, "cat /tmp/load.status 2>/dev/null || echo '{}'"))
        if status.get("polling") == WORKERS and status["phase"] == phase:
            return
        if time.monotonic() > deadline:
            raise BenchError(f"{phase}: {status.get('polling')} of {WORKERS} workers poll")
        time.sleep(1)


def dawdle(polls: Polls, ended: dict[str, Any]) -> None:
    """Connections from another host that never come to the end of a request."""
    polls.run("p2", f"cat >/var/tmp/load.py <<'END-OF-FILE'\n{PROGRAM.read_text()}\nEND-OF-FILE")
    ended["slow-loris"] = json.loads(polls.run("p2", f"{PYTHON} loris {ADDRESS} {LORISES} {LORIS_SECONDS}"))


def updates(polls: Polls) -> dict[str, Any]:
    """Milliseconds of requests through both proxies, and past them to the server of `far`.

    Then once more with nginx taking all of an update before it hands any of it on, as it does by itself.
    """
    polls.run(FAR_CLIENT, f"cat >/var/tmp/load.py <<'END-OF-FILE'\n{PROGRAM.read_text()}\nEND-OF-FILE")
    public = polls.run(FAR_CLIENT, f"{PYTHON} keys 1 /var/tmp/far.keys")
    (ROOM / "others.keys").write_text(public)
    expect(polls, public)
    polls.site()
    ca = "/etc/fedlearn/polls/pki/polls-near-worker/ca.pem"
    places = " ".join(f"{name}={place}" for name, place in PLACES.items())
    run = f"{PYTHON} compare {ca} /var/tmp/far.keys {places}"
    streamed = json.loads(polls.run(FAR_CLIENT, run))
    for host, stack in (("p1", "near"), ("p2", "far")):
        site = f"/etc/nginx/conf.d/fedlearn-polls-{stack}-proxy.conf"
        change = f"sed -i 's/proxy_request_buffering off/proxy_request_buffering on/' {site}"
        polls.run(host, f"{change}; systemctl reload nginx")
    buffered = json.loads(polls.run(FAR_CLIENT, run))
    master = polls.pid("p3", "polls-far-server")
    child = int(polls.run("p3", f"cat /proc/{master}/task/{master}/children"))
    peak = int(polls.run("p3", f"awk '/VmHWM/ {{print $2}}' /proc/{child}/status"))
    proxy = int(polls.run("p2", "ps -o rss= -C nginx | awk '{sum += $1} END {print sum}'"))
    megabytes = {"server, at most": peak / 1024, "nginx": proxy / 1024}
    return {"streamed": streamed, "buffered": buffered, "megabytes": megabytes}
