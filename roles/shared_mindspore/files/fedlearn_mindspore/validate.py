# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`python -m fedlearn_mindspore.validate KIND FILE [FL_NAME]`: whether a process could start with a configuration.

KIND is MS_SCHED or MS_SERVER for MindSpore's own file, which MindSpore Federated itself reads (a worker reads as a
server does); `server` or `worker` for the launcher's. Ends with 1 and the reason where it can't. Connects to nothing
and writes nothing, so that what runs is left alone.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path

from fedlearn_mindspore import ckpt, config, light, models, runtime
from fedlearn_mindspore.checkpoints import Store
from fedlearn_mindspore.server import fits
from fedlearn_mindspore.worker import load_callable


def mindspore(role: str, path: str) -> None:
    """MindSpore Federated's own loader takes it."""
    light.register()
    startup = importlib.import_module("mindspore_federated.startup.yaml_config")
    try:
        startup.load_yaml_config(path, role)
    except RuntimeError as error:
        raise SystemExit(f"MindSpore Federated refuses the configuration: {str(error).splitlines()[0]}") from error


def server(path: str, fl_name: str) -> None:
    """Its initial model can be read, and fits the newest checkpoint of that name that lies here."""
    launcher = config.load(config.Server, Path(path))
    initial = models.initial(launcher.initial_model)
    store = Store(Path(launcher.exchange.directory), fl_name)
    for checkpoint in store.names():
        with contextlib.suppress(OSError, ckpt.CheckpointError):  # the server itself puts a broken one aside
            fits(store.path(checkpoint), ckpt.read(store.path(checkpoint)), initial)
            return


def worker(path: str) -> None:
    """Its application can be imported."""
    launcher = config.load(config.Worker, Path(path))
    runtime.prepare(launcher.flavour)
    load_callable(launcher.application)


def main(kind: str, path: str, *more: str) -> None:
    """One of the three."""
    if kind == "server":
        server(path, *more)
    elif kind == "worker":
        worker(path)
    else:
        mindspore(kind, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
