# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parts of managed_service that need no host: what is masked, what is believed of its memory, who listens."""

from __future__ import annotations

import base64
import dataclasses
import errno
import json
import os
import socket
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.fedlearn.infra.plugins.module_utils._service import (
    files,
    health,
    limits,
    listeners,
    redact,
    report,
    state,
    units,
)
from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import ServiceError
from ansible_collections.fedlearn.infra.plugins.module_utils._service.removal import Removal
from ansible_collections.fedlearn.infra.plugins.module_utils._service.service import Options, Present
from ansible_collections.fedlearn.infra.plugins.module_utils._service.transaction import Transaction

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
        assert told == f"port {port} is answered by {other}: end it, or choose another port"
        assert listeners.others("fedlearn-a.service", check, []) is None  # that port may be another host's
        assert listeners.others("fedlearn-a.service", [], ports) is None
    assert listeners.others("fedlearn-a.service", check, ports) is None  # nobody listens there any more


def test_a_port_is_held_where_nobody_else_can_listen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ports = wanted([], (port,))["ports"]
        own = Path("/proc/self/cgroup").read_text().splitlines()[0].split("/")[-1]
        comm = Path("/proc/self/comm").read_text().strip()
        told = listeners.held(["fedlearn-a.service"], ports)
        assert told.startswith(f"port {port} is held by another program ({comm}, process {os.getpid()}")
        assert told.endswith(": end it, or choose another port")
        assert listeners.held(["fedlearn-a.service", own], ports) == ""
        assert listeners.held(["fedlearn-a.service"], [{**ports[0], "address": "127.0.0.2"}]) == ""
        assert listeners.held(["fedlearn-a.service"], [{**ports[0], "protocol": "udp"}]) == ""
    assert listeners.held(["fedlearn-a.service"], ports) == ""  # nobody listens there any more


@pytest.mark.parametrize(
    ("groups", "unit"),
    [
        ("0::/system.slice/fedlearn-a.service\n", "fedlearn-a.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", ""),
        # of Docker, by systemd and version 2, and by itself and version 1
        ("0::/fedlearn.slice/fedlearn-a.slice/fedlearn-a-b.slice/docker-27.scope\n", "fedlearn-a-b.service"),
        ("4:memory:/fedlearn-a-b.slice/27\n0::/system.slice/containerd.service\n", "fedlearn-a-b.service"),
    ],
)
def test_whose_a_process_is_say_its_control_groups(monkeypatch: pytest.MonkeyPatch, groups: str, unit: str) -> None:
    monkeypatch.setattr(listeners, "read", lambda path: groups)
    assert listeners.unit_of("7") == unit


def test_only_what_listens_counts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _address = server.accept()
    with client, accepted:  # the connection is there, the listener isn't
        check = [{"tcp": {"address": "127.0.0.1", "port": port}}]
        assert listeners.others("fedlearn-a.service", check, wanted(check, (port,))["ports"]) is None


# -- what a plan says of a service: stopped, ill, differing -----------------------------------------------------------

UP = units.Unit("a.service", active="active", sub="running", enabled="enabled", up=60.0)
DOWN = units.Unit("a.service", active="failed", sub="failed", enabled="enabled", result="exit-code", status="3")
LOOPING = units.Unit("a.service", active="activating", sub="auto-restart", enabled="enabled", restarts=2)


