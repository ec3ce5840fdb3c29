# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The look at a host, on a made-up one: what it is known by, what of another party is there, and what logs say."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.fedlearn.infra.plugins.module_utils._audit import reading
from ansible_collections.fedlearn.infra.plugins.module_utils._audit.search import keyed, public_halves
from ansible_collections.fedlearn.infra.plugins.module_utils._janus import keyring
from ansible_collections.fedlearn.infra.plugins.modules import audit_host

KEY = "d" * 64
PASSWORD = "Zk3vQ-9tR_w7LmX2cB8nY5pD1sFgHjKe"
LINKS = [
    {"ifname": "lo", "addr_info": [{"local": "127.0.0.1", "scope": "host"}]},
    {"ifname": "eth0", "addr_info": [{"local": "10.9.0.1", "scope": "global"}, {"local": "fe80::1", "scope": "link"}]},
    {
        "ifname": "docker0",
        "linkinfo": {"info_kind": "bridge"},
        "addr_info": [{"local": "172.17.0.1", "scope": "global"}],
    },
    {"ifname": "eth1", "addr_info": [{"local": "fd00::9", "scope": "global"}]},
]


class Host:
    """A machine below a folder, with programs that say what they are told to."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        for name in ("etc/ssh", "etc/pki/front", "root/.ssh", "var/lib", "var/log", "bin"):
            (root / name).mkdir(parents=True)
        monkeypatch.setenv("PATH", f"{root}/bin:/usr/bin:/bin")
        self.program("ip", json.dumps(LINKS))
        self.program("journalctl", "all is well\n")
        for name in ("ROOTS", "WITHOUT", "SOURCES", "SERVERS", "LOGINS"):
            monkeypatch.setattr(audit_host, name, tuple(f"{root}{path}" for path in getattr(audit_host, name)))
        for name in ("MACHINE", "HOST_KEYS", "LOGS", "UNITS", "KEYRING", "USERS"):
            monkeypatch.setattr(audit_host, name, f"{root}{getattr(audit_host, name)}")

    def program(self, name: str, says: str) -> None:
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
        path.chmod(0o755)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def look(self, capsys: pytest.CaptureFixture[str], **more: Any) -> dict[str, Any]:
        given = {"sought": {"key": KEY}, "own": {"key": KEY}, "certificates": str(self.root / "etc/pki")}
        with patch_module_args(given | more), pytest.raises(SystemExit):
            audit_host.main()
        told: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert not told.get("failed"), told
        return told


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_by_what_a_host_is_known(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.write("etc/machine-id", "abc\n")
    host.write("var/lib/fedlearn-x/data/global/pg_control", (7).to_bytes(8, "little") + b"more")
    host.write(
        "etc/apt/sources.list",
        "deb http://deb.debian.org/debian bookworm main\ndeb [trusted=yes] http://x.example/ ./\n",
    )
    host.write("etc/apt/sources.list.d/y.sources", "Types: deb\nURIs: http://y.example\nSigned-By: /etc/y.gpg\n")
    key = host.root / "etc/ssh/ssh_host_ed25519_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    host.write("root/.ssh/authorized_keys", key.with_suffix(".pub").read_text())
    told = host.look(capsys)
    (half,) = public_halves(key.read_bytes())
    assert told["identity"] == {
        "machine-ids": ["abc"],
        "hosts": [half],
        "ssh keys": [half],
        "addresses": ["10.9.0.1", "fd00::9"],
        "database servers": ["7"],
        "package sources": ["http://x.example", "http://y.example"],
    }
    assert told["publics"] == {half: str(key)}
    assert (told["found"], told["leaks"]) == ([], [])


def test_what_of_another_party_is_there(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    datastore = keyring.new_key()
    host.write("root/notes", f"x={datastore}")
    host.write("var/lib/x/dump.sql", f"password '{PASSWORD}'")
    sought = {
        "key": KEY,
        "words": {keyed(KEY, "secret", PASSWORD): "clinic-a: the secret p"},
        "commitments": {keyring.commitment(datastore): "clinic-a: a key"},
    }
    told = host.look(capsys, sought=sought)
    assert sorted(told["found"]) == [
        f"{host.root}/root/notes: clinic-a: a key",
        f"{host.root}/var/lib/x/dump.sql: clinic-a: the secret p",
    ]
    assert PASSWORD not in str(told)


def made_key(place: Path, name: str, *how: str) -> bytes:
    curve = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run([*curve, *how, "-out", place / name], check=True, capture_output=True)
    return (place / name).read_bytes()


def test_what_others_once_laid_where_nobody_looked(
    tmp_path_factory: pytest.TempPathFactory, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path_factory.mktemp("theirs")
    tls, authority = made_key(theirs, "key.pem"), made_key(theirs, "ca.key", "-aes256", "-pass", "pass:x")
    datastore, vault = keyring.new_key(), b"$ANSIBLE_VAULT;1.1;AES256\n" + b"36" * 40 + b"\n3132\n"
    (theirs / "vault.yml").write_bytes(vault)
    host.write("home/x/values.yml", "tls:\n" + "".join(f"    {line}\n" for line in tls.decode().splitlines()))
    host.write("opt/app/settings.json", json.dumps({"key": tls.decode()}))
    host.write("data/key.pem", tls)
    host.write("root/hex", base64.urlsafe_b64decode(datastore + "==").hex())
    host.write("srv/big", bytes(33 << 20) + datastore.encode() + b"\n" + tls)
    (host.root / "srv/old.tar.gz").parent.mkdir(exist_ok=True)
    subprocess.run(["tar", "-czf", host.root / "srv/old.tar.gz", "-C", theirs, "vault.yml", "ca.key"], check=True)
    repository = host.write("home/y/app/oops", tls).parent
    who = ["-c", "user.name=x", "-c", "user.email=x@x.example", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm1"], ["rm", "-q", "oops"], ["commit", "-qm2"]):
        subprocess.run(["git", "-C", repository, *who, *words], check=True)
    sought = {
        "key": KEY,
        "commitments": {keyring.commitment(datastore): "datastore"},
        "publics": dict.fromkeys(public_halves(tls), "tls"),
        "files": {hashlib.sha256(vault).hexdigest(): "vault", hashlib.sha256(authority).hexdigest(): "ca"},
    }
    found = host.look(capsys, sought=sought)["found"]
    assert sorted(line.removeprefix(f"{host.root}/").partition(", object")[0] for line in found) == [
        "data/key.pem: tls",
        "home/x/values.yml: tls",
        "home/y/app/.git",
        "opt/app/settings.json: tls",
        "root/hex: datastore",
        "srv/big: datastore",
        "srv/big: tls",
        "srv/old.tar.gz: ca",
        "srv/old.tar.gz: vault",
    ]


def test_a_host_tells_commitments_of_its_keys_and_never_a_key(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    keys = [keyring.new_key(), keyring.new_key()]
    path = host.write("var/lib/fedlearn-demo-survey-leader/datastore-keys", ",".join(keys) + "\n")
    told = host.look(capsys, keyrings=["demo-survey-leader"])
    assert told["commitments"] == {keyring.commitment(key): f"a key of {path}" for key in keys}
    assert not any(key in str(told) for key in keys)


def test_logs_with_tokens_or_own_secrets(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.program("journalctl", f"started\nAuthorization: Bearer {'q7' * 16}\n")
    host.write("var/log/nginx/access.log", f"GET /x?token={PASSWORD}\n")
    own = {"key": KEY, "words": {keyed(KEY, "secret", PASSWORD): "the secret p"}}
    told = host.look(capsys, own=own)
    assert told["leaks"] == ["the journal: 1 tokens in clear", f"{host.root}/var/log/nginx/access.log: the secret p"]
    assert PASSWORD not in str(told)


def test_what_couldn_t_be_read_is_told_by_no_word_that_has_a_meaning_of_its_own(
    host: Host, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`skipped` would be made a truth value, and the host one that nobody looked at."""
    monkeypatch.setattr(reading, "MAX_FILE", 8)
    monkeypatch.setattr(reading, "MOST_OF_FILE", 8)
    monkeypatch.setattr(reading, "MOST_OF_ALL", 0)
    path = host.write("var/log/much", "123456789")
    told = host.look(capsys)
    assert f"{path}: looked at only as far as 0 MB, unpacked" in told["unread"]
    assert f"{path}: looked at only as far as 0 MB, unpacked" in told["unread_logs"]
    assert "skipped" not in told


