# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a service is well: its unit is up, stays up, and its checks pass."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from ansible_collections.fedlearn.infra.plugins.module_utils._service import listeners, units

_CHECK_SECONDS = 5.0
_COMMAND_SECONDS = 20.0
_SETTLE_SECONDS = 5.0  # how long a process without checks has to stay up: what can't work mostly ends within seconds


def _http(check: dict[str, Any], seconds: float) -> str | None:
    """One GET, by hand: http.client and what it imports would cost every execution 30 ms."""
    scheme, _sep, rest = check["url"].partition("://")
    authority, slash, path = rest.partition("/")
    host, port = _host_port(authority, 443 if scheme == "https" else 80)
    with socket.create_connection((host, port), timeout=seconds) as plain:
        stream = _tls(plain, host, check) if scheme == "https" else plain
        try:
            request = f"GET {slash + path or '/'} HTTP/1.0\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
            stream.sendall(request.encode("ascii"))
            answer = b""
            while b"\r\n" not in answer and len(answer) < 4096:
                more = stream.recv(4096)
                if not more:
                    break
                answer += more
        finally:
            if stream is not plain:
                stream.close()
    words = answer.split(b"\r\n")[0].decode("latin-1").split(" ", 2)
    code = int(words[1]) if len(words) > 1 and words[0].startswith("HTTP/") and words[1].isdigit() else 0
    wanted = check["status"]
    return None if code in wanted else f"answered {code or 'no HTTP'} instead of {'/'.join(str(one) for one in wanted)}"


def _host_port(authority: str, default: int) -> tuple[str, int]:
    if authority.startswith("["):
        host, _bracket, tail = authority[1:].partition("]")
        return host, int(tail[1:]) if tail.startswith(":") else default
    host, colon, port = authority.partition(":")
    return host, int(port) if colon else default


def _tls(plain: socket.socket, host: str, check: dict[str, Any]) -> socket.socket:
    import ssl

    context = ssl.create_default_context(cafile=check.get("ca"))
    # Python 3.13 began to refuse what the programs themselves accept, such as a CA without a key usage
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if check.get("certificate"):
        context.load_cert_chain(check["certificate"], check.get("key"))
    return context.wrap_socket(plain, server_hostname=host)


def _tcp(check: dict[str, Any], seconds: float) -> str | None:
    with socket.create_connection((check["address"], check["port"]), timeout=seconds):
        return None


def _command(check: dict[str, Any], seconds: float) -> str | None:
    code, output = units.run(check["command"], max(seconds, _COMMAND_SECONDS))
    lines = output.strip().splitlines()
    return None if code == 0 else f"exit status {code}{': ' + ' / '.join(lines[-3:]) if lines else ''}"


def try_check(check: dict[str, Any], seconds: float) -> str | None:
    """Runs one check. Returns None when it passes, else what was wrong in words."""
    try:
        if "http" in check:
            name, wrong = f"GET {check['http']['url']}", _http(check["http"], seconds)
        elif "tcp" in check:
            name, wrong = f"TCP {check['tcp']['address']} port {check['tcp']['port']}", _tcp(check["tcp"], seconds)
        else:
            name, wrong = f"command {units.spoken(check['command'])}", _command(check, seconds)
    except (OSError, ValueError) as error:
        kind = next(iter(check))
        inner = check[kind]
        name = f"GET {inner['url']}" if kind == "http" else f"TCP {inner['address']} port {inner['port']}"
        wrong = str(error) or type(error).__name__
    return f"{name}: {wrong}" if wrong else None


def try_checks(checks: list[dict[str, Any]], seconds: float = _CHECK_SECONDS) -> str | None:
    """The first check that doesn't pass, in words; None when all do."""
    for check in checks:
        wrong = try_check(check, seconds)
        if wrong:
            return wrong
    return None


def describe(unit: units.Unit) -> str:
    text = f"{unit.name} is {unit.active} ({unit.sub})"
    text += f", result {unit.result}, exit status {unit.status}" if unit.result not in ("", "success") else ""
    return text + (f", restarted {unit.restarts} times" if unit.restarts else "")


def wrong_now(unit: units.Unit, wanted: dict[str, Any], seconds: float = _CHECK_SECONDS) -> str | None:
    """What keeps a service from being called well at this moment; None when nothing does."""
    spec = wanted["health"]
    # between two restarts a unit is "activating" as well: that is no job at work
    at_work = wanted["type"] == "job" and not unit.notifies and (unit.active, unit.sub) == ("activating", "start")
    if unit.active not in ("active", "reloading") and not at_work:
        return describe(unit)
    if not spec["checks"] and unit.restarts and unit.up < _settling(spec):
        return f"{describe(unit)}, the last time {unit.up:.0f} s ago"
    return try_checks(spec["checks"], seconds) or listeners.others(unit.name, spec["checks"], wanted["ports"])


def _settling(spec: dict[str, Any]) -> float:
    """How long a process has to stay up: one with checks only while they run."""
    return 0.0 if spec["checks"] else min(_SETTLE_SECONDS, float(spec["timeout"]) / 2)


def wait(name: str, wanted: dict[str, Any], restarts: int) -> str | None:
    """Waits until the unit is up, stays up, and its checks pass. Returns None then, else the reason at the time's end.

    `restarts` is how often the unit had been restarted when it was last left.
    """
    spec = wanted["health"]
    limit, pause = time.monotonic() + float(spec["timeout"]), 0.05
    while True:
        unit = units.show([name])[name]
        verdict = _verdict(unit, wanted["finished"], restarts + int(spec["restarts"]))
        if verdict is not None:
            return verdict or None
        wrong = wrong_now(unit, wanted, min(_CHECK_SECONDS, max(0.5, limit - time.monotonic())))
        if wrong is None:
            wrong = describe(unit)
            after = units.show([name])[name]
            settled = unit.notifies or after.up >= _settling(spec)
            if settled and (after.active, after.pid) == (unit.active, unit.pid):
                return None
        if time.monotonic() >= limit:
            return f"not healthy within {spec['timeout']} s: {wrong}"
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)


def _verdict(unit: units.Unit, finished: str | None, restarts: int) -> str | None:
    """A verdict that waiting can't change: "" for well, a reason for lost, None to go on waiting."""
    queued = unit.job not in ("", "0")
    if finished and (
        os.path.exists(finished) or (unit.active == "inactive" and unit.result == "success" and not queued)
    ):
        return ""
    lost = unit.active == "failed" or (unit.active == "inactive" and not queued) or unit.restarts > restarts
    return describe(unit) if lost else None
