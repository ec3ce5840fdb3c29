# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of site that change every infrastructure role, killed: the next one ends where an undisturbed one does."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

TASK = "TASK ["
MOMENTS = [random.Random(seed).uniform(0.05, 0.95) for seed in range(20)]
CHANGES = (("-e", "turn=1"), ("-e", "turn=2"))
CHANGED = {
    "limits": "/etc/security/limits.d/zz-fedlearn.conf",
    "firewall": "firewall",
    "postgresql": "base-databases/",
    "redis": "base-cache/",
    "minio": "base-buckets/",
    "registry": "fedlearn-base-images-collect.timer",
    "mongodb": "base-documents",
    "s3fs": "srv-imaging.mount",
    "nginx": "/etc/nginx/",
}
"""By role, what stands in the path of a file that is another one with another turn."""


def differing(one: dict[str, str], other: dict[str, str]) -> set[str]:
    """The lines that only one of two states has, each with its host."""
    lines = [{f"{host} {line}" for host, text in state.items() for line in text.splitlines()} for state in (one, other)]
    return lines[0] ^ lines[1]


@pytest.fixture(scope="module")
def undisturbed(hosts: Any) -> list[tuple[int, dict[str, str]]]:
    """How many tasks the run of each change has, and the files that it ends in; every role has one of its own."""
    found = []
    for change in CHANGES:
        tasks = hosts.site(*change).output.count(TASK)
        found.append((tasks, hosts.described()))
    paths = differing(found[0][1], found[1][1])
    assert {role for role, word in CHANGED.items() if not any(word in path for path in paths)} == set()
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
    hosts.site(*change)
    assert differing(hosts.described(), files) == set()
    assert hosts.names() == {f"turn{number % 2 + 1}.base.test"}
    hosts.become_well(*change)
