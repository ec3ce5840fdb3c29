# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What another party hands over: signed, whole, its own, the newest, not ended; whatever isn't changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import AuthorityDescription
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.files import FileTroubleError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange import folders, manifest, sshsig
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange.folders import Own, Taken, Wanted
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange.manifest import ExchangeError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.authority import Authority

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
DOCUMENT = "d" * 64
FILE, LIST = "clinic-b.pem", "clinic-b.crl.pem"


def state_of(path: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*") if each.is_file()}


class Parties:
    """The helper's control node, which publishes, and the leader's, which takes."""

    def __init__(self, room: Path) -> None:
        self.theirs, self.here = room / "b", room / "a"
        for home in (self.theirs, self.here):
            (home / "public" / "clinic-b").mkdir(parents=True)
        self.folder = self.theirs / "public" / "clinic-b"
        self.came = self.here / "public" / "clinic-b"
        self.signer = self.new_signer("signer.key")
        self.pinned = (self.signer.fingerprint,)
        self.lists: tuple[str, ...] = ()
        self.make_authority()

    def new_signer(self, name: str) -> sshsig.Signer:
        signer = sshsig.Signer(str(self.theirs / name), lambda: "known")
        assert signer.make()
        return signer

    def make_authority(self) -> None:
        shutil.rmtree(self.theirs / ".ca", ignore_errors=True)
        (self.folder / FILE).unlink(missing_ok=True)
        (self.folder / LIST).unlink(missing_ok=True)
        description = AuthorityDescription("clinic-b", "clinic-b", "ownca", "demo clinic-b CA")
        Authority(description, str(self.theirs), lambda: "known").make()

    def publish(self, now: datetime = NOW, *, party: str = "clinic-b", **more: Any) -> folders.Published:
        given = {"signer": self.signer, "federation": "demo", "days": 90, "document": DOCUMENT} | more
        own = Own(str(self.theirs), given["federation"], party)
        return folders.publish(own, given["document"], given["signer"], now, given["days"])

    def hand_over(self) -> None:
        shutil.rmtree(self.came)
        shutil.copytree(self.folder, self.came, symlinks=True)

    def take(self, now: datetime = NOW, accepted: str = "", check: bool = False, prove: Any = None) -> Taken:
        own, wanted = Own(str(self.here), "demo", "clinic-a"), Wanted("clinic-b", self.pinned, (FILE,), self.lists)
        return folders.take(own, wanted, now, prove or (lambda _came, _former: None), accepted, check)

    def resign(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change what the manifest of the folder that came says, and sign that by the right key."""
        told = json.loads((self.came / manifest.MANIFEST).read_text())
        change(told)
        text = json.dumps(told).encode()
        (self.came / manifest.MANIFEST).write_bytes(text)
        (self.came / manifest.SIGNATURE).write_bytes(self.signer.sign(text))

    def taken_file(self) -> Path:
        return self.here / ".exchange" / "clinic-b" / FILE


@pytest.fixture
def parties(tmp_path: Path) -> Parties:
    """Both, where the helper has published and handed over."""
    made = Parties(tmp_path)
    made.publish()
    made.hand_over()
    return made


def refused(parties: Parties, message: str, **more: Any) -> None:
    """Taking is refused with these words, and changes nothing at all."""
    before = state_of(parties.here)
    with pytest.raises((ExchangeError, FileTroubleError)) as told:
        parties.take(**more)
    assert message in str(told.value)
    assert state_of(parties.here) == before


# ... signatures


def test_openssh_proves_what_we_sign(parties: Parties, tmp_path: Path) -> None:
    signature = tmp_path / "s.sig"
    signature.write_bytes(parties.signer.sign(b"words"))
    looked = subprocess.run(
        ["ssh-keygen", "-Y", "check-novalidate", "-n", sshsig.NAMESPACE, "-s", signature],
        input=b"words", capture_output=True, check=True,
    )  # fmt: skip
    assert parties.signer.fingerprint in looked.stdout.decode()


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_we_prove_what_openssh_signs(tmp_path: Path, kind: str) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key], check=True)
    (tmp_path / "text").write_bytes(b"words")
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", sshsig.NAMESPACE, tmp_path / "text"],
        check=True, capture_output=True,
    )  # fmt: skip
    shown = subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], check=True, capture_output=True, text=True).stdout
    found = sshsig.signer_of(b"words", (tmp_path / "text.sig").read_bytes())
    assert found == shown.split()[1]
    assert sshsig.signer_of(b"other words", (tmp_path / "text.sig").read_bytes()) is None


def test_a_signature_for_something_else_is_none(tmp_path: Path) -> None:
    """As of a commit or a mail, which the same key may have signed."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (tmp_path / "text").write_bytes(b"words")
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", "git", tmp_path / "text"], check=True, capture_output=True
    )
    assert sshsig.signer_of(b"words", (tmp_path / "text.sig").read_bytes()) is None


def test_the_key_is_encrypted_and_opened_by_its_secret_alone(parties: Parties) -> None:
    text = Path(parties.signer.path).read_text()
    assert "ENCRYPTED" in text
    with pytest.raises(ExchangeError, match="isn't opened by its secret"):
        sshsig.Signer(parties.signer.path, lambda: "guessed").sign(b"words")
    os.chmod(parties.signer.path, 0o644)  # noqa: PTH101
    with pytest.raises(ExchangeError, match="others can read it"):
        sshsig.Signer(parties.signer.path, lambda: "known").sign(b"words")


# ... publishing


def test_it_is_signed_anew_only_when_something_is_new(parties: Parties) -> None:
    first = parties.publish()
    assert not first.changed
    assert not parties.publish(NOW + timedelta(days=44)).changed
    later = parties.publish(NOW + timedelta(days=46))
    assert (later.changed, later.manifest.sequence > first.manifest.sequence) == (True, True)
    assert parties.publish(NOW + timedelta(days=46), document="e" * 64).changed


def test_numbers_grow_whatever_the_clock_says(parties: Parties) -> None:
    before = parties.publish().manifest
    (parties.folder / "more.json").write_text("{}")
    after = parties.publish(NOW - timedelta(days=1)).manifest
    assert after.sequence == before.sequence + 1
    assert set(after.files) == {FILE, LIST, "more.json"}


def test_a_private_key_is_never_published(parties: Parties) -> None:
    shutil.copy(parties.signer.path, parties.folder / "oops.pem")
    with pytest.raises(ExchangeError, match=r"oops\.pem holds a private key"):
        parties.publish()


def test_what_partners_were_not_given_yet_is_told_without_the_key(parties: Parties) -> None:
    own = Own(str(parties.theirs), "demo", "clinic-b")
    assert folders.unsigned(own) == []
    (parties.folder / "more.json").write_text("{}")
    (parties.folder / LIST).write_text("another")
    assert folders.unsigned(own) == [LIST, "more.json"]
    (parties.folder / LIST).unlink()
    for name in (manifest.MANIFEST, manifest.SIGNATURE):
        (parties.folder / name).unlink()
    assert folders.unsigned(own) == [FILE, "more.json"]
    shutil.rmtree(parties.folder)
    assert folders.unsigned(own) == []


# ... taking


def test_what_is_right_is_taken_once(parties: Parties) -> None:
    assert parties.take(check=True).changed
    assert not parties.taken_file().exists()
    first = parties.take()
    assert (first.changed, first.waits) == (True, "")
    assert parties.taken_file().read_bytes() == (parties.folder / FILE).read_bytes()
    assert not parties.take().changed


def test_what_is_used_isn_t_where_it_came(parties: Parties) -> None:
    """Whoever changes the folder while a run goes on changes nothing that is in use."""
    parties.take()
    kept = parties.taken_file().read_bytes()
    (parties.came / FILE).write_text("changed")
    assert parties.taken_file().read_bytes() == kept


def test_a_copy_that_was_damaged_is_made_anew(parties: Parties) -> None:
    parties.take()
    parties.taken_file().unlink()
    assert parties.take().changed
    assert parties.taken_file().exists()


def test_nothing_came_yet(parties: Parties) -> None:
    shutil.rmtree(parties.came)
    waits = parties.take().waits
    assert waits == (
        "party clinic-b: public/clinic-b isn't there: have it run fedlearn.infra.exchange, and lay its folder there"
    )
    parties.came.mkdir()
    assert parties.take().waits == waits


def test_nobody_is_believed_before_a_key_is_pinned(parties: Parties) -> None:
    parties.pinned = ()
    told = parties.take()
    assert "the viewpoint pins none of its signers" in told.waits
    assert not parties.taken_file().exists()


def test_unsigned(parties: Parties) -> None:
    for name in (manifest.SIGNATURE, manifest.MANIFEST):
        (parties.came / name).unlink()
        refused(parties, f"public/clinic-b/{name} is missing: what lies in public/clinic-b isn't signed")


def test_signed_by_another_key(parties: Parties) -> None:
    other = parties.new_signer("other.key")
    parties.publish(signer=other)
    parties.hand_over()
    refused(parties, f"is signed by {other.fingerprint}, and the viewpoint pins {parties.signer.fingerprint}")
    parties.pinned = (parties.signer.fingerprint, other.fingerprint)
    assert parties.take().changed


@pytest.mark.parametrize("where", [0, -2, 200])
def test_a_changed_manifest(parties: Parties, where: int) -> None:
    text = bytearray((parties.came / manifest.MANIFEST).read_bytes())
    text[where] ^= 1
    (parties.came / manifest.MANIFEST).write_bytes(text)
    refused(parties, "exchange.json.sig is no signature of exchange.json beside it")


def test_a_changed_signature(parties: Parties) -> None:
    path = parties.came / manifest.SIGNATURE
    for content in (b"", b"-----BEGIN SSH SIGNATURE-----\n", path.read_bytes().replace(b"A", b"B", 3), b"\0" * 4096):
        path.write_bytes(content)
        refused(parties, "is no signature of exchange.json")


def test_a_changed_file(parties: Parties) -> None:
    (parties.came / FILE).write_bytes((parties.came / FILE).read_bytes() + b"\n")
    refused(
        parties,
        f"public/clinic-b/{FILE} isn't what was signed: it was written after that, as by an audit, or changed on the "
        "way: have the party run fedlearn.infra.exchange and hand over all of its folder again",
    )
    (parties.came / FILE).unlink()
    refused(parties, f"public/clinic-b/{FILE} is missing, and was signed")


def test_older_than_seen(parties: Parties, tmp_path: Path) -> None:
    """A whole folder as it was once, rightly signed and not ended."""
    shutil.copytree(parties.folder, tmp_path / "old")
    (parties.folder / "more.json").write_text("{}")
    parties.publish(NOW + timedelta(hours=1))
    parties.hand_over()
    parties.take(NOW + timedelta(hours=1))
    shutil.rmtree(parties.came)
    shutil.copytree(tmp_path / "old", parties.came)
    refused(parties, "is older than what was seen", now=NOW + timedelta(hours=2))


def test_only_the_manifest_rolled_back(parties: Parties) -> None:
    old = {name: (parties.folder / name).read_bytes() for name in (manifest.MANIFEST, manifest.SIGNATURE)}
    parties.make_authority()
    parties.publish(NOW + timedelta(hours=1))
    parties.hand_over()
    for name, content in old.items():
        (parties.came / name).write_bytes(content)
    refused(parties, "isn't what was signed", now=NOW + timedelta(hours=2))


def test_another_of_the_same_number(parties: Parties) -> None:
    parties.take()
    parties.resign(lambda told: told.update(document="e" * 64))
    refused(parties, "and says something else: the party signs in two places, or somebody has its key")


@pytest.mark.parametrize(
    ("party", "federation"), [("clinic-c", "demo"), ("clinic-b", "other")], ids=["party", "federation"]
)
def test_swapped(parties: Parties, party: str, federation: str) -> None:
    """What one organisation signed for somebody else, laid where this is wanted: the key is the same."""
    (parties.theirs / "public" / party).mkdir(exist_ok=True)
    shutil.copy(parties.folder / FILE, parties.theirs / "public" / party / FILE) if party != "clinic-b" else None
    parties.publish(NOW + timedelta(hours=1), party=party, federation=federation)
    shutil.rmtree(parties.came)
    shutil.copytree(parties.theirs / "public" / party, parties.came)
    refused(
        parties,
        f"public/clinic-b was made by party {party} of federation {federation}, and is wanted of party clinic-b of",
        now=NOW + timedelta(hours=1),
    )


def test_times(parties: Parties) -> None:
    refused(parties, "public/clinic-b has ended on 2027-02-26 12:00 UTC", now=NOW + timedelta(days=90))
    refused(parties, "and this control node's clock says 2026-11-28 11:00", now=NOW - timedelta(hours=1))
    assert parties.take(NOW - timedelta(minutes=9), check=True).changed
    parties.publish(NOW + timedelta(days=1), days=401)
    parties.hand_over()
    parties.resign(lambda told: told.update(expires="2099-01-01T00:00:00Z"))
    refused(parties, "longer than 400 days", now=NOW + timedelta(days=1))


@pytest.mark.parametrize(
    "name",
    [
        "../.secrets/a.yml",
        "/etc/passwd",
        "..",
        ".hidden",
        "a/b",
        "",
        "{{ x }}",
        "a\n",
        "\u202e",
        "exchange.json",
        "x" * 101,
    ],
)
def test_names_of_files_lead_nowhere_else(parties: Parties, name: str) -> None:
    parties.resign(lambda told: told["files"].update({name: "0" * 64}))
    refused(parties, "is no name of a file in this folder")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: told.update(form="fedlearn.infra exchange 2"), "isn't of the form"),
        (lambda told: told.update(more=1), "too many, or missing: 'more'"),
        (lambda told: told.pop("expires"), "too many, or missing: 'expires'"),
        (lambda told: told.update(sequence=True), "sequence is no positive number"),
        (lambda told: told.update(sequence=-1), "sequence is no positive number"),
        (lambda told: told.update(sequence=1e400), "sequence is no positive number"),
        (lambda told: told.update(sequence="9"), "sequence is no positive number"),
        (lambda told: told.update(made="now"), "made is no time"),
        (lambda told: told.update(made=None), "made is no time"),
        (lambda told: told.update(party="{{ x }}"), "party is no name"),
        (lambda told: told.update(document="short"), "document is no sha256"),
        (lambda told: told.update(files={}), "files is no list"),
        (lambda told: told.update(files=[FILE]), "files is no list"),
        (lambda told: told.update(files={f"f{n}": "0" * 64 for n in range(65)}), "files is no list"),
        (lambda told: told["files"].update({FILE: 5}), "is no sha256"),
    ],
)
def test_a_signed_manifest_is_believed_in_its_form_only(
    parties: Parties, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    parties.resign(change)
    refused(parties, message)


@pytest.mark.parametrize("text", ["{", "[]", '{"form": 1, "form": 2}', "[" * 5000, "\xff"])
def test_what_is_no_manifest_at_all(parties: Parties, text: str) -> None:
    content = text.encode("latin-1")
    (parties.came / manifest.MANIFEST).write_bytes(content)
    (parties.came / manifest.SIGNATURE).write_bytes(parties.signer.sign(content))
    refused(parties, "public/clinic-b/exchange.json")


@pytest.mark.parametrize("name", [FILE, manifest.MANIFEST, manifest.SIGNATURE])
def test_links_are_never_followed(parties: Parties, tmp_path: Path, name: str) -> None:
    (parties.came / name).rename(tmp_path / "elsewhere")
    (parties.came / name).symlink_to(tmp_path / "elsewhere")
    refused(parties, "is a symbolic link")


def test_nor_is_a_folder_that_is_one(parties: Parties, tmp_path: Path) -> None:
    parties.came.rename(tmp_path / "elsewhere")
    parties.came.symlink_to(tmp_path / "elsewhere")
    refused(parties, "is a symbolic link")


def test_nor_one_where_what_is_taken_belongs(parties: Parties, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (parties.here / ".exchange").mkdir(mode=0o700)
    (parties.here / ".exchange" / "clinic-b").symlink_to(tmp_path / "elsewhere")
    refused(parties, "is a symbolic link")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_devices_and_huge_files_are_not_read(parties: Parties) -> None:
    (parties.came / FILE).unlink()
    os.mkfifo(parties.came / FILE)
    with pytest.raises(FileTroubleError, match="is no regular file"):
        parties.take()
    (parties.came / FILE).unlink()
    with (parties.came / FILE).open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(FileTroubleError, match="has 1073741824 bytes"):
        parties.take()


def test_a_private_key_that_came_is_told(parties: Parties) -> None:
    shutil.copy(parties.signer.path, parties.came / "key.pem")
    found = manifest.digest((parties.came / "key.pem").read_bytes())
    parties.resign(lambda told: told["files"].update({"key.pem": found}))
    refused(parties, "public/clinic-b/key.pem holds a private key, which nobody but its party may have")


def test_another_authority_is_taken_only_once_it_is_accepted(parties: Parties) -> None:
    parties.take()
    kept = parties.taken_file().read_bytes()
    parties.make_authority()
    later = NOW + timedelta(hours=1)
    number = manifest.digest(parties.publish(later).manifest.text())
    parties.hand_over()
    refused(parties, f"`fedlearn.infra.accept -e digest={number}` takes it then", now=later)
    refused(parties, "the CA of party clinic-b is ", now=later, accepted="0" * 64)
    assert parties.taken_file().read_bytes() == kept
    assert parties.take(later, accepted=number).changed
    assert parties.taken_file().read_bytes() == (parties.folder / FILE).read_bytes()


def test_one_beside_the_former_goes_through(parties: Parties) -> None:
    """As in a change of CAs, where hosts trust both for a while."""
    parties.take()
    former = (parties.folder / FILE).read_bytes()
    parties.make_authority()
    (parties.folder / FILE).write_bytes(former + (parties.folder / FILE).read_bytes())
    later = NOW + timedelta(hours=1)
    parties.publish(later)
    parties.hand_over()
    assert parties.take(later).changed


def test_what_can_t_be_trusted_is_not_taken(parties: Parties) -> None:
    def prove(came: Mapping[str, bytes], former: Mapping[str, bytes]) -> None:
        assert {name: content[:20] for name, content in came.items()} == {FILE: b"-----BEGIN CERTIFICA"}
        assert former == {}
        raise ExchangeError("has ended")

    refused(parties, "has ended", prove=prove)


def test_a_list_is_proven_after_the_one_that_was_taken_before(parties: Parties) -> None:
    parties.lists = (LIST,)
    seen: list[tuple[set[str], dict[str, bytes]]] = []

    def prove(came: Mapping[str, bytes], former: Mapping[str, bytes]) -> None:
        seen.append((set(came), dict(former)))

    first = {name: (parties.folder / name).read_bytes() for name in (FILE, LIST)}
    parties.take(prove=prove)
    parties.take(prove=prove)
    assert seen == [({FILE, LIST}, {}), ({FILE, LIST}, first)]


def test_who_hands_over_no_list_is_waited_for(parties: Parties) -> None:
    """And what was taken before stays in use: nobody who was withdrawn comes back because a list is left out."""
    parties.lists = (LIST,)
    (parties.folder / LIST).rename(parties.theirs / LIST)
    parties.publish(NOW + timedelta(hours=1))
    parties.hand_over()
    told = parties.take(NOW + timedelta(hours=1))
    assert told.waits == (
        "party clinic-b: public/clinic-b has no clinic-b.crl.pem yet: have it run fedlearn.infra.exchange"
    )
    assert (told.changed, parties.taken_file().exists()) == (False, False)
    (parties.theirs / LIST).rename(parties.folder / LIST)
    parties.publish(NOW + timedelta(hours=2))
    parties.hand_over()
    assert parties.take(NOW + timedelta(hours=2)).changed
    kept = parties.taken_file().with_name(LIST).read_bytes()
    (parties.folder / LIST).unlink()
    parties.publish(NOW + timedelta(hours=3))
    parties.hand_over()
    assert "has no clinic-b.crl.pem yet" in parties.take(NOW + timedelta(hours=3)).waits
    assert parties.taken_file().with_name(LIST).read_bytes() == kept


def test_a_list_that_nobody_signed_for_is_no_list(parties: Parties) -> None:
    """One laid beside, or in the place of, what the manifest names."""
    parties.lists = (LIST,)
    (parties.came / LIST).write_bytes((parties.came / LIST).read_bytes()[:-1])
    refused(parties, f"public/clinic-b/{LIST} isn't what was signed")
    (parties.came / LIST).unlink()
    refused(parties, f"public/clinic-b/{LIST} is missing, and was signed")
    parties.resign(lambda told: told["files"].pop(LIST))
    (parties.came / LIST).write_bytes((parties.folder / LIST).read_bytes())
    assert "has no clinic-b.crl.pem yet" in parties.take().waits


def test_the_list_of_a_whole_fleet_goes_through(parties: Parties) -> None:
    parties.lists = (LIST,)
    (parties.folder / LIST).write_bytes(b"x" * (2 << 20))
    parties.publish(NOW + timedelta(hours=1))
    parties.hand_over()
    assert parties.take(NOW + timedelta(hours=1)).changed
    assert not parties.take(NOW + timedelta(hours=1)).changed


def test_a_file_that_is_signed_no_more_goes(parties: Parties) -> None:
    (parties.folder / "more.json").write_text("{}")
    parties.publish(NOW + timedelta(hours=1))
    parties.hand_over()
    parties.take(NOW + timedelta(hours=1))
    assert (parties.taken_file().parent / "more.json").exists()
    (parties.folder / "more.json").unlink()
    parties.publish(NOW + timedelta(hours=2))
    parties.hand_over()
    parties.take(NOW + timedelta(hours=2))
    assert not (parties.taken_file().parent / "more.json").exists()


def test_what_nobody_signed_is_never_read(parties: Parties) -> None:
    (parties.came / "planted.pem").write_text("anything")
    parties.take()
    assert not (parties.taken_file().parent / "planted.pem").exists()


def test_what_was_taken_stays_in_use_while_the_folder_is_away(parties: Parties) -> None:
    parties.take()
    shutil.rmtree(parties.came)
    told = parties.take()
    assert (told.changed, told.manifest is not None) == (False, True)
    refused(parties, ".exchange/clinic-b has ended on 2027-02-26", now=NOW + timedelta(days=91))


def test_nor_is_what_was_taken_used_of_whom_the_viewpoint_pins_no_more(parties: Parties) -> None:
    parties.take()
    parties.pinned = ()
    refused(parties, "whom the viewpoint pins no more")
    parties.pinned = (parties.new_signer("other.key").fingerprint,)
    refused(parties, "is signed by")
    shutil.rmtree(parties.came)
    refused(parties, "whom the viewpoint pins no more")
