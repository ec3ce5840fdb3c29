# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run counts only when its result is the wanted one: what tells results apart must see every difference."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks import again, bundle, xain
from tests.benchmarks.hosts import BenchError, differences

WANTED: dict[str, dict[str, Any]] = {
    "b1": {
        "files": {"/etc/fedlearn": ["drwxr-xr-x", "root:root", ""], "/etc/x": ["-rw-r--r--", "root:root", "aa"]},
        "packages": ["nginx=1", "redis-tools=5"],
        "units": {"nginx.service": ["enabled", "well"]},
    }
}


def changed(*path: Any, value: Any) -> dict[str, dict[str, Any]]:
    """The wanted state with one value changed."""
    state: Any = copy.deepcopy(WANTED)
    inner = state
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    found: dict[str, dict[str, Any]] = state
    return found


def test_equal_results_have_no_difference() -> None:
    assert differences(WANTED, copy.deepcopy(WANTED)) == []


@pytest.mark.parametrize(
    ("found", "named"),
    [
        (changed("b1", "files", "/etc/x", 0, value="-rw-------"), "/etc/x"),
        (changed("b1", "files", "/etc/x", 1, value="ops:ops"), "/etc/x"),
        (changed("b1", "files", "/etc/x", 2, value="bb"), "/etc/x"),
        (changed("b1", "files", "/etc/y", value=["-rw-r--r--", "root:root", "aa"]), "/etc/y"),
        (changed("b1", "units", "nginx.service", 0, value="disabled"), "nginx.service"),
        (changed("b1", "units", value={}), "nginx.service"),
        (changed("b1", "packages", value=["nginx=1"]), "redis-tools=5"),
        (changed("b1", "packages", 0, value="nginx=2"), "nginx=2"),
    ],
)
def test_each_difference_is_named(found: dict[str, dict[str, Any]], named: str) -> None:
    assert any(named in line for line in differences(WANTED, found))


def test_a_manifest_row_says_mode_owner_and_kind() -> None:
    assert bundle._row("/etc/x", "-rw-r-----", "root:adm") == "640 root adm /etc/x"
    assert bundle._row("/etc/fedlearn", "drwxr-xr-x", "root:root") == "755 root root /etc/fedlearn/"


@pytest.mark.parametrize("said", ["", "b1 : ok=3 changed=0\nb2 : ok=3 changed=1\n"])
def test_a_second_run_that_changed_something_or_ran_nothing_is_refused(said: str) -> None:
    with pytest.raises(BenchError):
        again.refuse_changes("site", said)


def test_the_table_says_which_goals_are_met() -> None:
    shown = benchmarks.table({"fresh": {"figures": {"a": 1.2, "b": 1.4}, "goals": {"a": 1.3, "b": 1.3}}})
    assert [line.split()[-2:] for line in shown.splitlines()[1:]] == [["1.3", "met"], ["not", "met"]]


def test_what_fails_of_xain_s_requests_is_counted_in_all_runs() -> None:
    run = {"seconds": 2.0, "failed": 1, "megabytes": {"coordinator": 9.0, "aggregator": 40.0}}
    runs = {"1 kB": {"direct": [run, {**run, "seconds": 1.0}, run], "nginx": [{**run, "seconds": 3.0}]}}
    told = xain.judged(runs, {**run, "failed": 2})
    assert told["figures"]["1 kB, nginx to direct"] == 1.5
    assert (told["figures"]["requests failed"], told["goals"]["requests failed"]) == (6.0, 0.0)
    assert told["figures"].keys() == told["goals"].keys()
