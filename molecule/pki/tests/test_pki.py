# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pki role on one host, as an unprivileged sudo user: what is installed is asked of openssl, not of the role."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from role_host import RoleHost, Run
from shared_tests import Packaged

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
STATE = Path(os.environ["FEDLEARN_ROLE_STATE"])
WEB, EVERYTHING = "/etc/fedlearn/pki-one/pki/web", "/etc/fedlearn/pki-one/pki/everything"
CLIENT = "/etc/fedlearn/pki-two/pki/client"
RECORDS = "/var/lib/fedlearn/pki-one/certificates"
PEM = ("ca.pem", "cert.pem", "chain.pem", "key.pem")
SECRET = ("key.pem", "bundle.p12", "bundle.password")
FILES = sorted(
    [f"{folder}/{name}" for folder in (WEB, EVERYTHING, CLIENT) for name in PEM]
    + [f"{EVERYTHING}/{name}" for name in SECRET[1:]]
    + [f"{folder}/crl.pem" for folder in (WEB, CLIENT)]  # a partner in what the other one trusts has no list
    + [f"{RECORDS}/web.json", f"{RECORDS}/everything.json", "/var/lib/fedlearn/pki-two/certificates/client.json"]
)


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "pki", VARIABLES)


@pytest.fixture
def healed(role: RoleHost) -> Iterator[RoleHost]:
    """For tests that damage the host: what they leave is put right before the next one."""
    yield role
    assert role.play().code == 0


def certificates(**changed: Any) -> list[dict[str, Any]]:
    """The scenario's certificates, the first one changed."""
    first, *rest = VARIABLES["pki_certificates"]
    return [{**first, **changed}, *rest]


def authorities(**changed: Any) -> list[dict[str, Any]]:
    """The scenario's authorities, the first one changed."""
    first, *rest = VARIABLES["pki_authorities"]
    return [{**first, **changed}, *rest]


def said(role: RoleHost, folder: str) -> str:
    """A certificate in openssl's words, blanks folded."""
    return " ".join(role.sh(f"openssl x509 -noout -text -in {folder}/cert.pem").split())


def there(role: RoleHost) -> list[str]:
    """Every file of ours on the host."""
    return role.sh("find /etc/fedlearn /var/lib/fedlearn -type f 2>/dev/null | sort || true").split()


def serial(role: RoleHost, folder: str) -> str:
    return role.sh(f"openssl x509 -noout -serial -in {folder}/cert.pem")


def test_nothing_is_there_but_what_was_asked_for(role: RoleHost) -> None:
    assert there(role) == FILES


def test_the_default_certificate(role: RoleHost) -> None:
    text = said(role, WEB)
    assert "Issuer: CN = Lab CA" in text or "Issuer: CN=Lab CA" in text
    assert "X509v3 Subject Alternative Name: DNS:web.example X509v3" in text or text.count("DNS:") == 1
    assert "CA:FALSE" in text
    assert "TLS Web Server Authentication" in text
    assert "TLS Web Client Authentication" not in text
    assert "ASN1 OID: prime256v1" in text
    assert lifetime(role, WEB) == timedelta(days=397)


def test_everything_that_can_be_said(role: RoleHost) -> None:
    text = said(role, EVERYTHING)
    names = re.findall(r"(?:DNS|IP Address):[^ ,]+", text)
    assert sorted(names) == [
        "DNS:*.all.example",
        "DNS:all.example",
        "IP Address:10.1.2.3",
        "IP Address:FD00:0:0:0:0:0:0:7",
    ]
    assert "TLS Web Server Authentication" in text
    assert "TLS Web Client Authentication" in text
    assert "Public-Key: (3072 bit)" in text
    assert lifetime(role, EVERYTHING) == timedelta(days=30)
    assert role.sh(f"grep -c BEGIN {EVERYTHING}/ca.pem").strip() == "3"
    assert "ASN1 OID: secp384r1" in said(role, CLIENT)


def lifetime(role: RoleHost, folder: str) -> timedelta:
    """From the signing on: the beginning lies ten minutes before it."""
    certificate = x509.load_pem_x509_certificate(role.sh(f"cat {folder}/cert.pem").encode())
    return certificate.not_valid_after_utc - certificate.not_valid_before_utc - timedelta(minutes=10)


