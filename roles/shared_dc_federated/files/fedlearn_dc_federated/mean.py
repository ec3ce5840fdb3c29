# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An application without torch: the mean of vectors.

Each worker sends its vector; the model is the mean of all there are, plus the server's own vector, so that nobody could
have known it alone. With ``workers``, how many there will be, as in a verify round, there is one model, when all have
sent theirs, and workers return with it. Otherwise there is a new model with each vector, and workers go on polling.
A server that was started anew has no vectors: the version of its model says so, and workers send theirs once more.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping
from typing import Any


class Mean:
    """The server's side. Versions are ``START.NUMBER``, of which model 0 is empty."""

    def __init__(self, own: list[float], workers: int | None) -> None:
        self.own = own
        self.workers = workers
        self.vectors: dict[str, list[float]] = {}
        self.start = secrets.token_hex(4)
        self.number = 0
        self.model: list[float] = []

    @property
    def version(self) -> str:
        """That of the model there is; no start has one of another's."""
        return f"{self.start}.{self.number}"

    def joined(self, worker_id: str) -> None:
        """Nothing depends on who has joined."""

    def left(self, worker_id: str) -> None:
        """A worker that was revoked takes its vector along, for the models to come."""
        self.vectors.pop(worker_id, None)

    def is_most_recent(self, version: object) -> bool:
        """Whether a worker has the model that there is."""
        return version == self.version

    def current(self) -> dict[str, Any]:
        """The model, as JSON in bytes."""
        content = {"values": self.model, "final": self.workers is not None and self.number > 0}
        return {"global_model": json.dumps(content).encode(), "global_model_version": self.version}

    def receive(self, worker_id: str, update: bytes) -> str:
        """Takes a worker's vector."""
        vector = [float(value) for value in json.loads(update)]
        if len(vector) != len(self.own):
            return f"a vector has {len(self.own)} numbers"
        self.vectors[worker_id] = vector
        if self.workers is None or (len(self.vectors) == self.workers and self.number == 0):
            columns = zip(*self.vectors.values(), strict=True)
            means = [math.fsum(column) / len(self.vectors) for column in columns]
            self.model = [mean + own for mean, own in zip(means, self.own, strict=True)]
            self.number += 1
        return "received"


def build(arguments: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """The server: ``settings`` are ``own``, its vector, and ``workers``, how many there will be, or nothing."""
    from dc_federated.backend import DCFServer

    mean = Mean(settings["own"], settings.get("workers"))
    return DCFServer(
        register_worker_callback=mean.joined,
        unregister_worker_callback=mean.left,
        return_global_model_callback=mean.current,
        is_global_model_most_recent=mean.is_most_recent,
        receive_worker_update_callback=mean.receive,
        **arguments,
    )


def run(arguments: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """One worker: ``settings`` has its ``vector``."""
    from dc_federated.backend import DCFWorker

    version = start = ""
    worker = DCFWorker(
        **arguments,
        global_model_version_changed_callback=lambda model: None,
        get_worker_version_of_global_model=lambda: version,
    )
    worker.register_worker()
    while True:
        model = worker.get_global_model()
        version, former = model["global_model_version"], start
        start = version.partition(".")[0]
        content = json.loads(model["global_model"])
        if content["final"]:
            return {"values": content["values"], "own": settings["vector"], "samples": 1}
        if start != former:
            said = worker.send_model_update(json.dumps(settings["vector"]).encode())
            if said != b"received":
                raise RuntimeError(f"the server refused the vector: {said!r:.200}")
