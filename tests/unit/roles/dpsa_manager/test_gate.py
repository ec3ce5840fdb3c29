# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gate before a manager: what a session asks for, in the client's own words, and whom it lets in."""

from __future__ import annotations

import http.client
import http.server
import importlib.util
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[4] / "roles/dpsa_manager/files/gate.py"


def imported() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fedlearn_gate", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["fedlearn_gate"] = module
    spec.loader.exec_module(module)
    return module


gate = imported()


def session(epsilon: Any = None, **changed: Any) -> dict[str, Any]:
    """A request as dpsa4fl-bindings 0.1.69 sends it."""
    parameter = {
        "gradient_len": 8,
        "privacy_parameter": {"epsilon": [[1], [1]] if epsilon is None else epsilon},
        "submission_type": "FixedType16Bit",
    }
    told = {"trainingSessionId": None, "role": "Leader", "verifyKeyEncoded": "", "vdafParameter": parameter}
    return {**told, **changed}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ([[1], [2]], Fraction(1, 2)),
        ([[3602879701896397], [1]], None),  # no digit to the base 2^32
        ([[0, 1], [1]], Fraction(1 << 32)),
        ([[1], [0, 1]], Fraction(1, 1 << 32)),
        ([[1], [0]], None),
        ([[], [1]], None),
        ([[0], [1]], None),
        ([[1.5], [1]], None),
        ([[True], [1]], None),
        ([[-1], [1]], None),
        ([[1]], None),
        ([1, 2], None),
        (0.5, None),
        ("1", None),
        ([[1] * 65, [1]], None),
    ],
)
def test_epsilon_is_a_fraction_of_whole_numbers(written: Any, meant: Fraction | None) -> None:
    if meant is not None:
        assert gate.epsilon(session(written)) == meant
        return
    with pytest.raises(gate.RefusedError):
        gate.epsilon(session(written))


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 2}}',
        b'{"a": NaN}',
        b"not JSON",
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(body: bytes) -> None:
    with pytest.raises(gate.RefusedError):
        gate.understood(body)


def bound(folder: Path, max_epsilon: str = "1.0") -> Any:
    """A leader's, before a manager that doesn't serve."""
    return gate.Bound(max_epsilon, "leader", gate.Sessions(folder / "sessions.json", ("127.0.0.1", 1)))


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (session([[3], [2]]), "epsilon 1.5 is more than the 1 that is let in here"),
        # a hair above: no float would tell
        (session([[0, 0, 1], [4294967295, 4294967295]]), "epsilon 1 is more than the 1 that is let in here"),
        # beyond any float
        (session([[0] * 63 + [1], [1]]), "epsilon inf is more than the 1 that is let in here"),
        (session(role="Helper"), "this is the leader's manager"),
        ([1, 2], "a session has vdafParameter"),
        (session(vdafParameter=[8, [[[1], [1]]], "FixedType16Bit"]), "a session has vdafParameter"),
        (
            session(vdafParameter={"privacy_parameter": {"epsilon": [[1], [1]], "delta": 1}}),
            "a session has a privacy_parameter with epsilon, and nothing else in it",
        ),
    ],
)
def test_who_isn_t_let_in(tmp_path: Path, request_: Any, reason: str) -> None:
    with pytest.raises(gate.RefusedError, match=reason):
        bound(tmp_path).check("/create_session", request_, None)


@pytest.mark.parametrize("written", [None, 7, ["AA"], {"a": 1}, "AB", "AA==", "A A", "A", "+/"])
@pytest.mark.parametrize(("path", "more"), [("/get_vdaf_parameter", {}), ("/start_round", {"trainingSessionId": 7})])
def test_a_task_is_written_in_one_way(tmp_path: Path, path: str, more: dict[str, Any], written: Any) -> None:
    """Else one of a verify round could be asked for by a second name."""
    let_in = bound(tmp_path)
    let_in.sessions.open.add(7)
    let_in.check(path, {**more, "taskIdEncoded": "AA"}, None)
    with pytest.raises(gate.RefusedError, match="a task is told by its id"):
        let_in.check(path, {**more, "taskIdEncoded": written}, None)


def test_the_bound_itself_is_let_in(tmp_path: Path) -> None:
    bound(tmp_path).check("/create_session", session([[1], [1]]), None)
    bound(tmp_path, "0.1").check("/create_session", session([[1], [10]]), None)