@pytest.fixture
def answered() -> Iterator[int]:
    """A port on which something answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


class Host:
    """A folder in place of a host, on which one service was healthy."""

    def __init__(self, folder: Path, port: int) -> None:
        self.path = folder / "conf"
        self.path.write_bytes(b"text")
        self.path.chmod(0o644)
        self.port = port
        self.remember()

    def wanted(self, **values: Any) -> dict[str, Any]:
        file = {"path": str(self.path), "sha256": files.digest_of(b"text"), "size": 4, "mode": 0o644}
        file.update(owner=str(os.getuid()), group=str(os.getgid()), content=b"text")
        told = {"name": "a", "federation": "f", "unit": "a.service", "units": [], "type": "service", "files": [file]}
        told.update(state="started", finished=None, watch=[], ports=[], data=[], own_data=False, validate=[])
        told.update(inside=[], inside_change="none")
        return {**told, "health": self.health(self.port), **values}

    @staticmethod
    def health(port: int) -> dict[str, Any]:
        return {"timeout": 30, "restarts": 3, "checks": [{"tcp": {"address": "127.0.0.1", "port": port}}]}

    def service(self, **values: Any) -> Present:
        return Present(self.wanted(**values), state.Owned("f"), Options(False, False, {}))

    def remember(self) -> None:
        """Notes what a run that ended well notes."""
        service = self.service()
        service.compare({"a.service": UP})
        service.save_entry(service.wanted_entry(), [])
        service.record.save({"items": service.items, "invocation": "", "health": service.wanted["health"]})

    def unwell(self, unit: units.Unit, **values: Any) -> dict[str, str]:
        service = self.service(**values)
        service.compare({"a.service": unit})
        report.foresee([service])
        rows = report.result([service], None, True)["unwell"]
        assert {row["name"] for row in rows} <= {"a"}
        assert (service.outcome.healthy is False) == bool({"stopped", "ill"} & {row["state"] for row in rows})
        return {row["state"]: row["reason"] for row in rows}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: int) -> Host:
    monkeypatch.setattr(state, "ROOT", str(tmp_path / "memory"))
    return Host(tmp_path, answered)


def test_what_is_as_it_is_to_be_is_well(host: Host) -> None:
    assert host.unwell(UP) == {}


def test_what_somebody_stopped_is_stopped_and_nothing_else(host: Host) -> None:
    assert host.unwell(DOWN) == {"stopped": "a.service is failed (failed), result exit-code, exit status 3"}


def test_what_runs_and_does_not_answer_is_ill_by_the_check_that_failed(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    found = host.unwell(UP, health=Host.health(closed))
    assert found == {"ill": f"TCP 127.0.0.1 port {closed}: [Errno 111] Connection refused"}
    assert host.unwell(LOOPING) == {"ill": "a.service is activating (auto-restart), restarted 2 times"}


def test_a_file_changed_by_hand_leaves_a_service_well_and_differing(host: Host) -> None:
    host.path.write_bytes(b"by hand")
    assert host.unwell(UP) == {"differing": f"{host.path}; would be restarted"}
    assert host.unwell(DOWN) == {"stopped": host.unwell(DOWN)["stopped"], "differing": str(host.path)}


def test_what_is_yet_to_be_restarted_is_asked_as_it_was_when_it_was_healthy(host: Host) -> None:
    """Its document has another port by now: nobody answers there before the restart."""
    host.path.write_bytes(b"by hand")
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    assert host.unwell(UP, health=Host.health(closed)) == {"differing": f"{host.path}; would be restarted"}


@pytest.mark.parametrize(("text", "told"), [("too late\n", {"a": "too late"}), ("", {}), ("x" * 1001, {}), (None, {})])
def test_what_a_job_that_is_done_says_is_told(
    host: Host, tmp_path: Path, text: str | None, told: dict[str, str]
) -> None:
    done = tmp_path / "finished"
    if text is not None:
        done.write_text(text)
    service = host.service(type="job", finished=str(done))
    service.compare({"a.service": UP})
    assert report.result([service], None, True)["told"] == told


def test_what_a_job_leads_elsewhere_is_not_told(host: Host, tmp_path: Path) -> None:
    """Its own user, who may not read all that root may, writes the file."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "finished").symlink_to(tmp_path / "secret")
    service = host.service(type="job", finished=str(tmp_path / "finished"))
    service.compare({"a.service": UP})
    assert report.result([service], None, True)["told"] == {}


def test_what_differs_beside_files_is_named(host: Host, tmp_path: Path) -> None:
    assert host.unwell(dataclasses.replace(UP, enabled="disabled")) == {"differing": "enablement of a.service"}
    watched = tmp_path / "cert.pem"
    watched.write_text("new")
    read = [{"path": str(watched), "change": "restart"}]
    assert host.unwell(UP, watch=read) == {"differing": f"{watched}; would be restarted"}
    assert host.unwell(UP, data=["/var/lib/a"]) == {"differing": "its entry in owned.json"}
    assert host.unwell(dataclasses.replace(UP, needs_reload=True)) == {"differing": "what systemd has loaded"}


