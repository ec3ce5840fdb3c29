# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all launchers do: read their file and their credentials, and find the user's code."""

from __future__ import annotations

import argparse
import fcntl
import importlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NOBODY = 65534
PROGRAM_PATH = "FEDLEARN_PROGRAM_PATH"
"""Where the user's code lies, as PYTHONPATH would have it."""


class LaunchError(Exception):
    """Why nothing is started; the message says what to do about it."""


def read(path: str) -> dict[str, Any]:
    """The launcher's own file."""
    config: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return config


def credential(name: str) -> str:
    """A credential that systemd gave this unit."""
    return (Path(os.environ["CREDENTIALS_DIRECTORY"]) / name).read_text(encoding="utf-8").strip()


def configuration(config: Mapping[str, Any], password: Callable[[str], str] = credential) -> dict[str, Any]:
    """The program's own configuration, with the passwords that stand in no file of it."""
    complete = {name: dict(section) for name, section in config["configuration"].items()}
    complete["storage"]["secret_access_key"] = password("storage.password")
    if "password" in complete.get("metrics", {}):
        complete["metrics"]["password"] = password("metrics.password")
    return complete


def no_password(name: str) -> str:
    """What a trial is given instead of a credential."""
    return "-"


def trust(ca: str | None) -> None:
    """Has boto3 check the storage's certificate with our CA."""
    if ca:
        os.environ["AWS_CA_BUNDLE"] = ca
    # nothing that a host's administrator set for themselves counts
    os.environ.update(AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE=os.devnull)
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


def find_programs() -> None:
    """The user's code stands behind all that Python has: a file of it called json.py, or sitecustomize.py, takes
    nothing's place, least of all while root looks whether it can be imported.
    """
    sys.path += [path for path in os.environ.get(PROGRAM_PATH, "").split(":") if path and path not in sys.path]


def application(named: str) -> Callable[[Any], Any]:
    """The user's callable, ``package.module:callable``."""
    find_programs()
    module_name, _colon, name = named.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except Exception as error:  # whatever the user's module raises
        raise LaunchError(f"application {named}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise LaunchError(f"application {named}: {module_name} has no callable '{name}'")
    return found  # type: ignore[no-any-return]


def drop_root() -> None:
    """A scratch process runs the user's code as nobody: only root is lost by it."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def write(path: Path, text: str) -> None:
    """A file that is there whole or not at all."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def noting(path: Path) -> Callable[[str | None], None]:
    """Keeps a file that is there while a training is under way, and says which round."""

    def note(words: str | None) -> None:
        if words is None:
            path.unlink(missing_ok=True)
        else:
            write(path, f"{words}\n")

    return note


def finish(config: Mapping[str, Any], application: Any) -> None:
    """What an application whose training is over says of it, and that it isn't to be started again."""
    state = Path(config["state"])
    if hasattr(application, "result"):
        write(state / "result.json", json.dumps(dict(application.result())))
    write(state / f"finished-{config['digest']}", "")


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """Nobody else takes part with a folder meanwhile: both would go by one number, and end each other's training."""
    with (state / "lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LaunchError(
                f"{state.absolute()}: a participant runs that has this folder for its state, and two would be taken "
                "for one: stop it, or give each a folder of its own"
            ) from None
        yield


def check_application(config: Mapping[str, Any]) -> None:
    """Imports the application in this scratch process, as nobody."""
    drop_root()
    application(config["application"]["callable"])


def start_participant(
    name: str,
    run: Callable[[Mapping[str, Any]], None],
    check: Callable[[Mapping[str, Any]], None] = check_application,
) -> None:
    """``--config launcher.json`` takes part; with ``--check`` it is only looked whether it could."""
    parser = argparse.ArgumentParser(prog=f"fedlearn_xain.{name}", allow_abbrev=False)
    parser.add_argument("--config", required=True)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    config = read(given.config)
    try:
        if given.check:
            check(config)
        else:
            with alone(Path(config["state"])):
                run(config)
    except LaunchError as error:
        raise SystemExit(str(error)) from error


def notify(state: str) -> None:
    """Tell systemd, where it is asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect("\0" + address[1:] if address.startswith("@") else address)
            sender.send(state.encode())