class Manager(http.server.BaseHTTPRequestHandler):
    """One that takes everything, and remembers it."""

    seen: list[tuple[str, bytes]] = []
    begins = threading.Event()
    goes_on = threading.Event()
    breaks, says = False, 0
    """Clear, it has begun a session and doesn't answer yet."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, body))
        told = json.loads(body)
        answer = {"trainingSessionId": told["trainingSessionId"]} if self.path == "/create_session" else None
        if answer:
            self.begins.set()
            self.goes_on.wait(10)
            if self.breaks:
                self.connection.close()
                return
        self.send_response(self.says or (400 if self.path == "/end_session" and told == 8 else 200))
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_arguments: object) -> None:
        """Quiet."""


def anew(file: Path, manager: tuple[str, int]) -> None:
    """What a gate is after its start."""
    known = gate.Sessions(file, manager)
    gate.Handler.bound = gate.Bound("1.0", "leader", known, {"subject": "CN=verify", "max_epsilon": "100"})
    gate.Handler.manager = manager


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A gate's, with a manager behind it."""
    manager = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Manager)
    Manager.seen = []
    Manager.begins.clear()
    Manager.goes_on.set()
    Manager.breaks, Manager.says = False, 0
    anew(tmp_path / "sessions.json", ("127.0.0.1", manager.server_port))
    server = gate.Server("127.0.0.1", 0)
    for each in (manager, server):
        threading.Thread(target=each.serve_forever, daemon=True).start()
    yield server.server_port
    for each in (manager, server):
        each.shutdown()
        each.server_close()


def ask(port: int, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    sent = body if isinstance(body, bytes) or body is None else json.dumps(body)
    connection.request(method, path, body=sent, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_sessions_are_counted_while_they_live(port: int) -> None:
    assert ask(port, "GET", "/sessions") == (200, b"0")
    status, answer = ask(port, "POST", "/create_session", session())
    assert (status, ask(port, "GET", "/sessions")) == (200, (200, b"1"))
    assert ask(port, "POST", "/end_session", json.loads(answer)["trainingSessionId"])[0] == 200
    assert ask(port, "GET", "/sessions") == (200, b"0")


def test_a_refused_session_never_reaches_the_manager(port: int) -> None:
    status, answer = ask(port, "POST", "/create_session", session([[2], [1]]))
    assert (status, Manager.seen) == (400, [])
    assert json.loads(answer) == "epsilon 2 is more than the 1 that is let in here"
    assert ask(port, "GET", "/sessions") == (200, b"0")


def test_the_manager_reads_what_was_understood(port: int) -> None:
    spaced = json.dumps(session(), indent=3).encode()
    assert ask(port, "POST", "/create_session", spaced)[0] == 200
    ((path, body),) = Manager.seen
    read = json.loads(body)
    assert (path, body == spaced, read) == (
        "/create_session",
        False,
        session(trainingSessionId=read["trainingSessionId"]),
    )


def test_the_manager_s_refusals_are_passed_on(port: int) -> None:
    gate.Handler.bound.sessions.open.add(8)
    assert (ask(port, "POST", "/end_session", 8), Manager.seen) == ((400, b"null"), [("/end_session", b"8")])
    assert ask(port, "GET", "/sessions") == (200, b"0")  # the manager has no such session


VERIFY = {"X-Client-Subject": "CN=verify"}
HUNDRED = session([[100], [1]])
START, PARAMETER = {"trainingSessionId": 7, "taskIdEncoded": "AA"}, {"taskIdEncoded": "AA"}


def test_a_verify_round_has_a_bound_of_its_own_and_nobody_waits_for_it(port: int) -> None:
    assert ask(port, "POST", "/create_session", HUNDRED)[0] == 400
    assert ask(port, "POST", "/create_session", HUNDRED, **{"X-Client-Subject": "CN=controller"})[0] == 400
    assert ask(port, "POST", "/create_session", session([[101], [1]]), **VERIFY)[0] == 400
    assert ask(port, "POST", "/create_session", HUNDRED, **VERIFY)[0] == 200
    assert ask(port, "GET", "/sessions") == (200, b"0")


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/start_round", {**START, "taskIdEncoded": "BQ"}, "the session is a verify round's"),
        ("/end_session", 7, "the session is a verify round's"),
        ("/get_vdaf_parameter", PARAMETER, "the task is a verify round's, and takes nobody else's data"),
    ],
)
def test_sessions_and_tasks_of_a_verify_round_are_nobody_else_s(port: int, path: str, body: Any, reason: str) -> None:
    ask(port, "POST", "/create_session", {**HUNDRED, "trainingSessionId": 7}, **VERIFY)
    assert ask(port, "POST", "/start_round", START, **VERIFY)[0] == 200
    assert ask(port, "POST", path, body) == (400, json.dumps(reason).encode())
    assert ask(port, "POST", path, body, **VERIFY)[0] == 200


