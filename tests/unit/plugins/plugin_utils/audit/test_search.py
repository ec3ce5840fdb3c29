# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What only another party may have is found wherever it is, by what can be told of it in public; nothing else is."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from ansible_collections.fedlearn.infra.plugins.module_utils._audit import search
from ansible_collections.fedlearn.infra.plugins.module_utils._audit.search import Sought, keyed
from ansible_collections.fedlearn.infra.plugins.module_utils._janus import keyring
from ansible_collections.fedlearn.infra.plugins.modules import audit_host
from ansible_collections.fedlearn.infra.plugins.plugin_utils._audit import control_node
from ansible_collections.fedlearn.infra.plugins.plugin_utils._audit.control_node import Places

KEY = "d" * 64
PASSWORD = "Zk3vQ-9tR_w7LmX2cB8nY5pD1sFgHjKe"
DATASTORE = base64.urlsafe_b64encode(bytes(range(16))).decode().rstrip("=")
WORDS = Sought(
    KEY,
    words={keyed(KEY, "secret", PASSWORD): "the password"},
    commitments={keyring.commitment(DATASTORE): "a datastore key"},
)


def key_of(tmp_path: Path, *how: str) -> bytes:
    path = tmp_path / "made"
    path.unlink(missing_ok=True)
    subprocess.run([*how, path], check=True, capture_output=True, input=b"y\n")
    return path.read_bytes()


def half(content: bytes) -> str:
    (found,) = search.public_halves(content)
    return found


def test_a_commitment_is_the_one_that_the_aggregator_s_host_tells() -> None:
    assert search.COMMITTED == keyring.LABEL
    assert WORDS.inside(f"DATASTORE_KEYS={DATASTORE},x".encode()) == {"a datastore key"}


@pytest.mark.parametrize(
    "text", ['{{"password": "{}"}}', "postgresql://program_a:{}@127.0.0.1/janus", "{}", "export P='{}'"]
)
def test_a_secret_is_found_in_any_text(text: str) -> None:
    assert WORDS.inside(text.format(PASSWORD).encode()) == {"the password"}
    assert WORDS.inside(text.format(PASSWORD[:-1] + "x").encode()) == set()


def test_so_is_one_in_what_is_no_text() -> None:
    assert WORDS.inside(b"\0\xff" + PASSWORD.encode() + b"\0") == {"the password"}


@pytest.mark.parametrize(
    "how",
    [
        ("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"),
        ("openssl", "genrsa", "-traditional", "-out"),
        ("openssl", "genpkey", "-algorithm", "ed25519", "-out"),
        ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f"),
        ("ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f"),
    ],
    ids=["ec", "rsa", "ed25519", "openssh", "openssh, encrypted"],
)
def test_a_private_key_is_found_by_its_public_half(tmp_path: Path, how: tuple[str, ...]) -> None:
    content = key_of(tmp_path, *how)
    sought = Sought(KEY, publics={half(content): "the key"})
    assert sought.inside(b"before\n" + content + b"after\n" + content) == {"the key"}
    assert sought.inside(key_of(tmp_path, *how)) == set()


