# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What deployments count on in dc_federated: one suite on the library, where it is, and on its double.

The library is looked for below FEDLEARN_UPSTREAM_DIR. Both run as on hosts, by our launchers, in an environment of the
role's own locked requirements.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.dc_federated.settings import (
    DERIVED,
    SETTINGS,
)

CHECKOUT = Path(__file__).resolve().parents[2]
LAUNCHERS = CHECKOUT / "roles" / "shared_dc_federated" / "files"
UPSTREAM = os.environ.get("FEDLEARN_UPSTREAM_DIR", "")
TORCH = os.environ.get("FEDLEARN_TORCH_PYTHON", "")
LIBRARIES = {"library": Path(UPSTREAM) / "dc_federated" / "src", "double": CHECKOUT / "tests/doubles/dc_federated"}
WITHOUT = "the library isn't here: FEDLEARN_UPSTREAM_DIR names no folder with a checkout of it as dc_federated/"
INVALID = (200, "Invalid Worker")
OWN = [100.0, 0.25]
PASSWORD = "only for the test"


@pytest.fixture(scope="session")
def python() -> Path:
    """The environment that the role makes on hosts."""
    requirements = (LAUNCHERS / "requirements.txt").read_bytes()
    room = CHECKOUT / "build" / f"dc_federated-{hashlib.sha256(requirements).hexdigest()[:12]}"
    program = room / "bin" / "python"
    if not (room / "whole").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(room)], check=True)
        install = ["-m", "pip", "install", "--quiet", "--only-binary=:all:", "--require-hashes", "--no-deps"]
        subprocess.run([str(program), *install, "--requirement", str(LAUNCHERS / "requirements.txt")], check=True)
        (room / "whole").touch()
    return program


@pytest.fixture(params=LIBRARIES)
def stand(request: pytest.FixtureRequest, python: Path, tmp_path: Path) -> Iterator[Stand]:
    """A running server with three workers' keys, of which it knows two."""
    if request.param == "library" and not UPSTREAM:
        pytest.skip(WITHOUT)
    with ExitStack() as ending:
        yield Stand(python, LIBRARIES[request.param], tmp_path, ending, double=request.param == "double")


