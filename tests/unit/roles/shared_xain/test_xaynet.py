# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The launcher of xaynet-server: what it tells the program, which states it drops, what it refuses.

The program and Redis are doubles, which say what those were seen to say; the real ones are asked by the scenario.
"""

from __future__ import annotations

import json
import socketserver
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "roles" / "shared_xain" / "files"))

from fedlearn_xain import launching, resp, xaynet

PROGRAM = """#!/bin/sh
{reads}
echo {says} >&2
exit 101
"""
PANIC = "thread main panicked: failed to establish a connection to Redis: Connection refused"
CONFIGURATION: dict[str, Any] = {
    "pet": {"sum": 0.5},
    "mask": {"data_type": "F32"},
    "model": {"length": 4},
    "log": {"filter": "info"},
    "redis": {"user": "me", "host": "127.0.0.1", "port": 6379},
    "s3": {"access_key": "me"},
}


class RedisDouble(socketserver.StreamRequestHandler):
    """Strings by name, for who says the password."""

    held: dict[bytes, bytes]
    let_in = False

    def handle(self) -> None:
        """Answers commands until there is none."""
        while line := self.rfile.readline():
            words = []
            for _word in range(int(line[1:])):
                length = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(length + 2)[:-2])
            self.wfile.write(self.answer(words[0], words[1:]))

    def answer(self, command: bytes, words: list[bytes]) -> bytes:
        """As Redis does."""
        if command == b"AUTH":
            self.let_in = words == [b"me", b"right"]
            return b"+OK\r\n" if self.let_in else b"-WRONGPASS invalid username-password pair\r\n"
        assert self.let_in
        if command == b"GET":
            found = self.held.get(words[0])
            return b"$-1\r\n" if found is None else b"$%d\r\n%s\r\n" % (len(found), found)
        if command == b"DEL":
            return b":%d\r\n" % (self.held.pop(words[0], None) is not None)
        self.held[words[0]] = words[1]
        return b"+OK\r\n"


@pytest.fixture
def redis() -> Iterator[dict[str, Any]]:
    RedisDouble.held = {}
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), RedisDouble) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = {"user": "me", "host": "127.0.0.1", "port": server.server_address[1]}
        yield {**CONFIGURATION, "redis": where}
        server.shutdown()


def program(folder: Path, says: str, reads: str = "") -> str:
    path = folder / "program"
    path.write_text(PROGRAM.format(says=json.dumps(says), reads=reads))
    path.chmod(0o755)
    return str(path)


def checked(path: str) -> None:
    xaynet.check({"program": path, "configuration": CONFIGURATION})


@pytest.fixture(autouse=True)
def _nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "drop_root", lambda: None)


def test_passwords_are_part_of_the_programs_configuration_whatever_is_in_them() -> None:
    found = xaynet.complete(CONFIGURATION, "a:b@c/d%e", "st'or\"age")
    assert found["redis"] == {"url": "redis://me:a%3Ab%40c%2Fd%25e@127.0.0.1:6379/0"}
    assert found["s3"] == {"access_key": "me", "secret_access_key": "st'or\"age"}
    assert found["metrics"]["influxdb"].keys() == {"url", "db"}
    assert found["pet"] == CONFIGURATION["pet"]


def test_a_state_of_the_same_settings_stays_and_one_of_others_goes(redis: dict[str, Any]) -> None:
    xaynet.drop_other_state(redis, "right")
    RedisDouble.held[b"coordinator_state"] = b"state"
    xaynet.drop_other_state({**redis, "log": {"filter": "debug"}}, "right")
    assert RedisDouble.held[b"coordinator_state"] == b"state"
    xaynet.drop_other_state({**redis, "pet": {"sum": 0.4}}, "right")
    assert b"coordinator_state" not in RedisDouble.held
    RedisDouble.held[b"coordinator_state"] = b"new"
    xaynet.drop_other_state({**redis, "pet": {"sum": 0.4}}, "right")
    assert RedisDouble.held[b"coordinator_state"] == b"new"


def test_a_state_of_unknown_settings_goes(redis: dict[str, Any]) -> None:
    RedisDouble.held[b"coordinator_state"] = b"state"
    xaynet.drop_other_state(redis, "right")
    assert b"coordinator_state" not in RedisDouble.held


def test_redis_refusal_is_told(redis: dict[str, Any]) -> None:
    with pytest.raises(resp.RespError, match="WRONGPASS"):
        xaynet.drop_other_state(redis, "wrong")


def test_what_is_no_redis_is_told() -> None:
    class Other(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"HTTP/1.1 400 Bad Request\r\n")
            self.rfile.read(1)

    with socketserver.TCPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with (
            resp.Connection("127.0.0.1", server.server_address[1]) as connection,
            pytest.raises(resp.RespError, match="what answers is no Redis"),
        ):
            connection.ask("GET", "x")
        server.shutdown()


def test_a_right_configuration_gets_as_far_as_redis(tmp_path: Path) -> None:
    without_s3 = (
        """grep -q access_key "$2" || { echo 'configuration loading failed: missing field `s3`' >&2; exit 1; }"""
    )
    checked(program(tmp_path, PANIC, without_s3))


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("validation failed: invalid phase count range(s)", "validation failed: invalid phase count"),
        ("shutting down: invalid tls settings", "it is built with the feature tls"),
        (PANIC, "it is built without the feature model-persistence"),  # with s3 missing, too
    ],
)
def test_what_the_program_refuses_and_how_it_was_built_is_told(tmp_path: Path, says: str, told: str) -> None:
    with pytest.raises(launching.LaunchError, match=told.replace("(", r"\(")):
        checked(program(tmp_path, says))


def test_what_can_not_be_started_is_told(tmp_path: Path) -> None:
    with pytest.raises(launching.LaunchError, match="No such file"):
        checked(str(tmp_path / "nothing"))
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(launching.LaunchError, match="Exec format error"):
        checked(str(tmp_path / "text"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({}, ""),
        ({"log": {"filter": "debug"}}, ""),
        ({"pet": {"sum": 0.4}}, r"\[pet\] differ"),
        ({"mask": {}, "model": {"length": 5}}, r"\[mask\], \[model\] differ"),
    ],
)
def test_settings_of_a_state_change_only_when_that_is_meant(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    former, meant = tmp_path / "former.json", tmp_path / "meant"
    config = {"configuration": {**CONFIGURATION, **change}, "stack": "masked"}
    xaynet.refuse_loss(config, former, meant)  # the first deployment
    former.write_text(json.dumps({"configuration": CONFIGURATION}) + "# spoilt by hand\n")
    xaynet.refuse_loss(config, former, meant)
    former.write_text(json.dumps({"configuration": CONFIGURATION}))
    if named:
        with pytest.raises(launching.LaunchError, match=f"{named}.*say -e fedlearn_disrupt=masked"):
            xaynet.refuse_loss(config, former, meant)
        meant.touch()
    xaynet.refuse_loss(config, former, meant)
