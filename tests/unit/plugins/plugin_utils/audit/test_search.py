# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What only another party may have is found wherever it is, by what can be told of it in public; nothing else is."""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.fedlearn.infra.plugins.module_utils._audit import keys, reading, search
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
    (found,) = keys.public_halves(content)
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
    assert sought.inside(content.replace(b"6162", b"6163")) == set()


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


def in_tar(name: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def in_zip(name: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return packed.getvalue()


def in_dump(content: bytes) -> bytes:
    """As pg_dump --format=custom writes a table of 300 bytes a chunk, once compressed."""

    def number(value: int) -> bytes:
        return b"\0" + value.to_bytes(4, "little")

    packed = zlib.compress(content, 1)
    chunks = [packed[start : start + 300] for start in range(0, len(packed), 300)]
    table = b"\1" + number(3372) + b"".join(number(len(chunk)) + chunk for chunk in chunks) + number(0)
    return b"PGDMP\1\x0e\0\4\x08\1" + bytes(900) + table + table


VAULT = b"$ANSIBLE_VAULT;1.1;AES256\n" + b"3435" * 20 + b"\n3637\n"
ALL = Sought(KEY, words=WORDS.words, files={hashlib.sha256(VAULT).hexdigest(): "the vault"})
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": lambda content: in_zip("x", content),
    "tar": lambda content: in_tar("x", content),
    "tar.gz": lambda content: gzip.compress(in_tar("x", content)),
    "pg_dump": in_dump,
    "tar.xz in a zip": lambda content: in_zip("x", lzma.compress(in_tar("x", content))),
    "zip in a tar.bz2": lambda content: bz2.compress(in_tar("x", in_zip("x", content))),
    "two gzips, one after another": lambda content: gzip.compress(b"x\n") + gzip.compress(content),
    "two bzip2s, one after another": lambda content: bz2.compress(b"") + bz2.compress(content),
}


@pytest.mark.parametrize("packed", PACKINGS.values(), ids=PACKINGS)
@pytest.mark.parametrize("around", [b"", b" " * 5000], ids=["short", "long"])
def test_what_is_packed_is_unpacked(tmp_path: Path, packed: Callable[[bytes], bytes], around: bytes) -> None:
    (tmp_path / "file").write_bytes(packed(around + PASSWORD.encode() + around))
    found = search.search([str(tmp_path)], ALL)
    assert (found.found, found.skipped, found.files) == ([f"{tmp_path}/file: the password"], [], 1)


@pytest.mark.parametrize("how", [how for how in PACKINGS if "two" not in how])
def test_an_encrypted_file_is_known_by_its_sum_also_where_it_is_packed(tmp_path: Path, how: str) -> None:
    binary = bytes(range(256)) * 9
    sought = Sought(KEY, files={hashlib.sha256(binary).hexdigest(): "the file"})
    (tmp_path / "file").write_bytes(PACKINGS[how](binary))
    assert search.search([str(tmp_path)], sought).found == [f"{tmp_path}/file: the file"]


@pytest.mark.parametrize("packed", [gzip.compress, bz2.compress, lzma.compress, lambda text: in_zip("x", text)])
def test_what_can_t_be_unpacked_is_told(tmp_path: Path, packed: Callable[[bytes], bytes]) -> None:
    content = packed(b"".join(hashlib.sha256(bytes([number])).digest() for number in range(200)))
    (tmp_path / "file").write_bytes(content[: len(content) // 2])
    found = search.search([str(tmp_path)], ALL)
    assert [line.partition(" (")[0] for line in found.skipped] == [f"{tmp_path}/file: can't be unpacked"]


def test_a_zip_with_a_password_is_told(tmp_path: Path) -> None:
    content = bytearray(in_zip("x", b"x" * 99))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "file").write_bytes(content)
    assert search.search([str(tmp_path)], ALL).skipped == [f"{tmp_path}/file: a zip with a password"]


def test_packed_too_deep_is_told(tmp_path: Path) -> None:
    content = PASSWORD.encode()
    for _each in range(reading.DEEPEST + 1):
        content = gzip.compress(content)
    (tmp_path / "file").write_bytes(content)
    found = search.search([str(tmp_path)], ALL)
    assert (found.found, found.skipped) == ([], [f"{tmp_path}/file: packed more than {reading.DEEPEST} times"])


@pytest.mark.parametrize("packed", [bytes, gzip.compress, lambda text: in_zip("x", text)], ids=["plain", "gzip", "zip"])
def test_big_files_are_looked_at_in_pieces(tmp_path: Path, packed: Callable[[bytes], bytes]) -> None:
    """What lies across two pieces, too."""
    content = bytearray(33 << 20)
    content[reading.PIECE - 9 : reading.PIECE - 9 + len(PASSWORD)] = PASSWORD.encode()
    (tmp_path / "file").write_bytes(packed(bytes(content)))
    found = search.search([str(tmp_path)], ALL)
    assert (found.found, found.skipped) == ([f"{tmp_path}/file: the password"], [])


def test_what_a_file_unpacks_to_is_bounded_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_FILE", 1 << 20)
    monkeypatch.setattr(reading, "MOST_OF_FILE", 8 << 20)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(50 << 20)))
    (tmp_path / "bomb.tar.gz").write_bytes(gzip.compress(in_tar("x", bytes(50 << 20))))
    (tmp_path / "huge").write_bytes(PASSWORD.encode() + bytes(9 << 20))
    found = search.search([str(tmp_path)], ALL)
    assert found.found == [f"{tmp_path}/huge: the password"]
    assert sorted(found.skipped) == [
        f"{tmp_path}/{name}: looked at only as far as 8 MB, unpacked" for name in ("bomb.gz", "bomb.tar.gz", "huge")
    ]


