# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Participants of xain's generation ``poc`` that do nothing but carry weights.

``load.py WAY BYTES COUNT SECONDS ADDRESS``: WAY is ``nginx``, with TLS and a certificate at that address, or
``direct``, in the clear on loopback. They ask as xain-sdk 0.8 does, every so many seconds, each over a connection of
its own to each place. What is printed: the time from the first question to the last participant's end, and how many
requests there were, and failed.
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
import threading
import time
import urllib.parse

PKI = "/etc/fedlearn/counts/pki/counts-first-participant"
LOOPBACK = {"coordinator": ("127.0.0.1", 50050), "aggregator": ("127.0.0.1", 50052)}
PATIENCE_SECONDS = 600


def weights(size: int) -> bytes:
    """A number of samples and an array of zeros as .npy, so many bytes."""
    count = max(1, (size - 132) // 8)
    told = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({count},), }}"
    header = told.ljust(117) + "\n"
    return b"\0\0\0\1\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode() + bytes(8 * count)


class Participant(threading.Thread):
    """One of them."""

    def __init__(self, way: str, place: str, sent: bytes, pause: float) -> None:
        super().__init__(daemon=True)
        self.way, self.sent, self.pause = way, sent, pause
        self.places = {"coordinator": (place, 443), "aggregator": (place, 8082)}
        self.open: dict[str, http.client.HTTPConnection] = {}
        self.requests, self.failed, self.rounds, self.finished = 0, 0, 0, 0.0

    def connection(self, name: str) -> http.client.HTTPConnection:
        """To one of both programs, which stays."""
        if name not in self.open:
            if self.way == "direct":
                self.open[name] = http.client.HTTPConnection(*LOOPBACK[name], timeout=PATIENCE_SECONDS)
            else:
                context = ssl.create_default_context(cafile=f"{PKI}/ca.pem")
                context.load_cert_chain(f"{PKI}/chain.pem", f"{PKI}/key.pem")
                place = self.places[name]
                self.open[name] = http.client.HTTPSConnection(*place, timeout=PATIENCE_SECONDS, context=context)
        return self.open[name]

    def ask(self, name: str, path: str, body: bytes | None = None) -> bytes:
        """What is answered; what isn't is counted, and asked once more."""
        for _attempt in range(2):
            self.requests += 1
            connection = self.connection(name)
            try:
                connection.request("GET" if body is None else "POST", path, body)
                answer = connection.getresponse()
                said = answer.read()
                if answer.status == http.client.OK:
                    return said
                reason = str(answer.status)
            except (OSError, http.client.HTTPException) as error:
                reason = f"{type(error).__name__}: {error}"
            connection.close()
            del self.open[name]
            self.failed += 1
            print(f"{name} {path.split('/')[1]}: {reason}", file=sys.stderr, flush=True)
        raise ConnectionError(f"{name}: {reason}")

    def told(self, path: str) -> dict[str, object]:
        """What the coordinator says."""
        said: dict[str, object] = json.loads(self.ask("coordinator", path))
        return said

    def run(self) -> None:
        """Takes part until the end."""
        identity, trained = self.told("/rendez_vous")["id"], None
        while True:
            last = self.told(f"/heartbeat/{identity}")
            if last["state"] == "finish":
                self.finished = time.monotonic()
                return
            if last["state"] == "round" and last["round"] != trained:
                self.train(str(identity))
                trained = last["round"]
            else:
                time.sleep(self.pause)

    def train(self, identity: str) -> None:
        """Takes a round's model, and sends one as large."""
        started = self.told(f"/start_training/{identity}")
        if not started["ok"]:
            return
        path = f"{urllib.parse.urlsplit(str(started['url'])).path.rstrip('/')}/{identity}/{started['token']}"
        self.ask("aggregator", path)
        self.ask("aggregator", path, self.sent)
        self.rounds += 1


def main() -> None:
    """Runs them."""
    way, size, count, pause, place = sys.argv[1:]
    sent = weights(int(size))
    threading.stack_size(256 * 1024)
    everybody = [Participant(way, place, sent, float(pause)) for _one in range(int(count))]
    began = time.monotonic()
    for one in everybody:
        one.start()
    for one in everybody:
        one.join(max(0, began + PATIENCE_SECONDS - time.monotonic()))
    told = {
        "seconds": max(one.finished for one in everybody) - began,
        "requests": sum(one.requests for one in everybody),
        "failed": sum(one.failed for one in everybody),
        "unfinished": sum(not one.finished for one in everybody),
        "rounds": sorted({one.rounds for one in everybody}),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
