# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Go programs, built once on the control node and kept there."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_LINES = 12


class GoBuildError(Exception):
    """Why a program can't be built, in words for the operator."""


@dataclass(frozen=True, slots=True)
class GoProgram:
    """A program as ``go install PACKAGE@VERSION`` makes it. The version is exact, and Go checks its sum.

    With ``module`` it is built in a copy of that module, to which the files of ``add`` are added: for what Go refuses
    to install (its go.mod replaces others), or what needs a file that the module lacks.
    """

    package: str
    version: str
    ldflags: str
    toolchain: str
    go: str
    cache: Path
    digest: str
    module: str = ""
    add: Mapping[str, str] = field(default_factory=dict)

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
            options = ["-trimpath", f"-ldflags={self.ldflags}"]
            if self.module:
                source = self._copied(Path(folder))
                inside = "." + self.package.removeprefix(self.module)
                self._run(["build", *options, "-o", str(Path(folder) / self.name), inside], source)
            else:
                self._run(["install", *options, f"{self.package}@{self.version}"], Path(folder))
            self.path.parent.mkdir(exist_ok=True)
            (Path(folder) / self.name).rename(self.path)

    def _copied(self, folder: Path) -> Path:
        """A copy of the module, with what is added."""
        found = json.loads(self._run(["mod", "download", "-json", f"{self.module}@{self.version}"], folder))
        # Go keeps modules read-only, and so would a plain copy be
        copy = shutil.copytree(found["Dir"], folder / "module", copy_function=shutil.copyfile)
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        for relative, content in self.add.items():
            (copy / relative).write_text(content, encoding="utf-8")
        return copy

    def _run(self, arguments: list[str], folder: Path) -> str:
        """What Go says, in a folder where no go.mod of whoever runs this is found."""
        environment = {**os.environ, "GOBIN": str(folder), "GOTOOLCHAIN": self.toolchain, "CGO_ENABLED": "0"}
        done = subprocess.run(
            # a build takes minutes: whatever else the control node does comes first
            ["nice", "-n", "10", self.go, *arguments],
            cwd=folder,
            env={**environment, "GOWORK": "off"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = "\n".join((done.stderr + done.stdout).splitlines()[-_LINES:])
            told = f"go {arguments[0]} ended with {done.returncode}"
            raise GoBuildError(f"{self.package} {self.version}: {told}:\n{said}")
        return done.stdout