def test_what_a_run_that_was_cut_off_left_is_differing(host: Host) -> None:
    record = host.service().record
    record.save({**(record.content or {}), "pending": "none"})
    assert host.unwell(UP) == {"differing": "what a run that was cut off left"}


def test_what_is_to_be_stopped_and_runs_is_differing(host: Host) -> None:
    assert host.unwell(dataclasses.replace(UP, enabled="disabled"), state="stopped") == {
        "differing": "would be stopped"
    }
    assert host.unwell(dataclasses.replace(DOWN, enabled="disabled"), state="stopped") == {}


def test_a_job_that_is_done_needs_no_process(host: Host) -> None:
    assert host.unwell(DOWN, type="job", finished="/nowhere")["stopped"].startswith("a.service is failed")
    assert "stopped" not in host.unwell(DOWN, type="job", finished=str(host.path))


def test_a_job_that_ended_well_is_not_stopped_when_its_document_moves_on(host: Host) -> None:
    ended = units.Unit("a.service", active="inactive", sub="dead", enabled="enabled", result="success")
    assert "stopped" in host.unwell(ended, type="job", finished="/nowhere")
    host.path.write_bytes(b"by hand")
    assert set(host.unwell(ended, type="job", finished="/nowhere")) == {"differing"}
    assert set(host.unwell(DOWN, type="job", finished="/nowhere")) == {"stopped", "differing"}
    assert set(host.unwell(ended)) == {"stopped", "differing"}


def test_what_is_absent_and_still_there_is_differing(host: Host) -> None:
    removal = Removal({**host.wanted(), "state": "absent"}, state.Owned("f"), Options(False, False, {}))
    removal.compare({"a.service": UP})
    report.foresee([removal])
    assert report.result([removal], None, True)["unwell"] == [
        {"name": "a", "state": "differing", "reason": "would be removed"}
    ]


@pytest.mark.parametrize(("can_reload", "verb"), [(True, "reload"), (False, "restart")])
def test_a_unit_of_the_distribution_is_told_of_a_removal_as_it_can_be(
    host: Host, monkeypatch: pytest.MonkeyPatch, can_reload: bool, verb: str
) -> None:
    """nginx reads its files anew, chrony has to be started again."""
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(units, "show", lambda _names: {"a.service": dataclasses.replace(UP, can_reload=can_reload)})
    monkeypatch.setattr(units, "must", lambda *words: told.append(words))
    wanted = {**host.wanted(), "state": "absent", "unit": "a.service", "units": [], "files": [], "validate": []}
    Removal(wanted, state.Owned("f"), Options(False, False, {}))._tell_distribution("a.service")
    assert told == [(verb, "a.service")]


def test_what_cannot_be_compared_failed(host: Host) -> None:
    service = host.service()
    service.failed, service.outcome.reason = True, "something lies there"
    report.foresee([service])
    found = report.result([service], None, True)
    assert found["unwell"] == [{"name": "a", "state": "failed", "reason": "something lies there"}]
    assert found["msg"] == "a: something lies there"


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("true", ""),
        ("echo one login is another", "one login is another"),
        (f"echo '{SECRET}' is wrong; exit 1", f"{redact.MASK} is wrong"),
        ("exit 3", "exit status 3"),
    ],
)
def test_what_a_service_holds_is_looked_at_by_its_own_command(host: Host, says: str, told: str) -> None:
    secret = {**host.wanted()["files"][0], "secret": True, "content": SECRET.encode()}
    service = host.service(inside=["/bin/sh", "-c", says], files=[secret])
    service.outcome.healthy = True
    report.look_inside([service])
    assert report.result([service], None, False)["services"]["a"]["inside"] == told


