# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make bench`: every benchmark, or those named; each writes build/bench/NAME.json, and a table ends the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from tests.benchmarks import again, dc_federated, demo, dpsa, fleet, fresh, inventory, job, manifests, polls, xain
from tests.benchmarks.hosts import ROOM, BenchError

BENCHMARKS = {
    "inventory": inventory.measure,
    "fresh": fresh.measure,
    "again": again.measure,
    "demo": demo.measure,
    "polls": polls.measure,
    "dc_federated": dc_federated.measure,
    "dpsa": dpsa.measure,
    "fleet": fleet.measure,
    "xain": xain.measure,
    "manifests": manifests.measure,
    "job": job.measure,
}


def main(names: list[str]) -> int:
    """Run them one after the other: two at once would measure each other."""
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        print(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    ROOM.mkdir(parents=True, exist_ok=True)
    results, failed = {}, False
    for name in names or BENCHMARKS:
        print(f"{name} ...", flush=True)
        try:
            results[name] = measured(name)
        except (BenchError, subprocess.CalledProcessError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
    print(table(results))
    return int(failed)


def measured(name: str) -> dict[str, Any]:
    """A benchmark's result, as it is kept; the load says whether seconds mean anything, ratios mean more."""
    before = os.getloadavg()[0]
    result = {
        **BENCHMARKS[name](),
        "load": {"before": before, "after": os.getloadavg()[0]},
        "processors": os.cpu_count(),
    }
    (ROOM / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    return result


def table(results: dict[str, dict[str, Any]]) -> str:
    """Each figure beside its goal, where it has one."""
    rows = [f"{'benchmark':<10} {'figure':<36} {'measured':>9} {'at most':>9}"]
    for name, result in results.items():
        for figure, value in result["figures"].items():
            goal = result["goals"][figure]
            verdict = "" if goal is None else f"{goal:>9} {'met' if value <= goal else 'not met'}"
            rows.append(f"{name:<10} {figure:<36} {value:>9.2f} {verdict}".rstrip())
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
