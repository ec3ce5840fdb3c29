# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a service is well: its unit is up, stays up, and its checks pass."""

from __future__ import annotations

import os
import socket
import time
from typing import Any, Dict, List, Optional, Tuple

from ansible_collections.fedlearn.infra.plugins.module_utils._service import units

_CHECK_SECONDS = 5.0
_COMMAND_SECONDS = 20.0
_STEADY_SECONDS = 1.0  # how long a unit without checks has to stay up


def _http(check: Dict[str, Any], seconds: float) -> Optional[str]:
    """One GET, by hand: http.client and what it imports would cost every execution 30 ms."""
    scheme, _sep, rest = check["url"].partition("://")
    authority, slash, path = rest.partition("/")
    host, port = _host_port(authority, 443 if scheme == "https" else 80)
    with socket.create_connection((host, port), timeout=seconds) as plain:
        stream = _tls(plain, host, check) if scheme == "https" else plain
        try:
            request = f"GET {slash + path or '/'} HTTP/1.0\r\nHost: {authority}\r\nUser-Agent: fedlearn\r\nConnection: close\r\n\r\n"
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


def _host_port(authority: str, default: int) -> Tuple[str, int]:
    if authority.startswith("["):
        host, _bracket, tail = authority[1:].partition("]")
        return host, int(tail[1:]) if tail.startswith(":") else default
    host, colon, port = authority.partition(":")
    return host, int(port) if colon else default


def _tls(plain: socket.socket, host: str, check: Dict[str, Any]) -> socket.socket:
    import ssl

    context = ssl.create_default_context(cafile=check.get("ca"))
    if check.get("certificate"):
        context.load_cert_chain(check["certificate"], check.get("key"))
    return context.wrap_socket(plain, server_hostname=host)


def _tcp(check: Dict[str, Any], seconds: float) -> Optional[str]:
    with socket.create_connection((check["address"], check["port"]), timeout=seconds):
        return None


def _command(check: Dict[str, Any], seconds: float) -> Optional[str]:
    code, output = units.run(check["command"], max(seconds, _COMMAND_SECONDS))
    lines = output.strip().splitlines()
    return None if code == 0 else f"exit status {code}{': ' + ' / '.join(lines[-3:]) if lines else ''}"


def try_check(check: Dict[str, Any], seconds: float) -> Optional[str]:
    """Runs one check. Returns None when it passes, else what was wrong in words."""
    try:
        if "http" in check:
            name, wrong = f"GET {check['http']['url']}", _http(check["http"], seconds)
        elif "tcp" in check:
            name, wrong = f"TCP {check['tcp']['address']} port {check['tcp']['port']}", _tcp(check["tcp"], seconds)
        else:
            name, wrong = f"command {check['command'][0]}", _command(check, seconds)
    except (OSError, ValueError) as error:
        kind = next(iter(check))
        inner = check[kind]
        name = f"GET {inner['url']}" if kind == "http" else f"TCP {inner['address']} port {inner['port']}"
        wrong = str(error) or type(error).__name__
    return f"{name}: {wrong}" if wrong else None


def try_checks(checks: List[Dict[str, Any]], seconds: float = _CHECK_SECONDS) -> Optional[str]:
    """The first check that doesn't pass, in words; None when all do."""
    for check in checks:
        wrong = try_check(check, seconds)
        if wrong:
            return wrong
    return None


def describe(unit: units.Unit) -> str:
    text = f"{unit.name} is {unit.active} ({unit.sub})"
    return text + (f", result {unit.result}, exit status {unit.status}" if unit.result not in ("", "success") else "")


def wait(name: str, health: Dict[str, Any], job: bool, finished: Optional[str], restarts_before: int, waited_for_it: bool) -> Optional[str]:
    """Waits until the unit is up and its checks pass. Returns None then, else the reason at the end of the time.

    `waited_for_it`: the unit was started or restarted just now, so it has to prove that it stays up.
    """
    limit = time.monotonic() + float(health["timeout"])
    steady_since, steady_pid, pause = 0.0, -1, 0.05
    while True:
        unit = units.show([name])[name]
        reason = _fatal(unit, job, finished, restarts_before + int(health["restarts"]))
        if reason is not None:
            return reason or None
        if unit.active == "active" or (job and unit.active == "activating"):
            wrong = try_checks(health["checks"], min(_CHECK_SECONDS, max(0.5, limit - time.monotonic())))
            if wrong is None:
                if unit.pid != steady_pid:
                    steady_pid, steady_since = unit.pid, time.monotonic()
                if not waited_for_it or time.monotonic() - steady_since >= (0.0 if health["checks"] else _STEADY_SECONDS):
                    after = units.show([name])[name]
                    if after.active == unit.active and after.pid == unit.pid:
                        return None
        else:
            wrong = describe(unit)
        if time.monotonic() >= limit:
            return f"not healthy within {health['timeout']} s: {wrong or describe(unit)}"
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)


def _fatal(unit: units.Unit, job: bool, finished: Optional[str], restarts: int) -> Optional[str]:
    """A verdict that waiting can't change: "" for well, a reason for lost, None to go on waiting."""
    if job and ((finished and os.path.exists(finished)) or (unit.active == "inactive" and unit.result == "success" and not unit.job)):
        return ""
    if unit.active == "failed" or (unit.active == "inactive" and not unit.job):
        return describe(unit)
    if unit.restarts > restarts:
        return f"{describe(unit)}; it was restarted {unit.restarts} times"
    return None
