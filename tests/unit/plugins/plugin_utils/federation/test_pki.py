# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a party says its certificates come from, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import certificates, variables
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles import catalogue
from tests.unit.plugins.plugin_utils.federation.conftest import Load, Mistakes

DOCUMENT = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab:
    pki: SAID
    hosts: {h1: 10.20.0.11}
stacks:
  one:
    kind: mindspore
    redis: {host: h1}
    scheduler: {host: h1}
    servers: {host: h1}
    workers: {host: h1}
"""
PROVIDED = (
    "{mode: provided, ca: files/ca.pem, certificate_file: '/etc/ssl/{host}/{name}.pem', key_file: /etc/ssl/lab.key}"
)


def told(load: Load, said: str) -> dict[str, Any]:
    """What the host gets where the party says this."""
    return variables.inventory(load(DOCUMENT.replace("SAID", said))).hosts["h1"]


def test_provided_certificates_are_named_by_their_paths_and_a_store_s_are_our_own(load: Load) -> None:
    host = told(load, PROVIDED)
    found = {each["name"]: each for each in host["pki_certificates"]}
    server, store = found["demo-one-server"], found["demo-one-redis"]
    assert (server["certificate_file"], server["key_file"]) == ("/etc/ssl/h1/demo-one-server.pem", "/etc/ssl/lab.key")
    assert "certificate_file" not in store
    authorities = {each["name"]: each for each in host["pki_authorities"]}
    assert {name: each["mode"] for name, each in authorities.items()} == {"lab": "provided", "lab-one-store": "ownca"}
    assert authorities["lab"]["ca"].endswith("/files/ca.pem")
    assert catalogue.mistakes("pki", host) == []


def test_where_others_sign_no_key_of_a_ca_is_looked_for_but_a_store_s(load: Load) -> None:
    found = variables.inventory(load(DOCUMENT.replace("SAID", "{mode: csr}")))
    authorities = {each["name"]: each for each in found.hosts["h1"]["pki_authorities"]}
    assert (authorities["lab"]["mode"], authorities["lab-one-store"]["mode"]) == ("csr", "ownca")
    assert "ca" not in authorities["lab"]  # public/lab/lab.pem of the state folder
    assert "published" not in authorities["lab"]
    secrets = {each["name"] for each in found.groups["federation_hosts"].variables["fedlearn_secrets"]}
    assert "ca_lab-one-store" in secrets
    assert "ca_lab" not in secrets


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("{mode: csr, revoked: [ab]}", "parties.lab.pki.revoked: is for mode ownca and acme, not csr"),
        (
            "{revoked: [xy]}",
            "parties.lab.pki.revoked[0]: 'xy' is not a serial number, as `openssl x509 -noout -serial`",
        ),
        ("{crl: files/crl.pem}", "parties.lab.pki.crl: is for mode csr and provided, not ownca"),
        ("{ca: files/ca.pem}", "parties.lab.pki.ca: is for mode csr, provided and acme, not ownca"),
        ("{mode: csr, key_file: /etc/k/k}", "parties.lab.pki.key_file: is for mode provided, not csr"),
        (
            "{mode: provided}",
            "parties.lab.pki.mode: the key 'certificate_file' is missing: where they lie on the hosts",
        ),
        (
            PROVIDED.replace("{name}", "{address}"),
            "parties.lab.pki.certificate_file: '/etc/ssl/{host}/{address}.pem' is",
        ),
        (PROVIDED.replace("{host}", ".."), "parties.lab.pki.certificate_file: '/etc/ssl/../{name}.pem' is"),
    ],
)
def test_what_does_not_fit_the_mode_is_a_mistake_of_the_document(mistakes: Mistakes, said: str, message: str) -> None:
    assert message in mistakes(DOCUMENT.replace("SAID", said))[0]


@pytest.mark.parametrize("mode", ["csr", "provided"])
def test_a_ca_elsewhere_says_who_is_withdrawn_by_a_file_beside_the_document(
    load: Load, tmp_path: Path, mode: str
) -> None:
    said = PROVIDED if mode == "provided" else "{mode: csr}"
    host = told(load, said.replace(f"mode: {mode}", f"mode: {mode}, crl: files/lab.crl.pem"))
    authorities = {each["name"]: each for each in host["pki_authorities"]}
    assert authorities["lab"]["crl"] == str(tmp_path / "files/lab.crl.pem")
    assert "crl" not in authorities["lab-one-store"]
    assert catalogue.mistakes("pki", host) == []


@pytest.mark.parametrize(
    ("said", "has"),
    [("{}", True), ("{mode: csr}", False), (PROVIDED, False), ("{mode: csr, crl: files/lab.crl.pem}", True)],
)
def test_a_site_reads_what_is_withdrawn_where_the_ca_is_our_own(load: Load, said: str, has: bool) -> None:
    [site] = told(load, said)["nginx_sites"]
    assert site["tls"]["client_ca"] == "/etc/fedlearn/demo/pki/demo-one-scheduler/ca.pem"
    assert site["tls"].get("client_crl") == ("/etc/fedlearn/demo/pki/demo-one-scheduler/crl.pem" if has else None)
    behind = site["upstream"]["tls"]
    assert behind.get("crl") == (behind["ca"].replace("ca.pem", "crl.pem") if has else None)
    assert catalogue.mistakes("nginx", told(load, said)) == []


def test_who_is_to_be_withdrawn_is_told_to_each_of_the_party_s_own_cas(load: Load) -> None:
    found = variables.inventory(load(DOCUMENT.replace("SAID", "{revoked: ['0a1B']}")))
    authorities = found.groups["federation_hosts"].variables["fedlearn_authorities"]
    assert {each["name"]: each["revoked"] for each in authorities} == {"lab": ["0a1B"], "lab-one-store": ["0a1B"]}


LIMITED = "{permitted: {names: [lab.example], networks: [10.20.0.0/16]}}"


def test_a_ca_is_told_what_it_may_certify_and_certificates_have_names_below(load: Load) -> None:
    text = DOCUMENT.replace("workers:", "proxy: {host: h1, port: 7000}\n    workers:")
    host = told_by(load, text.replace("SAID", LIMITED))
    authorities = {each["name"]: each for each in host["pki_authorities"]}
    assert authorities["lab"]["permitted_names"] == ["lab.example"]
    assert authorities["lab"]["permitted_networks"] == ["10.20.0.0/16"]
    assert "permitted_names" not in authorities["lab-one-store"]
    found = {each["name"]: each["dns_names"] for each in host["pki_certificates"]}
    assert found["demo-one-server"] == ["demo-one-server.lab.example"]
    assert found["demo-one-worker"] == ["demo-one-worker.lab.example"]  # else the common name would be taken for one
    assert found["demo-one-redis"] == []
    names = {site["upstream"]["tls"]["name"] for site in host["nginx_sites"]}
    assert names == {"demo-one-server.lab.example", "demo-one-scheduler.lab.example"}
    assert catalogue.mistakes("pki", host) == []


def told_by(load: Load, text: str) -> dict[str, Any]:
    return variables.inventory(load(text)).hosts["h1"]


OUTSIDE = "is outside of what the party's CA may certify"


@pytest.mark.parametrize(
    ("host", "line"),
    [
        ("h1: 10.21.0.11", f"federation.yml:7:17: parties.lab.hosts.h1: 10.21.0.11 {OUTSIDE}: see pki.permitted there"),
        (
            "h1: {addresses: {ssh: 10.1.0.1, internal: [10.20.0.11, 'fd00::1']}}",
            f"federation.yml:7:17: parties.lab.hosts.h1: fd00::1 {OUTSIDE}: see pki.permitted there",
        ),
        (
            "h1: {address: 10.20.0.11, public_name: www.example}",
            f"federation.yml:7:17: parties.lab.hosts.h1: www.example {OUTSIDE}: see pki.permitted there",
        ),
    ],
)
def test_a_host_outside_is_a_mistake_of_the_document(mistakes: Mistakes, host: str, line: str) -> None:
    assert line in mistakes(DOCUMENT.replace("SAID", LIMITED).replace("h1: 10.20.0.11", host))


def test_a_stack_that_needs_a_name_outside_is_a_mistake_too(mistakes: Mistakes) -> None:
    text = DOCUMENT.replace("SAID", LIMITED).replace(
        "servers: {host: h1}", "servers: {host: h1, public_url: 'https://www.example:6666'}"
    )
    found = mistakes(text)
    assert [f"the certificate demo-one-server needs www.example, which {OUTSIDE}" in line for line in found] == [True]


def test_loopback_and_names_below_are_inside(load: Load) -> None:
    party = load(DOCUMENT.replace("SAID", LIMITED)).parties["lab"]
    inside = {"127.0.0.11", "::1", "lab.example", "A.Lab.Example", "*.lab.example", "10.20.255.1"}
    assert {each for each in inside if certificates.is_permitted(party, each)} == inside
    assert not any(certificates.is_permitted(party, each) for each in ("badlab.example", "example", "10.21.0.1", "::2"))
