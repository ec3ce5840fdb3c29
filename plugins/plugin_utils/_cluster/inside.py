# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A command in a pod's container, as `kubectl exec` has it: the API's WebSocket, with the standard library.

Each message's first byte is its channel: what the command says, what it says of errors, and how it ended.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import quote, urlencode

from .api import ApiError
from .kubeconfig import Access

PROTOCOL = "v4.channel.k8s.io"
OUTPUT, ERRORS, END = 1, 2, 3
_CONTINUED, _CLOSED, _PING, _PONG = 0, 8, 9, 10
_MOST = 1_000_000
"""What a message may have: nothing that is asked for comes near it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    output: str
    errors: str


def run(access: Access, namespace: str, pod: str, container: str, command: Sequence[str], seconds: float) -> Ended:
    """Run a command, which gets nothing to read. Raises ApiError, also when it takes longer."""
    end = time.monotonic() + seconds
    try:
        with _connected(access, seconds) as there, there.makefile("rb") as stream:
            there.sendall(_opening(access, namespace, pod, container, command))
            _check_opened(access, stream)
            return _ended(_messages(there, stream, end))
    except TimeoutError:
        raise ApiError(f"what was begun in {namespace}/{pod} didn't end within {seconds:g} s") from None
    except OSError as error:
        raise ApiError(f"{access.host}:{access.port} doesn't answer: {error}") from None


def _connected(access: Access, seconds: float) -> socket.socket:
    plain = socket.create_connection((access.host, access.port), timeout=seconds)
    return access.tls.wrap_socket(plain, server_hostname=access.host) if access.tls else plain


def _opening(access: Access, namespace: str, pod: str, container: str, command: Sequence[str]) -> bytes:
    query = urlencode(
        [("container", container), ("stdout", "1"), ("stderr", "1"), *(("command", one) for one in command)]
    )
    path = f"{access.prefix}/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/exec?{query}"
    headers = {
        "Host": f"{access.host}:{access.port}",
        **access.headers,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Protocol": PROTOCOL,
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode()


def _check_opened(access: Access, stream: IO[bytes]) -> None:
    """Raise where the API answers otherwise than by opening a way to the pod."""
    words = stream.readline(_MOST).decode("latin-1").split(None, 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    length = 0
    while (line := stream.readline(_MOST).strip()) != b"":
        name, _colon, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = min(int(value), _MOST)
    if status != 101:
        raise ApiError(_said(stream.read(length)) or f"{access.host}:{access.port} answers {status}", status)


def _said(text: bytes) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.decode(errors="replace").strip()


def _exactly(stream: IO[bytes], number: int) -> bytes:
    found = stream.read(number)
    if len(found) < number:
        raise ApiError("the API cut the way to the pod off")
    return found


def _messages(there: socket.socket, stream: IO[bytes], end: float) -> Iterator[bytes]:
    """Each whole message, until the other side has said all."""
    parts = b""
    while True:
        there.settimeout(max(end - time.monotonic(), 0.001))
        first, second = _exactly(stream, 2)
        length = second & 0x7F
        if length >= 126:
            form = ">H" if length == 126 else ">Q"
            (length,) = struct.unpack(form, _exactly(stream, struct.calcsize(form)))
        if length > _MOST:
            raise ApiError("the API says more than a command of ours does")
        data, kind = _exactly(stream, length), first & 0x0F
        if kind == _CLOSED:
            return
        if kind == _PING:
            there.sendall(_frame(_PONG, data))
        elif kind != _PONG:
            parts = parts + data if kind == _CONTINUED else data
            if first & 0x80:
                yield parts


def _frame(kind: int, data: bytes) -> bytes:
    """A short message of ours, masked as a client's has to be."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
    return bytes((0x80 | kind, 0x80 | len(data))) + mask + masked


def _ended(messages: Iterator[bytes]) -> Ended:
    said = {OUTPUT: b"", ERRORS: b"", END: b""}
    for message in messages:
        if message[:1] and message[0] in said:
            said[message[0]] += message[1:]
        if said[END]:
            break
    output, errors = (said[channel].decode(errors="replace") for channel in (OUTPUT, ERRORS))
    return Ended(_code(said[END]), output, errors)


def _code(text: bytes) -> int:
    """What the command ended with. Raises ApiError where it never began."""
    try:
        told: dict[str, Any] = json.loads(text)
    except ValueError:
        raise ApiError("the API doesn't say how the command ended") from None
    if told.get("status") == "Success":
        return 0
    for cause in (told.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise ApiError(str(told.get("message", "the command could not be begun")))
