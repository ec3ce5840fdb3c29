# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs in archives are told by a text, wherever in them it is, and whatever is around them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils import archives

TEXT = "Prio3FixedPointBoundedL2VecSum"
TEXTS = {"bin/aggregator": TEXT, "bin/manager": TEXT}
PROGRAM = b"\x7fELF" + bytes(500)


def archive(folder: Path, mode: str = "w:gz", **contents: bytes) -> Path:
    path = folder / "programs.tar"
    with tarfile.open(path, mode) as made:  # type: ignore[call-overload]  # each of its forms
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("bin/manager")
        link.type, link.linkname = tarfile.SYMTYPE, "aggregator"
        made.addfile(link)
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("around", ["", "./", "janus-1/"])
def test_a_program_without_the_text_is_found(tmp_path: Path, mode: str, around: str) -> None:
    name = f"{around}bin/aggregator"
    others = {f"{around}bin/janus_cli": PROGRAM, f"{around}sbin/aggregator": PROGRAM}
    assert archives.lacking(archive(tmp_path, mode, **{name: PROGRAM, **others}), TEXTS) == ["bin/aggregator"]
    assert archives.lacking(archive(tmp_path, mode, **{name: PROGRAM + TEXT.encode(), **others}), TEXTS) == []


@pytest.mark.parametrize("before", range(60, 101))
def test_a_text_is_found_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    monkeypatch.setattr(archives, "CHUNK", 32)
    program = bytes(before) + TEXT.encode() + bytes(40)
    assert archives.lacking(archive(tmp_path, **{"bin/aggregator": program}), TEXTS) == []
    program = bytes(before) + TEXT[:-1].encode() + bytes(40)
    assert archives.lacking(archive(tmp_path, **{"bin/aggregator": program}), TEXTS) == ["bin/aggregator"]


@pytest.mark.parametrize("keep", [0, 30, 100])
def test_what_is_no_archive_is_told(tmp_path: Path, keep: int) -> None:
    path = archive(tmp_path, **{"bin/aggregator": bytes(range(256)) * 90})
    path.write_bytes(path.read_bytes()[:keep] or b"no archive")
    with pytest.raises(archives.UnreadableArchiveError, match=r"programs\.tar can't be read as an archive: "):
        archives.lacking(path, TEXTS)
