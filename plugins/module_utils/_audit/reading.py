# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads files of any size in pieces, and what is packed in them, within bounds; what couldn't be read is told."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ansible_collections.fedlearn.infra.plugins.module_utils._audit import keys

MAX_FILE = 32 << 20
"""So much of every file is looked at, whatever others took."""
MOST_OF_FILE = 1 << 30
MOST_OF_ALL = 4 << 30
"""Beyond ``MAX_FILE`` of each: of one file, with what is packed in it, and of all files of a search."""
PIECE, OVERLAP = 4 << 20, 128 << 10
CHUNK = 1 << 18
DEEPEST = 4
_MEMORY = 128 << 20
_HEAD = 512
_SEALED = (
    (re.compile(rb"\$ANSIBLE_VAULT;"), "encrypted by ansible-vault"),
    (re.compile(rb"-----BEGIN ENCRYPTED PRIVATE KEY-----"), "an encrypted key"),
    (re.compile(rb"age-encryption\.org/|-----BEGIN AGE ENCRYPTED FILE"), "encrypted by age"),
    (re.compile(rb"-----BEGIN PGP MESSAGE-----"), "encrypted by PGP"),
    (re.compile(rb"LUKS\xba\xbe"), "an encrypted disk"),
    (re.compile(rb"\xfe\xed\xfe\xed|\xce\xce\xce\xce"), "a key store of Java"),
    (re.compile(rb"\x28\xb5\x2f\xfd|\x37\x7a\xbc\xaf\x27\x1c|Rar!\x1a\x07|\x04\x22\x4d\x18|\x1f\x9d|LZIP"), "packed"),
)
_TABLE = re.compile(rb"\x01\x00.{4}(?=\x00.{4}\x78[\x01\x5e\x9c\xda])", re.S)
"""Data, of which entry, then how long the first chunk is."""
_TABLE_HEAD = 12
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)


class Readable(Protocol):
    """What can be read once, from its beginning."""

    def read(self, size: int, /) -> bytes: ...


class Sought(Protocol):
    """What is looked for: in a piece, and by the sum of all."""

    files: Mapping[str, str]

    def inside(self, content: bytes) -> set[str]: ...


class TooMuchError(Exception):
    """A bound was reached; the text says which."""


@dataclass
class Bounds:
    """What a search as a whole may still read beyond what every file may have."""

    left: int = MOST_OF_ALL


@dataclass
class Seen:
    """What was found in a file, and what of it couldn't be looked at."""

    found: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    read: bool = True


class Look:
    """At one file, with all that is packed in it."""

    def __init__(self, sought: Sought, bounds: Bounds) -> None:
        self.sought, self.bounds, self.seen = sought, bounds, Seen()
        self._spent = 0

    def spend(self, count: int) -> None:
        """Have so much more read; TooMuchError where that is too much."""
        self._spent += count
        if self._spent <= MAX_FILE:
            return
        self.bounds.left -= count
        if self._spent > MOST_OF_FILE:
            raise TooMuchError(f"looked at only as far as {MOST_OF_FILE >> 20} MB, unpacked")
        if self.bounds.left < 0:
            raise TooMuchError(
                f"looked at only as far as {MAX_FILE >> 20} MB: big files have taken {MOST_OF_ALL >> 30} GB"
            )

    def note(self, why: str) -> None:
        """Something couldn't be looked at."""
        if why not in self.seen.notes:
            self.seen.notes.append(why)


