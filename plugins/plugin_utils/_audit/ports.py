# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tries every TCP port of a host, and asks whoever answers for the paths that only the leader may reach."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
from collections.abc import Iterable, Sequence

PORTS = range(1, 65536)
AT_ONCE = 400
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
MOST = 65536
TASK, JOB = "A" * 43, "A" * 22
INNER = {
    f"PUT /tasks/{TASK}/aggregation_jobs/{JOB}": "application/dap-aggregation-job-init-req",
    f"POST /tasks/{TASK}/aggregate_shares": "application/dap-aggregate-share-req",
}
"""Requests as the leader makes them, by their types: to any other an aggregator says nothing that it is known by."""
_ANSWER = b"urn:ietf:params:ppm:dap"
"""What only an aggregator says."""


_CLOSED = (errno.ECONNREFUSED, errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)


async def _is_open(address: str, port: int) -> bool:
    """OSError where that can't be told, as without a free descriptor: a port that wasn't tried isn't closed."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _reader, writer = await asyncio.open_connection(address, port)
    except TimeoutError:
        return False
    except OSError as error:
        if error.errno in _CLOSED:
            return False
        raise
    writer.close()
    return True


async def _open_ports(address: str, ports: Iterable[int]) -> list[int]:
    found: list[int] = []
    waiting = iter(ports)

    async def look() -> None:
        for port in waiting:
            if await _is_open(address, port):
                found.append(port)

    await asyncio.gather(*(look() for _each in range(AT_ONCE)))
    return sorted(found)


async def _answer(address: str, port: int, request: str, name: str, tls: bool) -> bytes:
    """What is answered; empty where nothing is."""
    context = None
    if tls:  # whom it is doesn't matter here, only what it lets through
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    head = {"Host": name, "Content-Type": INNER[request], "Content-Length": "0", "Connection": "close"}
    text = f"{request} HTTP/1.1\r\n" + "".join(f"{key}: {value}\r\n" for key, value in head.items()) + "\r\n"
    with contextlib.suppress(OSError, TimeoutError, ssl.SSLError):
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(
                address, port, ssl=context, server_hostname=name if tls else None
            )
            try:
                writer.write(text.encode())
                await writer.drain()
                return await reader.read(MOST)
            finally:
                writer.close()
    return b""


async def _let_through(address: str, ports: Iterable[int], names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for port in ports:
        for request in INNER:
            tries = [(name, tls) for name in names for tls in (False, True)]
            answers = [await _answer(address, port, request, name, tls) for name, tls in tries]
            if any(_ANSWER in answer for answer in answers):
                found.append(f"{address} port {port} answers {request.split()[1]} to who shows no certificate")
    return found


def scan(
    address: str, known: Sequence[int], names: Sequence[str], ports: Iterable[int] = PORTS
) -> tuple[list[int], list[str]]:
    """The open ports, and what is wrong with them: one that nothing names, or that lets through.

    ``names`` are those that sites there answer to.
    """

    async def look() -> tuple[list[int], list[str]]:
        there = await _open_ports(address, ports)
        strange = [
            f"{address} port {port} is open, and the document has nothing there" for port in there if port not in known
        ]
        return there, strange + await _let_through(address, there, [address, *names])

    return asyncio.run(look())
