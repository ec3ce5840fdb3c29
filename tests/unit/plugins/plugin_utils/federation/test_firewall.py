# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a party says of its hosts' firewalls, and what the flows become there."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import flows, network, variables
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Federation
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles import catalogue
from tests.unit.plugins.plugin_utils.federation.conftest import Load, Mistakes

DOCUMENT = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab:
    firewall: {mode: enforce}
    hosts:
      h1: {addresses: {ssh: 10.1.0.11, internal: [10.20.0.11, "fd00::11"]}}
      h2: 10.20.0.12
      h3: 10.20.0.13
      h4: {address: 10.20.0.14, state: absent}
  clinic:
    hosts: {k1: 10.30.0.11}
stacks:
  one:
    kind: mindspore
    redis: {host: h1}
    scheduler: {host: h1, allow: [10.9.0.0/24]}
    servers: {hosts: [h2, h3]}
    proxy: {host: h1}
    workers: {hosts: [h3, k1]}
"""
EVERYBODY = ["0.0.0.0/0", "::/0"]


def host(federation: Federation, name: str) -> dict[str, Any]:
    return variables.inventory(federation).hosts[name]


def services(federation: Federation, name: str) -> dict[str, dict[str, Any]]:
    """A host's services, by the port and name of each."""
    found = host(federation, name).get("firewall_services", [])
    return {f"{one.get('port', 'ephemeral')}": one for one in found}


def said(text: str) -> str:
    return DOCUMENT.replace("{mode: enforce}", text)


def test_without_it_no_host_has_the_role(load: Load) -> None:
    found = variables.inventory(load(DOCUMENT.replace("    firewall: {mode: enforce}\n", "")))
    assert "firewall" not in found.groups
    assert not [one for one in found.hosts.values() if "firewall_mode" in one]


def test_a_partys_hosts_have_it_and_no_others(load: Load) -> None:
    found = variables.inventory(load(DOCUMENT))
    assert found.groups["firewall"].hosts == ["h1", "h2", "h3", "h4"]
    modes = {name: one.get("firewall_mode") for name, one in found.hosts.items()}
    assert modes == {"h1": "enforce", "h2": "enforce", "h3": "enforce", "h4": "enforce", "k1": None}
    assert found.hosts["h4"]["firewall_services"] == []  # what is still there is guarded until it has gone
    assert "demo-firewall" in found.hosts["h1"]["fedlearn_expected"]["sites"]


@pytest.mark.parametrize("off", ["false", "'off'"])
def test_off_takes_the_rules_away(load: Load, off: str) -> None:
    found = host(load(said(f"{{mode: {off}}}")), "h1")
    assert found["firewall_mode"] == "off"
    assert "firewall_services" not in found
    assert found["fedlearn_stages"]["base"].count("firewall") == 1


def test_each_place_lets_in_whom_flows_name(load: Load) -> None:
    found = services(load(DOCUMENT), "h1")
    assert found["23456"]["sources"] == ["10.20.0.12/32", "10.20.0.13/32"]
    assert set(found["6666"]["sources"]) >= {"10.20.0.13/32"}
    assert found["11202"]["sources"] == ["10.9.0.0/24"]
    assert {one["addresses"][0] for one in found.values()} == {"10.20.0.11"}


def test_an_ephemeral_port_is_for_the_stacks_servers_and_scheduler(load: Load) -> None:
    own = services(load(DOCUMENT), "h2")["ephemeral"]
    assert (own["addresses"], own["ephemeral"], own["protocol"]) == (["10.20.0.12"], True, "tcp")
    assert set(own["sources"]) == {"10.20.0.13/32", "10.20.0.11/32", "fd00::11/128"}
    assert "port" not in own


def test_every_flow_to_a_host_is_let_in(load: Load) -> None:
    federation = load(DOCUMENT)
    for flow in flows.flows(federation):
        if flow.purpose == "ssh" or flow.destination not in ("h1", "h2", "h3"):
            continue
        place = services(federation, flow.destination)["ephemeral" if flow.port is None else str(flow.port)]
        try:
            source = network.single(federation.host(flow.source).internal[0])
        except KeyError:
            source = flow.source if "/" in flow.source else EVERYBODY[0]
        assert source in place["sources"] or place["sources"] == EVERYBODY, flow


def test_rounds_have_their_ports_guarded_too(load: Load) -> None:
    found = services(load(DOCUMENT), "h2")
    assert len([one for one in found.values() if "-verify-" in one["name"]]) >= 2


def test_nothing_of_loopback_is_guarded(load: Load) -> None:
    addresses = {address for one in host(load(DOCUMENT), "h1")["firewall_services"] for address in one["addresses"]}
    assert not any(address.startswith("127.") for address in addresses)


def test_a_party_says_from_where_others_come(load: Load) -> None:
    come = "{mode: report, sources: {clinic: [203.0.113.0/24], k1: [203.0.113.7/32]}}"
    found = services(load(said(come)), "h1")["6666"]
    assert "203.0.113.7/32" in found["sources"]
    assert "10.30.0.11/32" not in found["sources"]


def test_clients_come_from_anywhere_unless_it_is_said(load: Load) -> None:
    open_to_all = DOCUMENT.replace("proxy: {host: h1}", "proxy: {host: h1, public_url: 'https://198.51.100.7'}")
    assert services(load(open_to_all), "h1")["6666"]["sources"] == EVERYBODY
    narrower = open_to_all.replace("{mode: enforce}", "{mode: enforce, sources: {clients: [203.0.113.0/24]}}")
    assert "203.0.113.0/24" in services(load(narrower), "h1")["6666"]["sources"]
    assert "0.0.0.0/0" not in services(load(narrower), "h1")["6666"]["sources"]


def test_the_role_takes_what_the_document_gives(load: Load) -> None:
    found = variables.inventory(load(said("{mode: report, default_drop: true}"))).hosts
    for one in found.values():
        given = {name: value for name, value in one.items() if name.startswith("firewall_")}
        assert catalogue.mistakes("firewall", given) == []
    assert found["h1"]["firewall_default_drop"] is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{mode: off}",
            "parties.lab.firewall.mode: off is a truth value for some YAML readers and text for others: "
            "write false, or where text is meant 'off' in quotes",
        ),
        ("{mode: deny}", "parties.lab.firewall.mode: expected one of off, report, enforce, found the text 'deny'"),
        (
            "{mode: enforce, sources: {clinics: [10.0.0.0/8]}}",
            "parties.lab.firewall.sources.clinics: nobody that flows name is called so (did you mean 'clinic'?)",
        ),
        (
            "{mode: enforce, sources: {clinic: [10.0.0.1/8]}}",
            "parties.lab.firewall.sources.clinic[0]: '10.0.0.1/8' has host bits set: write 10.0.0.0/8",
        ),
    ],
)
def test_mistakes_are_told(mistakes: Mistakes, text: str, message: str) -> None:
    assert [line.split(": ", 1)[1] for line in mistakes(said(text))] == [message]


def test_an_external_party_has_none(mistakes: Mistakes) -> None:
    text = DOCUMENT.replace("stacks:", "  far: {external: true, firewall: {mode: report}}\nstacks:")
    assert len(mistakes(text)) == 1
