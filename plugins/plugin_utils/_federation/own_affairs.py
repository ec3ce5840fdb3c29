# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a party may say over a document that it shares: its own affairs, and nothing that it agreed on with others.

Only the shared document is compared and accepted. What an overlay could say over it nobody else would ever see.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .kinds import Kind, kinds
from .model import Path, Placement, Position
from .nodes import Node, Report, plain
from .schema import Names
from .unknown import UNKNOWN, attempt

WAY_OUT = "agree on it in the shared document"


@dataclass(frozen=True, slots=True)
class Said:
    """A document's checked values, what its hosts and clusters are called, and whose they are."""

    values: Mapping[str, Any]
    names: Names

    def at(self, path: Path) -> Any:
        """What stands there; None where nothing does, UNKNOWN where it or what is above it is wrong."""
        found: Any = self.values
        for step in path:
            if found is UNKNOWN or found is None:
                return found
            below = found.options if isinstance(found, Placement) else found
            found = below.get(str(step)) if isinstance(below, Mapping) else None
        return found

    def parties_in(self, value: Any) -> set[str]:
        """Whose hosts and clusters are in a value, a placement or whatever has some in it."""
        if isinstance(value, Mapping):
            return {party for child in value.values() for party in self.parties_in(child)}
        if isinstance(value, list):
            return {party for child in value for party in self.parties_in(child)}
        if not isinstance(value, Placement):
            return set()
        named = {value.party} if value.party else set()
        hosts = {self.names.hosts[host].party for host in (*value.hosts, *value.absent)}
        clusters = {self._cluster_s(name) for name in (value.cluster, value.absent_cluster) if name}
        return named | hosts | clusters | self.parties_in(value.options)

    def _cluster_s(self, name: str) -> str:
        told = self.at(("clusters", name))
        return str(told["party"]) if isinstance(told, Mapping) and told["party"] is not UNKNOWN else ""


def look(over: Node, base: Node, party: str, before: Said, after: Said, report: Report) -> None:
    """Note what the overlay changes and is no affair of the party's alone, in a document that others deploy by, too."""
    if all(name == party or other.external for name, other in before.names.parties.items()):
        return
    for path, was, becomes, key in _changes(over, base, ()):
        told_already = report.has_mistake_at(key) or report.has_mistake_at(becomes.position)
        if told_already or _is_same(path, before, after) or _is_own(path, party, before, after):
            continue
        if _is_tighter(path, was, becomes, before):
            continue
        message = f"others rely on this, and an overlay says only what is {party}'s own affair: {WAY_OUT}"
        report.mistake(path, message, key)


def _changes(over: Node, base: Node, path: Path) -> Iterator[tuple[Path, Node | None, Node, Position | None]]:
    """Each place that the overlay changes, as deep as both have something: what was there, what it says, and where."""
    if not isinstance(over.value, dict) or not isinstance(base.value, dict):
        return
    for key, child in over.value.items():
        below = base.value.get(key)
        if below is None and not path and isinstance(child.value, dict):
            below = Node({})  # the document's own tables are empty where they aren't written
        if below is not None and isinstance(child.value, dict) and isinstance(below.value, dict):
            yield from _changes(child, below, (*path, key))
        elif child.value is not None if below is None else plain(child) != plain(below):
            yield (*path, key), below, child, over.keys.get(key)


def _is_same(path: Path, before: Said, after: Said) -> bool:
    """Whether it says in other words what was said, such as a default."""
    was, becomes = before.at(path), after.at(path)
    return _is_known(was) and _is_known(becomes) and attempt(lambda: was == becomes) is True


def _is_own(path: Path, party: str, before: Said, after: Said) -> bool:
    """Whether a place of the document is the party's alone, and was before the overlay."""
    if path[0] == "parties":
        return path[1:2] == (party,)
    if path[0] == "clusters":
        told = [said.at((*path[:2], "party")) for said in (before, after)]
        return len(path) > 1 and set(map(str, filter(_is_known, told))) == {party}
    if path[0] != "stacks" or len(path) == 1:
        return False
    stack = path[:2]
    return _of_nobody_else(stack, party, before, after) or (
        len(path) > 2 and (path[2] in _own_keys(stack, before) or _in_own_place(path, party, before, after))
    )


def _is_known(value: Any) -> bool:
    return value is not None and value is not UNKNOWN


def _of_nobody_else(path: Path, party: str, before: Said, after: Said) -> bool:
    """Whether nobody else is in what stands there, in both; what is wrong afterwards is told by itself."""
    was, becomes = before.at(path), after.at(path)
    if was is UNKNOWN or (was is None and len(path) == 3):  # who is in a stack is agreed on
        return False
    found = before.parties_in(was) | (after.parties_in(becomes) if becomes is not UNKNOWN else set())
    return found <= {party} and (bool(found) or becomes is UNKNOWN)


def _kind(path: Path, before: Said) -> Kind | None:
    """The kind of the stack that a path leads into."""
    kind = before.at((*path[:2], "kind"))
    return kinds().get(kind) if isinstance(kind, str) else None


def _own_keys(stack: Path, before: Said) -> Collection[str]:
    """The keys beside placements by which each party says what is on its own hosts."""
    kind = _kind(stack, before)
    return kind.OWN_KEYS if kind is not None else ()


def _in_own_place(path: Path, party: str, before: Said, after: Said) -> bool:
    """Whether it is in a placement of the party's, or brings and takes away hosts of it among others'."""
    for end in range(3, len(path) + 1):
        places = [said.at(path[:end]) for said in (before, after)]
        if any(isinstance(place, Placement) for place in places):
            if _of_nobody_else(path[:end], party, before, after):
                return True
            rest = path[end:]
            return rest in (("hosts",), ("absent",)) and _others(before, places[0], party) == _others(
                after, places[1], party
            )
    return False


def _others(said: Said, place: Any, party: str) -> Any:
    """The hosts of others in a placement."""
    if not isinstance(place, Placement):
        return UNKNOWN
    return [{host for host in each if said.names.hosts[host].party != party} for each in (place.hosts, place.absent)]


def _is_tighter(path: Path, was: Node | None, becomes: Node, before: Said) -> bool:
    """Whether it is a bound of the stack that the party keeps closer than was agreed."""
    kind = _kind(path, before)
    if path[0] != "stacks" or kind is None or path[2:] not in kind.UPPER_BOUNDS or was is None:
        return False
    return isinstance(becomes.value, (int, float)) and isinstance(was.value, (int, float)) and becomes.value < was.value
