# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where what is packed lies once it is unpacked."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from ansible_collections.fedlearn.infra.plugins.module_utils._artifact import builders


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
