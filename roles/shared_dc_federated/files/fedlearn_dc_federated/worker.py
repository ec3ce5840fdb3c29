# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts one worker: ``--config launcher.json``; with ``--check`` it only looks whether it could.

The application is ``run(arguments, settings)``: ``arguments`` are DCFWorker's (protocol, host, port, key file), so
``DCFWorker(**arguments, ...)``. A worker that returns has done its work and isn't started again. What it returns, a
mapping or nothing, is its ``result.json``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import files, launching


def fed_avg(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The same for FedAvgWorker, which takes any protocol that it is told for https."""
    protocol = None if arguments["server_protocol"] == "http" else "https"
    return {**arguments, "server_protocol": protocol}


def prepare(config: Mapping[str, Any]) -> Any:
    """The application, in an environment in which the library finds our CA."""
    if config["ca"]:
        os.environ["REQUESTS_CA_BUNDLE"] = config["ca"]
    launching.check_library(config["double"])
    from . import steady  # it imports ssl, which has to be patched before

    steady.settle()  # before applications take the class
    found = launching.application(config["application"]["callable"])
    launching.averages()
    return found


def run(config: Mapping[str, Any]) -> None:
    """Runs the application to its end."""
    state = Path(config["state"])
    application = prepare(config)
    launching.notify("READY=1")
    result = application(dict(config["arguments"]), config["application"]["settings"])
    if isinstance(result, Mapping):
        files.write(state / "result.json", json.dumps(dict(result)))
    files.write(state / f"finished-{config['digest']}", "")


def main() -> None:
    """Starts the worker, or looks whether it could be."""
    launching.patch()
    parser = argparse.ArgumentParser(prog="fedlearn_dc_federated.worker", allow_abbrev=False)
    parser.add_argument("--config", required=True)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    config = launching.read(given.config)
    try:
        if given.check:
            launching.drop_root()
            prepare(config)
        else:
            run(config)
    except launching.LaunchError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
