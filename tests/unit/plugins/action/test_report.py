# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What status tells of overrides, and what verify makes of a stack whose kind has no round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

from ansible_collections.fedlearn.infra.plugins.action.report import (
    backup_result,
    failure_message,
    host_status,
    replaced_variables,
    spare_hosts,
    status_entries,
    status_summary,
    verify_entries,
)
from ansible_collections.fedlearn.infra.plugins.inventory.federation import _fill
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.loading import load
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.variables import inventory as inventory_of
from tests.unit.conftest import DOCUMENT


def hostvars(folder: Path) -> HostVars:
    """What plays see: what the inventory plugin derives, and what lies beside the document."""
    document, loader = str(folder / "federation.yml"), DataLoader()
    inventory = InventoryManager(loader, document, parse=False)
    _fill(inventory._inventory, inventory_of(load(document), document))
    inventory._inventory.reconcile_inventory()
    return HostVars(inventory, VariableManager(loader, inventory), loader)


def test_a_document_alone_replaces_nothing(folder: Path) -> None:
    found = hostvars(folder)
    assert "redis_instances" in found.raw_get("ms1")["fedlearn_variables"]
    assert [replaced_variables(found, name) for name in ("ms1", "ms2")] == [[], []]


def test_what_host_vars_replace_is_told(folder: Path) -> None:
    (folder / "host_vars").mkdir()
    (folder / "host_vars" / "ms1.yml").write_text("redis_instances: []\nredis_other: 1\nansible_user: ops\n")
    (folder / "group_vars").mkdir()
    (folder / "group_vars" / "all.yml").write_text("mindspore_server_instances: []\n")  # weaker than what a host has
    found = hostvars(folder)
    assert replaced_variables(found, "ms1") == ["redis_instances"]
    assert replaced_variables(found, "ms2") == []


def test_overrides_are_shown_and_are_no_drift() -> None:
    dropin = "/etc/systemd/system/fedlearn-demo-lenet-redis.service.d/nice.conf"
    variables = {"fedlearn_reached": True, "fedlearn_host_status": {"overrides": [dropin], "services": ["redis"]}}
    status = host_status(variables, ["redis_instances"])
    assert status["overrides"] == [dropin, "variable redis_instances"]
    assert status["verdict"] == "ok"
    assert host_status({"fedlearn_reached": True}, [])["overrides"] == []


def test_what_a_job_says_of_its_end_is_a_warning() -> None:
    status = host_status({"fedlearn_reached": True, "fedlearn_host_status": {"told": {"worker": "it was over"}}}, [])
    assert (status["verdict"], status["warnings"]) == ("ok", ["worker: it was over"])


def unwell(state: str) -> dict[str, str]:
    return {"name": "demo-redis", "state": state, "reason": "why"}


@pytest.mark.parametrize(
    ("states", "orphans", "verdict"),
    [
        ([], [], "ok"),
        ([], [{"kind": "service", "name": "old"}], "drift"),
        (["differing", "differing"], [], "drift"),
        (["stopped"], [], "unhealthy"),
        (["ill"], [], "unhealthy"),
        (["differing", "stopped"], [], "unhealthy"),
        (["failed"], [], "unhealthy"),
    ],
)
def test_what_differs_is_drift_and_what_is_stopped_or_ill_is_unhealthy(
    states: list[str], orphans: list[dict[str, str]], verdict: str
) -> None:
    rows = [unwell(state) for state in states]
    checks = [{"name": "redis", "passed": not rows, "detail": "", "unwell": rows}]
    variables = {"fedlearn_reached": True, "fedlearn_checks": checks, "fedlearn_host_status": {"orphans": orphans}}
    status = host_status(variables, [])
    assert status["verdict"] == verdict
    assert status["unwell"] == [{"role": "redis", **row} for row in rows]
    stacks = {"one": {"hosts": {"h1": status, "h2": {"verdict": "unreachable"}}}, "two": {"hosts": {"h1": status}}}
    assert status_summary(verdict, stacks, {}, "status.json") == [
        f"{verdict}: see status.json",
        *[f"h1: demo-redis: {state}: why" for state in states],
        *["h1: old: orphan: service" for _one in orphans],
        "h2: unreachable",
    ]


def test_what_runs_on_a_host_that_no_stack_has_is_told() -> None:
    left = {"orphans": [{"kind": "service", "name": "old"}]}
    hosts = {
        "h1": {"fedlearn_reached": True, "fedlearn_stacks": {"one": {"kind": "relay"}}, "fedlearn_host_status": {}},
        "h2": {"fedlearn_reached": True, "fedlearn_stacks": {}, "fedlearn_host_status": left},
        "h3": {"fedlearn_stacks": {}},
    }
    spare = spare_hosts(hosts, {})
    assert {name: row["verdict"] for name, row in spare.items()} == {"h2": "drift", "h3": "unreachable"}
    told = ["unreachable: see status.json", "h2: old: orphan: service", "h3: unreachable"]
    assert status_summary("unreachable", status_entries(hosts, "", {}), spare, "status.json") == told


def test_hosts_of_a_stack_are_compared_with_each_other() -> None:
    def host(skew: float, *stacks: str) -> dict[str, Any]:
        clock = {"skew": skew, "give_or_take": 1.0, "jump": 0.0, "max_skew": 5000}
        status = {f"clock_{name}_ms": value for name, value in clock.items()}
        facts = {"fedlearn_stacks": {name: {"kind": "relay"} for name in stacks}, "fedlearn_host_status": status}
        return {**facts, "fedlearn_reached": True, "fedlearn_checks": []}

    hosts = {"h1": host(3000, "one", "two"), "h2": host(-3000, "one"), "h3": host(0, "two")}
    entries = status_entries(hosts, "", {})
    warned = {name: {one: row["warnings"] for one, row in entries[name]["hosts"].items()} for name in entries}
    way_out = "and at most 5 s are borne: synchronise both, hosts by the role time_sync or what you have"
    told = {
        "h1": [f"the clock is +6.000 s off that of h2 (give or take 0.002 s), {way_out}"],
        "h2": [f"the clock is -6.000 s off that of h1 (give or take 0.002 s), {way_out}"],
    }
    assert warned == {"one": told, "two": {"h1": [], "h3": []}}


