# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dc_federated behind nginx on three hosts: proven by a round, left alone by a second run."""

from __future__ import annotations

import json

from deployment import REAL, Polls
from standing_demo import CHECKOUT, recap

EXPECTED = {"near": [1025.5, 0.25, 2.25], "far": [1025.0, -0.25, 2.0]}
MOST_EXECUTIONS = 10
"""A host that has a server, a proxy and a worker of another stack, all of them right."""


def test_a_round_ends_with_the_known_numbers(polls: Polls) -> None:
    """A double's round never counts as passed, however right its numbers are."""
    done = polls.playbook("fedlearn.infra.verify", "-e", "verify=round")
    assert done.returncode == 0, done.output[-6000:]
    stacks = json.loads((CHECKOUT / "build" / "polls" / "verify.json").read_text())["stacks"]
    assert {name: stack["observed"] for name, stack in stacks.items()} == EXPECTED
    assert {stack["max_error"] <= 1e-9 for stack in stacks.values()} == {True}
    assert {stack["passed"] for stack in stacks.values()} == {True if REAL else None}
    failed = [row for stack in stacks.values() for row in stack["checks"] if not row["passed"]]
    assert failed == []


def test_a_second_run_changes_nothing_in_few_executions(polls: Polls) -> None:
    before = polls.files(), polls.processes()
    again = polls.site()
    assert (polls.files(), polls.processes()) == before
    found = recap(again.output)
    assert {host: found[host]["changed"] for host in polls.hosts} == dict.fromkeys(polls.hosts, 0)
    assert max(again.per_host().values()) <= MOST_EXECUTIONS, again.per_host()
