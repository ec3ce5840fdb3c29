# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of site that are killed: the next one ends where an undisturbed one does."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from standing_demo import ITERATIONS, Changed, Demo

TASK = "TASK ["
MOMENTS = [random.Random(seed).uniform(0.05, 0.9) for seed in range(20)]


@dataclass(frozen=True)
class Change:
    """A change of the document, how many tasks its run has, and what one that nobody disturbed ends in."""

    text: str
    tasks: int
    files: dict[str, str]


@pytest.fixture(scope="module")
def document(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Changed]:
    with demo.changing(tmp_path_factory.mktemp("document")) as changed:
        yield changed


@pytest.fixture(scope="module")
def changes(demo: Demo, document: Changed) -> list[Change]:
    """Two changes, so that there is always another one to bring than stands."""
    found = []
    for number in (4, 5):
        text = f"fl_iteration_num: {number}"
        run = demo.site(inventory=document((ITERATIONS, text)))
        found.append(Change(text, run.output.count(TASK), demo.files()))
    assert found[0].files != found[1].files
    return found


@pytest.mark.parametrize("number", range(len(MOMENTS)))
def test_site_killed_at_a_seeded_moment_is_finished_by_the_next(
    demo: Demo, document: Changed, changes: list[Change], tmp_path: Path, number: int
) -> None:
    """The controller is killed while it brings a change; the next run ends where one that nobody disturbed does."""
    change = changes[number % 2]
    changed = document((ITERATIONS, change.text))
    log = tmp_path / "log"
    with demo.start("site.yml", changed, log) as process:
        while process.poll() is None and log.read_text().count(TASK) < MOMENTS[number] * change.tasks:
            time.sleep(0.05)
        time.sleep(MOMENTS[number] % 0.1 * 5)  # not always at a task's first moment
        process.kill()
    assert process.returncode == -9, "the run was over before it was killed"
    demo.site(inventory=changed)
    assert demo.files() == change.files
    demo.becomes_healthy(changed)
