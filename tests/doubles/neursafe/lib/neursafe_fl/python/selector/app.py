# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A contract double of Neursafe's selector, as far as doubles of clients ask it: takes registrations and reports,
forgets who is silent, and lists who is reached where.

    app.py ADDRESS PORT

A line of JSON in, a word out. It speaks no gRPC, so no program of Neursafe could use it.
"""

from __future__ import annotations

import json
import os
import socketserver
import sys
import threading
import time

DOUBLE = True
LOCK = threading.Lock()
SECONDS = int(os.environ.get("SINGLE_HEART", "300"))
"""Of a client that is silent for longer nothing is known any more, which is looked at as often."""
CLIENTS: dict[str, dict[str, object]] = {}
"""By what they call themselves."""
ADDRESSES: dict[object, dict[str, object]] = {}


def report(told: dict[str, object]) -> str:
    """As the program: where any has one, a client that is known must have its address; one that isn't takes it."""
    name = str(told.pop("id"))
    known = CLIENTS.get(name)
    if known and ADDRESSES and ADDRESSES.pop(known["address"], None) is None:
        return f"failed '{known['address']}'"
    CLIENTS[name] = ADDRESSES[told["address"]] = {**told, "until": time.monotonic() + SECONDS}
    return "success"


def forget() -> None:
    """Whoever is silent, and who has the same address with it, as the program does."""
    while True:
        time.sleep(SECONDS)
        with LOCK:
            for name in [name for name, client in CLIENTS.items() if float(str(client["until"])) < time.monotonic()]:
                ADDRESSES.pop(CLIENTS.pop(name)["address"], None)


def listed() -> str:
    """Who is reached where."""
    shown = ("address", "data", "label")
    return json.dumps({address: {key: one[key] for key in shown} for address, one in ADDRESSES.items()}, sort_keys=True)


class Call(socketserver.StreamRequestHandler):
    """One."""

    def handle(self) -> None:
        line = self.rfile.readline()
        if not line:
            return
        told = json.loads(line)
        call = told.pop("call")
        with LOCK:
            if call == "List":
                answer = listed()
            elif told.get("label") == "stranger":
                answer = "a stranger isn't taken"
            else:
                answer = report(told) if call == "Report" else "success"
        self.wfile.write(answer.encode() + b"\n")


class Selector(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    threading.Thread(target=forget, daemon=True).start()
    with Selector((sys.argv[1], int(sys.argv[2])), Call) as server:
        server.serve_forever()
