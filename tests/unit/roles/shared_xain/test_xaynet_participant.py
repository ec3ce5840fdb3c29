# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a participant of ``pet`` begins and ends. The SDK is a double, which makes the application in a thread, too."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FILES = Path(__file__).resolve().parents[4] / "roles" / "shared_xain" / "files"


class Participant:
    """What applications inherit of the SDK."""


class Handle(threading.Thread):
    """Makes the application, and is there until it is stopped; an application that raises ends it."""

    spawned: Handle

    def __init__(self, url: str, make: Callable[[], Any], scalar: float) -> None:
        super().__init__(daemon=True)
        self.url, self.make, self.scalar = url, make, scalar
        self.stopped = threading.Event()
        Handle.spawned = self

    def run(self) -> None:
        """As the SDK's thread."""
        try:
            self.make()
        except Exception:
            return
        self.stopped.wait(30)

    def stop(self) -> None:
        """Ends it."""
        self.stopped.set()


def spawn(url: str, make: Callable[[], Any], *, scalar: float) -> Handle:
    handle = Handle(url, make, scalar)
    handle.start()
    return handle


class Application(Participant):
    """It is over at once."""

    over = True

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings

    def result(self) -> dict[str, Any]:
        """What it ended with."""
        return {"values": [self.settings["value"]]}


class Weighed(Application):
    """It counts as its settings say."""

    @staticmethod
    def scalar(settings: Mapping[str, Any]) -> float:
        """How much."""
        return float(settings["scalar"])


class Failing(Application):
    """It can't be made."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        raise ValueError("no data")


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Any:
    sdk: Any = ModuleType("xaynet_sdk")
    sdk.ParticipantABC, sdk.spawn_participant = Participant, spawn
    monkeypatch.setitem(sys.modules, "xaynet_sdk", sdk)
    monkeypatch.syspath_prepend(str(FILES))
    monkeypatch.delitem(sys.modules, "fedlearn_xain.xaynet_participant", raising=False)
    found: Any = importlib.import_module("fedlearn_xain.xaynet_participant")
    monkeypatch.setattr(found, "SECONDS", 0.01)
    return found


def config(state: Path, application: str, **settings: Any) -> dict[str, Any]:
    return {
        "configuration": {"coordinator": {"host": "127.0.0.1", "port": 8081}},
        "application": {"callable": f"{__name__}:{application}", "settings": settings},
        "state": str(state),
        "digest": "abc",
        "log_level": "info",
    }


@pytest.fixture
def told(launcher: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What systemd was told."""
    words: list[str] = []
    monkeypatch.setattr(launcher.launching, "notify", words.append)
    return words


def test_one_that_is_over_leaves_its_result(launcher: Any, told: list[str], tmp_path: Path) -> None:
    launcher.run(config(tmp_path, "Application", value=0.5))
    assert (tmp_path / "result.json").read_text() == '{"values": [0.5]}'
    assert (tmp_path / "finished-abc").exists()
    assert told == ["READY=1"]
    assert (Handle.spawned.url, Handle.spawned.scalar) == ("http://127.0.0.1:8081", 1.0)
    assert Handle.spawned.stopped.is_set()


def test_one_counts_as_it_says(launcher: Any, told: list[str], tmp_path: Path) -> None:
    launcher.run(config(tmp_path, "Weighed", value=0.5, scalar=0.25))
    assert Handle.spawned.scalar == 0.25


@pytest.mark.parametrize("scalar", [0, -1, 1.5, float("nan")])
def test_what_is_no_share_is_refused(launcher: Any, told: list[str], tmp_path: Path, scalar: float) -> None:
    with pytest.raises(launcher.launching.LaunchError, match="not above 0 and at most 1"):
        launcher.run(config(tmp_path, "Weighed", value=0.5, scalar=scalar))
    assert told == []


@pytest.mark.parametrize("application", ["Failing", "spawn", "Participant"])
def test_one_that_fails_ends_the_process_and_is_never_ready(
    launcher: Any, told: list[str], tmp_path: Path, application: str
) -> None:
    with pytest.raises(launcher.launching.LaunchError, match="the participant's thread ended"):
        launcher.run(config(tmp_path, application))
    assert (told, list(tmp_path.iterdir())) == ([], [])


def test_what_can_not_be_imported_is_told(launcher: Any, tmp_path: Path) -> None:
    with pytest.raises(launcher.launching.LaunchError, match="has no callable 'Nothing'"):
        launcher.run(config(tmp_path, "Nothing"))
