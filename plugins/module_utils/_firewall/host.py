# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a host the rules depend on: its ephemeral ports, who listens there, and how the controller came."""

from __future__ import annotations

import ipaddress
import os
import struct
from collections.abc import Iterator

from ansible_collections.fedlearn.infra.plugins.module_utils._firewall.rules import Claim, Place, Surroundings
from ansible_collections.fedlearn.infra.plugins.module_utils._service.listeners import read, unit_of

RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
_LISTENS = "0A"


def surroundings() -> Surroundings:
    """What goes into the rules."""
    words = read(RANGE).split()
    ephemeral = (int(words[0]), int(words[1])) if len(words) == 2 else Surroundings().ephemeral
    return Surroundings(ephemeral, *_ssh_connection())


def _ssh_connection() -> tuple[str | None, int | None]:
    """The address that the controller comes from and the port it came to; nothing without ssh.

    sudo hides it from this process, so the one that sshd started is asked.
    """
    pid = os.getpid()
    while pid > 1:
        for entry in read(f"/proc/{pid}/environ").split("\0"):
            words = entry.partition("SSH_CONNECTION=")[2].split() if entry.startswith("SSH_CONNECTION=") else []
            if len(words) == 4:
                return _address(words[0]), int(words[3])
        after_name = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        pid = int(after_name[1]) if len(after_name) > 1 else 0
    return None, None


def _address(text: str) -> str:
    found = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)


def strangers(claims: list[Claim]) -> list[str]:
    """In words, who listens in an ephemeral range that is to be guarded, and is nobody's whom a claim names."""
    everybodys = [one for claim in claims for one in (*claim.services, *claim.others)]
    guarded = [place for one in everybodys if one.ephemeral for place in one.places]
    named = [place for one in everybodys if not one.ephemeral for place in one.places]
    found = []
    for place, socket in _listening() if guarded else ():
        if any(place.meets(one) for one in guarded) and not any(place.meets(one) for one in named):
            pid, unit = _holder(socket)
            if not unit.startswith("fedlearn-"):
                who = read(f"/proc/{pid}/comm").strip() or "an unknown process"
                found.append(f"port {place.ports[0]} on {place.address or 'every address'} is listened on by {who}")
    return list(dict.fromkeys(found))


def _listening() -> Iterator[tuple[Place, str]]:
    """Where programs listen for TCP, and the sockets they do it by."""
    for table, family in (("/proc/net/tcp", 4), ("/proc/net/tcp6", 6)):
        for row in (line.split() for line in read(table).splitlines()[1:]):
            if row[3] == _LISTENS:
                digits, port = row[1].split(":")
                words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
                address = ipaddress.ip_address(struct.pack(f"={len(words)}I", *words))
                mapped = getattr(address, "ipv4_mapped", None)
                for each in (4, 6) if address.is_unspecified and family == 6 else (4 if mapped else family,):
                    numeric = None if address.is_unspecified else str(mapped or address)
                    yield Place(each, numeric, "tcp", (int(port, 16), int(port, 16))), f"socket:[{row[9]}]"


def _holder(socket: str) -> tuple[str, str]:
    """The process that holds a socket, and its unit."""
    for pid in (name for name in os.listdir("/proc") if name.isdigit() and name != "1"):
        try:
            held = any(os.readlink(f"/proc/{pid}/fd/{one}") == socket for one in os.listdir(f"/proc/{pid}/fd"))
        except OSError:  # it ended, or closed that one just now
            continue
        if held:
            unit = unit_of(pid)
            return pid, unit if unit.endswith(".service") else ""
    return "", ""
