# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where what is packed lies once it is unpacked, and what environments are made with."""

from __future__ import annotations

import glob
import importlib.util
import tarfile
from pathlib import Path

import pytest

from ansible_collections.fedlearn.infra.plugins.module_utils._artifact import builders
from ansible_collections.fedlearn.infra.plugins.module_utils._artifact.store import ArtifactError


@pytest.mark.parametrize(
    ("packed", "unpacked"),
    [
        (["program-1.0/bin/program", "program-1.0/LICENSE"], ["LICENSE", "bin/program"]),
        (["program-1.0/bin/program"], ["bin/program"]),
        (["bin/program", "db/1.sql"], ["bin/program", "db/1.sql"]),
        (["bin/program"], ["bin/program"]),
    ],
    ids=["a folder around all", "around bin alone", "none", "none, and bin alone"],
)
def test_a_folder_around_all_is_left_out(tmp_path: Path, packed: list[str], unpacked: list[str]) -> None:
    archive, folder = tmp_path / "x.tar", tmp_path / "there"
    folder.mkdir()
    with tarfile.open(archive, "w") as tar:
        for name in packed:
            tar.addfile(tarfile.TarInfo(name))
    builders.build_archive(str(archive), str(folder), "x.tar")
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == unpacked


def test_a_python_that_brings_no_pip_is_told_with_where_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Debian's, without the package that makes environments: its module isn't there at all."""

    def run(command: list[str], _what: str, _python: str) -> str:
        exec(command[2], {})
        return capsys.readouterr().out

    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(glob, "glob", lambda _pattern: [])
    monkeypatch.setattr(builders, "run", run)
    with pytest.raises(
        ArtifactError, match=r"^/usr/bin/python3 brings no pip of its own \(Debian has it in python3-venv\)$"
    ):
        builders._bundled_pip("/usr/bin/python3")
