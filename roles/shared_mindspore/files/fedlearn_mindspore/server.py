# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`python -m fedlearn_mindspore.server --config FILE`: one MindSpore Federated server, until it is told to stop."""

from __future__ import annotations

import datetime
import importlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedlearn_mindspore import config, hyperparameters, models, runtime
from fedlearn_mindspore.checkpoints import Checkpoint, Puller, Store
from fedlearn_mindspore.runtime import LOG

RETRY_SECONDS = 2.0


def settle(server: config.Server, store: Store, initial: Mapping[str, Any]) -> None:
    """Makes the store hold the newest checkpoint of the stack, or makes sure that there is none.

    Raises SystemExit when neither can be had: a server must not begin again with its initial weights while a peer that
    can't be asked may hold what was learned; and when the checkpoint is of another model than the initial weights.
    """
    puller = Puller(server.exchange, store)
    deadline = time.monotonic() + server.wait_for_peers_seconds
    while True:
        unheard = puller.pull().unheard
        newest = store.newest()
        if newest is not None:
            fits(store.path(newest[0]), newest[1], initial)
            LOG.info("going on from %s", newest[0].name)
            return
        if not unheard:
            LOG.info("nobody holds a checkpoint of %s: starting from the initial weights", store.model)
            return
        if time.monotonic() > deadline:
            raise SystemExit(refusal(store, unheard))
        LOG.info("waiting for %s", reasons(unheard))
        time.sleep(RETRY_SECONDS)


def refusal(store: Store, unheard: Mapping[str, str]) -> str:
    """Why a server doesn't start, and the ways out."""
    return (
        f"no checkpoint of {store.model} here, and these peers can't be asked for theirs: {reasons(unheard)}. "
        "Starting from the initial weights could throw away what was learned. Deploy or start the peers' exchange "
        "(fedlearn-<instance>-checkpoints.service); name a server that is gone for good under `absent`"
    )


def reasons(unheard: Mapping[str, str]) -> str:
    """The peers that can't be asked, and why, in one line."""
    return "; ".join(f"{endpoint}: {reason}" for endpoint, reason in sorted(unheard.items()))


def fits(path: Path, weights: Mapping[str, Any], initial: Mapping[str, Any]) -> None:
    """Raises SystemExit where a checkpoint is of another model than the initial weights."""
    difference = models.difference(weights, initial)
    if difference:
        raise SystemExit(
            f"{path} is of another model than the initial one: {difference}. Give the new model a new "
            "fl_name, or give back the initial model that fits"
        )


def job_class(store: Store) -> Any:
    """FLServerJob that keeps checkpoints in `store`: written whole or not at all, the newest by time."""
    federated = importlib.import_module("mindspore_federated.startup.federated_local")

    class Job(federated.FLServerJob):  # type: ignore[misc, name-defined]
        """Overrides where checkpoints come from and go to, private methods of the version that is pinned."""

        def _get_current_recovery_ckpt_files(self) -> list[tuple[int, str, str]]:
            return [(item.iteration, item.time, str(store.path(item))) for item in store.names()]

        def _save_feature_map(self, feature_map: Any, iteration_num: int) -> str:
            moment = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d_%H%M%S")
            weights = {name: feature.data for name, feature in feature_map.feature_map().items()}
            try:
                return str(store.save(Checkpoint(moment, iteration_num, store.model), weights))
            except OSError as error:
                # A full disk mustn't end the training: the other servers keep theirs.
                LOG.error("the checkpoint of iteration %d can't be written: %s", iteration_num, error)
                return ""

    return Job


def main() -> None:
    """Serves until stopped."""
    server = config.from_arguments(config.Server, "MindSpore Federated server")
    runtime.prepare(server.flavour)
    initial = models.initial(server.initial_model)
    store = Store(Path(server.exchange.directory), str(config.mindspore_settings(server.yaml)["fl_name"]))
    store.directory.mkdir(parents=True, exist_ok=True)
    settle(server, store, initial)
    hyperparameters.bring(server.yaml)
    job = job_class(store)(
        server.yaml, server.http, server.tcp_address, server.exchange.directory, runtime.ssl_config(server.password)
    )
    job.run(feature_map=initial)


if __name__ == "__main__":
    main()
