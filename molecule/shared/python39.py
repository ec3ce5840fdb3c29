# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packs a Python 3.9 of this machine, so that test hosts which have none get one as an archive.

    python39.py        prints {"source": PATH, "sha256": SUM} of the archive in build/python39/
                       ends with 77, and says so, where the machine has no Python 3.9 that can be packed

It has to be built shared (`--enable-shared`), which MindSpore Federated needs, in a prefix of its own: pyenv's are.
FEDLEARN_PYTHON39 names its interpreter; without it pyenv's versions and PATH are looked through.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

ROOM = Path(__file__).resolve().parents[2] / "build" / "python39"
NOT_THERE = 77
ASK = """
import sys, sysconfig
library = sysconfig.get_config_var("LIBDIR") + "/" + sysconfig.get_config_var("LDLIBRARY")
shared = sys.version_info[:2] == (3, 9) and sysconfig.get_config_var("Py_ENABLE_SHARED") and ".so" in library
print(sys.base_prefix if shared and library.startswith(sys.base_prefix + "/lib/") else "")
"""
LEFT_OUT = {"__pycache__", "test", "tests", "site-packages", "idlelib", "tkinter", "turtledemo", "lib2to3"}
"""Folders of the standard library that no service needs, and what was installed beside it."""


def prefix() -> Path | None:
    """Where a Python 3.9 that can be packed lies."""
    for interpreter in candidates():
        asked = subprocess.run([interpreter, "-c", ASK], capture_output=True, text=True, check=False)
        found = asked.stdout.strip()
        if asked.returncode == 0 and found and found != "/usr":
            return Path(found)
    return None


def candidates() -> Iterator[str]:
    """Interpreters to ask, the one that was named first."""
    named = os.environ.get("FEDLEARN_PYTHON39")
    if named:
        yield named
        return
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob("versions/3.9.*/bin/python3.9"), reverse=True))
    yield from filter(None, [shutil.which("python3.9")])


def members(root: Path) -> Iterator[Path]:
    """Interpreter, its library and the standard library, in the same order every time."""
    yield root / "bin" / "python3.9"
    yield from sorted(root.glob("lib/libpython3*.so*"))
    for path in sorted((root / "lib" / "python3.9").rglob("*")):
        inner = path.relative_to(root / "lib").parts
        if path.is_file() and not LEFT_OUT & set(inner) and path.suffix != ".a":
            yield path


def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nobody's, of no time: the same files are the same archive."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def pack(root: Path) -> Path:
    """The archive, complete or not at all."""
    ROOM.mkdir(parents=True, exist_ok=True)
    partial = ROOM / f"partial-{os.getpid()}"
    with (
        partial.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for path in members(root):
            archive.add(path, f"python3.9/{path.relative_to(root)}", recursive=False, filter=plain)
    archive_path = ROOM / "python3.9.tar.gz"
    partial.replace(archive_path)
    return archive_path


def main() -> int:
    """Packs and says where it is."""
    root = prefix()
    if root is None:
        print(
            "SKIPPED: this machine has no Python 3.9 built with --enable-shared to pack for hosts without one: "
            "`pyenv install 3.9` with PYTHON_CONFIGURE_OPTS=--enable-shared makes it, or name one in FEDLEARN_PYTHON39",
            file=sys.stderr,
        )
        return NOT_THERE
    archive = pack(root)
    print(json.dumps({"source": str(archive), "sha256": hashlib.sha256(archive.read_bytes()).hexdigest()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
