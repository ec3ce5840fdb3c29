# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What several have on the nodes of one cluster, and none of another: folders, and users that may read them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ...model import Path

ON_A_DISK = "and lmdb maps its file: a node's own disk"
GIVEN_WHOLE = "and all of lmdb's folder is given to its client: a folder with nothing else in it"


def within(path: str, folder: str) -> bool:
    """Whether it is the folder, or lies in it."""
    return f"{path}/".startswith(f"{folder}/")


def overlap(one: str, other: str) -> bool:
    """Whether one of the folders is in the other."""
    return within(one, other) or within(other, one)


@dataclass(frozen=True, slots=True)
class Share:
    """What a client has of the nodes, in the words of ``CLUSTER_CLIENT``; ``whose`` says so in messages."""

    whose: str
    directory: str
    user: int
    lmdb: Mapping[str, Any]

    def sees(self, other: Share) -> bool:
        """Pods have the folder that their directory lies in."""
        return within(other.directory, posixpath.dirname(self.directory))


Breach = tuple[int, Path, str]
"""Whose of the shares it is by its number, at which of its keys, and what is wrong."""


def breaches(shares: Sequence[Share]) -> Iterator[Breach]:
    """What clients of one cluster would have of each other."""
    of_user: dict[int, list[Share]] = {}
    directories = {share.directory: share for share in reversed(shares)}
    disks = {(share.lmdb["node"], share.lmdb["path"]): share for share in reversed(shares) if "path" in share.lmdb}
    inside: dict[str, list[Share]] = {}
    for share in shares:
        for folder in PurePosixPath(share.directory).parents:
            inside.setdefault(str(folder), []).append(share)
    for number, share in enumerate(shares):
        beside = of_user.setdefault(share.user, [])
        strangers = [other for other in beside if share.sees(other) or other.sees(share)]
        if strangers:
            message = (
                f"{share.user} is the user of {strangers[0].whose}, too, and pods of both have the folder that both "
                "directories lie in: say another number, or each would have the other's files"
            )
            yield number, ("user",), message
        beside.append(share)
        for message in _lmdb(share, directories, disks, inside):
            yield number, ("lmdb", "path"), message


def _lmdb(
    share: Share,
    directories: Mapping[str, Share],
    disks: Mapping[tuple[str, str], Share],
    inside: Mapping[str, Sequence[Share]],
) -> Iterator[str]:
    """Where one notes its tasks nobody else has anything; ``inside`` are those whose directory lies in a folder."""
    path = share.lmdb.get("path")
    if path is None:
        return
    held = next((other for other in inside.get(path, ()) if other is not share), None)
    if held is not None:
        yield f"'{path}' has the directory of {held.whose} in it, {GIVEN_WHOLE}"
    for folder in (path, *map(str, PurePosixPath(path).parents)):
        owner, other = directories.get(folder, share), disks.get((share.lmdb["node"], folder), share)
        if owner is not share:
            yield f"'{path}' is in the directory of {owner.whose}, {ON_A_DISK}"
        elif other is not share:
            yield f"'{path}' of node '{share.lmdb['node']}' is of {other.whose}, too: each has a folder of its own"