class Stand:
    """One server on loopback, and what its unit would give it."""

    def __init__(self, python: Path, library: Path, room: Path, ending: ExitStack, *, double: bool) -> None:
        self.python, self.room, self.ending, self.double = python, room, ending, double
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(LAUNCHERS),
            "FEDLEARN_PROGRAM_PATH": f"{library}:{Path(__file__).parent}:{room / 'code'}",
            "HOME": str(room),
            "WEB_CONCURRENCY": "3",  # which no server may take for its number of processes
            "CREDENTIALS_DIRECTORY": str(room),
            "RUNTIME_DIRECTORY": str(room),
        }
        (room / "admin.password").write_text(PASSWORD)
        files = [str(room / f"worker{number}" / "worker.key") for number in range(3)]
        self.keys = files
        self.public: list[str] = list(json.loads(self.run("keys", "make", *files).stdout)["keys"].values())
        self.allow(self.public[:2])

    def script(self, text: str) -> Any:
        """What a script prints as JSON that finds launcher and library."""
        found = "from fedlearn_dc_federated import launching\nlaunching.patch()\nlaunching.find_programs()\n"
        command = [str(self.python), "-B", "-c", f"import json\n{found}{text}"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True, timeout=60)
        return json.loads(done.stdout)

    def run(self, module: str, *arguments: str, asked: str = "") -> subprocess.CompletedProcess[str]:
        command = [str(self.python), "-B", "-m", f"fedlearn_dc_federated.{module}", *arguments]
        return subprocess.run(
            command, env=self.environment, input=asked, capture_output=True, text=True, check=False, timeout=60
        )

    def start(self, module: str, config: Path) -> subprocess.Popen[bytes]:
        command = [str(self.python), "-B", "-m", f"fedlearn_dc_federated.{module}", "--config", str(config)]
        log = self.ending.enter_context(config.with_suffix(".log").open("ab"))
        started = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=self.room)
        self.ending.callback(started.wait, 30)
        self.ending.callback(started.terminate)
        return started

    def allow(self, keys: Sequence[str]) -> None:
        (self.room / "workers.pub").write_text("".join(f"{key}\n" for key in keys))

    def config(
        self, callable_: str = "fedlearn_dc_federated.mean:build", *, connections: int = 1000, **settings: Any
    ) -> Path:
        arguments = {
            "server_mode_safe": True,
            "key_list_file": str(self.room / "workers.pub"),
            "load_last_session_workers": True,
            "path_to_keys_db": str(self.room / "keys_db.json"),
            "server_host_ip": "127.0.0.1",
            "server_port": self.port,
            "ssl_enabled": False,
            "ssl_keyfile": None,
            "ssl_certfile": None,
            "model_check_interval": 0.2,
            "debug": False,
        }
        made = {
            "double": self.double,
            "application": {"callable": callable_, "settings": {"own": OWN, **settings}},
            "arguments": arguments,
            "connections": connections,
            "max_update_size": 1_000_000,
            "max_body_size": 100_000_000,
            "applied": str(self.room / "applied.pub"),
            "administration": {"url": f"http://127.0.0.1:{self.port}", "ca": None, "username": "admin"},
        }
        path = self.room / "server.json"
        path.write_text(json.dumps(made))
        return path

    def serve(self, *callable_: str, **settings: Any) -> subprocess.Popen[bytes]:
        server = self.start("server", self.config(*callable_, **settings))
        eventually(lambda: self.ask("/")[0] == 404, 90)
        return server

    def worker(self, number: int, vector: list[float]) -> subprocess.Popen[bytes]:
        return self.participant(number, "fedlearn_dc_federated.mean:run", vector=vector)

    def participant(self, number: int, callable_: str, **settings: Any) -> subprocess.Popen[bytes]:
        """A worker with an application of its own."""
        state = self.room / f"state{number}"
        state.mkdir(exist_ok=True)
        address = {"server_protocol": "http", "server_host_ip": "127.0.0.1", "server_port": self.port}
        config = {
            "double": self.double,
            "ca": None,
            "state": str(state),
            "digest": "d",
            "application": {"callable": callable_, "settings": settings},
            "arguments": {**address, "private_key_file": self.keys[number]},
        }
        path = self.room / f"worker{number}.json"
        path.write_text(json.dumps(config))
        return self.start("worker", path)

    def result(self, number: int) -> Any:
        return json.loads((self.room / f"state{number}" / "result.json").read_text())["values"]

    def ask(
        self, path: str, body: Any = None, *, method: str = "", password: str = "", seconds: float = 20
    ) -> tuple[int, str]:
        headers = {"Content-Type": "application/json"}
        if password:
            headers["Authorization"] = "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()
        content = None if body is None else json.dumps(body).encode()
        asking = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", content, headers, method=method or None)
        try:
            with urllib.request.urlopen(asking, timeout=seconds) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""
        except OSError:
            return 0, ""

    def client(self, number: int, *calls: list[Any]) -> Any:
        """What a worker is answered that speaks for itself, with its own key."""
        asked = {
            "url": f"http://127.0.0.1:{self.port}",
            "ca": True,
            "key": Path(self.keys[number]).read_text(),
            "calls": calls,
        }
        path = self.room / "client.json"
        path.write_text(json.dumps(asked))
        command = [str(self.python), str(CHECKOUT / "tests" / "dc_federated" / "client.py"), str(path)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True, timeout=120)
        return [tuple(answer) for answer in json.loads(done.stdout)]

    def polls(self) -> int:
        """Connections that the server holds."""
        listed = subprocess.run(
            ["ss", "-Htn", "state", "established", f"( sport = :{self.port} )"],
            capture_output=True,
            text=True,
            check=True,
        )
        return len(listed.stdout.splitlines())


def eventually(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.1)


def test_each_argument_of_the_server_is_a_setting_or_follows_from_the_document(stand: Stand) -> None:
    arguments = stand.script(
        "import inspect\nfrom dc_federated.backend import DCFServer\n"
        "print(json.dumps(list(inspect.signature(DCFServer).parameters)))"
    )
    ours = {"max_model_size", "max_update_size"}
    assert set(arguments) == (set(SETTINGS.keys) | set(DERIVED)) - ours


def test_no_worker_of_fed_avg_is_told_http(stand: Stand) -> None:
    """It would take the word for https."""
    told = stand.script(
        "from fedlearn_dc_federated.worker import fed_avg\n"
        "print(json.dumps([fed_avg({'server_protocol': one, 'x': 1}) for one in ('http', 'https')]))"
    )
    assert told == [{"server_protocol": None, "x": 1}, {"server_protocol": "https", "x": 1}]


