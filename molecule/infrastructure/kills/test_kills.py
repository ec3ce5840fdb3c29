# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs that change all infrastructure roles and are killed: the next one ends where an undisturbed one does."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

TASK = "TASK ["
MOMENTS = [random.Random(seed).uniform(0.05, 0.95) for seed in range(20)]
CHANGES = (
    ("-e", "memory=65mb", "-e", "requests=201", "-e", "collect=monthly", "-e", "body=9"),
    ("-e", "memory=66mb", "-e", "requests=202", "-e", "collect=daily", "-e", "body=10"),
)


@pytest.fixture(scope="module")
def undisturbed(hosts: Any) -> list[tuple[int, dict[str, str]]]:
    """How many tasks the run of each change has, and the files that it ends in."""
    found = []
    for change in CHANGES:
        tasks = hosts.converge(*change).output.count(TASK)
        found.append((tasks, hosts.files()))
    assert found[0][1] != found[1][1]
    return found


@pytest.mark.parametrize("number", range(len(MOMENTS)))
def test_a_run_killed_at_a_seeded_moment_is_finished_by_the_next(
    hosts: Any, undisturbed: list[tuple[int, dict[str, str]]], tmp_path: Path, number: int
) -> None:
    change, (tasks, files) = CHANGES[number % 2], undisturbed[number % 2]
    log = tmp_path / "log"
    with hosts.start(log, *change) as process:
        while process.poll() is None and log.read_text().count(TASK) < MOMENTS[number] * tasks:
            time.sleep(0.05)
        time.sleep(MOMENTS[number] % 0.1 * 5)  # not always at a task's first moment
        process.kill()
    assert process.returncode == -9, "the run was over before it was killed"
    hosts.converge(*change)
    assert hosts.files() == files
    hosts.become_well(*change)
