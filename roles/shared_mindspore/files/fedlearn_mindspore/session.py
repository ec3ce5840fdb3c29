# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A worker's part in the federation: what an application sees of it, and what is kept of it on disk.

A worker talks to one address, the servers' HTTP port (or the proxy before them), and to nothing else. It trains until
the servers say "finished", not a number of times: an iteration that ran into a time window counts for them, though
nobody learned in it.
"""

from __future__ import annotations

import http.client
import importlib
import json
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

import numpy

from fedlearn_mindspore import ckpt, client, config, runtime, systemd
from fedlearn_mindspore.runtime import LOG

RETRY_SECONDS = 2.0
PROXY_ALONE = (502, 503, 504)
OVER_LOOKS = 3
"""How often servers have to say that the job has finished, until a worker without any iteration believes it: what an
operator begins anew is over for a moment."""
UNSUPPORTED = {
    "Scaffold": "needs the control variates that only MindSpore's own FederatedLearningManager keeps (runtime: full)",
    "FedCM": "isn't known to the worker's side of mindspore_federated 0.1.0",
}
"""Aggregations that `exchange` can't take part in, and why."""


class MissedError(Exception):
    """The training was over before this worker took part in it."""


class Session:
    """What an application sees of the federation.

    `settings`: the application's own. `weights`: those after the last iteration of an interrupted run, else None.
    """

    def __init__(self, worker: config.Worker) -> None:
        self._worker = worker
        self._server = Server(worker.server, worker.ca)
        self._progress = Progress(Path(worker.state), worker.digest)
        self._federated: Any = None
        self.settings: Mapping[str, Any] = worker.application.settings
        self.weights = self._progress.weights
        self.iterations: list[dict[str, Any]] = self._progress.iterations

    def exchange(self, weights: Mapping[str, Any], samples: int) -> dict[str, Any] | None:
        """Hands in the weights of `samples` own samples and returns the federation's; None once the job has finished.

        Waits for the other workers, and for servers that are away, up to `patience_seconds` without any progress.
        Raises MissedError when the job has finished without this worker.
        """
        systemd.ready()
        flat = {name: numpy.asarray(array, numpy.float32) for name, array in weights.items()}
        if self._federated is None:
            self._federated = self._join(flat)
        deadline = time.monotonic() + self._worker.patience_seconds
        over = 0
        while time.monotonic() < deadline:
            mean = self._attempt(flat, samples)
            if mean:
                self.weights = {
                    name: numpy.asarray(mean[name], numpy.float32).reshape(array.shape) for name, array in flat.items()
                }
                self._progress.add(self.weights, samples)
                return self.weights
            if self._server.finished():
                if self.iterations:
                    return None
                over += 1
                if over == OVER_LOOKS:
                    raise MissedError("the training was over before this worker took part in it")
            time.sleep(RETRY_SECONDS)
        raise SystemExit(f"no iteration for {self._worker.patience_seconds:.0f} s: {self._server.state()}")

    def manager_arguments(self) -> dict[str, Any]:
        """What MindSpore's FederatedLearningManager wants (runtime: full), once servers answer."""
        systemd.ready()
        manager: Any = importlib.import_module("mindspore_federated.trainer._fl_manager")
        core = importlib.import_module("mindspore_federated._mindspore_federated")
        manager.Federated_ = client.of(core)
        self._server.wait(self._worker.patience_seconds)
        return {
            "yaml_config": self._worker.yaml,
            "http_server_address": self._worker.server,
            "ssl_config": runtime.ssl_config(self._worker.password),
        }

    def finished(self) -> bool:
        """Whether the servers say that the job has finished."""
        return self._server.finished()

    def leave(self) -> None:
        """Says goodbye to the servers."""
        if self._federated is not None:
            self._federated.stop_federated_worker()

    def _join(self, flat: Mapping[str, Any]) -> Any:
        core = importlib.import_module("mindspore_federated._mindspore_federated")
        startup = importlib.import_module("mindspore_federated.startup.yaml_config")
        tls = importlib.import_module("mindspore_federated.startup.ssl_config")
        tls.init_ssl_config(runtime.ssl_config(self._worker.password))
        startup.load_yaml_config(self._worker.yaml, "MS_SERVER")
        context = core.FLContext.get_instance()
        context.set_http_server_address(self._worker.server)
        if context.aggregation_type() in UNSUPPORTED:
            raise SystemExit(f"aggregation_type {context.aggregation_type()} {UNSUPPORTED[context.aggregation_type()]}")
        self._difference = context.aggregation_type() == "FedNova"
        self._server.wait(self._worker.patience_seconds)
        core.Federated_.init_federated_worker({name: array.reshape(-1).tolist() for name, array in flat.items()})
        return client.of(core)

    def _attempt(self, flat: Mapping[str, Any], samples: int) -> dict[str, Any]:
        """One try to take part in the servers' current iteration; {} when it didn't come about."""
        base = self.weights if self._difference and self.weights else {}
        upload = {name: (array - base[name] if base else array).reshape(-1).tolist() for name, array in flat.items()}
        try:
            self._federated.start_fl_job(samples)
            return dict(self._federated.update_and_get_model(upload))
        except RuntimeError as error:
            # Also more workers than an iteration takes: "reached the threshold. Please startFLJob later."
            LOG.info("this iteration isn't to be: %s", str(error).splitlines()[0])
            return {}


