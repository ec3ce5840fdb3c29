# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""YAML files as nodes with positions, bounded in every direction, and the overlay.

Nothing in a document is ever more than data: tags, templates and merge keys are mistakes, and so is whatever YAML 1.1
and 1.2 read differently. Events are read one by one, so a hostile file is refused before it is big in memory.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from .model import Path, Position
from .nodes import Node, Report, Scalar, TooManyMistakesError, decimal_text, shorten

MAX_BYTES = 16 * 2**20
MAX_TEXT = 65_536
MAX_DEPTH = 32
MAX_NODES = 1_000_000
MAX_ALIASED = 100_000

_TEMPLATE = re.compile(r"\{[{%#]")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,39})")
_FLOAT = re.compile(r"[-+]?(?:[0-9]{1,40}\.[0-9]{0,40}|\.[0-9]{1,40})(?:[eE][-+][0-9]{1,2})?")
_ODD_NUMBER = re.compile(
    r"[-+]?(?:0[0-9_]+|[0-9][0-9_]*_[0-9_]*|0b[01_]+|0o[0-7]+|0x[0-9a-fA-F_]+|[1-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"
    r"|(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+|\.(?:inf|Inf|INF)|[0-9]{41,})|\.(?:nan|NaN|NAN)"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9:.]+(?:[ \t]*(?:Z|[-+][0-9:]{1,5}))?)?")
