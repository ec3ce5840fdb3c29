# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make demo` from nothing, and again while it stands: where the time goes.

It runs in a copy of the tree, so that environment, packages, wheels and results are made anew, with pip's cache
switched off. The host image is made anew unless hosts of others use it (`cold` says which); an engine that runs goes on
running.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks.hosts import CHECKOUT, timed

IMAGES = "fedlearn-host"


def measure() -> dict[str, Any]:
    """Seconds of each step of a first and of a second `make demo`."""
    with tempfile.TemporaryDirectory(prefix="fedlearn-bench-demo-") as folder:
        copy = [sys.executable, str(CHECKOUT / "tests" / "tools" / "tree.py"), "copy", folder]
        tree = Path(subprocess.run(copy, check=True, capture_output=True, text=True).stdout.strip())
        environment = {**os.environ, "PIP_NO_CACHE_DIR": "1", "PATH": _foreign_path()}
        cold = _forget_image()
        try:
            first = _first(tree, environment)
            second = _make(tree, environment, "demo")
        finally:
            subprocess.run(["make", "demo-down"], check=False, cwd=tree, env=environment)
    return {
        "cold": cold,
        "seconds": {"first": first, "second": second},
        "figures": {"first make demo, seconds": sum(first.values()), "second make demo, seconds": sum(second.values())},
        "goals": {"first make demo, seconds": 360, "second make demo, seconds": 60},
    }


def _first(tree: Path, environment: Mapping[str, str]) -> dict[str, float]:
    """The steps that `make demo` does silently, one by one before it, then its own."""
    hosts = [str(tree / ".venv" / "bin" / "python"), "molecule/shared/hosts.py"]
    steps = {
        "virtual environment": ["make", "runtime"],
        "container engine": [*hosts, "engine"],
        "host image": [*hosts, "image", "bullseye"],
    }
    before = {
        name: timed(lambda command=command: subprocess.run(command, check=True, cwd=tree, env=environment))
        for name, command in steps.items()
    }
    return {**before, **_make(tree, environment, "demo")}


def _make(tree: Path, environment: Mapping[str, str], target: str) -> dict[str, float]:
    """A make target's own steps, and what it took beside them."""
    seconds = timed(lambda: subprocess.run(["make", target], check=True, cwd=tree, env=environment))
    steps: dict[str, float] = json.loads((tree / "build" / "demo" / "times.json").read_text())
    return {**steps, "everything else": seconds - sum(steps.values())}


def _foreign_path() -> str:
    """PATH without this checkout's environment, which the Makefile put first."""
    return os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if not part.startswith(str(CHECKOUT)))


def _forget_image() -> bool:
    """Remove the host image; whether there is none now."""
    if shutil.which("docker") is None:
        return True
    listed = subprocess.run(
        ["docker", "images", "--quiet", "--filter", f"reference={IMAGES}:bullseye-*"],
        check=False,
        capture_output=True,
        text=True,
    )
    removed = [
        subprocess.run(["docker", "rmi", name], check=False, capture_output=True) for name in listed.stdout.split()
    ]
    return all(one.returncode == 0 for one in removed)
