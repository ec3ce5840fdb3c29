# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a store says of a build that failed, and which versions it may remove. Builds are tried on hosts."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from ansible_collections.fedlearn.infra.plugins.module_utils._artifact import builders
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


@pytest.fixture
def units(tmp_path: Path) -> Path:
    folder = tmp_path / "system"
    folder.mkdir()
    return folder


def stored(tmp_path: Path, units: Path, *versions: str, spared: tuple[str, ...] = ()) -> Store:
    """A store of a program with these versions."""
    store = Store(str(tmp_path / "opt"), (f"{units}/**",), spared)
    for version in versions:
        with store.locked(), store.building("tool", version, version, {}):
            pass
    return store


@pytest.mark.parametrize(
    "line",
    [
        "ExecStart={path}/bin/tool --verbose",
        "Environment=PYTHONPATH={path} PYTHONNOUSERSITE=1",
        "Environment=PYTHONPATH={path}",
        'Environment="PYTHONPATH={path}"',
        "Environment=PATH=/usr/bin:{path}:/bin",
    ],
)
def test_what_a_unit_names_stays_however_it_is_named(tmp_path: Path, units: Path, line: str) -> None:
    store = stored(tmp_path, units, "1.0-aaaa", "1.0-bbbb")
    (units / "fedlearn-a.service").write_text(f"[Service]\n{line.format(path=store.path('tool', '1.0-aaaa'))}\n")
    assert store.unused("tool") == [store.path("tool", "1.0-bbbb")]
    assert store.prune("tool", set(), 0) == [store.path("tool", "1.0-bbbb")]
    assert (tmp_path / "opt/tool/1.0-aaaa").is_dir()


def test_what_only_a_configuration_names_stays_however_many_runs_fail(tmp_path: Path, units: Path) -> None:
    store = stored(tmp_path, units, "1.0-good", "1.0-bad", "1.0-worse")
    (units / "demo" / "server").mkdir(parents=True)
    named = store.path("tool", "1.0-good") + "/model.npz"
    (units / "demo" / "server" / "launcher.json").write_text(json.dumps({"initial_model": named}))
    assert store.prune("tool", {"1.0-worse"}, 2) == []
    assert store.prune("tool", {"1.0-worse"}, 1) == [store.path("tool", "1.0-bad")]
    assert store.unused("tool") == [store.path("tool", "1.0-worse")]


@pytest.mark.parametrize("other", ["1.0-aaaab", "1.0-aaaa-1", "1.0-aaaa.old"])
def test_a_longer_name_names_another_version(tmp_path: Path, units: Path, other: str) -> None:
    store = stored(tmp_path, units, "1.0-aaaa", other)
    (units / "fedlearn-a.service").write_text(f"ExecStart={store.path('tool', other)}/bin/tool\n")
    assert store.prune("tool", set(), 0) == [store.path("tool", "1.0-aaaa")]


def test_what_this_run_has_brought_stays_before_any_unit_names_it(tmp_path: Path, units: Path) -> None:
    brought = str(tmp_path / "opt/tool/2")
    store = stored(tmp_path, units, "1", "2", spared=(brought,))
    assert store.prune("tool", set(), 0) == [store.path("tool", "1")]
    assert (tmp_path / "opt/tool/2").is_dir()


def test_nothing_stays_once_nothing_is_stored(tmp_path: Path, units: Path) -> None:
    store = stored(tmp_path, units, "1.0-aaaa")
    assert [path.name for path in (tmp_path / "opt").iterdir()] == ["tool"]
    with store.locked():
        store.prune("tool", set(), 0)
    assert not (tmp_path / "opt").exists()


def test_one_builds_at_a_time_though_the_folder_goes_between(tmp_path: Path, units: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def come_and_go(number: int) -> None:
        for _turn in range(50):
            with Store(str(tmp_path / "opt"), (f"{units}/**",)).locked():
                inside.append(number)
                most.append(len(inside))
                assert (tmp_path / "opt").is_dir()
                inside.remove(number)

    threads = [threading.Thread(target=come_and_go, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), max(most)) == (200, 1)
    assert not (tmp_path / "opt").exists()


def test_of_an_environments_programs_only_pythons_stay(tmp_path: Path) -> None:
    for name in ("python3", "python3.11", "gunicorn", "odd[name]"):
        (tmp_path / name).touch()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "bottle.pyc").touch()
    builders.drop_programs(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["python3", "python3.11"]


def test_the_fingerprint_of_a_preinstalled_folder_goes_with_the_last_unit_that_names_it(
    tmp_path: Path, units: Path
) -> None:
    store = stored(tmp_path, units)
    record = Path(store.record("tool", "a" * 64))
    record.parent.mkdir(parents=True)
    record.write_text('{"path": "/opt/by-hand", "fingerprint": "b"}')
    (units / "fedlearn-a.service").write_text("Environment=PYTHONPATH=/opt/by-hand\n")
    assert (store.unused("tool"), store.prune("tool", set(), 0)) == ([], [])
    (units / "fedlearn-a.service").unlink()
    assert store.unused("tool") == [str(record)]
    assert store.prune("tool", set(), 2) == []  # something else is brought
    assert store.prune("tool", set(), 0) == [str(record)]
    assert not record.parent.exists()
