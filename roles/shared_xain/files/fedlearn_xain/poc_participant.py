# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts one participant of ``poc``: ``--config launcher.json``; with ``--check`` it only looks whether it could.

The application is ``make(settings)``, such as a class: it returns a ``ParticipantABC`` of xain_sdk 0.8. A participant
whose training is over isn't started again; what its method ``result()`` returns then, a mapping, is ``result.json``.
What is different from the SDK's own way is in ``Steady``, ``Answers``, ``Membership`` and ``known_meanwhile``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from xain_sdk import participant as sdk
from xain_sdk.http import ApiError, CoordinatorClient, HttpClient

from . import launching

REQUEST_SECONDS = 600
"""A large model takes long, both ways."""

SETTLE_SECONDS = 10
"""How long the coordinator may take to hear of an upload."""

KNOWN_HEARTBEATS = 2
"""So many may be missed by who is started again: after three the coordinator may have taken it for gone."""

logger = logging.getLogger("fedlearn_xain")


class Membership:
    """The number by which the coordinator knows a participant, for the one that is started in its place.

    A coordinator ends (exit 101) when a participant that has sent its weights is taken for gone while others train.
    It ends, too, when it is told a number that it doesn't know after its training: so none is told late.
    """

    def __init__(self, folder: Path, heartbeat_seconds: float) -> None:
        self._path, self._seconds = folder / "member", KNOWN_HEARTBEATS * heartbeat_seconds
        # heartbeats come from a thread of their own, beside those of requests
        self._writing = threading.Lock()

    def former(self) -> str:
        """The number, as long as the coordinator is sure to know it; else empty."""
        try:
            age = time.time() - self._path.stat().st_mtime
        except FileNotFoundError:
            return ""
        return self._path.read_text(encoding="utf-8") if 0 <= age < self._seconds else ""

    def heard(self, number: str, state: str) -> None:
        """What a heartbeat was answered. Without the file a restart comes as somebody new, which ends nothing here."""
        try:
            with self._writing:
                if state in ("finish", "reject"):
                    self._path.unlink(missing_ok=True)
                else:
                    launching.write(self._path, number)
        except OSError as error:
            logger.warning("%s can't be written: %s", self._path, error.strerror)


class Answers:
    """Requests of the SDK: by TLS with our CA and certificate, over one connection, and whether all is over.

    The SDK knows the world's CAs only and shows no certificate; and it takes any failure for the training's end.
    """

    def __init__(self, tls: Mapping[str, str] | None, membership: Membership) -> None:
        self._membership = membership
        self._session = requests.Session()
        self._session.trust_env = False
        if tls:
            self._session.verify = tls["ca"]
        if tls and "certificate" in tls:
            self._session.cert = (tls["certificate"], tls["key"])
        self.finished = False

    def send(self, _client: HttpClient, request: requests.Request, status: int = 200) -> requests.Response:
        """In place of the SDK's: with nothing in the log, since tokens stand in paths and answers."""
        answer = self._session.send(self._session.prepare_request(request), timeout=REQUEST_SECONDS)
        if answer.status_code != status:
            raise ApiError(answer)
        _place, heartbeat, number = request.url.rpartition("/heartbeat/")
        if heartbeat:
            state = answer.json().get("state")
            self.finished = self.finished or state == "finish"
            self._membership.heard(number, state)
        return answer


class Steady(sdk.InternalParticipant):  # type: ignore[misc]
    """The SDK's participant, which trains once for each time that it is selected.

    The coordinator hears of an upload a little after it was answered. A heartbeat in between says that the round goes
    on, and the SDK would train and send again: weights that count twice. Who was known when it was ended goes on as
    the same.
    """

    def __init__(self, participant: Any, url: str, heartbeat_seconds: float, membership: Membership) -> None:
        super().__init__(participant, url, heartbeat_seconds)
        self._membership, self._url = membership, url

    def rendez_vous(self) -> None:
        """Comes anew, unless the coordinator knows it."""
        former = self._membership.former()
        client = CoordinatorClient(self._url, former) if former else None
        if client is None or client.heartbeat()["state"] == "reject":
            super().rendez_vous()
            return
        self.coordinator_client = client
        self.start_heartbeat()

    def train(self) -> None:
        """Trains, and lets the coordinator hear of it before another heartbeat counts."""
        trained = self.state_record.round
        super().train()
        last = self.coordinator_client.heartbeat()
        end = time.monotonic() + SETTLE_SECONDS
        while last["state"] == "round" and last["round"] == trained and time.monotonic() < end:
            time.sleep(min(0.05, self.heartbeat_period))
            last = self.coordinator_client.heartbeat()
        with self.state_record:
            self.state_record.set_state(sdk.State.WAITING)


@contextmanager
def known_meanwhile(url: str, heartbeat_seconds: float, membership: Membership) -> Iterator[None]:
    """Goes on with the heartbeats of who was ended, for as long as what is done takes: the coordinator waits for them,
    and not for an application that is slow to be made.
    """
    number, done = membership.former(), threading.Event()

    def beat() -> None:
        client = CoordinatorClient(url, number)
        while not done.is_set():
            try:
                if client.heartbeat()["state"] in ("finish", "reject"):
                    return
            except (ApiError, requests.RequestException) as error:
                logger.warning("a heartbeat has failed: %s", type(error).__name__)
            done.wait(heartbeat_seconds)

    thread = threading.Thread(target=beat, daemon=True)
    if number:
        thread.start()
    try:
        yield
    finally:
        done.set()
        if number:
            thread.join()


def made(application: Mapping[str, Any]) -> Any:
    """The user's participant."""
    named = application["callable"]
    found = launching.application(named)(application["settings"])
    if not isinstance(found, sdk.ParticipantABC):
        raise launching.LaunchError(f"application {named} returned no ParticipantABC")
    return found


def run(config: Mapping[str, Any]) -> None:
    """Takes part until it is over."""
    logging.basicConfig(level=config["log_level"].upper())
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    membership = Membership(Path(config["state"]), config["heartbeat_seconds"])
    answers = Answers(config["tls"], membership)
    HttpClient.send = lambda client, request, status=200: answers.send(client, request, status)
    place = config["configuration"]["coordinator"]
    url = f"{'https' if config['tls'] else 'http'}://{place['host']}:{place['port']}"
    with known_meanwhile(url, config["heartbeat_seconds"], membership):
        participant = made(config["application"])
    launching.notify("READY=1")
    if not answers.finished:
        Steady(participant, url, config["heartbeat_seconds"], membership).run()
    if not answers.finished:
        raise launching.LaunchError(
            "the coordinator is away, its training is over, or it knows this participant no more"
        )
    launching.finish(config, participant)


if __name__ == "__main__":
    launching.start_participant("poc_participant", run)
