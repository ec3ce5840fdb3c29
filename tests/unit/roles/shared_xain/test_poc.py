# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The launcher of ``poc``: what it writes for the programs, tries, and learns of their logs. Programs are scripts."""

from __future__ import annotations

import importlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FILES = Path(__file__).resolve().parents[4] / "roles" / "shared_xain" / "files"
TOKEN = "5f0c2f0e-1a3c-4a53-9d7f-6b1f3f1a2b3c"

WAITS = "echo 'ERROR stubborn_io::tokio::io: Initial connection failed due to: x'; exec sleep 60"

LOG = """\
INFO xain_fl::coordinator::core::protocol: rendez vous: a(unknown)
INFO xain_fl::coordinator::core::protocol: selecting 2 additional participants
INFO xain_fl::coordinator::core::service: aggregation finished successfully
INFO xain_fl::coordinator::core::protocol: aggregation finished, proceeding to start a new round
INFO xain_fl::coordinator::core::service: aggregation failed
INFO xain_fl::coordinator::core::protocol: aggregation finished, proceeding to start a new round
INFO xain_fl::coordinator::core::service: aggregation finished successfully
INFO xain_fl::coordinator::core::protocol: training complete
"""


RE_ESTABLISHED = "INFO stubborn_io::tokio::io: Connection re-established"
SELECTED = "INFO xain_fl::aggregator::service: handling select request"
AGGREGATED = "INFO xain_fl::aggregator::service: aggregation succeeded, settings global weights"
ROUND = [SELECTED, SELECTED, AGGREGATED]


@pytest.fixture
def poc(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FILES))
    found = importlib.import_module("fedlearn_xain.poc")
    # it is for a scratch process, and these tests are none
    monkeypatch.setattr(found.launching, "drop_root", lambda: None)
    return found


def config(folder: Path, program: str = "coordinator", script: str = WAITS) -> dict[str, Any]:
    """A launcher's file whose program is a script, and whose interpreter is this one."""
    (folder / program).write_text(f"#!/bin/sh\n{script}\n")
    (folder / program).chmod(0o755)
    (folder / "python" / "bin").mkdir(parents=True, exist_ok=True)
    interpreter = folder / "python" / "bin" / "python3.9"
    # as the one that is packed, but for the library, which is this interpreter's own
    interpreter.write_text(f'#!/bin/sh\nunset PYTHONHOME LD_LIBRARY_PATH\nexec {sys.executable} "$@"\n')
    interpreter.chmod(0o755)
    peer = "aggregator_address" if program == "coordinator" else "coordinator_address"
    return {
        "program": program,
        "folder": str(folder),
        "configuration": {
            "aggregator_url": 'https://models.example:8082/"',
            "logging": {"filter": "warn"},
            "api": {"bind_address": "127.0.0.1:50050"},
            "rpc": {"bind_address": "127.0.0.1:5555", peer: "127.0.0.1:6666"},
            "federated_learning": {"rounds": 3, "participants_ratio": 1.0},
        },
    }


def test_the_configuration_is_toml_and_its_file_ends_so(poc: Any, tmp_path: Path) -> None:
    given = config(tmp_path)
    path = poc.written(given, tmp_path)
    assert path.name == "coordinator.toml"
    found = tomllib.loads(path.read_text())
    directives = found["logging"].pop("filter").split(",")
    assert found == {**given["configuration"], "logging": {}}
    assert directives[0] == "warn"
    # of a training it is always told, of tokens never
    assert "xain_fl::coordinator::core::protocol=info" in directives
    assert directives[-4:] == ["http=off", "hyper=off", "tarpc=off", "warp=off"]


def test_sections_of_sections_are_told(poc: Any) -> None:
    given = {"aggregation": {"python": {"module": "a", "class": "B"}}, "x": 1.5, "y": {"z": 'a "b" \\ c'}}
    assert tomllib.loads(poc.toml(given)) == given


