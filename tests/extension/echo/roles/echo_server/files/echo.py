# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server that sends back what it is sent, and answers GET with a greeting.

    echo.py CONFIGURATION            serve
    echo.py --check CONFIGURATION    only say whether the configuration can be served

With `sum` in its configuration it also sends those numbers through itself, adds up what comes back, and writes that.
"""

from __future__ import annotations

import http.server
import json
import os
import socket
import sys
import threading
import urllib.request

RESULT = "result.json"  # in the state directory, which the unit starts it in


def read(path: str) -> dict:
    """The configuration; KeyError, TypeError or ValueError when it can't be served."""
    with open(path, encoding="utf-8") as stream:  # noqa: PTH123 - as short as it gets
        configuration = json.load(stream)
    socket.getaddrinfo(configuration["address"], configuration["port"], flags=socket.AI_NUMERICHOST)
    configuration["greeting"].encode()
    if configuration["max_bytes"] < 1:
        raise ValueError("max_bytes: nothing could ever be sent back")
    return configuration


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    configuration: dict

    def do_GET(self) -> None:  # http.server's name
        """Greet."""
        self.answer(200, self.configuration["greeting"].encode() + b"\n")

    def do_POST(self) -> None:
        """Send the body back."""
        length = int(self.headers.get("Content-Length", 0))
        if length > self.configuration["max_bytes"]:
            self.answer(413, b"longer than max_bytes\n")
        else:
            self.answer(200, self.rfile.read(length))

    def answer(self, status: int, body: bytes) -> None:
        """Status and body."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def total(url: str, numbers: list) -> int:
    """The sum of the numbers as they come back."""
    found = 0
    for number in numbers:
        with urllib.request.urlopen(url, data=str(number).encode(), timeout=10) as answer:
            found += int(answer.read())
    return found


def write_total(url: str, numbers: list) -> None:
    """Write the result, whole or not at all; without one the round tells a time-out."""
    result = {"values": [float(total(url, numbers))], "own": numbers}
    with open(RESULT + ".new", "w", encoding="utf-8") as stream:  # noqa: PTH123
        json.dump(result, stream)
    os.replace(RESULT + ".new", RESULT)  # noqa: PTH105


def main() -> int:
    """The command line."""
    configuration = read(sys.argv[-1])
    if "--check" in sys.argv:
        return 0
    Handler.configuration = configuration
    address, port = configuration["address"], configuration["port"]
    if ":" in address:
        http.server.ThreadingHTTPServer.address_family = socket.AF_INET6
    server = http.server.ThreadingHTTPServer((address, port), Handler)
    numbers = configuration.get("sum")
    if numbers:
        if os.path.exists(RESULT):  # noqa: PTH110
            os.remove(RESULT)  # noqa: PTH107 - a former round's
        host = f"[{address}]" if ":" in address else address
        threading.Thread(target=write_total, args=(f"http://{host}:{port}/", numbers), daemon=True).start()
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