@pytest.mark.parametrize("action", ["restart", "reload", "start"])
def test_a_restart_says_how_long_the_service_was_away(host: Host, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    service = Transaction(host.wanted(), state.Owned("f"), Options(False, False, {}))
    service.compare({"a.service": UP})
    service.action = action
    service.begin_acting()
    service._since -= 2.5
    monkeypatch.setattr(health, "wait", lambda *_arguments: "")
    service.settle()
    assert (service.outcome.pause >= 2.5) == (action == "restart")


@pytest.mark.parametrize("differs", [True, False])
def test_a_failure_before_any_change_says_that_nothing_differs_only_where_nothing_does(
    host: Host, differs: bool
) -> None:
    service = Transaction(host.wanted(), state.Owned("f"), Options(False, False, {}))
    if differs:
        for file in service.files:
            file.mode, file.change = 0o600, "none"
    service.compare({"a.service": UP})
    assert service.action == "none"
    service.undo("no space left")
    assert ("nothing of it differs" in service.outcome.reason) == (not differs)
    assert ("nothing was changed" in service.outcome.reason) == differs


@pytest.mark.parametrize("theirs", [True, False])
def test_what_lay_there_before_a_first_deploy_that_was_refused_stays_somebody_elses(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: bool
) -> None:
    data = tmp_path / "data"
    if theirs:
        data.mkdir()
    refuse = ["/bin/sh", "-c", f"mkdir -p {data}; exit 1"]
    new = host.wanted(name="b", data=[str(data)], validate=refuse)
    new["files"] = [{**new["files"][0], "path": str(tmp_path / "new")}]
    monkeypatch.setattr(units, "verb", lambda *_words: (0, ""))
    service = Transaction(new, state.Owned("f"), Options(False, False, {}))
    service.compare({"a.service": UP})
    with pytest.raises(ServiceError, match="refused the new configuration"):
        service.place()
    for known in (Removal(new, state.Owned("f"), Options(False, True, {})).data, service.data):
        assert known == ([] if theirs else [str(data)])
    service.undo("refused")
    assert Removal(new, state.Owned("f"), Options(False, True, {})).data == ([] if theirs else [str(data)])


def at_home(tmp_path: Path, host: Host, **values: Any) -> tuple[Path, dict[str, Any]]:
    """Where a new service keeps its data, and what is wanted of it."""
    home = tmp_path / "lib" / "fedlearn-b"
    new = host.wanted(name="b", data=[str(home)], own_data=True, **values)
    new["files"] = [{**new["files"][0], "path": str(tmp_path / "new")}]
    return home, new


@pytest.mark.parametrize("private", [True, False])
def test_data_of_somebody_else_are_left_alone(host: Host, tmp_path: Path, private: bool) -> None:
    home, new = at_home(tmp_path, host)
    theirs = home.parent / "private" / home.name if private else home
    theirs.mkdir(parents=True)
    (theirs / "PG_VERSION").write_text("15")
    service = Transaction(new, state.Owned("f"), Options(False, False, {}))
    with pytest.raises(ServiceError, match="fedlearn-b is there and isn't this instance's: it is left alone; move it"):
        service.compare({"a.service": UP})
    assert Removal(new, state.Owned("f"), Options(True, False, {})).data == []


def test_an_empty_folder_is_nobody_s(host: Host, tmp_path: Path) -> None:
    home, new = at_home(tmp_path, host)
    (home / "lost+found").mkdir(parents=True)
    Transaction(new, state.Owned("f"), Options(False, False, {})).compare({"a.service": UP})


def test_data_that_a_run_made_which_was_cut_off_are_its_own(host: Host, tmp_path: Path) -> None:
    home, new = at_home(tmp_path, host)
    first = Transaction(new, state.Owned("f"), Options(False, False, {}))
    first.compare({"a.service": UP})
    first.place()
    home.mkdir(parents=True)
    (home / "PG_VERSION").write_text("15")
    Transaction(new, state.Owned("f"), Options(False, False, {})).compare({"a.service": UP})


@pytest.mark.parametrize("removed", [True, False])
def test_data_that_were_kept_are_its_own_and_no_other_federation_s(host: Host, tmp_path: Path, removed: bool) -> None:
    home, new = at_home(tmp_path, host)
    home.mkdir(parents=True)
    (home / "PG_VERSION").write_text("15")
    owned = state.Owned("f")
    entry = {"data": [str(home)]}
    (owned.left_data if removed else owned.services)["b"] = entry if removed else {**entry, "files": []}
    owned.save()
    Transaction(new, state.Owned("f"), Options(False, False, {})).compare({"a.service": UP})
    other = Transaction({**new, "federation": "g"}, state.Owned("g"), Options(False, False, {}))
    with pytest.raises(ServiceError, match="fedlearn-b is there and is of b of federation f: it is left alone"):
        other.compare({"a.service": UP})


def test_data_are_its_own_where_only_its_record_is_left(host: Host, tmp_path: Path) -> None:
    home, new = at_home(tmp_path, host)
    home.mkdir(parents=True)
    (home / "PG_VERSION").write_text("15")
    state.Record("f", "b").save({"items": {}})
    Transaction(new, state.Owned("f"), Options(False, False, {})).compare({"a.service": UP})


@pytest.mark.parametrize(("can", "done"), [(True, "reloaded"), (False, "restarted")])
def test_what_was_changed_inside_is_drift_where_the_service_can_put_it_back(host: Host, can: bool, done: str) -> None:
    says = {"inside": ["/bin/sh", "-c", "echo one user is another"]}
    unit = dataclasses.replace(UP, can_reload=can)
    found = host.unwell(unit, **says, inside_change="reload")
    assert found == {"differing": f"one user is another; would be {done}"}
    assert host.unwell(unit, **says) == {}
    assert host.unwell(unit, inside=["/bin/true"], inside_change="reload") == {}
    assert "differing" not in host.unwell(DOWN, **says, inside_change="reload")


@pytest.mark.parametrize("state", [{"healthy": None}, {"healthy": False}, {"healthy": True, "deferred": True}])
def test_one_that_is_not_well_or_waits_to_be_restarted_is_not_asked_what_it_holds(
    host: Host, state: dict[str, Any]
) -> None:
    service = host.service(inside=["/bin/sh", "-c", "echo asked"])
    service.outcome = dataclasses.replace(service.outcome, **state)
    report.look_inside([service])
    assert service.outcome.inside == ""


def test_a_reason_shows_no_secret(host: Host) -> None:
    told = {"checks": [{"command": ["/bin/sh", "-c", f"echo wrong: '{SECRET}'; exit 1"]}], "timeout": 1, "restarts": 0}
    secret = {**host.wanted()["files"][0], "secret": True, "content": SECRET.encode()}
    found = host.unwell(UP, health=told, files=[secret])
    assert redact.MASK in found["ill"]
    assert SECRET not in found["ill"]


SITE = files.File("/site", "", 0, 0o644, "0", "0", keeps="    server (.+):[0-9]+ ")


def upstream(servers: list[str]) -> bytes:
    """A site that leads to these; `!` is a server's that was kept."""
    lines = "".join(f"    server {one.strip('!')} max_fails=1;{'  # kept' * one.endswith('!')}\n" for one in servers)
    return f"upstream a {{\n    zone a 1k;\n{lines}}}\nserver {{\n    server_name b:1 ;\n}}\n".encode()


@pytest.mark.parametrize(
    ("wanted", "there", "kept"),
    [
        (["10.0.0.1:2"], ["10.0.0.1:1"], ["10.0.0.1:2", "10.0.0.1:1!"]),  # it changes its port
        (["[::1]:2"], ["[::1]:1"], ["[::1]:2", "[::1]:1!"]),
        (["10.0.0.1:2"], ["10.0.0.1:2", "10.0.0.1:1!"], ["10.0.0.1:2", "10.0.0.1:1!"]),  # the run was cut off
        (["10.0.0.1:3"], ["10.0.0.1:2", "10.0.0.1:1!"], ["10.0.0.1:3", "10.0.0.1:2!", "10.0.0.1:1!"]),
        (["10.0.0.1:1"], ["10.0.0.1:2", "10.0.0.1:1!"], ["10.0.0.1:1", "10.0.0.1:2!"]),  # back again
        (["10.0.0.1:1"], ["10.0.0.1:1", "10.0.0.2:1"], ["10.0.0.1:1"]),  # a host is drained
        (["10.0.0.1:1"], ["10.0.0.1:1", "10.0.0.1:2"], ["10.0.0.1:1"]),  # one server less on a host
        (["10.0.0.1:3"], ["10.0.0.1:1", "10.0.0.1:2"], ["10.0.0.1:3", "10.0.0.1:1!"]),
        (["10.0.0.1:1", "10.0.0.1:2"], ["10.0.0.1:1"], ["10.0.0.1:1", "10.0.0.1:2"]),
        (["10.0.0.2:1"], ["10.0.0.1:1"], ["10.0.0.2:1"]),  # it moves: two of one may not answer side by side
        (["10.0.0.1:1", "10.0.0.2:1"], ["10.0.0.1:1"], ["10.0.0.1:1", "10.0.0.2:1"]),
        (["a:2", "b:2"], ["a:1", "b:1"], ["a:2", "b:2", "a:1!", "b:1!"]),
        (["a:1"], [], ["a:1"]),
    ],
)
def test_a_proxy_keeps_leading_to_ports_that_servers_change(
    wanted: list[str], there: list[str], kept: list[str]
) -> None:
    content = upstream(wanted)
    file = dataclasses.replace(SITE, content=content, sha256=files.digest_of(content), size=len(content))
    found = files.with_kept_lines(file, upstream(there))
    assert found.content == upstream(kept)
    assert (found.sha256, found.size) == (files.digest_of(found.content), len(found.content))
    assert (found == file) == (kept == wanted)


def test_lines_are_kept_of_files_of_ours_only_and_until_a_call_that_defers_nothing(host: Host) -> None:
    file = {**host.wanted()["files"][0], "keeps": "(te)xt"}
    new = {**file, "content": b"text 2\n", "sha256": files.digest_of(b"text 2\n"), "size": 7}
    host.path.write_bytes(b"text 1\n")

    def wanted(keeping: bool) -> tuple[bytes | None, bool]:
        service = Present(host.wanted(files=[new]), state.Owned("f"), Options(False, False, {}, keeping))
        service.compare({"a.service": UP})
        return service.files[0].content, service.outcome.kept

    assert wanted(keeping=True) == (b"text 2\ntext 1  # kept\n", True)
    assert wanted(keeping=False) == (b"text 2\n", False)
    owned = state.Owned("f")
    owned.services["a"]["files"] = []
    owned.save()
    assert wanted(keeping=True) == (b"text 2\n", False)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/etc/x/y.conf", "/etc is mounted read-only: mount -o remount,bind,rw /etc"),
        ("/srv/a b/y", "/srv/a b is mounted read-only: mount -o remount,rw /srv/a b; dmesg says whether"),
        ("/var/lib/y", "/var is mounted read-only: mount -o remount,rw /var; dmesg says whether its disk has errors"),
        ("/etcetera/y", "the file system is mounted read-only"),
        ("/etc/open/y", "the file system is mounted read-only"),
        ("its files", "the file system is mounted read-only"),
    ],
)
def test_which_mount_is_read_only_is_told_with_what_makes_it_writable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, told: str
) -> None:
    mounts = [("/", "rw", "rw"), ("/var", "rw", "rw"), ("/var", "ro", "ro"), ("/etc", "ro,nosuid", "rw")]
    mounts += [("/etc/open", "rw", "rw"), ("/srv/a\\040b", "ro", "ro,errors=remount-ro")]
    table = tmp_path / "mountinfo"
    rows = (f"1 2 8:1 / {place} {mount} shared:1 - ext4 /dev/sda1 {whole}" for place, mount, whole in mounts)
    table.write_text("".join(f"{row}\n" for row in rows))
    monkeypatch.setattr(files, "MOUNTS", str(table))
    said = str(files.explain(OSError(errno.EROFS, "no"), path))
    assert said.startswith(f"{path}: Read-only file system ({told}"), said


