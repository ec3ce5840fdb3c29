# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The servers of a stack hand each other their checkpoints: none starts from nothing while another knows better.

MindSpore Federated writes a checkpoint on one server an iteration, another one each time, and a server that finds
none of its own starts from its initial weights. So beside each server runs this exchange, a process of its own that
also answers while the server is down:

    python -m fedlearn_mindspore.checkpoints --config FILE

It knows no fl_name, so that servers which a failed change of it left on the former one still find their checkpoints.

It offers its directory over HTTPS to the peers named in a file (mutual TLS, exact common names), and every few seconds
fetches what a peer has newer. The file is read anew each time: a server more or less restarts nobody.

Newest means by time, not by iteration: /newInstance counts iterations from 1 again, and by number the model before it
would win for ever. Names carry UTC.
"""

from __future__ import annotations

import hashlib
import http.client
import http.server
import json
import os
import re
import shutil
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedlearn_mindspore import ckpt, config, runtime
from fedlearn_mindspore.runtime import LOG

KEEP = 3
"""Checkpoints of a model that stay on a host."""

ANSWER_SECONDS = 5.0
LIST_BYTES = 1024 * 1024
NAME = re.compile(
    r"(?P<model>[A-Za-z0-9][A-Za-z0-9_.-]{0,199})_recovery_iteration_(?P<iteration>[0-9]{1,9})"
    r"_(?P<time>[0-9]{8}_[0-9]{6})\.ckpt"
)


@dataclass(frozen=True, order=True)
class Checkpoint:
    """A checkpoint's name, taken apart; the newest compares highest."""

    time: str
    iteration: int
    model: str

    @classmethod
    def parse(cls, name: str) -> Checkpoint | None:
        """A file name's meaning; None for any other name, one with a path in it included."""
        match = NAME.fullmatch(name)
        return cls(match["time"], int(match["iteration"]), match["model"]) if match else None

    @property
    def name(self) -> str:
        """The file name, built anew from its parts."""
        return f"{self.model}_recovery_iteration_{self.iteration}_{self.time}.ckpt"


class Store:
    """A directory of checkpoints, of one model (`fl_name`) or of all that were trained here."""

    def __init__(self, directory: Path, model: str | None = None) -> None:
        self.directory = directory
        self.model = model
        self._sums: dict[tuple[str, int, int], str] = {}

    def names(self) -> list[Checkpoint]:
        """Its models', newest first."""
        found = (Checkpoint.parse(path.name) for path in self.directory.glob("*.ckpt") if path.is_file())
        return sorted((item for item in found if item and self.model in (None, item.model)), reverse=True)

    def path(self, checkpoint: Checkpoint) -> Path:
        """Where a checkpoint lies, or would lie."""
        return self.directory / checkpoint.name

    def newest(self) -> tuple[Checkpoint, ckpt.Weights] | None:
        """The newest that can be read; one that can't is put aside, so that nobody takes its iteration for reached."""
        for checkpoint in self.names():
            path = self.path(checkpoint)
            try:
                return checkpoint, ckpt.read(path)
            except FileNotFoundError:
                continue
            except (OSError, ckpt.CheckpointError) as error:
                LOG.warning("putting a checkpoint aside as %s.broken: %s", path.name, error)
                path.replace(path.with_name(path.name + ".broken"))
        return None

    def save(self, checkpoint: Checkpoint, weights: Mapping[str, Any]) -> Path:
        """Writes a checkpoint whole or not at all, and drops what is too old."""
        ckpt.write(self.path(checkpoint), weights)
        self.prune()
        return self.path(checkpoint)

    def prune(self) -> None:
        """Drops all but each model's newest, and all but one of the broken."""
        for kept in by_model(self.names()).values():
            for checkpoint in kept[KEEP:]:
                self.path(checkpoint).unlink(missing_ok=True)
        for broken in sorted(self.directory.glob("*.broken"))[:-1]:
            broken.unlink(missing_ok=True)

    def offer(self) -> list[dict[str, Any]]:
        """What peers are told. Sizes and sums let them see a file that was cut off or changed on its way."""
        listed = []
        for checkpoint in self.names():
            try:
                status = self.path(checkpoint).stat()
                key = (checkpoint.name, status.st_size, status.st_mtime_ns)
                if key not in self._sums:  # peers ask every few seconds
                    self._sums[key] = hashlib.sha256(self.path(checkpoint).read_bytes()).hexdigest()
            except FileNotFoundError:
                continue
            listed.append({"name": checkpoint.name, "size": status.st_size, "sha256": self._sums[key]})
        return listed


