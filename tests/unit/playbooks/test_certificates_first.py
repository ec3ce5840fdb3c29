# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates and CAs that won't do, in each mode: site says so, and has connected to nobody."""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import openssl
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import describe
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import loading, variables
from tests.unit.conftest import DOCUMENT, run
from tests.unit.playbooks.test_playbooks import assert_refused_here, play

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
PAST = f"{NOW - DAY:%Y-%m-%d}"
Key = ec.EllipticCurvePrivateKey

CSR = "mode: csr, ca: files/ca.pem"
PROVIDED = "mode: provided, ca: files/ca.pem, certificate_file: '/etc/x/{name}.pem', key_file: '/etc/x/{name}.key'"
ACME = "mode: acme, ca: files/ca.pem, acme: {directory: 'https://acme.example/d', server_ca: files/server.pem}"
PUBLIC = """\
  vision:
    kind: dc_federated
    server: {host: ms1}
    proxy: {host: ms1}
    workers: {hosts: [ms2]}
"""


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def ca(key: Key, called: str, ends: datetime = NOW + 365 * DAY) -> bytes:
    builder = x509.CertificateBuilder(name(called), name(called), key.public_key(), 1)
    builder = builder.not_valid_before(NOW - 400 * DAY).not_valid_after(ends)
    made = builder.add_extension(x509.BasicConstraints(True, 0), True).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM)


@dataclass
class Site:
    """A folder with a document, its secrets, and what others gave."""

    folder: Path
    key: Key

    def says(self, pki: str, stacks: str = "") -> None:
        text = DOCUMENT.replace("lab: {hosts:", f"lab: {{pki: {{{pki}}}, hosts:") + stacks
        if stacks:
            text = text.replace("ms1: 10.20.0.11", "ms1: {address: 10.20.0.11, public_name: www.example}")
        (self.folder / "federation.yml").write_text(text)
        assert play(self.folder, "secrets.yml").returncode == 0
        (self.folder / "files").mkdir(exist_ok=True)
        (self.folder / "files/ca.pem").write_bytes(ca(self.key, "theirs"))

    def ended(self) -> subprocess.CompletedProcess[str]:
        return play(self.folder, "site.yml")

    def passphrase(self, secret: str) -> bytes:
        opened = run(self.folder, "ansible-vault", "view", "--vault-password-file", "vault-pass", ".secrets/lab.yml")
        [line] = [line for line in opened.stdout.splitlines() if line.startswith(f"{secret}:")]
        return line.partition(": ")[2].strip("'\"").encode()

    def own_ca(self, key: Key, certified: Key, ends: datetime) -> None:
        """Lay a CA of the party's own, which may have ended, or be of another key."""
        for folder in (".ca/lab", "public/lab"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        encryption = BestAvailableEncryption(self.passphrase("ca_lab"))
        file = self.folder / ".ca/lab/lab.key"
        file.touch(0o600)
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        (self.folder / "public/lab/lab.pem").write_bytes(ca(certified, "demo lab CA", ends))

    def described(self, certificate: str) -> dict[str, Any]:
        hosts = variables.inventory(loading.load(str(self.folder / "federation.yml"))).hosts
        [found] = [each for each in hosts["ms2"]["pki_certificates"] if each["name"] == certificate]
        return dict(found)

    def answers(self, certificate: str, **changed: Any) -> Path:
        """Lay a request of ms2 as its host made it, and the answer of somebody who signed it."""
        described = self.described(certificate)
        key_file = self.folder / "key.pem"
        key_file.write_bytes(openssl.generate_key("ec-p256"))
        description = describe({"key_type": "ec-p256", **described})
        request = openssl.certificate_request(str(key_file), description)
        desk = self.folder / "public/lab/requests/ms2"
        desk.mkdir(parents=True, exist_ok=True)
        (desk / f"{certificate}.csr").write_text(request)
        key = changed.get("key") or x509.load_pem_x509_csr(request.encode()).public_key()
        builder = x509.CertificateBuilder(name("theirs"), name(description.common_name), key, 7)
        builder = builder.not_valid_before(NOW - 40 * DAY).not_valid_after(changed.get("ends", NOW + 90 * DAY))
        names = changed.get("names", description.dns_names)
        others = [x509.IPAddress(ipaddress.ip_address(each)) for each in description.addresses]
        found: list[x509.GeneralName] = [*(x509.DNSName(each) for each in names), *others]
        builder = builder.add_extension(x509.SubjectAlternativeName(found), False)
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(both), False)
        answer = builder.sign(changed.get("by", self.key), hashes.SHA256())
        (desk / f"{certificate}.pem").write_bytes(answer.public_bytes(Encoding.PEM))
        return desk / f"{certificate}.pem"


@pytest.fixture
def site(folder: Path) -> Site:
    (folder / "vault-pass").write_text("known\n")
    return Site(folder, ec.generate_private_key(ec.SECP256R1()))


def stranger() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def own_ended(site: Site) -> str:
    site.says("mode: ownca")
    key = stranger()
    site.own_ca(key, key, NOW - DAY)
    return (
        f"authority lab of party lab: its certificate in {site.folder}/public/lab/lab.pem has ended on {PAST}: change"
    )


