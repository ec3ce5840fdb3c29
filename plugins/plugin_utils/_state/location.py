# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where what verbs write on the control node is kept: a folder, or a git repository that has a working copy here."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

SCHEMES = ("ssh", "file")
"""How a repository is reached; `user@host:path` is ssh, too."""

FILES = "files"
"""What the folder of a working copy is called, beside what git keeps of it."""

_ROOMS = ("fedlearn.infra", "state")
_COPY = re.compile(rf"/{'/'.join(map(re.escape, _ROOMS))}/[0-9a-f]{{16}}/{FILES}$")
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://.+", re.DOTALL)
_SHORT = re.compile(r"[A-Za-z0-9_][\w.-]*@(?:[A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:.]+\]):(?!//)\S+")
_SSH = re.compile(r"ssh://(?:[A-Za-z0-9_][\w.-]*@)?(?:[A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?/[^\s]+")


def is_repository(state: str) -> bool:
    """Whether this names a repository; also one that can't be used, so that nobody takes it for a folder."""
    return bool(_URL.fullmatch(state) or _SHORT.fullmatch(state))


def trouble(url: str) -> str:
    """What is wrong with the URL of a repository; empty when nothing is."""
    found = _URL.fullmatch(url)
    if found is None:
        return ""
    if found["scheme"] not in SCHEMES:
        return f"is reached by {found['scheme']}: give its URL for ssh (git@git.example:demo.git)"
    if found["scheme"] == "ssh" and not _SSH.fullmatch(url):
        return "is no URL for ssh: ssh://USER@HOST/PATH, with a port where it isn't 22, and without a password"
    return ""


def directory_of(state: str) -> str:
    """The folder on this control node: of a repository its working copy, which has the same path in each run."""
    return str(room_of(state) / FILES) if is_repository(state) else state


def room_of(url: str) -> Path:
    """The folder with the working copy of a repository, and what git needs for it."""
    return rooms() / hashlib.sha256(url.encode()).hexdigest()[:16]


def rooms() -> Path:
    """The folder with all working copies: nothing is lost with them."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", *_ROOMS)


def room_around(path: str) -> Path | None:
    """The room of the working copy that a path lies in, be it another user's; None where it is in none."""
    place = Path(os.path.normpath(Path(path).absolute()))
    return next((each.parent for each in (place, *place.parents) if _COPY.search(str(each))), None)
