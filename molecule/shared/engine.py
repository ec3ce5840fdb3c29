# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The container engine under the test hosts: the one that answers, or Debian's docker.io, installed and started here.

An engine started here is written down in ``build/hosts/engine.json``; only such a one is ever stopped.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import docker
from docker.errors import DockerException

START_SECONDS = 60
LOCK_SECONDS = 300


class EngineError(Exception):
    """No engine answers and none can be started; the message says why and what to do."""


def connect() -> docker.DockerClient | None:
    """The engine's client, or None when none answers."""
    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except DockerException:
        return None
    return client


def client(room: Path) -> docker.DockerClient:
    """The engine's client; an engine is installed (as root, on Debian) and started when none answers.

    ``room`` is the folder for the record of what was started.
    """
    answering = connect()
    if answering is not None:
        return answering
    if os.geteuid() != 0:
        raise EngineError("no container engine answers; start one, or run this as root, which installs and starts one")
    if shutil.which("dockerd") is None:
        install("docker.io", "iptables")
    answering = connect() or _start(room)
    if answering is None:
        raise EngineError(f"dockerd did not answer within {START_SECONDS} s; its log: {room / 'dockerd.log'}")
    return answering


def stop(room: Path) -> bool:
    """Stop the engine if it was started here; True when it was."""
    record = room / "engine.json"
    if not record.exists():
        return False
    started = json.loads(record.read_text())
    if started["by"] == "systemd":
        subprocess.run(["systemctl", "stop", "docker.service", "docker.socket"], check=True)
    elif _is_dockerd(started["pid"]):
        os.kill(started["pid"], signal.SIGTERM)
        deadline = time.monotonic() + START_SECONDS
        while _is_dockerd(started["pid"]) and time.monotonic() < deadline:
            time.sleep(0.5)
    record.unlink()
    return True


def install(*packages: str) -> None:
    """Install Debian's packages on this machine; another who installs is waited for."""
    if shutil.which("apt-get") is None:
        raise EngineError(f"{' and '.join(packages)} can't be installed here without apt-get: install them")
    apt = ["apt-get", "-q", "-y", "-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "-q", "update"], [*apt, "install", "--no-install-recommends", *packages]):
        subprocess.run(command, check=True, env=environment)


def _start(room: Path) -> docker.DockerClient | None:
    """Start the engine with the machine's init, or by hand where none runs, and write it down."""
    room.mkdir(parents=True, exist_ok=True)
    started: dict[str, str | int]
    if Path("/run/systemd/system").exists():
        subprocess.run(["systemctl", "start", "docker.service"], check=True)
        started = {"by": "systemd"}
    else:
        with (room / "dockerd.log").open("ab") as log:
            daemon = subprocess.Popen(
                ["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        started = {"by": "hand", "pid": daemon.pid}
    (room / "engine.json").write_text(json.dumps(started) + "\n")
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        answering = connect()
        if answering is not None:
            return answering
        time.sleep(0.5)
    return None


def _is_dockerd(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd"
    except OSError:
        return False
