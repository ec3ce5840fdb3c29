# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""systemd as the transaction needs it: what units are, and the few verbs."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass

from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import ServiceError

PERMANENT = "/etc/systemd/system"
TRANSIENT = "/run/systemd/system"
_PROPERTIES = (
    "LoadState,ActiveState,SubState,UnitFileState,FragmentPath,DropInPaths,NeedDaemonReload,MainPID,InvocationID,"
    "NRestarts,Result,ExecMainStatus,ExecMainStartTimestampMonotonic,InactiveExitTimestampMonotonic,CanReload,Job"
)
VALIDATE_SECONDS = 60
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
    can_reload: bool = False
    job: str = ""

    @property
    def running(self) -> bool:
        """Whether a process of it is up or on its way (also between two restarts)."""
        return self.active in ("active", "activating", "reloading")

    @property
    def is_enabled(self) -> bool:
        return self.enabled in ("enabled", "static", "indirect", "generated", "alias")


def run(argv: list[str], seconds: float) -> tuple[int, str]:
    """Runs a command, without a shell. Returns its status (124: timed out, 127: cannot be run) and both outputs."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            cwd="/",
            env=_ENVIRONMENT,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as expired:
        return 124, (expired.stdout or b"").decode("utf-8", "replace") + f"\n(no answer within {seconds:.0f} s)"
    except OSError as error:
        return 127, f"{argv[0]}: {os.strerror(error.errno or 0)}"
    return done.returncode, done.stdout.decode("utf-8", "replace")


def ending(output: str) -> str:
    """The last lines of what a command said."""
    return "\n".join(output.strip().splitlines()[-8:])[-1000:]


def show(names: list[str]) -> dict[str, Unit]:
    """The state of several units, in one call of systemctl."""
    if not names:
        return {}
    argv = ["systemctl", "show", "--no-pager", "--property", _PROPERTIES, "--", *names]
    code, output = run(argv, _SYSTEMCTL_SECONDS)
    blocks = output.strip("\n").split("\n\n")
    if code != 0 or len(blocks) != len(names):
        raise ServiceError(f"systemctl show failed: {output.strip()[-300:]}")
    return {name: _parse(name, block) for name, block in zip(names, blocks)}


def _parse(name: str, block: str) -> Unit:
    value = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    stamp = value.get("ExecMainStartTimestampMonotonic", "0")
    started = int(stamp if stamp not in ("", "0") else value.get("InactiveExitTimestampMonotonic") or 0) / 1e6
    return Unit(
        name=name,
        load=value.get("LoadState", ""),
        active=value.get("ActiveState", ""),
        sub=value.get("SubState", ""),
        enabled=value.get("UnitFileState", ""),
        fragment=value.get("FragmentPath", ""),
        dropins=tuple(path for path in value.get("DropInPaths", "").split() if f"/{name}.d/" in path),
        needs_reload=value.get("NeedDaemonReload") == "yes",
        pid=int(value.get("MainPID") or 0),
        invocation=value.get("InvocationID", ""),
        restarts=int(value.get("NRestarts") or 0),
        result=value.get("Result", ""),
        status=value.get("ExecMainStatus", ""),
        can_reload=value.get("CanReload") == "yes",
        job=value.get("Job", ""),
        started=time.time() - (time.clock_gettime(time.CLOCK_MONOTONIC) - started) if started else 0.0,
    )


def verb(*words: str) -> tuple[int, str]:
    """`systemctl <words>`; status and output."""
    code, output = run(["systemctl", "--quiet", "--no-ask-password", *words], _SYSTEMCTL_SECONDS)
    return code, output.strip()


def must(*words: str) -> None:
    """`systemctl <words>`, or a ServiceError with what it said."""
    code, output = verb(*words)
    if code != 0:
        raise ServiceError(f"systemctl {' '.join(words)} failed: {output[-500:] or code}")


def spoken(argv: list[str]) -> str:
    """What a command is called in messages: a shell script by the name it is given as $0, anything else as it is."""
    is_script = argv[:2] == ["/bin/sh", "-c"] and len(argv) > 3
    return argv[3] if is_script else " ".join(argv)


def is_unit_file(path: str) -> bool:
    """Whether systemd has to read its files again once this one changed: a unit, or a drop-in of one."""
    return path.startswith((PERMANENT + "/", TRANSIENT + "/"))


def reload_manager() -> None:
    must("daemon-reload")


def journal(names: list[str], since: float, lines: int = 15) -> list[str]:
    """The last lines units wrote since a moment (seconds since the epoch)."""
    run(["journalctl", "--sync"], 5)
    argv = [
        "journalctl",
        "--no-pager",
        "--quiet",
        "--output",
        "cat",
        "--lines",
        str(lines),
        "--since",
        f"@{int(since)}",
    ]
    for name in names:
        argv += ["--unit", name]
    code, output = run(argv, 10)
    return output.splitlines()[-lines:] if code == 0 else []
