# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which packages of Debian a host lacks, and whether they are to be had."""

from __future__ import annotations

import fcntl
import glob
import os
import re
import struct
import tempfile
from collections.abc import Iterable, Mapping

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fedlearn.infra.plugins.module_utils._service import listeners

QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "NEEDRESTART_MODE": "l"}
LOCKS = (
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
)
LOCKED = re.compile("|".join(re.escape(path) + r"(?=[\s).])" for path in LOCKS))
LISTS = "/var/lib/apt/lists/*Packages*"
FETCHING = """
Dir::State::lists "{room}/lists";
Dir::Cache "{room}/cache";
APT::Sandbox::User "root";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""
"""Configuration of an apt that fetches lists into a folder of ours and leaves the host as it is."""


def installed(module: AnsibleModule, names: list[str]) -> dict[str, tuple[str, str]]:
    """State and version of each package dpkg knows."""
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status} ${Version}\\n", *names]
    _code, output, _errors = module.run_command(query, environ_update=QUIET)
    rows = [line.split(" ") for line in output.splitlines() if line.count(" ") == 2]
    return {name: (state, version) for name, state, version in rows}


def missing(module: AnsibleModule, wanted: list[str]) -> list[str]:
    """Of the wanted packages those that aren't installed, or not in the version given."""
    if not wanted:
        return []
    known = installed(module, [one.partition("=")[0] for one in wanted])
    result = []
    for one in wanted:
        name, _equals, version = one.partition("=")
        state, present = known.get(name, ("", ""))
        if state != "installed" or (version and present != version):
            result.append(one)
    return result


def foreseen(
    module: AnsibleModule, names: list[str], replaces: Iterable[str], otherwise: Iterable[Mapping[str, str]]
) -> tuple[str, list[str]]:
    """Why packages can't be installed, as their installation would say, and all that would come with them.

    Neither where nobody knows. An installation fetches newer lists where those that are there won't do, so here too,
    but for this look alone.
    """
    code, output = simulate(module, names)
    others, there = removals(output, replaces), []
    if code != 0 and not others:
        with tempfile.TemporaryDirectory(prefix="fedlearn-apt.") as room:
            fetching = _fetching(room)
            if run(module, ["apt-get", *fetching, "--quiet", "update"])[0] == 0:
                code, output = simulate(module, names, fetching)
                there = versions(module, names, fetching) if code != 0 else []
            elif not glob.glob(LISTS):
                return "", []
            else:
                there = versions(module, names)
        others = removals(output, replaces)
    why = others or (reason(output) if code != 0 else "")
    coming = [line.split()[1] for line in output.splitlines() if line.startswith("Inst ")]
    return refusal(names, why, otherwise, *there) if why else "", coming


def _fetching(room: str) -> list[str]:
    """Options of an apt that keeps its lists in a folder."""
    for folder in ("lists/partial", "cache/archives/partial"):
        os.makedirs(os.path.join(room, folder))
    path = os.path.join(room, "apt.conf")
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(FETCHING.format(room=room))
    return ["-c", path]


def simulate(module: AnsibleModule, names: list[str], options: Iterable[str] = ()) -> tuple[int, str]:
    """What apt foresees of an installation."""
    wanted = ["--simulate", "--no-install-recommends", "--allow-downgrades", "install", "--", *names]
    return run(module, ["apt-get", *options, *wanted])


def removals(output: str, replaces: Iterable[str]) -> str:
    """What apt would remove that nobody said may go, in words; empty where there is nothing."""
    leaving = {line.split()[1] for line in output.splitlines() if line.startswith("Remv ")}
    others = ", ".join(sorted(leaving - set(replaces)))
    return f"apt would remove {others} for it: remove them yourself, or ask for it elsewhere" if others else ""


def refusal(names: list[str], why: str, otherwise: Iterable[Mapping[str, str]], *way_out: str) -> str:
    """What is said of packages that can't be installed, with what to do instead where that is known."""
    instead = [*way_out, *(one["text"] for one in otherwise if one["package"] in names)]
    return "; ".join([f"{', '.join(names)} can't be installed: {why}", *dict.fromkeys(instead)])


def run(module: AnsibleModule, argv: list[str]) -> tuple[int, str]:
    """Status and output of a command."""
    code, output, errors = module.run_command(argv, environ_update=QUIET)
    return code, output + errors


def reason(output: str) -> str:
    """What apt complained of, in one line."""
    lines = [line.strip() for line in output.splitlines() if line.startswith(("E: ", "dpkg: error"))]
    return " / ".join(lines[-3:] or output.strip().splitlines()[-3:])


def versions(module: AnsibleModule, names: list[str], options: Iterable[str] = ()) -> list[str]:
    """For each package pinned to a version that isn't to be had, which ones are."""
    told = []
    for name, _equals, version in (one.partition("=") for one in names if "=" in one):
        _code, output = run(module, ["apt-cache", *options, "madison", name])
        rows = [[word.strip() for word in line.split("|")] for line in output.splitlines()]
        there = list(dict.fromkeys(row[1] for row in rows if len(row) == 3 and row[0] == name))
        if version not in there:
            told.append(
                f"of {name} there is {', '.join(there)}: pin one of these"
                if there
                else f"of {name} there is no version at all: add the repository that has it"
            )
    return told


def holder(path: str) -> str:
    """Who holds a lock of apt's or dpkg's; empty once it is free. Of Debian 11's programs none says."""
    # struct flock of fcntl(2): type, whence, start, length, process
    layout = "hhqqi"
    try:
        with open(path, "rb") as stream:
            found = fcntl.fcntl(stream, fcntl.F_GETLK, struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError:
        return ""
    kind, process = struct.unpack(layout, found)[::4]
    if kind == fcntl.F_UNLCK:
        return ""
    unit = listeners.unit_of(str(process))
    name = listeners.read(f"/proc/{process}/comm").strip()
    return f"process {process} ({name}{f', {unit}' if unit else ''})"
