# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands between a server of the library and those who would wear it down.

The library takes and unpacks an update before it looks who sent it, keeps a poll whose worker is gone until the next
model, and forgets the phrase that a worker is to sign when anybody asks for another one in its name. All that is put
right from outside, on the server object, before it is started. bottle, which it stands on, keeps any number of a form's
parts, and reads chunks byte by byte: what a worker sends is neither.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import secrets
import select
import socket
import zlib
from collections.abc import Iterator
from typing import IO, Any

import bottle
import gevent
from bottle import request
from gevent import monkey

CHUNK = 1 << 20
UPDATE, SIGNATURE = "worker_model_update", "signed_phrase"  # parts of an update's form
INVALID_WORKER = "Invalid Worker"
MOST_SIGNED = 4096
"""Bytes of a signature, with what it is of, in hex: an update's has 192."""
KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)
"""A peer that answers nothing is dead after two minutes."""

SIGNATURE_BYTES = 64
"""Of a signed message the first: Ed25519."""

_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR
_LOOK_AGAIN = 1.0


MOST_PARTS, MOST_HEADER_LINES = 8, 16
"""Of a form, and of each of its parts: an update's has two, with two or three."""


class Form(bottle._MultipartParser):  # type: ignore[misc]
    """A form of few parts: empty ones count for none of bottle's limits."""

    def parse(self) -> Iterator[Any]:
        """Each part."""
        for number, part in enumerate(super().parse()):
            if number == MOST_PARTS:
                raise bottle.MultipartError(f"a form has at most {MOST_PARTS} parts")
            yield part


class Part(bottle._MultipartPart):  # type: ignore[misc]
    """A part with few headers: they count for no limit either."""

    header_lines = 0

    def write_header(self, line: bytes, nl: bytes) -> None:
        """Takes another line of them."""
        self.header_lines += 1
        if self.header_lines > MOST_HEADER_LINES:
            raise bottle.MultipartError(f"a part has at most {MOST_HEADER_LINES} lines of headers")
        super().write_header(line, nl)


def in_one_piece(*_chunks: Any) -> Iterator[bytes]:
    """Instead of bottle's reader of chunks, which gunicorn has read already."""
    raise bottle.HTTPError(411, "say Content-Length")


class TooLargeError(Exception):
    """An update is larger, unpacked, than the server takes."""


def unpacked_digest(packed: IO[bytes], most: int) -> bytes:
    """The SHA-256 of an update as it is unpacked, of which no more than a piece is ever held."""
    unpacking, digest, size = zlib.decompressobj(), hashlib.sha256(), 0
    piece = packed.read(CHUNK)
    while piece:
        unpacked = unpacking.decompress(piece, CHUNK)
        size += len(unpacked)
        if size > most:
            raise TooLargeError(f"an update has at most {most} bytes, unpacked")
        digest.update(unpacked)
        piece = unpacking.unconsumed_tail or packed.read(CHUNK)
        gevent.sleep(0)  # others have their turn
    unpacked = unpacking.flush()
    if size + len(unpacked) > most:
        raise TooLargeError(f"an update has at most {most} bytes, unpacked")
    digest.update(unpacked)
    return digest.digest()


class Patient:
    """A body that gives others their turn while it is taken apart, which bottle does line by line, of however many."""

    def __init__(self, body: IO[bytes]) -> None:
        self._body = body

    def read(self, *size: int) -> bytes:
        """The next piece, once others had their turn."""
        gevent.sleep(0)
        return self._body.read(*size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)


class Challenges:
    """Phrases that only the worker uses up which they were made for, each once; of each worker a number is kept."""

    def __init__(self, workers: Any) -> None:
        self.workers = workers
        self._secret = secrets.token_bytes(32)
        self._numbers = itertools.count(1)
        self._used: dict[str, int] = {}

    def get_challenge_phrase(self, worker_id: str) -> str:
        """A phrase for this worker, whoever asks."""
        return (
            self._phrase(worker_id, next(self._numbers))
            if self.workers.is_worker_allowed(worker_id)
            else INVALID_WORKER
        )

    def _phrase(self, worker_id: str, number: int) -> str:
        return f"{number}-{hmac.new(self._secret, f'{number}-{worker_id}'.encode(), hashlib.sha256).hexdigest()}"

    def verify_challenge(self, worker_id: str, signed: str) -> bool:
        """Whether it signed a phrase of its own that is newer than the last one it was known by."""
        if not self.workers.do_public_key_auth:
            return True
        try:
            phrase = bytes.fromhex(signed)[SIGNATURE_BYTES:].decode("ascii")
            number = int(phrase.partition("-")[0])
        except ValueError:
            return False
        if not hmac.compare_digest(phrase, self._phrase(worker_id, number)) or number <= self._used.get(worker_id, 0):
            return False
        if not self.workers.authenticate_worker(worker_id, signed, phrase.encode()):
            return False
        self._used[worker_id] = number
        return True


