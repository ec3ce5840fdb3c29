# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands in front of the class that aggregates in ``poc``, in the Python that the aggregator embeds (3.9).

The program keeps its model in memory alone, and once a training is over nobody is given it any more. So each model is
also a file, ``models/<time>-<round>`` in the unit's state directory, of which some are kept; one each so many seconds
is in ``archive`` as well. Of each participant that says who it is (``once``) weights count once in a round. In its
runtime directory the file ``made`` says that the class could be made; which round it is stands in ``training``, which
the launcher keeps. What is told by the environment: ``FEDLEARN_CLASS``, ``FEDLEARN_KEEP``,
``FEDLEARN_ARCHIVE_SECONDS`` (0: no archive) and ``FEDLEARN_ARCHIVE_KEEP``.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from . import once

WAITED_SECONDS = 10
"""The coordinator takes an aggregation that isn't answered by then for failed, and has the round run again; all others
wait while weights are added. The half of it is told, and a class that takes all of it is refused before
(``class_trial``).
"""

WAITED = {
    "add_weights": "all others wait meanwhile",
    "aggregate": f"after {WAITED_SECONDS} s the coordinator has the round run again",
}
"""What is told of a call that takes long."""

LATE_SECONDS = 0.5
"""An answer that the coordinator hears while it waits for an aggregation is nobody's; later it is the next round's."""

BYTES = (bytes, bytearray, memoryview)
"""What a model may be: ``bytes(10**9)`` would make one of anything."""


def told(name: str) -> int:
    """A number that the environment says."""
    return int(os.environ[f"FEDLEARN_{name}"])


def say(words: str) -> None:
    """A line of the log."""
    print(words, file=sys.stderr, flush=True)


def made(named: str) -> Any:
    """The class that the operator names; the program ends where it can't be made, and doesn't say why."""
    module, _colon, name = named.partition(":")
    try:
        return getattr(importlib.import_module(module), name)()
    except BaseException as error:
        say(f"the class {named} can't be made: {type(error).__name__}: {error}")
        raise


class Aggregator:
    """The class that aggregates, with its models kept."""

    def __init__(self) -> None:
        self._inner: Any = made(os.environ["FEDLEARN_CLASS"])
        self._keep = told("KEEP")
        self._archive_seconds, self._archive_keep = told("ARCHIVE_SECONDS"), told("ARCHIVE_KEEP")
        self._models, self._archive = (Path(os.environ["STATE_DIRECTORY"]) / name for name in ("models", "archive"))
        for folder in (self._models, self._archive):
            folder.mkdir(exist_ok=True)
        runtime = Path(os.environ["RUNTIME_DIRECTORY"])
        self._training = runtime / "training"
        self._counted: set[bytes] = set()
        self._repeated_at = -LATE_SECONDS
        # the program answers before, also where it ends next
        (runtime / "made").touch()

    def add_weights(self, data: bytes) -> bool:
        """Whether the class takes these weights, or has taken those of the same participant in this round."""
        weights, name = once.parted(data)
        if name in self._counted:
            say("a participant has sent once more, since the coordinator didn't hear of it: it counts once")
            self._repeated_at = time.monotonic()
            return True
        if name and not weights:
            return False
        taken = bool(self._timed("add_weights", weights))
        if taken:
            self._counted.update([name] if name else [])
        return taken

    def aggregate(self) -> bytes:
        """The class's model, which is also a file now."""
        # an answer to somebody who has sent twice would be taken for one of the next round
        time.sleep(max(0.0, self._repeated_at + LATE_SECONDS - time.monotonic()))
        # also where it fails: the class forgets then, too, and the round is run again
        self._counted.clear()
        returned = self._timed("aggregate")
        if not isinstance(returned, BYTES):
            raise TypeError(f"aggregate() returned {type(returned).__name__}, and a model is bytes")
        model = bytes(returned)
        try:
            self._store(model)
        except OSError as error:
            # a full disk ends no training
            say(f"the model of round {self._round()} isn't kept: {error}")
        return model

    def _round(self) -> str:
        """Its number, of "round 2 of 3"; 0 where nobody could say."""
        try:
            return self._training.read_text(encoding="utf-8").split()[1]
        except (OSError, IndexError):
            return "0"

    def _timed(self, method: str, *given: Any) -> Any:
        began = time.monotonic()
        try:
            return getattr(self._inner, method)(*given)
        finally:
            took = time.monotonic() - began
            if took > WAITED_SECONDS / 2:
                say(f"{method}() took {took:.1f} s; {WAITED[method]}")

    def _store(self, model: bytes) -> None:
        if not (self._keep or self._archive_seconds):
            return
        # of one second several may come
        name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.{time.time_ns() % 10**9:09}-{self._round()}"
        half = self._models / f".{name}"
        half.write_bytes(model)
        half.replace(self._models / name)
        if self._archive_seconds:
            self._lay_away(self._models / name)
        forget(self._models, name, self._keep)

    def _lay_away(self, path: Path) -> None:
        """The same file once more, where the last one there is old enough."""
        last = max(in_order(self._archive, path.name), default=None)
        age = path.stat().st_mtime - last[1].stat().st_mtime if last else 0
        if not last or not last[0] or age >= self._archive_seconds:
            os.link(path, self._archive / path.name)
            forget(self._archive, path.name, self._archive_keep)


def in_order(folder: Path, last: str) -> list[tuple[bool, Path]]:
    """Its files as they were written, and whether the clock was right then: their names begin with their time, and who
    has a later one than the last was written when the clock was ahead."""
    return sorted((path.name <= last, path) for path in folder.iterdir())


def forget(folder: Path, last: str, keep: int) -> None:
    """All but so many of its files, the last ones."""
    found = in_order(folder, last)
    for _right, former in found[: max(0, len(found) - keep)]:
        former.unlink()
