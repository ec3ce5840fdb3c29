# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""As much of Redis' protocol as a launcher needs: a command, and an answer that is a word, a number or a value."""

from __future__ import annotations

import socket
from typing import Any

SECONDS = 10


class RespError(Exception):
    """What Redis refused, or what answered in its place."""


class Connection:
    """A connection to a Redis, closed at the end of its context."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=SECONDS)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_exception: Any) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, *words: str | bytes) -> bytes | None:
        """What Redis answers; None for a value that isn't there."""
        told = [word.encode() if isinstance(word, str) else word for word in words]
        lines = [b"*%d\r\n" % len(told), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in told)]
        self._socket.sendall(b"".join(lines))
        line = self._file.readline()
        kind, rest = line[:1], line[1:].strip()
        if kind in (b"+", b":"):
            return rest
        if kind == b"$" and rest == b"-1":
            return None
        if kind == b"$":
            return self._file.read(int(rest) + 2)[:-2]
        raise RespError(rest.decode(errors="replace") if kind == b"-" else "what answers is no Redis")
