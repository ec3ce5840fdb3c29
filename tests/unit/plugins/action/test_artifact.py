# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a folder of the control node, perhaps a partner's, gives hosts of it."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.action.artifact import ActionModule, MistakeError, prepare

ITEM = {"name": "", "program": "app", "version": "", "source": "files", "sha256": "", "python_artifact": "", "keep": 2}


def files(folder: Path) -> list[str]:
    """The files that hosts get of ``folder``, as their folder ``app``."""
    prepared: list[dict[str, Any]] = prepare([{**ITEM, "files": {"app": str(folder)}}], Path, {})
    return list(prepared[0]["files"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app/deep").mkdir(parents=True)
    (tmp_path / "app/train.py").write_text("def train(): ...\n")
    (tmp_path / "app/deep/data.csv").write_text("1,2\n")
    (tmp_path / "secret").write_text("of the control node\n")
    return tmp_path / "app"


def test_a_folder_is_taken_whole(folder: Path) -> None:
    assert files(folder) == ["app/deep/data.csv", "app/train.py"]


@pytest.mark.parametrize("target", ["../../secret", "/etc/hostname"])
def test_a_link_that_leads_out_is_refused(folder: Path, target: str) -> None:
    (folder / "deep/link").symlink_to(target)
    with pytest.raises(
        MistakeError, match=r"'app': .*/deep/link is a link that leads out of .*/app: copy what it names"
    ):
        files(folder)


def test_a_link_within_is_followed(folder: Path) -> None:
    (folder / "link").symlink_to("deep/data.csv")
    assert files(folder) == ["app/deep/data.csv", "app/link", "app/train.py"]


@pytest.mark.parametrize("name", [".secrets/lab.yml", ".ca/lab/lab.key", ".vault-pass", ".git/config"])
def test_keys_and_secrets_stay(folder: Path, name: str) -> None:
    (folder / "deep" / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / "deep" / name).write_text("of the control node\n")
    assert files(folder) == ["app/deep/data.csv", "app/train.py"]


def test_programs_in_archives_are_told_by_a_text(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "janus.tar.gz", "w:gz") as archive:
        (tmp_path / "aggregator").write_bytes(b"\x7fELF")
        archive.add(tmp_path / "aggregator", "bin/aggregator")
    action = ActionModule.__new__(ActionModule)
    action._find = lambda name: tmp_path / name
    item = {"state": "present", "source": "archive", "archive": "janus.tar.gz"}
    options = {"artifacts": [item], "texts": {"bin/aggregator": "Prio3"}, "without_text": "build it otherwise"}
    with pytest.raises(MistakeError, match=r"janus\.tar\.gz: bin/aggregator has nothing of Prio3: build it otherwise$"):
        action._look_into_archives(options)
    others: list[dict[str, Any]] = [
        {**item, "state": "absent"},
        {**item, "archive": "https://artifacts.example/janus.tar.gz"},
        {"state": "present", "source": "preinstalled", "path": "/opt/janus"},
    ]
    for other in others:
        action._look_into_archives({**options, "artifacts": [other]})
    action._look_into_archives({**options, "texts": {"bin/aggregator": "ELF"}})
