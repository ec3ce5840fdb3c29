# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A second site on converged hosts: its remote executions, and its time beside pyinfra's for the same state.

pyinfra looks at packages, files and units only; site also looks at certificates, limits, artifacts, health and orphans.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
from typing import Any

from tests.benchmarks import bundle, fresh
from tests.benchmarks.hosts import CHECKOUT, NAMES, SET, BenchError, Hosts, timed

RUNS = 5
DEPLOY = CHECKOUT / "tests" / "benchmarks" / "baseline" / "pyinfra_deploy.py"


def measure() -> dict[str, Any]:
    """Executions host by host; seconds of both ways in alternation, and the ratio of their medians."""
    hosts = Hosts()
    wanted, _keys = fresh.reference(hosts)
    counted = hosts.counted("site.yml")
    refuse_changes("site", counted.output)
    times: dict[str, list[float]] = {"site": [], "pyinfra": []}
    for _run in range(RUNS):
        times["site"].append(timed(lambda: refuse_changes("site", hosts.playbook("site.yml"))))
        times["pyinfra"].append(timed(pyinfra))
    fresh.expect(wanted, hosts.state(), "after runs that should change nothing")
    hosts.down()
    return {
        "seconds": times,
        "executions": counted.per_host(),
        "figures": {
            "remote executions, most on a host": max(counted.per_host().values()),
            "second site to pyinfra": statistics.median(times["site"]) / statistics.median(times["pyinfra"]),
        },
        "goals": {"remote executions, most on a host": 12, "second site to pyinfra": 1.0},
    }


def refuse_changes(name: str, said: str) -> None:
    """A run that changed something is no second run."""
    changed = re.findall(r"changed=(\d+)", said)
    if not changed or any(count != "0" for count in changed):
        raise BenchError(f"{name} changed something on converged hosts:\n{said[-3000:]}")


def pyinfra() -> None:
    """The committed deploy on all hosts; a change, or a host that failed, ends the benchmark."""
    config = CHECKOUT / "build" / "hosts" / SET / "ssh_config"
    command = [str(CHECKOUT / ".venv" / "bin" / "pyinfra"), "--yes", "--data", f"ssh_config_file={config}"]
    done = subprocess.run(
        [*command, ",".join(NAMES), str(DEPLOY)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "FEDLEARN_BUNDLES": str(bundle.BUNDLES), "NO_COLOR": "1"},
    )
    said = done.stdout + done.stderr
    # its last table's columns: hosts, changed, failed, unchanged
    total = re.search(r"Grand total\s+(\d+)\s+-\s+-\s+\d+", said)
    if done.returncode != 0 or total is None:
        raise BenchError(f"pyinfra changed something or failed ({done.returncode}):\n{said[-3000:]}")
