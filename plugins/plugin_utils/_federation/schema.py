# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The types a document is made of, and the check of a document or of plain values against them.

One description serves four readers: the check of a document's nodes (mistakes with positions), the check of plain
values that a role was given (the ``settings`` filter), docs/federation.md and docs/federation.schema.json.
"""

from __future__ import annotations

import contextlib
import fnmatch
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from . import ranges
from .formats import FORMATS
from .model import Cluster, Host, Party, Path, Placement, Position
from .nodes import Mistake, Node, Report, TooManyMistakesError, decimal_text, node_of, plain, shorten
from .unknown import UNKNOWN, UnknownValueError, is_unknown, known


@dataclass(frozen=True, slots=True)
class Text:
    """A string. ``pattern`` is a full match, ``pattern_name`` what it wants in words; ``format`` is one of FORMATS.

    What is ``shown`` is no secret, whatever its key is called.
    """

    min_length: int = 1
    max_length: int = 4096
    pattern: str | None = None
    pattern_name: str = ""
    format: str | None = None
    shown: bool = False


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number from ``minimum`` to ``maximum``, both included; a quoted number and a boolean are none."""

    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class Number:
    """A number; ``above`` and ``below`` are bounds that are themselves out. 1e-3 is text for YAML 1.1 and refused."""

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None


@dataclass(frozen=True, slots=True)
class Boolean:
    """true or false, written so; yes, "true" and 1 are refused."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """A list of ``of``; with ``single`` also one that isn't in a list. The value is a list in any case."""

    of: Type
    min_items: int = 0
    max_items: int = 10_000
    single: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping from names (``key``) to ``of``."""

    key: Text
    of: Type


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping with known keys. ``rules`` look across keys, those that are right; ``hint`` answers an unknown key."""

    keys: Mapping[str, Key]
    rules: tuple[Rule, ...] = ()
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Variant:
    """A mapping whose other keys depend on the word under ``key``; ``what`` is what messages call that word."""

    key: str
    of: Mapping[str, Section]
    what: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """Any of several types (a host: an address, or a section)."""

    types: tuple[Type, ...]


@dataclass(frozen=True, slots=True)
class Anything:
    """Any plain data (the settings of a user's own program)."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The name of something the document defines: 'host', 'hosts' (names, ranges, globs), 'party', 'cluster'.

    The value is the name; for 'hosts' a tuple of names, each once.
    """

    to: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a role of a stack runs; the value is a ``Placement``.

    ``many``: on any number of hosts (``hosts:``), otherwise on one (``host:``); on none where ``on_hosts`` is False.
    ``external``, ``party`` and ``cluster`` say what else it may be: a section of its own, an external party's, in a
    cluster. ``port`` is the default; with None
    there is no such key. ``listens``: it takes ``bind``, ``internal_url`` and ``public_url``, the URLs of the format
    ``urls``. ``options`` are the keys that only this role has.
    """

    many: bool = False
    on_hosts: bool = True
    port: int | None = None
    listens: bool = True
    urls: str = "origin"
    external: Section | None = None
    party: bool = False
    cluster: bool = False
    settings: Section | None = None
    options: Mapping[str, Key] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Partial:
    """Some keys of ``of``, to be merged over others: no defaults, nothing required, no rules across keys."""

    of: Section


Scalar = Text | Integer | Number | Boolean | Choice | Reference
Type = Scalar | Items | Table | Section | Variant | OneOf | Anything | Place | Partial


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a section: its type, default (None: none), what it means, and where the rule comes from.

    A key whose type is a Section and whose default is ``{}`` gets that section's own defaults. ``alias_of`` is the key
    that this one is another word for: the value then stands there. ``unread`` is told to whoever writes a key that is
    documented and that no program reads; unless it is another word, its value changes nothing.
    """

    type: Type
    doc: str
    default: Any = None
    required: bool = False
    source: str = ""
    example: Any = None
    unit: str = ""
    alias_of: str | None = None
    unread: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule across a section's keys. ``check`` gets the plain values and gives (key path, message) for each breach."""

    doc: str
    check: Callable[[Mapping[str, Any]], list[tuple[Path, str]]]


