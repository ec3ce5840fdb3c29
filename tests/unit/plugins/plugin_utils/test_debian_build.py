# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs that an older Debian's Rust builds: in a root of it, once, of our files; what is missing is told by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.action.artifact import MistakeError, prepare
from ansible_collections.fedlearn.infra.plugins.plugin_utils.control_build import BuildError
from ansible_collections.fedlearn.infra.plugins.plugin_utils.debian_build import DebianProgram

CARGO = '#!/bin/sh\necho "$@" >>{log}\nls -a >>{log}\nmkdir vendor\n'
BOOTSTRAP = '#!/bin/sh\nprintf "%s\\n" "$@" >>{log}\n{then}\n'
MAKES = 'cat "$TMPDIR/crate/.cargo/config" >"$TMPDIR/it.tar.gz"'
ITEM = {
    "name": "",
    "program": "them",
    "version": "",
    "source": "debian",
    "sha256": "",
    "python_artifact": "",
    "keep": 2,
    "package": "it",
    "suite": "bullseye",
    "root_packages": ["rustc", "cargo"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose programs are found first."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def item(folder: Path, then: str = MAKES, **changed: Any) -> dict[str, Any]:
    """An artifact whose cargo and mmdebstrap are scripts that note how they were called."""
    for name, text in (("cargo", CARGO), ("mmdebstrap", BOOTSTRAP)):
        (folder / name).write_text(text.format(log=folder / f"{name}.log", then=then))
        (folder / name).chmod(0o755)
    crate = folder / "crate"
    crate.mkdir(exist_ok=True)
    for name in ("Cargo.toml", "Cargo.lock", "pack.py", "rustc"):
        (crate / name).write_text(changed.pop(name, "text\n"))
    return {**ITEM, "cargo": str(folder / "cargo"), "crate": str(crate), "cache": str(folder / "cache"), **changed}


def program(described: dict[str, Any]) -> DebianProgram:
    sources: dict[str, Any] = {}
    prepare([described], Path, sources)
    found = next(iter(sources.values()))
    assert isinstance(found, DebianProgram)
    return found


def test_it_is_built_once_in_a_root_with_our_files(folder: Path) -> None:
    wanted = program(item(folder))
    for _time in range(2):
        assert 'directory = "vendor"' in wanted.built().read_text()
    first, *there = (folder / "cargo.log").read_text().splitlines()
    assert first == "vendor --quiet --locked vendor"
    assert sorted(there) == [".", "..", "Cargo.lock", "Cargo.toml", "pack.py", "rustc", "src"]
    told = (folder / "mmdebstrap.log").read_text().splitlines()
    assert "--include=cargo,rustc" in told
    assert told[-2:] == ["bullseye", "/dev/null"]
    (built,) = [line for line in told if "cargo build" in line]
    assert "--offline --locked --package it --bins; python3 pack.py target/release it.tar.gz" in built
    assert "export RUSTC=/crate/rustc;" in built
    assert built.count("'") == 2


def test_another_file_suite_or_package_is_another_version(folder: Path) -> None:
    former = program(item(folder)).digest
    for change in (
        {"pack.py": "x"},
        {"rustc": "x"},
        {"Cargo.lock": "x"},
        {"suite": "buster"},
        {"root_packages": ["x"]},
    ):
        assert program(item(folder, **change)).digest != former
    assert program(item(folder, cargo="/nowhere/cargo")).digest == former


def test_what_goes_wrong_is_told_and_leaves_nothing(folder: Path) -> None:
    wanted = program(item(folder, then="echo no rustc >&2; exit 25"))
    with pytest.raises(BuildError, match=r"it, in a root of Debian's bullseye,: mmdebstrap ended with 25:\nno rustc"):
        wanted.built()
    assert not wanted.path.exists()
    assert [path.name for path in (folder / "cache").iterdir()] == [f".lock-{wanted.digest[:12]}"]


def test_what_is_missing_is_told_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BuildError, match="is built by Cargo, and there is no '/nowhere/cargo' on the control node"):
        program(item(folder, cargo="/nowhere/cargo")).look()
    wanted = program(item(folder))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BuildError, match="is built by root, and the control node's user is another one"):
        wanted.look()
    (folder / "mmdebstrap").unlink()
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(BuildError, match="is built in what mmdebstrap makes, and there is none on the control node"):
        wanted.look()
    wanted.path.parent.mkdir(parents=True)
    wanted.path.write_text("built\n")
    assert wanted.built() == wanted.path


def test_what_is_no_crate_or_package_is_refused(folder: Path) -> None:
    with pytest.raises(MistakeError, match="suite '--x' is none"):
        program(item(folder, suite="--x"))
    with pytest.raises(MistakeError, match=r"root_packages: 'a,b' can't be a package's name"):
        program(item(folder, root_packages=["a,b"]))
    described = item(folder)
    (folder / "crate" / "pack.py").unlink()
    with pytest.raises(MistakeError, match=r"pack\.py is missing or can't be read"):
        program(described)
