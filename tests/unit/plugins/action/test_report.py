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
    failure_message,
    host_status,
    replaced_variables,
    verify_entries,
)
from ansible_collections.fedlearn.infra.plugins.inventory.federation import _fill
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.loading import load
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.variables import inventory as inventory_of

DOCUMENT = """
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab: {hosts: {ms1: 10.20.0.11, ms2: 10.20.0.12}}
stacks:
  lenet:
    kind: mindspore
    redis: {host: ms1}
    scheduler: {host: ms1}
    servers: {hosts: [ms2]}
    workers: {hosts: [ms1, ms2]}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "federation.yml").write_text(DOCUMENT)
    return tmp_path


def hostvars(source: Path) -> HostVars:
    """What plays see: what the inventory plugin derives, and what lies beside the document."""
    document, loader = str(source / "federation.yml"), DataLoader()
    inventory = InventoryManager(loader, document, parse=False)
    _fill(inventory._inventory, inventory_of(load(document), document))
    inventory._inventory.reconcile_inventory()
    return HostVars(inventory, VariableManager(loader, inventory), loader)


def test_a_document_alone_replaces_nothing(source: Path) -> None:
    found = hostvars(source)
    assert "redis_instances" in found.raw_get("ms1")["fedlearn_variables"]
    assert [replaced_variables(found, name) for name in ("ms1", "ms2")] == [[], []]


def test_what_host_vars_replace_is_told(source: Path) -> None:
    (source / "host_vars").mkdir()
    (source / "host_vars" / "ms1.yml").write_text("redis_instances: []\nredis_other: 1\nansible_user: ops\n")
    (source / "group_vars").mkdir()
    (source / "group_vars" / "all.yml").write_text("mindspore_server_instances: []\n")  # weaker than what a host has
    found = hostvars(source)
    assert replaced_variables(found, "ms1") == ["redis_instances"]
    assert replaced_variables(found, "ms2") == []


def test_overrides_are_shown_and_are_no_drift() -> None:
    dropin = "/etc/systemd/system/fedlearn-demo-lenet-redis.service.d/nice.conf"
    variables = {"fedlearn_reached": True, "fedlearn_host_status": {"overrides": [dropin], "services": ["redis"]}}
    status = host_status(variables, ["redis_instances"])
    assert status["overrides"] == [dropin, "variable redis_instances"]
    assert status["verdict"] == "ok"
    assert host_status({"fedlearn_reached": True}, [])["overrides"] == []


def verified(mode: str, **facts: object) -> dict[str, Any]:
    """The entry of a stack on one host, whose checks pass."""
    stack = {"kind": "relay", "real": True, "state": "present", "round": False, "roles": ["relay"], **facts}
    check = {"name": "relay", "passed": True, "detail": "answers"}
    hosts = {"h1": {"fedlearn_stacks": {"first": stack}, "fedlearn_checks": [check]}}
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


def test_what_is_absent_needs_no_round() -> None:
    assert verified("round", state="absent")["first"]["mode"] == "probe"


def test_the_inventory_says_which_stacks_have_a_round(source: Path) -> None:
    document = source / "federation.yml"
    facts = inventory_of(load(str(document)), str(document)).hosts["ms1"]["fedlearn_stacks"]["lenet"]
    assert (facts["state"], facts["round"]) == ("present", True)
    document.write_text(DOCUMENT.replace("kind: mindspore", "kind: mindspore\n    state: absent"))
    facts = inventory_of(load(str(document)), str(document)).hosts["ms1"]["fedlearn_stacks"]["lenet"]
    assert (facts["state"], facts["round"]) == ("absent", False)
