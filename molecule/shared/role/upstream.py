# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""upstream.py ADDRESS PORT [CERTIFICATE KEY]: an HTTP server that says what reached it. Runs on test hosts."""

from __future__ import annotations

import http.server
import json
import ssl
import sys
import time


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers any path; /slow after a second, /sleep/N after N."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Reads the body and tells its length, the port and the headers."""
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        if self.path.startswith("/slow"):
            time.sleep(1)
        if self.path.startswith("/sleep/"):
            time.sleep(float(self.path.rpartition("/")[2]))
        answer = {"port": self.server.server_port, "length": length, "headers": dict(self.headers.items())}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815 - http.server's name

    def log_message(self, *_args: object) -> None:
        """Stays quiet."""


def main() -> None:
    """Serves until it is ended."""
    server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
    if len(sys.argv) > 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3], sys.argv[4])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


main()
