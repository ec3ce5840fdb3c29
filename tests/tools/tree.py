# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tree under test: which files it has, their common digest, and a copy of it elsewhere.

    tree.py digest          twelve characters that change with any file's path, mode or content
    tree.py copy FOLDER     the tree as FOLDER/ansible_collections/fedlearn/infra; prints that path

ansible-test and ansible-lint look at a copy: from a git-ignored folder or through a link ansible-test sees no files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
OUTSIDE_GIT = {"build", ".venv", ".git", "__pycache__", ".mypy_cache", ".ruff_cache", ".ansible", ".secrets", ".ca"}


def files() -> list[Path]:
    """Every file of the tree, relative to it and sorted: git's own and new ones, or all when there is no git."""
    if (CHECKOUT / ".git").exists():
        command = ["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = [Path(name) for name in listed.split("\0") if name]
    else:
        found = []
        for folder, folders, names in os.walk(CHECKOUT):
            folders[:] = [name for name in folders if name not in OUTSIDE_GIT]
            found += [(Path(folder) / name).relative_to(CHECKOUT) for name in names]
    return sorted({path for path in found if (CHECKOUT / path).is_file() or (CHECKOUT / path).is_symlink()})


def digest() -> str:
    """Of the tree's paths, executable bits and contents."""
    total = hashlib.sha256()
    for path in files():
        there = CHECKOUT / path
        content = str(there.readlink()).encode() if there.is_symlink() else there.read_bytes()
        executable = os.access(there, os.X_OK)
        total.update(f"{path}\0{executable}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()[:12]


def copy(folder: Path) -> Path:
    """Copy the tree into ``folder``, which is emptied of a former copy first."""
    target = folder / "ansible_collections" / "fedlearn" / "infra"
    if target.exists():
        shutil.rmtree(target)
    for path in files():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / path, target / path, follow_symlinks=False)
    return target


def main(arguments: list[str]) -> int:
    """The command line."""
    match arguments:
        case ["digest"]:
            print(digest())
        case ["copy", folder]:
            print(copy(Path(folder)))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
