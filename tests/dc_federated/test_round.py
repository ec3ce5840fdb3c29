# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dc_federated behind nginx on three hosts: proven by a round, left alone by a second run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from deployment import NET, REAL, STRANGER, Polls
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


@pytest.mark.parametrize("wrong", ["a worker left out", "other data"])
def test_a_round_that_is_not_whole_fails_by_its_number(polls: Polls, wrong: str) -> None:
    """That of `near`; the other stack's, at the same time, is right."""

    def change(parts: dict[str, Any]) -> None:
        if wrong == "a worker left out":
            (server,) = parts["p1"]["near"]["variables"]["dc_federated_server_instances"]
            server["application"]["settings"]["workers"] = 1
            del parts["p3"]["near"]
        else:
            (worker,) = parts["p3"]["near"]["variables"]["dc_federated_worker_instances"]
            worker["application"]["settings"]["vector"][1] += 1e-8

    code, stacks = polls.verify_with(change)
    assert (code, stacks["near"]["passed"]) == (2, False)
    told = [row["detail"] for row in stacks["near"]["checks"] if not row["passed"]]
    assert told
    assert {"off by" in detail for detail in told if "expected" in detail} == {True}, told
    assert stacks["near"]["observed"] == {"a worker left out": [1025.0, -0.25, 2.0]}.get(
        wrong, [EXPECTED["near"][0], pytest.approx(EXPECTED["near"][1] + 5e-9, abs=1e-12), EXPECTED["near"][2]]
    )
    assert stacks["far"]["passed"] is (True if REAL else None)


def test_a_second_run_changes_nothing_in_few_executions(polls: Polls) -> None:
    before = polls.files(), polls.processes()
    again = polls.site()
    assert (polls.files(), polls.processes()) == before
    found = recap(again.output)
    assert {host: found[host]["changed"] for host in polls.hosts} == dict.fromkeys(polls.hosts, 0)
    assert max(again.per_host().values()) <= MOST_EXECUTIONS, again.per_host()


def test_more_hosts_cost_a_host_nothing(polls: Polls) -> None:
    """Executions on a host don't grow with the fleet: a worker more is one host more, and a line of the key list."""
    before = polls.site().per_host()

    def grown(document: dict[str, Any]) -> None:
        document["parties"]["lab"]["hosts"][STRANGER] = {"address": f"{NET}.14", "vars": {"ansible_user": "ops"}}
        for stack, names in (("near", ["p2", "p3", STRANGER]), ("far", ["p1", "p2", STRANGER])):
            document["stacks"][stack]["workers"]["hosts"] = names

    polls.write(grown)
    polls.site("-e", "fedlearn_prune=true")
    again = polls.site()
    found = recap(again.output)
    assert {found[host]["changed"] for host in (*polls.hosts, STRANGER)} == {0}
    after = again.per_host()
    assert max(after.values()) <= max(before.values()), (before, after)
    assert (
        polls.playbook("fedlearn.infra.remove", "--limit", STRANGER, "-e", "fedlearn_remove_data=true").returncode == 0
    )
    polls.write()
    polls.site("-e", "fedlearn_prune=true")
