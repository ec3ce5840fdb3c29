# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads what git keeps: every object of a repository, also of somebody else's, without believing its configuration."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible_collections.fedlearn.infra.plugins.module_utils._audit.reading import Readable
from ansible_collections.fedlearn.infra.plugins.module_utils._audit.running import answer, output

_LINE = re.compile(rb"([0-9a-f]{40,64}) ([a-z]+) (\d+)\n")


class GitError(Exception):
    """Its objects can't be read; the text says why."""


class Part:
    """So much of a stream."""

    def __init__(self, stream: Readable, size: int) -> None:
        self._read, self._left = stream.read, size

    def read(self, size: int) -> bytes:
        data = self._read(min(size, self._left))
        self._left -= len(data)
        return data


def repository_of(folder: str, folders: Sequence[str], names: Sequence[str]) -> str:
    """The repository that a folder is, or that it is a work tree of; empty where it is neither."""
    if "objects" in folders and "refs" in folders and "HEAD" in names:
        return folder
    if ".git" not in names:
        return ""
    try:
        place = Path(folder, Path(folder, ".git").read_text(encoding="utf-8").removeprefix("gitdir:").strip())
        common = Path(place, "commondir")
        place = Path(place, common.read_text(encoding="utf-8").strip()) if common.exists() else place
        return os.path.realpath(place) if Path(place, "objects").is_dir() else ""
    except (OSError, ValueError):
        return ""


def objects(repository: str) -> Iterator[tuple[str, Part]]:
    """All objects but trees, each to be read before the next; GitError where not all could be had.

    Its configuration, which may name commands, isn't believed: the objects are read from a repository of our own.
    """
    with tempfile.TemporaryDirectory(prefix="fedlearn-audit-") as room:
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": room,
            "GIT_DIR": room,
            "GIT_CONFIG_NOSYSTEM": "1",
            "LC_ALL": "C",
        }
        if answer(["git", "init", "--quiet", "--bare", *_format(repository), room], environment=environment) is None:
            raise GitError("there is no git here that could read its objects")
        Path(room, "objects", "info", "alternates").write_text(f"{repository}/objects\n", encoding="utf-8")
        yield from _all(environment)


def _format(repository: str) -> list[str]:
    try:
        sha256 = re.search(r"(?i)objectformat\s*=\s*sha256", Path(repository, "config").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return ["--object-format=sha256"] if sha256 else []


def _all(environment: dict[str, str]) -> Iterator[tuple[str, Part]]:
    command = ["git", "cat-file", "--batch", "--batch-all-objects", "--unordered", "--buffer"]
    with output(command, environment) as told:
        for line in told.stream:
            found = _LINE.fullmatch(line)
            if not found:  # of a partial clone: it isn't here
                continue
            part = Part(told.stream, int(found[3]))
            if found[2] != b"tree":
                yield found[1].decode(), part
            while part.read(1 << 20):
                pass
            told.stream.read(1)
        if not told.succeeded() or told.complained():
            raise GitError("git couldn't read all of its objects")
