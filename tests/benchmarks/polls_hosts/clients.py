# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""clients.py polls ADDRESS PORT COUNT CA: so many polls at once by TLS, then how each was answered, as JSON.
clients.py latency URL COUNT CA: seconds of each of so many requests, one after the other on one connection.
clients.py upload URL MEGABYTES CA: seconds of one upload.

Runs on a test host.
"""

from __future__ import annotations

import asyncio
import collections
import http.client
import json
import ssl
import sys
import time
import urllib.parse

AT_ONCE = 50
"""Handshakes under way: as many more would only time each other out."""


async def poll(address: str, port: int, context: ssl.SSLContext, gate: asyncio.Semaphore) -> str:
    """One poll: the status it ended with, or the error."""
    try:
        async with gate:
            reader, writer = await asyncio.open_connection(address, port, ssl=context, ssl_handshake_timeout=120)
            writer.write(b"GET /poll HTTP/1.1\r\nHost: polls.test\r\nConnection: close\r\n\r\n")
            await writer.drain()
        line = await reader.readline()
        writer.close()
        return line.split()[1].decode() if line else "cut off"
    except (TimeoutError, OSError) as error:
        return type(error).__name__


async def polls(address: str, port: str, count: str, ca: str) -> dict[str, int]:
    """How many ended how."""
    context = trusting(ca)
    gate = asyncio.Semaphore(AT_ONCE)
    ends = await asyncio.gather(*(poll(address, int(port), context, gate) for _turn in range(int(count))))
    return dict(collections.Counter(ends))


def trusting(ca: str) -> ssl.SSLContext:
    """TLS that believes one CA."""
    return ssl.create_default_context(cafile=ca)


def connection(url: str, ca: str) -> http.client.HTTPConnection:
    """To the place of a URL."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https":
        return http.client.HTTPSConnection(parts.netloc, context=trusting(ca), timeout=600)
    return http.client.HTTPConnection(parts.netloc, timeout=600)


def request(to: http.client.HTTPConnection, body: bytes) -> float:
    """Seconds of one request that has to succeed."""
    began = time.perf_counter()
    to.request("POST", "/upload", body=body)
    answer = to.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
    return time.perf_counter() - began


def main(what: str, *arguments: str) -> object:
    """Dispatches."""
    if what == "polls":
        return asyncio.run(polls(*arguments))
    url, size, ca = arguments
    to = connection(url, ca)
    if what == "upload":
        return [request(to, b"x" * (int(size) << 20))]
    return [request(to, b"x") for _turn in range(int(size))]


print(json.dumps(main(*sys.argv[1:])))