def test_the_mean_comes_out(stand: Stand) -> None:
    stand.allow(stand.public)
    stand.serve(workers=3)
    vectors = [[1.0, 2.0], [3.0, 5.0], [11.0, 0.5]]
    workers = [stand.worker(number, vector) for number, vector in enumerate(vectors)]
    assert [worker.wait(30) for worker in workers] == [0, 0, 0]
    assert [stand.result(number) for number in range(3)] == [[105.0, 2.75]] * 3


def test_a_worker_left_out_changes_the_mean(stand: Stand) -> None:
    stand.serve(workers=2)
    workers = [stand.worker(0, [1.0, 2.0]), stand.worker(1, [3.0, 5.0])]
    assert [worker.wait(30) for worker in workers] == [0, 0]
    assert stand.result(0) == [102.0, 3.75]


def test_unknown_keys_and_wrong_signatures_are_refused_by_words(stand: Stand) -> None:
    stand.serve()
    other = Path(stand.keys[1]).read_text()
    assert stand.client(2, ["register"], ["poll", 0], ["update", "hex:00"]) == [INVALID] * 3
    assert stand.client(0, ["register", other], ["register"]) == [INVALID, (200, stand.public[0])]
    assert stand.client(0, ["update", "hex:00", "hex:01"]) == [INVALID]


def test_workers_come_and_go_while_the_server_runs_and_stay_gone_after_a_restart(stand: Stand) -> None:
    server = stand.serve()
    poll = stand.worker(0, [1.0, 2.0])
    eventually(lambda: stand.polls() >= 1)
    stand.allow(stand.public)
    assert stand.client(2, ["register"]) == [INVALID]  # the list by itself is read at a start only
    told = stand.run("reload", "--config", str(stand.config()))
    assert (told.returncode, told.stdout) == (0, "workers: 1 came, 0 went\n"), told.stderr
    assert stand.client(2, ["register"]) == [(200, stand.public[2])]
    stand.allow(stand.public[:2])
    assert stand.run("reload", "--config", str(stand.config())).stdout == "workers: 0 came, 1 went\n"
    assert stand.client(2, ["poll", 99], ["register"]) == [INVALID] * 2
    assert poll.poll() is None
    server.terminate()
    assert server.wait(30) == 0
    stand.allow(stand.public[:1])  # and one more while nobody is there to be told
    stand.serve()
    assert stand.client(1, ["register"]) == [INVALID]
    known = json.loads((stand.room / "keys_db.json").read_text())["_default"].values()
    assert [row["public_key_str"] for row in known] == stand.public[:1]
    assert (stand.room / "keys_db.json.bak").exists()


def test_a_server_that_is_killed_in_a_round_ends_it_with_the_right_mean(stand: Stand) -> None:
    """Its application's state is gone with it; workers register anew and send once more."""
    stand.allow(stand.public)
    server = stand.serve(workers=3)
    workers = [stand.worker(0, [1.0, 2.0]), stand.worker(1, [3.0, 5.0])]
    eventually(lambda: stand.polls() >= 2)
    server.kill()
    server.wait(30)
    eventually(lambda: stand.polls() == 0)
    stand.serve(workers=3)
    workers.append(stand.worker(2, [11.0, 0.5]))
    assert [worker.wait(90) for worker in workers] == [0, 0, 0]
    assert [stand.result(number) for number in range(3)] == [[105.0, 2.75]] * 3


def test_refusals_are_tried_and_who_lets_everybody_in_is_told(stand: Stand) -> None:
    running = stand.serve()
    known = str(stand.room / "workers.pub")
    server = {"name": "safe", "url": f"http://127.0.0.1:{stand.port}", "ca": None, "keys": known}
    told = json.loads(stand.run("refusing", asked=json.dumps([server])).stdout)
    names = ["safe refuses an unknown key", "safe refuses a known key with another's signature"]
    assert told == {"checks": [{"name": name, "passed": True, "detail": "refused"} for name in names], "ill": {}}
    running.terminate()
    assert running.wait(30) == 0
    config = json.loads(stand.config().read_text())
    config["arguments"] |= {"server_mode_safe": False, "key_list_file": None}
    (stand.room / "server.json").write_text(json.dumps(config))
    stand.start("server", stand.room / "server.json")
    eventually(lambda: stand.ask("/")[0] == 404)
    told = json.loads(stand.run("refusing", asked=json.dumps([server])).stdout)
    assert [row["passed"] for row in told["checks"]] == [False, False]
    assert len(told["ill"]["safe"]) == 2


