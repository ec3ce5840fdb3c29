# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts the coordinator or aggregator of ``poc``: ``--config launcher.json``; with ``--check`` it only tries it.

The program is a child, whose log goes on without its colours. It tells what training there is: while one is under way,
the file ``training`` in the unit's runtime directory says which round, since nobody can ask the programs without taking
part. The Python that the aggregator embeds lies beside the programs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from . import launching
from .class_trial import TRIED

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
TRIAL_SECONDS = 60
MADE_SECONDS = 30
"""A class may take as long; whoever has it tried waits a minute for all of it."""

WAITING = "stubborn_io"
"""What speaks once the program has taken its configuration and looks for its peer, which a trial doesn't have."""

TOLD = (
    "xain_fl::coordinator::core::protocol=info",
    "xain_fl::coordinator::core::service=info",
    "xain_fl::aggregator::service=info",
    f"{WAITING}=info",
)
SILENT = ("http=off", "hyper=off", "tarpc=off", "warp=off")
"""Directives of logs beside the operator's: what tells of a training, and what would tell tokens."""

INTERPRETER = "python3.9"
OWN = "fedlearn_xain"
TRIAL = f"{OWN}.class_trial"


def toml(sections: Mapping[str, Any], path: str = "") -> str:
    """A configuration as TOML: texts, numbers and sections of these."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in sections.items() if not isinstance(value, Mapping)]
    inner = [
        toml(value, f"{path}.{key}" if path else key) for key, value in sections.items() if isinstance(value, Mapping)
    ]
    head = [f"[{path}]"] if path and plain else []
    return "\n".join([*head, *plain, *inner])


class Training:
    """What the coordinator's log tells of a training; ``note`` is told it in words, or None where there is none."""

    def __init__(self, rounds: int, note: Callable[[str | None], None]) -> None:
        self._rounds, self._note = rounds, note
        self._done = 0
        note(None)

    def line(self, text: str) -> None:
        """Another line of it."""
        if "training complete" in text:
            self._note(None)
        elif "aggregation finished successfully" in text:
            self._done += 1
        elif "additional participants" in text or "proceeding to start a new round" in text:
            self._note(f"round {self._done + 1} of {self._rounds}")


class Aggregations:
    """What the aggregator's log tells of a training; ``learning`` is the coordinator's, who alone knows how far it is.

    A coordinator that was restarted begins with the first round, and one that was only cut off for a while goes on. Its
    connection is made again in either case, but who was restarted has all participants of a round selected after that.
    Where that is so by chance more rounds are told to be left than there are, and no model is lost by it.
    """

    def __init__(self, learning: Mapping[str, Any], note: Callable[[str | None], None]) -> None:
        self._rounds, self._note = learning["rounds"], note
        self._all = int(learning["participants_ratio"] * learning["min_clients"])
        self._done = 0
        self._selected_since: int | None = None
        note(None)

    def line(self, text: str) -> None:
        """Another line of it."""
        if "Connection re-established" in text:
            self._selected_since = 0
        elif "handling select request" in text:
            self._select()
        elif "aggregation succeeded" in text:
            self._selected_since = None
            self._done = (self._done + 1) % self._rounds
            self._note(self._round() if self._done else None)

    def _select(self) -> None:
        if self._selected_since is not None:
            self._selected_since += 1
            if self._selected_since == self._all:
                self._done = 0
        self._note(self._round())

    def _round(self) -> str:
        return f"round {self._done + 1} of {self._rounds}"


def follower(config: Mapping[str, Any], path: Path) -> Callable[[str], None]:
    """What keeps a file that says what training there is, told each line of the program's log."""
    noting = launching.noting(path)

    def note(words: str | None) -> None:
        try:
            noting(words)
        except OSError as error:
            # where no file has room the program goes on
            print(f"{path} can't be written: {error}", flush=True)

    if config["program"] == "aggregator":
        return Aggregations(config["federated_learning"], note).line
    return Training(config["configuration"]["federated_learning"]["rounds"], note).line


