# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A participant of ``poc`` trains once in a round and counts once, and ends only when it was told of the end.

The SDK is a double: of it the names that the launcher uses, and no more of what they do than it builds upon.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from enum import Enum
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain import poc_keys

ROLES = Path(__file__).resolve().parents[4] / "roles"
FILES = ROLES / "shared_xain" / "files"
UNIT = ROLES / "xain_participant" / "templates" / "etc" / "systemd" / "system" / "fedlearn-instance.service.j2"


class State(Enum):
    """The SDK's own."""

    WAITING, TRAINING, DONE = 1, 2, 3


class Record(nullcontext[Any]):
    """The SDK's record of a participant's state, which is selected."""

    def __init__(self) -> None:
        super().__init__(self)
        self.state = State.TRAINING

    def set_state(self, state: State) -> None:
        self.state = state


class Internal:
    """The SDK's participant, as far as it is used."""

    def __init__(self, participant: Any, url: str, period: float) -> None:
        self.participant, self.url, self.heartbeat_period = participant, url, period
        self.state_record = Record()
        self.did: list[str] = []

    def rendez_vous(self) -> None:
        self.did.append("rendez-vous")

    def start_heartbeat(self) -> None:
        self.did.append(f"heartbeats of {self.coordinator_client.id}")


class Client:
    """The SDK's client of a coordinator that gives one answer."""

    answer = "stand_by"

    def __init__(self, url: str, number: str) -> None:
        self.url, self.id = url, number

    def heartbeat(self) -> dict[str, str]:
        return {"state": self.answer}


class RejectedError(Exception):
    """The SDK's, of a request to train."""


class Coordinator:
    """The SDK's client of one that gives these answers, and of the aggregator whose tokens it gives away."""

    def __init__(self, *heartbeats: Any, rejects: bool = False) -> None:
        self.id, self.heartbeats, self.rejects = "7", list(heartbeats), rejects
        self.uploads: list[tuple[int, bytes]] = []
        self.token, self.oldest = 0, 1

    def heartbeat(self) -> dict[str, Any]:
        state = self.heartbeats.pop(0)
        return {"state": "round", "round": state} if isinstance(state, int) else {"state": state, "round": None}

    def start_training(self) -> Any:
        if self.rejects:
            raise RejectedError
        self.token += 1
        return SimpleNamespace(
            download=partial(self._download, self.token),
            upload=lambda sent, token=self.token: self.uploads.append((token, sent)),
        )

    def _download(self, token: int) -> bytes:
        if token < self.oldest:
            raise sys.modules["xain_sdk.http"].ApiError
        return b"model"


class Application:
    """A user's participant."""

    def __init__(self) -> None:
        self.trained = 0

    def deserialize_training_input(self, data: bytes) -> bytes:
        return data

    def train_round(self, model: bytes) -> bytes:
        self.trained += 1
        return model + b" %d" % self.trained

    def serialize_training_result(self, result: bytes) -> bytes:
        return result


class Session:
    """Of requests: what was sent, and how it is answered."""

    answers: list[Any] = []

    def __init__(self) -> None:
        self.verify: Any = True
        self.cert: Any = None
        self.trust_env = True
        self.sent: list[tuple[str, Any]] = []

    def prepare_request(self, request: Any) -> Any:
        return request

    def send(self, request: Any, timeout: int) -> Any:
        self.sent.append((request.url, timeout))
        answer = self.answers.pop(0)
        if answer is OSError:
            raise sys.modules["requests"].RequestException
        status, body = answer
        return SimpleNamespace(status_code=status, text=body, json=lambda: json.loads(body))


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Any:
    modules: dict[str, Any] = {name: ModuleType(name) for name in ("xain_sdk", "xain_sdk.participant", "xain_sdk.http")}
    sdk = modules["xain_sdk.participant"]
    sdk.InternalParticipant, sdk.ParticipantABC = Internal, type("ParticipantABC", (), {})
    sdk.State = State
    modules["xain_sdk"].participant = sdk
    modules["xain_sdk.http"].ApiError = type("ApiError", (Exception,), {})
    modules["xain_sdk.http"].HttpClient = type("HttpClient", (), {})
    modules["xain_sdk.http"].CoordinatorClient = Client
    modules["xain_sdk.http"].StartTrainingRejected = RejectedError
    modules["requests"] = ModuleType("requests")
    modules["requests"].Session = Session
    modules["requests"].RequestException = type("RequestException", (OSError,), {})
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.syspath_prepend(str(FILES))
    monkeypatch.delitem(sys.modules, "fedlearn_xain.poc_participant", raising=False)
    found = importlib.import_module("fedlearn_xain.poc_participant")
    monkeypatch.setattr(found.time, "sleep", lambda _seconds: None)
    return found