def in_database(stand: Stand) -> set[str]:
    rows = json.loads((stand.room / "keys_db.json").read_text())["_default"].values()
    return {row["public_key_str"] for row in rows}


def let_in_by_hand(stand: Stand, key: str) -> int:
    return stand.ask("/workers", {"public_key_str": key, "registered": False}, password=PASSWORD)[0]


@pytest.mark.parametrize("left", ["", "{", '{"_default": {"1": {"public_'])
def test_a_database_that_was_torn_is_begun_anew(stand: Stand, left: str) -> None:
    """The library by itself doesn't start with it."""
    server = stand.serve()
    server.kill()
    server.wait(30)
    eventually(lambda: stand.ask("/")[0] == 0)  # its process goes after it
    (stand.room / "keys_db.json").write_text(left)
    stand.serve()
    assert in_database(stand) == set(stand.public[:2])
    assert stand.client(0, ["register"]) == [(200, stand.public[0])]


def test_a_start_that_is_cut_off_forgets_nobody(stand: Stand) -> None:
    """The library empties its database when it starts, and puts key after key back."""
    server = stand.serve()
    assert let_in_by_hand(stand, stand.public[2]) == 200
    whole = (stand.room / "keys_db.json").read_text()
    server.terminate()
    server.wait(30)
    (stand.room / "keys_db.json.before").write_text(whole)
    (stand.room / "keys_db.json").write_text('{"_default": {}}')
    stand.serve()
    assert stand.client(2, ["register"]) == [(200, stand.public[2])]
    assert in_database(stand) == set(stand.public)
    assert not (stand.room / "keys_db.json.before").exists()


def test_a_disk_that_is_full_leaves_the_database_whole(stand: Stand) -> None:
    """Here no file may become larger than the one there is, which is larger than the log: a write ends as on a full
    disk.
    """
    more = [str(stand.room / "more" / f"{number}.key") for number in range(200)]
    stand.public += json.loads(stand.run("keys", "make", *more).stdout)["keys"].values()
    stand.allow([*stand.public[:2], *stand.public[3:]])
    server = stand.serve()
    before = (stand.room / "keys_db.json").read_text()
    (child,) = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    subprocess.run(["prlimit", f"--pid={child}", f"--fsize={len(before) + 10}"], check=True)
    assert let_in_by_hand(stand, stand.public[2]) == 500
    assert (stand.room / "keys_db.json").read_text() == before
    stand.allow(stand.public)
    told = stand.run("reload", "--config", str(stand.config()))
    assert told.returncode == 0, (
        told.stderr
    )  # it is let in, if not written down; the list of keys has it for the next start
    server.terminate()
    server.wait(30)
    stand.serve()
    assert in_database(stand) == set(stand.public)


def test_only_its_administrator_lets_workers_in(stand: Stand) -> None:
    stand.serve()
    asked = {"public_key_str": stand.public[2], "registered": False}
    for password in ("", "wrong"):
        assert stand.ask("/workers", asked, password=password)[0] == 401
    assert stand.ask("/workers", asked, password=PASSWORD)[0] == 200
    assert stand.client(2, ["register"]) == [(200, stand.public[2])]
    listed = json.loads(stand.ask("/workers", password=PASSWORD)[1])
    assert {row["worker_id"]: row["registered"] for row in listed} == {
        stand.public[0]: False,
        stand.public[1]: False,
        stand.public[2]: True,
    }


def test_a_worker_goes_on_when_its_server_was_restarted(stand: Stand) -> None:
    server = stand.serve()
    worker = stand.worker(0, [1.0, 2.0])
    eventually(lambda: stand.polls() >= 1)
    server.terminate()
    assert server.wait(30) == 0
    stand.serve()

    def registered() -> bool:
        listed = json.loads(stand.ask("/workers", password=PASSWORD)[1])
        return {"worker_id": stand.public[0], "registered": True} in listed

    eventually(registered, 60)
    assert worker.poll() is None