@pytest.mark.parametrize(("folder", "purpose"), [(WEB, "sslserver"), (EVERYTHING, "sslclient"), (CLIENT, "sslclient")])
def test_key_certificate_and_chain_belong_together(role: RoleHost, folder: str, purpose: str) -> None:
    role.sh(
        f"openssl verify -purpose {purpose} -CAfile {folder}/ca.pem -untrusted {folder}/chain.pem {folder}/cert.pem"
    )
    of_key = role.sh(f"openssl pkey -in {folder}/key.pem -pubout")
    assert role.sh(f"openssl x509 -in {folder}/cert.pem -noout -pubkey") == of_key


def test_each_authority_vouches_for_its_own_only(role: RoleHost) -> None:
    assert role.try_sh(f"openssl verify -CAfile {WEB}/ca.pem {EVERYTHING}/cert.pem")[0] != 0


def test_the_bundle_opens_with_its_password(role: RoleHost) -> None:
    inside = role.sh(
        f"openssl pkcs12 -in {EVERYTHING}/bundle.p12 -passin file:{EVERYTHING}/bundle.password -nodes -clcerts"
    )
    assert role.sh(f"openssl x509 -in {EVERYTHING}/cert.pem").strip() in inside
    assert role.try_sh(f"openssl pkcs12 -in {EVERYTHING}/bundle.p12 -passin pass:guess -nodes")[0] != 0


def test_secret_files_are_roots_alone(role: RoleHost, host: Any) -> None:
    secret = [path for path in FILES if path.endswith(SECRET)]
    assert len(secret) == 5
    for path in secret:
        assert role.sh(f"stat -c '%a %U:%G' {path}").split() == ["600", "root:root"], path
        assert host.run(f"cat {path}").rc != 0, path


def test_no_key_leaves_the_host_and_no_secret_is_shown(healed: RoleHost) -> None:
    lines = healed.sh(f"sed -n 2p {WEB}/key.pem {EVERYTHING}/key.pem {CLIENT}/key.pem").split()
    passphrases = yaml.safe_load(vault_file()).values()
    healed.sh(f"rm {EVERYTHING}/bundle.p12 {WEB}/cert.pem")
    shown = healed.play("-vvv", "--diff").text
    password = healed.sh(f"cat {EVERYTHING}/bundle.password")
    assert "bundle.p12" in shown
    for canary in (*lines, password, *passphrases):
        assert canary not in shown
    for path in (path for path in STATE.rglob("*") if path.is_file()):
        assert not any(line in path.read_text() for line in (*lines, password, *passphrases)), path


class TestPki(Packaged):
    most = 1
    package = ("pki_packages", "openssl")
    foretold = False
    changed = {"pki_certificates": certificates(dns_names=["web.example", "www.example"])}
    wrong = (
        (
            {"pki_certificates": certificates(lifetime_days="397")},
            "pki_certificates: [0].lifetime_days: expected a whole number from 1 to 36500, found the text '397'",
        ),
        ({"pki_certificates": certificates(dns_names=[])}, "at least one of 'dns_names' and 'addresses'"),
        ({"pki_certificates": certificates(addresses=["web.example"])}, "'web.example' is no numeric address"),
        ({"pki_certificates": certificates(key_type="rsa-2048")}, "RSA keys have 3072 to 8192 bits"),
        ({"pki_certificates": certificates(name="../x")}, "'../x' is not a name"),
        ({"pki_certificates": certificates(usages=["sign"])}, "'sign'"),
        ({"pki_certificates": certificates(common_name="a/b")}, "'a/b' is not a common name"),
        ({"pki_certificates": certificates(name="client")}, "certificate client is described twice; remove one"),
        (
            {"pki_certificates": certificates(authority="nobody")},
            "certificate web: there is no authority nobody (authorities: lab, partner, store)",
        ),
        (
            {"pki_certificates": certificates(authority="partner")},
            "certificate web: authority partner is external: it can be trusted, not sign here",
        ),
        ({"pki_certificates": certificates(dns_name=["web"])}, "Supported parameters include: addresses"),
        (
            {"pki_authorities": authorities(mode="acme")},
            "pki_authorities: [0].acme: is what mode acme takes, and only that",
        ),
        (
            {"pki_authorities": authorities(common_name="Other CA")},
            "wanted is CN=Other CA: give this federation a fedlearn_state of its own, or the authority another name",
        ),
    )

    def state(self, role: RoleHost) -> str:
        return f"{role.state(*FILES)} {role.configuration()}"

    @contextmanager
    def without_it(self, role: RoleHost) -> Iterator[None]:
        role.sh("dpkg --force-depends --remove openssl")
        try:
            yield
        finally:
            assert role.play().code == 0

    @pytest.mark.parametrize("damage", ["printf '# by hand\\n' >> {0}", "chmod 640 {0}", "rm {0}"])
    def test_what_is_changed_by_hand_is_named_and_repaired(self, healed: RoleHost, damage: str) -> None:
        keys = [path for path in FILES if path.endswith("key.pem")]
        # without its key a certificate is worth nothing: there a new one comes for both
        lost = [f"{WEB}/key.pem"] if damage.startswith("rm") else []
        damaged = FILES if damage.startswith("chmod") else [path for path in FILES if path not in keys] + lost
        kept = [path for path in keys if path not in lost]
        before = healed.state(*kept)
        modes = healed.sh(f"stat -c '%n %a %U:%G' {' '.join(FILES)}")
        for path in damaged:
            healed.sh(damage.format(path))
        checked = healed.play("--check")
        assert (checked.code, checked.changed) == (0, 1), checked.text
        named = healed.play(entry="check")
        assert named.code == 2
        for name in ("web", "everything", "client"):
            assert f"{name}: differing: " in named.words
        assert healed.play().changed == 1
        assert healed.play(entry="check").code == 0
        assert there(healed) == FILES
        assert healed.sh(f"stat -c '%n %a %U:%G' {' '.join(FILES)}") == modes
        assert healed.state(*kept) == before


