# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts one server: ``--config launcher.json``; with ``--check`` it only looks whether it could.

The application is ``build(arguments, settings)``, which returns a DCFServer or FedAvgServer made with ``arguments``:
DCFServer takes them all, FedAvgServer those that ``fed_avg(arguments)`` leaves.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import database, files, keys, launching

FED_AVG = (
    "key_list_file",
    "server_host_ip",
    "server_port",
    "ssl_enabled",
    "ssl_keyfile",
    "ssl_certfile",
)
HANDED_ON = "administration.json"
"""What a reload knows the administrator by, in the unit's runtime directory: credentials are for ``ExecStart`` only."""

STOP_SECONDS = 2
"""A stop waits so long for requests under way: polls wouldn't end by themselves."""

KEPT_SECONDS = 75
"""Longer than nginx keeps a connection that nothing goes through (60 s): who closes first never loses a request."""

_STRAY = ("WEB_CONCURRENCY", "GUNICORN_CMD_ARGS")


def fed_avg(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Of the arguments those that FedAvgServer has."""
    return {name: arguments[name] for name in FED_AVG}


def credential(name: str) -> str:
    """A credential that systemd gave this unit."""
    return (Path(os.environ["CREDENTIALS_DIRECTORY"]) / name).read_text(encoding="utf-8").strip()


def prepare_environment(config: Mapping[str, Any]) -> None:
    """Nothing of what started this process counts for gunicorn, whose one process holds the server's state."""
    sys.argv = sys.argv[:1]
    for name in _STRAY:
        os.environ.pop(name, None)
    administration = config["administration"]
    password = credential("admin.password")
    os.environ["DCF_SERVER_ADMIN_USERNAME"] = administration["username"]
    os.environ["DCF_SERVER_ADMIN_PASSWORD"] = password
    runtime = Path(os.environ["RUNTIME_DIRECTORY"])
    known = {"url": administration["url"], "username": administration["username"], "password": password, "ca": None}
    if administration["ca"]:
        known["ca"] = str(runtime / "ca.pem")
        files.write(runtime / "ca.pem", Path(administration["ca"]).read_text(encoding="utf-8"))
    files.write(runtime / HANDED_ON, json.dumps(known))


def settle_keys(config: Mapping[str, Any]) -> None:
    """Workers that were revoked while no server ran are no longer in the library's database, either."""
    arguments = config["arguments"]
    if not arguments["server_mode_safe"]:
        return
    applied, wanted = Path(config["applied"]), keys.read_list(Path(arguments["key_list_file"]))
    database.forget(Path(arguments["path_to_keys_db"]), set(keys.read_list(applied)) - set(wanted))
    keys.write_list(applied, wanted)


def application(config: Mapping[str, Any]) -> Callable[..., Any]:
    """What makes the server. FedAvg's takes the mean with numpy, and without it answers 200 and has none."""
    found = launching.application(config["application"]["callable"])
    if launching.averages() and importlib.util.find_spec("numpy") is None:
        raise launching.LaunchError(
            f"application {config['application']['callable']}: FedAvgServer needs numpy beside torch: "
            "name both in a lock of your own, runtime.requirements"
        )
    return found


def build(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """What the application returned, and the DCFServer in it, which has to be the one that was asked for."""
    made = application(config)
    outer = made(dict(config["arguments"]), config["application"]["settings"])
    inner = getattr(outer, "server", outer)
    if not hasattr(inner, "worker_manager"):
        raise launching.LaunchError(
            f"application {config['application']['callable']} returned no server of dc_federated"
        )
    arguments = config["arguments"]
    found = {
        "server_host_ip": inner.server_host_ip,
        "server_port": inner.server_port,
        "ssl_enabled": inner.ssl_enabled,
        "server_mode_safe": inner.worker_manager.do_public_key_auth,
    }
    for name, value in found.items():
        if value != arguments[name]:
            raise launching.LaunchError(
                f"application: its server has {name} {value!r}, not {arguments[name]!r}: pass it on"
            )
    return outer, inner


def end_with_child(arbiter: Any, _child: Any) -> None:
    """What gunicorn's master does once its one child has ended: systemd starts both anew.

    Another child of this master would know the workers of the unit's start, and none of the reloads since.
    """
    arbiter.num_workers = 0
    os.kill(os.getpid(), signal.SIGTERM)


def serve(config: Mapping[str, Any]) -> None:
    """Runs until it is stopped."""
    prepare_environment(config)
    launching.check_library(config["double"])
    database.keep_whole()
    database.begin(Path(config["arguments"]["path_to_keys_db"]))
    settle_keys(config)
    if config["arguments"]["server_mode_safe"]:
        # the library takes every line for a key, so it is given what was settled, without comments
        config = {**config, "arguments": {**config["arguments"], "key_list_file": config["applied"]}}
    _module, server = build(config)
    database.begun(Path(config["arguments"]["path_to_keys_db"]))
    from gunicorn.config import ChildExit, GracefulTimeout, Keepalive, WorkerConnections

    from .guard import Guard

    GracefulTimeout.default = STOP_SECONDS
    Keepalive.default = KEPT_SECONDS
    WorkerConnections.default = config["connections"]  # its own are 1,000: further workers would wait for ever

    ChildExit.default = staticmethod(end_with_child)
    Guard(server, config["max_update_size"], config["max_body_size"]).install()
    server.start_server()


def check(config: Mapping[str, Any]) -> None:
    """Imports library and application in this scratch process, as nobody."""
    launching.drop_root()
    launching.check_library(config["double"])
    application(config)


def main() -> None:
    """Starts the server, or looks whether it could be."""
    launching.patch()
    parser = argparse.ArgumentParser(prog="fedlearn_dc_federated.server", allow_abbrev=False)
    parser.add_argument("--config", required=True)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    config = launching.read(given.config)
    try:
        check(config) if given.check else serve(config)
    except launching.LaunchError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