# -- limits of what runs ----------------------------------------------------------------------------------------------

UNIT = """[Service]
ExecStart=/bin/sh -c "true \\
MemoryMax=1"
TasksMax=10
MemoryMax=1G
"""


def test_what_of_a_unit_is_a_limit() -> None:
    digest = limits.digest_without(UNIT.encode())
    alike = ("MemoryMax=1G", "MemoryMax = 2G"), ("TasksMax=10\n", ""), ("TasksMax=10", "CPUQuota=10%\nMemoryHigh=1M")
    other = ('MemoryMax=1"', 'MemoryMax=2"'), ("TasksMax=10", "LimitNOFILE=10"), ("TasksMax=10", "TasksMax=10 \\")
    assert [limits.digest_without(UNIT.replace(*one).encode()) == digest for one in (*alike, *other)] == [
        *[True] * 3,
        *[False] * 3,
    ]


@pytest.mark.parametrize(
    ("said", "killed"),
    [
        *[(said, True) for said in ("99M", "1K", "0.0001%", "1.5G", "1G 500M", "nonsense")],
        *[(said, False) for said in ("100M", "104857600", "1G", "100%", "infinity", "")],
    ],
)
def test_which_limit_a_process_would_not_survive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, killed: bool
) -> None:
    for place, stat in (("two", "anon 100000000\nfile 9\nshmem 4857600\n"), ("one", "")):
        (tmp_path / place / "a").mkdir(parents=True)
        (tmp_path / place / "a" / "memory.stat").write_text(stat)
    monkeypatch.setattr(limits, "_MEMORY", (str(tmp_path / "one"), str(tmp_path / "two")))
    content = f"[Service]\nMemoryMax=1\nMemoryMax={said}\n".encode()
    told = limits.too_low(units.Unit("a.service", cgroup="/a"), content)
    assert told == (
        f"a.service has 100 MB in use, and with MemoryMax={said} the kernel would kill it" if killed else ""
    )
    assert limits.too_low(units.Unit("a.service"), content) == ""


