# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packs both programs with the Python that the aggregator embeds, and numpy: ``pack.py PROGRAMS ARCHIVE``, in the root.

No other Debian has this Python's library, so it lies beside the programs, as ``python``: PYTHONHOME is that folder,
and LD_LIBRARY_PATH its ``lib``. What is packed of the same files is the same, bit by bit.
"""

from __future__ import annotations

import compileall
import gzip
import py_compile
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

PROGRAMS = ("coordinator", "aggregator")
VERSION = "3.9"
NUMPY = Path("/usr/lib/python3/dist-packages/numpy")
SYSTEM = re.compile(r"(?:libc|libm|libdl|libpthread|librt|libutil|libgcc_s|ld-linux[\w-]*)\.so\.")
"""What each Debian has, and no program takes from another one."""

UNUSED = (
    "*.a", "__pycache__", "test", "tests", "config-*", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "tkinter",
    "turtledemo", "_ssl.*", "_hashlib.*", "_curses*", "_dbm.*", "_gdbm.*", "_sqlite3.*", "_tkinter.*", "nis.*",
    "readline.*",
)  # fmt: skip
"""Of Python and numpy: what no aggregator has a use for, or needs libraries that are out of support."""


def needed(binary: Path) -> list[Path]:
    """The libraries that a binary is linked to, but for each Debian's own."""
    said = subprocess.run(["ldd", str(binary)], check=True, capture_output=True, text=True).stdout
    found = re.findall(r"=> (/\S+)", said)
    return [Path(one) for one in found if not SYSTEM.match(Path(one).name)]


def gather(programs: Path, folder: Path) -> None:
    """What is packed."""
    for name in PROGRAMS:
        shutil.copy(programs / name, folder / name)
    python = folder / "python"
    (python / "bin").mkdir(parents=True)
    shutil.copy(f"/usr/bin/python{VERSION}", python / "bin")
    leave = shutil.ignore_patterns(*UNUSED)
    library = python / "lib" / f"python{VERSION}"
    shutil.copytree(f"/usr/lib/python{VERSION}", library, ignore=leave)
    shutil.copytree(NUMPY, python / "lib" / "python3" / "dist-packages" / "numpy", ignore=leave)
    compileall.compile_dir(
        str(python / "lib"),
        quiet=1,
        stripdir=str(folder),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    binaries = [*(folder / name for name in PROGRAMS), python / "bin" / f"python{VERSION}", *python.rglob("*.so")]
    for one in sorted({one for binary in binaries for one in needed(binary)}):
        shutil.copy(one, python / "lib" / one.name)


def entry(tar: tarfile.TarFile, path: Path, name: str) -> tarfile.TarInfo:
    """What an archive says of a file; nothing of who packed it, and when."""
    told = tar.gettarinfo(path, name)
    told.uid, told.gid, told.uname, told.gname, told.mtime = 0, 0, "", "", 0
    told.mode = 0o755 if told.isdir() or told.mode & 0o100 else 0o644
    return told


def pack(folder: Path, archive: Path) -> None:
    """The same bytes of the same files."""
    plain = archive.with_suffix("")
    with tarfile.open(plain, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            told = entry(tar, path, str(path.relative_to(folder)))
            if told.isfile():
                with path.open("rb") as content:
                    tar.addfile(told, content)
            else:
                tar.addfile(told)
    archive.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))


def main() -> None:
    """Packs them."""
    programs, archive = map(Path, sys.argv[1:])
    folder = Path("packed")
    folder.mkdir()
    gather(programs, folder)
    pack(folder, archive)


if __name__ == "__main__":
    main()