def test_a_log_tells_which_round_is_under_way(poc: Any) -> None:
    told: list[str | None] = []
    training = poc.Training(2, told.append)
    for line in LOG.splitlines():
        training.line(line)
    assert told == [None, "round 1 of 2", "round 2 of 2", "round 2 of 2", None]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (ROUND * 3, ["1", "1", "2", "2", "2", "3", "3", "3", None]),
        # a round that failed is run again
        ([SELECTED, SELECTED, "aggregation failed", *ROUND], ["1", "1", "1", "1", "2"]),
        # a coordinator that was restarted has all of a round selected anew, and begins with the first one
        ([*ROUND, SELECTED, RE_ESTABLISHED, *ROUND * 3], [*"112221222333", None]),
        ([*ROUND, SELECTED, RE_ESTABLISHED, RE_ESTABLISHED, *ROUND[:2]], ["1", "1", "2", "2", "2", "1"]),
        # one that was only cut off goes on
        ([*ROUND, SELECTED, RE_ESTABLISHED, SELECTED, AGGREGATED, *ROUND], [*"11222", "3", "3", "3", None]),
        ([*ROUND, *ROUND[:2], RE_ESTABLISHED, AGGREGATED, *ROUND], [*"11222", "3", "3", "3", None]),
    ],
)
def test_a_log_tells_what_an_aggregator_s_restart_would_lose(
    poc: Any, lines: list[str], told: list[str | None]
) -> None:
    noted: list[str | None] = []
    learning = {"rounds": 3, "participants_ratio": 0.7, "min_clients": 3}
    training = poc.Aggregations(learning, noted.append)
    for line in lines:
        training.line(line)
    assert noted == [None, *(None if number is None else f"round {number} of 3" for number in told)]


