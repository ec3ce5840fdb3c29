# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How test hosts are reached, where the container engine answers late."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("docker", reason="hosts are made by the newest environment alone")
sys.path.insert(0, str(Path(__file__).parents[2] / "molecule" / "shared"))

import hosts


class Answering:
    """A host whose first answers get lost."""

    def __init__(self, *answers: bytes) -> None:
        self.name, self.labels, self.answers = "set-one", {hosts.LABEL_HOST: json.dumps(["one", "10.0.0.1"])}, answers

    def exec_run(self, _command: list[str], **_options: Any) -> SimpleNamespace:
        answer, *later = self.answers
        self.answers = tuple(later or [answer])
        return SimpleNamespace(output=answer)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(hosts, "ROOM", tmp_path)
    monkeypatch.setattr(hosts.time, "sleep", lambda _seconds: None)
    return tmp_path


def written(monkeypatch: pytest.MonkeyPatch, host: Answering) -> None:
    monkeypatch.setattr(hosts, "_containers", lambda _client, _name: [host])
    hosts._write_access(None, "set")


def test_a_host_s_key_is_known_though_the_first_answer_was_lost(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(monkeypatch, Answering(b"", b"ssh-ed25519 AAAA root@one"))
    assert (room / "set" / "known_hosts").read_text() == "one,10.0.0.1 ssh-ed25519 AAAA\n"


def test_a_host_without_keys_is_told(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(hosts.HostsError, match="set-one: nothing is heard of sh -c cat /etc/ssh/"):
        written(monkeypatch, Answering(b""))