def verified(mode: str, simulated: tuple[str, ...] = (), passed: bool = True, **facts: object) -> dict[str, Any]:
    """The entry of a stack on one host, whose checks pass."""
    stack = {"kind": "relay", "real": True, "state": "present", "round": False, "roles": ["relay"], **facts}
    check = {"name": "relay", "passed": passed, "detail": "answers"}
    hosts = {"h1": {"fedlearn_stacks": {"first": stack}, "fedlearn_checks": [check]}}
    hosts["h1"] |= {"fedlearn_simulated": list(simulated)} if simulated else {}
    return dict(verify_entries(hosts, mode, ""))


def test_without_a_round_nothing_is_proven_by_one() -> None:
    entries = verified("round")
    assert (entries["first"]["mode"], entries["first"]["passed"], entries["first"]["real"]) == ("round", False, False)
    assert failure_message(entries, ["first"], "verify.json").splitlines() == [
        "verify failed (verify.json):",
        "first: round: the kind 'relay' has no round, so nothing can prove that it works: verify it without "
        "-e verify=round, or choose other stacks by -e stack=NAME",
    ]
    assert (verified("probe")["first"]["mode"], verified("probe")["first"]["passed"]) == ("probe", True)


@pytest.mark.parametrize("mode", ["probe", "round"])
def test_pods_that_are_simulated_prove_nothing_and_fail_nothing(mode: str) -> None:
    entry = verified(mode, simulated=("proxy", "scheduler"))["first"]
    assert (entry["mode"], entry["real"], entry["passed"]) == (mode, False, None)
    assert verified(mode, simulated=("proxy",), passed=False)["first"]["passed"] is False
    assert verified(mode, simulated=("proxy",), round=True)["first"] == verified(mode, simulated=("proxy",))["first"]
    if mode == "round":
        told = "there is none where pods are simulated: proxy, scheduler run no containers"
        assert entry["checks"][-1] == {"name": "round", "passed": True, "detail": told}


def test_a_host_that_nobody_looked_at_is_not_proven() -> None:
    stack = {"kind": "relay", "real": True, "state": "present", "round": False, "roles": ["relay"]}
    well = {"fedlearn_stacks": {"first": stack}, "fedlearn_checks": [{"name": "relay", "passed": True, "detail": ""}]}
    entries = dict(verify_entries({"h1": well, "h2": {"fedlearn_stacks": {"first": stack}}}, "probe", ""))
    assert entries["first"]["passed"] is False
    assert [row["name"] for row in entries["first"]["checks"] if not row["passed"]] == ["h2: checks"]


def test_each_line_of_a_check_that_failed_is_told_below_its_host() -> None:
    check = {"name": "h1: redis", "passed": False, "detail": "a: stopped: why\nb: differing: /etc/b"}
    assert failure_message({"first": {"checks": [check]}}, ["first"], "verify.json").splitlines() == [
        "verify failed (verify.json):",
        "first: h1: redis: a: stopped: why",
        "    b: differing: /etc/b",
    ]


def test_what_is_absent_needs_no_round() -> None:
    assert verified("round", state="absent")["first"]["mode"] == "probe"


def test_the_inventory_says_which_stacks_have_a_round(folder: Path) -> None:
    document = folder / "federation.yml"
    facts = inventory_of(load(str(document)), str(document)).hosts["ms1"]["fedlearn_stacks"]["lenet"]
    assert (facts["state"], facts["round"]) == ("present", True)
    document.write_text(DOCUMENT.replace("kind: mindspore", "kind: mindspore\n    state: absent"))
    facts = inventory_of(load(str(document)), str(document)).hosts["ms1"]["fedlearn_stacks"]["lenet"]
    assert (facts["state"], facts["round"]) == ("absent", False)


def test_a_backup_tells_which_files_hold_what_and_fails_for_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "postgresql-1.tar"
    file.write_bytes(b"data")
    brought = {"name": "postgresql", "passed": True, "detail": str(file), "file": str(file)}
    stacks = {name: {"kind": "ledger"} for name in ("book", "other")}
    hosts = {
        "l1": {"fedlearn_federation": "f", "fedlearn_stacks": {"book": stacks["book"]}, "fedlearn_checks": [brought]},
        "l2": {"fedlearn_federation": "f", "fedlearn_stacks": {"other": stacks["other"]}, "fedlearn_checks": []},
    }
    told = backup_result(hosts, "", "backup.json")
    digest = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"
    row = {"host": "l1", "role": "postgresql", "path": str(file), "bytes": 4, "sha256": digest}
    assert told["report"]["verdict"] == "ok"
    assert told["report"]["stacks"]["book"]["files"] == [row]
    assert told["summary"] == [f"book: {file}", "other: no data"]
    assert list(backup_result(hosts, "other", "backup.json")["report"]["stacks"]) == ["other"]

    del hosts["l2"]["fedlearn_checks"]  # it was never reached
    told = backup_result(hosts, "", "backup.json")
    assert (told["failed"], told["report"]["verdict"]) == (True, "failed")
    assert told["msg"].startswith("backup failed (backup.json):\n")
    assert "l2: checks: nobody looked" in told["msg"]
