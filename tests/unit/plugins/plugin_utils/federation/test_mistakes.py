# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every class of mistake with its place and words, and all mistakes of a document in one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds import kinds
from tests.unit.plugins.plugin_utils.federation.conftest import Load, Mistakes

DOCUMENT = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab:
    hosts:
      ms1: 10.20.0.11
      ms2: 10.20.0.12
      "w[01:03]": {first_address: 10.20.1.1}
  partner: {external: true, ca: public/ca.pem}
clusters:
  kc: {party: lab, kubeconfig: files/kc}
stacks:
  lenet:
    kind: mindspore
    redis: {host: ms1}
    scheduler: {host: ms1}
    servers: {hosts: [ms2]}
    workers: {hosts: ["w*"]}
    proxy: {host: ms1}
"""

NAME = "is no name: a lower-case letter, then up to 31 of a-z, 0-9 and '-', no '-' at the end"

ROWS = {
    "unknown key": (
        "redis: {host: ms1}",
        "redis: {hst: ms1}",
        "16:13: stacks.lenet.redis.hst: unknown key 'hst' (did you mean 'host'?)",
    ),
    "unknown key at the top": (
        "clusters:",
        "cluster:",
        "11:1: cluster: unknown key 'cluster' (did you mean 'clusters'?)",
    ),
    "missing key": ("version: 1\n", "", "1:1: the key 'version' is missing: write version: 1"),
    "missing key of a stack": (
        "    redis: {host: ms1}\n",
        "",
        "15:5: stacks.lenet: the key 'redis' is missing (a mapping)",
    ),
    "name of the verify rounds": (
        "  lenet:",
        "  verify-lenet:",
        "15:5: stacks.verify-lenet: a stack's name cannot begin with 'verify-': the verify rounds have these names",
    ),
    "a training with the name of another's verify round": (
        "    redis: {host: ms1}\n",
        "    redis: {host: ms1}\n    settings: {fl_name: verify-other}\n",
        "17:25: stacks.lenet.settings.fl_name: a training's name cannot begin with 'verify-': the verify rounds have "
        "these names",
    ),
    "unknown version": (
        "version: 1",
        "version: 2",
        "2:10: version: expected a whole number: 1, found the number 2",
    ),
    "unknown kind": (
        "kind: mindspore",
        "kind: mindspor",
        "15:11: stacks.lenet.kind: unknown kind 'mindspor' (did you mean 'mindspore'?) "
        f"(known are {', '.join(kinds())})",
    ),
    "unknown host": (
        "scheduler: {host: ms1}",
        "scheduler: {host: ms3}",
        "17:23: stacks.lenet.scheduler.host: no party has a host named 'ms3' (did you mean 'ms2'?)",
    ),
    "unknown host in a list": (
        "hosts: [ms2]",
        "hosts: [ms2, w04]",
        "18:28: stacks.lenet.servers.hosts[1]: no party has a host named 'w04' (did you mean 'w03'?)",
    ),
    "unknown hosts of a range": (
        "hosts: [ms2]",
        'hosts: ["w[03:05]"]',
        "18:23: stacks.lenet.servers.hosts[0]: no party has a host named 'w04' (did you mean 'w03'?) "
        "(nor 1 more of this range)",
    ),
    "pattern that fits none": (
        'hosts: ["w*"]',
        'hosts: ["v*"]',
        "19:23: stacks.lenet.workers.hosts[0]: no party has a host whose name fits 'v*'",
    ),
    "unknown party": (
        "{party: lab,",
        "{party: lap,",
        "12:15: clusters.kc.party: there is no party named 'lap' (did you mean 'lab'?)",
    ),
    "wrong type": (
        "hosts: [ms2]",
        "hosts: [ms2], per_host: '2'",
        "18:39: stacks.lenet.servers.per_host: expected a whole number from 1 to 64, found the text '2': "
        "leave out the quotes",
    ),
    "mapping instead of a list": (
        "hosts: [ms2]",
        "hosts: {ms2: 1}",
        "18:22: stacks.lenet.servers.hosts: expected names of hosts, found a mapping",
    ),
    "nothing": (
        "redis: {host: ms1}",
        "redis:",
        "16:11: stacks.lenet.redis: expected a mapping, found nothing: write {} when none of its keys is needed",
    ),
    "wrong range": (
        "proxy: {host: ms1}",
        "proxy: {host: ms1, port: 70000}",
        "20:30: stacks.lenet.proxy.port: expected a whole number from 1 to 65535, found the number 70000",
    ),
    "truth value of YAML 1.1": (
        "kind: mindspore",
        "kind: mindspore\n    tls: yes",
        "16:10: stacks.lenet.tls: yes is a truth value for some YAML readers and text for others: write true, or "
        "where text is meant 'yes' in quotes",
    ),
    "duplicate key": (
        "    scheduler: {host: ms1}",
        "    redis: {host: ms1}\n    scheduler: {host: ms1}",
        "17:5: stacks.lenet.redis: the key 'redis' is given twice (first in line 16)",
    ),
    "two hosts of one name": (
        "      ms2: 10.20.0.12",
        "      ms2: 10.20.0.12\n      w02: 10.20.0.13",
        "10:7: parties.lab.hosts.'w[01:03]': there is a host 'w02' already (federation.yml:9:12)",
    ),
    "a model that the default application doesn't train": (
        "servers: {hosts: [ms2]}",
        "servers: {hosts: [ms2], initial_model: {shapes: {fc.weight: [1, 5]}}}",
        "18:44: stacks.lenet.servers.initial_model: the default application trains another model, "
        "{fc.weight: [1, 3], fc.bias: [1]}: leave it out, or name an application",
    ),
    "many hosts of one name": (
        "      ms2: 10.20.0.12",
        '      ms2: 10.20.0.12\n      "W0[1:3]": {first_address: 10.20.2.1}',
        "10:7: parties.lab.hosts.'w[01:03]': there is a host 'W01' already (federation.yml:9:18)"
        " (and 2 more of this range)",
    ),
    "a host where nobody else reaches it": (
        "ms2: 10.20.0.12",
        "ms2: 127.0.0.1",
        "8:7: parties.lab.hosts.ms2: 127.0.0.1 is every host's own address, and others don't reach this one there: "
        "write the one they do; where only ssh goes there, addresses: {ssh, internal}",
    ),
    "a host where nobody else reaches it, by IPv6": (
        "ms2: 10.20.0.12",
        'ms2: {addresses: {ssh: 127.0.0.1, internal: ["10.20.0.12", "::1"]}}',
        "8:7: parties.lab.hosts.ms2: ::1 is every host's own address, and others don't reach this one there: "
        "write the one they do; where only ssh goes there, addresses: {ssh, internal}",
    ),
    "two hosts of one address": (
        "ms2: 10.20.0.12",
        "ms2: 10.20.0.11",
        "8:12: parties.lab.hosts.ms2: 10.20.0.11 is the address of host 'ms1' already (federation.yml:7:12)",
    ),
    "no address": (
        "ms2: 10.20.0.12",
        "ms2: 10.20.0.300",
        "8:12: parties.lab.hosts.ms2: '10.20.0.300' is no numeric address",
    ),
    "one address for a range": (
        "{first_address: 10.20.1.1}",
        "10.20.1.1",
        "9:7: parties.lab.hosts.'w[01:03]': one address for 3 hosts; write {first_address: ...}, it counts up",
    ),
    "addresses beyond the last": (
        "10.20.1.1",
        "223.255.255.254",
        "9:7: parties.lab.hosts.'w[01:03]': 3 hosts from 223.255.255.254 on go beyond the last address",
    ),
    "range that counts down": (
        '"w[01:03]"',
        '"w[03:01]"',
        "9:7: parties.lab.hosts.'w[03:01]': [03:01] counts down: write the lower number first",
    ),
    "two placements on one port": (
        "proxy: {host: ms1}",
        "proxy: {host: ms1, port: 11202}",
        "20:30: stacks.lenet.proxy.port: port 11202 on host 'ms1' is taken by demo-lenet-rest (10.20.0.11:11202), "
        "placed at federation.yml:17:16",
    ),
    "two stacks on one port": (
        "    proxy: {host: ms1}\n",
        "  second:\n    kind: mindspore\n    redis: {host: ms1, port: 23457}\n    scheduler: {host: ms1, port: 11203}\n"
        "    servers: {hosts: [ms2], checkpoint_port: 7700}\n    workers: {host: w01}\n",
        "24:14: stacks.second.servers.port: port 6666 on host 'ms2' is taken by demo-lenet-server-1 "
        "(10.20.0.12:6666), placed at federation.yml:18:14",
        "24:14: stacks.second.servers.port: port 8666 on host 'ms2' is taken by demo-verify-lenet-server-1 "
        "(10.20.0.12:8666), placed at federation.yml:18:14",
    ),
    "URL with a path": (
        "proxy: {host: ms1}",
        'proxy: {host: ms1, public_url: "https://p.example/x"}',
        "20:36: stacks.lenet.proxy.public_url: 'https://p.example/x' has a path or a query: "
        "write scheme://host:port only",
    ),
    "URL with a query": (
        "proxy: {host: ms1}",
        'proxy: {host: ms1, public_url: "https://p.example?x=1"}',
        "20:36: stacks.lenet.proxy.public_url: 'https://p.example?x=1' has a path or a query: "
        "write scheme://host:port only",
    ),
    "bad name of a federation": (
        "federation: demo",
        "federation: Demo",
        f"3:13: federation: 'Demo' {NAME} (perhaps 'demo')",
    ),
    "bad name of a stack": ("  lenet:", "  le_net:", f"14:3: stacks.le_net: 'le_net' {NAME} (perhaps 'le-net')"),
    "bad name of a party": (
        "  partner:",
        "  partner-:",
        f"10:3: parties.partner-: 'partner-' {NAME} (perhaps 'partner')",
    ),
    "host called like a group": (
        "      ms2: 10.20.0.12",
        "      ms2: 10.20.0.12\n      party_lab: 10.20.0.13",
        "9:7: parties.lab.hosts.party_lab: 'party_lab' is the group of party 'lab' too: choose another name",
    ),
    "host called like a cluster's": (
        "      ms2: 10.20.0.12",
        "      ms2: 10.20.0.12\n      cluster-kc: 10.20.0.13",
        "9:7: parties.lab.hosts.cluster-kc: 'cluster-kc' is the host that stands for a cluster too: "
        "choose another name",
    ),
    "external party with hosts": (
        "{external: true, ca: public/ca.pem}",
        "{external: true, hosts: {}}",
        "10:36: parties.partner.hosts: an external party runs its side itself: it has no such key",
    ),
    "two places": (
        "redis: {host: ms1}",
        "redis: {host: ms1, external: {address: 10.20.0.9, ca: ca.pem}}",
        "16:24: stacks.lenet.redis.external: 'host' is given too: only one of 'host' or 'external'",
    ),
    "a store that others run, taken away": (
        "redis: {host: ms1}",
        "redis: {external: {address: 10.20.0.9, ca: ca.pem}, state: absent}",
        "16:12: stacks.lenet.redis: 'redis' is absent everywhere, and other roles need it: name a host, or make the "
        "stack absent",
    ),
    "host named twice": (
        "hosts: [ms2]",
        "hosts: [ms2, ms2]",
        "18:28: stacks.lenet.servers.hosts[1]: names 'ms2' a second time",
    ),
    "a host without an address": (
        "ms1: 10.20.0.11",
        "ms1: ms1.example",
        "16:19: stacks.lenet.redis.host: host 'ms1' has no numeric address, and MindSpore Federated takes no names: "
        "give it one under parties, addresses: {internal: [ADDRESS]}",
    ),
    "URL without the stack's TLS": (
        "proxy: {host: ms1}",
        'proxy: {host: ms1, public_url: "http://p.example"}',
        "20:36: stacks.lenet.proxy.public_url: leads there unencrypted, and the stack has tls: write "
        "https://p.example, or tls: false",
    ),
    "internal URL without the stack's TLS": (
        "proxy: {host: ms1}",
        'proxy: {host: ms1, internal_url: "http://10.20.0.9"}',
        "20:38: stacks.lenet.proxy.internal_url: leads there unencrypted, and the stack has tls: write "
        "https://10.20.0.9, or tls: false",
    ),
    "misspelt key of everything": (
        "parties:",
        "partys:",
        "4:1: partys: unknown key 'partys' (did you mean 'parties'?)",
    ),
    "misspelt key of all hosts": (
        "    hosts:\n",
        "    host:\n",
        "6:5: parties.lab.host: unknown key 'host' (did you mean 'hosts'?)",
    ),
    "misspelt key that is required": (
        "servers: {hosts",
        "server: {hosts",
        "18:5: stacks.lenet.server: unknown key 'server' (did you mean 'servers'?)",
    ),
    "the key that says the kind": (
        "kind: mindspore",
        "Kind: mindspore",
        "15:5: stacks.lenet.Kind: unknown key 'Kind' (did you mean 'kind'?)",
    ),
    "key of a section below": (
        "proxy: {host: ms1}",
        "settings: {start_fl_job_threshold: 2}",
        "20:16: stacks.lenet.settings.start_fl_job_threshold: unknown key 'start_fl_job_threshold': it stands under "
        "'round'",
    ),
    "an alias of a key that a rule is about": (
        "proxy: {host: ms1}",
        "settings: {encrypt: {encrypt_type: PW_ENCRYPT}}",
        "20:40: stacks.lenet.settings.encrypt.encrypt_type: workers of version 0.1.0 can do NOT_ENCRYPT only, not "
        "PW_ENCRYPT",
    ),
    "ssh's user": (
        "ms2: 10.20.0.12",
        "ms2: {address: 10.20.0.12, user: ops}",
        "8:34: parties.lab.hosts.ms2.user: unknown key 'user': it stands under 'vars', as 'ansible_user'",
    ),
    "no blank after the colon": (
        "redis: {host: ms1}",
        "redis:{host: ms1}",
        "16:5: stacks.lenet.'redis:{host': unknown key 'redis:{host': a colon and a blank stand between a key and its "
        "value",
    ),
    "host without its key": (
        "redis: {host: ms1}",
        "redis: ms1",
        "16:12: stacks.lenet.redis: expected a mapping, found the text 'ms1': write {host: ms1}",
    ),
    "hosts without their key": (
        "servers: {hosts: [ms2]}",
        "servers: [ms2, w01]",
        "18:14: stacks.lenet.servers: expected a mapping, found a list: write {hosts: [ms2, w01]}",
    ),
    "hosts that are no list": (
        "hosts: [ms2]",
        "hosts: ms2 w01",
        "18:22: stacks.lenet.servers.hosts: no party has a host named 'ms2 w01': several are a list, [ms2, w01]",
    ),
    "address for a host": (
        "hosts: [ms2]",
        "hosts: [10.20.0.12]",
        "18:23: stacks.lenet.servers.hosts[0]: no party has a host named '10.20.0.12': hosts go by their names, not "
        "their addresses",
    ),
    "party for a host": (
        "hosts: [ms2]",
        "hosts: [lab]",
        "18:23: stacks.lenet.servers.hosts[0]: no party has a host named 'lab', it is a party: name its hosts",
    ),
    "section without its keys": (
        "proxy: {host: ms1}",
        "runtime: full",
        "20:14: stacks.lenet.runtime: expected a mapping, found the text 'full' (its keys are flavour, version, "
        "python, wheels, index_url)",
    ),
    "another party's where none can be": (
        "scheduler: {host: ms1}",
        "scheduler: {party: partner}",
        "17:17: stacks.lenet.scheduler.party: unknown key 'party': this takes host",
    ),
    "merge key": (
        "redis: {host: ms1}",
        "redis: {<<: {host: ms1}}",
        "16:13: stacks.lenet.redis.'<<': merge keys (<<) aren't taken: write the keys out",
    ),
    "upper case": (
        "kind: mindspore",
        "kind: mindspore\n    TLS: true",
        "16:5: stacks.lenet.TLS: unknown key 'TLS' (did you mean 'tls'?)",
    ),
    "blank that is none": (
        "federation: demo",
        "federation:\u00a0demo",
        "3:12: is no YAML: a character that looks like a blank and is none (U+00A0): write a blank",
    ),
    "no YAML": (
        "redis: {host: ms1}",
        "redis: {host: ms1",
        "17:14: is no YAML: while parsing a flow mapping, did not find expected ',' or '}' (begun in line 16)",
    ),
}


def test_the_document_is_right(load: Load) -> None:
    assert list(load(DOCUMENT).expansions) == ["lenet"]


@pytest.mark.parametrize("row", ROWS)
def test_a_mistake_has_its_place_and_says_what_is_wrong(mistakes: Mistakes, row: str) -> None:
    old, new, *expected = ROWS[row]
    assert DOCUMENT.count(old) >= 1
    assert mistakes(DOCUMENT.replace(old, new, 1)) == [f"federation.yml:{line}" for line in expected]


BREACH = "    settings: {round: {start_fl_job_time_window: 70000}}\n"
ALONE = {
    "unknown kind": "nobody knows its settings",
    "the key that says the kind": "nobody knows its settings",
    "no YAML": "nothing is read",
    "blank that is none": "nothing is read",
    "truth value of YAML 1.1": "nothing is read",
    "duplicate key": "nothing is read",
    "misspelt key of everything": "no host is known",
    "misspelt key of all hosts": "no host is known",
    "key of a section below": "it has settings of its own",
    "a training with the name of another's verify round": "it has settings of its own",
    "an alias of a key that a rule is about": "it has settings of its own",
}
"""Mistakes with which, or because of which, a rule across a stack's keys isn't looked at."""


@pytest.mark.parametrize("row", [row for row in ROWS if row not in ALONE])
def test_a_rule_across_keys_is_told_beside_any_other_mistake_and_nothing_that_follows_from_it(
    mistakes: Mistakes, row: str
) -> None:
    old, new, *expected = ROWS[row]
    found = mistakes((DOCUMENT + BREACH).replace(old, new, 1))
    breaches = [line for line in found if ".settings.round.start_fl_job_time_window: 70000 ms is longer" in line]
    assert len(breaches) == 1
    assert [line for line in found if line not in breaches] == [f"federation.yml:{line}" for line in expected]


def test_a_rule_that_reads_a_wrong_value_says_nothing(mistakes: Mistakes) -> None:
    wrong = "    settings: {round: {start_fl_job_time_window: 70000, global_iteration_time_window: 1m}}\n"
    (found,) = mistakes(DOCUMENT + wrong)
    assert "global_iteration_time_window: expected a whole number" in found


def test_ports_that_meet_are_told_beside_other_mistakes(mistakes: Mistakes) -> None:
    second = DOCUMENT[DOCUMENT.index("  lenet:") :].replace("lenet", "second")
    found = mistakes(DOCUMENT + "    settings: {fl_iterations: 3}\n" + second)
    (misspelt,) = [line for line in found if "is taken by" not in line]
    assert "unknown key 'fl_iterations'" in misspelt
    assert any("stacks.lenet.redis.port" in line for line in found)


def test_another_inventory_is_no_document(mistakes: Mistakes) -> None:
    assert mistakes("all: {hosts: {ms1: {}}}\n") == [
        "federation.yml:1:1: is no federation document: its first line is `plugin: fedlearn.infra.federation`, "
        "docs/federation.md tells its keys"
    ]


def test_a_host_that_no_party_has_is_told_when_nothing_else_is_wrong(mistakes: Mistakes) -> None:
    """A party may have no hosts; then those that a stack names are missing, and that is the mistake."""
    found = mistakes(
        DOCUMENT.replace("partner: {external: true, ca: public/ca.pem}", "partner: {}").replace("[ms2]", "[ms3]")
    )
    assert found == [
        "federation.yml:18:23: stacks.lenet.servers.hosts[0]: no party has a host named 'ms3' (did you mean 'ms2'?)"
    ]


def test_every_name_has_room_where_it_goes(load: Load, mistakes: Mistakes) -> None:
    long = DOCUMENT.replace("federation: demo", f"federation: {'f' * 31}")
    assert load(long.replace("  lenet:", f"  {'s' * 15}:")).stacks
    name = f"{'f' * 31}-verify-{'s' * 16}-scheduler"
    assert mistakes(long.replace("  lenet:", f"  {'s' * 16}:")) == [
        f"federation.yml:14:3: stacks.{'s' * 16}: '{name}' has 65 characters, and instances have room for 64: "
        "give the federation or the stack a shorter name"
    ]


def test_all_mistakes_of_a_document_in_one_run_in_the_order_of_their_lines(mistakes: Mistakes) -> None:
    wrong = DOCUMENT
    for old, new in {
        "federation: demo": "federation: Demo",
        "ms2: 10.20.0.12": "ms2: 10.20.0.300",
        "{party: lab,": "{party: lap,",
        "redis: {host: ms1}": "redis: {hst: ms1, api_token: hunter2}",
        "scheduler: {host: ms1}": "scheduler: {host: '{{ ms1 }}'}",
        "hosts: [ms2]": "hosts: [ms2], per_host: 1e3",
        "proxy: {host: ms1}": "proxy: {host: ms1, port: 0}\n    settings: {fl_iteration_num: 0, rounds: 3}",
    }.items():
        wrong = wrong.replace(old, new, 1)
    found = [line.removeprefix("federation.yml:") for line in mistakes(wrong)]
    assert [line.split(": ")[:2] for line in found] == [
        ["3:13", "federation"],
        ["8:12", "parties.lab.hosts.ms2"],
        ["12:15", "clusters.kc.party"],
        ["16:13", "stacks.lenet.redis.hst"],
        ["16:23", "stacks.lenet.redis.api_token"],
        ["16:34", "stacks.lenet.redis.api_token"],
        ["17:23", "stacks.lenet.scheduler.host"],
        ["18:39", "stacks.lenet.servers.per_host"],
        ["20:30", "stacks.lenet.proxy.port"],
        ["21:34", "stacks.lenet.settings.fl_iteration_num"],
        ["21:37", "stacks.lenet.settings.rounds"],
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [("ms11", "ms1"), ("MS1", "ms1"), ("m2", "ms2"), ("w3", "w03"), ("database", None)],
)
def test_a_suggestion_only_where_one_is_near(mistakes: Mistakes, written: str, meant: str | None) -> None:
    hint = f" (did you mean '{meant}'?)" if meant else ""
    assert mistakes(DOCUMENT.replace("redis: {host: ms1}", f"redis: {{host: {written}}}")) == [
        f"federation.yml:16:19: stacks.lenet.redis.host: no party has a host named '{written}'{hint}"
    ]


def test_a_mistake_in_an_overlay_has_the_line_of_the_overlay(mistakes: Mistakes) -> None:
    viewpoint = "plugin: fedlearn.infra.federation\ndocument: federation.yml\noverlay: over.yml\nparty: lab\n"
    over = "stacks:\n  lenet:\n    servers: {hosts: [ms2, w09]}\n    workerss: null\n"
    assert mistakes(DOCUMENT, source="view.yml", view=viewpoint, over=over) == [
        "over.yml:3:28: stacks.lenet.servers.hosts[1]: no party has a host named 'w09' (did you mean 'w03'?)",
        "over.yml:4:5: stacks.lenet.workerss: null deletes, but there is no 'workerss' below (did you mean 'workers'?)",
    ]


@pytest.mark.parametrize(
    ("party", "message"),
    [
        ("lap", "there is no party named 'lap' (did you mean 'lab'?)"),
        ("partner", "'partner' is an external party: it has no hosts here"),
    ],
)
def test_a_viewpoint_is_of_a_party_with_hosts(mistakes: Mistakes, party: str, message: str) -> None:
    viewpoint = f"plugin: fedlearn.infra.federation\ndocument: federation.yml\nparty: {party}\n"
    assert mistakes(DOCUMENT, source="view.yml", view=viewpoint) == [f"view.yml:3:8: party: {message}"]


VIEW = "plugin: fedlearn.infra.federation\ndocument: federation.yml\nparty: lab\n"


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ("document", "documnet", "2:1: documnet: unknown key 'documnet' (did you mean 'document'?)"),
        ("document: federation.yml\n", "", "1:1: the key 'document' is missing (text)"),
        (
            "document: federation.yml",
            "document: view.yml",
            "2:11: document: 'view.yml' is this file itself: paths begin beside this file",
        ),
        ("party", "partys", "3:1: partys: unknown key 'partys' (did you mean 'party'?)"),
    ],
)
def test_a_viewpoint_that_is_wrong(mistakes: Mistakes, old: str, new: str, mistake: str) -> None:
    assert mistakes(DOCUMENT, source="view.yml", view=VIEW.replace(old, new, 1)) == [f"view.yml:{mistake}"]


def test_a_viewpoint_s_files_that_are_not_there_are_told_where_they_are_named(
    mistakes: Mistakes, tmp_path: Path
) -> None:
    assert mistakes(DOCUMENT, source="view.yml", view=VIEW.replace("federation.yml", "fed.yml")) == [
        f"view.yml:2:11: document: 'fed.yml' is no file ({tmp_path}/fed.yml): paths begin beside this file"
    ]
    assert mistakes(DOCUMENT, source="view.yml", view=VIEW + "overlay: o.yml\n") == [
        f"view.yml:4:10: overlay: 'o.yml' is no file ({tmp_path}/o.yml): paths begin beside this file"
    ]


def test_a_misspelt_key_of_an_overlay_is_told_with_the_one_that_the_document_has(mistakes: Mistakes) -> None:
    assert mistakes(
        DOCUMENT, source="view.yml", view=VIEW + "overlay: over.yml\n", over="stack: {lenet: {tls: false}}\n"
    ) == ["over.yml:1:1: stack: unknown key 'stack' (did you mean 'stacks'?)"]
