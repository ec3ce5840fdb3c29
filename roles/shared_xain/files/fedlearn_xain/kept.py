# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands in front of the class that aggregates in ``poc``, in the Python that the aggregator embeds (3.9).

The program keeps its model in memory alone, and once a training is over nobody is given it any more. So each model is
also a file, ``models/<time>-<round>`` in the unit's state directory, of which some are kept. While there is something
that a restart would lose, the file ``training`` in its runtime directory says so. What is told by the environment:
``FEDLEARN_CLASS``, ``FEDLEARN_ROUNDS`` and ``FEDLEARN_KEEP``.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any


class Aggregator:
    """The class that aggregates, with its models kept."""

    def __init__(self) -> None:
        module, _colon, name = os.environ["FEDLEARN_CLASS"].partition(":")
        self._inner: Any = getattr(importlib.import_module(module), name)()
        self._rounds, self._keep = int(os.environ["FEDLEARN_ROUNDS"]), int(os.environ["FEDLEARN_KEEP"])
        self._models = Path(os.environ["STATE_DIRECTORY"]) / "models"
        self._models.mkdir(exist_ok=True)
        self._training = Path(os.environ["RUNTIME_DIRECTORY"]) / "training"
        self._done = 0
        self._note("")

    def _note(self, words: str) -> None:
        if words:
            self._training.write_text(words + "\n", encoding="utf-8")
        elif self._training.exists():
            self._training.unlink()

    def add_weights(self, data: bytes) -> bool:
        """Whether the class takes these weights."""
        taken = bool(self._inner.add_weights(data))
        if taken:
            self._note(f"round {self._done + 1} of {self._rounds}")
        return taken

    def aggregate(self) -> bytes:
        """The class's model, which is also a file now."""
        model = bytes(self._inner.aggregate())
        self._done += 1
        try:
            self._store(model)
        except OSError as error:
            # a full disk ends no training
            print(f"the model of round {self._done} isn't kept: {error}", file=sys.stderr, flush=True)
        if self._done < self._rounds:
            self._note(f"round {self._done + 1} of {self._rounds}")
        else:
            self._done = 0
            self._note("")
        return model

    def _store(self, model: bytes) -> None:
        if not self._keep:
            return
        # of one second several may come
        name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.{time.time_ns() % 10**9:09}-{self._done}"
        half = self._models / f".{name}"
        half.write_bytes(model)
        half.replace(self._models / name)
        for former in sorted(self._models.iterdir())[: -self._keep]:
            former.unlink()