@pytest.fixture
def membership(launcher: Any, tmp_path: Path) -> Any:
    return launcher.Membership(tmp_path, 5)


def steady(launcher: Any, membership: Any, coordinator: Any = None) -> Any:
    found = launcher.Steady(Application(), "http://127.0.0.1:1", 1, membership)
    found.coordinator_client = coordinator
    return found


def trains(one: Any, times: int = 1) -> list[tuple[int, bytes]]:
    """It is woken as often; with what it has sent, by which token and without its name."""
    for _time in range(times):
        one.state_record.state = State.TRAINING
        one.train()
        assert one.state_record.state == State.WAITING
    parted = importlib.import_module("fedlearn_xain.once").parted
    assert {parted(sent)[1] for _token, sent in one.coordinator_client.uploads} <= {one._membership.name}
    return [(token, parted(sent)[0]) for token, sent in one.coordinator_client.uploads]


def unheard(launcher: Any, membership: Any) -> None:
    """Longer than a queue takes."""
    former = time.time() - launcher.UNHEARD_SECONDS
    os.utime(membership._sent, (former, former))
    membership._last = (membership._last[0], membership._last[1] - launcher.UNHEARD_SECONDS)


def test_who_is_asked_again_while_its_weights_are_on_their_way_waits(launcher: Any, membership: Any) -> None:
    one = steady(launcher, membership, Coordinator(4, 4, 4, "stand_by", 5))
    assert trains(one, 5) == [(1, b"model 1"), (2, b"model 2")]


def test_who_is_started_again_does_not_train_again_in_the_round(launcher: Any, membership: Any, tmp_path: Path) -> None:
    """And where it has to, it is by the same name, so that it counts once."""
    trains(steady(launcher, membership, Coordinator(4)))
    again = launcher.Membership(tmp_path, 5)
    assert again.name == membership.name
    one = steady(launcher, again, Coordinator(4, 4))
    assert trains(one) == []
    unheard(launcher, again)
    assert trains(one) == [(1, b"model 1")]


def test_by_another_number_or_in_another_round_one_trains(launcher: Any, membership: Any) -> None:
    membership.sent("7", 3)
    one = steady(launcher, membership, Coordinator(4))
    assert len(trains(one)) == 1
    membership.sent("6", 4)
    other = steady(launcher, membership, Coordinator(4))
    assert len(trains(other)) == 1


def test_an_aggregator_that_has_the_weights_is_asked_to_tell_once_more(launcher: Any, membership: Any) -> None:
    """Its call to the coordinator was lost: nothing else would have the round end."""
    one = steady(launcher, membership, Coordinator(4, 4, 4))
    trains(one)
    unheard(launcher, membership)
    assert trains(one, 2) == [(1, b"model 1"), (1, b"")]


def test_an_aggregator_that_has_them_no_more_is_sent_the_same_again(launcher: Any, membership: Any) -> None:
    """It was killed, or its aggregation failed and the round is run again."""
    one = steady(launcher, membership, Coordinator(4, 4))
    trains(one)
    unheard(launcher, membership)
    one.coordinator_client.oldest = 2
    assert trains(one) == [(1, b"model 1"), (2, b"model 1")]
    assert one.participant.trained == 1


