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
import math
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from xain_sdk import participant as sdk
from xain_sdk.http import ApiError, CoordinatorClient, HttpClient, StartTrainingRejected

from . import launching, once

REQUEST_SECONDS = 600
"""A large model takes long, both ways."""

ANSWER_SECONDS = 5
"""A heartbeat that isn't answered by then is sent again: its connection may lead nowhere."""

AGAIN_SECONDS = 0.5
"""Between a heartbeat that has failed and the next one."""

LOOK_SECONDS = 30
"""So often it is looked whether what was sent is with the aggregator, as long as the coordinator hasn't heard of it."""

UNHEARD_SECONDS = 600
"""The coordinator hears of an upload when it was added, after those before it, or never: the aggregator tells it once,
and gives up after 10 s. What is sent again while others' weights wait may come in the next round, so this is longer
than a queue.
"""

MOST_TRIES = 3
"""As often one may be ended in the training of one round and begin it again under its number."""

KNOWN_HEARTBEATS = 2.5
"""As long after the last one the coordinator is sure to know who sends them: after three it may take it for gone."""

PAUSE_SECONDS = 4
"""Whom the coordinator doesn't know has time: its unit starts again after a second what has ended, as others need it.
"""

logger = logging.getLogger("fedlearn_xain")


class Membership:
    """What a participant that is started again has to know of the one before: ``state/member``, the number by which
    the coordinator knows it; ``state/tries``, how often it has begun to train in which round; ``state/sent``, for which
    round it has sent last by which number; and ``state/name``, by which its weights count once (``once``).

    A coordinator ends (exit 101) when a participant that has sent its weights is taken for gone while others train.
    It ends, too, when it is told a number that it doesn't know after its training: so none is told late.
    """

    def __init__(self, folder: Path, heartbeat_seconds: float) -> None:
        self._path, self._seconds = folder / "member", KNOWN_HEARTBEATS * heartbeat_seconds
        self._sent, self._tries = folder / "sent", folder / "tries"
        self._last = ("", 0.0)
        self._left = False
        self.name = named(folder / "name")
        # heartbeats come from a thread of their own, beside those of requests
        self._writing = threading.Lock()

    def former(self) -> str:
        """The number, as long as the coordinator is sure to know it; else empty."""
        return lately(self._path, self._seconds)

    def heard(self, number: str, state: str) -> None:
        """What a heartbeat was answered. Without the file a restart comes as somebody new, which ends nothing here."""
        with self._writing, kept_going(self._path):
            if state in ("finish", "reject") or self._left:
                self._path.unlink(missing_ok=True)
            else:
                launching.write(self._path, number)

    def leave(self) -> None:
        """Whoever is started again comes as somebody new: a round waits for ever for one that is there and never sends,
        and for one that is gone no longer than its heartbeats may take.
        """
        with self._writing, kept_going(self._path):
            self._left = True
            self._path.unlink(missing_ok=True)

    def begins(self, number: str, round_: int) -> int:
        """How often it has begun to train in this round, this time too."""
        before = lately(self._tries, math.inf).split()
        tries = 1 + (int(before[2]) if before[:2] == [number, str(round_)] and len(before) == 3 else 0)
        with kept_going(self._tries):
            launching.write(self._tries, f"{number} {round_} {tries}")
        return tries

    def sent(self, number: str, round_: int) -> None:
        """An upload was answered. Without the file a restart sends again, which counts once."""
        self._last = (f"{number} {round_}", time.monotonic())
        with kept_going(self._sent):
            launching.write(self._sent, f"{number} {round_}")

    def has_sent(self, number: str, round_: int) -> bool:
        """Whether it has for this round, and the coordinator may yet hear of it."""
        asked, (last, when) = f"{number} {round_}", self._last
        if last == asked:
            return time.monotonic() - when < UNHEARD_SECONDS
        return lately(self._sent, UNHEARD_SECONDS) == asked


def named(path: Path) -> bytes:
    """Its name for the aggregator; another one where the file is none, or can't be."""
    try:
        name = bytes.fromhex(path.read_text(encoding="utf-8"))
        if len(name) == once.NAME_BYTES:
            return name
    except (OSError, ValueError):
        pass
    name = secrets.token_bytes(once.NAME_BYTES)
    with kept_going(path):
        launching.write(path, name.hex())
    return name


def lately(path: Path, seconds: float) -> str:
    """What a file says that was written in so many seconds before; else empty."""
    try:
        age = time.time() - path.stat().st_mtime
        return path.read_text(encoding="utf-8") if 0 <= age < seconds else ""
    except (OSError, ValueError):
        return ""


