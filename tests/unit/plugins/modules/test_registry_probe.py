# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the probe of a registry takes for an answer; with a real registry, molecule/registry."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.modules.registry_probe import (
    BLOB,
    Registry,
    WrongAnswerError,
    digest,
    manifest,
)

PASSWORDS = {"first": "right: \u00fc\n", "second": "also right"}
LOGINS = {base64.b64encode(f"ci_{name}:{PASSWORDS[name]}".encode()).decode() for name in PASSWORDS}


class Double(http.server.BaseHTTPRequestHandler):
    """Just enough of a registry; `held` is what was pushed, `wrong` what it answers otherwise."""

    held: dict[str, bytes]
    wrong: dict[str, tuple[int, bytes]]

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        status, body = self.wrong.get(f"{self.command} {self.path.partition('?')[0]}", (status, body))
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization", "").removeprefix("Basic ") not in LOGINS:
            return self.answer(401)
        if self.command == "POST":
            return self.answer(202, Location="http://elsewhere.example/v2/fedlearn-health/blobs/uploads/1?state=a%3D")
        if self.command == "PUT":
            name = f"/v2/fedlearn-health/blobs/{self.path.partition('digest=')[2]}" if "digest=" in self.path else ""
            self.held[name or self.path] = sent
            return self.answer(201)
        known = {**self.held, "/v2/": b"{}"}
        return self.answer(200, known[self.path]) if self.path in known else self.answer(404)

    do_GET = do_PUT = do_POST = do  # noqa: N815 - http.server's names

    def log_message(self, *_args: object) -> None:
        """Stays quiet."""


@pytest.fixture
def double() -> Iterator[type[Double]]:
    class Mine(Double):
        held: dict[str, bytes] = {}
        wrong: dict[str, tuple[int, bytes]] = {}

    Mine.port = 0  # type: ignore[attr-defined]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mine)
    Mine.port = server.server_port  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Mine
    server.shutdown()
    thread.join()
    server.server_close()


def registry(double: Any, **changed: Any) -> Registry:
    users = [{"name": f"ci_{name}", "secret": name} for name in PASSWORDS]
    there = {"name": "images", "address": "127.0.0.1", "port": double.port, "users": users, **changed}
    return Registry(there, PASSWORDS, {})


def test_a_well_one_has_the_artifact_afterwards(double: Any) -> None:
    registry(double).probe()
    assert double.held == {
        f"/v2/fedlearn-health/blobs/{digest(BLOB)}": BLOB,
        "/v2/fedlearn-health/manifests/latest": manifest(),
    }


def test_one_that_is_read_only_is_not_pushed_to(double: Any) -> None:
    registry(double, read_only=True).probe()
    registry(double).probe(push=False)
    assert double.held == {}


@pytest.mark.parametrize(
    ("place", "status", "body", "message"),
    [
        ("GET /v2/", 200, b"{}", "a request without a login was answered 200 instead of 401"),
        ("POST /v2/fedlearn-health/blobs/uploads/", 500, b"", "the begin of a push was answered 500 instead of 202"),
        (
            "PUT /v2/fedlearn-health/blobs/uploads/1",
            405,
            b'{"errors": [{"message": "read only"}]}',
            "the push of a layer was answered 405 instead of 201: read only",
        ),
        (
            "PUT /v2/fedlearn-health/manifests/latest",
            400,
            b"no JSON",
            "the push of a manifest was answered 400 instead of 201",
        ),
        ("GET /v2/fedlearn-health/manifests/latest", 200, b"other", "what was pulled isn't what was pushed"),
        (f"GET /v2/fedlearn-health/blobs/{digest(BLOB)}", 200, b"[]", "what was pulled isn't what was pushed"),
    ],
)
def test_what_is_wrong_is_told(double: Any, place: str, status: int, body: bytes, message: str) -> None:
    double.wrong[place] = (status, body)
    with pytest.raises(WrongAnswerError) as told:
        registry(double).probe()
    assert str(told.value) == message


def test_each_login_has_to_be_accepted(double: Any) -> None:
    users = [{"name": "ci_first", "secret": "first"}, {"name": "ci_second", "secret": "first"}]
    with pytest.raises(WrongAnswerError, match="the login ci_second was answered 401 instead of 200"):
        registry(double, users=users).probe()
