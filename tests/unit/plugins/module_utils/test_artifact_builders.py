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
        (["mine/__init__.py", "mine/mean.py"], ["mine/__init__.py", "mine/mean.py"]),
    ],
    ids=["a folder around all", "around bin alone", "none", "none, and bin alone", "a package alone"],
)
def test_a_folder_around_all_is_left_out(tmp_path: Path, packed: list[str], unpacked: list[str]) -> None:
    archive, folder = tmp_path / "x.tar", tmp_path / "there"
    folder.mkdir()
    with tarfile.open(archive, "w") as tar:
        for name in packed:
            tar.addfile(tarfile.TarInfo(name))
    builders.build_archive(str(archive), str(folder), "x.tar")
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == unpacked


LINKS_OUT = {
    "a path": [("../out", None)],
    "an absolute path": [("/tmp/out", None)],
    "a link": [("out", "..")],
    "an absolute link": [("out", "/tmp")],
    "links in turn": [("a/b/up", "../.."), ("out", "a/b/up/../../x")],
    "a link that comes later": [("out", "a/b/up/../../x"), ("a/b/up", "../..")],
    "a file through links": [("a/up", ".."), ("a/up/../out", None)],
    "links in a circle": [("a", "b"), ("b", "a")],
}


@pytest.mark.parametrize("packed", LINKS_OUT.values(), ids=LINKS_OUT)
def test_an_archive_that_leads_out_is_refused_before_anything_is_unpacked(
    tmp_path: Path, packed: list[tuple[str, str | None]]
) -> None:
    """Root unpacks it: a link through which the next file goes would overwrite what it likes."""
    archive, folder = tmp_path / "x.tar", tmp_path / "there" / "below"
    folder.mkdir(parents=True)
    _pack(archive, packed)
    with pytest.raises(ArtifactError, match=r"^x\.tar: '.*' leads out of the archive$"):
        builders.build_archive(str(archive), str(folder), "x.tar")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() or path.is_symlink()] == ["x.tar"]


def test_a_link_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    _pack(tmp_path / "x.tar", [("a", "b/../.."), ("a/out", None), ("a", ".")])
    with pytest.raises(ArtifactError, match=r"^x\.tar: a link stands there twice$"):
        builders.build_archive(str(tmp_path / "x.tar"), str(tmp_path), "x.tar")


def test_links_within_an_archive_are_kept(tmp_path: Path) -> None:
    _pack(tmp_path / "x.tar", [("p/lib/a", None), ("p/lib64", "lib"), ("p/bin/b", "../lib64/a"), ("p/lib64/c", None)])
    (tmp_path / "there").mkdir()
    builders.build_archive(str(tmp_path / "x.tar"), str(tmp_path / "there"), "x.tar")
    assert sorted(path.name for path in (tmp_path / "there/lib").iterdir()) == ["a", "c"]
    assert (tmp_path / "there/bin/b").is_file()


def _pack(archive: Path, packed: list[tuple[str, str | None]]) -> None:
    """An archive of empty files and links, in this order."""
    with tarfile.open(archive, "w") as tar:
        for name, target in packed:
            member = tarfile.TarInfo(name)
            if target is not None:
                member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)


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
