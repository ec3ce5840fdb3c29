# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the parts of `make test` or `make test-all` (parts.toml), two lanes side by side.

What uses hosts waits for them much of the time, so what only reads the tree runs beside it. Within a lane parts run one
after the other: they share environments and host sets.

    parts.py test            every part, again each time
    parts.py test-all        what has not passed for this very tree yet
    parts.py test-all PART   that part, again

Each part's output goes to build/<suite>/<part>.log and its result, with the digest of the tree, to <part>.json beside
it. The last line sums up; the exit code is 0 only if no part failed or is missing.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import tree

CHECKOUT = Path(__file__).resolve().parents[2]
PARTS = Path(__file__).with_name("parts.toml")
TAIL_CHARACTERS = 1500
"""What is shown of a failed part: continuous integration may keep no more than a few thousand characters of all."""
SKIPPED = 77
"""The exit code of a part that this machine lacks something for."""

DRAWING = re.compile(r"\x1b\[[0-9;]*m|^[\s│┌└─]+")


@dataclass(frozen=True, slots=True)
class Part:
    """A command, its time limit, and the lane it runs in."""

    name: str
    lane: str
    command: str
    minutes: int


@dataclass(frozen=True, slots=True)
class Result:
    """How a part ended, for which tree; ``seconds`` is wall time. A skipped one has neither passed nor failed."""

    part: str
    tree: str
    passed: bool
    seconds: int
    reason: str
    skipped: bool = False


def read(suite: str) -> list[Part]:
    """The suite's parts, in order."""
    return [Part(**part) for part in tomllib.loads(PARTS.read_text())[suite]["parts"]]


running: set[subprocess.Popen[bytes]] = set()
"""Processes of the parts that run now: an interrupt ends them all."""


def run(part: Part, digest: str, room: Path) -> Result:
    """Run one part within its limit; at the limit its whole process group ends, by SIGTERM so that traps run."""
    began = time.monotonic()
    log = room / f"{part.name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-c", part.command], cwd=CHECKOUT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        running.add(process)
        try:
            code = process.wait(timeout=part.minutes * 60)
            reason = "" if code == 0 else f"exit code {code}"
        except subprocess.TimeoutExpired:
            reason = f"not done within {part.minutes} minutes"
            _end(process)
        finally:
            running.discard(process)
    seconds = round(time.monotonic() - began)
    result = Result(part.name, digest, not reason, seconds, reason, process.returncode == SKIPPED)
    (room / f"{part.name}.json").write_text(json.dumps(asdict(result), indent=2) + "\n")
    return result


def _end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def passed_before(part: Part, digest: str, room: Path) -> bool:
    """Whether the part has passed for this tree."""
    try:
        result = json.loads((room / f"{part.name}.json").read_text())
    except (OSError, ValueError):
        return False
    return bool(result["passed"]) and result["tree"] == digest


def tell(result: Result, room: Path) -> None:
    """One line a part, as soon as it has ended, and what it says that it skipped."""
    word = "ok" if result.passed else "skipped" if result.skipped else "FAILED"
    reason = f"  {result.reason}" if word == "FAILED" else ""
    print(f"{word:<7} {result.part:<24} {result.seconds:>5} s{reason}", flush=True)
    lines = (room / f"{result.part}.log").read_text(errors="replace").splitlines()
    print("".join(f"        {line}\n" for line in lines if line.startswith("SKIPPED")), end="", flush=True)


def tell_why(part: str, room: Path) -> None:
    """The end of a failed part's output, without colours and frames."""
    log = room / f"{part}.log"
    plain = [re.sub(DRAWING, "", re.sub(DRAWING, "", line)) for line in log.read_text(errors="replace").splitlines()]
    end = "\n".join(line for line in plain if line)[-TAIL_CHARACTERS:]
    print(f"--- {part}: the end of {log}\n{end}", flush=True)


def run_lanes(parts: list[Part], digest: str, room: Path) -> list[Result]:
    """Run the parts, each lane in order and beside the others; an interrupt ends what runs and begins nothing more."""
    lanes: defaultdict[str, list[Part]] = defaultdict(list)
    for part in parts:
        lanes[part.lane].append(part)
    interrupted = threading.Event()

    def follow(lane: list[Part]) -> list[Result]:
        results = []
        for part in lane:
            if not interrupted.is_set():
                results.append(run(part, digest, room))
                tell(results[-1], room)
        return results

    with ThreadPoolExecutor(len(lanes) or 1) as pool:
        try:
            return [result for results in pool.map(follow, lanes.values()) for result in results]
        except KeyboardInterrupt:
            interrupted.set()
            for process in list(running):
                _end(process)
            raise


def run_all(suite: str, parts: list[Part], room: Path, *, again: bool) -> bool:
    """Run the parts (``again``: also those that passed for this tree) and print the sum; True when all have passed."""
    digest = tree.digest()
    began = time.monotonic()
    due = [part for part in parts if again or not passed_before(part, digest, room)]
    for part in parts:
        if part not in due:
            print(f"passed  {part.name:<24} for this tree already", flush=True)
    ended = run_lanes(due, digest, room)
    skipped = [result.part for result in ended if result.skipped]
    failed = [result.part for result in ended if not result.passed and not result.skipped]
    for name in failed:
        tell_why(name, room)
    if tree.digest() != digest:
        print("the tree changed while it was tested: what passed counts for the tree before", flush=True)
    every = read(suite)
    passed = [part.name for part in every if passed_before(part, digest, room)]
    missing = [part.name for part in every if part.name not in [*passed, *skipped]]
    seconds = round(time.monotonic() - began)
    print(
        f"{suite} of tree {digest}: {len(passed)} passed, {len(failed)} failed, {len(missing)} missing in {seconds} s"
        + (f"; skipped: {' '.join(skipped)}" if skipped else "")
        + (f"; missing: {' '.join(missing)}" if missing else ""),
        flush=True,
    )
    return not failed and not (missing and len(parts) == len(every))


def main(arguments: list[str]) -> int:
    """The command line."""
    if not arguments or arguments[0] not in tomllib.loads(PARTS.read_text()):
        print(__doc__, file=sys.stderr)
        return 2
    suite, *wanted = arguments
    parts = read(suite)
    unknown = set(wanted) - {part.name for part in parts}
    if unknown:
        names = " ".join(part.name for part in parts)
        print(f"parts.py: {suite} has no part {', '.join(sorted(unknown))}; it has: {names}", file=sys.stderr)
        return 2
    room = CHECKOUT / "build" / suite
    room.mkdir(parents=True, exist_ok=True)
    chosen = [part for part in parts if not wanted or part.name in wanted]
    return 0 if run_all(suite, chosen, room, again=suite == "test" or bool(wanted)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
