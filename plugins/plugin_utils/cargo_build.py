# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs of crates, built once on the control node and kept there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .control_build import ControlProgram


def _remapped(folder: Path) -> str:
    """Flags by which what a program says of its sources isn't where the control node keeps them."""
    home = os.environ.get("CARGO_HOME") or str(Path.home() / ".cargo")
    return "\x1f".join(f"--remap-path-prefix={path}={word}" for path, word in ((home, "cargo"), (folder, "crate")))


@dataclass(frozen=True)
class CargoProgram(ControlProgram):
    """The program ``binary`` of the crate ``package``, on which an empty crate of ours depends.

    That crate's lock is ours, so it may have newer versions than the package's own; cargo checks the sum of each.
    """

    manifest: str
    lock: str
    package: str
    binary: str
    cargo: str
    cache: Path
    digest: str

    @property
    def name(self) -> str:
        """The binary."""
        return self.binary

    @property
    def title(self) -> str:
        """The package."""
        return self.package

    @property
    def builder(self) -> tuple[str, str]:
        """Cargo."""
        return "Cargo", self.cargo

    def make(self, folder: Path) -> Path:
        """Build it."""
        (folder / "src").mkdir()
        for name, content in (("Cargo.toml", self.manifest), ("Cargo.lock", self.lock), ("src/lib.rs", "")):
            (folder / name).write_text(content, encoding="utf-8")
        arguments = ["build", "--release", "--locked", "--package", self.package, "--bin", self.binary]
        environment = {
            "CARGO_TARGET_DIR": str(folder / "target"),
            "CARGO_TERM_COLOR": "never",
            "CARGO_ENCODED_RUSTFLAGS": _remapped(folder),
        }
        self.run(arguments, folder, environment)
        return folder / "target" / "release" / self.binary
