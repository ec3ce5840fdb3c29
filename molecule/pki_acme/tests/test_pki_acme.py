# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates that a real ACME server signs, on one host: by HTTP, by DNS, renewed by the timer, refused, removed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from role_host import RoleHost

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