def test_so_is_what_all_big_files_take_and_small_ones_are_looked_at_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_FILE", 1 << 20)
    bounds = reading.Bounds(left=3 << 20)
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(bytes(3 << 20))
    (tmp_path / "small").write_bytes(PASSWORD.encode())
    told = [search.look_at_file(str(tmp_path / name), ALL, bounds) for name in ("one", "two", "small")]
    assert [seen and (seen.found, len(seen.notes)) for seen in told] == [
        (set(), 0),
        (set(), 1),
        ({"the password"}, 0),
    ]


def test_what_is_sealed_is_told_by_what_it_is(tmp_path: Path) -> None:
    sealed = {
        "vault": VAULT,
        "store": b"age-encryption.org/v1\n",
        "dump": b"PGDMP\x01",  # or compressed by lz4 or zstd
        "more.zst": b"\x28\xb5\x2f\xfd",
    }
    for name, content in sealed.items():
        (tmp_path / name).write_bytes(content)
    assert sorted(search.search([str(tmp_path)], WORDS).skipped) == [
        f"{tmp_path}/dump: of pg_dump, without a table that could be unpacked",
        f"{tmp_path}/more.zst: packed",
        f"{tmp_path}/store: encrypted by age",
        f"{tmp_path}/vault: encrypted by ansible-vault",
    ]


EC = ("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out")
MAKERS = {
    "ec": EC,
    "ec, traditional": ("openssl", "ecparam", "-genkey", "-noout", "-name", "secp384r1", "-out"),
    "rsa": ("openssl", "genpkey", "-algorithm", "RSA", "-out"),
    "rsa, traditional": ("openssl", "genrsa", "-traditional", "-out"),
    "ed25519": ("openssl", "genpkey", "-algorithm", "ed25519", "-out"),
    "openssh": ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f"),
}


def body(pem: bytes) -> bytes:
    return base64.b64decode(b"".join(pem.splitlines()[1:-1]))


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "indented": lambda pem: b"key: |\n" + b"".join(b"    " + line + b"\n" for line in pem.splitlines()),
    "in JSON": lambda pem: json.dumps({"key": pem.decode()}).encode(),
    "in JSON in JSON": lambda pem: json.dumps(json.dumps({"key": pem.decode()})).encode(),
    "in a diff": lambda pem: b"".join(b"+" + line + b"\n" for line in pem.splitlines()),
    "removed in a diff": lambda pem: b"".join(b"-  " + line + b"\n" for line in pem.splitlines()),
    "in a mail": lambda pem: b"".join(b"> " + line + b"\n" for line in pem.splitlines()),
    "in a program": lambda pem: b"x = (\n" + b"".join(b'  "' + line + b'\\n"\n' for line in pem.splitlines()) + b")",
    "with CRLF": lambda pem: pem.replace(b"\n", b"\r\n"),
    "without its head": lambda pem: b"k=" + b"".join(pem.splitlines()[1:-1]),
    "base64 of it": base64.b64encode,
    "base64 of it and more": lambda pem: b"data:\n  x: " + base64.b64encode(b"yz" + pem),
    "base64 in lines": lambda pem: base64.encodebytes(b"z" + pem),
    "DER": lambda pem: b"\x00\xff" + body(pem) + b"more",
    "hex of DER": lambda pem: b"x'" + body(pem).hex().encode() + b"'",
}


