# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a party says of its hosts' clocks, and what becomes of it."""

from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import flows, variables
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Federation
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles import catalogue
from tests.unit.plugins.plugin_utils.federation.conftest import Load, Mistakes

DOCUMENT = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab:
    time_sync: SAID
    hosts:
      h1: 10.20.0.11
      h2: {address: 10.20.0.12, state: absent}
      h3: 10.20.0.13
  clinic:
    hosts: {k1: 10.30.0.11}
stacks:
  one:
    kind: mindspore
    redis: {host: h1}
    scheduler: {host: h1}
    servers: {host: h1}
    workers: {host: k1}
"""
SERVERS = "{servers: [ntp1.lab.example, fd00::5], nts: true}"


def said(text: str) -> str:
    """The document, with this as what the lab says of its clocks."""
    return DOCUMENT.replace("SAID", text)


def without() -> str:
    return DOCUMENT.replace("    time_sync: SAID\n", "")


def base(federation: Federation, host: str) -> list[str]:
    """The roles of a host's first stage."""
    found: list[str] = variables.inventory(federation).hosts[host]["fedlearn_stages"].get("base", [])
    return found


def test_without_it_no_host_has_the_role(load: Load) -> None:
    found = variables.inventory(load(without()))
    assert "time_sync" not in found.groups
    assert not [host for host in found.hosts.values() if "time_sync_instances" in host]


def test_chrony_takes_the_time_from_the_servers_named(load: Load) -> None:
    federation = load(said(SERVERS))
    found = variables.inventory(federation).hosts
    sources = [{"address": "ntp1.lab.example", "nts": True}, {"address": "fd00::5", "nts": True}]
    assert found["h1"]["time_sync_instances"] == [{"name": "demo-time", "federation": "demo", "sources": sources}]
    assert catalogue.mistakes("time_sync", found["h1"]) == []
    assert found["h3"]["fedlearn_expected"]["sites"] == ["demo-time"]
    assert base(federation, "h1") == ["limits", "time_sync", "pki"]  # certificates wait for the time
    assert base(federation, "h3") == ["time_sync"]  # whatever runs there
    assert base(federation, "k1") == ["pki"]  # the clinic said nothing


def test_an_absent_host_is_left(load: Load) -> None:
    found = variables.inventory(load(said(SERVERS))).hosts["h2"]
    assert found["time_sync_instances"] == [{"name": "demo-time", "federation": "demo", "state": "absent"}]
    assert found["fedlearn_expected"]["sites"] == []


def test_without_servers_those_of_the_host_stay(load: Load) -> None:
    assert variables.inventory(load(said("{}"))).hosts["h1"]["time_sync_instances"][0]["sources"] == []


def test_check_only_touches_nothing(load: Load) -> None:
    federation = load(said("{mode: check_only}"))
    assert base(federation, "h3") == ["time_sync"]
    assert "time_sync_instances" not in variables.inventory(federation).hosts["h1"]


def test_a_host_s_bound_is_that_of_the_system_that_bears_least(load: Load) -> None:
    again = DOCUMENT.partition("  one:")[2].replace("h1", "h3")
    federation = load(f"{without()}  two:{again}")
    expansions = {**federation.expansions}
    expansions["two"] = dataclasses.replace(expansions["two"], max_skew_ms=250)
    hosts = variables.inventory(dataclasses.replace(federation, expansions=expansions)).hosts
    bounds = {name: host.get("time_sync_max_skew_ms") for name, host in hosts.items()}
    assert bounds == {"h1": 5000, "h2": None, "h3": 250, "k1": 250}


def test_flows_lead_to_the_servers(load: Load) -> None:
    found = [
        (flow.source, flow.destination, flow.port, flow.protocol, flow.authentication)
        for flow in flows.flows(load(said("{servers: [10.20.0.5]}")))
        if flow.purpose == "time"
    ]
    assert found == [(host, "10.20.0.5", 123, "udp", "none") for host in ("h1", "h3")]
    found = [
        (flow.source, flow.address, flow.port, flow.protocol)
        for flow in flows.flows(load(said(SERVERS)), "one")
        if flow.purpose.startswith("time")
    ]
    assert found == [
        ("h1", "ntp1.lab.example", 123, "udp"),
        ("h1", "ntp1.lab.example", 4460, "tcp"),
        ("h1", "fd00::5", 123, "udp"),
        ("h1", "fd00::5", 4460, "tcp"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{mode: ntpd}", "6:23: parties.lab.time_sync.mode: expected one of chrony, check_only, found the text 'ntpd'"),
        (
            "{mode: check_only, servers: [10.0.0.1]}",
            "6:44: parties.lab.time_sync.servers: is for mode chrony: check_only leaves the hosts' clocks to others",
        ),
        (
            "{nts: true}",
            "6:22: parties.lab.time_sync.nts: there are no servers to ask by it: Debian's pool knows no NTS",
        ),
        ("{servers: ['a b']}", "6:27: parties.lab.time_sync.servers[0]: 'a b' is no DNS name"),
        ("true", "6:16: parties.lab.time_sync: expected a mapping, found true (its keys are mode, servers, nts)"),
    ],
)
def test_mistakes_are_told_exactly(mistakes: Mistakes, text: str, message: str) -> None:
    assert mistakes(said(text)) == [f"federation.yml:{message}"]


def test_a_partner_keeps_its_own_clocks(mistakes: Mistakes) -> None:
    text = without().replace("parties:\n", "parties:\n  partner: {external: true, time_sync: {}}\n")
    message = "parties.partner.time_sync: an external party runs its side itself: it has no such key"
    assert mistakes(text) == [f"federation.yml:5:40: {message}"]