@pytest.mark.parametrize("folder", ["data", "srv/deploy", "var/www", "usr/local/share", "dev/shm", "run/x", "home/a/b"])
def test_no_folder_is_left_out_but_the_system_s_own(
    folder: str, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in (folder, "usr/share", "proc/1", "var/log/journal"):
        host.write(f"{place}/notes", PASSWORD)
    told = host.look(capsys, sought={"key": KEY, "words": {keyed(KEY, "secret", PASSWORD): "it"}})
    assert told["found"] == [f"{host.root}/{folder}/notes: it"]


def test_who_may_log_in_to_homes_that_are_elsewhere(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    key = host.root / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    host.write("etc/passwd", f"root:x:0:0::/root:/bin/sh\ndeploy:x:9:9::{host.root}/srv/deploy/:/bin/sh\nodd\n")
    host.write("srv/deploy/.ssh/authorized_keys", key.with_suffix(".pub").read_text())
    (half,) = public_halves(key.read_bytes())
    assert host.look(capsys)["identity"]["ssh keys"] == [half]


def test_the_journal_is_searched_for_what_others_have_too(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.program("journalctl", f"x: {PASSWORD}")
    told = host.look(capsys, sought={"key": KEY, "words": {keyed(KEY, "secret", PASSWORD): "clinic-a: it"}})
    assert (told["found"], told["leaks"]) == (["the journal: clinic-a: it"], [])


def test_a_journal_that_can_t_be_read_is_told(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    (host.root / "bin" / "journalctl").write_text("#!/bin/sh\nexit 1\n")
    assert host.look(capsys)["unread_logs"] == ["the journal: journalctl couldn't read all of it"]


def test_a_host_without_a_machine_id_has_none_in_common_with_others(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert host.look(capsys)["identity"]["machine-ids"] == []
