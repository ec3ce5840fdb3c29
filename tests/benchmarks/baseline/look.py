# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs as root on a host of the benchmark: prints as JSON what two ways to converge it must agree on.

Every file below /etc and /opt (kind, mode, owner, content), every package, and each of our units: enabled, and well.
"""

from __future__ import annotations

import fnmatch
import grp
import hashlib
import json
import os
import pwd
import stat
import subprocess
from pathlib import Path

ROOTS = ("/etc", "/opt", "/usr/sbin/policy-rc.d")
LEFT_OUT = (
    # a machine's own
    "/etc/ssh/ssh_host_*",
    "/etc/machine-id",
    "/etc/ssl/certs/ssl-cert-snakeoil.pem",
    "/etc/ssl/private/ssl-cert-snakeoil.key",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/mtab",
    "/etc/ld.so.cache",
    "/etc/.pwd.lock",
    # what the account tools keep of the state before
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/group-",
    "/etc/gshadow-",
    # compiled Python holds its source's time
    "*/__pycache__",
    "*.pyc",
    # our digests
    "*/.fedlearn-artifact.json",
)


def entry(path: str) -> list[str]:
    """Kind and mode, owner, and what is in it or where it leads."""
    status = os.lstat(path)
    owner = f"{pwd.getpwuid(status.st_uid).pw_name}:{grp.getgrgid(status.st_gid).gr_name}"
    content = ""
    if stat.S_ISLNK(status.st_mode):
        content = str(Path(path).readlink())
    elif stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(read(path)).hexdigest()
    return [stat.filemode(status.st_mode), owner, content]


def read(path: str) -> bytes:
    """A file's content. pip notes sums of scripts that name the folder they were built in; the scripts are removed."""
    content = Path(path).read_bytes()
    if path.endswith(".dist-info/RECORD"):
        return b"".join(line for line in content.splitlines(True) if not line.startswith(b"../../../bin/"))
    return content


def left_out(path: str) -> bool:
    """Whether two equal hosts may differ there."""
    return any(fnmatch.fnmatch(path, pattern) for pattern in LEFT_OUT)


def files() -> dict[str, list[str]]:
    """Every file, link and directory below the roots."""
    found = {root: entry(root) for root in ROOTS if os.path.lexists(root)}
    for root in ROOTS:
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if not left_out(f"{folder}/{name}")]
            for path in (f"{folder}/{name}" for name in folders + names):
                if not left_out(path):
                    found[path] = entry(path)
    return found


def said(*command: str) -> list[str]:
    """The lines a command prints."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()


def units() -> dict[str, list[str]]:
    """Each of our units and nginx: enabled or not; running, or a job that ended well."""
    listed = [line.split()[0] for line in said("systemctl", "list-unit-files", "--no-legend")]
    names = [name for name in listed if name.startswith("fedlearn-") or name == "nginx.service"]
    found = {}
    for name in names:
        shown = said("systemctl", "show", "--property", "UnitFileState,ActiveState,Result", name)
        values = dict(line.split("=", 1) for line in shown)
        ended_well = values["ActiveState"] == "inactive" and values["Result"] == "success" and "-worker" in name
        running = values["ActiveState"] in ("active", "activating") or ended_well
        found[name] = [values["UnitFileState"], "well" if running else values["ActiveState"]]
    return found


packages = sorted(said("dpkg-query", "--show", "--showformat", "${Package}=${Version}\\n"))
print(json.dumps({"files": files(), "packages": packages, "units": units()}))
