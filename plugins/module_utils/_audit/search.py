# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks for what nobody but another party may have, knowing only what can be told of it in public.

A secret is known by a keyed hash, a datastore key by its commitment, a private key by its public half, a file by its
sum. Used on hosts and on the control node.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.fedlearn.infra.plugins.module_utils._audit.keys import public_halves, stripped
from ansible_collections.fedlearn.infra.plugins.module_utils._audit.reading import (
    Bounds,
    Look,
    Seen,
    TooMuchError,
    look_at,
)
from ansible_collections.fedlearn.infra.plugins.module_utils._audit.repositories import (
    GitError,
    objects,
    repository_of,
)

COMMITTED = b"fedlearn: a datastore key of Janus\n"

_WORD = re.compile(rb"[A-Za-z0-9_-]{20,1100}")
_KEY = re.compile(rb"[A-Za-z0-9_-]{22}")
_HEX_KEY = re.compile(rb"(?:0[xX])?([0-9A-Fa-f]{32})")
_STANDARD_RUN = re.compile(rb"[A-Za-z0-9+/]{22,}")
_BASE64_WORD = re.compile(rb"[A-Za-z0-9]{27,}")
_ESCAPED = re.compile(rb"\\[nrt]")
"""As JSON and programs' texts write ends of lines."""
_SEALED = re.compile(
    rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.{1,20000}?-----END \1-----"
    rb"|\$ANSIBLE_VAULT;[0-9.]{3};AES256[^\n]{0,100}(?:\n[ \t>+#\"'-]*[0-9a-f]{1,80}[\\\"',\r]*(?=\n|\Z))+",
    re.S,
)
"""What may lie within another file as it lies in its own."""
TOKEN = re.compile(
    rb"(?i)(?:bearer\s+|(?:dap-auth-token|auth_token|authorization)[\"']?\s*[:=]\s*[\"']?)([A-Za-z0-9._~+/=-]{16,})"
    rb"|(?:auth token for aggregator|, collector): \[((?:\d{1,3}, ){7,}\d{1,3})\]"
)
"""The last are the manager's words on stdout: the bytes of both tokens, as numbers."""


def keyed(key: str, kind: str, value: str) -> str:
    """By what a value is compared between parties, and with no other kind; who guesses the value can tell that it is.

    ``key`` is what both parties know: the shared document's sum.
    """
    return hmac.digest(bytes.fromhex(key), f"{kind}\0{value}".encode(), "sha256").hex()


@dataclass
class Sought:
    """What is looked for, each by what it is known by, and what it is called."""

    key: str
    words: Mapping[str, str] = field(default_factory=dict)
    commitments: Mapping[str, str] = field(default_factory=dict)
    publics: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known: dict[bytes, str] = {}

    def inside(self, content: bytes) -> set[str]:
        """What a part of a file has of it."""
        text = _ESCAPED.sub(b"\n", content) if b"\\" in content else content
        found = set()
        if self.words or self.commitments:
            found |= set(map(self._word, set(_WORD.findall(text))))
        if self.commitments:
            found |= {self._standard(run) for run in _STANDARD_RUN.findall(text) if len(run) == 22}
        if self.files:
            found |= {self.files.get(digest, "") for digest in _sums(text)}
        if self.publics:
            found |= {self.publics.get(half, "") for half in public_halves(content, text)}
        return found - {""}

    def _word(self, word: bytes) -> str:
        """What a word is, if it is sought; words come again and again."""
        if word not in self._known:
            name = self._secret(word) or (self._key(word) if self.commitments else "")
            if len(self._known) < 300_000:
                self._known[word] = name
            return name
        return self._known[word]

    def _secret(self, word: bytes) -> str:
        """Which secret a word is, as it is or as base64."""
        found = self.words.get(keyed(self.key, "secret", word.decode()), "") if self.words else ""
        if not found and self.words and _BASE64_WORD.fullmatch(word) and len(word) % 4 != 1:
            inside = base64.b64decode(word + b"=" * (-len(word) % 4)).strip()
            found = self._secret(inside) if _WORD.fullmatch(inside) else ""
        return found

    def _key(self, word: bytes) -> str:
        """Which datastore key a word is, as it is or in hex."""
        if _KEY.fullmatch(word):
            return self._committed(base64.urlsafe_b64decode(word + b"=="))
        found = _HEX_KEY.fullmatch(word)
        return self._committed(bytes.fromhex(found[1].decode())) if found else ""

    def _standard(self, run: bytes) -> str:
        """Which datastore key it is in the alphabet that has + and /."""
        return self._committed(base64.b64decode(run + b"==")) if b"+" in run or b"/" in run else ""

    def _committed(self, key: bytes) -> str:
        return self.commitments.get(hashlib.sha256(COMMITTED + key).hexdigest(), "")


