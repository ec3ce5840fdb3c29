# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""server.py PORT: answers /poll once /release was asked for, /waiting with how many wait, all else at once.

Runs on a test host, behind nginx.
"""

from __future__ import annotations

import asyncio
import sys


class Server:
    """Who waits, and until when."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.waiting = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request by request."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1]
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        await self.skip(reader, int(line.partition(b":")[2]))
                body = await self.answer(path)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    @staticmethod
    async def skip(reader: asyncio.StreamReader, size: int) -> None:
        """Reads a body and forgets it."""
        while size:
            size -= len(await reader.read(min(size, 1 << 20))) or size

    async def answer(self, path: bytes) -> bytes:
        """What a path gives."""
        if path == b"/poll":
            self.waiting += 1
            await self.released.wait()
            self.waiting -= 1
        elif path == b"/release":
            self.released.set()
        elif path == b"/hold":
            self.released.clear()
        elif path == b"/waiting":
            return str(self.waiting).encode()
        return b"done"


async def main() -> None:
    """Serves until it is ended."""
    server = await asyncio.start_server(Server().serve, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    await server.serve_forever()


asyncio.run(main())
