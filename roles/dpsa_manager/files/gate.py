# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gate before a DPSA manager: no session with more epsilon than the bound gets by.

    gate.py CONFIG                  serves, between nginx and the manager
    gate.py --idle CONFIG           exit status 0 when no session is open; else 3, and says how many

The manager takes any epsilon of anybody. What is sent on is what was understood here, written anew: two readers can't
understand one request differently. Sessions live in the manager's memory, and end with it; what the gate knows of them
is in a file, so that it may end and begin again at any time, and belongs to the manager that serves. `GET /sessions`
tells how many there are, and nginx doesn't lead there. Each session's number is the gate's own choice, or known to it,
and written down before the manager is asked: whose it is stands there whatever becomes of the answer.

A verify round has a bound of its own, and a certificate of its own, whose subject nginx tells in a header. Its sessions
and tasks are nobody else's: a client can't even ask what a task of it is about, so no data but its own come in. What
concerns a session is asked one after the other: none can be used before it is known whose it is.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import http.server
import json
import secrets
import socket
import sys
import threading
from fractions import Fraction
from http import HTTPStatus
from pathlib import Path
from typing import Any

MAX_ANSWER = 1_048_576
MAX_DIGITS = 64
MAX_SESSIONS = 1024
NUMBERS = 1 << 16  # a session's is a u16 of the manager's
LISTENS = "0A"  # of the kernel's states of a TCP socket
SECONDS = 60
SUBJECT = "X-Client-Subject"
MAX_BODY = {"/create_session": 65_536, "/end_session": 1024, "/start_round": 1024, "/get_vdaf_parameter": 1024}
"""What is taken by POST, and how long it may be: what is read becomes twenty times as large, and anybody asks."""

GETS = ("/get_main_locations",)


class RefusedError(Exception):
    """Why a request isn't sent on; told to whoever asked, as the manager tells its own refusals."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RefusedError("a key stands there twice")
    return found


def _no_constant(word: str) -> Any:
    raise RefusedError(f"{word} is no number")


def understood(body: bytes) -> Any:
    """JSON that every reader takes for the same."""
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise RefusedError("the body is no JSON") from None


def whole(value: Any) -> int:
    """A whole number as num-bigint writes it: its digits to the base 2^32, the lowest first."""
    digits = isinstance(value, list) and len(value) <= MAX_DIGITS
    if not digits or any(isinstance(one, bool) or not isinstance(one, int) or not 0 <= one < 1 << 32 for one in value):
        raise RefusedError("epsilon is no fraction of whole numbers")
    return sum(one << (32 * place) for place, one in enumerate(value))


def epsilon(request: Any) -> Fraction:
    """The epsilon that a session asks for."""
    if not isinstance(request, dict) or not isinstance(request.get("vdafParameter"), dict):
        raise RefusedError("a session has vdafParameter")
    parameter = request["vdafParameter"].get("privacy_parameter")
    if not isinstance(parameter, dict) or set(parameter) != {"epsilon"}:
        raise RefusedError("a session has a privacy_parameter with epsilon, and nothing else in it")
    value = parameter["epsilon"]
    if not isinstance(value, list) or len(value) != 2:
        raise RefusedError("epsilon is no fraction of whole numbers")
    above, below = whole(value[0]), whole(value[1])
    if not above or not below:
        raise RefusedError("epsilon is 0, or nothing")
    return Fraction(above, below)


def task(request: Any) -> str:
    """The task that a request is about; what it is called can be written in no second way."""
    written = request.get("taskIdEncoded") if isinstance(request, dict) else None
    if isinstance(written, str) and written.isascii() and len(written) <= MAX_DIGITS:
        try:
            meant = base64.urlsafe_b64decode(written + "=" * (-len(written) % 4))
        except ValueError:
            meant = b""
        if base64.urlsafe_b64encode(meant).rstrip(b"=").decode() == written:
            return written
    raise RefusedError("a task is told by its id, in base64 for URLs and without padding")


def told(value: Fraction) -> str:
    """A number for people."""
    try:
        return f"{float(value):g}"
    except OverflowError:
        return "inf"


def serving(address: str, port: int) -> str:
    """Which socket listens there, by its inode; empty where none does. Another one is another process' sessions."""
    family, table = (socket.AF_INET6, "tcp6") if ":" in address else (socket.AF_INET, "tcp")
    packed = socket.inet_pton(family, address)
    words = [packed[at : at + 4][::-1] for at in range(0, len(packed), 4)]  # as the kernel writes them
    local = f"{b''.join(words).hex().upper()}:{port:04X}"
    for line in Path("/proc/self/net", table).read_text(encoding="ascii").splitlines()[1:]:
        columns = line.split()
        if columns[1] == local and columns[3] == LISTENS:
            return columns[9]
    return ""