class Server:
    """The servers as seen over HTTP: MindSpore's own client has an empty answer for whatever goes wrong."""

    def __init__(self, address: str, ca: str | None) -> None:
        self._address = address
        self._context = ssl.create_default_context(cafile=ca) if ca else None

    def finished(self) -> bool:
        """A finished job refuses new work but still gives its model away; a disabled one does neither."""
        return self._refuses("startFLJob") and not self._refuses("getModel")

    def state(self) -> str:
        """In words, for messages."""
        try:
            return f"{self._address}: " + ("job finished" if self.finished() else "disabled, or waiting for others")
        except OSError as error:
            return f"{self._address}: {error}"

    def wait(self, seconds: float) -> None:
        """Until a server answers."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._post("startFLJob")
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise SystemExit(f"{self._address}: {error}") from error
                LOG.info("waiting for servers at %s: %s", self._address, error)
                time.sleep(RETRY_SECONDS)

    def _refuses(self, path: str) -> bool:
        try:
            return b"disabled or finished" in self._post(path)
        except OSError as error:
            LOG.info("%s: %s", self._address, error)
            return False

    def _post(self, path: str) -> bytes:
        host, _colon, port = self._address.rpartition(":")
        kind: Callable[..., http.client.HTTPConnection] = http.client.HTTPConnection
        if self._context is not None:
            kind = http.client.HTTPSConnection
        more: dict[str, Any] = {} if self._context is None else {"context": self._context}
        connection = kind(host.strip("[]"), int(port), timeout=10, **more)
        try:
            connection.request("POST", f"/{path}", body=b"state?")
            answer = connection.getresponse()
            if answer.status in PROXY_ALONE:
                raise OSError(f"HTTP {answer.status}: no server behind the proxy answers")
            return answer.read(65536)
        except http.client.HTTPException as error:
            raise OSError(f"no HTTP answer: {error}") from error
        finally:
            connection.close()


class Progress:
    """What a worker has done so far, on disk after each iteration."""

    def __init__(self, state: Path, digest: str) -> None:
        self._state = state
        self._digest = digest
        self.weights: dict[str, Any] | None = None
        self.iterations: list[dict[str, Any]] = []
        self._load()

    def _load(self) -> None:
        try:
            record = json.loads((self._state / "progress.json").read_text(encoding="utf-8"))
            weights = ckpt.read(self._state / "progress.ckpt")
        except (OSError, ValueError):
            return
        if record.get("digest") == self._digest:
            self.weights, self.iterations = weights, record["iterations"]
            LOG.info("going on after %d iterations", len(self.iterations))

    def add(self, weights: Mapping[str, Any], samples: int) -> None:
        """Records one more iteration."""
        small = sum(array.size for array in weights.values()) <= 64
        self.iterations.append(
            {
                "time": time.time(),
                "samples": samples,
                "values": {name: array.reshape(-1).tolist() for name, array in weights.items()} if small else None,
            }
        )
        LOG.info("iteration %d done", len(self.iterations))
        ckpt.write(self._state / "progress.ckpt", weights)
        write_json(self._state / "progress.json", {"digest": self._digest, "iterations": self.iterations})


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file, complete or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    partial.replace(path)