_HIDDEN = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters, line breaks for some readers only, and what turns the direction of the text that people see."""
_ODD_BLANK = re.compile("[\xa0\u2000-\u200b\u202f\u205f\u2060\u3000\ufeff]")
_ESCAPED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]|" + _HIDDEN.pattern)
_LONGEST_NUMBER = 100
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_ODD_WORDS = {
    **dict.fromkeys(("yes", "Yes", "YES", "on", "On", "ON"), "true"),
    **dict.fromkeys(("no", "No", "NO", "off", "Off", "OFF"), "false"),
}
_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UnreadableError(Exception):
    """What ends the reading of a file at once: a message and where."""

    def __init__(self, message: str, line: int, column: int, path: Path = ()) -> None:
        super().__init__(message)
        self.message, self.line, self.column, self.path = message, line, column, path


def read(file: str, label: str, report: Report) -> Node | None:
    """The file's root node; None when it can't be read at all. ``label`` is what mistakes call the file."""
    try:
        data = _data(file)
        report.digests[file] = hashlib.sha256(data).hexdigest()
        return parse(_text(data), label, report)
    except _UnreadableError as error:
        report.mistake(error.path, error.message, Position(label, error.line, error.column))
        return None


def parse(text: str, label: str, report: Report) -> Node | None:
    """The root node of a text; None when it is no YAML."""
    hidden = _HIDDEN.search(text)
    try:
        if hidden is not None:
            raise _UnreadableError(_hidden_message(hidden[0]), *_place(text, hidden.start()))
        return _Builder(label, report).build(yaml.parse(text, Loader=_Parser))
    except TooManyMistakesError:
        return None
    except _UnreadableError as error:
        report.mistake(error.path, error.message, Position(label, error.line, error.column))
    except yaml.MarkedYAMLError as error:
        report.mistake((), *_no_yaml(error, text, label))
    except yaml.reader.ReaderError as error:
        line, column = _place(text, error.position)
        report.mistake((), f"is no YAML: {error.reason}", Position(label, line, column))
    return None


def _no_yaml(error: yaml.MarkedYAMLError, text: str, label: str) -> tuple[str, Position]:
    """What the YAML reader says, in words that lead to the place: of what has no end, where it begins."""
    mark, begun = error.problem_mark or error.context_mark, error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    lines = text.split("\n")
    indent = re.match(r"[ \t]*", lines[line - 1] if line <= len(lines) else "")
    if indent is not None and "\t" in indent[0]:
        column = indent[0].index("\t") + 1
        return "is no YAML: a tab, where YAML takes blanks only: indent with blanks", Position(label, line, column)
    for number in range(begun.line if begun else line - 1, min(line, len(lines))):
        odd = _ODD_BLANK.search(lines[number])
        if odd is not None:
            way_out = f"a character that looks like a blank and is none (U+{ord(odd[0]):04X}): write a blank"
            return f"is no YAML: {way_out}", Position(label, number + 1, odd.start() + 1)
    said = ", ".join(part for part in (error.context, error.problem) if part)
    if begun is not None and "quoted scalar" in said and "end of stream" in said:
        return "is no YAML: the quote that begins here has no end", Position(label, begun.line + 1, begun.column + 1)
    where = f" (begun in line {begun.line + 1})" if begun is not None and begun.line + 1 < line else ""
    if "mapping values" in said or "expected key" in said or "block" in said:
        where += ": are this line and those above indented alike?"
    return f"is no YAML: {shorten(said, 200)}{where}", Position(label, line, column)


def _data(file: str) -> bytes:
    """What is in the file, regular and not too big."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _UnreadableError(f"can't be read: {getattr(error, 'strerror', None) or error}", 0, 0) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _UnreadableError("is no file", 0, 0)
    with os.fdopen(descriptor, "rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise _UnreadableError(f"is bigger than {MAX_BYTES // 2**20} MiB", 0, 0)
    return data


def _text(data: bytes) -> str:
    """The text of a file, UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _place(data[: error.start].decode("utf-8-sig", "replace"), error.start)
        raise _UnreadableError("is no UTF-8 from here on", line, column) from None


def _place(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset in a text."""
    before = text[:offset]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


@dataclass(slots=True)
class _Frame:
    """A mapping or list that isn't closed yet.

    ``key`` is what the next value is for, ``skip`` that this value is to be dropped, ``height`` the levels below.
    """

    node: Node
    anchor: str | None
    nodes_before: int
    key: str | None = None
    skip: bool = False
    height: int = 0


class _Builder:
    """Makes nodes from events. Mistakes that leave the rest readable are noted; the others end it."""

    def __init__(self, label: str, report: Report) -> None:
        self.label = label
        self.report = report
        self.frames: list[_Frame] = []
        self.anchors: dict[str, tuple[Node, int, int]] = {}
        self.nodes = 0
        self.aliased = 0
        self.root: Node | None = None

    def build(self, events: Iterator[Any]) -> Node | None:
        """The root node of the only document in the events."""
        for event in events:
            match event:
                case yaml.ScalarEvent():
                    self._scalar(event)
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    self._open(event)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self._close()
                case yaml.AliasEvent():
                    self._alias(event)
                case yaml.DocumentStartEvent() if self.root is not None:
                    raise self._unreadable(event, "a second document begins here: a file has one")
        if self.root is None:
            way_out = "`ansible-playbook fedlearn.infra.init -e kind=KIND` writes a first document"
            raise _UnreadableError(f"is empty: {way_out}", 1, 1)
        return self.root

    def _position(self, event: Any) -> Position:
        return Position(self.label, event.start_mark.line + 1, event.start_mark.column + 1)

    def _unreadable(self, event: Any, message: str) -> _UnreadableError:
        return _UnreadableError(message, event.start_mark.line + 1, event.start_mark.column + 1, self._path())

    def _path(self) -> Path:
        """The path of the value that comes next."""
        steps: list[str | int] = []
        for frame in self.frames:
            if isinstance(frame.node.value, list):
                steps.append(len(frame.node.value))
            elif frame.key is not None:
                steps.append(frame.key)
        return tuple(steps)

    def _wrong(self, node: Node, message: str, path: Path | None = None) -> None:
        self.report.mistake(self._path() if path is None else path, message, node.position)
        node.broken = True

    def _count(self, event: Any, number: int = 1) -> None:
        self.nodes += number
        if self.nodes > MAX_NODES:
            raise self._unreadable(event, f"has more than {MAX_NODES} values")

    def _scalar(self, event: Any) -> None:
        self._count(event)
        node = Node(event.value, self._position(event))
        frame = self.frames[-1] if self.frames else None
        as_key = frame is not None and isinstance(frame.node.value, dict) and frame.key is None
        self._check_tag(node, event.tag)
        if len(event.value) > MAX_TEXT:
            self._wrong(node, f"is longer than {MAX_TEXT} characters")
            node.value = ""
        elif _TEMPLATE.search(event.value):
            self._wrong(node, "a template ('{{', '{%' or '{#'): a document is data, write the value itself")
        elif hidden := _ESCAPED.search(event.value):
            self._wrong(node, _hidden_message(hidden[0]))
        elif not event.style:
            self._resolve(node, event.value)
        if as_key and frame is not None:
            self._key(frame, node, event.value[:MAX_TEXT])
        else:
            self._place(node, event.anchor, 1, 0)

    def _check_tag(self, node: Node, tag: str | None) -> None:
        if tag is not None:
            hint = ": secrets go by name, their values into the vault" if "vault" in tag else ""
            self._wrong(node, f"a YAML tag ({shorten(tag)}): a document is plain data{hint}")

    def _resolve(self, node: Node, text: str) -> None:
        """The value of a text without quotes: a number, true, false, nothing, or a text."""
        if text in _WORDS:
            node.value = _WORDS[text]
        elif text in _ODD_WORDS:
            way_out = f"write {_ODD_WORDS[text]}, or where text is meant '{text}' in quotes"
            self._wrong(node, f"{text} is a truth value for some YAML readers and text for others: {way_out}")
        elif _INTEGER.fullmatch(text):
            node.value = int(text)
        elif _FLOAT.fullmatch(text):
            node.value = float(text)
        elif len(text) <= _LONGEST_NUMBER and _ODD_NUMBER.fullmatch(text):
            self._wrong(node, f"{shorten(text)} is read differently by different YAML readers: {_way_out(text)}")
        elif len(text) <= _LONGEST_NUMBER and _DATE.fullmatch(text):
            self._wrong(
                node, f"{shorten(text)} is a date for some YAML readers and text for others: write it in quotes"
            )

    def _key(self, frame: _Frame, node: Node, text: str) -> None:
        """Take the key for the value that comes next."""
        assert isinstance(frame.node.value, dict)
        assert node.position is not None
        path = (*self._path(), text)
        frame.key = text
        frame.skip = True
        if node.broken:
            return
        if text == "<<" and node.value == "<<":
            self._wrong(node, "merge keys (<<) aren't taken: write the keys out", path)
        elif not isinstance(node.value, str):
            self._wrong(node, "a key is a text: write it in quotes", path)
        elif text in frame.node.value:
            first = frame.node.keys[text]
            self._wrong(node, f"the key '{shorten(text)}' is given twice (first in line {first.line})", path)
        else:
            frame.skip = False
            frame.node.keys[text] = node.position

    def _open(self, event: Any) -> None:
        """Begin a mapping or list."""
        self._count(event)
        if len(self.frames) >= MAX_DEPTH:
            raise self._unreadable(event, f"is nested deeper than {MAX_DEPTH} levels")
        mapping = isinstance(event, yaml.MappingStartEvent)
        frame = self.frames[-1] if self.frames else None
        if frame is not None and isinstance(frame.node.value, dict) and frame.key is None:
            hint = "(a '{{ template }}' without quotes looks like one)"
            raise self._unreadable(event, f"a key is a text, a mapping or list is none {hint}")
        node = Node({} if mapping else [], self._position(event))
        self._check_tag(node, event.tag)
        self.frames.append(_Frame(node, event.anchor, self.nodes))

    def _close(self) -> None:
        frame = self.frames.pop()
        self._place(frame.node, frame.anchor, self.nodes - frame.nodes_before + 1, frame.height + 1)

    def _alias(self, event: Any) -> None:
        """Another name for something above: bounded, and never for what it stands in."""
        if any(frame.anchor == event.anchor for frame in self.frames):
            raise self._unreadable(event, f"the alias *{shorten(event.anchor)} stands inside of what it names")
        if event.anchor not in self.anchors:
            raise self._unreadable(event, f"the alias *{shorten(event.anchor)} names nothing above it")
        node, nodes, height = self.anchors[event.anchor]
        frame = self.frames[-1] if self.frames else None
        if frame is not None and isinstance(frame.node.value, dict) and frame.key is None:
            raise self._unreadable(event, "an alias for a key: write the key itself")
        self.aliased += nodes
        if self.aliased > MAX_ALIASED:
            raise self._unreadable(event, f"aliases stand for more than {MAX_ALIASED} values")
        if len(self.frames) + height > MAX_DEPTH:
            raise self._unreadable(event, f"is nested deeper than {MAX_DEPTH} levels")
        self._count(event, nodes)
        self._place(node, None, nodes, height)

    def _place(self, node: Node, anchor: str | None, nodes: int, height: int) -> None:
        """Put a finished value of so many nodes and levels where it belongs."""
        if anchor is not None:
            self.anchors[anchor] = (node, nodes, height)
        if not self.frames:
            self.root = node
            return
        frame = self.frames[-1]
        frame.height = max(frame.height, height)
        if isinstance(frame.node.value, list):
            frame.node.value.append(node)
            return
        assert isinstance(frame.node.value, dict)
        assert frame.key is not None
        if frame.skip:
            frame.node.lost = True
        else:
            frame.node.value[frame.key] = node
        frame.key, frame.skip = None, False


def _hidden_message(character: str) -> str:
    return f"has a character that is not shown (U+{ord(character):04X}): what is read must be what is seen"


def _way_out(text: str) -> str:
    """How to write a number that YAML 1.1 and 1.2 don't agree on."""
    decimal = decimal_text(text)
    return f"write {decimal}, or '{text}' in quotes" if decimal else "write a decimal number, or the text in quotes"


def overlay(base: Node, over: Node, report: Report, path: Path = ()) -> Node:
    """``over`` merged over ``base``: mappings key by key, null deletes, anything else replaces."""
    if not isinstance(over.value, dict):
        return over
    under = base if isinstance(base.value, dict) else Node({}, over.position)
    assert isinstance(under.value, dict)
    values, keys, deleted = dict(under.value), dict(under.keys), False
    for key, child in over.value.items():
        below = values.get(key)
        if child.value is None and not child.broken:
            deleted = True
            if values.pop(key, None) is None:
                message = f"null deletes, but there is no '{shorten(key)}' below{report.did_you_mean(key, under.value)}"
                report.mistake((*path, key), message, over.keys.get(key))
            keys.pop(key, None)
            continue
        values[key] = overlay(below or Node(None), child, report, (*path, key))
        if key in over.keys and (below is None or not isinstance(child.value, dict)):
            keys[key] = over.keys[key]
    position = over.position if deleted or under is not base else base.position
    return Node(values, position, keys, base.broken or over.broken, base.lost or over.lost)