def vault_file() -> str:
    """The party's secrets, opened as an operator would."""
    command = ["ansible-vault", "view", str(STATE / ".secrets" / "lab.yml")]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def aged(role: RoleHost, folder: str) -> str:
    """The installed certificate as it would be had it been signed 300 days ago."""
    passphrase = yaml.safe_load(vault_file())["ca_lab"].encode()
    key = load_pem_private_key((STATE / ".ca" / "lab" / "lab.key").read_bytes(), passphrase)
    present = x509.load_pem_x509_certificate(role.sh(f"cat {folder}/cert.pem").encode())
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(days=300)
    builder = (
        x509.CertificateBuilder(present.issuer, present.subject, present.public_key(), x509.random_serial_number())
        .not_valid_before(begin - timedelta(minutes=10))
        .not_valid_after(begin + timedelta(days=397))
    )
    for extension in present.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    # what is read may be any key; a CA of ours has one that can sign
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()  # type: ignore[arg-type]


def test_renewed_when_a_third_is_left_with_the_same_key(healed: RoleHost) -> None:
    key, others = healed.state(f"{WEB}/key.pem"), serial(healed, CLIENT)
    pem = aged(healed, WEB)
    healed.sh(f"printf '%s' '{pem}' > {WEB}/cert.pem; cp {WEB}/cert.pem {WEB}/chain.pem")
    old = serial(healed, WEB)
    assert "web: differing: a third of its lifetime is left, or less" in healed.play(entry="check").words
    assert healed.play().changed == 1
    assert serial(healed, WEB) != old
    assert lifetime(healed, WEB) == timedelta(days=397)
    assert (healed.state(f"{WEB}/key.pem"), serial(healed, CLIENT)) == (key, others)


def test_what_is_described_otherwise_is_certified_anew_with_the_same_key(healed: RoleHost) -> None:
    key = healed.state(f"{WEB}/key.pem")
    assert healed.play(pki_certificates=certificates(dns_names=["web.example", "www.example"])).changed == 1
    assert "DNS:www.example" in said(healed, WEB)
    assert healed.state(f"{WEB}/key.pem") == key


def test_another_kind_of_key_is_a_new_one(healed: RoleHost) -> None:
    assert healed.play(pki_certificates=certificates(key_type="ec-p384")).changed == 1
    assert "ASN1 OID: secp384r1" in said(healed, WEB)
    assert there(healed) == FILES


def test_a_ca_that_could_not_sign_is_told_before_a_host_is_touched(role: RoleHost) -> None:
    before = role.state(*FILES)
    key = STATE / ".ca" / "lab" / "lab.key"
    key.rename(key.with_suffix(".kept"))
    more = [*VARIABLES["pki_certificates"], {**VARIABLES["pki_certificates"][0], "name": "more"}]
    try:
        run = role.play(entry="precheck", pki_certificates=more)
    finally:
        key.with_suffix(".kept").rename(key)
    assert run.code == 2
    assert "is there, but its key" in run.words
    assert role.state(*FILES) == before


