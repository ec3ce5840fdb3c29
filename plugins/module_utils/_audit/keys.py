# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds private keys in what files have: PEM however it is indented or quoted, DER, hex, and base64 of any of them."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Iterator

from ansible_collections.fedlearn.infra.plugins.module_utils._audit.running import answer

_MOST = 40_000
"""How many bytes a key may take as text."""
_BODY = re.compile(rb"M(?:[A-H][A-Za-z0-9+/]CAQ(?:[AE]w|EE)|I[GH][A-Za-z0-9+/]AgE[AB]|II[A-Za-z0-9+/]{2}[AQgw]IBA[AD])")
"""How base64 of a private key begins: a sequence, then a small version and what follows it."""
_OPENSSH_BODY = re.compile(rb"b3BlbnNzaC1rZXktdjE")
_ENCODED = re.compile(rb"tLS(?:1CRUdJTi|0tQkVHSU4|0tLUJFR0lO)")
"""Base64 of `-----BEGIN`, from the fourth letter of a group on: after whole groups of three bytes, one or two more."""
_VERSION = re.compile(rb"\x02\x01(?:[\x00\x01]\x30|\x00\x02|\x01\x04)")
_HEX_VERSION = re.compile(rb"0201(?:0[01]30|0002|0104)")
_HEX = re.compile(rb"30[0-9A-Fa-f]+")
_RUN = re.compile(rb"[\s\"'`,;>#|*]*([A-Za-z0-9+/=]*)")
_MARKS = b" \t+-<>|#*/%;:!\"'"
_OPENSSH = b"openssh-key-v1\0"
_OPENSSH_BLOB = re.compile(re.escape(_OPENSSH))
PKCS12 = re.compile(
    rb"\x30(?:\x80|\x82..|\x83...)\x02\x01\x03\x30.{1,4}\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07[\x01\x02]", re.S
)


def public_halves(content: bytes, text: bytes = b"") -> Iterator[str]:
    """The sums of the public halves of all private keys in it; of OpenSSH's also of an encrypted one.

    ``text`` is the same without what texts escape.
    """
    for der in dict.fromkeys([*_binary(content), *_written(text or content)]):
        half = _openssh_half(der) if der.startswith(_OPENSSH) else _openssl_half(der)
        if half:
            yield hashlib.sha256(half).hexdigest()


def opened(content: bytes) -> bytes | None:
    """The keys of a PKCS#12 file without a password, as PEM; None where it has one."""
    return answer(["openssl", "pkcs12", "-nodes", "-nocerts", "-passin", "pass:"], content)


def stripped(text: bytes, start: int, end: int) -> list[bytes]:
    """The lines of a part of a text, without what stands before it on its first line, as in a diff or a comment."""
    line = text[text.rfind(b"\n", max(0, start - 80), start) + 1 : start]
    before = line[: len(line) - len(line.lstrip(_MARKS))]
    lines = text[start:end].split(b"\n")
    return [lines[0], *(line[len(before) :] if before and line.startswith(before) else line for line in lines[1:])]


def _binary(content: bytes) -> Iterator[bytes]:
    """What looks like a private key in DER, or as OpenSSH has it."""
    for found in _OPENSSH_BLOB.finditer(content):
        yield content[found.start() : found.start() + _MOST]
    for found in _VERSION.finditer(content):
        for start in range(max(0, found.start() - 4), found.start() - 1):
            if content[start] == 0x30:
                yield from _whole(content[start : start + _MOST], found.start() - start)


def _written(text: bytes, deeper: bool = True) -> Iterator[bytes]:
    """What looks like one in base64, PEM's or OpenSSH's, or in hex of DER; and in base64 of such a text."""
    for pattern in (_BODY, _OPENSSH_BODY):
        for found in pattern.finditer(text):
            yield from _whole(_decoded(text, found.start()))
    for found in _HEX_VERSION.finditer(text):
        for start in range(max(0, found.start() - 8), found.start() - 3, 2):
            run = _HEX.match(text, start, start + _MOST)
            if run:
                yield from _whole(bytes.fromhex(run[0][: len(run[0]) // 2 * 2].decode()), (found.start() - start) // 2)
    for found in _ENCODED.finditer(text) if deeper else ():
        yield from _written(_decoded(text, found.start(), missing=3), deeper=False)


def _decoded(text: bytes, start: int, missing: int = 0) -> bytes:
    """What base64 says from there on, over indented or quoted lines; ``missing`` letters stood before it."""
    run = b"A" * missing
    for line in stripped(text, start, start + _MOST):
        found = _RUN.match(line)
        part = found[1] if found else b""
        run += part
        if part.endswith(b"=") or b"-----" in line or not (part or not line.strip(_MARKS + b"\r,;")):
            break
    run = run.split(b"=")[0]
    run = run[:-1] if len(run) % 4 == 1 else run
    return base64.b64decode(run + b"=" * (-len(run) % 4))


def _whole(content: bytes, begins: int = 0) -> Iterator[bytes]:
    """The key that something begins with, as long as it says that it is; what is in it ``begins`` there."""
    if content.startswith(_OPENSSH):
        yield content
        return
    size = content[1] if len(content) > 1 else 0
    head = 2
    if size & 0x80:
        head += size & 0x7F
        size = int.from_bytes(content[2:head], "big")
    if len(content) >= head + size and begins in (0, head):
        yield content[: head + size]


@functools.lru_cache(maxsize=4096)
def _openssl_half(der: bytes) -> bytes:
    """DER of the public key; empty for what is encrypted or no key."""
    return answer(["openssl", "pkey", "-inform", "DER", "-pubout", "-outform", "DER", "-passin", "pass:"], der) or b""


def _openssh_half(blob: bytes) -> bytes:
    """The public key of OpenSSH's form, which isn't encrypted with the private one."""
    rest = blob[len(_OPENSSH) :]
    for _skipped in ("cipher", "kdf", "options"):
        rest = rest[4 + int.from_bytes(rest[:4], "big") :]
    length = int.from_bytes(rest[4:8], "big")
    return rest[8 : 8 + length]
