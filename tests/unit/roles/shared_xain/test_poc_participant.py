# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A participant of ``poc`` trains once for each time that it is selected, and ends only when it was told of the end.

The SDK is a double: of it the names that the launcher uses, and no more of what they do than it builds upon.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

FILES = Path(__file__).resolve().parents[4] / "roles" / "shared_xain" / "files"


class Record(nullcontext[Any]):
    """The SDK's record of a participant's state."""

    def __init__(self) -> None:
        super().__init__(self)
        self.round, self.states = 4, [1]

    def set_state(self, state: Any) -> None:
        self.states.append(state.value)


class Internal:
    """The SDK's participant, as far as it is used."""

    def __init__(self, participant: Any, url: str, period: float) -> None:
        self.participant, self.url, self.heartbeat_period = participant, url, period
        self.state_record = Record()
        self.trained, self.did = 0, []

    def rendez_vous(self) -> None:
        self.did.append("rendez-vous")

    def start_heartbeat(self) -> None:
        self.did.append(f"heartbeats of {self.coordinator_client.id}")

    def train(self) -> None:
        self.trained += 1


class Client:
    """The SDK's client of a coordinator that gives one answer."""

    answer = "stand_by"

    def __init__(self, url: str, number: str) -> None:
        self.url, self.id = url, number

    def heartbeat(self) -> dict[str, str]:
        return {"state": self.answer}


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
        status, body = self.answers.pop(0)
        return SimpleNamespace(status_code=status, text=body, json=lambda: json.loads(body))


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Any:
    modules: dict[str, Any] = {name: ModuleType(name) for name in ("xain_sdk", "xain_sdk.participant", "xain_sdk.http")}
    sdk = modules["xain_sdk.participant"]
    sdk.InternalParticipant, sdk.ParticipantABC = Internal, type("ParticipantABC", (), {})
    sdk.State = Enum("State", ["WAITING", "TRAINING", "DONE"])
    modules["xain_sdk"].participant = sdk
    modules["xain_sdk.http"].ApiError = type("ApiError", (Exception,), {})
    modules["xain_sdk.http"].HttpClient = type("HttpClient", (), {})
    modules["xain_sdk.http"].CoordinatorClient = Client
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


def steady(launcher: Any, heartbeats: list[dict[str, Any]], membership: Any = None) -> Any:
    found = launcher.Steady(None, "http://127.0.0.1:1", 1, membership)
    found.coordinator_client = SimpleNamespace(heartbeat=lambda: heartbeats.pop(0))
    return found


@pytest.mark.parametrize(
    "after", [{"state": "stand_by", "round": None}, {"state": "round", "round": 5}, {"state": "finish", "round": None}]
)
def test_heartbeats_count_again_once_the_coordinator_knows_of_the_upload(launcher: Any, after: Any) -> None:
    heartbeats = [{"state": "round", "round": 4}, {"state": "round", "round": 4}, after]
    one = steady(launcher, heartbeats)
    one.train()
    assert (one.trained, heartbeats) == (1, [])
    # whatever a heartbeat said meanwhile, it isn't to train again
    assert one.state_record.states[-1] == launcher.sdk.State.WAITING.value


def test_a_round_that_is_run_again_is_trained_in_again(launcher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(launcher.time, "monotonic", lambda: next(clock))
    one = steady(launcher, [{"state": "round", "round": 4}] * 100)
    one.train()
    assert one.state_record.states[-1] == launcher.sdk.State.WAITING.value


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
        ("stand_by", 8, ["heartbeats of 5f0c2f0e"]),
        ("round", 8, ["heartbeats of 5f0c2f0e"]),
        ("finish", 8, ["heartbeats of 5f0c2f0e"]),
        ("reject", 8, ["rendez-vous"]),
        # the coordinator may have forgotten it, and must not be told a number that it doesn't know
        ("stand_by", 10, ["rendez-vous"]),
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
    one = steady(launcher, [], membership)
    one.rendez_vous()
    assert one.did == did


@pytest.mark.parametrize("last", ["finish", "reject"])
def test_who_is_known_no_more_comes_anew(launcher: Any, membership: Any, last: str) -> None:
    for state in ("stand_by", last):
        heard(launcher, membership, state)
    one = steady(launcher, [], membership)
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
        assert list(tmp_path.iterdir()) == []


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
    assert "member can't be written: No space left on device" in caplog.text