@pytest.mark.parametrize(
    ("maker", "form"),
    [(maker, form) for maker in MAKERS for form in FORMS if (maker, form) != ("openssh", "hex of DER")],
)
def test_a_private_key_is_found_in_whatever_form(tmp_path: Path, maker: str, form: str) -> None:
    pem = key_of(tmp_path, *MAKERS[maker])
    sought = Sought(KEY, publics={half(pem): "the key"})
    assert sought.inside(b"before\n" + FORMS[form](pem) + b"\nafter\n") == {"the key"}


def test_keys_of_a_key_store_without_a_password_and_one_with_is_told(tmp_path: Path) -> None:
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    made = ["openssl", "req", "-x509", *curve, "-days", "1", "-subj", "/CN=a", "-keyout"]
    subprocess.run([*made, tmp_path / "key", "-out", tmp_path / "cert"], check=True, capture_output=True)
    pem = (tmp_path / "key").read_bytes()
    stores = tmp_path / "stores"
    stores.mkdir()
    for name in ("", "word"):
        stored = ["openssl", "pkcs12", "-export", "-inkey", tmp_path / "key", "-in", tmp_path / "cert", "-passout"]
        subprocess.run([*stored, f"pass:{name}", "-out", stores / f"x{name}.p12"], check=True, capture_output=True)
    found = search.search([str(stores)], Sought(KEY, publics={half(pem): "the key"}))
    assert found.found == [f"{stores}/x.p12: the key"]
    assert found.skipped == [f"{stores}/xword.p12: PKCS#12, which opens with a password only"]


@pytest.mark.parametrize(
    "form", [form for form in FORMS if form.startswith(("indented", "in JSON", "in a diff", "in a mail", "with CRLF"))]
)
@pytest.mark.parametrize("content", [VAULT, b"key"], ids=["vault", "encrypted key"])
def test_an_encrypted_file_is_found_within_another(tmp_path: Path, form: str, content: bytes) -> None:
    if content == b"key":
        content = key_of(tmp_path, *EC[:-1], "-aes256", "-pass", "pass:secret", "-out")
    sought = Sought(KEY, files={hashlib.sha256(content).hexdigest(): "it"})
    assert sought.inside(b"before\n" + FORMS[form](content) + b"\nafter\n") == {"it"}


@pytest.mark.parametrize(
    "text",
    [
        base64.urlsafe_b64decode(DATASTORE + "==").hex(),
        "KEY=0x" + base64.urlsafe_b64decode(DATASTORE + "==").hex().upper(),
        json.dumps({"keys": f"other\n{DATASTORE}"}),
    ],
)
def test_a_datastore_key_is_found_in_hex_and_in_json(text: str) -> None:
    assert WORDS.inside(text.encode()) == {"a datastore key"}


def test_a_datastore_key_is_found_in_the_other_alphabet() -> None:
    raw = bytes([255, 239, 190, *range(13)])
    sought = Sought(KEY, commitments={keyring.commitment(base64.urlsafe_b64encode(raw).decode().rstrip("=")): "it"})
    assert sought.inside(b"key: " + base64.b64encode(raw) + b"\n") == {"it"}
    assert sought.inside(b"key: '" + base64.b64encode(raw).rstrip(b"=") + b"'") == {"it"}


@pytest.mark.parametrize("text", ["x\n{}", "a: {}\n"])
def test_a_secret_is_found_in_base64_and_after_an_escaped_end_of_line(text: str) -> None:
    encoded = base64.b64encode((PASSWORD + "\n").encode()).decode()
    assert WORDS.inside(json.dumps(text.format(PASSWORD)).encode()) == {"the password"}
    assert WORDS.inside(text.format(encoded).encode()) == {"the password"}


