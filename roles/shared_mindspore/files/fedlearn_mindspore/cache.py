# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`python -m fedlearn_mindspore.cache ADDRESS:PORT [CA CERTIFICATE KEY]`: whether the stack's Redis answers.

Asked before a server is restarted: without Redis the new one would not come up, and neither would the former one again.
A few lines of Redis' own protocol save a dependency.
"""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Mapping
from typing import Any

from fedlearn_mindspore import config

TIMEOUT_SECONDS = 10.0


class Redis:
    """A connection to one Redis, with the client certificate that MindSpore's configuration names."""

    def __init__(self, settings: Mapping[str, Any], tls: bool) -> None:
        host, port = config.split(settings["address"])
        self._socket: Any = socket.create_connection((host, port), timeout=TIMEOUT_SECONDS)
        if tls:
            context = ssl.create_default_context(cafile=settings["cacert_filename"])
            context.check_hostname = False
            context.load_cert_chain(settings["cert_filename"], settings["private_key_filename"])
            self._socket = context.wrap_socket(self._socket)
        self._file = self._socket.makefile("rb")

    def call(self, *words: str) -> Any:
        """The answer to one command. Raises OSError for an error that Redis tells."""
        parts = [word.encode() for word in words]
        self._socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        return self._read()

    def _read(self) -> Any:
        line = self._file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"-" or not kind:
            raise OSError(f"Redis: {rest.decode(errors='replace') or 'connection closed'}")
        if kind == b"$":
            return None if rest == b"-1" else self._file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self._read() for _item in range(int(rest))]
        return int(rest) if kind == b":" else rest.decode()


def main(address: str, *files: str) -> None:
    """Ends with 1 and the reason where it doesn't answer."""
    names = ("cacert_filename", "cert_filename", "private_key_filename")
    try:
        Redis({"address": address, **dict(zip(names, files))}, bool(files)).call("PING")
    except OSError as error:
        raise SystemExit(f"Redis at {address} doesn't answer: {error}") from error


if __name__ == "__main__":
    main(*sys.argv[1:])