def own_of_another_key(site: Site) -> str:
    site.says("mode: ownca")
    site.own_ca(stranger(), stranger(), NOW + DAY)
    return "public/lab/lab.pem: restore the one that fits"


def csr_ca_ended(site: Site) -> str:
    site.says(CSR)
    (site.folder / "files/ca.pem").write_bytes(ca(site.key, "theirs", NOW - DAY))
    return f"files/ca.pem has ended on {PAST}: ask the party for the one that followed"


def csr_answer_ended(site: Site) -> str:
    site.says(CSR)
    return f"{site.answers('demo-lenet-server', ends=NOW - DAY)}: it has ended on {PAST}: have the request beside it"


def csr_answer_for_another_key(site: Site) -> str:
    site.says(CSR)
    answer = site.answers("demo-lenet-server", key=stranger().public_key())
    return f"{answer} was signed for another key than that of the request beside it"


def csr_answer_without_a_name(site: Site) -> str:
    site.says(CSR)
    return (
        f"{site.answers('demo-lenet-server', names=['other.example'])}: it lacks demo-lenet-server (has other.example"
    )


def csr_answer_of_another_ca(site: Site) -> str:
    site.says(CSR)
    return f"{site.answers('demo-lenet-server', by=stranger())} doesn't lead to the CA in {site.folder}/files/ca.pem"


def csr_list_of_another_ca(site: Site) -> str:
    site.says(f"{CSR}, crl: files/crl.pem")
    builder = x509.CertificateRevocationListBuilder(name("theirs"), NOW - DAY, NOW + DAY)
    made = builder.sign(stranger(), hashes.SHA256()).public_bytes(Encoding.PEM)
    (site.folder / "files/crl.pem").write_bytes(made)
    return f"files/crl.pem: the list of CN=theirs is signed by none of the certificates in {site.folder}/files/ca.pem"


def provided_ca_ended(site: Site) -> str:
    site.says(PROVIDED)
    (site.folder / "files/ca.pem").write_bytes(ca(site.key, "theirs", NOW - DAY))
    return f"files/ca.pem has ended on {PAST}"


def acme_root_ended(site: Site) -> str:
    site.says(ACME, PUBLIC)
    (site.folder / "files/server.pem").write_bytes(ca(site.key, "server"))
    (site.folder / "files/ca.pem").write_bytes(ca(site.key, "theirs", NOW - DAY))
    return f"authority lab_public of party lab: its certificate in {site.folder}/files/ca.pem has ended on {PAST}"


def acme_server_unknown(site: Site) -> str:
    site.says(ACME, PUBLIC)
    return (
        f"authority lab_public: {site.folder}/files/server.pem is missing: the CA of the ACME server's own certificate"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoilt",
    [
        own_ended,
        own_of_another_key,
        csr_ca_ended,
        csr_answer_ended,
        csr_answer_for_another_key,
        csr_answer_without_a_name,
        csr_answer_of_another_ca,
        csr_list_of_another_ca,
        provided_ca_ended,
        acme_root_ended,
        acme_server_unknown,
    ],
    ids=lambda case: case.__name__,
)
def test_what_will_not_do_is_told_before_any_host_is_touched(site: Site, spoilt: Callable[[Site], str]) -> None:
    said = spoilt(site)
    assert_refused_here(site.ended(), said)


@pytest.mark.slow
@pytest.mark.parametrize("pki", [CSR, PROVIDED, ACME], ids=["csr", "provided", "acme"])
def test_what_will_do_leads_on_to_the_hosts(site: Site, pki: str) -> None:
    site.says(pki, PUBLIC)
    (site.folder / "files/server.pem").write_bytes(ca(site.key, "server"))
    if pki == CSR:
        site.answers("demo-lenet-server")
    ended = site.ended()
    assert (ended.returncode, "UNREACHABLE" in ended.stdout) == (4, True), ended


@pytest.mark.slow
def test_a_ca_that_has_ended_does_not_stand_in_the_way_of_its_own_change(site: Site) -> None:
    own_ended(site)
    ended = play(site.folder, "rotate.yml", "-e", "what=ca")
    assert "has ended on" not in ended.stdout
    assert "UNREACHABLE" in ended.stdout, ended


@pytest.mark.slow
def test_where_a_host_s_own_files_will_not_do_no_other_host_is_changed_either(site: Site) -> None:
    """On this very machine, in check mode: the files are nowhere."""
    site.says(PROVIDED)
    text = (site.folder / "federation.yml").read_text()
    text = text.replace("stacks:\n", "  clinic: {hosts: {c1: 10.20.0.13}}\nstacks:\n")
    (site.folder / "federation.yml").write_text(text.replace("workers: {hosts: [ms2]}", "workers: {hosts: [ms2, c1]}"))
    assert play(site.folder, "secrets.yml").returncode == 0
    ended = play(site.folder, "site.yml", "--check", "-e", "ansible_connection=local")
    told = " ".join((ended.stdout + ended.stderr).split())
    assert ended.returncode == 2, told
    assert "/etc/x/demo-lenet-server.key can't be read: No such file or directory" in told
    assert "no host was changed: ms1, ms2 won't do, for the reasons above" in told
    assert "Give it limits, the time" not in told