class _Content:
    """Looks at what passes while somebody reads it."""

    def __init__(self, stream: Readable, look: Look) -> None:
        self._stream, self._look = stream, look
        self._sum, self.piece = hashlib.sha256(), bytearray()
        self._ahead = b""
        while len(self._ahead) < _HEAD and (more := self._next(_HEAD - len(self._ahead))):
            self._ahead += more
        self.head = self._ahead

    def _next(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._look.spend(len(data))
        self._sum.update(data)
        self.piece += data
        if len(self.piece) >= PIECE:
            self.flush()
            del self.piece[:-OVERLAP]
        return data

    def read(self, size: int = CHUNK) -> bytes:
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        return self._next(size)

    def flush(self) -> None:
        self._look.seen.found |= self._look.sought.inside(bytes(self.piece))

    def end(self) -> None:
        """Read what nobody has read, and look at the whole."""
        while self._next(CHUNK):
            pass
        name = self._look.sought.files.get(self._sum.hexdigest())
        self._look.seen.found |= {name} if name else set()


def look_at(stream: Readable, look: Look, depth: int = 0) -> None:
    """Look at all of a stream, and at what is packed in it. OSError where it can't be read."""
    content = _Content(stream, look)
    try:
        try:
            _unpack(content, stream, look, depth)
        except _BROKEN as error:
            look.note(f"can't be unpacked ({type(error).__name__})")
        content.end()
    finally:
        content.flush()
    if keys.PKCS12.match(content.head):
        inside = keys.opened(bytes(content.piece))
        if inside is None:
            look.note("PKCS#12, which opens with a password only")
        else:
            look.seen.found |= look.sought.inside(inside)


def _unpack(content: _Content, stream: Readable, look: Look, depth: int) -> None:
    """Look at what is packed in it, where it is of a form that is known here."""
    unpacker = _unpacker(content.head)
    for pattern, what in _SEALED:
        if pattern.match(content.head):
            look.note(what)
    if unpacker and depth >= DEEPEST:
        look.note(f"packed more than {DEEPEST} times")
    elif unpacker:
        unpacker(content, stream, look, depth + 1)


def _unpacker(head: bytes) -> Callable[[_Content, Readable, Look, int], None] | None:
    if head[257:262] == b"ustar":
        return _tar
    by_head: dict[bytes, Callable[[_Content, Readable, Look, int], None]] = {
        b"\x1f\x8b": _gzip,
        b"BZh": _bzip2,
        b"\xfd7zXZ\0": _xz,
        b"PK\x03\x04": _zip,
        b"PGDMP": _dump,
    }
    return next((unpacker for magic, unpacker in by_head.items() if head.startswith(magic)), None)


def _gzip(content: _Content, _stream: Readable, look: Look, depth: int) -> None:
    with gzip.GzipFile(fileobj=content) as inside:  # type: ignore[call-overload]  # it only reads
        look_at(inside, look, depth)


def _bzip2(content: _Content, _stream: Readable, look: Look, depth: int) -> None:
    look_at(_Unpacked(content, bz2.BZ2Decompressor), look, depth)


def _xz(content: _Content, _stream: Readable, look: Look, depth: int) -> None:
    look_at(_Unpacked(content, lambda: lzma.LZMADecompressor(memlimit=_MEMORY)), look, depth)


def _tar(content: _Content, _stream: Readable, look: Look, depth: int) -> None:
    with tarfile.open(fileobj=content, mode="r|") as tar:  # type: ignore[call-overload]  # likewise
        for member in tar:
            tar.members = []  # or it would keep them all
            inside = tar.extractfile(member) if member.isreg() else None
            if inside:
                look_at(inside, look, depth)


def _zip(content: _Content, stream: Readable, look: Look, depth: int) -> None:
    """It is read from its end: a file as it lies there, within others from memory."""
    whole: Any = stream
    if depth > 1 or not hasattr(stream, "seek"):
        whole = io.BytesIO()
        while data := content.read():
            whole.write(data)
            if whole.tell() > MAX_FILE:
                raise ValueError("too big")
    else:
        content.end()
    with zipfile.ZipFile(whole) as archive:
        for member in archive.infolist():
            if member.flag_bits & 1:
                look.note("a zip with a password")
            elif not member.is_dir():
                with archive.open(member) as inside:
                    look_at(inside, look, depth)


def _dump(content: _Content, _stream: Readable, look: Look, depth: int) -> None:
    """Of pg_dump's custom form: a table is one zlib stream, in chunks that say how long they are."""
    ahead, tables = b"", 0
    while data := content.read():
        ahead += data
        while found := _TABLE.search(ahead):
            table = _Table(ahead[found.end() :], content)
            look_at(table, look, depth)
            ahead, tables = table.ahead, tables + 1
        ahead = ahead[-_TABLE_HEAD:]
    if not tables:
        look.note("of pg_dump, without a table that could be unpacked")


class _Table:
    """What is in a table of pg_dump's, from its first chunk on."""

    def __init__(self, ahead: bytes, content: _Content) -> None:
        self.ahead, self._content = ahead, content
        self._one, self._more = zlib.decompressobj(), True

    def _take(self, size: int) -> bytes:
        while len(self.ahead) < size and (data := self._content.read()):
            self.ahead += data
        taken, self.ahead = self.ahead[:size], self.ahead[size:]
        return taken

    def read(self, size: int) -> bytes:
        while True:
            given = self._one.unconsumed_tail
            if not given and self._more:
                length = int.from_bytes(self._take(5)[1:], "little")
                if length > CHUNK:
                    raise ValueError("no chunk")
                given = self._take(length)
                self._more = bool(given)
            data = self._one.decompress(given, size)
            if data or not (given or self._more):
                return data


class _Unpacked:
    """What decompressors of bz2 and xz give, within their bound of memory."""

    def __init__(self, content: _Content, new: Callable[[], Any]) -> None:
        self._content, self._new, self._one = content, new, new()

    def read(self, size: int) -> bytes:
        while True:
            given = b""
            if self._one.eof:
                given = self._one.unused_data or self._content.read()
                if not given:
                    return b""
                self._one = self._new()
            elif self._one.needs_input:
                given = self._content.read()
                if not given:
                    raise EOFError("it is cut off")
            data: bytes = self._one.decompress(given, size)
            if data:
                return data
