# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose process answers on a port: a check that another program answered says nothing of the service."""

from __future__ import annotations

import errno
import os
import re
import socket
import urllib.parse
from collections.abc import Collection, Iterator
from typing import Any

_UNIT = re.compile(r"([^/\s]+\.(?:service|socket)|fedlearn-[^/\s]+\.slice)(?:/|$)", re.MULTILINE)


def others(unit: str, checks: list[dict[str, Any]], ports: list[dict[str, Any]]) -> str | None:
    """In words, who listens in the unit's stead on a port of its own that its checks just reached; None: nobody."""
    own = {port["port"] for port in ports if port["protocol"] == "tcp"}
    for port in own & {_port(check) for check in checks}:
        sockets = _listening(port)
        if not sockets or any(sockets & _sockets(pid) for pid in _processes() if _belongs(pid, unit)):
            continue
        stranger = _holder(sockets)
        return f"port {port} is answered by another program{_told(stranger)} and not by {unit}{way_out(stranger)}"
    return None


def held(units: Collection[str], ports: list[dict[str, Any]]) -> str:
    """In words, which ports others than these units hold where they are to be listened on; empty where none is."""
    told = []
    for one in ports:
        sockets = _listening(one["port"]) if one["protocol"] == "tcp" else set()
        holders = [pid for pid in _processes() if sockets & _sockets(pid)] if sockets else []
        if sockets and not any(_belongs(pid, unit) for pid in holders for unit in units) and _is_taken(one):
            holder = next(iter(holders), None)
            told.append(f"port {one['port']} is held by another program{_told(holder)}{way_out(holder)}")
    return "; ".join(told)


def _is_taken(port: dict[str, Any]) -> bool:
    """Whether nobody else can listen there: who has the port on another address is in nobody's way."""
    family = socket.AF_INET6 if ":" in port["address"] else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((port["address"], port["port"]))
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def unit_of(pid: str) -> str:
    """The systemd unit a process belongs to; empty when it can't be told.

    A container that a unit has a daemon run is in the slice of the unit's name.
    """
    found = _UNIT.findall(read(f"/proc/{pid}/cgroup"))
    slices = [name for name in found if name.endswith(".slice")]
    return slices[-1][: -len(".slice")] + ".service" if slices else next(reversed(found), "")


def way_out(pid: str | None) -> str:
    """What to do about a process that holds a port."""
    if not pid or not unit_of(pid).startswith("fedlearn-"):
        return ": end it, or choose another port"
    return (
        ": give one of the two another port or, if no document has it any more, "
        "name its host under `absent`, and it goes first"
    )


def _holder(sockets: set[str]) -> str | None:
    """A process that has one of the sockets."""
    return next((pid for pid in _processes() if sockets & _sockets(pid)), None) if sockets else None


def _told(pid: str | None) -> str:
    if not pid:
        return ""
    unit = unit_of(pid)
    return f" ({read(f'/proc/{pid}/comm').strip()}, process {pid}{f', {unit}' if unit else ''})"


def _port(check: dict[str, Any]) -> int | None:
    if "http" in check:
        url = urllib.parse.urlsplit(check["http"]["url"])
        return url.port or (443 if url.scheme == "https" else 80)
    return int(check["tcp"]["port"]) if "tcp" in check else None


def _listening(port: int) -> set[str]:
    """The sockets that listen on a port, on any address, as /proc/<pid>/fd names them."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as stream:
                rows = [line.split() for line in stream]
        except OSError:  # no IPv6 here
            continue
        found |= {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}
    return found


def _processes() -> Iterator[str]:
    return (name for name in os.listdir("/proc") if name.isdigit())


def _sockets(pid: str) -> set[str]:
    found = set()
    try:
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            found.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    except OSError:  # it ended, or closed that one just now
        pass
    return found


def read(path: str) -> str:
    """A file of the kernel's; empty where it isn't there, or its process has ended."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def _belongs(pid: str, unit: str) -> bool:
    """Whether systemd counts a process to a unit, by its control group (version 1 or 2). It itself listens for any."""
    if pid == "1" or unit_of(pid) == unit:
        return True
    return any(unit in line.split("/") for line in read(f"/proc/{pid}/cgroup").splitlines())
