# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a launcher tells systemd that it has come up."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "roles" / "shared_mindspore" / "files"))

from fedlearn_mindspore.systemd import ready


@pytest.mark.parametrize("name", ["{folder}/notify", "@fedlearn-test-notify"])
def test_ready_is_told_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    address = name.format(folder=tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        ready()
        ready()
        assert manager.recv(64) == b"READY=1"
        with pytest.raises(BlockingIOError):
            manager.recv(64)


def test_without_systemd_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    ready()
