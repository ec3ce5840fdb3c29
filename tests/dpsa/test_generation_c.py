# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A second stack on the hosts of both parties, of Janus' generation C: deployed, proven, looked at, and removed.

With FEDLEARN_UPSTREAM_DIR and no `janus-C` there it is one of doubles, beside a `survey` of programs.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from parties import DOCUMENT, HELPER, LEADER, NETWORK, PARTIES, Party, agree, ask

FRONT, EGRESS = (f"{NETWORK}.22", 10992), ("127.0.0.1", 10975)
INNER = f"POST /tasks/{'A' * 43}/aggregate_shares"
UNKNOWN_TASK = "urn:ietf:params:ppm:dap:error:unrecognizedTask"
UNITS = {
    "leader": {"aggregator", "job-creator", "aggregation-driver-1", "collection-driver", "garbage-collector"},
    "helper": {"aggregator"},
}


def programs() -> dict[str, Any]:
    """What was packed for both: programs where there are any, and doubles elsewhere."""
    archive = LEADER.home / "files" / "janus-C.tar.gz"
    told = {"archive": f"files/{archive.name}", "sha256": hashlib.sha256(archive.read_bytes()).hexdigest()}
    with tarfile.open(archive) as packed:
        return {"janus": told, "doubles": "DOUBLE" in packed.getnames()}


def stack() -> dict[str, Any]:
    """On ports of its own beside `survey`."""
    return {
        "kind": "dpsa",
        "generation": "C",
        "leader": {
            "host": LEADER.host,
            "port": 10991,
            "inner_port": 10971,
            "health_port": 10001,
            "egress_port": EGRESS[1],
            "garbage_collector": True,
            "database": {"host": LEADER.host, "port": 5442},
            "settings": {"garbage_collector": {"garbage_collection": {"gc_frequency_s": 60}}},
        },
        "helper": {
            "host": HELPER.host,
            "port": FRONT[1],
            "inner_port": 10972,
            "health_port": 10031,
            "database": {"host": HELPER.host, "port": 5442},
        },
        "local_ports": {"leader": 11991, "helper": 11992},
        "programs": programs(),
    }


@pytest.fixture(scope="module", autouse=True)
def modern() -> Iterator[None]:
    """Both sides deployed beside what was there, and gone with all data afterwards."""
    former = yaml.safe_load(DOCUMENT.read_text())
    document = yaml.safe_load(DOCUMENT.read_text())
    document["stacks"]["modern"] = stack()
    agree(document)
    for party in PARTIES:
        assert party.playbook("secrets").code == 0
        ended = party.playbook("site")
        assert (ended.code, "waits with" in ended.text) == (0, False), ended.text
    yield
    for party in PARTIES:
        gone = party.playbook("remove", "-e", "stack=modern", "-e", "fedlearn_remove_data=true")
        assert gone.code == 0, gone.text
    agree(former)
    for party in PARTIES:
        assert party.playbook("site").code == 0


@pytest.mark.parametrize("party", PARTIES, ids=lambda party: party.side)
def test_it_runs_without_managers_on_the_schema_of_its_generation(party: Party) -> None:
    prefix = f"fedlearn-dpsa-modern-{party.side}-"
    listed = party.sh(f"systemctl list-units --plain --no-legend --state=active '{prefix}*'").splitlines()
    assert {line.split(".service")[0].removeprefix(prefix) for line in listed} == UNITS[party.side] | {"database"}
    socket = f"/run/fedlearn-dpsa-modern-{party.side}-database"
    asked = "SELECT max(version) FROM _sqlx_migrations WHERE success"
    assert party.sh(f"psql -h {socket} -p 5442 -U postgres -d janus -qAtc '{asked}'") == "9"


@pytest.mark.parametrize("party", PARTIES, ids=lambda party: party.side)
def test_it_is_proven_and_nothing_of_it_differs(party: Party) -> None:
    party.playbook("verify")
    entry = party.report("verify.json")["stacks"]["modern"]
    assert [check for check in entry["checks"] if not check["passed"]] == []
    assert entry["real"] is not programs()["doubles"]
    status = party.playbook("status")
    assert status.code == 0, status.text
    assert party.report("status.json")["verdict"] == "ok"
    again = party.playbook("site", most=12)
    assert (again.code, again.changed) == (0, 0), again.text


def test_nobody_but_its_leader_comes_in() -> None:
    assert UNKNOWN_TASK in ask(LEADER, EGRESS, INNER, name=f"{EGRESS[0]}:{EGRESS[1]}")[1]
    refused = ask(
        LEADER, FRONT, INNER, name="dpsa-modern-helper-front", trusts="leader", shows="leader"
    )  # survey's leader, of the same CA
    assert (refused[0], UNKNOWN_TASK in refused[1]) == (403, False)
