# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks into archives of the control node without unpacking them: a program may be large, what is kept of it isn't."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

CHUNK = 2**20


class UnreadableArchiveError(Exception):
    """It is none, or cut off."""


def lacking(archive: Path, texts: Mapping[str, str]) -> list[str]:
    """Which files of the archive have nothing of the text that they are to have.

    Files are told by how their path ends, since a folder may be around all. Of what isn't there nothing is said.
    """
    found = []
    try:
        with tarfile.open(archive, mode="r|*") as stream:
            for member in stream:
                ends = [end for end in texts if f"/{member.name}".endswith(f"/{end}")]
                content = stream.extractfile(member) if ends and member.isreg() else None
                if content is not None and not _holds(content, texts[ends[0]].encode()):
                    found.append(ends[0])
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UnreadableArchiveError(f"{archive} can't be read as an archive: {error}") from None
    return found


def _holds(content: IO[bytes], text: bytes) -> bool:
    """Whether the text is in it, also across two chunks."""
    before = b""
    while chunk := content.read(CHUNK):
        if text in before + chunk:
            return True
        before = chunk[-len(text) :]
    return False