@pytest.mark.parametrize(("offset", "told"), [("-1d", "begins on"), ("+2000d", "has ended on")])
def test_a_clock_that_jumped_is_told_and_nothing_changes(role: RoleHost, offset: str, told: str) -> None:
    role.sh("dpkg -s faketime >/dev/null 2>&1 || apt-get install -qqy faketime >/dev/null")
    turned = {"LD_PRELOAD": role.sh("ls /usr/lib/*/faketime/libfaketime.so.1").strip(), "FAKETIME": offset}
    before = TestPki().state(role)
    run = role.play(environment=turned)
    assert (run.code, run.changed) == (2, 0), run.text
    assert "isn't what was asked for, so nothing was put in place: it " + told in run.words, run.text
    assert ", and this host's clock says " in run.words, run.text
    assert TestPki().state(role) == before
    assert role.play().changed == 0


def test_openssl_is_installed_where_it_is_missing(healed: RoleHost) -> None:
    healed.sh(f"dpkg --force-depends --remove openssl; rm {WEB}/cert.pem")
    assert healed.play().code == 0
    assert "web" in said(healed, WEB)


def test_an_absent_certificate_goes_whole_and_the_others_stay(role: RoleHost) -> None:
    others = [path for path in FILES if "/web" not in path]
    kept = [path for path in others if not path.endswith("crl.pem")]
    before, number = role.state(*kept), serial(role, WEB).strip().removeprefix("serial=")
    gone = [{"name": "web", "federation": "pki-one", "state": "absent"}]
    listed = [*gone, *VARIABLES["pki_certificates"][1:]]
    assert role.play(pki_certificates=listed, pki_remove_absent=False).changed == 0
    assert there(role) == FILES
    assert role.play(pki_certificates=listed).changed == 1
    assert there(role) == others
    assert role.state(*kept) == before
    assert number in role.sh(f"openssl crl -in {CLIENT}/crl.pem -noout -text")
    assert role.play().changed == 1


def answer(role: RoleHost, certificate: str) -> str:
    """What nginx says to who shows this certificate."""
    shown = f"--cert {certificate}/cert.pem --key {certificate}/key.pem"
    said = f"curl -s -o /dev/null -w '%{{http_code}}' --cacert {WEB}/ca.pem {shown}"
    return role.try_sh(f"{said} --resolve web.example:8443:127.0.0.1 https://web.example:8443/")[1].strip()


def test_who_was_withdrawn_is_refused_after_a_reload_and_everybody_else_comes_in(healed: RoleHost, host: Any) -> None:
    """One that is absent, one that is named by its number; and who is to have one gets a new one."""
    role = healed
    names = ("stays", "goes", "named")
    common: dict[str, Any] = {"federation": "pki-one", "authority": "lab", "usages": ["client"]}
    clients = [{**common, "name": name, "common_name": name} for name in names]
    place = {name: f"/etc/fedlearn/pki-one/pki/{name}" for name in names}
    listed = [*clients, *VARIABLES["pki_certificates"]]
    assert role.play(pki_certificates=listed).changed == 1
    site = {
        "name": "web",
        "federation": "pki-one",
        "listen": [{"address": "127.0.0.1", "port": 8443}],
        "tls": {
            "certificate": f"{WEB}/chain.pem",
            "key": f"{WEB}/key.pem",
            "client_ca": f"{WEB}/ca.pem",
            "client_crl": f"{WEB}/crl.pem",
        },
        "upstream": {"servers": ["127.0.0.1:9"]},
    }
    nginx = RoleHost(host, "nginx", {"nginx_sites": [site]})
    try:
        assert nginx.play().code == 0
        role.sh("apt-get install -qy --no-install-recommends curl >/dev/null 2>&1 || command -v curl")
        # 502: let in, with nobody behind it
        assert {name: answer(role, place[name]) for name in names} == dict.fromkeys(names, "502")
        process = role.sh("systemctl show -p MainPID nginx")
        # what was withdrawn may be anywhere by now
        role.sh(f"cp -a {place['goes']} {place['named']} /run/")
        number = serial(role, place["named"]).strip().removeprefix("serial=")
        gone = [{"name": "goes", "federation": "pki-one", "state": "absent"}]
        changed: dict[str, Any] = {
            "pki_certificates": [*gone, *(one for one in listed if one["name"] != "goes")],
            "pki_authorities": authorities(revoked=[number]),
        }
        told = role.play("--check", **changed)
        assert (told.code, told.changed) == (0, 1), told.text
        assert answer(role, "/run/goes") == "502"
        assert role.play(**changed).changed == 1
        assert nginx.play().changed == 1
        assert role.sh("systemctl show -p MainPID nginx") == process
        assert {one: answer(role, f"/run/{one}") for one in ("goes", "named")} == {"goes": "400", "named": "400"}
        assert serial(role, place["named"]).strip() != f"serial={number}"
        assert {name: answer(role, place[name]) for name in ("stays", "named")} == {"stays": "502", "named": "502"}
        again = role.play(most=1, **changed)
        assert (again.code, again.changed) == (0, 0), again.text
        left = role.sh(f"openssl crl -in {WEB}/crl.pem -noout -nextupdate").strip().removeprefix("nextUpdate=")
        assert role.sh(f"openssl x509 -in {WEB}/ca.pem -noout -enddate").strip() == f"notAfter={left}"
    finally:
        nginx.play(nginx_sites=[{"name": "web", "federation": "pki-one", "state": "absent"}], nginx_remove_data=True)
        absent = [{"name": name, "federation": "pki-one", "state": "absent"} for name in names]
        assert role.play(pki_certificates=[*absent, *VARIABLES["pki_certificates"]]).code == 0
        role.sh("rm -r /run/goes /run/named")
    assert there(role) == FILES


