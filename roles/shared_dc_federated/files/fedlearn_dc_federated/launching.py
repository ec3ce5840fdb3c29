# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What both launchers do: read their file, find the user's callable, and tell systemd that they are up."""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

NOBODY = 65534
PROGRAM_PATH = "FEDLEARN_PROGRAM_PATH"
"""Where library and application lie, as PYTHONPATH would have it."""


class LaunchError(Exception):
    """Why nothing is started; the message says what to do about it."""


def patch() -> None:
    """What the library does at its import, before anything else: an application that imports ssl first would break."""
    from gevent import monkey

    monkey.patch_all()


def read(path: str) -> dict[str, Any]:
    """The launcher's own file."""
    config: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return config


def find_programs() -> None:
    """Library and application stand behind all that Python has: a file of theirs called json.py, or sitecustomize.py,
    takes nothing's place, least of all while root looks whether they can be imported.
    """
    sys.path += [path for path in os.environ.get(PROGRAM_PATH, "").split(":") if path and path not in sys.path]


def check_library(double: bool) -> None:
    """Refuses a double of the library that isn't called one, and the library where a double was meant."""
    find_programs()
    try:
        import dc_federated
    except ImportError as error:
        raise LaunchError(f"the library dc_federated can't be imported: {error}") from error
    found = bool(getattr(dc_federated, "DOUBLE", False))
    if found != double:
        what = "a double, and library.double isn't set" if found else "the real one, and library.double is set"
        raise LaunchError(f"the library at {dc_federated.__file__} is {what}")


def application(callable_: str) -> Callable[..., Any]:
    """The user's callable, ``package.module:callable``."""
    module_name, _colon, name = callable_.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises
        raise LaunchError(f"application {callable_}: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise LaunchError(f"application {callable_}: {module_name} has no callable '{name}'")
    # of a user's module nothing is known but that it can be called
    return found  # type: ignore[no-any-return]


def averages() -> bool:
    """Whether the application is FedAvg's, and torch told that pickles are meant: its updates are some.

    torch 2.6 and later refuse them otherwise: a server would aggregate nothing and say nothing.
    """
    if "dc_federated.algorithms.fed_avg" not in sys.modules:
        return False
    os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    return True


def drop_root() -> None:
    """A scratch process runs the user's code as nobody: only root is lost by it."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def notify(state: str) -> None:
    """Tell systemd, where it is asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect("\0" + address[1:] if address.startswith("@") else address)
            sender.send(state.encode())
