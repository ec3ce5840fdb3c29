# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a party says that an ACME server signs: what is asked of it, how that is proven, and what our own CA keeps."""

from __future__ import annotations

import ipaddress
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import flows, loading, network, variables
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Federation
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles import catalogue
from tests.unit.plugins.plugin_utils.federation.conftest import Load, Mistakes

ACME = "{mode: acme, ca: files/root.pem, acme: {directory: 'https://acme.example/dir', server_ca: files/server.pem}}"
BY_DNS = ACME.replace("server_ca: files/server.pem", "challenge: dns-01, hook: /usr/local/sbin/dns")
DOCUMENT = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab:
    pki: SAID
    hosts:
      h1: {address: 10.20.0.11, public_name: Lab.example}
      h2: 10.20.0.12
  clinic: {hosts: {k1: 10.30.0.11}}
stacks:
  vision:
    kind: dc_federated
    server: {host: h2}
    proxy: {host: h1, server_names: [vision.example], admins: {names: [admin], allow: 10.20.0.0/24}}
    workers: {hosts: [h2, k1]}
  lenet:
    kind: mindspore
    redis: {host: h2}
    scheduler: {host: h2}
    servers: {host: h2}
    workers: {host: h2}
    proxy: {host: h2, port: 7100}
  survey:
    kind: dpsa
    certificates: public
    leader:
      host: h1
      public_url: "https://leader.lab.example:9991"
      manager: {public_url: "https://manager.lab.example:9981"}
    helper: {host: k1, public_url: "https://helper.example:9992", manager: {public_url: "https://helper.example:9982"}}
    privacy: {max_epsilon: 1.0}