def answers(role: RoleHost, certificate: str) -> tuple[str, str]:
    """What nginx and Redis say to who shows this certificate and trusts what lies beside it."""
    pair = f"--cert {certificate}/cert.pem --key {certificate}/key.pem --cacert {certificate}/ca.pem"
    web = role.try_sh(
        f"curl -s -o /dev/null -w '%{{http_code}}' {pair} --resolve web.example:8443:127.0.0.1 https://web.example:8443/"
    )
    return web[1].strip(), role.try_sh(f"redis-cli --tls {pair} -h 127.0.0.1 -p 16379 PING")[1].strip()[:4]


ALL_ALONG = r"""
at=/etc/fedlearn/pki-one/pki/asks
pair="--cert $at/cert.pem --key $at/key.pem --cacert $at/ca.pem"
while :; do
    code=$(curl -s -o /dev/null -w '%{http_code}' $pair --resolve web.example:8443:127.0.0.1 https://web.example:8443/)
    [ "$code" = 502 ] || echo "nginx: $code" >>/run/refused
    said=$(redis-cli --tls $pair -h 127.0.0.1 -p 16379 PING 2>&1)
    [ "$said" = PONG ] || {
        echo >>/run/ended
        said=$(redis-cli --tls $pair -h 127.0.0.1 -p 16379 PING 2>&1)
        [ "$said" = PONG ] || echo "redis: $said" >>/run/refused
    }
    echo >>/run/asked
done
"""


