# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`python -m fedlearn_mindspore.worker --config FILE`: trains on this host's own data until the job has finished.

What it did is kept after each iteration, so a worker that was interrupted goes on; the result is written last.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

from fedlearn_mindspore import config, runtime, systemd
from fedlearn_mindspore.runtime import LOG
from fedlearn_mindspore.session import MissedError, Session, write_json

READY_SECONDS = 5.0


def ready_in_time() -> None:
    """A worker counts as running once it has something to hand in, or has trained for a while without failing.

    Data that can't be read and the like mostly show before that.
    """
    timer = threading.Timer(READY_SECONDS, systemd.ready)
    timer.daemon = True
    timer.start()


def load_callable(application: config.Application) -> Callable[[Session], Mapping[str, Any]]:
    """The application's function. Raises SystemExit that says what is missing."""
    if application.path:
        sys.path.insert(0, application.path)
    module_name, _colon, name = application.callable.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise SystemExit(f"application {application.callable}: {error}") from error
    if not callable(function):
        raise SystemExit(f"application {application.callable}: not a function")
    return function  # type: ignore[no-any-return]


def main() -> None:
    """Trains, then writes the result. The file that says that it has finished holds what is to be told of that."""
    worker = config.from_arguments(config.Worker, "MindSpore Federated worker")
    runtime.prepare(worker.flavour)
    train = load_callable(worker.application)
    state = Path(worker.state)
    session = Session(worker)
    ready_in_time()
    told = ""
    try:
        outcome = dict(train(session))
    except MissedError as error:
        told = str(error)
        outcome = {"missed": told}
        LOG.warning("%s", told)
    finally:
        session.leave()
    systemd.ready()
    write_json(state / "result.json", {**outcome, "iterations": session.iterations, "digest": worker.digest})
    (state / f"finished-{worker.digest}").write_text(told, encoding="utf-8")
    LOG.info("finished after %d iterations", len(session.iterations))


if __name__ == "__main__":
    main()
