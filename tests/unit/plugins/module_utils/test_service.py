# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parts of managed_service that need no host: what is masked, what is believed of its memory, who listens."""

from __future__ import annotations

import base64
import json
import os
import socket
import time
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.fedlearn.infra.plugins.module_utils._service import (
    health,
    listeners,
    redact,
    report,
    state,
    units,
)
from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import ServiceError

SECRET = 'pass/wörd"+1 of mine'


# -- what of a journal is told ----------------------------------------------------------------------------------------


def test_a_reason_is_told_however_much_a_program_says_after_it() -> None:
    chatter = [f"line {number}" for number in range(100)]
    journal = ["starting", "PKCS12_parse failed.", *chatter]
    assert report.telling(journal) == ["PKCS12_parse failed.", *chatter[-15:]]
    assert report.telling(["an error", "the end"]) == ["an error", "the end"]
    assert report.telling([f"error {number}" for number in range(50)] + chatter)[:5] == [
        f"error {number}" for number in range(45, 50)
    ]
    assert report.telling([]) == []


# -- masking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        f"redis://user:{urllib.parse.quote(SECRET, safe='')}@host",
        f"redis://user:{urllib.parse.quote(SECRET, safe='').lower()}@host",
        f"?q={urllib.parse.quote_plus(SECRET)}",
        json.dumps({"key": SECRET}),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        SECRET.encode().hex(),
        SECRET.split(maxsplit=1)[0],
    ],
)
def test_a_secret_is_masked_in_every_form(shown: str) -> None:
    masked = redact.Mask([SECRET.encode() + b"\n"])(f"before {shown} after")
    assert redact.MASK in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    for part in ("pass", "mine", "cGFzcy93", SECRET.encode().hex()[2:12]):
        assert part not in masked


@given(st.binary(max_size=7), st.text("abcdefgh+/", min_size=12, max_size=40), st.binary(max_size=7))
def test_a_secret_is_masked_inside_of_base64(before: bytes, secret: str, after: bytes) -> None:
    shown = base64.b64encode(before + secret.encode() + after).decode()
    masked = redact.Mask([secret.encode()])(shown)
    assert redact.MASK in masked
    # what is left holds at most the bits of the secret's first and last character
    left = masked.split(redact.MASK)
    assert len("".join(left)) <= len(shown) - (len(secret) - 2) * 8 // 6


def test_lines_that_together_hold_a_secret_are_masked() -> None:
    mask = redact.Mask([b"canary-in-two"])
    assert mask.lines(["told: canary-", "in-two, and more", "well"]) == [redact.MASK, redact.MASK, "well"]
    assert mask.lines(["told: canary-in-two", "well"]) == [f"told: {redact.MASK}", "well"]


def test_a_cut_never_leaves_half_a_secret() -> None:
    secret = "s3cret" * 20
    for shift in range(0, 500, 7):
        ending = units.ending("x " * (shift // 2) + secret + " y" * 200)
        assert "s3cret" not in redact.Mask([secret.encode()])(ending)
        assert len(ending) < 400


def test_the_last_lines_are_kept_whole() -> None:
    assert units.ending("\n".join(f"line {number}" for number in range(20))).splitlines() == [
        f"line {number}" for number in range(12, 20)
    ]


# -- what is remembered -----------------------------------------------------------------------------------------------

ENTRY = {"units": ["fedlearn-a.service"], "files": ["/etc/fedlearn/f/a/conf"], "data": ["/var/lib/fedlearn-a"]}


def owned(folder: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> state.Owned:
    monkeypatch.setattr(state, "ROOT", str(folder))
    (folder / "f").mkdir()
    (folder / "f" / "owned.json").write_text(content)
    return state.Owned("f")


def test_nothing_there_is_nothing_owned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "ROOT", str(tmp_path))
    assert state.Owned("f").services == {}


def test_what_is_sound_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.dumps({"version": 1, "services": {"a": ENTRY}, "left_data": {"b": {"data": ["/var/lib/b"]}}})
    assert owned(tmp_path, monkeypatch, content).services == {"a": ENTRY}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is damaged"),
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ("{}", "is damaged"),
        ('{"version": "1"}', "is damaged"),
        ('{"version": 2}', "was written by a newer release"),
        ('{"version": 1, "services": []}', "is damaged"),
        *[
            (json.dumps({"version": 1, "services": {"a": entry}}), "what it says of a is damaged")
            for entry in (
                1,
                {**ENTRY, "files": "/etc/passwd"},
                {**ENTRY, "files": [1]},
                {**ENTRY, "files": ["etc/passwd"]},
                {**ENTRY, "files": ["/etc/fedlearn/../passwd"]},
                {**ENTRY, "data": ["/var/lib//"]},
                {**ENTRY, "directories": ["."]},
                {**ENTRY, "units": ["*"]},
                {**ENTRY, "units": ["--now"]},
                {**ENTRY, "units": ["a b"]},
            )
        ],
    ],
)
def test_what_is_damaged_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, reason: str) -> None:
    with pytest.raises(ServiceError, match=f"^{tmp_path}/f/owned.json: .*{reason}"):
        owned(tmp_path, monkeypatch, content)