class Sessions:
    """Which are open: the controller's, verify rounds', and the latter's tasks; kept in a file.

    They are those of the manager that serves: with another one they are gone.
    """

    def __init__(self, file: Path, manager: tuple[str, int]) -> None:
        self.file, self.manager = file, manager
        self.serving, self.open, self.rounds, self.tasks = "", set[int](), set[int](), set[str]()
        # without what it says nobody uses a session that is there: each begins a new one
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(file.read_text(encoding="utf-8"))
            known = str(kept["serving"]), set(kept["open"]), set(kept["rounds"]), set(kept["tasks"])
            self.serving, self.open, self.rounds, self.tasks = known
        self.look()

    def look(self) -> None:
        """Forget those of a manager that doesn't serve any more."""
        found = serving(*self.manager)
        if found != self.serving:
            self.serving = found
            self.open, self.rounds, self.tasks = set(), set(), set()

    def begin(self, wanted: Any, *, verify: bool) -> int:
        """A session's number, written down as whose it is. Raises RefusedError for one that is there."""
        if len(self.open) + len(self.rounds) >= MAX_SESSIONS:
            raise RefusedError(f"{MAX_SESSIONS} sessions are open: end those that nobody needs")
        if wanted is None:
            wanted = next(number for number in iter(lambda: secrets.randbelow(NUMBERS), None) if not self.has(number))
        if isinstance(wanted, bool) or not isinstance(wanted, int) or not 0 <= wanted < NUMBERS:
            raise RefusedError(f"a session's number is from 0 to {NUMBERS - 1}")
        if self.has(wanted):
            raise RefusedError(f"there is a session {wanted}")
        (self.rounds if verify else self.open).add(wanted)
        self.keep()
        return wanted

    def has(self, number: int) -> bool:
        """Whether it is anybody's."""
        return number in self.open or number in self.rounds

    def end(self, number: int) -> None:
        """It isn't there any more."""
        self.open.discard(number)
        self.rounds.discard(number)
        self.keep()

    def keep(self) -> None:
        """Write them down, whole."""
        known = {"open": sorted(self.open), "rounds": sorted(self.rounds), "tasks": sorted(self.tasks)}
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps({"serving": self.serving, **known}), encoding="utf-8")
        new.replace(self.file)


class Bound:
    """What this side lets in."""

    def __init__(self, max_epsilon: str, role: str, sessions: Sessions, verify: dict[str, str] | None = None) -> None:
        self.max_epsilon, self.role = Fraction(max_epsilon), role.capitalize()
        self.verifier = verify["subject"] if verify else None
        self.verify_epsilon = Fraction(verify["max_epsilon"]) if verify else self.max_epsilon
        self.sessions = sessions
        self.lock = threading.Lock()
        self.turn = threading.Lock()
        """Held while anything is asked that concerns a session, until the answer was noted."""

    def opened(self) -> int:
        """How many sessions are open, but for verify rounds'."""
        with self.lock:
            self.sessions.look()
            return len(self.sessions.open)

    def is_verify(self, subject: str | None) -> bool:
        """Whether this is a verify round's certificate."""
        return self.verifier is not None and subject == self.verifier

    def check(self, path: str, request: Any, subject: str | None) -> Any:
        """What the manager is to be asked. Raises RefusedError for what is not let in."""
        with self.lock:
            self.sessions.look()
            if path == "/create_session":
                verify = self.is_verify(subject)
                self._check_session(request, verify)
                begun = self.sessions.begin(request.get("trainingSessionId"), verify=verify)
                return {**request, "trainingSessionId": begun}
            if path == "/get_vdaf_parameter":
                self._check_task(request, self.is_verify(subject))
            elif path == "/end_session":
                self._check_owner(request, self.is_verify(subject))
            else:
                self._check_round(request, self.is_verify(subject))
            return request

    def _check_session(self, request: Any, verify: bool) -> None:
        asked, most = epsilon(request), self.verify_epsilon if verify else self.max_epsilon
        if asked > most:
            raise RefusedError(f"epsilon {told(asked)} is more than the {told(most)} that is let in here")
        if request.get("role") != self.role:
            raise RefusedError(f"this is the {self.role.lower()}'s manager")

    def _check_task(self, request: Any, verify: bool) -> None:
        if task(request) in self.sessions.tasks and not verify:
            raise RefusedError("the task is a verify round's, and takes nobody else's data")

    def _check_owner(self, session: Any, verify: bool) -> None:
        """A round is started, or a session ended, by whom it belongs to."""
        if isinstance(session, bool) or not isinstance(session, int):
            raise RefusedError("a session has a number")
        if (session in self.sessions.rounds) is not verify:
            raise RefusedError("the session is a verify round's" if not verify else "the session is no verify round's")
        if not verify and session not in self.sessions.open:
            raise RefusedError(f"no session {session} was begun here since the manager runs")

    def _check_round(self, request: Any, verify: bool) -> None:
        self._check_owner(request.get("trainingSessionId") if isinstance(request, dict) else None, verify)
        started = task(request)
        if verify:
            self.sessions.tasks.add(started)  # before anybody can ask for it
            self.sessions.keep()

    def note(self, path: str, request: Any, status: int) -> None:
        """Forgets a session that the manager said it didn't begin, or doesn't have; no answer says nothing."""
        with self.lock:
            if path == "/create_session" and status != HTTPStatus.OK:
                self.sessions.end(request["trainingSessionId"])
            elif path == "/end_session":
                self.sessions.end(request)


