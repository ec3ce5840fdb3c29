# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Data that knows where it was written, and the mistakes found in it."""

from __future__ import annotations

import decimal
import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .model import Path, Position

Scalar = str | int | float | bool | None

_PLAIN_STEP = re.compile(r"[A-Za-z0-9_-]+")
_MAX_SHOWN = 60
MAX_MISTAKES = 1000
"""A hostile file can have millions; nobody reads more than these, and looking for more would take its time."""
_MAX_COMPARED = 50_000
"""So many names a report compares with misspelt ones: half a second's work."""


@dataclass(slots=True)
class Node:
    """A value of a document. ``keys`` is where each key of a mapping stands; positions are None for plain values.

    ``broken``: a mistake of it is noted already, so nothing more is to be said about the value. ``lost``: a key of the
    mapping was dropped with a mistake, so it may be missed elsewhere.
    """

    value: dict[str, Node] | list[Node] | Scalar
    position: Position | None = None
    keys: dict[str, Position] = field(default_factory=dict)
    broken: bool = False
    lost: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One thing that is wrong, as one line."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(part for part in (place, self.path, self.message) if part)


class TooManyMistakesError(Exception):
    """A report has all the mistakes it takes: whatever looks for more is to end."""


class Report:
    """Where mistakes are collected. ``root`` is the whole document, in which paths are looked up."""

    def __init__(self, root: Node | None = None) -> None:
        self.root = root if root is not None else Node(None)
        self._mistakes: dict[Mistake, None] = {}
        self._places: set[tuple[str, int, int]] = set()
        self._compared = 0
        self.aliases: dict[Path, str] = {}
        """Keys by the name they are known by, and what the document calls them instead."""
        self.warnings: dict[Mistake, None] = {}
        """What is no mistake, and yet isn't what whoever wrote it thinks."""
        self.digests: dict[str, str] = {}
        """The sha256 of each file, as it was when it was read."""

    def __len__(self) -> int:
        return len(self._mistakes)

    @property
    def mistakes(self) -> list[Mistake]:
        """All mistakes, each once, in the order of the files."""
        found = sorted(self._mistakes)
        if len(found) == MAX_MISTAKES:
            found.append(Mistake(found[-1].file, 0, 0, "", f"has more mistakes than these {MAX_MISTAKES}"))
        return found

    def add(self, mistake: Mistake) -> None:
        """Note a mistake that is already made up. Raises TooManyMistakesError with the last one that is taken."""
        self._mistakes[mistake] = None
        self._places.add((mistake.file, mistake.line, mistake.column))
        if len(self._mistakes) == MAX_MISTAKES:
            raise TooManyMistakesError

    def mistake(self, path: Path, message: str, position: Position | None = None) -> None:
        """Note a mistake at a path of the document, such as ``stack.path + ("servers", "port")``.

        Without a position it is that of the value there, or of what is nearest above it when the path names something
        that isn't written in the document.
        """
        self.add(self._placed(path, message, position))

    def warn(self, path: Path, message: str, position: Position | None = None) -> None:
        """Note what ends nothing."""
        self.warnings[self._placed(path, message, position)] = None

    def _placed(self, path: Path, message: str, position: Position | None) -> Mistake:
        where = position or self.position(path) or Position("", 0, 0)
        return Mistake(where.file, where.line, where.column, path_text(self.as_written(path)), message)

    def as_written(self, path: Path) -> Path:
        """The path by the words that the document has for its keys."""
        written: Path = ()
        for step in path:
            written = (*written, self.aliases.get((*written, step), step))
        return written

    def did_you_mean(self, word: str, known: Collection[str]) -> str:
        """What :func:`did_you_mean` says, unless that took too long already."""
        return _suggestion(self.nearest(word, known))

    def nearest(self, word: str, known: Collection[str]) -> str:
        """The known word that was probably meant; none when looking for it took too long already."""
        self._compared += len(known)
        return nearest(word, known) if self._compared <= _MAX_COMPARED else ""

    def position(self, path: Path) -> Position | None:
        """Where the value at the path stands, or the nearest above it."""
        node, position = self.root, self.root.position
        for step in self.as_written(path):
            found = _child(node, step)
            if found is None:
                break
            node = found
            position = node.position or position
        return position

    def key_position(self, path: Path) -> Position | None:
        """Where the path's last key stands, or the nearest value above it."""
        node: Node | None = self.root
        *above, key = self.as_written(path)
        for step in above:
            node = _child(node, step) if node is not None else None
        found = node.keys.get(str(key)) if node is not None else None
        return found or self.position(path)

    def has_mistake_at(self, position: Position | None) -> bool:
        """Whether a mistake is noted at a position."""
        return position is not None and (position.file, position.line, position.column) in self._places

    def where(self, path: Path) -> str:
        """``file:line:column`` of a path, for messages that name a second place."""
        position = self.position(path)
        return f"{position.file}:{position.line}:{position.column}" if position else path_text(path)


def _child(node: Node, step: str | int) -> Node | None:
    if isinstance(node.value, dict):
        return node.value.get(str(step))
    if isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
        return node.value[step]
    return None


def path_text(path: Path) -> str:
    """``stacks.lenet.servers.hosts[1]``; a step with other characters is quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
            continue
        shown = step if _PLAIN_STEP.fullmatch(step) else f"'{shorten(step)}'"
        text += f".{shown}" if text else shown
    return text


def shorten(text: str, length: int = _MAX_SHOWN) -> str:
    """The text as it may stand in a message: one line, not long."""
    shown = "".join(character if character.isprintable() else "?" for character in text[: length + 1])
    return shown if len(shown) <= length else f"{shown[: length - 3]}..."


def decimal_text(text: str) -> str:
    """A number such as 1e-3 without its exponent (0.001); empty when it is none or would be long."""
    try:
        number = decimal.Decimal(text)
    except decimal.InvalidOperation:
        return ""
    return f"{number:f}" if number.is_finite() and abs(number.adjusted()) < 20 else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` with the known word nearest to this one, or nothing."""
    return _suggestion(nearest(word, known))


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word nearest to this one, or nothing."""
    words = {each.lower(): each for each in known}
    near = difflib.get_close_matches(word[:_MAX_SHOWN].lower(), words, n=1, cutoff=0.5)
    return words[near[0]] if near else ""


def _suggestion(word: str) -> str:
    return f" (did you mean '{word}'?)" if word else ""


def node_of(value: Any) -> Node:
    """Plain data (from variables, not from a document) as nodes without positions."""
    if isinstance(value, Mapping):
        return Node({str(key): node_of(child) for key, child in value.items()})
    if isinstance(value, (list, tuple)):
        return Node([node_of(child) for child in value])
    return Node(value)


def plain(node: Node) -> Any:
    """The node's value without positions."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value
