# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which ports are open, and which let through to what only the leader may reach."""

from __future__ import annotations

import re
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._audit import ports

REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
LET_IN = b'HTTP/1.1 400 Bad Request\r\n\r\n{"type": "urn:ietf:params:ppm:dap:error:unrecognizedTask"}'
BAD = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
PATHS = (f"/tasks/{'A' * 43}/aggregation_jobs/{'A' * 22}", f"/tasks/{'A' * 43}/aggregate_shares")
RIGHT = re.compile(
    rb"(PUT /tasks/[\w-]{43}/aggregation_jobs/[\w-]{22} .*Content-Type: application/dap-aggregation-job-init-req\r"
    rb"|POST /tasks/[\w-]{43}/aggregate_shares .*Content-Type: application/dap-aggregate-share-req\r)",
    re.DOTALL,
)


def refuse(_request: bytes) -> bytes:
    return REFUSED


def aggregator(request: bytes) -> bytes:
    """It says by what it is known only to a request that could be right."""
    return LET_IN if RIGHT.match(request) else BAD


@contextmanager
def answering(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """A server on loopback that answers requests."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _peer = server.accept()
            except OSError:
                return
            with closing(connection):
                connection.settimeout(2)
                try:
                    request = connection.recv(65536)
                    if request:
                        connection.sendall(answer(request))
                except OSError:
                    continue

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_who_refuses_and_is_known_is_right() -> None:
    with answering(refuse) as port:
        assert ports.scan("127.0.0.1", [port], ["front"], [port]) == ([port], [])


def test_who_is_not_in_the_document_is_told() -> None:
    with answering(refuse) as port:
        assert ports.scan("127.0.0.1", [], ["front"], [port])[1] == [
            f"127.0.0.1 port {port} is open, and the document has nothing there"
        ]


def test_who_lets_through_is_told_though_it_is_known() -> None:
    with answering(aggregator) as port:
        assert ports.scan("127.0.0.1", [port], ["front"], [port])[1] == [
            f"127.0.0.1 port {port} answers {path} to who shows no certificate" for path in PATHS
        ]


def test_a_closed_port_is_closed() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    assert ports.scan("127.0.0.1", [], [], [port]) == ([], [])


def test_a_port_that_couldn_t_be_tried_is_not_taken_for_closed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with answering(refuse) as port:
        used = len(list(Path("/proc/self/fd").iterdir()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 12, hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                ports.scan("127.0.0.1", [], [], [port] * 400)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
