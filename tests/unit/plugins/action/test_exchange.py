# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A partner's list of withdrawn certificates on its way: signed by the party's key, and proven as its CA's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.action import exchange
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import AuthorityDescription
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange import agreement, folders
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange.manifest import ExchangeError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange.sshsig import Signer
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki import revocation
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.authority import Authority
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.register import Leaving
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.signing import AuthorityError

NOW = datetime.now(UTC).replace(microsecond=0)
DOCUMENT = "d" * 64
LIST = "clinic-a.crl.pem"


class Sides:
    """The leader's control node, which signs and hands over, and the helper's, which takes."""

    def __init__(self, room: Path) -> None:
        self.theirs, self.here, self.signed = room / "a", room / "b", 0
        self.folder, self.came = self.theirs / "public" / "clinic-a", self.here / "public" / "clinic-a"
        self.came.mkdir(parents=True)
        self.authority().make()
        self.signer = Signer(str(self.theirs / "signer.key"), lambda: "known")
        self.signer.make()
        files = {"ca": "clinic-a.pem", "crl": LIST}
        taken = {key: f"{self.here}/.exchange/clinic-a/{name}" for key, name in files.items()}
        entry = {"name": "clinic-a", "party": "clinic-a", "mode": "external", "common_name": "demo clinic-a CA"} | taken
        own = {"name": "clinic-b", "party": "clinic-b", "mode": "ownca", "common_name": "demo clinic-b CA"}
        partner = {"signers": [self.signer.fingerprint], "authorities": ["clinic-a"]}
        self.options: dict[str, Any] = {
            "authorities": [own, entry],
            "exchange": {"party": "clinic-b", "partners": {"clinic-a": partner}},
        }

    def authority(self, *revoked: str) -> Authority:
        described = AuthorityDescription("clinic-a", "clinic-a", "ownca", "demo clinic-a CA", revoked=revoked)
        return Authority(described, str(self.theirs), lambda: "known")

    def withdraw(self, serial: str) -> None:
        self.authority(serial).withdraw(Leaving("nobody"), NOW)

    def hand_over(self) -> None:
        """What lies in the leader's folder, signed by its key as it is: whoever has that key can do so."""
        self.signed += 1
        own = folders.Own(str(self.theirs), "demo", "clinic-a")
        folders.publish(own, DOCUMENT, self.signer, NOW + timedelta(seconds=self.signed), 90)
        shutil.rmtree(self.came)
        shutil.copytree(self.folder, self.came)

    def take(self) -> folders.Taken:
        (wanted,) = exchange._wanted(self.options)
        own = folders.Own(str(self.here), "demo", "clinic-b")
        return folders.take(own, wanted, NOW, exchange._prover(self.options))

    def known(self) -> set[int]:
        """Whom hosts of the helper's are to refuse."""
        (found,) = revocation.read((self.here / ".exchange" / "clinic-a" / LIST).read_bytes())
        return {each.serial_number for each in found}


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    return Sides(tmp_path)


def test_whom_a_partner_withdraws_is_known_with_what_it_hands_over_next(sides: Sides) -> None:
    sides.hand_over()
    assert (sides.take().changed, sides.known()) == (True, set())
    sides.withdraw("0A")
    sides.hand_over()
    assert (sides.take().changed, sides.known()) == (True, {10})
    assert not sides.take().changed


def other_list(sides: Sides) -> bytes:
    """Of a CA that is called the same."""
    other = Authority(sides.authority().description, str(sides.theirs / "other"), lambda: "guessed")
    other.make()
    return Path(other.crl_path).read_bytes()


WRONG: dict[str, tuple[Callable[[Sides, bytes], bytes], str]] = {
    "an older one": (lambda _sides, first: first, "the list of CN=demo clinic-a CA is older than what was taken"),
    "another CA's": (
        lambda sides, _first: other_list(sides),
        "is signed by none of the certificates in public",
    ),
    "cut off": (lambda sides, _first: (sides.folder / LIST).read_bytes()[:-40], "holds no list of withdrawn"),
    "empty": (lambda _sides, _first: b"", "holds no list of withdrawn certificates in PEM form"),
}


@pytest.mark.parametrize("case", WRONG)
def test_who_has_the_key_that_signs_folders_brings_nobody_back_by_it(sides: Sides, case: str) -> None:
    first = (sides.folder / LIST).read_bytes()
    sides.withdraw("0A")
    sides.hand_over()
    sides.take()
    change, message = WRONG[case]
    (sides.folder / LIST).write_bytes(change(sides, first))
    sides.hand_over()
    with pytest.raises(AuthorityError) as raised:
        sides.take()
    where = f"authority clinic-a of party clinic-a: public/clinic-a/{LIST}"
    assert (str(raised.value).startswith(where), message in str(raised.value)) == (True, True)
    assert sides.known() == {10}


@pytest.mark.parametrize("case", [*WRONG, "anybody writes there", "a link"])
def test_a_partner_s_bad_folder_keeps_nobody_from_accepting_a_document(sides: Sides, case: str) -> None:
    """Perhaps one that takes this partner out."""
    first = (sides.folder / LIST).read_bytes()
    sides.withdraw("0A")
    sides.hand_over()
    sides.take()
    if case in WRONG:
        (sides.folder / LIST).write_bytes(WRONG[case][0](sides, first))
    sides.hand_over()
    if case == "anybody writes there":
        sides.came.chmod(0o777)
    if case == "a link":
        (sides.came / "exchange.json").rename(sides.came / "other.json")
        (sides.came / "exchange.json").symlink_to("other.json")
    document = sides.here / "federation.yml"
    document.write_text("federation: demo\n")
    digest = agreement.digest(document.read_bytes())
    told = {**sides.options["exchange"], "document": str(document), "digest": digest}
    action = SimpleNamespace(_task=SimpleNamespace(check_mode=False))
    own = folders.Own(str(sides.here), "demo", "clinic-b")
    done = exchange.ActionModule._accept(action, own, {**sides.options, "exchange": told, "digest": digest})
    assert (done["changed"], agreement.accepted(own.state)) == (True, document.read_bytes())


def test_a_list_that_is_left_out_brings_nobody_back_either(sides: Sides) -> None:
    sides.withdraw("0A")
    sides.hand_over()
    sides.take()
    (sides.folder / LIST).unlink()
    sides.hand_over()
    assert f"public/clinic-a has no {LIST} yet" in sides.take().waits
    assert sides.known() == {10}


def test_an_organisation_s_list_goes_with_its_certificates(tmp_path: Path) -> None:
    files = {"ca": tmp_path / "ca.pem", "crl": tmp_path / "crl.pem"}
    entry = {"name": "clinic-a", "party": "clinic-a", "mode": "csr"} | {key: str(path) for key, path in files.items()}
    own = folders.Own(str(tmp_path / "state"), "demo", "clinic-a")
    (tmp_path / "state").mkdir()
    files["ca"].write_text("certificates")
    with pytest.raises(ExchangeError, match=r"crl\.pem is missing: the list of what was withdrawn by the CA"):
        exchange._lay_out(own, [entry])
    files["crl"].write_text("a list")
    exchange._lay_out(own, [entry])
    laid = tmp_path / "state" / "public" / "clinic-a"
    assert {path.name: path.read_text() for path in laid.iterdir()} == {"clinic-a.pem": "certificates", LIST: "a list"}