def by_model(checkpoints: Iterable[Checkpoint]) -> dict[str, list[Checkpoint]]:
    """Each model's, in the order given."""
    found: dict[str, list[Checkpoint]] = {}
    for checkpoint in checkpoints:
        found.setdefault(checkpoint.model, []).append(checkpoint)
    return found


@dataclass(frozen=True)
class Peer:
    """Another server of the stack: where its exchange listens, and the common name of its certificate."""

    endpoint: str
    name: str


def peers(path: Path) -> list[Peer]:
    """The peers a file lists. An unreadable file is none at all, which a server takes for a reason to wait."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return [Peer(item["endpoint"], item["name"]) for item in content["peers"]]


class Answer:
    """What asking all peers came to: `unheard` are those that didn't answer, with the reason."""

    def __init__(self) -> None:
        self.unheard: dict[str, str] = {}
        self.fetched: list[Checkpoint] = []


class Puller:
    """Fetches what peers have newer."""

    def __init__(self, exchange: config.Exchange, store: Store) -> None:
        self._exchange = exchange
        self._store = store

    def pull(self) -> Answer:
        """Asks every peer once, each for at most some seconds of silence."""
        answer = Answer()
        for peer in peers(Path(self._exchange.peers)):
            try:
                self._pull_from(peer, answer)
            except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
                answer.unheard[peer.endpoint] = f"{type(error).__name__}: {error}"
        return answer

    def _pull_from(self, peer: Peer, answer: Answer) -> None:
        listed = json.loads(self._get(peer, "/checkpoints", LIST_BYTES))
        offered = {
            parsed: item
            for item in listed["checkpoints"]
            for parsed in [Checkpoint.parse(str(item["name"]))]
            if parsed and self._store.model in (None, parsed.model)
        }
        own = by_model(self._store.names())
        for model, theirs in by_model(sorted(offered, reverse=True)).items():
            if model in own and own[model][0] >= theirs[0]:
                continue
            self._fetch(peer, theirs[0], offered[theirs[0]])
            answer.fetched.append(theirs[0])
            LOG.info("fetched %s from %s", theirs[0].name, peer.endpoint)

    def _fetch(self, peer: Peer, checkpoint: Checkpoint, item: Mapping[str, Any]) -> None:
        """Puts a peer's checkpoint into the store once it is complete and readable."""
        size, wanted = int(item["size"]), str(item["sha256"])
        free = shutil.disk_usage(self._store.directory).free
        if not 0 < size <= min(self._exchange.max_bytes, free // 2):
            raise ValueError(f"{checkpoint.name} has {size} bytes, {free} are free")
        content = self._get(peer, "/checkpoints/" + urllib.parse.quote(checkpoint.name), size)
        if hashlib.sha256(content).hexdigest() != wanted:
            raise ValueError(f"{checkpoint.name} isn't what its sum says")
        if not ckpt.decode(content):
            raise ValueError(f"{checkpoint.name} holds no tensor")
        partial = self._store.directory / f"{checkpoint.name}.fetched"
        partial.write_bytes(content)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(self._store.path(checkpoint))
        self._store.prune()

    def _get(self, peer: Peer, path: str, limit: int) -> bytes:
        connection = self._connect(peer)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            content = response.read(limit + 1)
        finally:
            connection.close()
        if response.status != 200 or len(content) > limit:
            raise ValueError(f"GET {path}: {response.status}, {len(content)} bytes")
        return content

    def _connect(self, peer: Peer) -> http.client.HTTPConnection:
        host, port = config.split(peer.endpoint)
        tls = self._exchange.tls
        if tls is None:
            return http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)
        connection = http.client.HTTPSConnection(host, port, timeout=ANSWER_SECONDS, context=client_context(tls))
        connection.connect()
        name = common_name(connection.sock)
        if name != peer.name:
            connection.close()
            raise ValueError(f"its certificate is {name}'s, not {peer.name}'s")
        return connection


def client_context(tls: config.Tls) -> ssl.SSLContext:
    """Checks the peer's chain; its name is compared by the caller, as an exact common name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(tls.ca)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


def server_context(tls: config.Tls) -> ssl.SSLContext:
    """Wants a client certificate of the CA; whose it is, the handler compares."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tls.ca)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


