# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a job takes as AWX runs it, by ansible-runner in a container of the image, beside the same playbook from the
shell. It touches no host, so what differs is what a job costs before and after it.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.hosts import BenchError

CHECKOUT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
RUNS = 7
VERB = "flows"
DOCUMENT = CHECKOUT / "inventories" / "demo" / "federation.yml"


def measure() -> dict[str, Any]:
    """Times in seconds, and their ratio; the runs are in alternation."""
    made = subprocess.run(
        [sys.executable, str(CHECKOUT / "tests" / "tools" / "execution_environment.py")],
        check=True,
        capture_output=True,
        text=True,
    )
    os.environ["FEDLEARN_EXECUTION_ENVIRONMENT"] = made.stdout.split()[-1]
    with tempfile.TemporaryDirectory(prefix="fedlearn-bench-") as folder:
        times = _alternate(Path(folder))
    medians = {name: statistics.median(runs) for name, runs in times.items()}
    return {
        "seconds": times,
        "spread": {name: (max(runs) - min(runs)) / medians[name] for name, runs in times.items()},
        "figures": {"job in the image to the shell": medians["job in the image"] / medians["shell"]},
        "goals": {"job in the image to the shell": None},
    }


def _alternate(room: Path) -> dict[str, list[float]]:
    sys.path.insert(0, str(CHECKOUT / "tests" / "execution_environment"))
    import jobs  # it wants to know which image

    project, state = room / "project", room / "state"
    for each in (project, state):
        each.mkdir()
    shutil.copy(DOCUMENT, project)
    jobs.generate(project)
    jobs.let_in(state)
    room.chmod(0o755)
    hosts = jobs.synced(project)
    times: dict[str, list[float]] = {"shell": [], "job in the image": []}
    for number in range(RUNS + 1):
        (room / f"job-{number}").mkdir()
        job = jobs.Job(room / f"job-{number}", project, hosts, state, VERB)
        found = {"shell": _seconds(_from_shell(project, room / "build"))}
        found["job in the image"] = _seconds(job.command())
        if number:  # the first of each reads files from the disk
            for name, seconds in found.items():
                times[name].append(seconds)
    return times


def _from_shell(project: Path, build: Path) -> list[str]:
    document, playbook = str(project / DOCUMENT.name), f"fedlearn.infra.{VERB}"
    return [str(BIN / "ansible-playbook"), "-i", document, playbook, "-e", f"fedlearn_build={build}"]


def _seconds(command: list[str]) -> float:
    began = time.monotonic()
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise BenchError(f"{' '.join(command)} ended with {ended.returncode}: {ended.stdout[-1000:]}{ended.stderr}")
    return time.monotonic() - began