class Handler(http.server.BaseHTTPRequestHandler):
    """One request, read whole, checked, written anew, and asked of the manager."""

    protocol_version = "HTTP/1.1"
    timeout = SECONDS
    bound: Bound
    manager: tuple[str, int]

    def do_GET(self) -> None:
        """Where the aggregators are; and for this host how many sessions are open."""
        if self.path == "/sessions":
            self._answer(200, json.dumps(self.bound.opened()).encode())
        elif self.path in GETS:
            self._pass("GET", None)
        else:
            self._answer(404, b"")

    def do_POST(self) -> None:
        """Everything else that the manager offers."""
        if self.path not in MAX_BODY:
            self.close_connection = True
            self._answer(404, b"")
            return
        try:
            body = self._body(MAX_BODY[self.path])
            with contextlib.nullcontext() if self.path == "/get_vdaf_parameter" else self.bound.turn:
                # what waits for its turn is as long as it came
                self._pass("POST", self.bound.check(self.path, understood(body), self.headers.get(SUBJECT)))
        except RefusedError as refused:
            self.log_message("%s refused: %s", self.path, refused)
            self._answer(400, json.dumps(str(refused)).encode())

    def _body(self, most: int) -> bytes:
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not length.isdecimal() or int(length) > most:
            self.close_connection = True
            raise RefusedError(f"a body has a Content-Length, of {most} bytes at most")
        return self.rfile.read(int(length))

    def _pass(self, method: str, request: Any) -> None:
        connection = http.client.HTTPConnection(*self.manager, timeout=SECONDS)
        try:
            body = None if method == "GET" else json.dumps(request).encode()
            connection.request(method, self.path, body=body, headers={"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read(MAX_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            self.log_message("the manager can't be asked: %s", error)
            self._answer(502, b"")
            return
        finally:
            connection.close()
        if method == "POST":
            self.bound.note(self.path, request, answer.status)
        self._answer(answer.status, content)

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, *_arguments: Any) -> None:
        """Bodies hold tokens, and nginx has the rest in its log."""

    def log_message(self, format: str, *arguments: Any) -> None:
        """What was refused, and why."""
        print(format % arguments, flush=True)


class Server(http.server.ThreadingHTTPServer):
    """On IPv4 or IPv6, by its address."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, address: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), Handler)


def serve(config: dict[str, Any]) -> None:
    """Until it is ended."""
    Handler.manager = (config["serves"]["address"], config["serves"]["port"])
    known = Sessions(Path(config["sessions"]), Handler.manager)
    Handler.bound = Bound(config["max_epsilon"], config["role"], known, config.get("verify"))
    Server(config["listen"]["address"], config["listen"]["port"]).serve_forever()


def main(arguments: list[str]) -> int:
    """Serves, or says whether nobody would miss the manager."""
    config = json.loads(Path(arguments[-1]).read_text(encoding="utf-8"))
    if arguments[0] != "--idle":
        serve(config)
    count = len(Sessions(Path(config["sessions"]), (config["serves"]["address"], config["serves"]["port"])).open)
    if count:
        print(f"{count} sessions are open, which live in the manager's memory and end with it")
    return 3 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