def surroundings(config: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a program, or of the interpreter that it embeds."""
    python = f"{config['folder']}/python"
    paths = [os.environ[name] for name in ("PYTHONPATH", launching.PROGRAM_PATH) if os.environ.get(name)]
    told = {name: str(value) for name, value in config.get("environment", {}).items()}
    if "model_megabytes" in config:
        told["FEDLEARN_MODEL_MEGABYTES"] = str(config["model_megabytes"])
    libraries = {"PYTHONHOME": python, "PYTHONPATH": ":".join(paths), "LD_LIBRARY_PATH": f"{python}/lib"}
    return {**os.environ, **told, **libraries}


def written(config: Mapping[str, Any], folder: Path, **changed: Any) -> Path:
    """The program's configuration in a file; it has to end in .toml."""
    path = folder / f"{config['program']}.toml"
    logging = {"filter": ",".join((config["configuration"]["logging"]["filter"], *TOLD, *SILENT))}
    launching.write(path, toml({**config["configuration"], "logging": logging, **changed}) + "\n")
    return path


def follow(lines: Iterable[str], told: Callable[[str], None]) -> None:
    """Passes a log on, and tells each line."""
    for line in lines:
        text = COLOURS.sub("", line)
        sys.stdout.write(text)
        sys.stdout.flush()
        told(text)


def run(config: Mapping[str, Any]) -> int:
    """Runs until the program ends; systemd tells all of its unit to stop. With what the program ended with, or 1."""
    runtime = Path(os.environ["RUNTIME_DIRECTORY"])
    program = f"{config['folder']}/{config['program']}"
    stopped: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _frame: stopped.append(number))
    told = follower(config, runtime / "training")
    with subprocess.Popen(
        [program, "-c", str(written(config, runtime))],
        env=surroundings(config),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as child:
        assert child.stdout is not None
        follow(child.stdout, told)
    if child.returncode == -signal.SIGKILL:
        print("the program was killed: perhaps it took more memory than its unit may (MemoryMax)", flush=True)
    # it ends with 0 where its port is taken, or its class can't be made
    return child.returncode if stopped else child.returncode or 1


def tried(config: Mapping[str, Any], folder: Path) -> str:
    """What the program says of its configuration, on ports of nobody's; empty where it takes it."""
    nowhere = {key: "127.0.0.1:0" if key == "bind_address" else "127.0.0.1:1" for key in config["configuration"]["rpc"]}
    path = written(config, folder, rpc=nowhere, logging={"filter": f"error,{WAITING}=info"})
    said = []
    with subprocess.Popen(
        [f"{config['folder']}/{config['program']}", "-c", str(path)],
        env=surroundings(config), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    ) as child:  # fmt: skip
        assert child.stdout is not None
        limit = threading.Timer(TRIAL_SECONDS, child.kill)
        limit.start()
        for line in child.stdout:
            said.append(COLOURS.sub("", line))
            if WAITING in line:
                break
        child.kill()
        limit.cancel()
    return "" if any(WAITING in line for line in said) else "".join(said).strip() or f"it ended with {child.wait()}"


def check(config: Mapping[str, Any]) -> None:
    """Has the program look at its configuration, and the interpreter at the class."""
    launching.drop_root()
    with tempfile.TemporaryDirectory() as folder:
        try:
            reason = tried(config, Path(folder))
        except OSError as error:
            reason = str(error)
    if reason:
        raise launching.LaunchError(f"{config['folder']}/{config['program']}: {reason}")
    named = config.get("environment", {}).get("FEDLEARN_CLASS")
    if named:
        look(config, named)


def look(config: Mapping[str, Any], named: str) -> None:
    """Has the interpreter make the class that aggregates, and try it."""
    for folder in os.environ.get(launching.PROGRAM_PATH, "").split(":"):
        if folder and (Path(folder) / OWN).exists():
            raise launching.LaunchError(
                f"python_class {named}: class_artifact brings a package '{OWN}', which is the launcher's name, and "
                "would never be imported: give it another one"
            )
    interpreter = f"{config['folder']}/python/bin/{INTERPRETER}"
    done = subprocess.run(
        [interpreter, "-B", "-m", TRIAL, named, str(config["model_megabytes"]), str(MADE_SECONDS)],
        env=surroundings(config), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        said = done.stderr.strip() or f"the interpreter ended with {done.returncode}"
        raise launching.LaunchError(f"python_class {named}: {said} (in Python 3.9)")
    if TRIED not in done.stdout.splitlines():
        raise launching.LaunchError(f"python_class {named}: it ends the program that it is in (in Python 3.9)")


def main() -> None:
    """Starts the program, or tries whether it could be."""
    parser = argparse.ArgumentParser(prog="fedlearn_xain.poc", allow_abbrev=False)
    parser.add_argument("--config", required=True)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    config = launching.read(given.config)
    try:
        if given.check:
            check(config)
        else:
            raise SystemExit(run(config))
    except launching.LaunchError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