def test_an_update_outlives_a_server_that_is_away(stand: Stand) -> None:
    """The library's ``run`` ends in silence when an update can't be sent, as if all were done."""
    server = stand.serve("counting:build", workers=1)
    worker = stand.participant(0, "counting:run", wait="sent")
    eventually((stand.room / "learning").exists)
    server.kill()
    server.wait(30)
    eventually(lambda: stand.ask("/")[0] == 0)
    (stand.room / "sent").touch()
    time.sleep(2)
    assert worker.poll() is None
    stand.serve("counting:build", workers=1)
    assert worker.wait(60) == 0


def test_a_worker_that_was_forgotten_sends_once_more(stand: Stand) -> None:
    """Its server began anew with the version that it has: by itself it would wait for ever."""
    server = stand.serve("counting:build", workers=2)
    first = stand.participant(0, "counting:run")
    eventually(lambda: stand.polls() >= 1)
    server.kill()
    server.wait(30)
    eventually(lambda: stand.ask("/")[0] == 0)
    stand.serve("counting:build", workers=2)
    second = stand.participant(1, "counting:run")
    assert [worker.wait(90) for worker in (first, second)] == [0, 0]


def test_an_application_that_fails_ends_its_worker_as_failed(stand: Stand) -> None:
    """The library's ``run`` returns as if all were done."""
    stand.serve("counting:build", workers=1)
    assert stand.participant(0, "counting:run", fail="no data").wait(60) == 1
    assert "ValueError: no data" in (stand.room / "worker0.log").read_text()


def test_a_connection_is_kept_for_longer_than_nginx_keeps_it(stand: Stand) -> None:
    """Else nginx would send a request into one that is just being closed, and answer 502."""
    stand.serve()
    kept = http.client.HTTPConnection("127.0.0.1", stand.port, timeout=20)
    kept.request("GET", "/challenge_phrase/x")
    kept.getresponse().read()
    opened = kept.sock
    time.sleep(3)  # gunicorn's own is 2 s
    kept.request("GET", "/challenge_phrase/x")
    assert kept.getresponse().status == 200
    assert kept.sock is opened


def test_a_poll_asks_after_its_server(stand: Stand) -> None:
    """Whose packets are dropped is told of nothing: a worker would wait for ever."""
    stand.serve()
    stand.worker(0, [1.0, 2.0])
    listed = ["ss", "-Htno", "state", "established", f"( dport = :{stand.port} )"]
    eventually(lambda: "timer:(keepalive," in subprocess.run(listed, capture_output=True, text=True, check=True).stdout)


def test_a_poll_ends_with_its_connection(stand: Stand) -> None:
    """The library by itself keeps it until the next model."""
    stand.serve()
    worker = stand.worker(0, [1.0, 2.0])
    eventually(lambda: stand.polls() >= 1)
    worker.kill()
    worker.wait()
    waiting = ["ss", "-Htn", f"( sport = :{stand.port} )"]
    eventually(lambda: subprocess.run(waiting, capture_output=True, check=True).stdout == b"")


