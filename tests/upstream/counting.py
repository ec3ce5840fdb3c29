# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An application as FedAvg is one: workers send first, then live in the library's ``run``, and versions are numbers.

A server that is started anew begins with version 0 again, which its workers may have, and has no updates. ``workers``
updates are a new version, with which workers are done.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Counting:
    """The server's side."""

    def __init__(self, workers: int) -> None:
        self.workers, self.version = workers, 0
        self.updates: dict[str, bytes] = {}

    def receive(self, worker_id: str, update: bytes) -> str:
        self.updates[worker_id] = update
        self.version = int(len(self.updates) == self.workers)
        return "counted"


def build(arguments: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    from dc_federated.backend import DCFServer

    counting = Counting(settings["workers"])
    return DCFServer(
        register_worker_callback=lambda worker_id: None,
        unregister_worker_callback=lambda worker_id: None,
        return_global_model_callback=lambda: {"global_model": b"", "global_model_version": counting.version},
        is_global_model_most_recent=lambda version: version == counting.version,
        receive_worker_update_callback=counting.receive,
        **arguments,
    )


class Done(BaseException):
    """The model that was waited for: no ``except Exception`` of the library's keeps a worker from it."""


def run(arguments: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """With ``wait`` a worker begins without a model, and learns from it until that file is there; with ``fail`` it
    can't learn.
    """
    from dc_federated.backend import DCFWorker

    version = -1 if {"wait", "fail"} & settings.keys() else 0

    def learn(model: Mapping[str, Any]) -> None:
        nonlocal version
        version = model["global_model_version"]
        if version > 0:
            raise Done
        if "fail" in settings:
            raise ValueError(settings["fail"])
        Path("learning").touch()
        while "wait" in settings and not Path(settings["wait"]).exists():
            time.sleep(0.05)
        worker.send_model_update(b"1")

    worker = DCFWorker(
        **arguments,
        global_model_version_changed_callback=learn,
        get_worker_version_of_global_model=lambda: version,
    )
    worker.register_worker()
    if version == 0:
        worker.send_model_update(b"1")
    try:
        worker.run()
    except Done:
        return
