# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Go programs, built once on the control node and kept there."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_LINES = 12


class GoBuildError(Exception):
    """Why a program can't be built, in words for the operator."""


@dataclass(frozen=True, slots=True)
class GoProgram:
    """A program as ``go install PACKAGE@VERSION`` makes it. The version is exact, and Go checks its sum."""

    package: str
    version: str
    ldflags: str
    toolchain: str
    go: str
    cache: Path
    digest: str

    @property
    def name(self) -> str:
        """What Go calls the program: after the package, or what stands before the number of its major version."""
        parts = [part for part in self.package.split("/") if not (part[:1] == "v" and part[1:].isdigit())]
        return parts[-1]

    @property
    def path(self) -> Path:
        """Where the built program is kept."""
        return self.cache / self.digest[:12] / self.name

    def look(self) -> None:
        """Raises GoBuildError where it is neither built nor could be."""
        if not self.path.exists() and shutil.which(self.go) is None:
            raise GoBuildError(
                f"{self.package} {self.version} is built by Go, and there is no '{self.go}' on the control node"
            )

    def built(self) -> Path:
        """The program; built by the first who asks, and whoever asks meanwhile waits for it."""
        self.look()
        self.cache.mkdir(parents=True, exist_ok=True)
        with (self.cache / f".lock-{self.digest[:12]}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.path.exists():
                self._build()
        return self.path

    def _build(self) -> None:
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=self.cache) as folder:
            # a build takes minutes: whatever else the control node does comes first
            command = ["nice", "-n", "10", self.go, "install", "-trimpath", f"-ldflags={self.ldflags}"]
            environment = {**os.environ, "GOBIN": folder, "GOTOOLCHAIN": self.toolchain, "CGO_ENABLED": "0"}
            done = subprocess.run(
                [*command, f"{self.package}@{self.version}"],
                cwd=folder,  # no go.mod of whoever runs this
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode:
                said = "\n".join(done.stdout.splitlines()[-_LINES:])
                raise GoBuildError(f"{self.package} {self.version}: go install ended with {done.returncode}:\n{said}")
            self.path.parent.mkdir(exist_ok=True)
            (Path(folder) / self.name).rename(self.path)
