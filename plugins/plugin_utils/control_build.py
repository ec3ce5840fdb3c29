# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs that are built once on the control node and kept there."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

_LINES = 12


class BuildError(Exception):
    """Why a program can't be built, in words for the operator."""


class ControlProgram(ABC):
    """A program that whoever lacks it first has built."""

    cache: Path
    digest: str
    """Of what it is made of."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What the built program is called."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What of it is built, in messages."""

    @property
    @abstractmethod
    def builder(self) -> tuple[str, str]:
        """What builds it: its name, and its program on the control node."""

    @abstractmethod
    def make(self, folder: Path) -> Path:
        """Build it in an empty folder; where it is then."""

    @property
    def path(self) -> Path:
        """Where the built program is kept."""
        return self.cache / self.digest[:12] / self.name

    def look(self) -> None:
        """Raises BuildError where it is neither built nor could be."""
        who, program = self.builder
        if not self.path.exists() and shutil.which(program) is None:
            raise BuildError(f"{self.title} is built by {who}, and there is no '{program}' on the control node")

    def built(self) -> Path:
        """The program; built by the first who asks, and whoever asks meanwhile waits for it."""
        self.look()
        self.cache.mkdir(parents=True, exist_ok=True)
        with (self.cache / f".lock-{self.digest[:12]}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.path.exists():
                with tempfile.TemporaryDirectory(prefix=".partial-", dir=self.cache) as folder:
                    made = self.make(Path(folder))
                    self.path.parent.mkdir(exist_ok=True)
                    made.rename(self.path)
        return self.path

    def run(self, arguments: list[str], folder: Path, environment: Mapping[str, str], tool: str = "") -> str:
        """What the builder says, or another tool, in a folder where nothing of whoever runs this is found."""
        who, program = (tool, tool) if tool else self.builder
        done = subprocess.run(
            # a build takes minutes: whatever else the control node does comes first
            ["nice", "-n", "10", program, *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = "\n".join((done.stderr + done.stdout).splitlines()[-_LINES:])
            what = tool or f"{who.lower()} {arguments[0]}"
            raise BuildError(f"{self.title}: {what} ended with {done.returncode}:\n{said}")
        return done.stdout
