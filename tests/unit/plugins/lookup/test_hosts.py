# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hosts a play is about, of groups that the inventory plugin made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.lookup.hosts import LookupModule

DEFERRED = {
    "fedlearn_stages": {"service": ["echo_server"]},
    "echo_server_converged": {"deferred": ["echo"], "kept": []},
}
HOSTVARS = {
    "h1": DEFERRED,
    "h2": {**DEFERRED, "echo_server_converged": {"deferred": []}},
    "h3": DEFERRED,
    "h4": {"fedlearn_stages": {}},
}
GROUPS = {"stage_service": ["h3", "h2", "h1"], "stack_my_hall": ["h1", "h2", "h4"]}


class Lookup(LookupModule):
    """Its options without Ansible's loader, which would look for their defaults in an installed collection."""

    def set_options(self, task_keys: Any = None, var_options: Any = None, direct: Any = None) -> None:
        self.options = {"stage": "", "clusters": False, "round": False, "where": "", "left": None, **direct}

    def get_option(self, option: str, hostvars: Any = None) -> Any:
        return self.options[option]


def chosen(variables: dict[str, Any], **options: Any) -> Any:
    """What a play's ``hosts`` would be."""
    lookup = Lookup(templar=SimpleNamespace(template=lambda value: value))
    return lookup.run([], variables=variables, **options)[0]


@pytest.mark.parametrize(
    ("stack", "options", "pattern"),
    [
        ("", {}, "federation_hosts"),
        ("my-hall", {}, "federation_hosts:&stack_my_hall"),
        ("", {"clusters": True}, "federation_hosts:federation_clusters"),
        ("my-hall", {"clusters": True}, "federation_hosts:federation_clusters:&stack_my_hall"),
        ("", {"stage": "service"}, "stage_service"),
        ("my-hall", {"stage": "service", "round": True}, "round_service:&stack_my_hall"),
    ],
)
def test_a_play_is_about_the_stack_that_was_given(stack: str, options: dict[str, Any], pattern: str) -> None:
    assert chosen({"stack": stack} if stack else {}, **options) == pattern


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({}, []),
        ({"clusters": True}, "federation_hosts:federation_clusters:&federation_clusters"),
        ({"stage": "service"}, "stage_service:&federation_clusters"),
        ({"where": "fedlearn_stages"}, []),
    ],
)
def test_where_manifests_are_only_written_no_host_is_touched(options: dict[str, Any], pattern: Any) -> None:
    groups = {**GROUPS, "federation_hosts": ["h1", "h2"], "federation_clusters": ["h4"]}
    assert chosen({"fedlearn_render": "manifests", "groups": groups, "hostvars": HOSTVARS}, **options) == pattern
    assert chosen({"fedlearn_render": ""}) == "federation_hosts"


def test_restarts_are_of_hosts_that_put_one_off() -> None:
    known = {"groups": GROUPS, "hostvars": HOSTVARS}
    assert chosen(known, stage="service", left="deferred") == ["h1", "h3"]
    assert chosen({**known, "stack": "my-hall"}, stage="service", left="deferred") == ["h1"]
    assert chosen(known, stage="front", left="deferred") == []
    assert chosen(known, stage="service", left="kept") == []


def test_hosts_are_chosen_by_a_variable_that_is_there_and_not_empty() -> None:
    groups = {**GROUPS, "federation_hosts": ["h1", "h2"], "federation_clusters": ["h4"]}
    known = {"groups": groups, "hostvars": HOSTVARS}
    assert chosen(known, clusters=True, where="fedlearn_stages") == ["h1", "h2"]
    assert chosen({**known, "stack": "my-hall"}, clusters=True, where="fedlearn_stages") == ["h1", "h2"]
    assert chosen(known, where="fedlearn_set_aside") == []
    assert chosen({"groups": GROUPS}, where="fedlearn_stages") == []


def test_nobody_put_a_restart_off_where_a_play_s_hosts_are_only_listed() -> None:
    assert chosen({"groups": GROUPS}, stage="service", left="deferred") == []