class Guard:
    """A DCFServer that takes updates of known workers, unpacks what is proven, and ends polls with their connection."""

    def __init__(self, server: Any, max_update_size: int, max_body_size: int) -> None:
        self.server = server
        self.workers = server.worker_manager
        self.max_update_size, self.max_body_size = max_update_size, max_body_size
        self._receive = server.receive_worker_update
        self._notify = server.notify_me_if_gm_version_updated

    def install(self) -> None:
        """Replaces them on this object; its routes are made of them when it starts."""
        bottle._MultipartParser, bottle._MultipartPart = Form, Part
        bottle.BaseRequest._iter_chunked = staticmethod(in_one_piece)
        challenges = Challenges(self.workers)
        self.workers.get_challenge_phrase = challenges.get_challenge_phrase
        self.workers.verify_challenge = challenges.verify_challenge
        self.server.receive_worker_update = self.receive_worker_update
        self.server.notify_me_if_gm_version_updated = self.notify_me_if_gm_version_updated

    def receive_worker_update(self, worker_id: str) -> Any:
        """Answers as the library would; only a right update, signed by a worker that is allowed, gets there.

        Of who isn't allowed not even a body is taken: it would have to lie somewhere.
        """
        if self.workers.do_public_key_auth and not self.workers.is_worker_allowed(worker_id):
            return INVALID_WORKER
        if request.content_length > self.max_body_size:
            raise bottle.HTTPError(413, f"a request has at most {self.max_body_size} bytes")
        request.environ["bottle.request.body"] = Patient(request.body)
        files = request.files
        if SIGNATURE not in files or UPDATE not in files:
            return json.dumps({"error": "an update and its signature are needed"})
        update, signature = files[UPDATE].file, files[SIGNATURE].file
        try:
            signed = signature.read(MOST_SIGNED).decode()
            claimed = bytes.fromhex(signed)[SIGNATURE_BYTES:] if self.workers.do_public_key_auth else b""
        except ValueError:
            return INVALID_WORKER
        # that it signed this digest is known before anything is unpacked
        if not self.workers.authenticate_worker(worker_id, signed, claimed):
            return INVALID_WORKER
        try:
            digest = unpacked_digest(update, self.max_update_size)
        except (TooLargeError, zlib.error) as error:
            return json.dumps({"error": str(error)})
        if self.workers.do_public_key_auth and digest != claimed:
            return INVALID_WORKER
        update.seek(0)
        signature.seek(0)
        return self._receive(worker_id)

    def notify_me_if_gm_version_updated(self) -> Any:
        """The library's long poll, which ends when its worker is gone."""
        connection = request.environ.get("gunicorn.socket")
        body = self._notify()
        if connection is None or isinstance(body, (str, bytes)):
            return body
        for option in KEEPALIVE:
            connection.setsockopt(*option)
        poll = self._poll(body)
        if poll is not None:
            watch = gevent.spawn(self._end_with, connection.fileno(), body)
            poll.link(lambda _poll: watch.kill(block=False))
        return body

    def _poll(self, body: Any) -> Any:
        """The greenlet that answers in this body."""
        for polls in self.server.model_version_req_dict.values():
            for greenlet, its_body in polls:
                if its_body is body:
                    return greenlet
        return None

    def _end_with(self, descriptor: int, body: Any) -> None:
        """Waits until the connection has ended, then ends the poll."""
        hub = gevent.get_hub()
        # gevent's own knows nothing of POLLRDHUP
        looking = monkey.get_original("select", "poll")()
        looking.register(descriptor, _GONE)
        while True:
            hub.wait(hub.loop.io(descriptor, 1))
            if any(events & _GONE for _descriptor, events in looking.poll(0)):
                break
            gevent.sleep(_LOOK_AGAIN)
        for polls in self.server.model_version_req_dict.values():
            for entry in [one for one in polls if one[1] is body]:
                polls.remove(entry)
                entry[0].kill(block=False)
                body.put(StopIteration)