def test_a_ca_is_changed_while_clients_of_nginx_and_redis_go_on(healed: RoleHost, host: Any) -> None:
    """Who asks anew all along, who keeps its connection, and who keeps its certificate, until the very end."""
    role = healed
    common = {"federation": "pki-one", "authority": "lab"}
    asks = {**common, "name": "asks", "common_name": "asks", "usages": ["client"]}
    both = {"usages": ["server", "client"], "addresses": ["127.0.0.1"]}
    cache = {**common, "name": "cache", "common_name": "cache", **both}
    listed = [asks, cache, *VARIABLES["pki_certificates"]]
    assert role.play(pki_certificates=listed).changed == 1

    def tls(folder: str) -> dict[str, str]:
        return {"certificate": f"{folder}/chain.pem", "key": f"{folder}/key.pem", "client_ca": f"{folder}/ca.pem"}

    site = {
        "name": "web",
        "federation": "pki-one",
        "listen": [{"address": "127.0.0.1", "port": 8443}],
        "tls": {**tls(WEB), "client_crl": f"{WEB}/crl.pem"},
        "upstream": {"servers": ["127.0.0.1:9"]},
    }
    place = "/etc/fedlearn/pki-one/pki/cache"
    store = {"name": "cache", "federation": "pki-one", "addresses": ["127.0.0.1"], "port": 16379, "tls": tls(place)}
    nginx = RoleHost(host, "nginx", {"nginx_sites": [site]})
    redis = RoleHost(host, "redis", {"redis_instances": [store]})
    try:
        for each in (nginx, redis):
            begun = each.play()
            assert begun.code == 0, begun.text
        role.sh("apt-get install -qy --no-install-recommends curl >/dev/null 2>&1 || command -v curl")
        role.sh("cp -a /etc/fedlearn/pki-one/pki/asks /run/former")
        assert answers(role, "/run/former") == ("502", "PONG")
        role.sh(
            f"printf %s {quote(ALL_ALONG)} >/run/all-along; systemd-run --quiet --unit all-along bash /run/all-along"
        )
        at = "/etc/fedlearn/pki-one/pki/asks"
        stays = f"redis-cli --tls --cert {at}/cert.pem --key {at}/key.pem --cacert {at}/ca.pem -h 127.0.0.1 -p 16379"
        role.sh(f"systemd-run --quiet --unit stays sh -c {quote(f'{stays} -r 100000 -i 0.1 PING >/run/stays 2>&1')}")
        units = "nginx fedlearn-cache"
        before = role.sh(f"systemctl show -p MainPID {units}")
        trusted = {}
        for step in ("begin", "switch", "end", "finish"):
            taken = role.play(entry="change", pki_change_step=step, pki_authorities=[VARIABLES["pki_authorities"][0]])
            assert (taken.code, taken.changed) == (0, 1), taken.text
            assert role.play(pki_certificates=listed).changed == (0 if step == "finish" else 1)
            for each in (nginx, redis):
                assert each.play().changed == (0 if step == "finish" else 1)
            trusted[step] = int(role.sh(f"grep -c BEGIN {WEB}/ca.pem"))
            assert answers(role, at) == ("502", "PONG"), step
            # who has what it had before this step
            web, cached = answers(role, "/run/former")
            assert (web == "502", cached == "PONG") == (step in ("begin", "switch"),) * 2, (step, web, cached)
            role.sh(f"cp {at}/ca.pem /run/former/ca.pem")
        assert trusted == {"begin": 2, "switch": 2, "end": 1, "finish": 1}
        role.sh("systemctl stop all-along stays")
        assert role.try_sh("cat /run/refused")[0] != 0, role.sh("sort /run/refused | uniq -c")
        # Redis ends all sessions once, when it trusts a CA no more
        assert int(role.sh("cat /run/ended 2>/dev/null | wc -l")) <= 1
        assert int(role.sh("wc -l </run/asked")) > 100
        kept = role.sh("cat /run/stays").splitlines()
        assert len(kept) > 100
        assert set(kept) - {"PONG", ""} <= {"Error: Server closed the connection"}
        assert role.sh(f"systemctl show -p MainPID {units}") == before
        assert [path.name for path in (STATE / ".ca/lab").glob("lab.*key")] == ["lab.key"]
    finally:
        role.try_sh("systemctl stop all-along stays; cd /run && rm -rf former refused ended asked stays all-along")
        nginx.play(nginx_sites=[{"name": "web", "federation": "pki-one", "state": "absent"}], nginx_remove_data=True)
        redis.play(redis_instances=[{**store, "state": "absent"}], redis_remove_data=True)
        absent = [{"name": name, "federation": "pki-one", "state": "absent"} for name in ("asks", "cache")]
        assert role.play(pki_certificates=[*absent, *VARIABLES["pki_certificates"]]).code == 0
    assert there(role) == FILES


# Certificates that somebody else keeps on the host.
THEIRS = "/etc/ssl/theirs"
ORGANISATION = [{"name": "organisation", "party": "lab", "mode": "provided", "ca": f"{STATE}/organisation.pem"}]
GIVEN = {
    "name": "given",
    "federation": "pki-one",
    "authority": "organisation",
    "common_name": "given",
    "dns_names": ["given.example"],
    "certificate_file": f"{THEIRS}/given.pem",
    "key_file": f"{THEIRS}/given.key",
}
UNITS = [f"/etc/systemd/system/fedlearn-pki-one-certificates.{kind}" for kind in ("path", "service")]


