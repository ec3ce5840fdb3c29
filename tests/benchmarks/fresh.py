# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Site on fresh hosts, beside a shell script that brings the same hosts to the same files and units.

Keys and certificates are laid in place for both, packages and wheels come from the same caches, and both run on all
hosts side by side. A run whose result isn't the wanted one, byte for byte, ends the benchmark.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from tests.benchmarks import bundle
from tests.benchmarks.hosts import BenchError, Hosts, State, differences, timed

RUNS = 5


def measure() -> dict[str, Any]:
    """Seconds of both ways in alternation, and the ratio of their medians."""
    hosts = Hosts()
    wanted, keys = reference(hosts)
    ways: dict[str, Callable[[], object]] = {
        "site": lambda: hosts.playbook("site.yml"),
        "baseline": lambda: hosts.everywhere(lambda host: bundle.send(hosts, host)),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _run in range(RUNS):
        for name, way in ways.items():
            hosts.fresh()
            hosts.everywhere(lambda host: hosts.lay(host, keys[host]))
            seconds = timed(way)
            expect(wanted, hosts.state(), f"after {name}")
            times[name].append(seconds)
    check_idempotence(hosts)
    hosts.down()
    ratio = statistics.median(times["site"]) / statistics.median(times["baseline"])
    return {"seconds": times, "figures": {"site to shell baseline": ratio}, "goals": {"site to shell baseline": 1.3}}


def reference(hosts: Hosts) -> tuple[State, dict[str, bytes]]:
    """Converge fresh hosts, which fills the caches; what both ways are to end with, and the keys they get."""
    hosts.fresh()
    fresh = hosts.state()
    hosts.playbook("fedlearn.infra.secrets")
    hosts.playbook("site.yml")
    converged = hosts.state()
    return converged, bundle.render(hosts, fresh, converged)


def expect(wanted: State, found: State, when: str) -> None:
    """Refuse a result that isn't the wanted one."""
    lines = differences(wanted, found)
    if lines:
        raise BenchError(f"{when} the hosts aren't as wanted:\n" + "\n".join(lines[:40]))


def check_idempotence(hosts: Hosts) -> None:
    """A baseline that changes something each time would be cheaper than it may be."""
    changes = hosts.everywhere(lambda host: bundle.send(hosts, host))
    if any(changes.values()):
        raise BenchError(f"a second run of the baseline made changes: {changes}")
