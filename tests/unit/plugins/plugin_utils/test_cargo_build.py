# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A program of a crate is built of our lock, once; what is built of another one is another version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.action.artifact import MistakeError, prepare
from ansible_collections.fedlearn.infra.plugins.plugin_utils.cargo_build import CargoProgram
from ansible_collections.fedlearn.infra.plugins.plugin_utils.control_build import BuildError

CARGO = """#!/bin/sh
echo "$@" >>{log}
echo "$CARGO_ENCODED_RUSTFLAGS" >>{log}.flags
cat Cargo.toml Cargo.lock src/lib.rs >>{log}
{then}
"""
MAKES = 'mkdir -p "$CARGO_TARGET_DIR/release"; echo program >"$CARGO_TARGET_DIR/release/server"'
ITEM = {
    "name": "",
    "program": "them",
    "version": "",
    "source": "cargo",
    "sha256": "",
    "python_artifact": "",
    "keep": 2,
    "package": "it-server",
    "binary": "server",
}


def item(folder: Path, then: str = MAKES, **changed: Any) -> dict[str, Any]:
    """An artifact whose cargo is a script that notes how it was called, and with which files."""
    cargo, crate = folder / "cargo", folder / "crate"
    cargo.write_text(CARGO.format(log=folder / "log", then=then))
    cargo.chmod(0o755)
    crate.mkdir(exist_ok=True)
    (crate / "Cargo.toml").write_text("manifest\n")
    (crate / "Cargo.lock").write_text(changed.pop("lock", "lock\n"))
    return {**ITEM, "cargo": str(cargo), "crate": str(crate), "cache": str(folder / "cache"), **changed}


def program(described: dict[str, Any]) -> CargoProgram:
    sources: dict[str, Any] = {}
    prepare([described], Path, sources)
    found = next(iter(sources.values()))
    assert isinstance(found, CargoProgram)
    return found


def test_it_is_built_once_of_the_files_of_the_crate(tmp_path: Path) -> None:
    wanted = program(item(tmp_path))
    for _time in range(2):
        assert wanted.built().read_text() == "program\n"
    told = "build --release --locked --package it-server --bin server"
    assert (tmp_path / "log").read_text() == f"{told}\nmanifest\nlock\n"
    flags = (tmp_path / "log.flags").read_text().strip().split("\x1f")
    assert [flag.rpartition("=")[2] for flag in flags] == ["cargo", "crate"]
    assert str(tmp_path / "cache") in flags[1]
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {wanted.digest[:12], f".lock-{wanted.digest[:12]}"}


def test_another_lock_is_another_version_and_another_cargo_is_none(tmp_path: Path) -> None:
    former = program(item(tmp_path)).digest
    assert program(item(tmp_path, lock="other\n")).digest != former
    assert program(item(tmp_path, package="others")).digest != former
    assert program(item(tmp_path, cargo="/nowhere/cargo")).digest == former


def test_what_goes_wrong_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    wanted = program(item(tmp_path, then="echo no openssl >&2; exit 101"))
    with pytest.raises(BuildError, match=r"it-server: cargo build ended with 101:\nno openssl"):
        wanted.built()
    assert not wanted.path.exists()


def test_without_cargo_only_what_is_not_built_is_missed(tmp_path: Path) -> None:
    wanted = program(item(tmp_path, cargo="/nowhere/cargo"))
    with pytest.raises(
        BuildError, match="it-server is built by Cargo, and there is no '/nowhere/cargo' on the control"
    ):
        wanted.look()
    wanted.path.parent.mkdir(parents=True)
    wanted.path.write_text("program\n")
    assert wanted.built() == wanted.path


def test_what_is_no_crate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MistakeError, match="package '--config=x' is none of a crate's"):
        program(item(tmp_path, package="--config=x"))
    described = item(tmp_path)
    (tmp_path / "crate" / "Cargo.lock").unlink()
    with pytest.raises(MistakeError, match=r"Cargo\.lock is missing or can't be read"):
        program(described)
