# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts one participant: ``--config launcher.json``; with ``--check`` it only looks whether it could.

The application is ``make(settings)``, such as a class: it returns a ``Participant`` of xain-sdk. One that has a method
``result(weights)`` is told the last global model, and what it returns, a mapping, is ``result.json``. A participant
whose training is over has done its work and isn't started again.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
from xain_sdk import participant_state_machine as machine
from xain_sdk.config import Config, InvalidConfig
from xain_sdk.participant import Participant

from . import arrays, launching

DEEPEST = 100_000
"""xain-sdk goes three calls deeper with each round."""


class Rounds:
    """What xain-sdk's state machine is given in place of its own, for as long as this process lives.

    It speaks TLS, which the SDK doesn't. A heartbeat that fails ends the process: the SDK's own thread would end alone,
    and its participant wait for ever. The round that heartbeats tell is kept, since the last global model comes after
    it.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.last = 0
        self._transit, self._message_loop = machine.transit, machine.message_loop

    def install(self) -> None:
        """Puts it in place."""
        if self.config["tls"]:
            machine.insecure_channel = self._channel
        machine.transit, machine.message_loop = self._noting, self._ending
        machine.HEARTBEAT_TIME = self.config["heartbeat_seconds"]
        sys.setrecursionlimit(DEEPEST)

    def _channel(self, target: str) -> grpc.Channel:
        tls = {name: Path(path).read_bytes() for name, path in self.config["tls"].items()}
        shown = grpc.ssl_channel_credentials(tls["ca"], tls.get("key"), tls.get("certificate"))
        return grpc.secure_channel(target, shown)

    def _noting(self, state_record: Any, heartbeat_response: Any) -> None:
        self.last = heartbeat_response.round
        self._transit(state_record, heartbeat_response)

    def _ending(self, *arguments: Any, **named: Any) -> None:
        try:
            self._message_loop(*arguments, **named)
        except Exception:  # whatever it was, no heartbeat will follow
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)


class SafeReader(machine.S3GlobalWeightsReader):  # type: ignore[misc]
    """Global models are arrays, whoever wrote them."""

    most = 0

    def read_weights(self, round: int) -> Any:
        """The global model that a round begins with."""
        return arrays.fetched(self, f"{round}/global", self.most)


def load(configuration: Mapping[str, Any]) -> Any:
    """The SDK's configuration, as it checks it itself."""
    try:
        return Config.from_unchecked_dict(configuration)
    except InvalidConfig as error:
        raise launching.LaunchError(str(error)) from error


def run(config: Mapping[str, Any]) -> None:
    """Takes part until the training is over."""
    launching.trust(config["ca"])
    given = load(launching.configuration(config))
    made = launching.application(config["application"]["callable"])(config["application"]["settings"])
    if not isinstance(made, Participant):
        raise launching.LaunchError(f"application {config['application']['callable']} returned no Participant")
    rounds = Rounds(config)
    rounds.install()
    SafeReader.most = config["max_model_size"] * arrays.MEGABYTE
    machine.S3GlobalWeightsReader = SafeReader
    launching.notify("READY=1")
    machine.start_participant(made, given)
    state = Path(config["state"])
    if hasattr(made, "result"):
        found = made.result(SafeReader(given.storage).read_weights(rounds.last + 1))
        launching.write(state / "result.json", json.dumps(dict(found)))
    launching.write(state / f"finished-{config['digest']}", "")


def check(config: Mapping[str, Any]) -> None:
    """As of all, and has the SDK check its configuration."""
    launching.check_application(config)
    load(launching.configuration(config, launching.no_password))


if __name__ == "__main__":
    launching.start_participant("participant", run, check)
