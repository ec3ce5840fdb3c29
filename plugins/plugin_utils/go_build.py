# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Go programs, built once on the control node and kept there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .control_build import ControlProgram


@dataclass(frozen=True)
class GoProgram(ControlProgram):
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
    def title(self) -> str:
        """The package, and its version."""
        return f"{self.package} {self.version}"

    @property
    def builder(self) -> tuple[str, str]:
        """Go."""
        return "Go", self.go

    def make(self, folder: Path) -> Path:
        """Build it."""
        options = ["-trimpath", f"-ldflags={self.ldflags}"]
        if self.module:
            source = self._copied(folder)
            inside = "." + self.package.removeprefix(self.module)
            self._go(["build", *options, "-o", str(folder / self.name), inside], source)
        else:
            self._go(["install", *options, f"{self.package}@{self.version}"], folder)
        return folder / self.name

    def _copied(self, folder: Path) -> Path:
        """A copy of the module, with what is added."""
        found = json.loads(self._go(["mod", "download", "-json", f"{self.module}@{self.version}"], folder))
        # Go keeps modules read-only, and so would a plain copy be
        copy = shutil.copytree(found["Dir"], folder / "module", copy_function=shutil.copyfile)
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        for relative, content in self.add.items():
            (copy / relative).write_text(content, encoding="utf-8")
        return copy

    def _go(self, arguments: list[str], folder: Path) -> str:
        """What Go says, in a folder where no go.mod of whoever runs this is found."""
        environment = {"GOBIN": str(folder), "GOTOOLCHAIN": self.toolchain, "CGO_ENABLED": "0", "GOWORK": "off"}
        return self.run(arguments, folder, environment)
