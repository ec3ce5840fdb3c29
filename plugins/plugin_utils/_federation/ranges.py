# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names with ranges in them: ``w[01:40].lab.example`` is forty names, in order."""

from __future__ import annotations

import itertools
import re

from .nodes import shorten

MAX_NAMES = 100_000
"""As many names may one range stand for, and as many hosts may a document have."""

_RANGE = re.compile(r"\[([^\[\]]*)\]")
_BOUNDS = re.compile(r"([0-9]{1,9}):([0-9]{1,9})")


def is_range(text: str) -> bool:
    """Whether there is a range in the name (right or wrong)."""
    return "[" in text or "]" in text


def size(text: str) -> int:
    """How many names a range stands for. ValueError says what is wrong."""
    names = 1
    for piece in _pieces(text)[1::2]:
        first, last, _width = _bounds(piece)
        names *= last - first + 1
        if names > MAX_NAMES:
            raise ValueError(f"'{shorten(text)}' stands for more than {MAX_NAMES} names")
    return names


def expand(text: str) -> list[str]:
    """All names a range stands for; a name without one stands for itself.

    Numbers are padded with zeros where the first bound is. ValueError says what is wrong.
    """
    size(text)
    choices: list[list[str]] = []
    for index, piece in enumerate(_pieces(text)):
        first, last, width = _bounds(piece) if index % 2 else (0, 0, 0)
        choices.append([str(number).zfill(width) for number in range(first, last + 1)] if index % 2 else [piece])
    return ["".join(parts) for parts in itertools.product(*choices)]


def _pieces(text: str) -> list[str]:
    """The text between ranges, and at every odd place what is in the brackets of one."""
    pieces = _RANGE.split(text)
    if any("[" in piece or "]" in piece for piece in pieces):
        raise ValueError(f"'{shorten(text)}' has a bracket without its other half")
    return pieces


def _bounds(text: str) -> tuple[int, int, int]:
    """First number, last number and width to pad to (0: none) of ``01:40``."""
    match = _BOUNDS.fullmatch(text)
    if match is None:
        raise ValueError(f"[{shorten(text)}] is no range of numbers such as [01:40]")
    low, high = match.groups()
    if int(low) > int(high):
        raise ValueError(f"[{text}] counts down: write the lower number first")
    padded = len(low) > 1 and low.startswith("0")
    if padded and len(low) != len(high):
        raise ValueError(f"[{text}] pads with zeros: write both numbers with the same number of digits")
    if not padded and len(high) > 1 and high.startswith("0"):
        raise ValueError(f"[{text}] pads with zeros: write both numbers with the same number of digits")
    return int(low), int(high), len(low) if padded else 0
