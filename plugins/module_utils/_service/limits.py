# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Limits of a unit that systemd gives to what runs, once it has read its files again: no restart is needed."""

from __future__ import annotations

import math
import os
import re

from ansible_collections.fedlearn.infra.plugins.module_utils._service import files, units

_LIVE = re.compile(r"\s*(CPUQuota|CPUWeight|IOWeight|Memory(?:Max|High|Low|Min|SwapMax)|TasksMax)\s*=(.*)")
_BYTES = re.compile(r"(\d+)([KMGT]?)|(\d+(?:\.\d+)?)%")
_NO_LIMIT = ("", "infinity")
_MEMORY = ("/sys/fs/cgroup", "/sys/fs/cgroup/memory")
"""Where control groups are, of version 2 and 1."""

_IN_USE = ("anon", "shmem", "kernel_stack", "pagetables", "total_rss")
"""What the kernel can't take back, as it can pages of files, in the words of both versions."""


def _parted(unit: bytes) -> tuple[list[str], dict[str, str]]:
    """The lines of a unit that are none of limits, and the limits; of one that is there twice the last counts."""
    rest, limits, goes_on = [], {}, False
    for line in unit.decode("utf-8", "replace").splitlines():
        found = None if goes_on or line.endswith("\\") else _LIVE.fullmatch(line)
        goes_on = line.endswith("\\")
        if found:
            limits[found[1]] = found[2].strip()
        else:
            rest.append(line)
    return rest, limits


def digest_without(unit: bytes) -> str:
    """One word for all of a unit that only a restart brings to its process."""
    return files.digest_of("\n".join(_parted(unit)[0]).encode())


def unit_of(path: str) -> str:
    """The unit that a file, or a drop-in, is about."""
    folder, name = os.path.split(path)
    return os.path.basename(folder)[: -len(".d")] if folder.endswith(".d") else name


def too_low(unit: units.Unit, content: bytes) -> str:
    """In words, why a process wouldn't survive the limits of a unit; empty where it would."""
    said = _parted(content)[1].get("MemoryMax", "")
    most, used = _bytes(said), _unreclaimable(unit.cgroup)
    if used <= most:
        return ""
    return f"{unit.name} has {used >> 20} MB in use, and with MemoryMax={said} the kernel would kill it"


def _bytes(said: str) -> float:
    """What a MemoryMax is in bytes; nothing where it is said in a way that nobody here reads, so that it is judged."""
    if said in _NO_LIMIT:
        return math.inf
    found = _BYTES.fullmatch(said)
    if not found:
        return 0
    if found[3]:
        return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * float(found[3]) / 100)
    return int(found[1]) << 10 * " KMGT".index(found[2] or " ")


def _unreclaimable(cgroup: str) -> int:
    """How many bytes of its memory a control group needs; 0: not known."""
    stat = b"".join(files.read(f"{place}{cgroup}/memory.stat") for place in _MEMORY) if cgroup else b""
    has = {words[0]: int(words[1]) for words in (line.split() for line in stat.decode().splitlines())}
    return sum(has.get(key, 0) for key in _IN_USE)