def test_the_longest_secret_is_found() -> None:
    longest = "0f" * 512
    sought = Sought(KEY, words={keyed(KEY, "secret", longest): "it"})
    assert sought.inside(f"x: {longest}\n".encode()) == {"it"}


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
    (found,) = search.search([str(tmp_path)], WORDS).found  # as on hosts
    assert found.startswith(f"{tmp_path}/.git, object ")


def committed(folder: Path, name: str, content: bytes) -> None:
    """A repository that had a file once, as one pack."""

    def git(*words: str) -> None:
        who = ["-c", "user.name=x", "-c", "user.email=x@x.example", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True)

    folder.mkdir(parents=True, exist_ok=True)
    git("init", "-q")
    (folder / name).write_bytes(content)
    git("add", "."), git("commit", "-qm", "one")
    git("rm", "-q", name), git("commit", "-qm", "two")
    git("gc", "-q", "--aggressive")


def test_repositories_within_folders_are_read_and_what_git_keeps_beside_objects(tmp_path: Path) -> None:
    state = tmp_path / "state"
    places = Places(str(state), (), str(state / ".backups"))
    committed(state, "mine", b"nothing")
    committed(state / "deep" / "er", "oops.gz", gzip.compress(PASSWORD.encode()))
    (found,) = control_node.search_git(places, WORDS).found
    assert found.startswith(f"{state}/deep/er/.git, object ")
    (state / ".git" / "config").write_text(f"[remote]\nurl = https://x:{PASSWORD}@x.example/\n")
    assert control_node.search_files(places, WORDS).found == [f"{state}/.git/config: the password"]


def test_a_work_tree_leads_to_its_repository(tmp_path: Path) -> None:
    committed(tmp_path / "main", "oops", PASSWORD.encode())
    subprocess.run(
        ["git", "-C", tmp_path / "main", "worktree", "add", "-q", tmp_path / "tree", "HEAD"],
        check=True,
        capture_output=True,
    )
    (found,) = search.search([str(tmp_path / "tree")], WORDS).found
    assert found.startswith(f"{tmp_path}/main/.git, object ")


def test_a_repository_s_own_configuration_is_not_believed(tmp_path: Path) -> None:
    """It could name commands, and root would run them."""
    committed(tmp_path / "r", "oops", PASSWORD.encode())
    (tmp_path / "r" / ".git" / "config").write_text("[core]\nrepositoryformatversion = 99\n")
    assert len(search.search([str(tmp_path)], WORDS).found) == 1


def test_objects_that_git_can_t_read_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    committed(tmp_path / "r", "oops", PASSWORD.encode())
    (pack,) = (tmp_path / "r" / ".git" / "objects" / "pack").glob("*.pack")
    pack.chmod(0o600)
    pack.write_bytes(b"PACK" + b"x" * 99)
    assert search.search([str(tmp_path)], WORDS).skipped == [f"{tmp_path}/r/.git: git couldn't read all of its objects"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert search.search([str(tmp_path)], WORDS).skipped == [
        f"{tmp_path}/r/.git: there is no git here that could read its objects"
    ]


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
        ("authorization=0123456789abcdefgh bearer 0123456789abcdefgi bearer 0123456789abcdefgi", 2),
        ("auth token for aggregator: [81, 65, 66, 1, 81, 65, 66, 1, 9], collector: [7, 8, 9, 1, 2, 3, 4, 5, 6]", 2),
        ("listens on [127, 0, 0, 1], with workers [1, 2, 3, 4, 5, 6, 7, 8, 9]", 0),
        ("Bearer ***, Bearer [redacted], bearer of news, token_hash 5", 0),
        ("GET /tasks/0123456789abcdefghijkl/reports", 0),
    ],
)
def test_tokens_in_logs(text: str, count: int) -> None:
    assert len(search.tokens(text.encode())) == count


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
    monkeypatch.setattr(reading, "MAX_FILE", 8)  # a program is as big as it is, and packed files are what they are
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


def test_folders_that_can_t_be_read_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shut").mkdir()
    scan = os.scandir

    def refuse(path: str) -> object:
        if path == str(tmp_path / "shut"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert search.search([str(tmp_path)], WORDS).skipped == [f"{tmp_path}/shut: can't be read: Permission denied"]


def test_a_file_that_two_roots_lead_to_is_looked_at_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text(PASSWORD)
    assert search.search([str(tmp_path), str(tmp_path / "in")], WORDS).found == [f"{tmp_path}/in/file: the password"]
