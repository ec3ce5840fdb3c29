# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates that a real ACME server signs, on one host: by HTTP, by DNS, renewed by the timer, refused, removed."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from role_host import RoleHost

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import loading, variables

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
PKI, ACME = "/etc/fedlearn/acme-one/pki", "/var/lib/fedlearn/acme-one/acme"
RENEWAL = "fedlearn-acme-one-certificates-renewal"
UNITS = [f"fedlearn-acme-one-certificates.{kind}" for kind in ("path", "service")]
UNITS += [f"{RENEWAL}.{kind}" for kind in ("service", "timer")]
FILES = [f"{PKI}/{name}/{file}" for name in ("web", "api") for file in ("ca.pem", "cert.pem", "chain.pem", "key.pem")]
FILES += [f"/etc/systemd/system/{unit}" for unit in UNITS]


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "pki", VARIABLES)


@pytest.fixture
def healed(role: RoleHost) -> Iterator[RoleHost]:
    """For tests that change what there is: it is put right before the next one."""
    yield role
    assert role.play().code == 0


def certificate(role: RoleHost, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(role.sh(f"cat {PKI}/{name}/cert.pem").encode())


def asked(**changed: Any) -> list[dict[str, Any]]:
    """The authority, asked otherwise."""
    [authority] = VARIABLES["pki_authorities"]
    return [{**authority, "acme": {**authority["acme"], **changed}}]


def test_each_has_the_names_and_key_that_are_described_and_leads_to_the_ca(role: RoleHost) -> None:
    for name, names, curve in (("web", ["www.lab.example", "lab.example"], 256), ("api", ["api.lab.example"], 384)):
        found = certificate(role, name)
        said = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert sorted(said.get_values_for_type(x509.DNSName)) == sorted(names)
        # each is an elliptic one
        assert found.public_key().curve.key_size == curve  # type: ignore[union-attr]
        folder = f"{PKI}/{name}"
        role.sh(f"openssl verify -CAfile {folder}/ca.pem -untrusted {folder}/chain.pem {folder}/cert.pem")
        assert role.sh(f"stat -c '%a %U' {folder}/key.pem").split() == ["600", "root"]


def test_a_second_run_changes_nothing_with_one_execution_and_asks_nobody(role: RoleHost) -> None:
    before, log = role.state(*FILES), role.sh("journalctl -u pebble --no-pager | wc -l")
    again = role.play(most=1)
    assert (again.code, again.changed) == (0, 0), again.text
    assert role.play("--check").changed == 0
    assert role.play(entry="check").code == 0
    assert role.play(entry="precheck").code == 0
    assert (role.state(*FILES), role.sh("journalctl -u pebble --no-pager | wc -l")) == (before, log)


def test_nobody_but_root_sees_keys_and_nothing_listens_while_nobody_asks(role: RoleHost, host: Any) -> None:
    assert role.sh(f"find {ACME} -mindepth 1 -maxdepth 1 -printf '%m %u %f\\n' | sort").split("\n")[:-1] == [
        "700 root .accounts",
        "700 root api",
        "700 root web",
    ]
    assert host.run(f"ls {ACME}").rc != 0
    assert role.sh("ss -Hltn 'sport = :80'") == ""


def served(role: RoleHost) -> int:
    """The serial number of what nginx shows."""
    pem = role.try_sh("openssl s_client -connect 127.0.0.1:8443 -servername www.lab.example </dev/null 2>/dev/null")[1]
    found = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", pem, re.DOTALL)
    return x509.load_pem_x509_certificate(found[0].encode()).serial_number if found else 0


def test_the_timer_renews_what_is_due_and_nginx_loads_it_without_a_run(healed: RoleHost, host: Any) -> None:
    role = healed
    site = {
        "name": "web",
        "federation": "acme-one",
        "listen": [{"address": "127.0.0.1", "port": 8443}],
        "tls": {"certificate": f"{PKI}/web/chain.pem", "key": f"{PKI}/web/key.pem"},
        "upstream": {"servers": ["127.0.0.1:9"]},
    }
    nginx = RoleHost(host, "nginx", {"nginx_sites": [site]})
    try:
        assert nginx.play().code == 0
        before, process = served(role), role.sh("systemctl show -p MainPID nginx")
        assert before == certificate(role, "web").serial_number
        assert role.sh(f"systemctl is-enabled {RENEWAL}.timer; systemctl is-active {RENEWAL}.timer").split() == [
            "enabled",
            "active",
        ]
        role.sh(f"systemctl start {RENEWAL}.service")
        assert served(role) == before  # nothing is due
        # as it would be in three months
        role.sh(f"echo RENEW_DAYS=91 >>{ACME}/web/config; systemctl start {RENEWAL}.service")
        after = served(role)
        assert after == certificate(role, "web").serial_number
        assert after != before
        assert role.sh("systemctl show -p MainPID nginx") == process
        assert role.play().changed == 1  # what was changed by hand
        assert nginx.play().changed == 1
        assert (role.play().changed, nginx.play().changed) == (0, 0)
    finally:
        nginx.play(nginx_sites=[{"name": "web", "federation": "acme-one", "state": "absent"}], nginx_remove_data=True)


DOCUMENT = """\
plugin: fedlearn.infra.federation
version: 1
federation: acme-one
parties:
  lab:
    pki:
      mode: acme
      ca: pebble-root.pem
      acme: {directory: 'https://acme.test:14000/dir', server_ca: pebble-server.pem}
    hosts: {h1: {address: ADDRESS, public_name: front.lab.example}}
stacks:
  vision:
    kind: dc_federated
    server: {host: h1}
    proxy: {host: h1, port: 8444}
    workers: {hosts: [h1]}
"""
PROXY = "acme-one-vision-proxy"


@pytest.fixture
def told(healed: RoleHost, host: Any) -> Iterator[tuple[RoleHost, RoleHost]]:
    """The roles pki and nginx, with what a document makes of them, on a host that has its name in the DNS."""
    state = Path(os.environ["FEDLEARN_ROLE_STATE"])
    (state / "federation.yml").write_text(DOCUMENT.replace("ADDRESS", healed.address))
    given = variables.inventory(loading.load(str(state / "federation.yml"))).hosts["h1"]
    record = json.dumps({"host": "front.lab.example.", "addresses": [healed.address]})
    healed.sh(f"python3 -c {shlex.quote(ADD_RECORD)} {shlex.quote(record)}")
    healed.secrets("ca_lab")
    common = {"pki_state_directory": str(state)}
    pki = RoleHost(host, "pki", {**common, **{name: given[name] for name in ("pki_certificates", "pki_authorities")}})
    nginx = RoleHost(host, "nginx", {"nginx_sites": given["nginx_sites"]})
    yield pki, nginx
    gone = [{"name": one["name"], "federation": "acme-one", "state": "absent"} for one in given["nginx_sites"]]
    assert nginx.play(nginx_sites=gone, nginx_remove_data=True).code == 0
    gone = [{"name": one["name"], "federation": "acme-one", "state": "absent"} for one in given["pki_certificates"]]
    assert pki.play(pki_certificates=gone).code == 0


ADD_RECORD = """\
import sys, urllib.request
urllib.request.urlopen("http://127.0.0.1:8055/add-a", sys.argv[1].encode(), timeout=5)
"""


def shown(role: RoleHost) -> str:
    """The serial number of what the proxy shows to who knows it by its name and trusts that server's CA."""
    asked = f"-connect {role.address}:8444 -servername front.lab.example -verify_hostname front.lab.example"
    trusted = "/etc/fedlearn/acme-one/pki/acme-one-vision-worker/ca.pem"
    said = role.sh(f"openssl s_client {asked} -CAfile {trusted} -verify_return_error </dev/null 2>/dev/null")
    return role.sh(f"openssl x509 -noout -serial <<'END'\n{said}\nEND\n").strip()


def test_a_document_s_proxy_is_certified_by_names_and_nginx_leads_the_server_to_the_answer(
    told: tuple[RoleHost, RoleHost],
) -> None:
    pki, nginx = told
    first = pki.play()  # nobody has port 80 yet
    assert (first.code, first.changed) == (0, 1), first.text
    assert nginx.play().code == 0
    before, process = shown(pki), nginx.sh("systemctl show -p MainPID nginx")
    assert pki.play("--check").changed == 0
    # from now on nginx has it
    renewed = pki.play(pki_renew=True)
    assert (renewed.code, renewed.changed) == (0, 1), renewed.text
    log = nginx.sh("grep acme-challenge /var/log/nginx/fedlearn-acme-one-acme.access.log")
    assert '"status":200' in log
    assert nginx.play().changed == 1
    after = shown(pki)
    assert after != before
    # as it would be in three months, without Ansible
    pki.sh(f"echo RENEW_DAYS=91 >>{ACME}/{PROXY}/config; systemctl start {RENEWAL}.service")
    assert shown(pki) not in (before, after)
    assert nginx.sh("systemctl show -p MainPID nginx") == process
    assert nginx.sh("ss -Hltn 'sport = :9080'") == ""  # nothing answers while nobody asks


def test_names_with_a_star_are_proven_by_dns(healed: RoleHost) -> None:
    every = {"name": "web", "federation": "acme-one", "authority": "public", "common_name": "web"}
    described = [{**every, "dns_names": ["*.lab.example"]}]
    refused = healed.play(pki_certificates=described)
    assert (refused.code, "names with * can be proven by challenge dns-01 only" in refused.words) == (2, True)
    by_dns = asked(challenge="dns-01", hook="/usr/local/sbin/dns")
    done = healed.play(pki_certificates=described, pki_authorities=by_dns)
    assert (done.code, done.changed) == (0, 1), done.text
    said = certificate(healed, "web").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert said.get_values_for_type(x509.DNSName) == ["*.lab.example"]
    assert healed.play(pki_certificates=described, pki_authorities=by_dns).changed == 0


def test_a_renewal_that_was_asked_for_brings_a_new_key(healed: RoleHost) -> None:
    before = certificate(healed, "web")
    done = healed.play(pki_renew=True)
    assert (done.code, done.changed) == (0, 1), done.text
    after = certificate(healed, "web")
    assert before.serial_number != after.serial_number
    assert before.public_key() != after.public_key()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"directory": "https://acme.test:1/dir"}, "certificate more: dehydrated ended with"),
        ({"hook": "/usr/local/sbin/dns"}, "hook: is the program that changes the DNS for challenge dns-01"),
        ({"directory": "acme"}, "'acme' is not a URL of https"),
        ({"challenge": "dns-01", "hook": "/bin/false"}, "certificate more: dehydrated ended with"),
    ],
)
def test_what_can_not_be_had_is_told_and_the_others_stay(role: RoleHost, changed: dict[str, Any], message: str) -> None:
    before = role.state(*FILES)
    more = {"name": "more", "federation": "acme-one", "authority": "other", "common_name": "more"}
    [other] = asked(**changed)
    run = role.play(
        pki_certificates=[*VARIABLES["pki_certificates"], {**more, "dns_names": ["more.lab.example"]}],
        pki_authorities=[*VARIABLES["pki_authorities"], {**other, "name": "other"}],
    )
    assert run.code == 2
    assert message in run.words, run.text
    gone = [{"name": "more", "federation": "acme-one", "state": "absent"}]
    assert role.play(pki_certificates=[*gone, *VARIABLES["pki_certificates"]]).code == 0
    assert role.state(*FILES) == before
    assert role.try_sh(f"ls {ACME}/more {PKI}/more")[1].count("No such file") == 2


def test_a_port_that_somebody_else_holds_is_named(healed: RoleHost) -> None:
    healed.sh("systemd-run --quiet --unit holder python3 -m http.server 80; sleep 1")
    try:
        refused = healed.play(pki_renew=True)
    finally:
        healed.sh("systemctl stop holder")
    assert refused.code == 2
    assert "Address already in use while preparing to answer the ACME server (port 80)" in refused.words, refused.text


def test_remove_leaves_nothing_and_a_clean_host_can_be_checked(role: RoleHost) -> None:
    assert role.play(entry="remove").changed == 1
    assert role.play(entry="remove").changed == 0
    assert role.try_sh("ls -d /etc/fedlearn /var/lib/fedlearn")[1].count("No such file") == 2
    assert role.sh("ls /etc/systemd/system | grep fedlearn || true") == ""
    clean = role.play("--check")
    assert (clean.code, clean.changed, clean.failed) == (0, 1, 0), clean.text
    assert role.play().changed == 1
