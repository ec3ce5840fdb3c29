# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps secret values out of everything that is shown."""

from __future__ import annotations

import base64
import itertools
import json
import re
import urllib.parse
from collections.abc import Iterable

MASK = "********"
_SHORTEST = 6  # characters of a word that is masked by itself; whole files are masked from 3 on


class Mask:
    """Masks what secret files hold, and each word of it, wherever it appears, in the forms programs show it in."""

    def __init__(self, contents: Iterable[bytes]) -> None:
        values: set[str] = set()
        for content in contents:
            text = content.decode("utf-8", "replace").strip()
            words = re.split(r"[\s\"'=,;]+", text) + text.splitlines()
            values.update(word.strip() for word in words if len(word.strip()) >= _SHORTEST)
            if len(text) >= 3:
                values.add(text)
        self._values: list[str] = sorted(
            values | {form for value in values for form in _forms(value)}, key=len, reverse=True
        )

    def __call__(self, text: str) -> str:
        for value in self._values:
            if value in text:
                text = text.replace(value, MASK)
        return text

    def lines(self, lines: Iterable[str]) -> list[str]:
        """Masks lines, and those whole that together hold what a line's end split in two."""
        masked = [self(line) for line in lines]
        joined, starts = "".join(masked), list(itertools.accumulate(map(len, masked), initial=0))
        for value in self._values:
            for found in re.finditer(re.escape(value), joined) if len(value) >= _SHORTEST else ():
                for number, (start, end) in enumerate(zip(starts, starts[1:])):
                    if start < found.end() and found.start() < end:
                        masked[number] = MASK
        return masked


def _forms(value: str) -> set[str]:
    """How a value looks where programs show it: percent-encoded, escaped as in JSON, in hex, in base64."""
    content = value.encode("utf-8", "replace")
    quoted = {urllib.parse.quote(value, safe=""), urllib.parse.quote(value), urllib.parse.quote_plus(value)}
    quoted |= {re.sub("%..", lambda code: code.group().lower(), form) for form in quoted}
    encoded = {form for shift in range(3) for form in _base64(content, shift)}
    whole = base64.b64encode(content).decode()
    others = {whole, whole.rstrip("="), content.hex(), json.dumps(value)[1:-1]}
    return {form for form in quoted | encoded | others if len(form) >= _SHORTEST}


def _base64(content: bytes, shift: int) -> tuple[str, str]:
    """In base64, also inside of something longer, as in `user:password`: what others' bits are part of is left out."""
    encoded = base64.b64encode(bytes(shift) + content).decode().rstrip("=")
    whole = encoded[-(-shift * 8 // 6) : (shift + len(content)) * 8 // 6]
    return whole, whole.translate(str.maketrans("+/", "-_"))
