# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A contract double of Neursafe's client: reads its setup file strictly, wants its folders and control groups, listens,
and registers with the double of the selector. It learns nothing.

What it wants is what the program's code wants (validation.py, client_reporter.py, cgroup.py of cgroupspy): a file with
no other keys than those it reads, folders that are there, an lmdb on a file system that files can be mapped of, and the
folders of the first version of control groups, in which a group that can't be made is no failure.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import socket
import sys
import threading
import time

from neursafe_fl.python.client import client_reporter

DOUBLE = True

REQUIRED = ("server", "lmdb_path", "workspace", "platform", "task_config_entry", "datasets")
TYPES = {
    "host": str,
    "port": int,
    "server": str,
    "external_address": str,
    "lmdb_path": str,
    "workspace": str,
    "platform": str,
    "task_config_entry": str,
    "datasets": str,
    "runtime": str,
    "storage_quota": int,
    "registration": str,
    "log_level": str,
    "label": str,
    "max_task_parallelism": int,
    "resource": dict,
}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def fits(value: object, kind: type) -> bool:
    """Whether it is of the kind; true and false are no numbers."""
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def read(path: str) -> dict[str, object]:
    """The setup file; SystemExit where the program couldn't work with it."""
    with open(path) as file:
        setup = json.load(file)
    wrong = [key for key in setup if key not in TYPES]
    wrong += [key for key, kind in TYPES.items() if key in setup and not fits(setup[key], kind)]
    missing = [key for key in REQUIRED if not setup.get(key)]
    if wrong or missing:
        sys.exit(f"double: {path}: wrong {wrong}, missing {missing}")
    for key in ("workspace", "task_config_entry", "datasets", "lmdb_path"):
        if not os.path.exists(setup[key]):
            sys.exit(f"{key}'s path not exist.")
    if setup["platform"] != "linux" or os.environ.get("PLATFORM", "linux") != "linux":
        sys.exit("Platform must be in ['linux'].")
    if setup["storage_quota"] <= 0:
        sys.exit("Storage quota must be larger than 0.")
    return dict(setup)


def map_a_file(folder: str) -> None:
    """As lmdb does with its own."""
    path = os.path.join(folder, "data.mdb")
    with open(path, "w+b") as file:
        file.truncate(4096)
        with mmap.mmap(file.fileno(), 4096) as mapped:
            mapped[:6] = b"double"


def limit(task: str) -> None:
    """As a task is limited: folders that aren't there end it, what can't be made in them doesn't."""
    for controller in ("cpu", "memory"):
        root = f"/sys/fs/cgroup/{controller}"
        if not os.path.isdir(root):
            raise AttributeError(f"'NoneType' object has no attribute 'create_cgroup': no {root}")
        try:
            os.mkdir(os.path.join(root, task))
        except OSError as error:
            say(f"WARNING: {error}")


def ask(address: str, word: str, told: dict[str, object]) -> str:
    """A line to the double of the selector, and its answer."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as there:
        there.sendall(json.dumps({"call": word, **told}).encode() + b"\n")
        return there.makefile().readline().strip()


def report(setup: dict[str, object]) -> None:
    if str(setup.get("registration", "true")).lower() == "false":
        say("WARNING: The registration switch is off, the client will not join the fl system.")
        return
    with open(str(setup["datasets"])) as file:
        datasets = json.load(file)
    told = {
        "id": client_reporter.client_id(),
        "address": setup["external_address"],
        "label": setup.get("label", ""),
        "data": sorted(datasets),
    }
    try:
        answer = ask(str(setup["server"]), "Register", told)
    except OSError as error:
        answer = str(error)
    if answer != "success":
        say(f"ERROR: Register client failed, {answer}")
        os._exit(1)
    say("Register client success.")
    while True:
        try:
            answer = ask(str(setup["server"]), "Report", told)
            say(f"Report client to server {'success.' if answer == 'success' else answer}")
        except OSError as error:
            say(f"WARNING: Report to server failed, {error}")
        time.sleep(int(os.environ.get("REPORT_HEARTBEAT", "150")))


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--config_file", required=True)
    setup = read(arguments.parse_args().config_file)
    say("double: this client learns nothing")
    map_a_file(str(setup["lmdb_path"]))
    limit("probe")
    os.makedirs("/tmp/.fl_certs", exist_ok=True)
    family = socket.AF_INET6 if ":" in str(setup["host"]) else socket.AF_INET
    listening = socket.create_server((str(setup["host"]), int(str(setup["port"]))), family=family)
    say(f"Start client success, listen port {setup['port']}")
    threading.Thread(target=report, args=(setup,), daemon=True).start()
    while True:
        there, _address = listening.accept()
        there.close()


if __name__ == "__main__":
    main()
