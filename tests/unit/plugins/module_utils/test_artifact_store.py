# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a store says of a build that failed. Builds themselves are tried on hosts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.fedlearn.infra.plugins.module_utils._artifact.store import ArtifactError, Store


def fail(store: Store) -> None:
    with store.locked(), store.building("tool", "1", "digest", {}):
        raise ArtifactError("install python3-venv")


def left(monkeypatch: pytest.MonkeyPatch, blocks: int) -> None:
    found = os.statvfs("/")
    values = [*found[:1], 1024, found[2], found[3], blocks, *found[5:]]
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(values))


def test_a_full_file_system_is_told_before_what_the_builder_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left(monkeypatch, 40)
    with pytest.raises(ArtifactError) as caught:
        fail(Store(str(tmp_path)))
    assert str(caught.value) == (
        f"{tmp_path}/tool: the file system is full, 40 KiB are left; nothing was changed: install python3-venv"
    )
    assert list((tmp_path / "tool").iterdir()) == []


def test_with_space_left_the_builder_alone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left(monkeypatch, 1 << 20)
    with pytest.raises(ArtifactError, match=r"^install python3-venv$"):
        fail(Store(str(tmp_path)))