@pytest.mark.parametrize(("known", "again"), [(True, []), (False, [(2, b"model 1")])])
def test_whose_token_is_gone_sends_again_and_who_waits_in_a_queue_does_not(
    launcher: Any, membership: Any, known: bool, again: list[Any]
) -> None:
    """What is sent twice while others' weights wait could be taken for the next round's."""
    one = steady(launcher, membership, Coordinator(*[4] * 4))
    trains(one)
    one._look_at = 0.0
    one.coordinator_client.oldest = 1 if known else 2
    assert trains(one) == [(1, b"model 1"), *again]
    assert trains(one) == [(1, b"model 1"), *again]


def test_a_token_that_is_gone_with_the_round_sends_nothing_into_the_next(launcher: Any, membership: Any) -> None:
    one = steady(launcher, membership, Coordinator(4, 4, 5))
    trains(one)
    one._look_at, one.coordinator_client.oldest = 0.0, 2
    assert trains(one) == [(1, b"model 1")]


def test_whose_application_fails_in_a_round_comes_as_somebody_new(
    launcher: Any, membership: Any, tmp_path: Path
) -> None:
    """The coordinator would wait for it for ever, as long as it is there by its number."""
    heard(launcher, membership, "round")
    one = steady(launcher, membership, Coordinator(4))
    one.participant.train_round = lambda _model: 1 / 0
    with pytest.raises(ZeroDivisionError):
        one.train()
    # a heartbeat that is under way
    heard(launcher, membership, "round")
    assert (membership.former(), one.coordinator_client.uploads) == ("", [])
    again = steady(launcher, launcher.Membership(tmp_path, 5))
    again.rendez_vous()
    assert again.did == ["rendez-vous"]


