# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the contract doubles of Neursafe's HTTP services have alike. None of it is the program's."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HEALTH = "/api/v1/health"
ENGINES = ("postgreSQL", "mongo")

Answer = tuple[int, object]
Ways = list[tuple[str, str, Callable[..., Answer]]]
"""Method, what the path is like, and who answers: with the path's groups and the body."""


def wants(*names: str) -> None:
    """SystemExit unless the environment has all of these, in the words that the job scheduler has for it."""
    for name in names:
        if not os.environ.get(name):
            sys.exit(f"Env: {name} not configure")


def reach_database() -> None:
    """As the programs do before they serve: by an engine that they know, at an address that is there."""
    if os.environ["DB_TYPE"] not in ENGINES:
        sys.exit(f"DB_TYPE {os.environ['DB_TYPE']!r} is none of {ENGINES}")
    host, port = os.environ["DB_ADDRESS"].split(":")
    # as libpq, which takes the name for the certificate's alone then
    place = os.environ.get("PGHOSTADDR", host)
    socket.create_connection((place, int(port)), timeout=10).close()


def failed(reason: str, status: int = 403) -> Answer:
    return status, {"state": "FAILED", "reason": reason}


SUCCEEDED = {"state": "SUCCEEDED"}


def serve(port: int, ways: Ways) -> None:
    """For ever."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"null")
            path = self.path.partition("?")[0]
            status, value = failed("not found", 404)
            for method, pattern, call in ways:
                found = re.fullmatch(pattern, path)
                if method == self.command and found:
                    status, value = call(*found.groups(), body)
                    break
            text = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def do_PUT(self) -> None:
            self._answer()

        def do_DELETE(self) -> None:
            self._answer()

    ThreadingHTTPServer(("0.0.0.0", port), Handler).serve_forever()
