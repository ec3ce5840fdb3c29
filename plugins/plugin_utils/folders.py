# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What others get of a folder of the control node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

LEFT_OUT = ("__pycache__", ".pyc", ".mypy_cache", ".ruff_cache", ".git", ".secrets", ".ca", ".vault-pass")
"""What nobody gets: caches, and the control node's own keys and secrets."""


class LeadsOutError(ValueError):
    """A folder may come from a partner: a link in it would give away any file that the control node can read."""

    def __init__(self, path: Path, folder: Path) -> None:
        super().__init__(f"{path} is a link that leads out of {folder}: copy what it names")


def files_of(source: Path) -> Iterator[tuple[str, Path]]:
    """The files of a folder by their paths in it, in order; of a file itself, whose path is empty. LeadsOutError."""
    if not source.is_dir():
        yield "", source
        return
    for path in sorted(source.rglob("*")):
        if path.is_file() and not path.name.endswith(LEFT_OUT) and not set(path.parts) & set(LEFT_OUT):
            if not path.resolve().is_relative_to(source.resolve()):
                raise LeadsOutError(path, source)
            yield path.relative_to(source).as_posix(), path