def test_who_is_ended_again_and_again_in_a_round_comes_as_somebody_new(
    launcher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for time_ in range(launcher.MOST_TRIES + 1):
        membership = launcher.Membership(tmp_path, 5)
        heard(launcher, membership, "round")
        one = steady(launcher, membership, Coordinator(4))
        # by the kernel, which no program hears of
        monkeypatch.setattr(one.participant, "train_round", lambda _model: sys.exit())
        with pytest.raises(SystemExit if time_ < launcher.MOST_TRIES else launcher.launching.LaunchError):
            one.train()
    assert membership.former() == ""
    assert launcher.Membership(tmp_path, 5).begins("7", 5) == 1


@pytest.mark.parametrize("damage", ["", "abc", "00" * 15, "00" * 17, "\udcff"])
def test_a_name_that_is_damaged_is_another(launcher: Any, tmp_path: Path, damage: str) -> None:
    (tmp_path / "name").write_bytes(damage.encode(errors="surrogateescape"))
    named = launcher.Membership(tmp_path, 5).name
    assert len(named) == 16
    assert launcher.Membership(tmp_path, 5).name == named


def test_where_no_file_has_room_it_takes_part_all_the_same(
    launcher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(launcher.launching, "write", full)
    one = steady(launcher, launcher.Membership(tmp_path, 5), Coordinator(4, 4, "stand_by", 5))
    assert trains(one, 4) == [(1, b"model 1"), (2, b"model 2")]


@pytest.mark.parametrize("last", ["stand_by", "finish", "reject"])
def test_an_answer_that_comes_late_has_nobody_train(launcher: Any, membership: Any, last: str) -> None:
    assert trains(steady(launcher, membership, Coordinator(last))) == []


def test_who_is_rejected_does_not_train_with_a_former_token(launcher: Any, membership: Any) -> None:
    one = steady(launcher, membership, Coordinator(4, 5))
    trains(one)
    one.coordinator_client.rejects = True
    assert trains(one) == [(1, b"model 1")]


def test_an_end_that_is_heard_of_in_a_training_stays(launcher: Any, membership: Any) -> None:
    """The thread of heartbeats may have ended with it, and nobody would wake the participant again."""
    one = steady(launcher, membership, Coordinator(4))
    one.participant.train_round = lambda model: one.state_record.set_state(State.DONE) or model
    one.train()
    assert one.state_record.state == State.DONE


def request(path: str) -> Any:
    return SimpleNamespace(url=f"https://coordinator.example{path}")


def test_requests_trust_our_ca_show_our_certificate_and_log_nothing(
    launcher: Any, membership: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = launcher.Answers({"ca": "/ca", "certificate": "/c", "key": "/k"}, membership)
    assert (answers._session.verify, answers._session.cert, answers._session.trust_env) == ("/ca", ("/c", "/k"), False)
    Session.answers = [(200, '{"state": "stand_by"}'), (200, '{"state": "finish"}')]
    for expected in (False, True):
        answers.send(None, request("/heartbeat/5f0c2f0e"))
        assert answers.finished is expected
    Session.answers = [(404, "gone")]
    with pytest.raises(launcher.ApiError):
        answers.send(None, request("/5f0c2f0e/1a3c4a53"))
    assert caplog.text == ""
    plain = launcher.Answers(None, membership)._session
    assert (plain.verify, plain.cert) == (True, None)


def heard(launcher: Any, membership: Any, state: str) -> None:
    """A heartbeat with an answer."""
    Session.answers = [(200, json.dumps({"state": state}))]
    launcher.Answers(None, membership).send(None, request("/heartbeat/5f0c2f0e"))


@pytest.mark.parametrize(
    ("answer", "age", "did"),
    [
        ("stand_by", 12, ["heartbeats of 5f0c2f0e"]),
        ("round", 12, ["heartbeats of 5f0c2f0e"]),
        ("finish", 12, ["heartbeats of 5f0c2f0e"]),
        ("reject", 12, ["rendez-vous"]),
        # the coordinator may have forgotten it, and must not be told a number that it doesn't know
        ("stand_by", 13, ["rendez-vous"]),
        # the clock was put back
        ("stand_by", -1, ["rendez-vous"]),
    ],
)
def test_who_is_started_again_goes_on_as_the_same_while_the_coordinator_knows_it(
    launcher: Any, membership: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, age: int, did: Any
) -> None:
    heard(launcher, membership, "round")
    began = (tmp_path / "member").stat().st_mtime
    monkeypatch.setattr(launcher.time, "time", lambda: began + age)
    monkeypatch.setattr(Client, "answer", answer)
    one = steady(launcher, membership)
    one.rendez_vous()
    assert one.did == did


@pytest.mark.parametrize("last", ["finish", "reject"])
def test_who_is_known_no_more_comes_anew(launcher: Any, membership: Any, last: str) -> None:
    for state in ("stand_by", last):
        heard(launcher, membership, state)
    one = steady(launcher, membership)
    one.rendez_vous()
    assert one.did == ["rendez-vous"]


@pytest.mark.parametrize(
    ("known", "answers", "beats"),
    [
        (True, ["round", "stand_by", OSError, "round"], 4),
        # a number that it knows no more is never told twice: after a training that ended it
        (True, ["round", "reject", "round"], 2),
        (True, ["finish", "round"], 1),
        (False, ["round"], 0),
    ],
)
def test_a_slow_application_is_no_reason_to_take_one_for_gone(
    launcher: Any, membership: Any, monkeypatch: pytest.MonkeyPatch, known: bool, answers: list[Any], beats: int
) -> None:
    told: list[str] = []
    enough = threading.Event()

    def heartbeat(self: Any) -> dict[str, str]:
        told.append(self.id)
        answer = answers[len(told) - 1]
        if len(told) == beats:
            enough.set()
        if answer is OSError:
            raise launcher.requests.RequestException
        return {"state": answer}

    monkeypatch.setattr(Client, "heartbeat", heartbeat)
    if known:
        heard(launcher, membership, "round")
    with launcher.known_meanwhile("https://coordinator.example", 0.01 if beats < len(answers) else 0.05, membership):
        if beats:
            assert enough.wait(10)
        if beats < len(answers):
            threading.Event().wait(0.1)
    assert told == ["5f0c2f0e"] * beats


@pytest.mark.parametrize("finished", [True, False])
def test_only_who_was_told_of_the_end_has_ended(
    launcher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: bool
) -> None:
    participant = launcher.sdk.ParticipantABC()
    participant.result = lambda: {"values": [1.0]}
    monkeypatch.setattr(launcher, "made", lambda _application: participant)
    monkeypatch.setattr(launcher.logging, "basicConfig", lambda **_given: None)

    def run(self: Any) -> None:
        Session.answers = [(200, json.dumps({"state": "finish" if finished else "reject"}))]
        launcher.HttpClient().send(request("/heartbeat/1"))

    monkeypatch.setattr(Internal, "run", run, raising=False)
    config = {
        "application": {},
        "tls": None,
        "log_level": "info",
        "configuration": {"coordinator": {"host": "127.0.0.1", "port": 1}},
        "heartbeat_seconds": 1,
        "state": str(tmp_path),
        "digest": "abc",
    }
    if finished:
        launcher.run(config)
        assert json.loads((tmp_path / "result.json").read_text()) == {"values": [1.0]}
        assert (tmp_path / "finished-abc").exists()
    else:
        with pytest.raises(launcher.launching.LaunchError, match="is over, or it knows this participant no more"):
            launcher.run(config)
        assert [path.name for path in tmp_path.iterdir()] == ["name"]


@pytest.mark.parametrize("failure", [(502, "bad gateway"), (429, "too many"), OSError])
def test_a_heartbeat_that_fails_is_sent_again_while_the_number_is_known(
    launcher: Any, membership: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failure: Any
) -> None:
    """The SDK ends with the first one: who has sent its weights would be back too late for the coordinator."""
    answers = launcher.Answers(None, membership)
    Session.answers = [(200, '{"state": "stand_by"}'), failure, failure, (200, '{"state": "stand_by"}')]
    for _time in range(2):
        answers.send(None, request("/heartbeat/5f0c2f0e"))
    assert Session.answers == []
    assert {seconds for _url, seconds in answers._session.sent} == {5}
    Session.answers = [failure] * 2
    os.utime(tmp_path / "member", (0, 0))
    with pytest.raises((launcher.ApiError, launcher.requests.RequestException)):
        answers.send(None, request("/heartbeat/5f0c2f0e"))
    assert len(Session.answers) == 1
    # another's number is nobody's here
    membership.heard("1a3c4a53", "round")
    with pytest.raises((launcher.ApiError, launcher.requests.RequestException)):
        answers.send(None, request("/heartbeat/5f0c2f0e"))


def test_the_document_is_warned_by_what_the_launcher_reckons(launcher: Any) -> None:
    """Who is ended has sent its last heartbeat up to one ago."""
    assert poc_keys.SURE_HEARTBEATS == launcher.KNOWN_HEARTBEATS - 1
    (pause,) = re.findall(r"^RestartSec=(\d)$", UNIT.read_text().partition("'poc' %}")[2].partition("else")[0], re.M)
    assert int(pause) < poc_keys.RESTART_SECONDS


@pytest.mark.parametrize(("known", "pauses"), [(True, []), (False, [4])])
def test_who_is_waited_for_ends_at_once(
    launcher: Any, membership: Any, monkeypatch: pytest.MonkeyPatch, known: bool, pauses: list[int]
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(launcher.time, "sleep", slept.append)
    if known:
        membership.heard("7", "round")
    with pytest.raises(ValueError, match="anything"), launcher.unhurried(membership):
        raise ValueError("anything")
    assert slept == pauses


def test_two_threads_may_hear_at_once(membership: Any, tmp_path: Path) -> None:
    """The heartbeat's own, and that of a request's; each wrote the same file on its way."""
    with ThreadPoolExecutor(4) as pool:
        for heard in [pool.submit(membership.heard, "7", state) for state in ["round", "stand_by", "finish"] * 300]:
            heard.result()
    membership.heard("7", "round")
    assert (tmp_path / "member").read_text() == "7"


def test_a_full_disk_ends_no_participant(
    membership: Any, launcher: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(launcher.launching, "write", full)
    membership.heard("7", "round")
    membership.sent("7", 4)
    for name in ("member", "sent"):
        assert f"{name} can't be written: No space left on device" in caplog.text
