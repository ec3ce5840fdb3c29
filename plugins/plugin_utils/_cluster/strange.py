# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What others put into pods of ours, which an apply leaves there: fields that nobody of us asked for are theirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .api import Object

_POD = "/spec/template/spec"
_LISTS = {
    "containers": ("the container", "name"),
    "initContainers": ("the container", "name"),
    "volumes": ("the volume", "name"),
}
_IN_CONTAINERS = {
    "env": ("the variable", "name"),
    "envFrom": ("variables of", ""),
    "volumeMounts": ("what is at", "mountPath"),
}


@dataclass(frozen=True, slots=True)
class Strange:
    """One of it: where it is, as a JSON patch has it, and in words."""

    path: str
    words: str


def strange(wanted: Object, live: Object) -> list[Strange]:
    """All of a deployment's, in an order in which they can be taken away one by one."""
    if wanted["kind"] != "Deployment":
        return []
    asked, there = (one["spec"]["template"]["spec"] for one in (wanted, live))
    found: list[Strange] = []
    for kind in ("containers", "initContainers"):
        known = {each["name"]: each for each in asked.get(kind, ())}
        for index, each in enumerate(there.get(kind, ())):
            if each["name"] in known:
                path = f"{_POD}/{kind}/{index}"
                for key, (words, by) in _IN_CONTAINERS.items():
                    found += _beside(known[each["name"]].get(key, ()), each.get(key, ()), f"{path}/{key}", words, by)
    for kind, (words, by) in _LISTS.items():
        found += _beside(asked.get(kind, ()), there.get(kind, ()), f"{_POD}/{kind}", words, by)
    return found


def _beside(asked: list[Object], there: list[Object], path: str, words: str, by: str) -> Iterator[Strange]:
    """The last first, so that taking one away moves none of the others."""
    known = [each.get(by) for each in asked] if by else []
    for index in reversed(range(len(there))):
        name = (
            there[index].get(by) if by else ", ".join(each["name"] for each in there[index].values() if "name" in each)
        )
        if name not in known:
            yield Strange(f"{path}/{index}", f"{words} {name}")
