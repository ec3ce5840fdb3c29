# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks for what nobody but another party may have, knowing only what can be told of it in public.

A secret is known by a keyed hash, a datastore key by its commitment, a private key by its public half, a file by its
sum. Used on hosts and on the control node.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import hmac
import os
import re
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

MAX_FILE = 32 << 20
COMMITTED = b"fedlearn: a datastore key of Janus\n"

_WORD = re.compile(rb"[A-Za-z0-9_-]{20,256}")
_KEY = re.compile(rb"[A-Za-z0-9_-]{22}")
_PEM = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----[^-]{1,20000}-----END \1-----")
_OPENSSH = b"openssh-key-v1\0"
TOKEN = re.compile(
    rb"(?i)(?:bearer\s+|(?:dap-auth-token|auth_token|authorization)[\"']?\s*[:=]\s*[\"']?)([A-Za-z0-9._~+/=-]{16,})"
    rb"|(?:auth token for aggregator|, collector): \[((?:\d{1,3}, ){7,}\d{1,3})\]"
)
"""The last are the manager's words on stdout: the bytes of both tokens, as numbers."""


def keyed(key: str, kind: str, value: str) -> str:
    """By what a value is compared between parties: who doesn't know it can't tell it from this, nor from another kind.

    ``key`` is what both parties know and nobody else has to: the shared document's sum.
    """
    return hmac.new(bytes.fromhex(key), f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()


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
        """What a file's content has of it."""
        found = set()
        if self.files and hashlib.sha256(content).hexdigest() in self.files:
            found.add(self.files[hashlib.sha256(content).hexdigest()])
        if self.words or self.commitments:
            found |= {name for name in map(self._word, set(_WORD.findall(content))) if name}
        if self.publics and b"PRIVATE KEY-----" in content:
            found |= {self.publics[half] for half in public_halves(content) if half in self.publics}
        return found

    def _word(self, word: bytes) -> str:
        """What a word is, if it is sought; words come again and again."""
        if word not in self._known:
            name = self.words.get(keyed(self.key, "secret", word.decode()), "") if self.words else ""
            if not name and self.commitments and _KEY.fullmatch(word):
                key = base64.urlsafe_b64decode(word + b"==")
                name = self.commitments.get(hashlib.sha256(COMMITTED + key).hexdigest(), "")
            if len(self._known) < 1_000_000:
                self._known[word] = name
            return name
        return self._known[word]


def public_halves(content: bytes) -> Iterator[str]:
    """The sums of the public halves of all private keys in a text; of an encrypted one where its file says it."""
    for block in _PEM.finditer(content):
        half = _openssh_half(block[0]) if block[1] == b"OPENSSH PRIVATE KEY" else _openssl_half(block[0])
        if half:
            yield hashlib.sha256(half).hexdigest()


def _openssl_half(pem: bytes) -> bytes:
    """DER of the public key; empty for what is encrypted or no key."""
    command = ["openssl", "pkey", "-pubout", "-outform", "DER", "-passin", "pass:"]
    try:
        ended = subprocess.run(
            command, input=pem, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return ended.stdout if ended.returncode == 0 else b""


def _openssh_half(pem: bytes) -> bytes:
    """The public key of OpenSSH's form, which isn't encrypted with the private one."""
    try:
        blob = base64.b64decode(b"".join(pem.split(b"-----")[2].split()))
        if not blob.startswith(_OPENSSH):
            return b""
        rest = blob[len(_OPENSSH) :]
        for _skipped in ("cipher", "kdf", "options"):
            rest = rest[4 + int.from_bytes(rest[:4], "big") :]
        length = int.from_bytes(rest[4:8], "big")
        return rest[8 : 8 + length]
    except (binascii.Error, ValueError, IndexError):
        return b""


@dataclass
class Searched:
    """What was found where, and how much was looked at."""

    found: list[str] = field(default_factory=list)
    files: int = 0
    skipped: list[str] = field(default_factory=list)


def search(roots: Iterable[str], sought: Sought, without: Iterable[str] = ()) -> Searched:
    """Look at every file below the roots, also compressed ones; links are not followed."""
    result = Searched()
    for path in files_below(roots, without):
        content = content_of(path)
        if content is None:
            result.skipped.append(path)
            continue
        result.files += 1
        result.found += [f"{path}: {name}" for name in sorted(sought.inside(content))]
    return result


def files_below(roots: Iterable[str], without: Iterable[str] = ()) -> Iterator[str]:
    """Regular files, each once."""
    left_out = tuple(without)
    for root in roots:
        if os.path.isfile(root) and not os.path.islink(root):
            yield root
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if os.path.join(folder, name) not in left_out]
            for name in names:
                path = os.path.join(folder, name)
                try:
                    if stat.S_ISREG(os.lstat(path).st_mode):
                        yield path
                except OSError:
                    continue


def content_of(path: str) -> bytes | None:
    """What is in a file, unpacked where it is compressed; None where it is too big or can't be read."""
    try:
        with open(path, "rb") as stream:
            content = stream.read(MAX_FILE + 1)
        if content.startswith(b"\x1f\x8b"):
            with gzip.open(path) as stream:
                content += stream.read(4 * MAX_FILE)
            return content
    except (OSError, EOFError, ValueError):
        return None
    return content if len(content) <= MAX_FILE else None


def tokens(content: bytes) -> int:
    """How many tokens a text has in clear."""
    return len(TOKEN.findall(content))