class Organisation:
    """Who keeps certificates on the host: a CA, and what its own tool does there."""

    def __init__(self, role: RoleHost) -> None:
        self.role = role
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "organisation")])
        self.builder = x509.CertificateBuilder(issuer_name=name).not_valid_before(
            datetime.now(UTC) - timedelta(days=10)
        )
        root = self._signed(name, self.key.public_key(), x509.BasicConstraints(True, None))
        Path(ORGANISATION[0]["ca"]).write_text(root)

    def _signed(
        self, subject: x509.Name, key: Any, *extensions: x509.ExtensionType, days: float = 90, by: Any = None
    ) -> str:
        builder = self.builder.subject_name(subject).public_key(key)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_after(
            datetime.now(UTC) + timedelta(days=days)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(by or self.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def sign(self, key: Any, name: str, days: float = 90, by: Any = None) -> str:
        """A server's certificate for a public key."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "from the organisation")])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        return self._signed(subject, key, x509.BasicConstraints(False, None), names, usage, days=days, by=by)

    def renew(
        self,
        name: str = "given.example",
        days: float = 90,
        another_key: bool = False,
        stranger: bool = False,
        whole: bool = True,
    ) -> int:
        """Lay a new key and certificate on the host, one after the other; the certificate's serial number."""
        key, other = (ec.generate_private_key(ec.SECP256R1()) for _turn in range(2))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        certified = (other if another_key else key).public_key()
        certificate = self.sign(certified, name, days, other if stranger else None)
        for file, content in {"given.key": pem, "given.pem": certificate if whole else "none"}.items():
            self.role.sh(f"umask 077; mkdir -p {THEIRS}; printf '%s' '{content}' > {THEIRS}/{file}.new")
            self.role.sh(f"mv {THEIRS}/{file}.new {THEIRS}/{file}")
        return x509.load_pem_x509_certificate(certificate.encode()).serial_number


@pytest.fixture
def organisation(role: RoleHost) -> Iterator[Organisation]:
    yield Organisation(role)
    gone = [{"name": "given", "federation": "pki-one", "state": "absent"}]
    assert role.play(pki_certificates=[*gone, *VARIABLES["pki_certificates"]]).changed == 1
    assert there(role) == FILES
    assert role.try_sh(f"ls {' '.join(UNITS)}")[1].count("No such file") == 2
    role.sh(f"rm -rf {THEIRS}")
    shutil.rmtree(STATE / "public/lab/requests", ignore_errors=True)


def given(role: RoleHost, *arguments: str, entry: str = "main", most: int | None = None, **changed: Any) -> Run:
    """A run with the provided certificate among the others."""
    return role.play(
        *arguments,
        entry=entry,
        most=most,
        pki_authorities=[*VARIABLES["pki_authorities"], *ORGANISATION],
        pki_certificates=[*VARIABLES["pki_certificates"], {**GIVEN, **changed}],
    )


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not true():
        assert time.monotonic() < deadline
        time.sleep(1)


def test_a_provided_certificate_is_taken_over_and_its_renewal_reaches_nginx_without_a_run(
    organisation: Organisation, host: Any
) -> None:
    role = organisation.role
    organisation.renew()
    prechecked = given(role, entry="precheck")
    assert prechecked.code == 0, prechecked.text
    assert given(role).changed == 1
    again = given(role, most=1)
    assert (again.code, again.changed) == (0, 0), again.text
    assert given(role, "--check").changed == 0
    assert given(role, entry="check").code == 0
    place = "/etc/fedlearn/pki-one/pki/given"
    site = {
        "name": "given",
        "federation": "pki-one",
        "listen": [{"address": "127.0.0.1", "port": 8443}],
        "tls": {"certificate": f"{place}/chain.pem", "key": f"{place}/key.pem"},
        "upstream": {"servers": ["127.0.0.1:9"]},
    }
    nginx = RoleHost(host, "nginx", {"nginx_sites": [site]})
    try:
        assert nginx.play().code == 0
        process = role.sh("systemctl show -p MainPID nginx")
        new = organisation.renew()
        eventually(lambda: served(role) == new)
        assert role.sh("systemctl show -p MainPID nginx") == process
        eventually(lambda: role.try_sh("systemctl is-active fedlearn-pki-one-certificates.service")[0] == 3)
        assert (given(role).changed, nginx.play().changed) == (0, 0)

        # one that won't do reaches nobody, and everybody is told
        organisation.renew("other.example")
        eventually(lambda: role.try_sh("systemctl is-failed fedlearn-pki-one-certificates.service")[0] == 0)
        assert served(role) == new
        refused = given(role)
        assert refused.code == 2
        assert "dns_names: lacks given.example (has other.example); what was taken from there before" in refused.words
        assert given(role, entry="check").code == 2
        last = organisation.renew()
        eventually(lambda: served(role) == last)
        role.sh("systemctl disable --now fedlearn-pki-one-certificates.path")
        assert "provided files: differing: " in given(role, entry="check").words
        assert given(role).changed == 1
    finally:
        nginx.play(nginx_sites=[{"name": "given", "federation": "pki-one", "state": "absent"}], nginx_remove_data=True)


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        ({"days": -1}, "it has ended on "),
        ({"name": "other.example"}, "dns_names: lacks given.example (has other.example)"),
        ({"another_key": True}, "the key and the certificate don't belong together"),
        ({"stranger": True}, "its chain doesn't end at the CA that signs now"),
        ({"whole": False}, "there is no certificate in PEM form"),
    ],
    ids=["ended", "name", "key", "CA", "no certificate"],
)
def test_one_that_will_not_do_is_told_with_the_reason_and_nothing_is_changed(
    organisation: Organisation, spoilt: dict[str, Any], reason: str
) -> None:
    role = organisation.role
    before = role.state(*FILES)
    organisation.renew(**spoilt)
    for entry in ("proof", "precheck", "main"):
        refused = given(role, entry=entry)
        assert (refused.code, refused.failed) == (2, 1), refused.text
        assert f"certificate given: what lies in {THEIRS}/given.pem won't do" in refused.words or not spoilt.get(
            "whole", True
        )
        assert reason in refused.words, refused.text
        assert role.try_sh("ls /etc/fedlearn/pki-one/pki/given/cert.pem")[0] != 0
        assert role.state(*FILES) == before
    organisation.renew()
    assert given(role, entry="proof").code == 0
    assert given(role).changed == 1