"""
PUBLIC = {"demo-vision-proxy", "demo-survey-leader-front"}


def document(said: str = ACME, *changes: tuple[str, str]) -> str:
    text = DOCUMENT.replace("SAID", said)
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


def certificates(federation: Federation) -> dict[str, dict[str, Any]]:
    """Every certificate that somebody signs, by its name; here no two hosts have one of the same."""
    hosts = variables.inventory(federation).hosts.values()
    return {each["name"]: each for host in hosts for each in host.get("pki_certificates", []) if each["usages"]}


def proofs(federation: Federation, host: str = "h1") -> list[dict[str, Any]]:
    return [each for each in variables.inventory(federation).hosts[host]["nginx_sites"] if each["name"] == "demo-acme"]


def trusted(federation: Federation, host: str, name: str) -> list[str]:
    [found] = [each for each in variables.inventory(federation).hosts[host]["pki_certificates"] if each["name"] == name]
    return list(found["trust"])


def test_the_server_signs_what_everybody_is_shown_by_names_alone_and_our_own_ca_all_else(load: Load) -> None:
    found = certificates(load(document()))
    assert {name for name, each in found.items() if each["authority"] == "lab_public"} == PUBLIC
    proxy, front = found["demo-vision-proxy"], found["demo-survey-leader-front"]
    assert (proxy["dns_names"], proxy["addresses"]) == (["lab.example", "vision.example"], [])
    assert (front["dns_names"], front["addresses"]) == (["leader.lab.example", "manager.lab.example"], [])
    others = {each["authority"] for name, each in found.items() if name not in PUBLIC}
    assert others == {"lab", "lab-lenet-store", "clinic"}


def test_who_comes_in_by_a_certificate_has_one_of_our_own_ca_as_before(load: Load) -> None:
    """Else everybody of whom the public CA knows anything could pass for the administrator."""
    federation = load(document())
    [site] = [
        one for one in variables.inventory(federation).hosts["h1"]["nginx_sites"] if one["name"] == "demo-vision-proxy"
    ]
    assert (
        site["tls"]["client_ca"] == site["upstream"]["tls"]["ca"] == "/etc/fedlearn/demo/pki/demo-vision-proxy/ca.pem"
    )
    assert trusted(federation, "h1", "demo-vision-proxy") == ["lab"]
    assert trusted(federation, "h1", "demo-survey-leader-front") == ["lab"]


@pytest.mark.parametrize("host", ["h2", "k1"])
def test_workers_of_whatever_party_trust_the_server_s_ca_and_connect_by_a_name(load: Load, host: str) -> None:
    federation = load(document())
    [worker] = variables.inventory(federation).hosts[host]["dc_federated_worker_instances"]
    assert worker["server"] == {"protocol": "https", "host": "vision.example", "port": 443}  # which nginx knows
    assert trusted(federation, host, "demo-vision-worker") == ["lab_public"]
    [copy] = variables.inventory(federation).hosts[host]["fedlearn_verify"]["vision"]["variables"][
        "dc_federated_worker_instances"
    ]
    assert copy["server"]["host"] == "vision.example"


def test_the_authority_says_how_it_is_asked_with_files_beside_the_document(load: Load, tmp_path: Path) -> None:
    found = variables.inventory(load(document()))
    [asked] = [each for each in found.hosts["h1"]["pki_authorities"] if each["mode"] == "acme"]
    assert asked["ca"] == str(tmp_path / "files/root.pem")
    assert asked["acme"] == {
        "directory": "https://acme.example/dir",
        "server_ca": str(tmp_path / "files/server.pem"),
        "challenge": "http-01",
        "inner_port": 9080,
    }
    assert {each["name"]: each["mode"] for each in found.hosts["k1"]["pki_authorities"]}["lab_public"] == "acme"
    secrets = {each["name"] for each in found.groups["federation_hosts"].variables["fedlearn_secrets"]}
    assert {"ca_lab", "ca_lab-lenet-store"} <= secrets
    assert "ca_lab_public" not in secrets


def test_another_party_knows_of_it_no_more_than_whom_to_trust(load: Load) -> None:
    viewpoint = "{plugin: fedlearn.infra.federation, document: federation.yml, party: clinic}"
    found = variables.inventory(load(document(), "clinic.yml", clinic=viewpoint)).hosts["k1"]["pki_authorities"]
    [known] = [each for each in found if each["name"] == "lab_public"]
    assert (known["mode"], "acme" in known) == ("external", False)


def test_nginx_leads_the_server_s_questions_to_where_the_host_answers(load: Load) -> None:
    federation = load(document())
    host = variables.inventory(federation).hosts["h1"]
    [site] = proofs(federation)
    assert site["listen"] == [{"address": "10.20.0.11", "port": 80}]
    assert site["server_names"] == ["lab.example", "vision.example", "leader.lab.example", "manager.lab.example"]
    assert site["paths"] == [{"path": "/.well-known/acme-challenge/", "prefix": True}]
    assert site["upstream"]["servers"] == ["127.0.0.1:9080"]
    assert site["name"] in host["fedlearn_expected"]["sites"]
    rows = {(row.source, row.destination, row.port) for row in flows.flows(federation)}
    assert ("acme-server", "h1", 80) in rows
    assert ("h1", "acme.example", 443) in rows


def test_by_dns_nobody_comes_to_port_80(load: Load) -> None:
    federation = load(document(BY_DNS))
    found = variables.inventory(federation).hosts["h1"]
    assert proofs(federation) == []
    assert [row for row in flows.flows(federation) if row.source == "acme-server"] == []
    [asked] = [each["acme"] for each in found["pki_authorities"] if each["mode"] == "acme"]
    assert asked["hook"] == "/usr/local/sbin/dns"


def test_with_private_certificates_dpsa_stays_with_the_party_s_own_ca(load: Load) -> None:
    found = certificates(load(document(ACME, ("certificates: public", "certificates: private"))))
    assert found["demo-survey-leader-front"]["authority"] == "lab"


def test_a_proxy_that_goes_takes_its_names_along(load: Load) -> None:
    stacks = document(ACME, ("proxy: {host: h1, server_names", "proxy: {host: h1, state: absent, server_names"))
    assert proofs(load(stacks))[0]["server_names"] == ["leader.lab.example", "manager.lab.example"]


def test_two_stacks_may_have_a_name_in_common_and_a_firewall_lets_the_server_in(load: Load) -> None:
    more = "  other: {kind: dc_federated, server: {host: h2, port: 5300}, proxy: {host: h1, port: 444}, "
    more += "workers: {hosts: [k1]}}\n"
    text = document(
        ACME, ("    hosts:\n", "    firewall: {mode: enforce, sources: {acme-server: [192.0.2.0/24]}}\n    hosts:\n")
    )
    federation = load(text + more)
    assert [site["server_names"].count("lab.example") for site in proofs(federation)] == [1]
    services = variables.inventory(federation).hosts["h1"]["firewall_services"]
    assert [each["sources"] for each in services if each.get("port") == 80] == [["192.0.2.0/24"]]


def test_who_has_port_80_otherwise_is_named(mistakes: Mistakes) -> None:
    stack = "  plain: {kind: dc_federated, tls: false, server: {host: h1, port: 5100}, proxy: {host: h1, port: 80}, "
    stack += "workers: {hosts: [k1]}}\n"
    told = mistakes(document() + stack)
    assert [each for each in told if "port 80 on host 'h1' is taken by" in each], told


NAMES_ONLY = "an ACME server certifies names only"
ANOTHER_NAME = "nginx refuses who asks for another name than its server_names"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            ("{address: 10.20.0.11, public_name: Lab.example}", "10.20.0.11"),
            f"stacks.vision.proxy.host: {NAMES_ONLY}, and 'h1' has none: public_name: NAME under parties",
        ),
        (
            ("proxy: {host: h1, ", "proxy: {host: h1, public_url: 'https://192.0.2.1', "),
            f"stacks.vision.proxy.public_url: {NAMES_ONLY}: write one",
        ),
        (
            ("https://leader.lab.example:9991", "https://192.0.2.1:9991"),
            f"stacks.survey.leader.public_url: {NAMES_ONLY}: write https://NAME:PORT, or the host's public_name",
        ),
        (
            ("https://manager.lab.example:9981", "https://192.0.2.1:9981"),
            f"stacks.survey.leader.manager.public_url: {NAMES_ONLY}: write https://NAME:PORT",
        ),
        (
            ("server_ca: files/server.pem", "hook: /usr/local/sbin/dns"),
            "parties.lab.pki.acme.hook: is the program that changes the DNS for challenge dns-01",
        ),
        (
            ("https://acme.example/dir", "http://acme.example/dir"),
            "parties.lab.pki.acme.directory: 'http://acme.example/dir' is",
        ),
    ],
)
def test_what_no_acme_server_could_certify_is_a_mistake_of_the_document(
    mistakes: Mistakes, change: tuple[str, str], line: str
) -> None:
    assert [each for each in mistakes(document(ACME, change)) if line in each], line


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("{mode: acme}", "parties.lab.pki.mode: the key 'acme' is missing: which server is asked"),
        ("{acme: {directory: 'https://acme.example/dir'}}", "parties.lab.pki.acme: is for mode acme, not ownca"),
        (
            ACME.replace("ca: files/root.pem", "key_file: /etc/k/k"),
            "parties.lab.pki.key_file: is for mode provided, not acme",
        ),
    ],
)
def test_keys_are_those_of_the_mode(mistakes: Mistakes, said: str, line: str) -> None:
    assert line in mistakes(document(said))[0]


def loaded(file: Path) -> tuple[Federation | None, list[str]]:
    try:
        return loading.load(str(file)), []
    except loading.WrongDocumentError as error:
        return None, [str(each) for each in error.mistakes]


NAME = st.sampled_from(["a.example", "b.example", "c.d.example", "192.0.2.7", "2001:db8::7", ""])


@given(
    said=st.sampled_from([ACME, BY_DNS]),
    public=NAME,
    url=NAME,
    leader=NAME,
    server_names=st.lists(st.sampled_from(["s.example", "T.example"]), unique=True),
    beside=st.booleans(),
    generation=st.sampled_from(["B", "C"]),
)
def test_whatever_is_derived_can_be_certified_proven_and_reached_or_is_a_mistake(
    said: str, public: str, url: str, leader: str, server_names: list[str], beside: bool, generation: str
) -> None:
    """Of any document: names only, each answered for by nginx on port 80, and workers connect by one of them."""
    host = f"{{address: 10.20.0.11, public_name: '{public}'}}" if public else "10.20.0.11"
    proxy = f"host: h1, server_names: {server_names}"
    proxy += f", public_url: 'https://{network.join(url, None)}'" if url else ""
    side = f"public_url: 'https://{network.join(leader, 9991)}'" if leader else "port: 9991"
    text = document(
        said,
        ("{address: 10.20.0.11, public_name: Lab.example}", host),
        ("host: h1, server_names: [vision.example]", proxy),
        ("server: {host: h2}", f"server: {{host: {'h1' if beside else 'h2'}}}"),
        ('public_url: "https://leader.lab.example:9991"', side),
        ('      manager: {public_url: "https://manager.lab.example:9981"}\n', ""),
        ("    certificates: public", f"    certificates: public\n    generation: {generation}"),
    )
    if generation == "C":
        text = text.replace("    privacy: {max_epsilon: 1.0}\n", "")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "federation.yml"
        file.write_text(text)
        federation, wrong = loaded(file)
    if federation is None:
        assert any(NAMES_ONLY in line or ANOTHER_NAME in line for line in wrong), text
        return
    inventory = variables.inventory(federation)
    h1 = inventory.hosts["h1"]
    sites = proofs(federation)
    signed = {each["name"]: each for each in h1["pki_certificates"] if each.get("authority") == "lab_public"}
    assert set(signed) == PUBLIC
    for each in signed.values():
        assert each["dns_names"]
        assert not each["addresses"]
        assert not any(network.is_numeric(name) for name in each["dns_names"])
        assert not any(name.startswith("demo-") for name in each["dns_names"])
    led = {name for each in sites for name in each["server_names"]}
    assert led == ({name for each in signed.values() for name in each["dns_names"]} if said == ACME else set())
    for worker in ("h2", "k1"):
        told = inventory.hosts[worker]
        copies = told["fedlearn_verify"]["vision"]["variables"]["dc_federated_worker_instances"]
        for one in (*told["dc_federated_worker_instances"], *copies):
            assert one["server"]["host"].lower() in signed["demo-vision-proxy"]["dns_names"]
    for name, host_variables in inventory.hosts.items():
        for role in ("pki", "nginx"):
            assert catalogue.mistakes(role, host_variables) == [], (name, role)
    assert ipaddress.ip_address(sites[0]["listen"][0]["address"]) if sites else said == BY_DNS
