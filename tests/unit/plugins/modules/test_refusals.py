# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Listeners that refuse as nginx does, and ones that don't: what is tried tells them apart."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.modules import refusals

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")

Listen = Callable[..., dict[str, Any]]

NO_CERTIFICATE = "HTTP/1.1 400 Bad Request\r\n\r\n<center>No required SSL certificate was sent</center>"
MISDIRECTED = "HTTP/1.1 421 Misdirected Request\r\n\r\n"
SERVED = "HTTP/1.1 200 OK\r\n\r\nwhat is behind it"
FORBIDDEN = "HTTP/1.1 403 Forbidden\r\n\r\n<center><h1>403 Forbidden</h1></center>"
NOT_FOUND = "HTTP/1.1 404 Not Found\r\n\r\n<center><h1>404 Not Found</h1></center>"
OTHER_400 = "HTTP/1.1 400 Bad Request\r\n\r\nwhat is behind it says so"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and its certificate, in one file."""
    made = tmp_path_factory.mktemp("pair") / "both.pem"
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-days", "1"]
    subprocess.run([*new, "-keyout", str(made), "-out", f"{made}.cert"], check=True, capture_output=True)
    made.write_text(made.read_text() + Path(f"{made}.cert").read_text())
    return made


def serve(listening: socket.socket, context: ssl.SSLContext | None, answer: str) -> None:
    """Answers every request with the same, until the socket is closed; an empty answer ends the connection."""
    while True:
        try:
            plain, _client = listening.accept()
        except OSError:
            return
        try:
            with context.wrap_socket(plain, server_side=True) if context else plain as stream:
                if answer:
                    stream.recv(4096)
                    stream.sendall(answer.encode())
        except OSError:
            plain.close()


@pytest.fixture
def listen(pair: Path) -> Iterator[Listen]:
    """Starts a listener that answers so, and gives how the module is told of it."""
    open_sockets = []

    def start(answer: str, *, tls: bool = True, old: bool = False, **told: Any) -> dict[str, Any]:
        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.load_cert_chain(pair)
            context.minimum_version = ssl.TLSVersion.TLSv1 if old else ssl.TLSVersion.TLSv1_2
        listening = socket.create_server(("127.0.0.1", 0))
        open_sockets.append(listening)
        threading.Thread(target=serve, args=(listening, context, answer), daemon=True).start()
        place = {"name": "site", "address": "127.0.0.1", "port": listening.getsockname()[1]}
        return {
            **place,
            "tls": tls,
            "certificates": False,
            "server_name": "",
            "guarded_path": "",
            "certificate": "",
            **told,
        }

    yield start
    for one in open_sockets:
        one.shutdown(socket.SHUT_RDWR)
        one.close()


def tried(listener: dict[str, Any], whom: str) -> tuple[bool, str]:
    """Whether somebody was refused, and what became of it; what isn't refused, and nothing else, makes the site ill."""
    result = refusals.try_all([listener])
    (row,) = [row for row in result["checks"] if row["name"].endswith(f" refuses {whom}")]
    assert any(whom in reason for reason in result["ill"].get("site", [])) == (
        not row["passed"] and "could not be tried" not in row["detail"]
    )
    return row["passed"], row["detail"]


def test_old_tls(listen: Listen) -> None:
    assert tried(listen(SERVED), "TLS below 1.2")[0] is True
    assert tried(listen(SERVED, old=True), "TLS below 1.2") == (False, "spoke TLSv1.1")


@pytest.mark.parametrize(
    ("answer", "refused"), [(NO_CERTIFICATE, True), ("", True), (SERVED, False), (OTHER_400, False)]
)
def test_clients_without_a_certificate(listen: Listen, answer: str, refused: bool) -> None:
    """What is behind the proxy may say 400, too: then it was asked, and nobody was refused."""
    passed, detail = tried(listen(answer, certificates=True), "clients without a certificate")
    assert passed is refused
    assert refused or detail.startswith("answered HTTP/1.1 ")


@pytest.mark.parametrize(("answer", "refused"), [(FORBIDDEN, True), (SERVED, False), (NOT_FOUND, False)])
def test_clients_without_a_certificate_where_some_paths_need_none(listen: Listen, answer: str, refused: bool) -> None:
    listener = listen(answer, certificates=True, guarded_path="/workers")
    assert tried(listener, "clients without a certificate")[0] is refused


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize(("answer", "refused"), [(MISDIRECTED, True), (SERVED, False)])
def test_unknown_names(listen: Listen, answer: str, refused: bool, tls: bool) -> None:
    assert tried(listen(answer, tls=tls, server_name="a.test"), "unknown names")[0] is refused


def test_its_own_certificate(listen: Listen, pair: Path, tmp_path: Path) -> None:
    def shown(certificate: Path) -> tuple[dict[str, Any], list[str]]:
        result = refusals.try_all([listen(SERVED, certificate=str(certificate))])
        (row,) = [row for row in result["checks"] if row["name"].endswith(" shows its own certificate")]
        return row, result["ill"].get("site", [])

    row, ill = shown(pair)
    assert (row["passed"], ill) == (True, [])
    other = tmp_path / "other.pem"
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-days", "1"]
    subprocess.run([*new, "-keyout", "/dev/null", "-out", str(other)], check=True, capture_output=True)
    row, (reason,) = shown(other)
    assert row["passed"] is False
    assert reason.endswith(f"shows another certificate, so another site answers: it isn't {other}")
    row, ill = shown(tmp_path / "nowhere.pem")
    assert (row["passed"], ill) == (False, [])
    assert "could not be tried" in row["detail"]


def test_only_what_is_to_be_refused_is_tried(listen: Listen) -> None:
    plain, with_all = listen(SERVED, tls=False), listen(SERVED, certificates=True, server_name="a.test")
    assert refusals.try_all([plain]) == {"changed": False, "checks": [], "ill": {}}
    whom = [row["name"].partition(" refuses ")[2] for row in refusals.try_all([with_all])["checks"]]
    assert whom == ["TLS below 1.2", "clients without a certificate"]


def test_a_listener_that_is_away_has_refused_nobody(listen: Listen) -> None:
    away = {**listen(SERVED, certificates=True), "port": 1}
    for whom in ("TLS below 1.2", "clients without a certificate"):
        passed, detail = tried(away, whom)
        assert (passed, detail.startswith("could not be tried: ")) == (False, True)
