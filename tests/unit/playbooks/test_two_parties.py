# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two parties with a control node each and no host that answers: what is refused, before any is touched, and why."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange.manifest import digest
from tests.unit.conftest import CHECKOUT, run

pytestmark = pytest.mark.slow
NOBODY = ["-e", "ansible_host=127.0.0.1", "-e", "ansible_port=1"]  # where nothing listens
FILE, LIST = "clinic-b.pem", "clinic-b.crl.pem"


class Party:
    """A control node: its folder, and playbooks on its viewpoint."""

    def __init__(self, room: Path, side: str, name: str) -> None:
        self.name, self.home = name, room / side
        self.home.mkdir()
        shutil.copy(CHECKOUT / "inventories" / f"dpsa-{side}" / "federation.yml", self.home)
        (self.home / "vault-pass").write_text(side)
        self.document = room / "dpsa" / "federation.yml"

    @property
    def public(self) -> Path:
        return self.home / "public" / self.name

    def play(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        vault = ["--vault-password-file", str(self.home / "vault-pass")]
        return run(
            self.home, "ansible-playbook", "-i", "federation.yml", *vault, f"fedlearn.infra.{name}", *NOBODY, *arguments
        )

    def succeed(self, name: str, *arguments: str) -> str:
        ended = self.play(name, *arguments)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return re.sub(r"\s+", " ", ended.stdout)

    def accept(self) -> None:
        self.succeed("accept", "-e", f"digest={digest(self.document.read_bytes())}")

    def refused(self, message: str, name: str = "site") -> None:
        """The playbook ends before a host is touched, and nothing of this control node changed."""
        before = files(self.home)
        ended = self.play(name, "-e", "what=certificates")
        told = re.sub(r"\s+", " ", ended.stdout + ended.stderr)
        assert message in told
        assert (ended.returncode, "UNREACHABLE" in told, files(self.home)) == (2, False, before)

    def pin(self, fingerprint: str, other: str) -> None:
        viewpoint = yaml.safe_load((self.home / "federation.yml").read_text())
        viewpoint["signers"] = {other: [fingerprint]}
        (self.home / "federation.yml").write_text(yaml.safe_dump(viewpoint))


def files(home: Path) -> dict[str, bytes]:
    """What a control node keeps."""
    found = (path for path in home.rglob("*") if path.is_file() and home / "home" not in path.parents)
    return {str(path.relative_to(home)): path.read_bytes() for path in found if not path.name.endswith(".lock")}


def ended_authority() -> bytes:
    """A CA's certificate whose time is over."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dpsa clinic-b CA")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(9)).not_valid_after(now - timedelta(2))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> tuple[Party, Party]:
    """Leader and helper; the helper published, and handed over."""
    room = tmp_path_factory.mktemp("parties")
    shutil.copytree(CHECKOUT / "inventories" / "dpsa", room / "dpsa")
    leader, helper = Party(room, "leader", "clinic-a"), Party(room, "helper", "clinic-b")
    for party in (leader, helper):
        party.succeed("secrets")
        party.accept()
    told = helper.succeed("exchange")
    (fingerprint,) = re.findall(r"signed by (SHA256:\S+)", told)
    leader.pin(fingerprint, "clinic-b")
    hand_over(helper, leader)
    return leader, helper


def hand_over(source: Party, target: Party) -> None:
    there = target.home / "public" / source.name
    shutil.rmtree(there, ignore_errors=True)
    shutil.copytree(source.public, there)


def test_what_is_wrong_is_refused_before_any_host_is_touched(parties: tuple[Party, Party]) -> None:
    leader, helper = parties
    there = leader.home / "public" / "clinic-b"
    (there / FILE).write_bytes((there / FILE).read_bytes() + b"\n")
    leader.refused(f"public/clinic-b/{FILE} isn't what was signed")
    (there / "exchange.json.sig").unlink()
    leader.refused("what lies in public/clinic-b isn't signed")
    hand_over(helper, leader)


def test_an_authority_that_has_ended_is_not_taken(parties: tuple[Party, Party]) -> None:
    leader, helper = parties
    right = (helper.public / FILE).read_bytes()
    (helper.public / FILE).write_bytes(ended_authority())
    helper.succeed("exchange")
    hand_over(helper, leader)
    day = datetime.now(UTC) - timedelta(2)
    leader.refused(f"has ended on {day:%Y-%m-%d}: ask the party for the one that followed")
    (helper.public / FILE).write_bytes(right)
    helper.succeed("exchange")
    hand_over(helper, leader)


def test_what_is_right_is_taken_and_an_older_one_is_refused(parties: tuple[Party, Party], tmp_path: Path) -> None:
    leader, helper = parties
    shutil.copytree(helper.public, tmp_path / "old")
    (helper.public / "more.json").write_text("{}")
    helper.succeed("exchange")
    hand_over(helper, leader)
    assert leader.play("site").returncode == 4  # nobody answers, but until there all was well
    assert (leader.home / ".exchange/clinic-b" / FILE).read_bytes() == (helper.public / FILE).read_bytes()
    shutil.rmtree(leader.home / "public/clinic-b")
    shutil.copytree(tmp_path / "old", leader.home / "public/clinic-b")
    leader.refused("public/clinic-b is older than what was seen")
    leader.refused("public/clinic-b is older than what was seen", "rotate")
    hand_over(helper, leader)


def test_whom_a_partner_withdrew_is_known_with_the_folder_that_it_signs_next(parties: tuple[Party, Party]) -> None:
    leader, helper = parties
    viewpoint = (helper.home / "federation.yml").read_text()
    (helper.home / "federation.yml").write_text(f"{viewpoint}overlay: own.yml\n")
    (helper.home / "own.yml").write_text("parties: {clinic-b: {pki: {revoked: ['0A']}}}\n")
    assert helper.play("site").returncode == 4  # it was withdrawn before a host was asked
    for _time in ("as it was signed", "lost, and made anew"):
        helper.succeed("exchange")
        hand_over(helper, leader)
        before = (leader.home / ".exchange/clinic-b" / LIST).read_bytes()
        assert leader.play("rotate", "-e", "what=datastore_keys").returncode == 4
        assert (leader.home / ".exchange/clinic-b" / LIST).read_bytes() == before  # it brings no list to hosts
        assert leader.play("site").returncode == 4
        taken = (leader.home / ".exchange/clinic-b" / LIST).read_bytes()
        assert [each.serial_number for each in x509.load_pem_x509_crl(taken)] == [10]
        (helper.public / LIST).unlink()
    (helper.home / "federation.yml").write_text(viewpoint)
    helper.succeed("exchange")
    hand_over(helper, leader)


def test_another_authority_waits_for_the_operator(parties: tuple[Party, Party]) -> None:
    leader, helper = parties
    assert leader.play("site").returncode == 4
    shutil.rmtree(helper.home / ".ca")
    for path in helper.public.glob("clinic-b*"):
        path.unlink()
    helper.succeed("exchange")
    hand_over(helper, leader)
    leader.refused("and trusted here is")
    told = leader.succeed("accept")
    (number,) = re.findall(r"-e digest=([0-9a-f]{64}) accepts it", told)
    assert "the CA of party clinic-b is" in told
    leader.succeed("accept", "-e", f"digest={number}")
    assert leader.play("site").returncode == 4
    assert (leader.home / ".exchange/clinic-b" / FILE).read_bytes() == (helper.public / FILE).read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        *("site", "rotate", "remove", "stop", "precheck", "exchange", "audit"),
        *("status", "verify", "backup", "client_kit", "worker_kit"),
    ],
)
def test_a_document_that_changed_is_refused(parties: tuple[Party, Party], name: str) -> None:
    leader, _helper = parties
    text = leader.document.read_text()
    leader.document.write_text(text.replace("max_epsilon: 1.0", "max_epsilon: 50.0"))
    try:
        number = digest(leader.document.read_bytes())
        leader.refused(f"the shared document is {number}, and the one that was accepted here is", name)
    finally:
        leader.document.write_text(text)


def test_it_is_accepted_by_its_own_digest_alone(parties: tuple[Party, Party]) -> None:
    leader, _helper = parties
    text = leader.document.read_text()
    leader.document.write_text(text.replace("max_epsilon: 1.0", "max_epsilon: 50.0"))
    told = leader.succeed("accept")
    assert "(how much a session may give away): was 1.0, becomes 50.0" in told
    wrong = leader.play("accept", "-e", f"digest={'0' * 64}")
    assert wrong.returncode == 2
    assert "nothing that waits to be accepted has the digest" in re.sub(r"\s+", " ", wrong.stdout)
    leader.accept()
    leader.succeed("exchange")
    leader.document.write_text(text)
    leader.refused("the shared document is")
    leader.accept()


def test_each_host_that_needs_the_partner_is_set_aside(tmp_path: Path) -> None:
    """The leader's, and that of the controller, while nothing of the helper is there."""
    shutil.copytree(CHECKOUT / "inventories" / "dpsa", tmp_path / "dpsa")
    leader = Party(tmp_path, "leader", "clinic-a")
    leader.succeed("secrets")
    leader.refused("nobody accepted one here yet")  # on neither host
    leader.accept()
    ended = leader.play("site")
    told = re.sub(r"\s+", " ", ended.stdout)
    assert (ended.returncode, "clinic-b.pem is missing" in told) == (4, False)
    assert "fatal: [a1]: UNREACHABLE!" in told
    assert "fatal: [c1]: UNREACHABLE!" in told
