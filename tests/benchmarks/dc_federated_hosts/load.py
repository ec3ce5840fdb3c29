# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""load.py keys COUNT FILE: makes so many keys, and prints their public halves.

load.py run ADDRESS CA FILE: all of them register and poll; when /tmp/release is there the first one sends an update.
Printed, as JSON, is how long after it each other one was told.

load.py hold ADDRESS CA FILE: all of them poll on whatever happens, as our workers do. /tmp/load.phase names what
happens meanwhile (`kill NUMBER` ends so many connections), /tmp/load.status says how many poll. When /tmp/release is
there the first one sends; printed is, phase by phase, how many polls broke, in what time all polled again, and how long
a small request took.

load.py compare CA FILE NAME=ADDRESS:PORT ...: small requests and updates of the first, to each of them in turn.

load.py loris ADDRESS NUMBER SECONDS: connections that never come to the end of their request.

Runs on a test host, in the workers' environment.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import secrets
import ssl
import statistics
import sys
import time
import zlib
from collections import defaultdict
from pathlib import Path

import msgpack
from nacl.signing import SigningKey

AT_ONCE = 50
"""Handshakes under way: as many more would only time each other out."""
RELEASE, PHASE, STATUS = Path("/tmp/release"), Path("/tmp/load.phase"), Path("/tmp/load.status")
MEGABYTE = 1_000_000
SIZES = {1: 101, 20: 11, 200: 5}
"""Updates by their size in MB, and how many are sent each way."""
SMALL = 300
TOLD = b"Global model has been updated"


