# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A job of one round whose answer is known, begun and taken away inside of the job scheduler's pod: verify's.

It is run by the image's Python 3.7, `python3.7 -c THIS JOB`: in JSON the job's name, its namespace, how many clients
take part and how many seconds it may take. The job brings its model and its scripts, so clients need nothing of their
own; each fits y = x1 - 2 x2 + 3 x3 + 0.5 to its samples, starting far from it. What it prints at last is one line of
JSON: how it ended, in the words of a round's rows. Files, model and job are gone then.

The model is a file of PyTorch's with one tensor, written and read here by its format, since this image has no PyTorch.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import pickle
import shutil
import struct
import sys
import time
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

START = (8.0, 8.0, 8.0, 8.0)
TENSOR = "weights"
PAUSE = 2
ENDS = ("FINISHED", "FAILED", "STOPPED")

TRAIN = """\
import neursafe_fl as nsfl
import torch


class Known(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.zeros(4))


def samples():
    # of different speeds: no column follows from the others
    angles = torch.arange(64, dtype=torch.float64).reshape(64, 1) * torch.tensor([0.7, 1.3, 2.9], dtype=torch.float64)
    x = torch.cat([torch.sin(angles), torch.ones(64, 1, dtype=torch.float64)], dim=1)
    return x, x @ torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)


def loss_of(model):
    x, y = samples()
    return float(((x @ model.weights.detach().double() - y) ** 2).mean())


def main():
    model = Known()
    nsfl.load_weights(model)
    x, y = samples()
    with torch.no_grad():
        model.weights.copy_((torch.inverse(x.t() @ x) @ (x.t() @ y)).float())
    nsfl.commit_weights(model)
    nsfl.commit_metrics({"sample_num": len(y), "loss": loss_of(model)})


if __name__ == "__main__":
    main()
"""

EVALUATE = """\
import neursafe_fl as nsfl
import train


def main():
    model = train.Known()
    nsfl.load_weights(model)
    loss = train.loss_of(model)
    nsfl.commit_metrics({"sample_num": 64, "loss": loss, "accuracy": float(loss < 1e-6)})


if __name__ == "__main__":
    main()
"""

TASK = {
    word: {"command": "python3.7", "entry": f"{word}.py", "params": {}, "timeout": 5} for word in ("train", "evaluate")
}


# -- PyTorch's file: a zip with a pickle of what there is, and the numbers beside it


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _number(value: int) -> bytes:
    return b"K" + bytes((value,))


def model(values: tuple[float, ...]) -> bytes:
    """The file of a dictionary with one tensor of these numbers."""
    empty, count = b"ccollections\nOrderedDict\n)R", _number(len(values))
    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + count + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + _number(0)
    tensor += count + b"\x85" + _number(1) + b"\x85\x89" + empty + b"tR"
    told = b"\x80\x02" + empty + b"(" + _text(TENSOR) + tensor + b"u."
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("model/data.pkl", told)
        archive.writestr("model/data/0", struct.pack(f"<{len(values)}f", *values))
        archive.writestr("model/version", "3\n")
    return made.getvalue()


class _Reader(pickle.Unpickler):
    """Knows a tensor's names and nothing else."""

    def __init__(self, archive: zipfile.ZipFile, pickled: str) -> None:
        super().__init__(io.BytesIO(archive.read(pickled)))
        self.archive, self.folder = archive, pickled.rpartition("/")[0]

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, size, *_more: storage[
                offset : offset + size[0]
            ],
            ("torch", "FloatStorage"): "f",
            ("torch", "DoubleStorage"): "d",
        }
        return known[module, name]

    def persistent_load(self, pid: Any) -> list[float]:
        _word, kind, name, _where, count = pid
        return list(struct.unpack(f"<{count}{kind}", self.archive.read(f"{self.folder}/data/{name}")))


def numbers(file: Path) -> list[float]:
    """Those of the one tensor."""
    with zipfile.ZipFile(str(file)) as archive:
        (pickled,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        found: list[float] = _Reader(archive, pickled).load()[TENSOR]
    return found


# -- the job


def ask(method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """The job scheduler's answer."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["HTTP_PORT"]), timeout=30)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


def lay(folder: Path) -> None:
    """What the job brings."""
    for name in ("scripts", "output"):
        (folder / name).mkdir(parents=True)
    (folder / "model.pth").write_bytes(model(START))
    for name, text in (("train.py", TRAIN), ("evaluate.py", EVALUATE), ("task.json", json.dumps(TASK))):
        (folder / "scripts" / name).write_text(text)
    # coordinators are of another user
    for path in (folder, folder / "output"):
        path.chmod(0o777)


def job(name: str, clients: int, seconds: int) -> dict[str, Any]:
    parameters = {"max_round_num": 1, "client_num": clients, "threshold_client_num": clients, "round_timeout": seconds}
    return {
        "id": name,
        "description": "verify's round: it is taken away",
        "runtime": "pytorch",
        "model_path": f"/{name}/model.pth",
        "output": f"/{name}/output",
        "scripts": {"path": f"/{name}/scripts", "config_file": "task.json"},
        "hyper_parameters": parameters,
        # of a job that says none the coordinator listens on 50051, whatever its service says
        "port": int(os.environ.get("COORDINATOR_PORT", "50051")),
        # the least that tasks' resources may be told as
        "resource": {"cpu": 0.5, "memory": 512},
    }


def wait(jobs: str, name: str, end: float) -> tuple[str, str]:
    """How it ended, and why."""
    told: dict[str, Any] = {}
    while time.monotonic() < end:
        status, told = ask("GET", f"{jobs}/{name}")
        state = (told.get("status") or {}).get("state", told.get("state", "")) if status == 200 else ""
        if state in ENDS:
            return ("finished" if state == "FINISHED" else "failed"), f"the job is {state}: {told}"
        print(state, flush=True)  # a way to a pod on which nothing is said is cut off
        time.sleep(PAUSE)
    return "timeout", f"the job didn't end: {told}"


def take_away(jobs: str, name: str, folder: Path) -> None:
    """The job, its pod and its files."""
    ask("DELETE", f"{jobs}/{name}")
    end = time.monotonic() + 60
    while ask("GET", f"{jobs}/{name}")[0] == 200 and time.monotonic() < end:
        time.sleep(PAUSE)
    shutil.rmtree(str(folder), ignore_errors=True)


def run(name: str, namespace: str, clients: int, seconds: int) -> dict[str, Any]:
    """The round, in the words of a row."""
    begin, folder = time.monotonic(), Path(os.environ["WORKSPACE"]) / namespace / name
    jobs = f"/api/v1/namespaces/{namespace}/jobs"
    outcome, detail, content = "failed", "", {}
    try:
        lay(folder)
        status, told = ask("POST", jobs, job(name, clients, seconds))
        if status == 201:
            outcome, detail = wait(jobs, name, begin + seconds)
        else:
            detail = f"the job scheduler answers {status}: {told}"
        if outcome == "finished":
            (file,) = folder.glob("output/*/checkpoints/*/checkpoint_1.pth")
            content = {"values": numbers(file)}
    except Exception as error:  # it is told, and all is taken away
        outcome, detail = "failed", f"{type(error).__name__}: {error}"
    finally:
        take_away(jobs, name, folder)
    return {"outcome": outcome, "detail": detail, "seconds": time.monotonic() - begin, "content": content}


if __name__ == "__main__":
    print(json.dumps(run(**json.loads(sys.argv[1]))))
