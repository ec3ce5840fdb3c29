# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps secret values out of everything that is shown."""

from __future__ import annotations

import base64
import re
import urllib.parse
from collections.abc import Iterable

MASK = "********"
_SHORTEST = 6  # characters of a word that is masked by itself; whole files are masked from 3 on


class Mask:
    """Masks what secret files hold, and each word of it, wherever it appears: plain, percent-encoded or in base64."""

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


def _forms(value: str) -> list[str]:
    encoded = base64.b64encode(value.encode("utf-8", "replace")).decode()
    return [
        form for form in (urllib.parse.quote(value, safe=""), encoded, encoded.rstrip("=")) if len(form) >= _SHORTEST
    ]
