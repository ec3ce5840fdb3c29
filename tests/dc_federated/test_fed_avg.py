# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""FedAvgServer and FedAvgWorker with torch, on Debian 13: its torch, 2.6, refuses pickles unless it is told not to."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from deployment import NET, REAL, ROOM, Polls
from standing_demo import until

HOSTS = {"p5": f"{NET}.15", "p6": f"{NET}.16"}
LEARNED = {"p5": [[1.0, 2.0], 3], "p6": [[5.0, -2.0], 1]}
MEAN = [2.0, 1.0]
"""Weighted by samples; without one of the workers it is another one."""

RESULT = "/var/lib/private/fedlearn-polls-average-worker/result.json"
FINISHED = "/var/lib/private/fedlearn-polls-average-worker/finished-*"


def stack(library: Any, **settings: Any) -> dict[str, Any]:
    """FedAvg on both hosts; ``settings`` are the server's application's."""
    code = {"application_artifact": {"source": "averaging.py"}}
    workers = {"hosts": list(HOSTS), "application": "averaging:run", "application_settings": {"learned": LEARNED}}
    server = {"host": "p5", "application": "averaging:build", "application_settings": {"workers": 2, **settings}}
    return {
        "kind": "dc_federated",
        "library": library,
        "server": {**server, **code},
        "proxy": {"host": "p6"},
        "workers": {**workers, **code},
    }


def averaging(document: dict[str, Any], **settings: Any) -> None:
    """The stack `average` on hosts of its own."""
    hosts = {host: {"address": address, "vars": {"ansible_user": "ops"}} for host, address in HOSTS.items()}
    document["parties"]["lab"]["hosts"] |= hosts
    document["stacks"]["average"] = stack(document["stacks"]["near"]["library"], **settings)


@pytest.fixture(scope="module")
def average(polls: Polls) -> Iterator[None]:
    """A stack on two hosts of their own, with torch from Debian."""
    if not REAL:
        pytest.skip("the double has no FedAvg: FEDLEARN_UPSTREAM_DIR names no folder with dc_federated/")
    for host in HOSTS:
        polls.run(host, "apt-get -qq update && apt-get -qq install --no-install-recommends python3-torch >/dev/null")
    shutil.copy(Path(__file__).with_name("averaging.py"), ROOM)
    polls.write(averaging)
    assert polls.playbook("fedlearn.infra.secrets").returncode == 0
    polls.site("-e", "stack=average")
    yield
    gone = ("--limit", ",".join(HOSTS), "-e", "fedlearn_remove_data=true")
    assert polls.playbook("fedlearn.infra.remove", *gone).returncode == 0
    polls.write()
    polls.site("-e", "fedlearn_prune=true")


def result(polls: Polls, host: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(until(120, lambda: polls.run(host, f"cat {RESULT} || echo '{{}}'"), has_model))
    return found


def has_model(text: str) -> bool:
    return "values" in text


def test_all_workers_get_the_weighted_mean(polls: Polls, average: None) -> None:
    for host in HOSTS:
        found = result(polls, host)
        assert found["values"] == MEAN
        assert tuple(map(int, found["torch"].split("+")[0].split(".")[:2])) >= (2, 6)


def test_a_second_run_changes_nothing(polls: Polls, average: None) -> None:
    before = {host: polls.pid(host, "polls-average-server") for host in ("p5",)}
    again = polls.site("-e", "stack=average")
    assert {host: again.output.count(f"changed: [{host}]") for host in HOSTS} == dict.fromkeys(HOSTS, 0)
    assert {host: polls.pid(host, "polls-average-server") for host in before} == before


def test_without_the_launcher_s_word_torch_takes_nothing_and_nobody_is_told(polls: Polls, average: None) -> None:
    """The trap is there: updates are answered with 200, and there is never a new model."""
    polls.write(partial(averaging, trapped=True))
    for host in HOSTS:
        polls.run(host, f"systemctl stop fedlearn-polls-average-worker; rm -f {RESULT} {FINISHED}")
    polls.site("-e", "stack=average")
    journal = "journalctl -u fedlearn-polls-average-server --no-pager --since=-3min"
    said = until(90, lambda: polls.run("p5", journal).count("Weights only load failed"), lambda count: count >= 2)
    assert said >= 2
    time.sleep(10)
    for host in HOSTS:
        assert not has_model(polls.run(host, f"cat {RESULT} 2>/dev/null || true"))
        assert polls.run(host, "systemctl is-active fedlearn-polls-average-worker").strip() == "active"
