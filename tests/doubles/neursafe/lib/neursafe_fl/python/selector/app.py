# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A contract double of Neursafe's selector, as far as doubles of clients ask it: takes registrations, and lists them.

    app.py ADDRESS PORT

A line of JSON in, a word out. It speaks no gRPC, so no program of Neursafe could use it.
"""

from __future__ import annotations

import json
import socketserver
import sys

DOUBLE = True
KNOWN: dict[str, object] = {}


class Call(socketserver.StreamRequestHandler):
    """One."""

    def handle(self) -> None:
        line = self.rfile.readline()
        if not line:
            return
        told = json.loads(line)
        call, address = told.pop("call"), told.get("address")
        if call == "List":
            answer = json.dumps(KNOWN, sort_keys=True)
        elif call == "Report" and address not in KNOWN:
            answer = "failed"
        elif told.get("label") == "stranger":
            answer = "a stranger isn't taken"
        else:
            KNOWN[address] = told
            answer = "success"
        self.wfile.write(answer.encode() + b"\n")


class Selector(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    with Selector((sys.argv[1], int(sys.argv[2])), Call) as server:
        server.serve_forever()
