# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fleet of workers of dc_federated grows from 2 hosts to 40: what a host costs, by how many there are.

Remote executions on a host that is fresh, and on one where nothing is to be done; a run's seconds by its hosts. All
hosts are containers that share this machine's processors, so seconds a host are at best the same.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks.hosts import CHECKOUT, ROOM, BenchError, timed

sys.path[:0] = [str(CHECKOUT / "tests" / "support")]

from standing_demo import Demo  # noqa: E402 - it is found by the path above

SIZES = (2, 10, 40)
RUNS = 3
MOST_EXECUTIONS = 10
FLEET = ROOM / "fleet"
SET = os.environ.get("FEDLEARN_FLEET_SET", "fleet")
NET = os.environ.get("FEDLEARN_FLEET_NET", "10.98.57")
UPSTREAM = os.environ.get("FEDLEARN_UPSTREAM_DIR", "")
LIBRARY = Path(UPSTREAM) / "dc_federated" if UPSTREAM else CHECKOUT / "tests" / "doubles" / "dc_federated"
FIRST = 101
"""The last number of the first worker's address."""


def measure() -> dict[str, Any]:
    """Each size in turn: the hosts that it has more are fresh."""
    stages: dict[str, dict[str, Any]] = {}
    try:
        before = 0
        for size in SIZES:
            stages[str(size)] = stage(before, size)
            before = size
    finally:
        subprocess.run([*hosts_py(), "down", SET], check=True)
    return {"real": bool(UPSTREAM), "stages": stages, **judged(stages[str(SIZES[0])], stages[str(SIZES[-1])])}


def hosts_py() -> list[str]:
    return [sys.executable, str(CHECKOUT / "molecule" / "shared" / "hosts.py")]


def stage(before: int, size: int) -> dict[str, Any]:
    """Deploys to the hosts that are new, then has nothing to do."""
    names = [f"w{number:02}" for number in range(1, size + 1)]
    addresses = {name: f"{NET}.{FIRST + number}" for number, name in enumerate(names)} | {"s1": f"{NET}.11"}
    places = [f"{name}={address}" for name, address in addresses.items()]
    subprocess.run([*hosts_py(), "up", "--suite", "bookworm", "--subnet", f"{NET}.0/24", SET, *places], check=True)
    fleet = Demo(FLEET, tuple(addresses), SET, FLEET / "vault-pass")
    fleet.lay_beside()
    write(size)
    if fleet.playbook("fedlearn.infra.secrets").returncode != 0:
        raise BenchError("no secrets were made")
    ran: list[Any] = []
    fresh_seconds = timed(lambda: ran.append(fleet.playbook("site.yml")))
    again = [timed(lambda: ran.append(fleet.playbook("site.yml"))) for _run in range(RUNS)]
    for number, done in enumerate(ran):
        if done.returncode != 0 or (number and re.search(r"changed=[1-9]", done.output)):
            raise BenchError(f"run {number} of {size} workers:\n{done.output[-3000:]}")
    fresh = [ran[0].per_host()[addresses[name]] for name in names[before:]]
    return {
        "fresh_executions": max(fresh),
        "again_executions": max(max(done.per_host().values()) for done in ran[1:]),
        "fresh_seconds_a_host": fresh_seconds / len(fresh),
        "again_seconds_a_host": statistics.median(again) / len(addresses),
    }


def write(size: int) -> None:
    """The document: one server behind its proxy, and so many workers' hosts."""
    shutil.rmtree(FLEET / "library", ignore_errors=True)
    shutil.copytree(LIBRARY, FLEET / "library")
    reached = {"vars": {"ansible_user": "ops"}}
    fleet = {
        "s1": {"address": f"{NET}.11", **reached},
        f"w[01:{size:02}]": {"first_address": f"{NET}.{FIRST}", **reached},
    }
    stack = {
        "kind": "dc_federated",
        "library": {"source": "library", "double": not UPSTREAM},
        "server": {"host": "s1"},
        "proxy": {"host": "s1"},
        "workers": {"hosts": [f"w[01:{size:02}]"]},
    }
    head = {"plugin": "fedlearn.infra.federation", "version": 1, "federation": "fleet"}
    document = {**head, "parties": {"lab": {"pki": {"mode": "ownca"}, "hosts": fleet}}, "stacks": {"vision": stack}}
    (FLEET / "federation.yml").write_text(yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False))


def judged(few: dict[str, Any], many: dict[str, Any]) -> dict[str, Any]:
    """The figures that have goals: what grows with the fleet is more than 1."""
    figures = {f"{SIZES[-1]} to {SIZES[0]}: {name.replace('_', ' ')}": many[name] / few[name] for name in few}
    goals = dict.fromkeys(figures, 1.0)
    figures["executions again, most on a host"] = float(many["again_executions"])
    goals["executions again, most on a host"] = float(MOST_EXECUTIONS)
    return {"figures": figures, "goals": goals}