@dataclass(slots=True)
class Names:
    """What references may name. ``looked_at`` counts the hosts that ranges and patterns were compared with so far.

    ``whole``: all hosts and parties are known. Where the document's own list of them is wrong they aren't, and what
    names an unknown one is only ``doubtful``: path, message and position of what is to be noted unless other mistakes
    are.
    """

    hosts: Mapping[str, Host] = field(default_factory=dict)
    parties: Mapping[str, Party] = field(default_factory=dict)
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    looked_at: int = 0
    whole: bool = True
    doubtful: list[tuple[Path, str, Position | None]] = field(default_factory=list)

    def known(self, to: str) -> Mapping[str, Any]:
        """What a reference to 'host', 'party' or 'cluster' may name."""
        return {"host": self.hosts, "party": self.parties, "cluster": self.clusters}[to]


MAX_LOOKED_AT = 2_000_000
"""Hosts that all ranges and patterns of a document may be compared with: half a second's work."""

_MAX_TOLD = 15
"""So many known keys a message lists."""

WRONG: Final = object()
"""What a check gives for a value with a mistake in it."""

_SECRET_WORDS = ("password", "passwd", "passphrase", "token", "secret", "key", "credential")
_SNAKE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_USERINFO = re.compile(r"//[^/?#\s@]*@")
STATE = Choice(("present", "absent"))
PORT = Integer(1, 65535)


def check_values(type_: Type, value: Any, *, where: str = "") -> tuple[Any, list[Mistake]]:
    """Check plain values, as a role gets them: the values with defaults, and the mistakes (positions 0).

    What a document is warned of is one here: a role's values have been through a document, or are written for it.
    ``where`` stands in front of each mistake in a file's place. With mistakes the values lack what is wrong.
    """
    report = Report()
    result = WRONG
    with contextlib.suppress(TooManyMistakesError):
        result = Checker(report).check(type_, node_of(value), ())
    return known(result), [Mistake(where, 0, 0, one.path, one.message) for one in (*report.mistakes, *report.warnings)]


