# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts the coordinator of ``pet``, xaynet-server: ``--config launcher.json``; with ``--check`` it only tries it.

The program reads passwords in its configuration, which is written where it is gone with the unit. With a state in Redis
it takes what that was made with, and no notice of the configuration: so a state of other settings is dropped before it
starts, and with ``--check`` such settings are refused unless that is meant.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import tempfile
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import launching, resp

OF_STATE = ("pet", "mask", "model")
"""Sections that a state is made with."""

STATE = "coordinator_state"
MADE_WITH = "fedlearn_made_with"
NO_REDIS = "failed to establish a connection to Redis"
"""What the program ends with in a trial, whose Redis isn't there: it has taken its configuration then."""

TRIAL_SECONDS = 30


def made_with(configuration: Mapping[str, Any]) -> str:
    """A digest of the settings that a state depends on."""
    sections = {name: configuration[name] for name in OF_STATE}
    return hashlib.sha256(json.dumps(sections, sort_keys=True).encode()).hexdigest()


def complete(configuration: Mapping[str, Any], redis: str, storage: str) -> dict[str, Any]:
    """The program's own configuration with both passwords; it wants to know an InfluxDB, which it never asks."""
    given = configuration["redis"]
    user, password = (urllib.parse.quote(text, safe="") for text in (given["user"], redis))
    return {
        **configuration,
        "redis": {"url": f"redis://{user}:{password}@{given['host']}:{given['port']}/0"},
        "s3": {**configuration["s3"], "secret_access_key": storage},
        "metrics": {"influxdb": {"url": "http://127.0.0.1:8086", "db": "none"}},
    }


def drop_other_state(configuration: Mapping[str, Any], password: str) -> None:
    """Takes a state out of Redis that was made with other settings: the program would go on with those."""
    given, now = configuration["redis"], made_with(configuration).encode()
    with resp.Connection(given["host"].strip("[]"), given["port"]) as redis:
        redis.ask("AUTH", given["user"], password)
        if redis.ask("GET", MADE_WITH) != now:
            redis.ask("DEL", STATE)
            redis.ask("SET", MADE_WITH, now)


def run(config: Mapping[str, Any]) -> None:
    """Becomes the program."""
    configuration, redis = config["configuration"], launching.credential("redis.password")
    try:
        drop_other_state(configuration, redis)
    except (OSError, resp.RespError) as error:
        raise launching.LaunchError(f"Redis at port {configuration['redis']['port']}: {error}") from error
    path = Path(os.environ["RUNTIME_DIRECTORY"]) / "coordinator.json"
    storage = launching.credential("storage.password")
    launching.write(path, json.dumps(complete(configuration, redis, storage)))
    trusted = {"SSL_CERT_FILE": config["ca"]} if config["ca"] else {}
    os.execve(config["program"], [config["program"], "-c", str(path)], {**os.environ, **trusted})  # noqa: S606


def tried(program: str, configuration: Mapping[str, Any]) -> str:
    """What the program says of a configuration before it asks for its Redis; empty where it takes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coordinator.json"
        path.write_text(json.dumps(configuration), encoding="utf-8")
        try:
            done = subprocess.run(
                [program, "-c", str(path)], capture_output=True, text=True, check=False, timeout=TRIAL_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    said = f"{done.stdout}{done.stderr}".strip()
    return "" if NO_REDIS in said else said or f"it ended with {done.returncode}"


def check(config: Mapping[str, Any]) -> None:
    """Has the program itself look at its configuration, with passwords that aren't the real ones and no Redis."""
    launching.drop_root()
    configuration = {**config["configuration"], "redis": {"user": "-", "host": "127.0.0.1", "port": 1}}
    trial = complete(configuration, "-", "-")
    reason = tried(config["program"], trial)
    if "tls settings" in reason:
        reason = "it is built with the feature tls: build it without, since it is nginx that speaks TLS"
    # without the feature it takes no notice of what is missing
    elif not reason and not tried(config["program"], {key: value for key, value in trial.items() if key != "s3"}):
        reason = "it is built without the feature model-persistence: each start would lose the model"
    if reason:
        raise launching.LaunchError(f"{config['program']}: {reason}")


def refuse_loss(config: Mapping[str, Any], former: Path, meant: Path) -> None:
    """Settings that a state depends on change when that is meant: participants begin without a model then."""
    try:
        before = launching.read(str(former))["configuration"]
    except (OSError, ValueError, KeyError):  # there is none, or somebody spoilt it
        return
    if meant.exists():
        return
    changed = [name for name in OF_STATE if name in before and before[name] != config["configuration"][name]]
    if changed:
        raise launching.LaunchError(
            f"[{'], ['.join(changed)}] differ from those that its state and last global model were made with, which "
            f"would be lost to participants: leave them, or say -e fedlearn_disrupt={config['stack']}"
        )


def main() -> None:
    """Starts the coordinator, or tries whether it could be."""
    parser = argparse.ArgumentParser(prog="fedlearn_xain.xaynet", allow_abbrev=False)
    parser.add_argument("--config", required=True)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--former", type=Path, help="with --check, the file that this one is to replace")
    parser.add_argument("--meant", type=Path, help="with --check, a file that is there where a state may be lost")
    given = parser.parse_args()
    config = launching.read(given.config)
    try:
        if given.check:
            if given.former:
                refuse_loss(config, given.former, given.meant)
            check(config)
        else:
            run(config)
    except launching.LaunchError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
