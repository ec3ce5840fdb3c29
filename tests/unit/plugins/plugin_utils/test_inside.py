# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands in pods, against a double of the API's WebSocket that runs them on this machine, and what they look at."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import socketserver
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster import inside
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.api import Api, ApiError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.kubeconfig import Access
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.looking import looked_at, round_of
from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests import neursafe_looks
from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests.parts import Looks

POD = "/api/v1/namespaces/ns/pods/web-1"


def frame(data: bytes, first: int = 0x82) -> bytes:
    length = struct.pack(">BH", 126, len(data)) if len(data) > 125 else bytes((len(data),))
    return bytes((first,)) + length + data


class Double(ThreadingHTTPServer):
    """Knows one pod, and runs what it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refuses = 0
        self.cuts_off = False
        self.containers: list[str] = []
        self.state: dict[str, Any] = {"conditions": [{"type": "Ready", "status": "True"}]}
        self.log = ""

    @property
    def access(self) -> Access:
        return Access("config", "127.0.0.1", self.server_address[1], headers={"Authorization": "Bearer known"})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Double

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if self.headers["Authorization"] != "Bearer known" or self.server.refuses:
            self._answer({"message": "pods web-1 is forbidden"}, self.server.refuses or 401)
        elif url.path == f"{POD}/exec":
            self._run(parse_qs(url.query))
        elif url.path == f"{POD}/log":
            self._say(self.server.log.encode(), 200)
        else:
            self._answer({"items": [{"metadata": {"name": "web-1"}, "status": self.server.state}]}, 200)

    def _answer(self, value: dict[str, Any], status: int) -> None:
        self._say(json.dumps(value).encode(), status)

    def _say(self, text: bytes, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _run(self, query: dict[str, list[str]]) -> None:
        self.server.containers += query["container"]
        self.send_response(101)
        self.send_header("Sec-WebSocket-Protocol", self.headers["Sec-WebSocket-Protocol"])
        self.end_headers()
        self.close_connection = True
        if self.server.cuts_off:
            return
        try:
            done = subprocess.run(query["command"], capture_output=True, check=False)
        except OSError as error:
            self.wfile.write(frame(b"\x03" + json.dumps({"status": "Failure", "message": str(error)}).encode()))
            return
        half = len(done.stdout) // 2
        self.wfile.write(frame(b"\x01") + frame(b"ping", 0x89))
        self.wfile.write(frame(b"\x01" + done.stdout[:half], 0x02) + frame(done.stdout[half:], 0x80))
        if done.stderr:
            self.wfile.write(frame(b"\x02" + done.stderr))
        status: dict[str, Any] = {"status": "Success"}
        if done.returncode:
            causes = [{"reason": "ExitCode", "message": str(done.returncode)}]
            status = {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}
        self.wfile.write(frame(b"\x03" + json.dumps(status).encode()) + frame(b"", 0x88))


@pytest.fixture
def double() -> Iterator[Double]:
    server = Double()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def run(double: Double, *command: str, seconds: float = 20) -> inside.Ended:
    return inside.run(double.access, "ns", "web-1", "web", command, seconds)


def test_a_command_ends_with_its_code_and_all_that_it_said(double: Double) -> None:
    text = "x" * 40_000
    said = run(double, sys.executable, "-c", f"print({text!r}[:40000])")
    assert (said.code, said.output.strip(), said.errors) == (0, text, "")
    said = run(double, "sh", "-c", "echo 'a b&c'; echo wrong >&2; exit 3")
    assert said == inside.Ended(3, "a b&c\n", "wrong\n")
    assert double.containers == ["web", "web"]


def test_why_a_command_did_not_run_is_told(double: Double) -> None:
    with pytest.raises(ApiError, match="No such file or directory: 'nothing'"):
        run(double, "nothing")
    with pytest.raises(ApiError, match=r"what was begun in ns/web-1 didn't end within 0\.2 s"):
        run(double, "sleep", "5", seconds=0.2)
    double.cuts_off = True
    with pytest.raises(ApiError, match="cut the way to the pod off"):
        run(double, "true")
    double.refuses = 403
    with pytest.raises(ApiError, match="pods web-1 is forbidden") as refused:
        run(double, "true")
    assert refused.value.status == 403


# -- what is looked at


def looks(*told: tuple[str, str, list[Any]], said: str = "") -> Looks:
    text = Path(neursafe_looks.__file__).read_text(encoding="utf-8")
    return Looks("ns", "web", (sys.executable, "-c", text, json.dumps(told)), said, 600)


def rows(double: Double, wanted: Looks) -> dict[str, tuple[bool, str]]:
    api = Api(double.access)
    try:
        return {row["name"]: (row["passed"], row["detail"]) for row in looked_at(api, wanted, 20)}
    finally:
        api.close()


def test_each_look_is_a_row_and_one_that_fails_hides_no_other(double: Double, tmp_path: Any) -> None:
    told = rows(
        double,
        looks(
            ("it has a folder", "writes_files", [str(tmp_path)]),
            ("it has another", "writes_files", [str(tmp_path / "none")]),
            ("it answers", "answers", ["127.0.0.1:1", "/"]),
        ),
    )
    assert told["web: it has a folder"] == (True, "it does")
    assert told["web: it has another"][0] is False
    assert told["web: it has another"][1].startswith("FileNotFoundError: ")
    assert told["web: it answers"] == (False, "ConnectionRefusedError: [Errno 111] Connection refused")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_tried_where_no_pod_is_ready_or_pods_are_simulated(double: Double) -> None:
    wanted = looks(("it answers", "answers", ["127.0.0.1:1", "/"]))
    double.state["containerStatuses"] = [{"state": {"running": {}}}]
    assert rows(double, wanted) == {}
    double.state = {"conditions": [{"type": "Ready", "status": "False"}]}
    assert rows(double, wanted) == {}
    assert double.containers == []


class _Controller(BaseHTTPRequestHandler):
    """Leads whoever asks for the right name to its health."""

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        known = self.headers["Host"] == "fl.example" and self.path == "/api/v1/health"
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.mark.parametrize(("host", "passed"), [("fl.example", True), ("", False)])
def test_it_is_asked_from_outside_where_users_come(double: Double, host: str, passed: bool) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Controller)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/api/v1/health"
    wanted = dataclasses.replace(looks(), url=url, host=host)
    (detail,) = rows(double, wanted).items()
    assert detail[0] == f"web: it answers at {url}"
    assert detail[1] == (
        (True, "it does: 200") if passed else (False, "not from the control node: HTTP Error 404: Not Found")
    )
    server.shutdown()
    server.server_close()
    assert "refused" in rows(double, wanted)[detail[0]][1]


def test_an_image_that_cannot_try_it_is_told(double: Double) -> None:
    assert rows(double, Looks("ns", "web", ("sh", "-c", "echo no python >&2; exit 127"))) == {
        "web": (False, "what tries it ended with 127: no python")
    }
    assert rows(double, Looks("ns", "web", ("nothing",)))["web"][1].endswith("'nothing'")


def test_what_a_log_is_to_say_is_looked_for(double: Double) -> None:
    wanted = looks(said="Report client to server success")
    assert rows(double, wanted) == {
        "web: the server knows it": (False, "not within the last 600 s, which say: nothing")
    }
    double.log = "I1129 Report client to server success.\n"
    assert rows(double, wanted) == {"web: the server knows it": (True, "it does")}


@pytest.fixture
def proxy() -> Iterator[Callable[[str | None], str]]:
    """A double of the proxy's routes, which takes the token that it is given, or whatever comes."""
    servers = []

    def serve(token: str | None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                well = token is None or self.headers["token"] == token
                self.send_response(404 if well else 401)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_address[1]}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("token", "takes", "refuses"),
    [
        ("known", None, None),
        ("Fl-ZTE", "answers 401 to it", "answers 404 to a wrong token"),
        (None, None, "answers 404 to a wrong token"),
    ],
)
def test_the_proxy_s_token_is_taken_and_others_are_refused(
    proxy: Callable[[str | None], str],
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
    takes: str | None,
    refuses: str | None,
) -> None:
    monkeypatch.setitem(os.environ, "TOKEN", "known")
    address = proxy(token)
    assert neursafe_looks.takes_the_token(address) == takes
    assert neursafe_looks.refuses_another_token(address) == refuses


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        (b"\x00\x00\x06\x04\x00\x00\x00\x00\x00", None),
        (b"HTTP/1.1 400 Bad Request\r\n", "doesn't speak HTTP/2"),
        (b"", "doesn't speak HTTP/2"),
    ],
)
def test_who_speaks_grpc_begins_with_settings(said: bytes, wrong: str | None) -> None:
    class Handler(socketserver.BaseRequestHandler):
        request: socket.socket

        def handle(self) -> None:
            self.request.recv(100)
            self.request.sendall(said)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        assert neursafe_looks.speaks_grpc(f"127.0.0.1:{server.server_address[1]}") == wrong
        server.shutdown()


# -- rounds


ROW = {"outcome": "finished", "detail": "", "seconds": 3.0, "content": {"values": [1.0]}}


@pytest.mark.parametrize(
    ("script", "row"),
    [
        (f"echo RUNNING; echo '{json.dumps(ROW)}'", ROW),
        ("echo broken >&2; exit 3", {"outcome": "failed", "detail": "what runs it ended with 3: broken"}),
    ],
)
def test_a_round_is_what_its_command_says_at_last(double: Double, script: str, row: dict[str, Any]) -> None:
    api = Api(double.access)
    found = round_of(api, Looks("ns", "web", ("sh", "-c", script)), "server", 20)
    assert row.items() <= found.items()
    assert found["instance"] == "server"
    double.state = {}
    assert round_of(api, Looks("ns", "web", ("true",)), "server", 20)["detail"] == "no pod of web is ready"
    api.close()
