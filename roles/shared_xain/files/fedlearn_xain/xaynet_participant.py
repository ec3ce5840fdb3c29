# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts one participant of ``pet``: ``--config launcher.json``; with ``--check`` it only looks whether it could.

The application is ``make(settings)``, such as a class: it returns a ``ParticipantABC`` of xaynet_sdk. Where ``make``
has a function ``scalar(settings)``, the model counts as much as that says, from 0 to 1: such as its samples, of the
most that a participant may have. Rounds have no end; an application that sets ``over`` has done its work, and isn't
started again. What its method ``result()`` returns then, a mapping, is ``result.json``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from xaynet_sdk import ParticipantABC, spawn_participant

from . import launching

SECONDS = 0.2


class Made:
    """The application, which the SDK makes in a thread of its own."""

    def __init__(self, application: Mapping[str, Any]) -> None:
        self._name, self._settings = application["callable"], application["settings"]
        self._make = launching.application(self._name)
        self.one: Any = None

    def scalar(self) -> float:
        """How much its model counts."""
        found = float(self._make.scalar(self._settings)) if hasattr(self._make, "scalar") else 1.0
        if not 0 < found <= 1:
            raise launching.LaunchError(f"application {self._name}: scalar is {found}, and not above 0 and at most 1")
        return found

    def __call__(self) -> Any:
        """What the SDK takes for a class."""
        found = self._make(self._settings)
        if not isinstance(found, ParticipantABC):
            raise launching.LaunchError(f"application {self._name} returned no ParticipantABC")
        self.one = found
        return found


def go_on(handle: Any) -> None:
    """Waits a little. The SDK's thread ends alone when the application fails, and only says so in the log."""
    time.sleep(SECONDS)
    if not handle.is_alive():
        raise launching.LaunchError("the participant's thread ended")


def run(config: Mapping[str, Any]) -> None:
    """Takes part until it is over, or stopped."""
    logging.basicConfig(level=config["log_level"].upper())
    made, place = Made(config["application"]), config["configuration"]["coordinator"]
    handle = spawn_participant(f"http://{place['host']}:{place['port']}", made, scalar=made.scalar())
    while made.one is None:
        go_on(handle)
    launching.notify("READY=1")
    while not getattr(made.one, "over", False):
        go_on(handle)
    handle.stop()
    launching.finish(config, made.one)


if __name__ == "__main__":
    launching.start_participant("xaynet_participant", run)
