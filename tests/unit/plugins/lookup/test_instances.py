# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.fedlearn.infra.plugins.lookup.instances import choose, new_round, set_aside

GIVEN = {
    "redis_instances": [
        {"name": "demo-a-redis", "stack": "a", "state": "present"},
        {"name": "demo-b-redis", "stack": "b", "state": "absent"},
    ],
    "nginx_sites": [{"name": "demo-b-proxy", "stack": "b", "state": "present"}],
}


def test_without_a_stack_everything_stays():
    assert choose(GIVEN, "", "") == GIVEN


def test_a_stack_is_chosen_and_the_other_variables_stay_as_empty_lists():
    assert choose(GIVEN, "a", "") == {"redis_instances": GIVEN["redis_instances"][:1], "nginx_sites": []}


def test_what_is_no_stack_s_is_there_with_each_and_goes_with_none():
    clock = {"name": "demo-time"}
    assert choose({"time_sync_instances": [clock]}, "a", "") == {"time_sync_instances": [clock]}
    assert choose({"time_sync_instances": [clock]}, "a", "absent") == {"time_sync_instances": []}
    assert choose({"time_sync_instances": [clock]}, "", "absent") == {
        "time_sync_instances": [{**clock, "state": "absent"}]
    }


def test_a_state_is_given_to_all_and_the_inventory_is_not_touched():
    assert {each["state"] for each in choose(GIVEN, "", "absent")["redis_instances"]} == {"absent"}
    assert GIVEN["redis_instances"][0]["state"] == "present"


def test_each_round_is_a_new_one():
    first, second = new_round(GIVEN), new_round(GIVEN)
    assert first["nginx_sites"][0]["round"] != second["nginx_sites"][0]["round"]
    assert len({each["round"] for each in first["redis_instances"]}) == 1


PKI = "/etc/fedlearn/demo/pki"
WITH_CERTIFICATES = {
    "pki_certificates": [
        {"name": "front", "federation": "demo", "authority": "own", "trust": ["own"]},
        {"name": "peers", "federation": "demo", "trust": ["theirs"]},
        {"name": "gone", "federation": "demo", "state": "absent"},
    ],
    "nginx_sites": [
        {"name": "for-peers", "tls": {"key": f"{PKI}/front/key.pem", "ca": [f"{PKI}/peers/ca.pem"]}},
        {"name": "for-all", "tls": {"key": f"{PKI}/front/key.pem"}},
        {"name": "alike", "ca": f"{PKI}/peers-too/ca.pem"},
    ],
}


def test_what_waits_for_a_ca_is_set_aside_with_all_that_reads_it():
    left = set_aside(WITH_CERTIFICATES, ["theirs"])
    assert [each["name"] for each in left["pki_certificates"]] == ["front", "gone"]
    assert [each["name"] for each in left["nginx_sites"]] == ["for-all", "alike"]
    assert left["fedlearn_set_aside"] == ["peers", "for-peers"]


def test_nothing_waits_for_a_ca_that_nothing_needs():
    left = set_aside(WITH_CERTIFICATES, ["another"])
    assert left == {**WITH_CERTIFICATES, "fedlearn_set_aside": []}