def common_name(connection: Any) -> str:
    """The one common name of the other side's certificate, '' for none or several."""
    subject = (connection.getpeercert() or {}).get("subject", ())
    names = [value for part in subject for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else ""


class Handler(http.server.BaseHTTPRequestHandler):
    """Two answers: the list, and a listed file."""

    server: Listener
    timeout = ANSWER_SECONDS
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        """Sets a connection up, its handshake included."""
        # The handshake happens here, in the connection's own thread: nobody can keep others waiting with half of one.
        self.request.settimeout(ANSWER_SECONDS)
        if self.server.context is not None:
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def do_GET(self) -> None:
        """Answers a peer; anybody else learns nothing."""
        if not self._known():
            self._answer(403, b"not a peer of this server\n", "text/plain")
        elif self.path == "/checkpoints":
            content = json.dumps({"checkpoints": self.server.store.offer()}).encode()
            self._answer(200, content, "application/json")
        else:
            self._file(urllib.parse.unquote(self.path[len("/checkpoints/") :]))

    def _known(self) -> bool:
        if self.server.context is None:
            return True
        name = common_name(self.request)
        return bool(name) and name in {peer.name for peer in peers(self.server.peers)}

    def _file(self, name: str) -> None:
        """Only a name that the directory's own list holds is opened: nothing that was sent becomes a path."""
        listed = {item.name: item for item in self.server.store.names()}
        try:
            content = self.server.store.path(listed[name]).read_bytes()
        except (KeyError, FileNotFoundError):
            self._answer(404, b"no such checkpoint\n", "text/plain")
            return
        self._answer(200, content, "application/octet-stream")

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Peers ask every few seconds; only what is refused is worth a line."""
        if len(args) > 1 and str(args[1]) not in ("200", "404"):
            LOG.info("%s: %s", self.client_address[0], format % args)


class Listener(http.server.ThreadingHTTPServer):
    """Serves a store to the peers."""

    daemon_threads = True

    def __init__(self, exchange: config.Exchange, store: Store) -> None:
        host, port = config.split(exchange.listen)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.store = store
        self.peers = Path(exchange.peers)
        self.context = server_context(exchange.tls) if exchange.tls else None
        super().__init__((host, port), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """One line instead of a traceback: a failed handshake is no fault of ours, and a health check hangs up."""
        if client_address[0] != self.server_address[0]:
            LOG.info("%s: connection refused or broken", client_address[0])


def follow(puller: Puller, seconds: float) -> None:
    """Pulls again and again. Says once when a peer falls silent and once when it is heard again."""
    silent: dict[str, str] = {}
    while True:
        time.sleep(seconds)
        try:
            now = puller.pull().unheard
        except (OSError, ValueError, KeyError) as error:
            LOG.warning("the list of peers can't be read: %s", error)
            continue
        _report(silent, now)
        silent = now


def _report(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    for endpoint in sorted(set(now) - set(before)):
        LOG.warning("peer %s can't be asked: %s", endpoint, now[endpoint])
    for endpoint in sorted(set(before) - set(now)):
        LOG.info("peer %s answers again", endpoint)


def remove_partial(directory: Path) -> None:
    """What a former process left half written."""
    for pattern in ("*.fetched", "*.ckpt.partial"):
        for path in _old(directory.glob(pattern)):
            path.unlink(missing_ok=True)


def begin_round(directory: Path, name: str) -> None:
    """A verify round begins without checkpoints; a restart in its midst keeps those it has."""
    marker = directory.parent / "round"
    if marker.exists() and marker.read_text(encoding="utf-8") == name:
        return
    for path in directory.iterdir():
        path.unlink()
    marker.write_text(name, encoding="utf-8")


def _old(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if time.time() - path.stat().st_mtime > 3600]


def main() -> None:
    """Offers and fetches until stopped."""
    sharing = config.from_arguments(config.Sharing, "Exchange of checkpoints between the servers of a stack")
    runtime.log_to_stderr()
    store = Store(Path(sharing.exchange.directory))
    store.directory.mkdir(parents=True, exist_ok=True)
    remove_partial(store.directory)
    if sharing.round:
        begin_round(store.directory, sharing.round)
    listener = Listener(sharing.exchange, store)
    puller = Puller(sharing.exchange, store)
    threading.Thread(target=follow, args=(puller, sharing.exchange.interval_seconds), daemon=True).start()
    listener.serve_forever()


if __name__ == "__main__":
    main()
