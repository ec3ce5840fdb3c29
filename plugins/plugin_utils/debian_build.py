# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs of crates that only an older Debian's Rust builds: in a root of it, made for that and thrown away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .control_build import BuildError, ControlProgram

BOOTSTRAP = "mmdebstrap"
CRATE = "/crate"
WRAPPER = "rustc"
"""A file of the crate's folder that stands in front of the compiler, where there is one."""

_CONFIGURATION = """\
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "vendor"
[build]
rustflags = ["-C", "link-arg=-s"]
"""


@dataclass(frozen=True)
class DebianProgram(ControlProgram):
    """All programs of the crate ``package``, on which an empty crate of ours depends, in an archive.

    ``files`` are that crate's: Cargo.toml, Cargo.lock, ``pack.py``, which makes the archive with the root's own Python,
    and ``rustc``, where the compiler needs something in front of it. Crates come by the control node's Cargo, which
    checks the sum of each: an older one can't read today's index.
    """

    files: Mapping[str, str]
    package: str
    suite: str
    packages: tuple[str, ...]
    cargo: str
    cache: Path
    digest: str

    @property
    def name(self) -> str:
        """The archive."""
        return f"{self.package}.tar.gz"

    @property
    def title(self) -> str:
        """The package, and where it is built."""
        return f"{self.package}, in a root of Debian's {self.suite},"

    @property
    def builder(self) -> tuple[str, str]:
        """Cargo, which brings the crates."""
        return "Cargo", self.cargo

    def look(self) -> None:
        """Raises BuildError where it is neither built nor could be."""
        super().look()
        if self.path.exists():
            return
        if shutil.which(BOOTSTRAP) is None:
            raise BuildError(f"{self.title} is built in what mmdebstrap makes, and there is none on the control node")
        if os.geteuid() != 0:
            raise BuildError(f"{self.title} is built by root, and the control node's user is another one")

    def make(self, folder: Path) -> Path:
        """Build it."""
        crate = folder / "crate"
        for name, content in {**self.files, "src/lib.rs": ""}.items():
            (crate / name).parent.mkdir(parents=True, exist_ok=True)
            (crate / name).write_text(content, encoding="utf-8")
        self.run(["vendor", "--quiet", "--locked", "vendor"], crate, {"CARGO_TERM_COLOR": "never"})
        # what newer ones read, this suite's doesn't, and the other way round
        (crate / ".cargo").mkdir()
        (crate / ".cargo" / "config").write_text(_CONFIGURATION, encoding="utf-8")
        self.run(
            [
                "--quiet", "--variant=minbase", "--format=null", f"--include={','.join(self.packages)}",
                f"--customize-hook=copy-in {crate} /",
                f"--customize-hook=chroot \"$1\" sh -euc '{self._commands()}'",
                f"--customize-hook=copy-out {CRATE}/{self.name} {folder}",
                self.suite, "/dev/null",
            ],
            folder,
            {"TMPDIR": str(folder)},
            BOOTSTRAP,
        )  # fmt: skip
        return folder / self.name

    def _commands(self) -> str:
        """What is done in the root, where no single quote may stand."""
        wrapper = f"chmod +x {WRAPPER}; export RUSTC={CRATE}/{WRAPPER}; " if WRAPPER in self.files else ""
        return (
            f"cd {CRATE}; {wrapper}export HOME=/root RUSTC_BOOTSTRAP=1 CARGO_TERM_COLOR=never; "
            f"cargo build --release --offline --locked --package {self.package} --bins; "
            f"python3 pack.py target/release {self.name}"
        )
