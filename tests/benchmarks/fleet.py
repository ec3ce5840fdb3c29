# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fleet of workers of dc_federated grows from 2 hosts to 40, or what the machine bears: what a host costs then.

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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks.hosts import CHECKOUT, ROOM, BenchError, timed

sys.path[:0] = [str(CHECKOUT / "tests" / "support")]

from standing_demo import Demo  # noqa: E402 - it is found by the path above

FEW, SOME, MANY = 2, 10, 40
WATCHES_EACH = 6
"""A host's systemd watches files by so many instances of inotify; where there are no more, its units fail."""

INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")

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
    with room_for_watches(MANY + 1):
        return grown()


@contextmanager
def room_for_watches(hosts: int) -> Iterator[None]:
    """As many instances as so many hosts take, for this time, where the machine lets itself be told."""
    former = INSTANCES.read_text()
    with suppress(OSError):
        INSTANCES.write_text(str(max(int(former), taken() + WATCHES_EACH * (hosts + 1))))
    try:
        yield
    finally:
        with suppress(OSError):
            INSTANCES.write_text(former)


def grown() -> dict[str, Any]:
    sizes = (FEW, SOME, min(MANY, bearable()))
    if sizes[-1] <= SOME:
        raise BenchError(f"fs.inotify.max_user_instances is for {sizes[-1]} hosts more: {SOME + 1} at least are needed")
    stages: dict[str, dict[str, Any]] = {}
    try:
        before = 0
        for size in sizes:
            stages[str(size)] = stage(before, size)
            before = size
    finally:
        subprocess.run([*hosts_py(), "down", SET], check=True)
    return {"real": bool(UPSTREAM), "stages": stages, **judged(stages, sizes[-1])}


def bearable() -> int:
    """How many workers' hosts the machine has room for, beside the server's."""
    return (int(INSTANCES.read_text()) - taken()) // WATCHES_EACH - 1


def taken() -> int:
    """Instances that are open on the machine, whoever has them."""
    count = 0
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            count += str(descriptor.readlink()) == "anon_inode:inotify"
    return count


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


def judged(stages: dict[str, dict[str, Any]], most: int) -> dict[str, Any]:
    """The figures that have goals: what grows with the fleet is more than 1."""
    few, many = stages[str(FEW)], stages[str(most)]
    figures = {f"{most} to {FEW}: {name.replace('_', ' ')}": many[name] / few[name] for name in few}
    goals = dict.fromkeys(figures, 1.0)
    figures["executions again, most on a host"] = float(many["again_executions"])
    goals["executions again, most on a host"] = float(MOST_EXECUTIONS)
    return {"figures": figures, "goals": goals}
