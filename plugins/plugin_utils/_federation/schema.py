# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The types a document is made of.

One description serves four readers: the check of a document's nodes (mistakes with positions), the check of plain
values that a role was given (the ``settings`` filter), docs/federation.md and docs/federation.schema.json.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Text:
    """A string. ``pattern`` is a full match; ``pattern_name`` says in words what it wants."""

    min_length: int = 0
    max_length: int = 4096
    pattern: str | None = None
    pattern_name: str = ""
    format: str | None = None  # 'address' (numeric IP), 'address_port', 'network', 'url', 'origin' (URL without path), 'path', 'name', 'dns_name'


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
    """A list of ``of``; also a single one where ``single`` is set."""

    of: Type
    min_items: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping from names (``key``) to ``of``."""

    key: Text
    of: Type


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping with known keys. ``rules`` look across keys, once each key is right."""

    keys: Mapping[str, Key]
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class OneOf:
    """Any of several types (a host: an address, or a section)."""

    types: tuple[Type, ...]


@dataclass(frozen=True, slots=True)
class Anything:
    """Any plain data (the settings of a user's own program)."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The name of something the document defines: 'host', 'hosts' (names, ranges, globs), 'party', 'cluster'."""

    to: str


Type = Text | Integer | Number | Boolean | Choice | Items | Table | Section | OneOf | Anything | Reference


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a section: its type, default (None: none), what it means, and where the rule comes from."""

    type: Type
    doc: str
    default: Any = None
    required: bool = False
    source: str = ""
    example: Any = None
    unit: str = ""
    alias_of: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule across a section's keys. ``check`` gets the plain values and gives (key path, message) for each breach."""

    doc: str
    check: Callable[[Mapping[str, Any]], list[tuple[tuple[str, ...], str]]]