class Client:
    """One worker on one connection."""

    def __init__(self, address: str, context: ssl.SSLContext, key: str, port: int = 443) -> None:
        self.address, self.context, self.port = address, context, port
        self.key = SigningKey(bytes.fromhex(key))
        self.public = self.key.verify_key.encode().hex()

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(
            self.address, self.port, ssl=self.context, ssl_handshake_timeout=120
        )

    async def ask(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> bytes:
        """The body that is answered; an error where the connection ends instead, or the status isn't 200."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.address}\r\nContent-Type: {kind}\r\n"
        self.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await self.writer.drain()
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower().splitlines()
        if lines[0].split()[1] != "200":
            raise OSError(lines[0])
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        if "content-length" in headers:
            return await self.reader.readexactly(int(headers["content-length"]))
        found = b""
        while size := int(await self.reader.readline(), 16):
            found += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readline()
        return found

    async def register(self) -> None:
        signed = self.key.sign(b"Please authenticate me").hex()
        body = json.dumps({"public_key_str": self.public, "signed_phrase": signed}).encode()
        if await self.ask("POST", "/register_worker", body) != self.public.encode():
            raise OSError("not registered")

    async def proof(self) -> dict[str, object]:
        phrase = await self.ask("GET", f"/challenge_phrase/{self.public}")
        return {"worker_id": self.public, "signed_phrase": self.key.sign(phrase).hex()}

    async def version(self) -> object:
        answer = await self.ask("POST", "/return_global_model", json.dumps(await self.proof()).encode())
        return msgpack.unpackb(zlib.decompress(answer))["global_model_version"]

    async def poll(self, version: object) -> bytes:
        asked = {**await self.proof(), "last_worker_model_version": version}
        return await self.ask("POST", "/notify_me_if_gm_version_updated", json.dumps(asked).encode())

    def form(self, content: bytes, level: int = -1) -> bytes:
        """An update as the library sends it: a form of two files."""
        signed = self.key.sign(hashlib.sha256(content).digest()).hex().encode()
        body = b""
        for name, part in (("worker_model_update", zlib.compress(content, level)), ("signed_phrase", signed)):
            body += b'--end\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n' % (
                (name.encode(),) * 2
            )
            body += part + b"\r\n"
        return body + b"--end--\r\n"

    async def send(self, form: bytes) -> bytes:
        path = f"/receive_worker_update/{self.public}"
        return await self.ask("POST", path, form, "multipart/form-data; boundary=end")


async def run(address: str, ca: str, file: str) -> dict[str, object]:
    """Everybody polls; then one sends."""
    context = ssl.create_default_context(cafile=ca)
    first, *others = (Client(address, context, key) for key in Path(file).read_text().split())
    gate = asyncio.Semaphore(AT_ONCE)

    async def join(client: Client) -> None:
        async with gate:
            await client.connect()
            await client.register()

    began = time.monotonic()
    await asyncio.gather(*map(join, (first, *others)))
    registered = time.monotonic() - began
    told: dict[str, float] = {}
    errors: list[str] = []
    early = 0

    async def wait(client: Client) -> None:
        """A model that came before is another worker's, of those that were there."""
        nonlocal early
        try:
            while client.public not in told:
                answer = await client.poll(await client.version())
                if answer != TOLD:
                    raise OSError(answer.decode(errors="replace")[:100])
                if RELEASE.exists():
                    told[client.public] = time.monotonic()
                else:
                    early += 1
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            errors.append(f"{type(error).__name__}: {error}")

    polls = [asyncio.ensure_future(wait(client)) for client in others]
    while not RELEASE.exists():
        await asyncio.sleep(0.2)
    before = len(errors)
    said = await first.send(first.form(json.dumps([1.0, 2.0, 3.0]).encode()))
    sent = time.monotonic()
    await asyncio.wait(polls, timeout=120)
    seconds = sorted(moment - sent for moment in told.values())
    return {
        "registered_in": registered,
        "accepted": said.decode(),
        "ended_before": before,
        "told_of_others_models": early,
        "seconds": seconds,
        "errors": errors[:5],
        "dropped": len(others) - len(told),
    }


class Crowd:
    """Workers that poll on whatever happens, and what happened to them, phase by phase."""

    def __init__(self, clients: list[Client]) -> None:
        self.clients = clients
        self.gate = asyncio.Semaphore(AT_ONCE)
        self.polling: set[Client] = set()
        self.killed: set[Client] = set()
        self.told: dict[Client, float] = {}
        self.phase = "begin"
        self.broken: dict[str, int] = defaultdict(int)
        self.recovered: dict[str, float] = {}
        self.probes: dict[str, list[float]] = defaultdict(list)
        self.parted = time.monotonic()
        self.sent = 0.0

    async def stay(self, client: Client) -> None:
        """One worker: it comes back with what was broken, after a pause of its own."""
        while client not in self.told:
            try:
                async with self.gate:
                    await client.connect()
                    await client.register()
                version = await client.version()
                self.joins(client)
                if await client.poll(version) == TOLD and self.sent:
                    self.told[client] = time.monotonic()
            except (OSError, asyncio.IncompleteReadError, ValueError):
                self.leaves(client)
                await asyncio.sleep(random.uniform(0.2, 2))
            finally:
                self.polling.discard(client)

    def joins(self, client: Client) -> None:
        self.polling.add(client)
        if len(self.polling) == len(self.clients):
            self.recovered[self.phase] = time.monotonic() - self.parted

    def leaves(self, client: Client) -> None:
        if len(self.polling) == len(self.clients):
            self.parted = time.monotonic()
        if client in self.killed:
            self.killed.discard(client)
        elif client in self.polling:
            self.broken[self.phase] += 1

    def kill(self, count: int) -> None:
        """So many are gone without a word, and come back as new processes would."""
        for client in self.clients[:count]:
            self.killed.add(client)
            client.writer.transport.abort()

    async def watch(self) -> None:
        """Takes up the phases, and tells how many poll."""
        while not RELEASE.exists():
            named = PHASE.read_text().strip() if PHASE.exists() else ""
            if named and named != self.phase:
                self.phase = named
                if named.startswith("kill "):
                    self.kill(int(named.split()[1]))
            STATUS.with_suffix(".new").write_text(json.dumps({"phase": self.phase, "polling": len(self.polling)}))
            STATUS.with_suffix(".new").rename(STATUS)
            await asyncio.sleep(0.2)

    async def probe(self, client: Client) -> None:
        """How long a small request takes meanwhile, on a connection that is kept."""
        connected = False
        while not RELEASE.exists():
            began = time.monotonic()
            try:
                if not connected:
                    await client.connect()
                    connected, began = True, time.monotonic()
                await client.proof()
                self.probes[self.phase].append(1000 * (time.monotonic() - began))
            except (OSError, asyncio.IncompleteReadError, ValueError):
                connected = False
            await asyncio.sleep(0.1)

    def report(self) -> dict[str, object]:
        phases = dict.fromkeys((*self.probes, *self.broken, *self.recovered))
        return {
            phase: {
                "broken": self.broken[phase],
                "whole_again_in": self.recovered.get(phase, 0.0),
                "request_ms": spread(self.probes[phase]),
            }
            for phase in phases
        }


def spread(values: list[float]) -> dict[str, float]:
    """The middle and the end of what was measured."""
    ordered = sorted(values) or [0.0]
    return {"p50": statistics.median(ordered), "p99": ordered[max(0, int(len(ordered) * 0.99) - 1)]}


async def hold(address: str, ca: str, file: str) -> dict[str, object]:
    """Everybody polls on; then one sends."""
    context = ssl.create_default_context(cafile=ca)
    first, prober, *others = (Client(address, context, key) for key in Path(file).read_text().split())
    crowd = Crowd(others)
    staying = [asyncio.ensure_future(crowd.stay(client)) for client in others]
    probing = asyncio.ensure_future(crowd.probe(prober))
    await crowd.watch()
    await probing
    await first.connect()
    await first.register()
    crowd.sent = time.monotonic()
    await first.send(first.form(json.dumps([1.0, 2.0, 3.0]).encode()))
    await asyncio.wait(staying, timeout=120)
    seconds = sorted(moment - crowd.sent for moment in crowd.told.values())
    return {"phases": crowd.report(), "told": len(seconds), "of": len(others), "seconds": spread(seconds)}


async def compare(ca: str, file: str, *places: str) -> dict[str, object]:
    """Milliseconds of small requests and of updates, to each place in turn."""
    context = ssl.create_default_context(cafile=ca)
    key = Path(file).read_text().split()[0]
    ways: dict[str, Client] = {}
    for place in places:
        name, _equals, where = place.partition("=")
        address, _colon, port = where.partition(":")
        ways[name] = Client(address, context, key, int(port))
    for client in ways.values():
        await client.connect()
        await client.register()

    async def timed(client: Client, form: bytes) -> float:
        began = time.monotonic()
        if not form:
            await client.proof()
        elif await client.send(form) != b"received":
            raise OSError("the update was refused")
        return 1000 * (time.monotonic() - began)

    found: dict[str, object] = {}
    for size, turns in {0: SMALL, **SIZES}.items():
        content = b"[1.0, 2.0, 3.0]".ljust(size * MEGABYTE)
        form = next(iter(ways.values())).form(content, level=0) if size else b""  # the others' are the same
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _turn in range(turns):
            for name, client in ways.items():
                # two ways end at one server, whose caches would be warm for the second of them alone
                await timed(client, form)
                spent[name].append(await timed(client, form))
        found[str(size)] = {name: spread(values) for name, values in spent.items()}
    return found


async def loris(address: str, count: str, seconds: str) -> dict[str, object]:
    """So many connections, of which each sends a byte now and then; how many were ended by the other side."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    ended = 0

    async def dawdle() -> None:
        nonlocal ended
        reader, writer = await asyncio.open_connection(address, 443, ssl=context, ssl_handshake_timeout=120)
        writer.write(b"POST /register_worker HTTP/1.1\r\nHost: x\r\nX: ")
        until = time.monotonic() + float(seconds)
        while time.monotonic() < until:
            writer.write(b"a")
            try:
                await asyncio.wait_for(reader.read(1), 2)
                ended += 1
                return
            except TimeoutError:
                continue
        writer.close()

    done = await asyncio.gather(*(dawdle() for _one in range(int(count))), return_exceptions=True)
    return {"opened": sum(one is None for one in done), "ended": ended}


VERBS = {"run": run, "hold": hold, "compare": compare, "loris": loris}


def main(what: str, *arguments: str) -> None:
    if what == "keys":
        count, file = arguments
        keys = [secrets.token_hex(32) for _turn in range(int(count))]
        Path(file).write_text("\n".join(keys))
        print("\n".join(SigningKey(bytes.fromhex(key)).verify_key.encode().hex() for key in keys))
    else:
        for path in (RELEASE, PHASE, STATUS) if what in ("run", "hold") else ():
            path.unlink(missing_ok=True)
        print(json.dumps(asyncio.run(VERBS[what](*arguments))))


if __name__ == "__main__":
    main(*sys.argv[1:])