def test_the_public_half_of_a_pem_key_is_that_of_its_certificate(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "public" / "clinic-a" / "clinic-a.pem"
    certificate.parent.mkdir(parents=True)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    made = ["openssl", "req", "-x509", *curve, "-days", "1", "-subj", "/CN=a", "-keyout"]
    subprocess.run([*made, key, "-out", certificate], check=True, capture_output=True)
    assert control_node.authority_keys(str(tmp_path), "clinic-a") == {
        half(key.read_bytes()): "the key of the CA clinic-a"
    }


def test_an_encrypted_file_is_found_by_its_sum() -> None:
    content = b"$ANSIBLE_VAULT;1.1;AES256\n6162\n"
    sought = Sought(KEY, files={hashlib.sha256(content).hexdigest(): "the vault"})
    assert sought.inside(content) == {"the vault"}
    assert sought.inside(content + b"\n") == set()


def test_files_are_searched_to_the_bottom_and_links_aren_t_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    (inside / "deep" / "er").mkdir(parents=True)
    outside.mkdir()
    (inside / "deep" / "er" / ".hidden").write_text(PASSWORD)
    (outside / "file").write_text(PASSWORD)
    (inside / "link").symlink_to(outside / "file")
    (inside / "folder").symlink_to(outside)
    (inside / "left").mkdir()
    (inside / "left" / "out").write_text(PASSWORD)
    found = search.search([str(inside)], WORDS, [str(inside / "left")])
    assert found.found == [f"{inside}/deep/er/.hidden: the password"]
    assert found.files == 1


def test_compressed_files_are_unpacked_and_big_ones_told(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo("etc/password")
        entry.size = len(PASSWORD)
        tar.addfile(entry, io.BytesIO(PASSWORD.encode()))
    (tmp_path / "backup.tar.gz").write_bytes(gzip.compress(packed.getvalue()))
    with (tmp_path / "huge").open("wb") as stream:
        stream.truncate(search.MAX_FILE + 1)
    (tmp_path / "broken.gz").write_bytes(b"\x1f\x8bbroken")
    found = search.search([str(tmp_path)], WORDS)
    assert found.found == [f"{tmp_path}/backup.tar.gz: the password"]
    assert sorted(found.skipped) == [f"{tmp_path}/broken.gz", f"{tmp_path}/huge"]


def test_git_keeps_what_was_removed(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=x", "-c", "user.email=x@x.example", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True)

    places = Places(str(tmp_path), (), str(tmp_path / ".backups"))
    git("init", "-q")
    (tmp_path / "federation.yml").write_text("nothing")
    git("add", "."), git("commit", "-qm", "one")
    assert control_node.search_git(places, WORDS).found == []
    (tmp_path / "oops").write_text(PASSWORD)
    git("add", "."), git("commit", "-qm", "two")
    git("rm", "-q", "oops"), git("commit", "-qm", "three")
    git("reset", "-q", "--hard", "HEAD~2")  # not even a branch leads to it
    (found,) = control_node.search_git(places, WORDS).found
    assert found.endswith("the password")
    assert control_node.search_files(places, WORDS).found == []


def test_backups_are_a_place_of_their_own(tmp_path: Path) -> None:
    places = Places(str(tmp_path), (), str(tmp_path / ".backups"))
    (tmp_path / ".backups" / "a1").mkdir(parents=True)
    (tmp_path / ".backups" / "a1" / "dump.gz").write_bytes(gzip.compress(PASSWORD.encode()))
    assert control_node.search_files(places, WORDS).found == []
    assert control_node.search_backups(places, WORDS).found == [f"{tmp_path}/.backups/a1/dump.gz: the password"]


def test_files_of_others_are_told_by_their_names(tmp_path: Path) -> None:
    for name in (
        ".secrets/a.yml",
        ".secrets/b.yml",
        ".ca/a/a.key",
        ".ca/b/b.key",
        ".exchange/a/signer.key",
        ".exchange/b/x",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    told = control_node.other_parties_files(str(tmp_path), "a")
    assert told == [f"{tmp_path}/{name} is another party's" for name in (".secrets/b.yml", ".ca/b/b.key")]
    (tmp_path / "a" / ".secrets").mkdir(parents=True)
    assert control_node.other_parties_files(str(tmp_path / "a"), "a") == []
    (tmp_path / "b" / ".secrets").mkdir(parents=True)
    (tmp_path / "b" / ".secrets" / "b.yml").write_text("")
    beside = control_node.other_parties_files(str(tmp_path / "a"), "a")
    assert beside == [f"{tmp_path}/b/.secrets/b.yml is another party's"]
    for party in ("a", "b"):
        (tmp_path / f"of-{party}" / "demo" / party / ".ca" / party).mkdir(parents=True)
        (tmp_path / f"of-{party}" / "demo" / party / ".ca" / party / f"{party}.key").write_text("")
    each_its_own = control_node.other_parties_files(str(tmp_path / "of-a" / "demo" / "a"), "a")
    assert each_its_own == [f"{tmp_path}/of-b/demo/b/.ca/b/b.key is another party's"]
    own = control_node.own_files(str(tmp_path), "a")
    assert sorted(own.values()) == [".ca/a/a.key", ".exchange/a/signer.key", ".secrets/a.yml"]


def test_places_of_backups_differ_by_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    place = control_node.backup_destination
    assert place(str(tmp_path / "a")) == place(str(tmp_path / "link"))
    assert place(str(tmp_path / "a")) != place(str(tmp_path / "b"))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Authorization: Bearer 0123456789abcdef", 1),
        ("DAP-Auth-Token: 0123456789abcdefgh", 1),
        ('"auth_token": "0123456789abcdefgh"', 1),
        ("authorization=0123456789abcdefgh bearer 0123456789abcdefgh", 2),
        ("auth token for aggregator: [81, 65, 66, 1, 81, 65, 66, 1, 9], collector: [7, 8, 9, 1, 2, 3, 4, 5, 6]", 2),
        ("listens on [127, 0, 0, 1], with workers [1, 2, 3, 4, 5, 6, 7, 8, 9]", 0),
        ("Bearer ***, Bearer [redacted], bearer of news, token_hash 5", 0),
        ("GET /tasks/0123456789abcdefghijkl/reports", 0),
    ],
)
def test_tokens_in_logs(text: str, count: int) -> None:
    assert search.tokens(text.encode()) == count


@pytest.mark.parametrize(
    ("options", "distribution"),
    [
        ("", True),
        ("arch=amd64", True),
        ("signed-by=/usr/share/keyrings/debian-archive-keyring.gpg", True),
        ("signed-by=/etc/apt/keyrings/vendor.gpg", False),
        ("trusted=yes", False),
        ("Trusted: yes Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg", False),
    ],
)
def test_whose_signature_packages_need(options: str, distribution: bool) -> None:
    assert audit_host.is_distribution(options) is distribution


def test_sums_of_an_archive_are_by_paths_as_they_are_on_hosts(tmp_path: Path) -> None:
    for top, names in (("", ["bin/a", "db/1.sql"]), ("janus-1/", ["bin/a", "db/1.sql"]), ("", ["bin/a"])):
        path = tmp_path / "x.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for name in names:
                entry = tarfile.TarInfo(top + name)
                entry.size = 1
                tar.addfile(entry, io.BytesIO(b"x"))
        assert control_node.archive_sums(str(path)) == dict.fromkeys(names, hashlib.sha256(b"x").hexdigest())


def test_programs_are_compared_with_their_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = tmp_path / "fedlearn-x.service"
    monkeypatch.setattr(audit_host, "UNITS", str(tmp_path / "fedlearn-*.service"))
    monkeypatch.setattr(audit_host, "PROGRAMS", str(tmp_path / "opt"))
    folder = tmp_path / "opt" / "janus" / "1-abc"
    (folder / "bin").mkdir(parents=True)
    unit.write_text(f"ExecStart={folder}/bin/aggregator --config-file x\n")
    (folder / "bin" / "aggregator").write_text("right")
    wanted = {"janus": {"bin/aggregator": hashlib.sha256(b"right").hexdigest()}}
    assert audit_host.compare(wanted) == ([], 1)
    (folder / "bin" / "more").write_text("more")
    (folder / "bin" / "aggregator").write_text("wrong")
    assert audit_host.compare(wanted)[0] == [
        f"{folder}/bin/aggregator: is another than in the archive",
        f"{folder}/bin/more: is in no archive",
    ]
    (folder / "bin" / "aggregator").unlink()
    assert audit_host.compare(wanted)[0][0] == f"{folder}/bin/aggregator: is missing"
    monkeypatch.setattr(search, "MAX_FILE", 8)  # a program is as big as it is, and packed files are what they are
    for content in (b"123456789", gzip.compress(b"x")):
        (folder / "bin" / "aggregator").write_bytes(content)
        wanted["janus"] = {
            "bin/aggregator": hashlib.sha256(content).hexdigest(),
            "bin/more": hashlib.sha256(b"more").hexdigest(),
        }
        assert audit_host.compare(wanted) == ([], 2)
    unit.unlink()
    assert audit_host.compare(wanted)[0] == [f"{tmp_path}/opt/janus: no unit starts anything of it"]


def test_login_keys_are_known_by_their_fingerprints_whatever_stands_before_them(tmp_path: Path) -> None:
    line = (key_of(tmp_path, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f"), (tmp_path / "made.pub").read_text())[
        1
    ]
    shown = subprocess.run(
        ["ssh-keygen", "-lf", tmp_path / "made.pub"], check=True, capture_output=True, text=True
    ).stdout
    (found,) = audit_host.fingerprints(f'from="10.0.0.0/8",command="x" {line}# {line[:30]}\n')
    assert base64.b64encode(bytes.fromhex(found)).decode().rstrip("=") == shown.split()[1].removeprefix("SHA256:")


def test_git_that_can_t_be_read_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    places = Places(str(tmp_path), (), str(tmp_path / ".backups"))
    assert control_node.no_git(places) == ""
    (tmp_path / ".git").mkdir()
    assert control_node.no_git(places).startswith(f"git doesn't read {tmp_path}")


def test_what_is_no_key_ends_no_audit() -> None:
    assert audit_host.fingerprints("ssh-ed25519 " + "A" * 45 + " odd\nssh-rsa short\n") == []
