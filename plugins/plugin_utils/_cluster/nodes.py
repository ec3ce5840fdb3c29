# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What instances have of a cluster's nodes, by their PersistentVolumes: also those that another document has there.

A document compares its own by the kubeconfig; where two lead to one cluster, or two documents do, the API alone knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .._federation.kinds.neursafe.apart import Share, breaches, overlap
from .._manifests.parts import FOLDER, USER
from .api import Object

_Whose = tuple[str, str]


def meetings(own: Iterable[Object], others: Iterable[Object], whose: tuple[str, str]) -> Iterator[str]:
    """What instances would have of others'; ``whose`` are the labels that say so: federation and instance."""
    theirs = list(_shares(others, whose))
    for mine in _shares(own, whose):
        for other in theirs:
            if overlap(mine.directory, other.directory):
                yield f"'{mine.directory}' of {mine.whose} is {other.whose}'s '{other.directory}', too"
            for number, path, message in breaches([other, mine]):
                yield message if number else f"{'.'.join(map(str, path))} of {other.whose}: {message}"


def _shares(volumes: Iterable[Object], whose: tuple[str, str]) -> Iterator[Share]:
    """Of each instance its folder, its user, and its disk where it has one."""
    folders: dict[_Whose, tuple[str, int]] = {}
    disks: dict[_Whose, Mapping[str, Any]] = {}
    for one in volumes:
        labels, notes = (one["metadata"].get(word) or {} for word in ("labels", "annotations"))
        key = (labels.get(whose[0], ""), labels.get(whose[1], ""))
        if FOLDER in notes:
            folders[key] = notes[FOLDER], int(notes.get(USER, 0))
        elif "local" in one["spec"]:
            disks[key] = {"node": _node(one), "path": one["spec"]["local"]["path"]}
    for key, (folder, user) in folders.items():
        yield Share(f"'{key[1]}' of federation '{key[0]}'", folder, user, disks.get(key, {}))


def _node(volume: Object) -> str:
    terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    node: str = terms[0]["matchExpressions"][0]["values"][0]
    return node