def test_a_request_waits_for_its_signature_and_the_answer_is_picked_up(organisation: Organisation) -> None:
    role = organisation.role
    asked = {
        "pki_authorities": [*VARIABLES["pki_authorities"], {**ORGANISATION[0], "mode": "csr"}],
        "pki_certificates": [
            *VARIABLES["pki_certificates"],
            {key: value for key, value in GIVEN.items() if not key.endswith("_file")},
        ],
    }
    desk = STATE / "public/lab/requests/host"
    assert role.play(entry="precheck", **asked).code == 0
    assert not desk.exists()
    line = (
        f"certificate given waits to be signed: the request is {desk}/given.csr, and the certificate belongs into "
        f"{desk}/given.pem"
    )
    waiting = role.play(**asked)
    assert (waiting.code, waiting.failed) == (2, 1), waiting.text
    assert line in waiting.words
    laid = (desk / "given.csr").stat().st_mtime_ns
    assert line in role.play(**asked).words
    assert (desk / "given.csr").stat().st_mtime_ns == laid
    waits = line.removeprefix("certificate given ")
    checked = role.play(entry="check", **asked)
    assert f"given: differing: there is no certificate yet, {waits}" in checked.words, checked.text
    request = x509.load_pem_x509_csr((desk / "given.csr").read_bytes())
    stranger = ec.generate_private_key(ec.SECP256R1()).public_key()
    for key, name, reason in (
        (stranger, "given.example", "given.pem was signed for another key than that of the request beside it"),
        (request.public_key(), "other.example", "dns_names: lacks given.example (has other.example)"),
    ):
        (desk / "given.pem").write_text(organisation.sign(key, name))
        refused = role.play(**asked)
        assert refused.code == 2
        assert reason in refused.words
        assert role.try_sh("ls /etc/fedlearn/pki-one/pki/given/cert.pem")[0] != 0
    (desk / "given.pem").write_text(organisation.sign(request.public_key(), "given.example"))
    done = role.play(**asked)
    assert (done.code, done.changed) == (0, 1), done.text
    again = role.play(most=1, **asked)
    assert (again.code, again.changed) == (0, 0), again.text
    assert role.play(entry="check", **asked).code == 0
    held = role.sh("cat /etc/fedlearn/pki-one/pki/given/cert.pem")
    assert x509.load_pem_x509_certificate(held.encode()).public_key() == request.public_key()


def served(role: RoleHost) -> int:
    """The serial number of the certificate that nginx shows."""
    pem = role.try_sh("openssl s_client -connect 127.0.0.1:8443 -servername given.example </dev/null 2>/dev/null")[1]
    found = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", pem, re.DOTALL)
    return x509.load_pem_x509_certificate(found[0].encode()).serial_number if found else 0


def test_remove_leaves_nothing_and_a_clean_host_can_be_checked(role: RoleHost) -> None:
    assert role.play(entry="remove").changed == 1
    assert role.play(entry="remove").changed == 0
    assert role.try_sh("ls -d /etc/fedlearn /var/lib/fedlearn")[1].count("No such file") == 2
    clean = role.play("--check")
    assert (clean.code, clean.changed, clean.failed) == (0, 1, 0), clean.text
    assert role.try_sh("ls -d /etc/fedlearn /var/lib/fedlearn")[0] != 0
    assert role.play().changed == 1
    assert there(role) == FILES
