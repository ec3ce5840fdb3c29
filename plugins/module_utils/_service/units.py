# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""systemd as the transaction needs it: what units are, and the few verbs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass

from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import ServiceError

PERMANENT = "/etc/systemd/system"
TRANSIENT = "/run/systemd/system"
_PROPERTIES = (
    "Type,LoadState,ActiveState,SubState,UnitFileState,FragmentPath,DropInPaths,NeedDaemonReload,MainPID,InvocationID,"
    "NRestarts,Result,ExecMainStatus,ExecMainStartTimestampMonotonic,InactiveExitTimestampMonotonic,CanReload,Job,"
    "ControlGroup"
)
VALIDATE_SECONDS = 60
_LINE_SHOWN = 300  # characters
_LINES_READ = 500
_SYSTEMCTL_SECONDS = 200  # above systemd's own 90 s for stopping and 90 s for starting
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "SYSTEMD_COLORS": "0",
}


@dataclass
class Unit:
    """A unit as systemd sees it."""

    name: str
    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    enabled: str = ""
    fragment: str = ""
    dropins: tuple[str, ...] = ()
    needs_reload: bool = False
    pid: int = 0
    invocation: str = ""
    restarts: int = 0
    result: str = ""
    status: str = ""
    started: float = 0.0  # seconds since the epoch; 0: never
    up: float = 0.0  # seconds since then, whatever became of the clock
    can_reload: bool = False
    notifies: bool = False  # says itself when it is ready, and is activating until then
    job: str = ""
    cgroup: str = ""

    @property
    def running(self) -> bool:
        """Whether a process of it is up or on its way (also between two restarts)."""
        return self.active in ("active", "activating", "reloading")

    @property
    def is_enabled(self) -> bool:
        return self.enabled in ("enabled", "static", "indirect", "generated", "alias")


def run(argv: list[str], seconds: float) -> tuple[int, str]:
    """Runs a command, without a shell. Returns its status (124: timed out, 127: can't be run) and both outputs.

    At the limit all it started ends with it, unless that made a session of its own.
    """
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=_ENVIRONMENT,
            start_new_session=True,
        )
    except OSError as error:
        return 127, f"{argv[0]}: {os.strerror(error.errno or 0)}"
    try:
        output, late = process.communicate(timeout=seconds)[0], ""
    except subprocess.TimeoutExpired as expired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        output, late = expired.stdout or b"", f"\n(no answer within {seconds:.0f} s)"
    return 124 if late else process.returncode, output.decode("utf-8", "replace") + late


def is_settled(pending: str, timer: str) -> bool:
    """Whether no run has yet to confirm what it changed: there is no such folder, or no timer any more to end it."""
    return not os.path.isdir(pending) or run(["systemctl", "is-active", "--quiet", timer], 10)[0] != 0


def ending(output: str) -> str:
    """The last lines of what a command said. Long ones are cut between words: half a secret would not be masked."""
    return "\n".join(_shortened(line) for line in output.strip().splitlines()[-8:])


def _shortened(line: str) -> str:
    if len(line) <= _LINE_SHOWN:
        return line
    return f"{line[: max(line.rfind(' ', 0, _LINE_SHOWN), 0)]} ({len(line)} characters in all)".strip()


def show(names: list[str]) -> dict[str, Unit]:
    """The state of several units, in one call of systemctl."""
    if not names:
        return {}
    argv = ["systemctl", "show", "--no-pager", "--property", _PROPERTIES, "--", *names]
    code, output = run(argv, _SYSTEMCTL_SECONDS)
    blocks = output.strip("\n").split("\n\n")
    if code != 0 or len(blocks) != len(names):
        raise ServiceError(f"systemctl show failed: {ending(output)}")
    return {name: _parse(name, block) for name, block in zip(names, blocks)}


def _parse(name: str, block: str) -> Unit:
    value = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    stamp = value.get("ExecMainStartTimestampMonotonic", "0")
    started = int(stamp if stamp not in ("", "0") else value.get("InactiveExitTimestampMonotonic") or 0) / 1e6
    up = time.clock_gettime(time.CLOCK_MONOTONIC) - started if started else 0.0
    return Unit(
        name=name,
        load=value.get("LoadState", ""),
        active=value.get("ActiveState", ""),
        sub=value.get("SubState", ""),
        enabled=value.get("UnitFileState", ""),
        fragment=value.get("FragmentPath", ""),
        dropins=tuple(value.get("DropInPaths", "").split()),
        needs_reload=value.get("NeedDaemonReload") == "yes",
        pid=int(value.get("MainPID") or 0),
        invocation=value.get("InvocationID", ""),
        restarts=int(value.get("NRestarts") or 0),
        result=value.get("Result", ""),
        status=value.get("ExecMainStatus", ""),
        notifies=value.get("Type") in ("notify", "notify-reload"),
        can_reload=value.get("CanReload") == "yes",
        job=value.get("Job", ""),
        cgroup=value.get("ControlGroup", ""),
        started=time.time() - up if started else 0.0,
        up=up,
    )


def verb(*words: str) -> tuple[int, str]:
    """`systemctl <words>`; status and output."""
    code, output = run(["systemctl", "--quiet", "--no-ask-password", *words], _SYSTEMCTL_SECONDS)
    return code, output.strip()


def must(*words: str) -> None:
    """`systemctl <words>`, or a ServiceError with what it said."""
    code, output = verb(*words)
    if code != 0:
        raise ServiceError(f"systemctl {' '.join(words)} failed: {ending(output) or code}")


def spoken(argv: list[str]) -> str:
    """What a command is called in messages: a shell script by the name it is given as $0, anything else as it is."""
    is_script = argv[:2] == ["/bin/sh", "-c"] and len(argv) > 3
    return argv[3] if is_script else " ".join(argv)


def is_unit_file(path: str) -> bool:
    """Whether systemd has to read its files again once this one changed: a unit, or a drop-in of one."""
    return path.startswith((PERMANENT + "/", TRANSIENT + "/"))


def reload_manager() -> None:
    must("daemon-reload")


def journal(names: list[str], since: float) -> list[str]:
    """The last lines units wrote since a moment (seconds since the epoch)."""
    run(["journalctl", "--sync"], 5)
    argv = ["journalctl", "--no-pager", "--quiet", "--output", "cat", "--lines", str(_LINES_READ)]
    argv += ["--since", f"@{int(since)}"]
    for name in names:
        argv += ["--unit", name]
    code, output = run(argv, 10)
    return output.splitlines() if code == 0 else []