class Limited(Host):
    """A host on which a service has a unit of its own, with a record as a release before the last one wrote it."""

    limit, rest = "1G", "true"

    def wanted(self, **values: Any) -> dict[str, Any]:
        content = f"[Service]\nExecStart=/bin/{self.rest}\nMemoryMax={self.limit}\n"
        one = {"name": "a.service", "content": content, "install": False}
        return super().wanted(**{"unit": None, "units": [one], **values})

    def compared(self) -> Present:
        service = self.service()
        for file in service.files:
            file.owner, file.group = str(os.getuid()), str(os.getgid())
        shown = dataclasses.replace(UP, fragment=service.unit_paths[0])
        service.compare({"a.service": shown})
        return service

    def remember(self) -> None:
        (service,) = [self.service()]
        Path(service.unit_paths[0]).write_bytes(service.files[0].content or b"")
        Path(service.unit_paths[0]).chmod(0o644)
        service = self.compared()
        service.save_entry(service.wanted_entry(), [])
        service.record.save({"items": service.items, "invocation": "", "health": service.wanted["health"]})


@pytest.mark.parametrize(
    ("limit", "rest", "action", "alone"),
    [("1G", "true", "none", False), ("2G", "true", "none", True), ("2G", "false", "restart", False)],
)
@pytest.mark.parametrize("written", [False, True], ids=["record of a former release", "record with units"])
def test_a_limit_restarts_nothing_and_what_stands_beside_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, rest: str, action: str, alone: bool, written: bool
) -> None:
    monkeypatch.setattr(state, "ROOT", str(tmp_path / "memory"))
    monkeypatch.setattr(units, "PERMANENT", str(tmp_path))
    host = Limited(tmp_path, 9)
    if written:
        service = host.compared()
        service.record.save({**(service.record.content or {}), "units": service.unit_digests})
    host.limit, host.rest = limit, rest
    service = host.compared()
    assert (service.action, service.only_limits, service.interrupts) == (action, alone, action == "restart")
    # a run that was cut off after it had written the unit
    Path(service.unit_paths[0]).write_bytes(service.files[0].content or b"")
    again = host.compared().action
    assert again == (action if written or limit == "1G" else "restart")
