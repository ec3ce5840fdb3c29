# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""load.py keys COUNT FILE: makes so many keys, and prints their public halves.

load.py run ADDRESS CA FILE: all of them register and poll; when /tmp/release is there the first one sends an update.
Printed, as JSON, is how long after it each other one was told.

Runs on a test host, in the workers' environment.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import ssl
import sys
import time
import zlib
from pathlib import Path

import msgpack
from nacl.signing import SigningKey

AT_ONCE = 50
"""Handshakes under way: as many more would only time each other out."""
RELEASE = Path("/tmp/release")
TOLD = b"Global model has been updated"


class Client:
    """One worker on one connection."""

    def __init__(self, address: str, context: ssl.SSLContext, key: str) -> None:
        self.address, self.context = address, context
        self.key = SigningKey(bytes.fromhex(key))
        self.public = self.key.verify_key.encode().hex()

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(
            self.address, 443, ssl=self.context, ssl_handshake_timeout=120
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

    async def send(self, content: bytes) -> bytes:
        """An update as the library sends it: a form of two files."""
        signed = self.key.sign(hashlib.sha256(content).digest()).hex().encode()
        body = b""
        for name, part in (("worker_model_update", zlib.compress(content)), ("signed_phrase", signed)):
            body += b'--end\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n' % (
                (name.encode(),) * 2
            )
            body += part + b"\r\n"
        path = f"/receive_worker_update/{self.public}"
        return await self.ask("POST", path, body + b"--end--\r\n", "multipart/form-data; boundary=end")


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
    version, told, errors = await first.version(), {}, []

    async def wait(client: Client) -> None:
        try:
            answer = await client.poll(version)
            if answer != TOLD:
                raise OSError(answer.decode(errors="replace")[:100])
            told[client.public] = time.monotonic()
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            errors.append(f"{type(error).__name__}: {error}")

    polls = [asyncio.ensure_future(wait(client)) for client in others]
    while not RELEASE.exists():
        await asyncio.sleep(0.2)
    before = len(told) + len(errors)
    said = await first.send(json.dumps([1.0, 2.0, 3.0]).encode())
    sent = time.monotonic()
    await asyncio.wait(polls, timeout=120)
    seconds = sorted(moment - sent for moment in told.values())
    return {
        "registered_in": registered,
        "accepted": said.decode(),
        "ended_before": before,
        "seconds": seconds,
        "errors": errors[:5],
        "dropped": len(others) - len(told),
    }


def main(what: str, *arguments: str) -> None:
    if what == "keys":
        count, file = arguments
        keys = [secrets.token_hex(32) for _turn in range(int(count))]
        Path(file).write_text("\n".join(keys))
        print("\n".join(SigningKey(bytes.fromhex(key)).verify_key.encode().hex() for key in keys))
    else:
        RELEASE.unlink(missing_ok=True)
        print(json.dumps(asyncio.run(run(*arguments))))


if __name__ == "__main__":
    main(*sys.argv[1:])