@contextmanager
def kept_going(path: Path) -> Iterator[None]:
    """A full disk ends no participant."""
    try:
        yield
    except OSError as error:
        logger.warning("%s can't be written: %s", path, error.strerror)


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
        _place, heartbeat, number = request.url.rpartition("/heartbeat/")
        if not heartbeat:
            return self._answered(request, status, REQUEST_SECONDS)
        answer = self._heartbeat(request, number)
        state = answer.json().get("state")
        self.finished = self.finished or state == "finish"
        self._membership.heard(number, state)
        return answer

    def _heartbeat(self, request: requests.Request, number: str) -> requests.Response:
        """One that fails is sent again as long as the coordinator is sure to know the number."""
        while True:
            try:
                return self._answered(request, 200, ANSWER_SECONDS)
            except (ApiError, requests.RequestException) as error:
                if self._membership.former() != number:
                    raise
                logger.warning("a heartbeat has failed and is sent again: %s", type(error).__name__)
            time.sleep(AGAIN_SECONDS)

    def _answered(self, request: requests.Request, status: int, seconds: float) -> requests.Response:
        answer = self._session.send(self._session.prepare_request(request), timeout=seconds)
        if answer.status_code != status:
            raise ApiError(answer)
        return answer


class Steady(sdk.InternalParticipant):  # type: ignore[misc]
    """The SDK's participant, which trains once in a round, and counts once.

    The coordinator hears of an upload some time after it was answered, or never. Heartbeats in between say that the
    round goes on, and the SDK would train and send again: weights that count twice. Who was known when it was ended
    goes on as the same.
    """

    def __init__(self, participant: Any, url: str, heartbeat_seconds: float, membership: Membership) -> None:
        super().__init__(participant, url, heartbeat_seconds)
        self._membership, self._url = membership, url
        self._trained: tuple[str, int] | None = None
        self._weights = b""
        self._look_at = 0.0

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
        """Takes part in the round, unless what it has sent for it is on its way."""
        # what woke it may be an answer that came late
        asked = self._asked()
        if asked and not self._on_its_way(asked):
            self._take_part(asked)
        with self.state_record:
            # an end that was heard of meanwhile stays
            if self.state_record.state == sdk.State.TRAINING:
                self.state_record.set_state(sdk.State.WAITING)

    def _asked(self) -> tuple[str, int] | None:
        """By which number it is asked for weights, and for which round."""
        last = self.coordinator_client.heartbeat()
        return (self.coordinator_client.id, last["round"]) if last["state"] == "round" else None

    def _on_its_way(self, asked: tuple[str, int]) -> bool:
        """Whether the coordinator may yet hear of what it has sent for the round: the aggregator has it, since it takes
        the token, and forgets both when it aggregates, or is started again. Of what was sent before a restart nobody
        can ask.
        """
        if not self._membership.has_sent(*asked):
            return False
        if self._trained != asked or time.monotonic() < self._look_at:
            return True
        self._look_at = time.monotonic() + LOOK_SECONDS
        return self._is_known() or self._asked() != asked

    def _take_part(self, asked: tuple[str, int]) -> None:
        """Sends weights; once more the same ones, or none where the aggregator has them yet."""
        if self._trained != asked or not self._repeated():
            try:
                self.aggregator_client = self.coordinator_client.start_training()
            except StartTrainingRejected:
                return
            if self._trained != asked:
                self._weights = self._result(asked)
                self._trained = asked
            self.aggregator_client.upload(once.signed(self._weights, self._membership.name))
            logger.info("sent what it has trained in round %d", asked[1])
        self._look_at = time.monotonic() + LOOK_SECONDS
        self._membership.sent(*asked)

    def _result(self, asked: tuple[str, int]) -> bytes:
        """What it makes of the global model. Where it can't, the round goes on without it."""
        one, model = self.participant, self.aggregator_client.download()
        if self._membership.begins(*asked) > MOST_TRIES:
            self._membership.leave()
            raise launching.LaunchError(f"it was ended {MOST_TRIES} times in the training of round {asked[1]}")
        logger.info("training")
        try:
            weights: bytes = one.serialize_training_result(one.train_round(one.deserialize_training_input(model)))
        except Exception:
            self._membership.leave()
            raise
        logger.info("trained")
        return weights

    def _repeated(self) -> bool:
        """Whether the aggregator has what it was sent, as long as it takes the token; it tells the coordinator again,
        after all that waits to be added.
        """
        if not self._is_known():
            return False
        self.aggregator_client.upload(once.signed(b"", self._membership.name))
        return True

    def _is_known(self) -> bool:
        """Whether the aggregator takes its token."""
        try:
            self.aggregator_client.download()
        except ApiError:
            return False
        return True


@contextmanager
def known_meanwhile(url: str, heartbeat_seconds: float, membership: Membership) -> Iterator[None]:
    """Goes on with the heartbeats of who was ended, for as long as what is done takes: the coordinator waits for them,
    and not for an application that is slow to be made.
    """
    number, done = membership.former(), threading.Event()

    def beat() -> None:
        client = CoordinatorClient(url, number)
        while not done.is_set() and membership.former() == number:
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


@contextmanager
def unhurried(membership: Membership) -> Iterator[None]:
    """What fails ends a little later, unless the coordinator waits for who is started again."""
    try:
        yield
    except Exception:
        if not membership.former():
            time.sleep(PAUSE_SECONDS)
        raise


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
    with unhurried(membership):
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