def _sums(text: bytes) -> Iterator[str]:
    """Of what lies in it and could be a file of its own: as that would be, without what stands before its lines."""
    if b"PRIVATE KEY-----" in text or b"$ANSIBLE_VAULT" in text:
        for found in _SEALED.finditer(text):
            lines = [line.strip(b" \t\r\\\"',") for line in stripped(text, found.start(), found.end())]
            yield hashlib.sha256(b"\n".join(lines) + b"\n").hexdigest()


@dataclass
class Searched:
    """What was found where, and how much was looked at."""

    found: list[str] = field(default_factory=list)
    files: int = 0
    skipped: list[str] = field(default_factory=list)

    def add(self, where: str, seen: Seen) -> None:
        """What was found there, and what couldn't be looked at."""
        self.files += seen.read
        self.found += [f"{where}: {name}" for name in sorted(seen.found)]
        self.skipped += [f"{where}: {why}" for why in seen.notes]


def search(roots: Iterable[str], sought: Sought, without: Iterable[str] = (), git: bool = True) -> Searched:
    """Look at every file below the roots, and at what is packed in it; links are not followed.

    Of a repository of git that lies there all objects are read, unless somebody else does.
    """
    result, bounds, walk = Searched(), Bounds(), Walk()
    for path in walk.files(roots, without):
        seen = look_at_file(path, sought, bounds)
        if seen is not None:
            result.add(path, seen)
    result.skipped += walk.unread
    for repository in walk.repositories if git else ():
        search_repository(repository, sought, bounds, result)
    return result


def look_at_file(path: str, sought: Any, bounds: Bounds) -> Seen | None:
    """What is in a file; None where it is gone by now."""
    try:
        with open(path, "rb") as stream:
            return _looked(stream, sought, bounds)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Seen(set(), [f"can't be read: {error.strerror or error}"], read=False)


def _looked(stream: Any, sought: Any, bounds: Bounds) -> Seen:
    look = Look(sought, bounds)
    try:
        look_at(stream, look)
    except TooMuchError as error:
        look.note(str(error))
    return look.seen


def look_at_stream(stream: Any, sought: Any) -> Seen:
    """What is in what somebody says."""
    return _looked(stream, sought, Bounds())


def search_repository(repository: str, sought: Sought, bounds: Bounds, result: Searched) -> None:
    """Look at every object of it: also what was removed, or nothing names any more."""
    try:
        for name, content in objects(repository):
            result.add(f"{repository}, object {name}", _looked(content, sought, bounds))
    except GitError as error:
        result.skipped.append(f"{repository}: {error}")


class Walk:
    """Goes through folders, each once by whatever name; what it met is known when its files were all asked for."""

    def __init__(self) -> None:
        self.repositories: list[str] = []
        self.unread: list[str] = []
        self._been: set[tuple[int, int]] = set()

    def files(self, roots: Iterable[str], without: Iterable[str] = ()) -> Iterator[str]:
        """Regular files; not the objects of git's repositories."""
        left_out = tuple(without)
        for root in roots:
            if os.path.isfile(root) and not os.path.islink(root):
                yield root
            for folder, folders, names in os.walk(root, onerror=self._not_read):
                if not self._is_new(folder):
                    folders[:] = []
                    continue
                if self._repository(folder, folders, names) == folder:
                    folders.remove("objects")
                folders[:] = [name for name in folders if os.path.join(folder, name) not in left_out]
                yield from _regular(folder, names)

    def _not_read(self, error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            self.unread.append(f"{error.filename}: can't be read: {error.strerror}")

    def _is_new(self, folder: str) -> bool:
        try:
            found = os.stat(folder)
        except OSError as error:
            self._not_read(error)
            return False
        there = (found.st_dev, found.st_ino)
        new = there not in self._been
        self._been.add(there)
        return new

    def _repository(self, folder: str, folders: Sequence[str], names: Sequence[str]) -> str:
        found = repository_of(folder, folders, names)
        if found and found not in self.repositories:
            self.repositories.append(found)
        return found


def files_below(roots: Iterable[str], without: Iterable[str] = ()) -> Iterator[str]:
    """Regular files, each once."""
    return Walk().files(roots, without)


def _regular(folder: str, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        path = os.path.join(folder, name)
        try:
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield path
        except OSError:
            continue


def tokens(content: bytes) -> set[tuple[bytes, ...]]:
    """The tokens that a text has in clear."""
    return set(TOKEN.findall(content))
