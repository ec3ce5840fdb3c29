# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a party says of the folder that it hands to partners: ``exchange.json``, signed in ``exchange.json.sig``."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

MANIFEST = "exchange.json"
SIGNATURE = f"{MANIFEST}.sig"
FORM = "fedlearn.infra exchange 1"
LONGEST = timedelta(days=400)
"""One that never ends could be kept back, and shown for as long as somebody likes."""
EARLY = timedelta(minutes=10)
"""How far the clocks of two control nodes may differ."""
MAX_FILES = 64

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_KEYS = {"form", "federation", "party", "sequence", "made", "expires", "document", "files"}


class ExchangeError(Exception):
    """What a partner handed over can't be used, or can't be made; the text says what, why, and the way out."""


@dataclass(frozen=True)
class Manifest:
    """Which files belong to it, by their sha256; ``document`` is that of the document its party accepted.

    ``sequence`` grows with each, so that an older one is told from the newest.
    """

    federation: str
    party: str
    sequence: int
    made: datetime
    expires: datetime
    document: str
    files: Mapping[str, str]

    def text(self) -> bytes:
        """As it is written and signed."""
        told = {
            "form": FORM,
            "federation": self.federation,
            "party": self.party,
            "sequence": self.sequence,
            "made": self.made.strftime(_TIME),
            "expires": self.expires.strftime(_TIME),
            "document": self.document,
            "files": dict(sorted(self.files.items())),
        }
        return (json.dumps(told, indent=1) + "\n").encode()


def parse(text: bytes, where: str) -> Manifest:
    """What a text says. ExchangeError for one that isn't exactly of this form: nothing in it is guessed."""
    try:
        told = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ExchangeError(f"{where} is no JSON: {str(error)[:100]}") from None
    if not isinstance(told, dict) or told.get("form") != FORM:
        raise ExchangeError(f"{where} isn't of the form '{FORM}': both sides need the same release of this collection")
    if set(told) != _KEYS:
        odd = ", ".join(sorted(str(key)[:40] for key in set(told) ^ _KEYS))
        raise ExchangeError(f"{where}: keys that are too many, or missing: {odd!a}")
    return Manifest(
        federation=_text(told, "federation", where),
        party=_text(told, "party", where),
        sequence=_sequence(told["sequence"], where),
        made=_time(told, "made", where),
        expires=_time(told, "expires", where),
        document=_digest(told["document"], f"{where}: document"),
        files=_files(told["files"], where),
    )


def digest(content: bytes) -> str:
    """A sha256, as sha256sum writes it."""
    return hashlib.sha256(content).hexdigest()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _text(told: Mapping[str, Any], key: str, where: str) -> str:
    value = told[key]
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ExchangeError(f"{where}: {key} is no name: {str(value)[:60]!a}")
    return value


def _sequence(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**53:
        raise ExchangeError(f"{where}: sequence is no positive number: {str(value)[:60]!a}")
    return value


def _time(told: Mapping[str, Any], key: str, where: str) -> datetime:
    try:
        return datetime.strptime(told[key], _TIME).replace(tzinfo=UTC)
    except (TypeError, ValueError):
        raise ExchangeError(f"{where}: {key} is no time such as 2026-11-28T14:00:00Z: {told[key]!a:.60}") from None


def _digest(value: object, where: str) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ExchangeError(f"{where} is no sha256: {str(value)[:60]!a}")
    return value


def _files(value: object, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or not 0 < len(value) <= MAX_FILES:
        raise ExchangeError(f"{where}: files is no list of 1 to {MAX_FILES} names with their sha256")
    for name, found in value.items():
        if not NAME.fullmatch(name) or name in (MANIFEST, SIGNATURE):
            raise ExchangeError(f"{where}: {name[:60]!a} is no name of a file in this folder")
        _digest(found, f"{where}: {name}")
    return value