# -- commands ---------------------------------------------------------------------------------------------------------


def test_what_a_command_started_ends_with_its_time(tmp_path: Path) -> None:
    script = f"sleep 300 & echo $! > {tmp_path}/pid; echo begun; wait"
    assert units.run(["/bin/sh", "-c", script], 1) == (124, "begun\n\n(no answer within 1 s)")
    child = Path("/proc", (tmp_path / "pid").read_text().strip(), "cmdline")
    for _attempt in range(100):
        if not child.exists() or not child.read_bytes():
            break
        time.sleep(0.1)
    assert not child.exists() or not child.read_bytes()


# -- health -----------------------------------------------------------------------------------------------------------


def wanted(checks: list[dict[str, object]], ports: tuple[int, ...] = (), kind: str = "service") -> dict[str, object]:
    told = [{"address": "127.0.0.1", "port": port, "protocol": "tcp"} for port in ports]
    return {"type": kind, "ports": told, "health": {"timeout": 30, "restarts": 3, "checks": checks}}


@pytest.mark.parametrize(
    ("unit", "kind", "wrong"),
    [
        (units.Unit("a", active="active", sub="running", up=0.5), "service", None),
        (units.Unit("a", active="active", sub="running", up=60.0, restarts=2), "service", None),
        (units.Unit("a", active="active", sub="running", up=1.0, restarts=2), "service", "restarted 2 times"),
        (units.Unit("a", active="activating", sub="auto-restart", restarts=2), "service", "activating (auto-restart)"),
        (units.Unit("a", active="activating", sub="auto-restart", restarts=2), "job", "activating (auto-restart)"),
        (units.Unit("a", active="activating", sub="start"), "service", "activating (start)"),
        (units.Unit("a", active="activating", sub="start"), "job", None),
        (units.Unit("a", active="activating", sub="start", notifies=True), "job", "activating (start)"),
        (units.Unit("a", active="failed", sub="failed", result="exit-code", status="3"), "job", "exit status 3"),
    ],
)
def test_what_a_unit_without_checks_is_called(unit: units.Unit, kind: str, wrong: str | None) -> None:
    found = health.wrong_now(unit, wanted([], kind=kind))
    assert found is None if wrong is None else wrong in str(found)


def test_a_port_is_the_units_own_or_somebody_elses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check = [{"http": {"url": f"http://127.0.0.1:{port}/", "status": [200]}}]
        ports = wanted(check, (port,))["ports"]
        own = Path("/proc/self/cgroup").read_text().splitlines()[0].split("/")[-1]
        assert listeners.others(own, check, ports) is None
        told = listeners.others("fedlearn-a.service", check, ports)
        comm = Path("/proc/self/comm").read_text().strip()
        other = f"another program ({comm}, process {os.getpid()}) and not by fedlearn-a.service"
        assert told == f"port {port} is answered by {other}"
        assert listeners.others("fedlearn-a.service", check, []) is None  # that port may be another host's
        assert listeners.others("fedlearn-a.service", [], ports) is None
    assert listeners.others("fedlearn-a.service", check, ports) is None  # nobody listens there any more


def test_only_what_listens_counts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _address = server.accept()
    with client, accepted:  # the connection is there, the listener isn't
        check = [{"tcp": {"address": "127.0.0.1", "port": port}}]
        assert listeners.others("fedlearn-a.service", check, wanted(check, (port,))["ports"]) is None
