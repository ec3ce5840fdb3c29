# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts the coordinator: ``--config launcher.json``; with ``--check`` it only looks whether its file is right.

The program is xain-fl's own; what is different is in ``Steady``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from structlog import get_logger
from xain_fl.config import Config, InvalidConfig
from xain_fl.coordinator.coordinator import Coordinator, Participants
from xain_fl.coordinator.metrics_store import MetricsStore, NullObjectMetricsStore
from xain_fl.coordinator.store import S3GlobalWeightsWriter, S3LocalWeightsReader
from xain_fl.logger import configure_structlog
from xain_fl.serve import serve
from xain_fl.tools.exceptions import UnknownParticipantError
from xain_proto.fl.coordinator_pb2 import EndTrainingRoundRequest, State

from . import arrays, launching

logger = get_logger(__name__)
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class _Listed(dict):  # type: ignore[type-arg]
    """Participants can come while the program's monitor goes through them."""

    def values(self) -> Any:
        return list(super().values())


class Steady(Coordinator):
    """The coordinator, with one message at a time.

    The program takes messages in ten threads and locks nothing: two participants that end at the same moment would each
    begin the next round. Weights are fetched before it is a message's turn, so that nobody's heartbeat waits for them,
    and they are arrays or the message is refused. Who comes after the last round is told that it is over, and doesn't
    begin it anew. ``note`` is told what training there is, in words; None where a restart would lose none.
    """

    def __init__(self, reader: S3LocalWeightsReader, most: int, note: Any, **arguments: Any) -> None:
        self._turn = threading.RLock()
        self._reader, self._most, self._note = reader, most, note
        self._fetched = threading.local()
        super().__init__(local_weights_reader=self, **arguments)
        self.participants.participants = _Listed()
        note(None)

    def read_weights(self, participant_id: str, round: int) -> Any:
        """What was fetched for the message that is being looked at: the program asks for it here."""
        weights = self._fetched.weights
        self._check_alike(weights)
        return weights

    def _check_alike(self, weights: Any) -> None:
        """The program adds up a round's weights when the last ones come, and never again where it can't."""
        first = next((update["model_weights"] for update in self.round.updates.values()), None)
        if self.current_round > 0:
            first = self.weights
        if first is not None and weights.shape != first.shape:
            raise ValueError(f"weights of {weights.shape}, and the model's are of {first.shape}")

    def on_message(self, message: Any, participant_id: str) -> Any:
        """One message of a participant's, in its turn."""
        if isinstance(message, EndTrainingRoundRequest):
            with self._refusing(participant_id):
                self._fetched.weights = self._fetch(message, participant_id)
                with self._in_turn():
                    return super().on_message(message, participant_id)
        with self._in_turn():
            return super().on_message(message, participant_id)

    @contextlib.contextmanager
    def _refusing(self, participant_id: str) -> Iterator[None]:
        """The participant is only told that it failed, and gRPC's own log is a third party's."""
        try:
            yield
        except Exception as error:
            logger.error("Refused weights", participant_id=participant_id, error=str(error))
            raise

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        """One at a time. What is over stays over: the program forgets it when participants go, or others come."""
        with self._turn:
            over = self.state == State.FINISHED
            try:
                yield
            finally:
                if over:
                    self.state = State.FINISHED
                self._note(self._training())

    def _fetch(self, message: Any, participant_id: str) -> Any:
        """The weights that a participant says it has uploaded."""
        uploaded_as = message.participant_id
        with self._turn:
            known, current = participant_id in self.participants.ids(), self.current_round
        if not known:
            raise UnknownParticipantError(f"Unknown participant {participant_id}.")
        if not UUID.fullmatch(uploaded_as):
            raise ValueError("weights are uploaded under a UUID")
        if message.number_samples < 0:
            raise ValueError(f"{message.number_samples} samples are none")
        return arrays.fetched(self._reader, f"{current}/{uploaded_as}", self._most)

    def remove_participant(self, participant_id: str) -> None:
        """Takes away a participant whose heartbeat didn't come."""
        with self._in_turn():
            super().remove_participant(participant_id)

    def _training(self) -> str | None:
        begun = self.state == State.ROUND or (self.state == State.STANDBY and self.current_round > 0)
        return f"round {self.current_round + 1} of {self.num_rounds}" if begun else None


def load(configuration: Mapping[str, Any]) -> Any:
    """The program's configuration, as it checks it itself."""
    try:
        return Config.from_unchecked_dict(configuration)
    except InvalidConfig as error:
        raise launching.LaunchError(str(error)) from error


def run(config: Mapping[str, Any]) -> None:
    """Runs until it is stopped."""
    launching.trust(config["ca"])
    given = load(launching.configuration(config))
    configure_structlog(given.logging)
    serve(
        coordinator=Steady(
            reader=S3LocalWeightsReader(given.storage),
            most=config["max_model_size"] * arrays.MEGABYTE,
            note=launching.noting(Path(os.environ["RUNTIME_DIRECTORY"]) / "training"),
            global_weights_writer=S3GlobalWeightsWriter(given.storage),
            num_rounds=given.ai.rounds,
            epochs=given.ai.epochs,
            minimum_participants_in_round=given.ai.min_participants,
            fraction_of_participants=given.ai.fraction_participants,
            metrics_store=MetricsStore(given.metrics) if given.metrics.enable else NullObjectMetricsStore(),
            participants=Participants(
                heartbeat_time=given.server.heartbeat_time, heartbeat_timeout=given.server.heartbeat_timeout
            ),
        ),
        server_config=given.server,
    )


def check(config: Mapping[str, Any]) -> None:
    """Has the program itself check its configuration, with a password that isn't the real one."""
    load(launching.configuration(config, launching.no_password))


def main() -> None:
    """Starts the coordinator, or looks whether it could be."""
    parser = argparse.ArgumentParser(prog="fedlearn_xain.coordinator", allow_abbrev=False)
    parser.add_argument("--config", required=True)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    config = launching.read(given.config)
    try:
        if given.check:
            launching.drop_root()
            check(config)
        else:
            run(config)
    except launching.LaunchError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
