# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Workers that outlive their server.

The library's worker takes whatever an answer says for its identity or a model, and its ``run`` ends quietly at the
first connection that breaks. Here it registers anew and polls again, until its key is refused.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from typing import Any

import requests

ANONYMOUS = "_unauthenticated"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0

_log = logging.getLogger(__name__)


class RefusedError(SystemExit):
    """The server doesn't know this worker's key; no ``except Exception`` of the library's takes it for less."""


def pauses() -> Iterator[float]:
    """Seconds to wait before each next attempt: longer and longer, and never all workers at once."""
    longest = FIRST_PAUSE
    while True:
        yield random.uniform(longest / 2, longest)  # noqa: S311 - it keeps no secret
        longest = min(2 * longest, LONGEST_PAUSE)


def _registered(worker: Any, answer: object) -> bool:
    """Whether that is an identity: the public key, or in unsafe mode a name that the server made up."""
    own = worker.public_key_str if hasattr(worker, "public_key_str") else worker.public_key
    return answer == own if own else isinstance(answer, str) and answer.endswith(ANONYMOUS)


def steady(worker_class: type) -> None:
    """Makes every worker of this class register and poll until it is answered or refused."""
    # the library has no types; its methods are replaced by name
    register, get = worker_class.register_worker, worker_class.get_global_model  # type: ignore[attr-defined]

    def once(worker: Any) -> bool:
        try:
            if not _registered(worker, worker.worker_id):
                worker.worker_id = None
                register(worker)
        except requests.RequestException as error:
            _log.warning("registration: %s", error)
        except ValueError as error:  # how the library says that it was refused
            raise RefusedError("the server refuses this worker's key: let it in, or take the worker away") from error
        return _registered(worker, worker.worker_id)

    def register_worker(worker: Any) -> Any:
        waiting = pauses()
        while not once(worker):
            time.sleep(next(waiting))
        return worker.worker_id

    def get_global_model(worker: Any) -> Any:
        waiting = pauses()
        while True:
            register_worker(worker)
            try:
                answer = get(worker)
            except (requests.RequestException, TypeError) as error:  # the library writes an answer in bytes as a text
                answer = error
            if isinstance(answer, dict):
                return answer
            _log.warning("no model: %.200r", answer)
            worker.worker_id = None  # it may have been forgotten: a server knows who registered since its start
            time.sleep(next(waiting))

    worker_class.register_worker = register_worker  # type: ignore[attr-defined]
    worker_class.get_global_model = get_global_model  # type: ignore[attr-defined]
