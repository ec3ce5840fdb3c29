# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The programs' own configuration, by generation, and what of it a stack may say before its generation is looked at."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from ...schema import Key, Section
from . import pet_keys, poc_keys, python_keys

SECTIONS: Mapping[str, Section] = {
    "python": python_keys.SETTINGS,
    "pet": pet_keys.SETTINGS,
    "poc": poc_keys.SETTINGS,
}
"""Every key of each generation, with its rules."""

TOO_FEW: Mapping[str, Callable[[Mapping[str, Any], int], str]] = {
    "python": python_keys.too_few,
    "pet": pet_keys.too_few,
    "poc": poc_keys.too_few,
}
"""By complete settings and a number of participants: why those are too few; empty when they aren't."""


def _either(one: Section, other: Section) -> Section:
    """The keys of both; a section that both have has those of both."""
    keys: dict[str, Key] = {**one.keys, **other.keys}
    for name in one.keys.keys() & other.keys.keys():
        ours, theirs = one.keys[name].type, other.keys[name].type
        if isinstance(ours, Section) and isinstance(theirs, Section):
            keys[name] = Key(_either(ours, theirs), one.keys[name].doc, source=one.keys[name].source)
    return Section(keys, rules=tuple(dict.fromkeys((*one.rules, *other.rules))))


SETTINGS = functools.reduce(_either, SECTIONS.values())