def complete(section: Section, values: Mapping[str, Any], path: Path, report: Report) -> dict[str, Any]:
    """Settings merged from several places, checked as a whole: with defaults, required keys and rules across keys.

    Mistakes stand at what the document has at ``path``, or nearest above; where one is the value is UNKNOWN.
    """
    result: dict[str, Any] = Checker(report).check(section, node_of(values), path)
    return result


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` merged over ``under``: mappings key by key, anything else replaced."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


class Checker:
    """Checks nodes against types, noting every mistake and going on: UNKNOWN stands for a key's value with one.

    ``partial``: values that will be merged over others, so no defaults, no required keys, no rules across keys.
    ``exempt`` are the paths whose value is no secret, whatever its key is called. ``faulty`` are the paths of the
    entries of tables that have a mistake in them. ``files`` are the files beside the
    document that it names.
    """

    def __init__(self, report: Report, names: Names | None = None, *, partial: bool = False) -> None:
        self.report = report
        self.names = names
        self.partial = partial
        self.faults = 0
        self.exempt: set[Path] = set()
        self.faulty: set[Path] = set()
        self.files: dict[Path, str] = {}

    def check(self, type_: Type, node: Node, path: Path) -> Any:
        """The node's value as the type wants it, without what is wrong in it; WRONG when nothing is left."""
        if node.broken:
            self.faults += 1
            return WRONG
        if node.value is UNKNOWN:
            return UNKNOWN
        return _CHECKS[type(type_)](self, type_, node, path)

    def note(self, path: Path, message: str, position: Position | None) -> None:
        """Note a mistake."""
        self.faults += 1
        self.report.mistake(path, message, position)

    def wrong(self, node: Node, path: Path, message: str) -> Any:
        """Note a mistake of the node's value."""
        self.note(path, message, node.position)
        return WRONG

    def unexpected(self, type_: Type, node: Node, path: Path, hint: str = "") -> Any:
        """Note that the value is of another type."""
        hidden = (bool(path) and looks_secret(str(path[-1]))) or has_userinfo(str(node.value))
        if node.value is None and _shape(type_) is dict:
            hint = ": write {} when none of its keys is needed"
        return self.wrong(node, path, f"expected {words(type_)}, found {_found(node, hidden)}{hint}")

    def text(self, type_: Text, node: Node, path: Path) -> Any:
        """A string, in its format's normal form."""
        value = node.value
        if not isinstance(value, str):
            hint = ": write it in quotes" if isinstance(value, (int, float)) else ""
            return self.unexpected(type_, node, path, hint)
        if not type_.min_length <= len(value) <= type_.max_length:
            return self.wrong(node, path, _length_message(type_, len(value)))
        hidden = (path and looks_secret(str(path[-1])) and not type_.shown) or has_userinfo(value)
        shown = "this" if hidden else f"'{shorten(value)}'"
        if type_.pattern is not None and not re.fullmatch(type_.pattern, value):
            return self.wrong(node, path, f"{shown} is not {words(type_)}")
        if type_.shown:
            self.exempt.add(path)
        if type_.format is None:
            return value
        self.exempt.add(path)
        try:
            normal = FORMATS[type_.format].check(value)
        except ValueError as error:
            return self.wrong(node, path, f"{shown} {error}")
        if type_.format == "path":
            self.files[path] = normal
        return normal

    def integer(self, type_: Integer, node: Node, path: Path) -> Any:
        """A whole number within its bounds."""
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int):
            return self.unexpected(type_, node, path, _number_hint(value, int))
        self.exempt.add(path)
        low = type_.minimum is not None and value < type_.minimum
        high = type_.maximum is not None and value > type_.maximum
        return self.unexpected(type_, node, path) if low or high else value

    def number(self, type_: Number, node: Node, path: Path) -> Any:
        """A number within its bounds."""
        value = node.value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return self.unexpected(type_, node, path, _number_hint(value, float))
        self.exempt.add(path)
        inside = (
            (type_.minimum is None or value >= type_.minimum)
            and (type_.maximum is None or value <= type_.maximum)
            and (type_.above is None or value > type_.above)
            and (type_.below is None or value < type_.below)
        )
        return value if inside else self.unexpected(type_, node, path)

    def boolean(self, type_: Boolean, node: Node, path: Path) -> Any:
        """true or false."""
        if isinstance(node.value, bool):
            return node.value
        lower = str(node.value).lower()
        hint = ": leave out the quotes" if lower in ("true", "false") and isinstance(node.value, str) else ""
        return self.unexpected(type_, node, path, hint)

    def choice(self, type_: Choice, node: Node, path: Path) -> Any:
        """One of the words."""
        self.exempt.add(path)
        if node.value is False and "off" in type_.words:  # what YAML makes of it
            return "off"
        if isinstance(node.value, str) and node.value in type_.words:
            return node.value
        return self.unexpected(type_, node, path, self.report.did_you_mean(str(node.value), type_.words))

    def items(self, type_: Items, node: Node, path: Path) -> Any:
        """A list, each item checked."""
        if type_.single and node.value is not None and not isinstance(node.value, list):
            value = self.check(type_.of, node, path)
            return WRONG if value is WRONG else [value]
        if not isinstance(node.value, list):
            return self.unexpected(type_, node, path)
        if not type_.min_items <= len(node.value) <= type_.max_items:
            return self.wrong(node, path, f"expected {words(type_)}, found {len(node.value)}")
        values = [self.check(type_.of, child, (*path, index)) for index, child in enumerate(node.value)]
        return WRONG if any(value is WRONG for value in values) else values

    def table(self, type_: Table, node: Node, path: Path) -> Any:
        """A mapping with names of one's own."""
        if not isinstance(node.value, dict):
            return self.unexpected(type_, node, path)
        values: dict[str, Any] = {}
        for key, child in node.value.items():
            before = self.faults
            self.check(type_.key, Node(key, node.keys.get(key)), (*path, key))
            value = self.check(type_.of, child, (*path, key))
            if self.faults > before:
                self.faulty.add((*path, key))
            values[key] = UNKNOWN if value is WRONG else value
        return values

    def section(self, type_: Section, node: Node, path: Path) -> Any:
        """A mapping with known keys: values with defaults, aliases under the key they stand for."""
        if not isinstance(node.value, dict):
            few = node.value is not None and len(type_.keys) <= _MAX_TOLD
            return self.unexpected(type_, node, path, f" (its keys are {', '.join(type_.keys)})" if few else "")
        values: dict[str, Any] = {}
        for name, child in node.value.items():
            self._entry(type_, node, (*path, name), name, child, values)
        if self.partial:
            values.update(dict.fromkeys(self._meant(type_, node), UNKNOWN))
        else:
            self._missing(type_, node, path, values)
            self.rules(type_.rules, values, path)
        return values

    def variant(self, type_: Variant, node: Node, path: Path) -> Any:
        """The section that the word chooses."""
        if not isinstance(node.value, dict):
            return self.unexpected(type_, node, path)
        word = node.value.get(type_.key)
        if word is None:
            for name in node.value:
                if name.lower() == type_.key:
                    hint = f"unknown key '{name}' (did you mean '{type_.key}'?)"
                    self.note((*path, name), hint, node.keys.get(name))
                    return WRONG
            return self.wrong(node, path, f"the key '{type_.key}' is missing (one of {', '.join(type_.of)})")
        if isinstance(word.value, str) and word.value in type_.of:
            return self.section(type_.of[word.value], node, path)
        if word.broken:
            return self.check(Anything(), word, path)
        shown = f"'{shorten(word.value)}'" if isinstance(word.value, str) else _found(word, False)
        near = self.report.did_you_mean(str(word.value), type_.of)
        message = f"unknown {type_.what} {shown}{near} (known are {', '.join(type_.of)})"
        return self.wrong(word, (*path, type_.key), message)

    def _entry(self, type_: Section, node: Node, path: Path, name: str, child: Node, values: dict[str, Any]) -> None:
        key = type_.keys.get(name)
        if key is None:
            hint = f": {type_.hint}" if type_.hint else self._known(type_, node, name)
            self.note(path, f"unknown key '{shorten(name)}'{hint}", node.keys.get(name))
            return
        target = key.alias_of or name
        if target != name and isinstance(node.value, dict) and target in node.value:
            self.note(path, f"'{name}' is another word for '{target}', which is given too", node.keys.get(name))
            return
        if key.unread:
            self.report.warn(path, key.unread, node.keys.get(name))
            if target == name:
                return
        if target != name:
            self.report.aliases[(*path[:-1], target)] = name
        value = self.check(key.type, child, path)
        values[target] = UNKNOWN if value is WRONG else value

    def _missing(self, type_: Section, node: Node, path: Path, values: dict[str, Any]) -> None:
        """Defaults, and mistakes for required keys that aren't there; what was lost or misspelt is unknown."""
        given = node.value if isinstance(node.value, dict) else {}
        aliases = {key.alias_of for name, key in type_.keys.items() if key.alias_of and name in given}
        meant = self._meant(type_, node)
        for name, key in type_.keys.items():
            if name in given or name in aliases or key.alias_of:
                continue
            if node.lost or name in meant:
                self.faults += 1
                values[name] = UNKNOWN
            elif key.required:
                self.wrong(node, path, f"the key '{name}' is missing{_to_write(name, key.type)}")
                values[name] = UNKNOWN
            elif isinstance(key.type, Section) and key.default is not None:
                values[name] = self.check(key.type, node_of(key.default), (*path, name))
            elif key.default is not None:
                values[name] = key.default

    def _known(self, type_: Section, node: Node, name: str) -> str:
        """What was probably meant by a key: another, or one that stands deeper; else all, when they are few."""
        if looks_secret(name):
            return ""
        if re.search("[{=:]", name):
            return ": a colon and a blank stand between a key and its value"
        where = [target for target in _TARGETS if target in type_.keys]
        if name in _ELSEWHERE and where:
            return f": this takes {' or '.join(where)}"
        deeper = [(key, inner) for key, entry in type_.keys.items() for inner in _keys_within(entry.type)]
        for key, inner in deeper:
            if inner == name:
                return f": it stands under '{key}'"
        for key, inner in deeper:
            if inner.endswith(f"_{name}"):
                return f": it stands under '{key}', as '{inner}'"
        known = _absent_keys(type_, node)
        near = self.report.did_you_mean(name, known) or self.report.did_you_mean(name, type_.keys)
        if near or not known or len(known) > _MAX_TOLD:
            return near
        return f" (known are {', '.join(known)})"

    def _meant(self, type_: Section, node: Node) -> set[str]:
        """The absent keys that unknown ones are probably meant to be: those aren't told to be missing, too."""
        unknown = [name for name in node.value if name not in type_.keys] if isinstance(node.value, dict) else []
        absent = _absent_keys(type_, node)
        deeper = {key for key in absent for inner in _keys_within(type_.keys[key].type) if inner in unknown}
        return deeper | {self.report.nearest(re.split("[{=: ]", name)[0], absent) for name in unknown} - {""}

    def rules(self, rules: Iterable[Rule], values: Mapping[str, Any], path: Path) -> None:
        """Note each breach of a rule where the value it names stands; of a rule that reads a wrong value, none."""
        # TypeError: of what takes text or numbers only
        unknown = (UnknownValueError, TypeError) if self.faults else (UnknownValueError,)
        for rule in rules:
            with contextlib.suppress(*unknown):
                for where, message in rule.check(values):
                    if not is_unknown(values, where):
                        self.note((*path, *where), message, self.report.position((*path, *where)))

    def one_of(self, type_: OneOf, node: Node, path: Path) -> Any:
        """The first type that fits; else the mistakes of the one whose shape fits, and of several the fewest."""
        attempts: list[Checker] = []
        if node.value is None and any(_shape(of) is dict for of in type_.types):
            return self.unexpected(type_, node, path, ": write {} when nothing is to be said")
        for candidate in type_.types:
            attempt = Checker(Report(self.report.root), self.names, partial=self.partial)
            value = attempt.check(candidate, node, path)
            if not attempt.faults:
                self.absorb(attempt)
                return value
            attempts.append(attempt)
        shaped = [attempt for attempt, of in zip(attempts, type_.types, strict=True) if _shape(of) is _node_shape(node)]
        if not shaped or (len(shaped) > 1 and _node_shape(node) is str):
            return self.unexpected(type_, node, path)
        nearest = min(shaped, key=lambda attempt: attempt.faults)
        self.absorb(nearest)
        for mistake in nearest.report.mistakes:
            self.report.add(mistake)
        return WRONG

    def anything(self, type_: Anything, node: Node, path: Path) -> Any:
        """Plain data, as it is."""
        return plain(node)

    def partially(self, type_: Partial, node: Node, path: Path) -> Any:
        """Some keys of a section."""
        inner = Checker(self.report, self.names, partial=True)
        value = inner.check(type_.of, node, path)
        self.absorb(inner)
        return value

    def absorb(self, other: Checker) -> None:
        """Take over what another checker found out about part of the same document."""
        self.faults += other.faults
        self.report.aliases |= other.report.aliases
        self.report.warnings |= other.report.warnings
        self.exempt |= other.exempt
        self.faulty |= other.faulty
        self.files |= other.files

    def reference(self, type_: Reference, node: Node, path: Path) -> Any:
        """The name of something; without names to know, only that it is one."""
        self.exempt.add(path)
        if type_.to == "hosts":
            return self._hosts(node, path)
        if not isinstance(node.value, str):
            return self.unexpected(type_, node, path)
        if self.names is None:
            return node.value
        known = self.names.known(type_.to)
        if node.value in known:
            return node.value
        if type_.to in ("host", "party") and not self.names.whole:
            return self._doubt(node, path, self._unknown(type_.to, node.value, known))
        if type_.to == "host" and (ranges.is_range(node.value) or _is_glob(node.value)):
            return self.wrong(node, path, "this runs on one host: write its name, not a range or a pattern")
        return self.wrong(node, path, self._unknown(type_.to, node.value, known))

    def _doubt(self, node: Node, path: Path, message: str) -> Any:
        """Remember a host or party that isn't known while the document's list of them is itself wrong."""
        assert self.names is not None
        self.names.doubtful.append((path, message, node.position))
        self.faults += 1
        return WRONG

    def _unknown(self, to: str, name: str, known: Collection[str]) -> str:
        what = {
            "host": "no party has a host named",
            "party": "there is no party named",
            "cluster": "there is no cluster named",
        }[to]
        return f"{what} '{shorten(name)}'{self._instead(to, name, known)}"

    def _instead(self, to: str, name: str, known: Collection[str]) -> str:
        """How to name what was probably meant."""
        assert self.names is not None
        if to == "host" and re.search("[, ]", name):
            return f": several are a list, [{', '.join(re.split('[, ]+', shorten(name)))}]"
        if to == "host" and name in self.names.parties:
            return ", it is a party: name its hosts"
        if to == "host" and name == "all":
            return ": '*' stands for all of them"
        if to == "host" and (":" in name or re.fullmatch("[0-9.]+", name)):
            return ": hosts go by their names, not their addresses"
        return self.report.did_you_mean(name, known)

    def _hosts(self, node: Node, path: Path) -> Any:
        """Names of hosts from names, ranges and globs, each once, in the order given."""
        listed = node.value if isinstance(node.value, list) else [node]
        if not isinstance(node.value, (str, list)):
            return self.unexpected(Reference("hosts"), node, path)
        found: dict[str, None] = {}
        right = True
        for index, child in enumerate(listed):
            where = (*path, index) if isinstance(node.value, list) else path
            self.exempt.add(where)
            names = self._host_names(child, where)
            if isinstance(child.value, str) and child.value in found and names == [child.value]:
                self.wrong(child, where, f"names '{child.value}' a second time")
            right = right and names is not None
            found.update(dict.fromkeys(names or ()))
        return tuple(found) if right else WRONG

    def _host_names(self, node: Node, path: Path) -> list[str] | None:
        if not isinstance(node.value, str):
            self.unexpected(Reference("host"), node, path)
            return None
        try:
            self._look_at(ranges.size(node.value))
            names = ranges.expand(node.value)
            if self.names is not None and _is_glob(node.value):
                return self._glob(node, path, names)
        except ValueError as error:
            self.wrong(node, path, str(error))
            return None
        if self.names is None:
            return names
        missing = [name for name in names if name not in self.names.hosts]
        if missing:
            more = f" (nor {len(missing) - 1} more of this range)" if len(missing) > 1 else ""
            note = self.wrong if self.names.whole else self._doubt
            note(node, path, self._unknown("host", missing[0], self.names.hosts) + more)
            return None
        return names

    def _look_at(self, hosts: int) -> None:
        """ValueError when a document has the time for no more."""
        if self.names is not None:
            self.names.looked_at += hosts
            if self.names.looked_at > MAX_LOOKED_AT:
                raise ValueError(
                    "the document's ranges and patterns stand for too many hosts: name fewer, or less often"
                )

    def _glob(self, node: Node, path: Path, patterns: list[str]) -> list[str] | None:
        assert self.names is not None
        if len(patterns) > 1:
            self.wrong(node, path, "a range and a pattern ('*' or '?') in one name: write them as two")
            return None
        self._look_at(len(self.names.hosts))
        names = fnmatch.filter(self.names.hosts, patterns[0])
        if not names:
            note = self.wrong if self.names.whole else self._doubt
            note(node, path, f"no party has a host whose name fits '{shorten(patterns[0])}'")
        return names or None

    def place(self, type_: Place, node: Node, path: Path) -> Any:
        """Where a role runs."""
        if not isinstance(node.value, dict):
            return self.unexpected(type_, node, path, _place_hint(type_, node))
        before = self.faults
        values = self.section(place_section(type_), node, path)
        try:
            self._one_target(type_, node, path)
            if "party" in values:
                self._check_external_party(values, node, path)
            if not self.partial:
                self.rules(type_.rules, values, path)
            return self._placement(values, path)
        except UnknownValueError:
            self.faults += self.faults == before
            return WRONG

    def _one_target(self, type_: Place, node: Node, path: Path) -> None:
        """Note when a placement doesn't say where, or says it twice; UnknownValueError then."""
        known = targets(type_)
        given = [target for target in known if isinstance(node.value, dict) and target in node.value]
        if len(given) == 1 or (not given and isinstance(node.value, dict) and "absent" in node.value):
            return
        wanted = " or ".join(f"'{target}'" for target in known)
        if given:
            message = f"'{given[0]}' is given too: only one of {wanted}"
            self.note((*path, given[1]), message, node.keys.get(given[1]))
        elif node.lost or self._meant(place_section(type_), node) & set(known) or _elsewhere(type_, node):
            self.faults += 1
        else:
            self.wrong(node, path, f"doesn't say where: {wanted} is missing")
        raise UnknownValueError

    def _check_external_party(self, values: Mapping[str, Any], node: Node, path: Path) -> None:
        assert isinstance(node.value, dict)
        party = self.names.parties.get(values["party"]) if self.names else None
        if party is not None and not party.external:
            message = f"'{party.name}' is no external party: name one of its hosts"
            self.wrong(node.value["party"], (*path, "party"), message)
        elif "public_url" not in values:
            self.wrong(node, path, "another party's, so 'public_url' is needed: where it is reached")

    def _placement(self, values: dict[str, Any], path: Path) -> Placement:
        where = next((target for target in _TARGETS if target in values), "host")
        hosts: tuple[str, ...] = (values.pop("host"),) if "host" in values else values.pop("hosts", ())
        removed = dict.fromkeys(values.pop("absent", ()))
        known = self.names.hosts if self.names else {}
        gone = values.pop("state", "present") == "absent"
        for name in hosts:
            if name in known and known[name].state == "absent":
                removed[name] = None
        common = {name: values.pop(name, None) for name in _COMMON}
        placement = Placement(
            hosts=tuple(name for name in hosts if name not in removed),
            absent=tuple(removed),
            settings=values.pop("settings", {}),
            options=values,
            where=where,
            path=path,
            **common,
        )
        return placement.gone() if gone else placement


_CHECKS: Mapping[type, Callable[[Checker, Any, Node, Path], Any]] = {
    Text: Checker.text,
    Integer: Checker.integer,
    Number: Checker.number,
    Boolean: Checker.boolean,
    Choice: Checker.choice,
    Items: Checker.items,
    Table: Checker.table,
    Section: Checker.section,
    Variant: Checker.variant,
    OneOf: Checker.one_of,
    Anything: Checker.anything,
    Reference: Checker.reference,
    Place: Checker.place,
    Partial: Checker.partially,
}


_COMMON = ("cluster", "party", "external", "port", "bind", "internal_url", "public_url")


_TARGETS = ("host", "hosts", "cluster", "party", "external")


_ELSEWHERE = ("cluster", "party", "external")


def _elsewhere(type_: Place, node: Node) -> bool:
    """Whether a placement is put where it can't be: the key is told to be unknown then."""
    return isinstance(node.value, dict) and any(word in node.value for word in _ELSEWHERE if word not in targets(type_))


def targets(type_: Place) -> tuple[str, ...]:
    """The keys that say where, of which a placement has one."""
    on_many = type_.on_hosts and type_.many
    possible = (type_.on_hosts, on_many, type_.cluster, type_.party, type_.external)
    return tuple(target for target, can in zip(_TARGETS, possible, strict=True) if can)


def place_section(type_: Place) -> Section:
    """A placement's keys as a section: where, what every placement takes, and the role's own."""
    keys: dict[str, Key] = {}
    if type_.on_hosts:
        keys["host"] = Key(Reference("host"), "The host it runs on.")
    if type_.on_hosts and type_.many:
        doc = "The hosts it runs on: names, ranges, patterns with `*` and `?`."
        keys["hosts"] = Key(Reference("hosts"), doc, example=["ms2", "w[01:40]"])
    if type_.cluster:
        keys["cluster"] = Key(Reference("cluster"), "The cluster it runs in.")
    if type_.party:
        keys["party"] = Key(Reference("party"), "The external party that runs it.")
    if type_.external:
        keys["external"] = Key(type_.external, "One that is run otherwise, and only used.")
    if type_.port is not None:
        keys["port"] = Key(PORT, "The port it listens on.", default=type_.port)
    if type_.listens:
        doc = "The address it listens on; default: the host's internal address."
        keys["bind"] = Key(Text(format="bind_address"), doc)
        keys["internal_url"] = Key(Text(format=type_.urls), "Where other components reach it, when not directly.")
        keys["public_url"] = Key(Text(format=type_.urls), "Where clients and other parties reach it.")
    if type_.settings is not None:
        keys["settings"] = Key(Partial(type_.settings), "The system's own configuration keys for this role.")
    if type_.on_hosts:
        keys["absent"] = Key(Reference("hosts"), "Hosts it is to be stopped and removed on; their data stay.")
        keys["state"] = Key(STATE, "absent: stopped and removed on all its hosts.", default="present")
    else:
        keys["state"] = Key(STATE, "absent: stopped and removed.", default="present")
    return Section({**keys, **type_.options})


def looks_secret(name: str) -> bool:
    """Whether a key's name says that its value is a secret: password, db_token, apiKey; a public key is none."""
    parts = _SNAKE.sub("_", name).lower().replace("-", "_").split("_")
    last = parts[-1]
    singular = last.removesuffix("s") if last.endswith(("ords", "ens", "ets")) else last
    return singular in _SECRET_WORDS and "public" not in parts


def has_userinfo(text: str) -> bool:
    """Whether there is a URL with a user or a password in the text."""
    return _USERINFO.search(text) is not None


def words(type_: Type) -> str:
    """What a type wants, in words that fit after 'expected'."""
    match type_:
        case Text():
            return type_.pattern_name or (FORMATS[type_.format].words if type_.format else "text")
        case Integer():
            return "a whole number" + _bounds(type_.minimum, type_.maximum)
        case Number():
            return "a number" + _bounds(type_.minimum, type_.maximum, type_.above, type_.below)
        case Boolean():
            return "true or false"
        case Choice():
            shown = [word or "''" for word in type_.words]
            return f"one of {', '.join(shown)}" if len(shown) > 1 else shown[0]
        case Items():
            least = f" of at least {type_.min_items}" if type_.min_items else ""
            return f"a list{least}"
        case OneOf():
            return " or ".join(dict.fromkeys(words(of) for of in type_.types))
        case Reference():
            return {"hosts": "names of hosts"}.get(type_.to, f"the name of a {type_.to}")
        case Anything():
            return "any data"
        case _:
            return "a mapping"


def _to_write(name: str, type_: Type) -> str:
    """What a missing key may be, or the whole line where it can be only one thing."""
    match type_:
        case Choice(words=(word,)):
            return f": write {name}: {word}"
        case Integer(minimum=int() as least, maximum=most) if least == most:
            return f": write {name}: {least}"
    return f" ({words(type_)})"


def _bounds(
    minimum: float | None, maximum: float | None, above: float | None = None, below: float | None = None
) -> str:
    if minimum is not None and maximum is not None:
        return f" from {minimum} to {maximum}" if minimum != maximum else f": {minimum}"
    parts = [
        f"{word} {bound}"
        for word, bound in (("of at least", minimum), ("above", above), ("of at most", maximum), ("below", below))
        if bound is not None
    ]
    return f" {' and '.join(parts)}" if parts else ""


def _found(node: Node, hidden: bool) -> str:
    match node.value:
        case None:
            return "nothing"
        case bool():
            return str(node.value).lower()
        case int() | float():
            return "a number" if hidden else f"the number {shorten(repr(node.value))}"
        case str():
            return "a text" if hidden else f"the text '{shorten(node.value)}'"
        case dict():
            return "a mapping"
        case list():
            return "a list"
    return f"a {type(node.value).__name__}"


def _number_hint(value: Any, wanted: type) -> str:
    """How to write a number that was written as a text."""
    if not isinstance(value, str) or len(value) > 40:
        return ""
    try:
        number = wanted(value)
    except ValueError:
        return ""
    if wanted is float and "e" in value.lower() and decimal_text(value):
        return f": YAML takes this notation for text, write {decimal_text(value)}"
    return ": leave out the quotes" if math.isfinite(number) else ""


def _length_message(type_: Text, length: int) -> str:
    if length < type_.min_length:
        return "is empty" if length == 0 else f"is shorter than {type_.min_length} characters"
    return f"is longer than {type_.max_length} characters"


def _keys_within(type_: Type) -> Collection[str]:
    """The keys of what a key holds, where that is a section."""
    section = type_.of if isinstance(type_, Partial) else type_
    return section.keys if isinstance(section, Section) else ()


def _absent_keys(type_: Section, node: Node) -> list[str]:
    """The known keys that a mapping doesn't have."""
    return [known for known in type_.keys if not isinstance(node.value, dict) or known not in node.value]


def _place_hint(type_: Place, node: Node) -> str:
    """How to write a placement that is only the name of a host, or a list of names."""
    names = node.value if isinstance(node.value, list) else [node]
    texts = [shorten(each.value) for each in names if isinstance(each.value, str)]
    if not texts or len(texts) < len(names) or has_userinfo(" ".join(texts)):
        return ": write {} when none of its keys is needed" if node.value is None else ""
    many = type_.many and isinstance(node.value, list)
    return f": write {{hosts: [{', '.join(texts)}]}}" if many else f": write {{host: {texts[0]}}}"


def _is_glob(text: str) -> bool:
    return "*" in text or "?" in text


def _node_shape(node: Node) -> type:
    return type(node.value) if isinstance(node.value, (dict, list)) else str


def _shape(type_: Type) -> type:
    """dict, list or str (any scalar): what a value of the type is written as."""
    match type_:
        case Section() | Variant() | Table() | Place() | Partial():
            return dict
        case Items():
            return list
        case _:
            return str