def test_a_verify_round_has_no_part_in_others_sessions(port: int) -> None:
    ask(port, "POST", "/create_session", session(trainingSessionId=7))
    refused = (400, json.dumps("the session is no verify round's").encode())
    assert ask(port, "POST", "/start_round", START, **VERIFY) == refused
    assert ask(port, "POST", "/end_session", 7, **VERIFY) == refused
    assert ask(port, "POST", "/start_round", START)[0] == 200
    assert ask(port, "POST", "/get_vdaf_parameter", PARAMETER)[0] == 200


@pytest.mark.parametrize("path", ["/create_session/", "/create_session/x", "/other", "/CREATE_SESSION"])
def test_only_what_the_manager_offers_is_passed_on(port: int, path: str) -> None:
    assert (ask(port, "POST", path, session([[9], [1]]))[0], Manager.seen) == (404, [])


def test_a_body_has_a_length(port: int) -> None:
    headers = {"Transfer-Encoding": "chunked"}
    assert ask(port, "POST", "/create_session", b"1\r\n{\r\n0\r\n\r\n", **headers)[0] == 400
    assert Manager.seen == []


@pytest.mark.parametrize(
    ("path", "most"), [("/create_session", 65_536), ("/get_vdaf_parameter", 1024), ("/start_round", 1024)]
)
def test_nothing_long_is_read(port: int, path: str, most: int) -> None:
    """A megabyte of JSON becomes twenty, and with a dozen at once the gate was killed."""
    status, answer = ask(port, "POST", path, b"[" + b'{"":0},' * (most // 7) + b"0]")
    assert (status, json.loads(answer)) == (400, f"a body has a Content-Length, of {most} bytes at most")
    assert Manager.seen == []


@pytest.mark.parametrize("body", [["AA"], [7, "AA"], "AA", 7, None])
def test_a_task_of_a_verify_round_is_told_in_no_other_form(port: int, body: Any) -> None:
    """The manager takes a list for an object, in the order of its keys."""
    ask(port, "POST", "/create_session", {**HUNDRED, "trainingSessionId": 7}, **VERIFY)
    assert ask(port, "POST", "/start_round", START, **VERIFY)[0] == 200
    assert ask(port, "POST", "/get_vdaf_parameter", body)[0] == 400
    assert ask(port, "POST", "/start_round", body)[0] == 400


def test_a_session_is_nobody_s_before_it_is_known_whose_it_is(port: int) -> None:
    """Else the controller could begin a round in a verify round's session, in the moment after it was made."""
    Manager.goes_on.clear()
    with ThreadPoolExecutor() as pool:
        begun = pool.submit(ask, port, "POST", "/create_session", {**HUNDRED, "trainingSessionId": 7}, **VERIFY)
        assert Manager.begins.wait(10)
        raced = pool.submit(ask, port, "POST", "/start_round", START)
        assert ask(port, "POST", "/get_vdaf_parameter", PARAMETER)[0] == 200  # what is everybody's goes on
        Manager.goes_on.set()
        assert begun.result()[0] == 200
        assert raced.result() == (400, json.dumps("the session is a verify round's").encode())
    assert [path for path, _body in Manager.seen] == ["/create_session", "/get_vdaf_parameter"]


@pytest.mark.parametrize("wanted", [None, 7])
def test_an_answer_that_is_lost_gives_a_verify_round_s_session_to_nobody(
    port: int, tmp_path: Path, wanted: Any
) -> None:
    """It may have been begun, and the gate may end before it is told."""
    Manager.breaks = True
    assert ask(port, "POST", "/create_session", {**HUNDRED, "trainingSessionId": wanted}, **VERIFY)[0] == 502
    begun = json.loads(Manager.seen[0][1])["trainingSessionId"]
    assert begun == (begun if wanted is None else wanted)
    anew(tmp_path / "sessions.json", gate.Handler.manager)
    refused = (400, json.dumps("the session is a verify round's").encode())
    assert ask(port, "POST", "/start_round", {**START, "trainingSessionId": begun}) == refused
    Manager.breaks = False
    again = ask(port, "POST", "/create_session", {**session(), "trainingSessionId": begun})
    assert again == (400, json.dumps(f"there is a session {begun}").encode())


def test_a_number_of_the_controller_s_becomes_no_verify_round_s(port: int) -> None:
    Manager.breaks = True
    assert ask(port, "POST", "/create_session", {**session(), "trainingSessionId": 7})[0] == 502
    Manager.breaks = False
    refused = (400, json.dumps("there is a session 7").encode())
    assert ask(port, "POST", "/create_session", {**HUNDRED, "trainingSessionId": 7}, **VERIFY) == refused
    assert ask(port, "GET", "/sessions") == (200, b"1")


def test_what_the_manager_refused_to_begin_isn_t_there(port: int) -> None:
    Manager.says = 400
    assert ask(port, "POST", "/create_session", session())[0] == 400
    assert ask(port, "GET", "/sessions") == (200, b"0")


@pytest.mark.parametrize("number", [True, -1, 65_536, 1.5, "7", [7], {}])
def test_a_session_has_a_number_that_the_manager_knows(port: int, number: Any) -> None:
    assert (ask(port, "POST", "/create_session", session(trainingSessionId=number))[0], Manager.seen) == (400, [])
    assert ask(port, "POST", "/end_session", number)[0] == 400


def test_sessions_are_not_without_number(port: int) -> None:
    gate.Handler.bound.sessions.open |= set(range(1024))
    status, answer = ask(port, "POST", "/create_session", session())
    assert (status, json.loads(answer)) == (400, "1024 sessions are open: end those that nobody needs")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"serving": "1", "open": [1]}', '{"serving": 1, "open": 1}'])
def test_a_gate_begins_with_a_file_that_says_nothing(tmp_path: Path, content: str) -> None:
    file = tmp_path / "sessions.json"
    file.write_text(content)
    assert gate.Sessions(file, ("127.0.0.1", 1)).open == set()


def test_many_may_ask_at_once(port: int) -> None:
    """Each connection waits for its turn, and none is reset."""
    with ThreadPoolExecutor(100) as pool:
        asked = [pool.submit(ask, port, "POST", "/get_vdaf_parameter", PARAMETER) for _number in range(200)]
    assert {each.result()[0] for each in asked} == {200}


def test_a_session_that_wasn_t_begun_here_is_none(port: int) -> None:
    """An answer that never came may have begun one."""
    status, answer = ask(port, "POST", "/start_round", {**START, "trainingSessionId": 9})
    assert (status, json.loads(answer)) == (400, "no session 9 was begun here since the manager runs")


def test_a_gate_that_begins_again_knows_the_sessions_of_the_manager_that_serves(port: int, tmp_path: Path) -> None:
    ask(port, "POST", "/create_session", session())
    gate.Handler.bound.sessions.rounds.add(9)
    assert ask(port, "POST", "/start_round", {**START, "trainingSessionId": 9}, **VERIFY)[0] == 200
    manager = gate.Handler.manager
    anew(tmp_path / "sessions.json", manager)
    assert ask(port, "GET", "/sessions") == (200, b"1")
    assert ask(port, "POST", "/get_vdaf_parameter", PARAMETER)[0] == 400
    assert ask(port, "POST", "/start_round", {**START, "trainingSessionId": 9})[0] == 400
    other = socket.create_server(("127.0.0.1", 0))
    anew(tmp_path / "sessions.json", ("127.0.0.1", other.getsockname()[1]))
    assert ask(port, "GET", "/sessions") == (200, b"0")
    other.close()


@pytest.mark.parametrize(("address", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_which_manager_serves_is_told_by_its_socket(address: str, family: socket.AddressFamily) -> None:
    with socket.create_server((address, 0), family=family) as one:
        found = gate.serving(address, one.getsockname()[1])
        assert found == str(os.fstat(one.fileno()).st_ino)
    assert gate.serving(address, 1) == ""


def test_whoever_would_restart_the_manager_is_told(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "gate.json"
    address, served = gate.Handler.manager
    told = {"serves": {"address": address, "port": served}, "sessions": str(tmp_path / "sessions.json")}
    config.write_text(json.dumps(told))
    assert gate.main(["--idle", str(config)]) == 0
    ask(port, "POST", "/create_session", session())
    assert gate.main(["--idle", str(config)]) == 3
    assert "1 sessions are open" in capsys.readouterr().out
    # another manager has none of them
    config.write_text(json.dumps({**told, "serves": {"address": address, "port": 1}}))
    assert gate.main(["--idle", str(config)]) == 0
