# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Workers' public keys in files of the control node, which are partly written by who is to be let in.

A file is never followed elsewhere and never shown: what lies there instead of a key may be a private one, or anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import files

MOST_BYTES = 32 << 20
"""Of one file: as many keys as a document can expect, and comments."""

_HEX = re.compile(r"[0-9a-f]{64}")
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
"""Of the curve on which public keys are points, Ed25519's (RFC 8032)."""


@dataclass(frozen=True)
class Line:
    """A line of a file that is to be a key."""

    text: str
    place: str


def read(own: Sequence[str], lists: Sequence[str]) -> tuple[list[str], list[str]]:
    """All keys, in the files' order, and what is wrong, a line each.

    A file of ``own`` holds the key of one worker, and may be missing while that has none; ``lists`` hold any number.
    """
    lines: list[Line] = []
    wrong: list[str] = []
    for path in (*own, *lists):
        try:
            found = _lines(path)
        except files.FileTroubleError as error:
            wrong.append(str(error))
            continue
        if found is None and path in lists:
            wrong.append(f"{path} isn't there: without it all whose keys it holds would be locked out")
        if path in own:
            wrong += [f"{line.place}: a second key, in a file that is of one worker" for line in (found or ())[1:]]
        lines += found or ()
    return [line.text for line in lines], wrong + list(_mistakes(lines))


def _lines(path: str) -> list[Line] | None:
    """What stands in a file, but for comments; None where there is none."""
    there = files.read(path, MOST_BYTES)
    if there is None:
        return None
    texts = enumerate(there.content.decode("ascii", "replace").splitlines(), start=1)
    stripped = [(number, text.strip()) for number, text in texts]
    return [Line(text, f"{path}:{number}") for number, text in stripped if text and not text.startswith("#")]


def _mistakes(lines: Sequence[Line]) -> Iterator[str]:
    """No message shows a key."""
    first: dict[str, str] = {}
    for line in lines:
        if not _HEX.fullmatch(line.text):
            yield f"{line.place}: no public key, which is 64 digits, 0-9 and a-f"
        elif line.text in first:
            yield f"{line.place}: the key of {first[line.text]} once more: strike one of them"
        else:
            first[line.text] = line.place
    for text, place in first.items():
        content = bytes.fromhex(text)
        if _public_half(content).hex() in first or not _is_point(content):
            yield f"{place}: no public key, and may be a private one: replace that key pair"


def _public_half(private: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _is_point(key: bytes) -> bool:
    """Whether it can be a public key, as every second private one could, too."""
    y = int.from_bytes(key, "little") & (2**255 - 1)
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    return pow(square, (_P - 1) // 2, _P) in (0, 1)