def peak(server: subprocess.Popen[bytes]) -> int:
    """The most memory that the server's one process has had, in kB."""
    (child,) = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    (line,) = [line for line in Path(f"/proc/{child}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


def test_packed_zeros_without_a_key_are_refused_and_cost_no_memory(stand: Stand) -> None:
    server = stand.serve()
    before = peak(server)
    assert stand.client(2, ["packed_zeros", 20]) == [INVALID]
    (answer,) = stand.client(0, ["packed_zeros", 20])
    assert answer == (200, '{"error": "an update has at most 1000000 bytes, unpacked"}')
    assert peak(server) - before < 100_000  # kB; the packed update itself is there twice


def begun(stand: Stand, worker_id: str, body: bytes, length: int) -> http.client.HTTPConnection:
    """A connection on which an update of so many bytes has begun."""
    sending = http.client.HTTPConnection("127.0.0.1", stand.port, timeout=10)
    sending.putrequest("POST", f"/receive_worker_update/{worker_id}")
    sending.putheader("Content-Type", "multipart/form-data; boundary=end")
    sending.putheader("Content-Length", str(length))
    sending.endheaders(body)
    return sending


def test_a_stranger_s_update_is_refused_before_it_is_there(stand: Stand) -> None:
    """It would lie in memory or on the disk until its end."""
    stand.serve()
    answer = begun(stand, stand.public[2], b"--end\r\n", 200_000_000).getresponse()
    assert (answer.status, answer.read()) == (200, b"Invalid Worker")


def test_an_update_of_nothing_but_lines_stops_nobody(stand: Stand) -> None:
    """They are taken apart before anybody's signature is looked at; a worker's public key is known to many."""
    stand.serve()
    part = b'--end\r\nContent-Disposition: form-data; name="worker_model_update"; filename="x"\r\n\r\n'
    body = part + b"\r\n" * 10_000_000 + b"\r\n--end--\r\n"
    longest, ended = 0.0, threading.Event()
    sending = begun(stand, stand.public[0], body, len(body))
    sending.sock.settimeout(300)
    answered = threading.Thread(target=lambda: (sending.getresponse().read(), ended.set()))
    answered.start()
    while not ended.is_set():
        began = time.monotonic()
        assert stand.ask("/")[0] == 404
        longest = max(longest, time.monotonic() - began)
    answered.join()
    assert longest < 3


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(b'Content-Disposition: form-data; name="a"; filename="x"\r\n\r\n\r\n--end\r\n', id="parts"),
        pytest.param(b"a: b\r\n", id="headers"),
        pytest.param(b" b\r\n", id="folded"),
    ],
)
def test_a_form_of_many_little_things_is_refused_and_costs_no_memory(stand: Stand, lines: bytes) -> None:
    """Nobody's signature was looked at by then, and a worker's public key is known to many."""
    server = stand.serve()
    before = peak(server)
    body = b'--end\r\nContent-Disposition: form-data; name="a"\r\n' + lines * (20_000_000 // len(lines))
    assert begun(stand, stand.public[0], body, len(body)).getresponse().status == 400
    assert peak(server) - before < 40_000


def test_chunks_are_refused(stand: Stand) -> None:
    """bottle would read those that gunicorn has taken apart once more, byte by byte, and nobody else had a turn."""
    stand.serve()
    sending = http.client.HTTPConnection("127.0.0.1", stand.port, timeout=10)
    headers = {"Content-Type": "multipart/form-data; boundary=end", "Transfer-Encoding": "chunked"}
    sending.request("POST", f"/receive_worker_update/{stand.public[0]}", iter([b"--end\r\n"]), headers)
    assert sending.getresponse().status == 411


def test_a_body_that_is_too_large_is_refused_before_it_is_there(stand: Stand) -> None:
    stand.serve()
    assert begun(stand, stand.public[0], b"--end\r\n", 100_000_001).getresponse().status == 413


def test_what_nobody_signed_is_not_unpacked(stand: Stand) -> None:
    stand.serve()
    part = b'--end\r\nContent-Disposition: form-data; name="%s"; filename="x"\r\n\r\n'
    for signature in (b"00", b"00" * 96, b"no hex"):
        body = part % b"signed_phrase" + signature + b"\r\n" + part % b"worker_model_update" + b"no zlib\r\n--end--\r\n"
        answer = begun(stand, stand.public[0], body, len(body)).getresponse()
        assert (answer.status, answer.read()) == (200, b"Invalid Worker")


def test_the_master_ends_with_its_child(stand: Stand) -> None:
    """Its next child would know the workers of the master's start: who was revoked since would be let in again."""
    server = stand.serve()
    (child,) = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    server.wait(20)
    assert stand.ask("/")[0] == 0


def test_a_signature_without_end_costs_no_memory(stand: Stand) -> None:
    """Whoever knows a worker's public key can send one."""
    server = stand.serve()
    before = peak(server)
    part = b'--end\r\nContent-Disposition: form-data; name="%s"; filename="x"\r\n\r\n'
    signature = part % b"signed_phrase" + b"0" * 60_000_000
    update = b"\r\n" + part % b"worker_model_update" + zlib.compress(b"1") + b"\r\n--end--\r\n"
    body = signature + update
    answer = begun(stand, stand.public[0], body, len(body)).getresponse()
    assert (answer.status, answer.read()) == (200, b"Invalid Worker")
    assert peak(server) - before < 30_000


def test_nobody_takes_a_worker_s_phrase_away(stand: Stand) -> None:
    """The library forgets a phrase when another one is asked for, or a wrong signature is tried, in a worker's name."""
    stand.serve()
    assert stand.client(0, ["register"], ["disturbed_poll", 99]) == [
        (200, stand.public[0]),
        (200, "Global model has been updated"),
    ]


def test_a_signed_phrase_is_right_once(stand: Stand) -> None:
    stand.serve()
    assert stand.client(0, ["register"], ["repeated_poll", 99])[1] == INVALID


def test_fed_avg_without_numpy_is_not_started(stand: Stand) -> None:
    """It would take updates, answer 200, and never have a mean. The requirements have neither numpy nor torch."""
    (stand.room / "code").mkdir()
    (stand.room / "code" / "bare.py").write_text(
        "import sys\nsys.modules['dc_federated.algorithms.fed_avg'] = sys\nbuild = print\n"
    )
    refused = stand.run("server", "--config", str(stand.config("bare:build")))
    assert (refused.returncode, "FedAvgServer needs numpy beside torch" in refused.stderr) == (1, True)


@pytest.fixture
def torch(python: Path, tmp_path: Path) -> Iterator[Stand]:
    """The library in an environment of the requirements with torch, which is gigabytes of the package index."""
    if not (UPSTREAM and TORCH):
        pytest.skip(
            "FEDLEARN_TORCH_PYTHON names no Python that has the requirements and torch, or the library isn't here"
        )
    with ExitStack() as ending:
        yield Stand(Path(TORCH), LIBRARIES["library"], tmp_path, ending, double=False)


def averaging(stand: Stand, **settings: Any) -> list[subprocess.Popen[bytes]]:
    """FedAvg of two workers, of which one has three times the samples."""
    (stand.room / "code").mkdir()
    shutil.copy(CHECKOUT / "tests" / "dc_federated" / "averaging.py", stand.room / "code")
    stand.serve("averaging:build", workers=2, **settings)
    learned = [([1.0, 2.0], 3), ([5.0, -2.0], 1)]
    here = socket.gethostname()
    return [stand.participant(number, "averaging:run", learned={here: one}) for number, one in enumerate(learned)]


def test_torch_of_the_package_index_averages(torch: Stand) -> None:
    assert [worker.wait(120) for worker in averaging(torch)] == [0, 0]
    assert [torch.result(number) for number in range(2)] == [[2.0, 1.0]] * 2


def test_without_the_launcher_s_word_it_takes_nothing_and_nobody_is_told(torch: Stand) -> None:
    workers = averaging(torch, trapped=True)
    log = torch.room / "server.log"
    eventually(lambda: log.read_text().count("Weights only load failed") >= 2, 120)
    time.sleep(5)
    assert [worker.poll() for worker in workers] == [None, None]


def test_it_takes_as_many_connections_as_it_is_told(stand: Stand) -> None:
    """gunicorn's own bound is 1,000, whatever the open files; here the one that there may be is held by a poll."""
    stand.start("server", stand.config(connections=1))
    stand.worker(0, [1.0, 2.0])
    eventually(lambda: stand.polls() >= 1)
    time.sleep(1)
    assert stand.ask("/", seconds=2) == (0, "")


def test_one_process_whatever_the_environment_says(stand: Stand) -> None:
    server = stand.serve()
    assert len(Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()) == 1


@pytest.mark.parametrize(
    "callable_", ["no.such:build", "fedlearn_dc_federated.mean:nothing", "fedlearn_dc_federated.mean:Mean"]
)
def test_what_is_no_server_is_not_started(stand: Stand, callable_: str) -> None:
    refused = stand.run("server", "--config", str(stand.config(callable_)))
    assert refused.returncode == 1
    assert f"application {callable_}" in refused.stderr or "TypeError" in refused.stderr


def test_a_file_of_an_application_takes_nothing_s_place(stand: Stand) -> None:
    """Root looks whether it can be imported, as nobody: what Python imports before that is none of its files."""
    code, taken = stand.room / "code", stand.room / "taken"
    code.mkdir()
    for name in ("sitecustomize", "json", "gevent", "fedlearn_dc_federated"):
        (code / f"{name}.py").write_text(f"open({str(taken)!r}, 'a').write({name!r})\n")
    (code / "ours.py").write_text("import gevent, json\nfrom fedlearn_dc_federated.mean import build\n")
    stand.serve("ours:build")
    assert stand.run("keys", "check", str(stand.room / "workers.pub")).returncode == 0
    assert not taken.exists()


def test_a_double_is_never_taken_for_the_library(stand: Stand) -> None:
    config = json.loads(stand.config().read_text())
    (stand.room / "server.json").write_text(json.dumps({**config, "double": not stand.double}))
    refused = stand.run("server", "--config", str(stand.room / "server.json"))
    assert refused.returncode == 1
    assert "library.double is" in refused.stderr