def test_an_aggregator_goes_on_where_nothing_has_room(
    poc: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    learning = {"rounds": 3, "participants_ratio": 1.0, "min_clients": 2}
    script = f"echo '{SELECTED}'; echo '{AGGREGATED}'; echo said; exit 3"
    given = {**config(tmp_path, "aggregator", script), "federated_learning": learning}
    assert poc.run(given) == 3
    assert (tmp_path / "training").read_text() == "round 2 of 3\n"

    def full(*_given: Any, **_named: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(poc.launching, "write", full)
    monkeypatch.setattr(poc, "written", lambda _config, folder: folder / "aggregator.toml")
    capsys.readouterr()
    assert poc.run(given) == 3
    told = capsys.readouterr().out
    assert "training can't be written: [Errno 28] No space left on device" in told
    assert told.endswith("said\n")


def test_what_ends_is_told_as_failed_and_its_log_goes_on_without_colours(
    poc: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    script = "printf '\\033[32m INFO\\033[0m selecting 2 additional participants\\n'; echo panicked >&2; exit 0"
    assert poc.run(config(tmp_path, script=script)) == 1
    assert capsys.readouterr().out == " INFO selecting 2 additional participants\npanicked\n"
    assert (tmp_path / "training").read_text() == "round 1 of 3\n"
    assert poc.run(config(tmp_path, script="exit 101")) == 101
    assert capsys.readouterr().out == ""
    assert poc.run(config(tmp_path, script="kill -KILL $$")) not in (0, None)
    assert "killed: perhaps it took more memory than its unit may (MemoryMax)" in capsys.readouterr().out
    assert not (tmp_path / "training").exists()


def test_what_is_stopped_ends_well(tmp_path: Path) -> None:
    """systemd tells every process of a unit."""
    path = tmp_path / "launcher.json"
    script = "trap 'exit 0' INT; echo up; while :; do sleep 0.05; done"
    path.write_text(json.dumps(config(tmp_path, script=script)))
    environment = {**os.environ, "PYTHONPATH": str(FILES), "RUNTIME_DIRECTORY": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-B", "-m", "fedlearn_xain.poc", "--config", str(path)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "up\n"
        os.killpg(launcher.pid, 2)
        assert launcher.wait(20) == 0


def test_a_configuration_that_the_program_refuses_is_refused(poc: Any, tmp_path: Path) -> None:
    poc.check(config(tmp_path))
    refusing = config(tmp_path, script="echo 'Problem parsing configuration file: x' >&2; exit 1")
    with pytest.raises(poc.launching.LaunchError, match="coordinator: Problem parsing configuration file: x"):
        poc.check(refusing)
    # on no port that the running one has
    seen = config(tmp_path, script='grep bind "$2" >&2')
    with pytest.raises(poc.launching.LaunchError, match=r'bind_address = "127\.0\.0\.1:0"'):
        poc.check(seen)


def of_class(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> dict[str, Any]:
    """An aggregator's file whose class stands in the text."""
    monkeypatch.setenv("PYTHONPATH", str(FILES))
    monkeypatch.setenv("FEDLEARN_PROGRAM_PATH", str(folder))
    (folder / "mine.py").write_text(text)
    named = {"environment": {"FEDLEARN_CLASS": "mine:Mine"}, "model_megabytes": 1}
    return {**config(folder, "aggregator"), **named}


THREAD = "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,)).start()\n"
RETURNS = "class Mine:\n    def add_weights(self, data): return True\n    def aggregate(self): return {}\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (RETURNS.format("b''"), ""),
        ("class Mine:\n    add_weights = aggregate = print\n", "add_weights() returns None, by which all weights are"),
        ("import os\nclass Mine:\n    def __init__(self): os._exit(0)\n", "it ends the program that it is in"),
        (
            "import os\nclass Mine:\n    def add_weights(self, data): os._exit(0)\n    aggregate = print\n",
            "it ends the program that it is in",
        ),
        # its thread goes on for ever, and the trial doesn't
        (f"{THREAD}{RETURNS.format(repr(b'x'))}", ""),
        (f"{THREAD}{RETURNS.format(1)}", "aggregate() returns int, and a model is bytes"),
        ("", "AttributeError: module 'mine' has no attribute 'Mine'"),
        ("import nowhere\n", "ModuleNotFoundError: No module named 'nowhere'"),
        ("class Mine:\n    def __init__(self): 1 / 0\n", "ZeroDivisionError: division by zero"),
        ("class Mine:\n    add_weights = print\n", "it has no method aggregate"),
        ("class Mine:\n    add_weights, aggregate = 1, 2\n", "it has no method add_weights and no method aggregate"),
        ("class Mine:\n    def __init__(self, x): pass\n", "TypeError"),
        # how large a model may be is known to it
        (
            "import os\nclass Mine:\n    def __init__(self): 1 / {'1': 0}[os.environ['FEDLEARN_MODEL_MEGABYTES']]\n",
            "ZeroDiv",
        ),
        ("class Mine:\n    def add_weights(self, data): 1 / 0\n    aggregate = print\n", ""),
        ("class Mine:\n    def add_weights(self, data): return True\n    def aggregate(self): 1 / 0\n", ""),
        ("import sys\nsys.exit(0)\n", "it ends the program, by SystemExit(0)"),
        ("class Mine:\n    def __init__(self): raise SystemExit\n", "it ends the program, by SystemExit(None)"),
        (
            "class Mine:\n    def add_weights(self, data): exit(0)\n    aggregate = print\n",
            "add_weights(): it ends the program, by SystemExit(0)",
        ),
        ("import os\nos.abort()\n", "the interpreter ended with "),
        (
            "class Mine:\n    def add_weights(self): return True\n    def aggregate(self): return b''\n",
            "it can't be called as add_weights(the weights): too many positional arguments",
        ),
        (
            "class Mine:\n    def add_weights(self, data): return True\n    def aggregate(self, x): return b''\n",
            "it can't be called as aggregate(): missing a required argument: 'x'",
        ),
        (RETURNS.format("'text'"), "aggregate() returns str, and a model is bytes"),
        (RETURNS.format("10**9"), "aggregate() returns int, and a model is bytes"),
        (RETURNS.format("bytearray(b'x')"), ""),
        ("import time\nclass Mine:\n    def __init__(self): time.sleep(60)\n", "it isn't made within 1 s"),
    ],
)
def test_the_class_is_made_by_the_embedded_interpreter_before_anything_changes(
    poc: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    given = of_class(tmp_path, monkeypatch, text)
    if "sleep" in text:
        monkeypatch.setattr(poc, "MADE_SECONDS", 1)
    if not reason:
        poc.check(given)
        return
    with pytest.raises(poc.launching.LaunchError, match="python_class mine:Mine: ") as caught:
        poc.check(given)
    assert reason in str(caught.value)


def test_a_package_with_the_launcher_s_name_is_refused(
    poc: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = of_class(tmp_path, monkeypatch, RETURNS.format("b''"))
    poc.check(given)
    (tmp_path / "fedlearn_xain").mkdir()
    with pytest.raises(poc.launching.LaunchError, match="class_artifact brings a package 'fedlearn_xain'"):
        poc.check(given)


def test_one_s_own_package_wins_over_the_collection_s_of_the_same_name() -> None:
    """The seed's name, which one's own may have."""
    templates = FILES.parents[1] / "xain_aggregator" / "templates"
    found = [re.search(r"program_path\(\S+ \[(.*?)\]\)", path.read_text()) for path in templates.rglob("*.j2")]
    assert [one[1] for one in found if one] == ["'application', 'aggregators'"] * 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "harm"),
    [
        ("add_weights", "all others wait meanwhile"),
        ("aggregate", "after 10 s the coordinator has the round run again"),
    ],
)
def test_a_class_that_takes_longer_than_it_is_waited_for_is_refused(
    poc: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, harm: str
) -> None:
    lines = {"add_weights": "len(data) > 900_000", "aggregate": "b''"}
    text = "import time\nclass Mine:\n" + "".join(
        f"    def {name}(self, data=None):\n        {'time.sleep(60)' if name == method else 'pass'}\n"
        f"        return {value}\n"
        for name, value in lines.items()
    )
    with pytest.raises(poc.launching.LaunchError) as caught:
        poc.check(of_class(tmp_path, monkeypatch, text))
    assert str(caught.value) == (
        f"python_class mine:Mine: {method}() takes longer than 10 s on weights of 1 MB: {harm}; smaller models are "
        "said by max_model_size (in Python 3.9)"
    )


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "mine.py").write_text(
        "class Mine:\n"
        "    def add_weights(self, data): return data != b'bad'\n"
        "    def aggregate(self): return bytearray(b'model')\n"
    )
    for path in (FILES, tmp_path):
        monkeypatch.syspath_prepend(str(path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    archive = {"ARCHIVE_SECONDS": "100", "ARCHIVE_KEEP": "2"}
    for name, value in {"CLASS": "mine:Mine", "KEEP": "2", **archive}.items():
        monkeypatch.setenv(f"FEDLEARN_{name}", value)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    yield importlib.import_module("fedlearn_xain.kept").Aggregator()
    monkeypatch.delitem(sys.modules, "mine", raising=False)


def poc_note(folder: Path, words: str | None) -> None:
    """What the launcher notes of the program's log."""
    note = importlib.import_module("fedlearn_xain.launching").noting(folder / "training")
    note(words)


def test_the_last_model_stays_though_the_clock_was_ahead_before(
    kept: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, real = sys.modules[type(kept).__module__], time.gmtime

    def written(ahead: int, model: bytes) -> set[bytes]:
        monkeypatch.setattr(module.time, "gmtime", lambda: real(time.time() + ahead))
        kept._inner.aggregate = lambda: model
        kept.aggregate()
        return {path.read_bytes() for path in (tmp_path / "models").iterdir()}

    assert [written(86_400, one) for one in (b"1", b"2", b"3")][-1] == {b"2", b"3"}
    for path in (*(tmp_path / "models").iterdir(), *(tmp_path / "archive").iterdir()):
        os.utime(path, (time.time() + 86_400,) * 2)
    assert written(0, b"4") == {b"3", b"4"}
    assert {path.read_bytes() for path in (tmp_path / "archive").iterdir()} == {b"1", b"4"}
    assert [written(0, one) for one in (b"5", b"6")][-1] == {b"5", b"6"}


def test_models_are_kept_before_participants_get_them(kept: Any, tmp_path: Path) -> None:
    for words in ("round 1 of 3", "round 2 of 3", None):
        poc_note(tmp_path, words)
        assert kept.add_weights(b"good") is True
        assert kept.add_weights(b"bad") is False
        assert kept.aggregate() == b"model"
    found = sorted(path.name for path in (tmp_path / "models").iterdir())
    # nobody could say which round the last one was
    assert [name.rpartition("-")[2] for name in found] == ["2", "0"]
    assert {path.read_bytes() for path in (tmp_path / "models").iterdir()} == {b"model"}


def test_one_each_so_many_seconds_is_laid_away(kept: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def laid_away() -> list[str]:
        return sorted(path.name for path in (tmp_path / "archive").iterdir())

    kept.aggregate()
    first = laid_away()
    kept.aggregate()
    assert laid_away() == first
    for later in (1, 2):
        for name in laid_away():
            os.utime(tmp_path / "archive" / name, (0, 0))
        kept.aggregate()
        assert len(laid_away()) == 2, later
    assert first[0] not in laid_away()
    # what is kept nowhere else is laid away all the same
    monkeypatch.setattr(kept, "_keep", 0)
    os.utime(tmp_path / "archive" / laid_away()[-1], (0, 0))
    kept.aggregate()
    assert list((tmp_path / "models").iterdir()) == []
    assert {path.read_bytes() for path in (tmp_path / "archive").iterdir()} == {b"model"}


def test_a_call_that_takes_long_is_told(
    kept: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = sys.modules[type(kept).__module__]
    monkeypatch.setattr(module, "WAITED_SECONDS", 0)
    assert kept.add_weights(b"good") is True
    assert "add_weights() took 0.0 s; all others wait meanwhile" in capsys.readouterr().err


def test_a_participant_counts_once_in_a_round(kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it sends; who doesn't say who it is counts each time, with the same weights, too."""
    once = importlib.import_module("fedlearn_xain.once")
    added: list[bytes] = []
    monkeypatch.setattr(kept._inner, "add_weights", lambda data: data != b"bad" and not added.append(data))
    one, other = (bytes([number]) * once.NAME_BYTES for number in (1, 2))
    for weights, name in ((b"good", one), (b"good", other), (b"better", one), (b"", one)):
        assert kept.add_weights(once.signed(weights, name)) is True
    assert added == [b"good", b"good"]
    assert [kept.add_weights(b"good"), kept.add_weights(b"good")] == [True, True]
    assert added == [b"good"] * 4


@pytest.mark.parametrize(("after", "waited"), [(0.1, 0.4), (0.6, 0.0), (None, 0.0)])
def test_an_answer_to_who_has_sent_twice_is_heard_before_the_round_ends(
    kept: Any, monkeypatch: pytest.MonkeyPatch, after: float | None, waited: float
) -> None:
    """The coordinator would take it for one of the next round, in which that participant has sent nothing."""
    once = importlib.import_module("fedlearn_xain.once")
    module, now, slept = sys.modules[type(kept).__module__], [100.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "sleep", slept.append)
    for _time in range(1 if after is None else 2):
        kept.add_weights(once.signed(b"good", bytes(once.NAME_BYTES)))
    now[0] += after or 0
    kept.aggregate()
    assert slept == [pytest.approx(waited)]


def test_a_participant_counts_in_each_round_and_in_one_that_is_run_again(
    kept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = importlib.import_module("fedlearn_xain.once")
    name, added = bytes(once.NAME_BYTES), []
    monkeypatch.setattr(kept._inner, "add_weights", lambda data: not added.append(data))
    kept.add_weights(once.signed(b"1", name))
    kept.aggregate()
    kept.add_weights(once.signed(b"2", name))
    monkeypatch.setattr(kept._inner, "aggregate", lambda: None)
    with pytest.raises(TypeError):
        kept.aggregate()
    kept.add_weights(once.signed(b"3", name))
    assert added == [b"1", b"2", b"3"]


def test_what_was_refused_is_refused_again_and_mended_weights_count(kept: Any) -> None:
    once = importlib.import_module("fedlearn_xain.once")
    name = bytes(once.NAME_BYTES)
    answers = [kept.add_weights(once.signed(weights, name)) for weights in (b"", b"bad", b"", b"good", b"")]
    assert answers == [False, False, False, True, True]


def test_a_class_that_is_made_is_told_and_one_that_is_not_isn_t(
    kept: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made"
    assert made.exists()
    made.unlink()
    monkeypatch.setenv("FEDLEARN_CLASS", "mine:Other")
    with pytest.raises(AttributeError):
        type(kept)()
    assert not made.exists()
    told = "the class mine:Other can't be made: AttributeError: module 'mine' has no attribute 'Other'"
    assert told in capsys.readouterr().err


def test_what_is_no_bytes_is_no_model(kept: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept._inner, "aggregate", lambda: 10**9)
    with pytest.raises(TypeError, match=r"aggregate\(\) returned int, and a model is bytes"):
        kept.aggregate()
    assert list((tmp_path / "models").iterdir()) == []


def test_a_model_that_can_not_be_kept_ends_no_training(
    kept: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").rmdir()
    poc_note(tmp_path, "round 1 of 2")
    assert kept.aggregate() == b"model"
    assert "the model of round 1 isn't kept" in capsys.readouterr().err


class Server:
    """A port of this host, whose connections are closed, or answered."""

    def __init__(self, answer: bytes | None) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.answer, self.held = answer, []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _address = self.socket.accept()
            except OSError:
                return
            if self.answer is None:
                self.held.append(connection)
                continue
            if self.answer:
                connection.recv(4096)
                connection.sendall(self.answer)
            connection.close()


@pytest.mark.parametrize(
    ("http", "peer", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", b"", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", "it answered 200 where there is nothing"),
        (b"", b"", ""),
        (b"", None, "though its aggregator is there"),
    ],
)
def test_a_coordinator_is_well_when_it_answers_or_waits(
    monkeypatch: pytest.MonkeyPatch, http: bytes, peer: bytes | None, reason: str
) -> None:
    monkeypatch.syspath_prepend(str(FILES))
    probe = importlib.import_module("fedlearn_xain.poc_probe")
    own, its, places = Server(None), Server(peer), Server(http)
    monkeypatch.setattr(sys, "argv", ["x", f"127.0.0.1:{places.port}", str(own.port), str(its.port)])
    if not reason:
        probe.main()
        return
    with pytest.raises(SystemExit, match=reason):
        probe.main()


def test_a_coordinator_that_does_not_wait_either_is_ill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FILES))
    probe = importlib.import_module("fedlearn_xain.poc_probe")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setattr(sys, "argv", ["x", f"127.0.0.1:{port}", str(port), str(port)])
    with pytest.raises(SystemExit, match="where the aggregator is to reach it: nobody is there"):
        probe.main()
