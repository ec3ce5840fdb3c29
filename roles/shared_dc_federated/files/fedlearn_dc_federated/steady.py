# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Workers that outlive their server.

The library's worker takes whatever an answer says for its identity or a model, and its ``run`` ends quietly at the
first connection that breaks, as if all were done. Here it registers anew, polls and sends again, until its key is
refused; what its application raises, ends it as failed.
"""

from __future__ import annotations

import logging
import random
import socket
import time
import zlib
from collections.abc import Iterator
from typing import Any

import msgpack
import requests
from requests.adapters import HTTPAdapter

ANONYMOUS = "_unauthenticated"
UNKNOWN = (b"Invalid Worker", b"Unregistered Worker")
"""What a server says, with status 200, to whom it has forgotten or doesn't let in."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0

RETRIES = 10
"""Of a connection that can't be made, as the library's."""

KEEPALIVE = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)
"""A poll of a day to a server that is gone ends after two minutes."""

_Library: Any = object

_log = logging.getLogger(__name__)


class RefusedError(SystemExit):
    """The server doesn't know this worker's key; no ``except Exception`` of the library's takes it for less."""


def pauses() -> Iterator[float]:
    """Seconds to wait before each next attempt: longer and longer, and never all workers at once."""
    longest = FIRST_PAUSE
    while True:
        yield random.uniform(longest / 2, longest)  # noqa: S311 - it keeps no secret
        longest = min(2 * longest, LONGEST_PAUSE)


def _broken(answer: requests.Response, **_more: object) -> None:
    """An answer that nginx gave for a server that isn't there, or a server that failed: as a broken connection."""
    if answer.status_code >= requests.codes.server_error:
        answer.raise_for_status()


class _Asking(HTTPAdapter):
    """Connections that ask after their peer."""

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        super().init_poolmanager(*arguments, **named, socket_options=KEEPALIVE)


class Steady(_Library):  # type: ignore[misc]  # the library has no types
    """Stands before the library's worker among the bases of a class."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.session.hooks["response"].append(_broken)
        for scheme in ("https://", "http://"):
            self.session.mount(scheme, _Asking(max_retries=RETRIES))

    def _is_registered(self) -> bool:
        """Whether it has an identity: the public key, or in unsafe mode a name that the server made up."""
        own, found = self.public_key_str, self.worker_id
        return found == own if own else isinstance(found, str) and found.endswith(ANONYMOUS)

    def _register_once(self) -> bool:
        try:
            if not self._is_registered():
                self.worker_id = None
                super().register_worker()
        except requests.RequestException as error:
            _log.warning("registration: %s", error)
        except ValueError as error:  # how the library says that it was refused
            raise RefusedError("the server refuses this worker's key: let it in, or take the worker away") from error
        return self._is_registered()

    def register_worker(self) -> Any:
        """Until it is."""
        waiting = pauses()
        while not self._register_once():
            time.sleep(next(waiting))
        return self.worker_id

    def _model(self) -> Any:
        """The model that the server has, whether it is newer or not."""
        phrase = self.session.get(f"{self.server_loc}/challenge_phrase/{self.worker_id}").content
        asked = {"worker_id": self.worker_id, "signed_phrase": self.get_signed_phrase(phrase)}
        answer = self.session.post(f"{self.server_loc}/return_global_model", json=asked).content
        return answer if answer in UNKNOWN else msgpack.unpackb(zlib.decompress(answer))

    def get_global_model(self) -> Any:
        """Until there is one."""
        waiting, ask = pauses(), super().get_global_model
        while True:
            self.register_worker()
            try:
                answer = ask()
            except (requests.RequestException, TypeError, zlib.error) as error:  # the library writes bytes as a text
                answer = error
            if isinstance(answer, dict):
                return answer
            _log.warning("no model: %.200r", answer)
            known = answer not in UNKNOWN
            if known or ask == self._model:
                time.sleep(next(waiting))
            if not known:
                # a server that was started anew may have this worker's version, and no update of it
                self.worker_id, ask = None, self._model

    def send_model_update(self, update: bytes) -> Any:
        """Until the server has answered, whatever it says."""
        waiting = pauses()
        while True:
            try:
                return super().send_model_update(update)
            except requests.RequestException as error:
                _log.warning("update: %s", error)
            time.sleep(next(waiting))

    def run(self) -> None:
        """For ever: what the application raises isn't kept from it."""
        while True:
            self.global_model_version_changed_callback(self.get_global_model())


def settle() -> None:
    """Every worker that is made from now on is a steady one, wherever in the library its class is taken from."""
    from dc_federated import backend

    worker = type("DCFWorker", (Steady, backend.DCFWorker), {})
    backend.DCFWorker = backend.dcf_worker.DCFWorker = worker
