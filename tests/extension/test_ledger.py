# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backup, restore and rotation, by the commands of docs/operations.md, while somebody uses what they are about.

The system `ledger` is in a copy of the tree only: tests/extension/ledger.
"""

from __future__ import annotations

import csv
import json
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shlex import quote, split
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from extended_tree import BIN, CHECKOUT, Run, Tree

SET = os.environ.get("FEDLEARN_LEDGER_SET", "ledger")
SUBNET = os.environ.get("FEDLEARN_LEDGER_SUBNET", "10.98.35.0/24")
ROOM = CHECKOUT / "build" / "hosts" / SET
ADDRESS = SUBNET.rpartition(".")[0] + ".11"
URL = f"http://{ADDRESS}:7009/"
PAGE = (CHECKOUT / "docs" / "operations.md").read_text()
TYPED = re.findall(
    r"^    ansible-playbook -i federation\.yml (fedlearn\.infra\.(?:backup|restore|rotate).*)$", PAGE, re.M
)
FIREWALL = re.findall(r"^## Firewall$(.*?)^## ", PAGE, re.M | re.S)[0]
DATABASE, CLERK = "fedlearn-ledgers-book-database", "fedlearn-ledgers-book-clerk"
CERTIFICATE = "/etc/fedlearn/ledgers/pki/ledgers-book-database"


def command(tree: Tree, typed: str, *more: str) -> Run:
    """A command as docs/operations.md shows it, on the ledger's document."""
    assert typed in TYPED, TYPED
    name, *arguments = split(typed.replace("ms2", "l1"))
    return tree.playbook(name.rpartition(".")[2], *arguments, *more)


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The ledger, deployed, with a few lines in it."""
    made = Tree(tmp_path_factory.mktemp("operations"), CHECKOUT / "tests/extension/ledger", ROOM / "ssh_config")
    document = made.path / "inventories/ledger/federation.yml"
    document.write_text(document.read_text().replace("10.98.35.11", ADDRESS))
    (made.room / "vault-pass").write_text("known\n")
    made.environment["ANSIBLE_VAULT_PASSWORD_FILE"] = str(made.room / "vault-pass")
    for name in ("secrets", "site"):
        ended = made.playbook(name)
        assert ended.code == 0, ended.text
    for number in range(200):
        post(f"line {number}")
    return made


def on_host(shell: str) -> str:
    """What a shell command prints on l1, as root."""
    ssh = ["ssh", "-F", str(ROOM / "ssh_config"), "l1", "sudo sh"]
    done = subprocess.run(ssh, input=shell, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def post(line: str) -> int:
    with urllib.request.urlopen(URL, data=line.encode(), timeout=10) as answer:
        return int(answer.status)


def told() -> tuple[str, int, int, str]:
    """Who the clerk's session is of, which process serves it, how many lines there are, and their digest."""
    with urllib.request.urlopen(URL, timeout=10) as answer:
        ((login, process, lines, digest),) = json.loads(answer.read())
    return login, process, lines, digest


def admin(sql: str, database: str = "postgres") -> str:
    return on_host(f"psql -XAt -h /run/{DATABASE} -U postgres -v ON_ERROR_STOP=1 -c {quote(sql)} {database}")


def logins() -> list[str]:
    return admin("SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname LIKE 'clerk%' ORDER BY 1").split()


def processes() -> str:
    """The units' main processes, and when they started."""
    return on_host(f"systemctl show -p MainPID -p ExecMainStartTimestampMonotonic {DATABASE} {CLERK}")


def valid(tree: Tree) -> dict[str, str]:
    """The passwords of the clerk that the party's file holds."""
    done = subprocess.run(
        [str(BIN / "ansible-vault"), "view", str(tree.path / "inventories/ledger/.secrets/lab.yml")],
        env=tree.environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return {name: value for name, value in yaml.safe_load(done.stdout).items() if name.startswith("book_")}


def refused(login: str, password: str) -> str:
    """What the server says to a login that is let in no more; nothing when it is let in."""
    where = f"host={ADDRESS} user={login} dbname=ledger sslmode=verify-full sslrootcert={CERTIFICATE}/ca.pem"
    return on_host(f"PGPASSWORD={quote(password)} psql -XAtqc 'SELECT' {quote(where)} 2>&1 || true")


class Client:
    """Somebody who writes all along, and counts."""

    def __init__(self) -> None:
        self.asked, self.failures, self.on = 0, list[str](), True

    def run(self) -> None:
        while self.on:
            self.asked += 1
            try:
                post(f"all along {self.asked}")
            except (urllib.error.URLError, OSError) as error:
                self.failures.append(f"{self.asked}: {error}")


@contextmanager
def all_along() -> Iterator[Client]:
    """A client that is there while something else is done."""
    client = Client()
    thread = threading.Thread(target=client.run)
    thread.start()
    try:
        yield client
    finally:
        client.on = False
        thread.join()


def test_the_page_shows_each_of_the_playbooks() -> None:
    assert {typed.split()[0] for typed in TYPED} == {
        f"fedlearn.infra.{name}" for name in ("backup", "restore", "rotate")
    }
    here = Path(__file__).read_text()
    assert [typed for typed in TYPED if f'command(tree, "{typed}"' not in here] == []


def test_passwords_are_replaced_without_a_failed_request(tree: Tree) -> None:
    (former,) = valid(tree).items()
    assert (told()[0], logins()) == ("clerk_a", ["clerk_a"])
    before, lines = processes(), told()[2]
    with all_along() as client:
        ended = command(tree, "fedlearn.infra.rotate -e what=passwords")
    assert ended.code == 0, ended.text
    assert (client.failures, client.asked > 100) == ([], True)
    assert told()[2] == lines + client.asked
    assert (told()[0], logins(), list(valid(tree))) == ("clerk_b", ["clerk_b"], ["book_ledger.2"])
    assert processes() == before
    assert "authentication failed" in refused("clerk_a", former[1])
    assert refused("clerk_b", valid(tree)["book_ledger.2"]) == ""
    assert former[1] not in ended.text
    assert valid(tree)["book_ledger.2"] not in ended.text
    again = tree.playbook("site")
    assert (again.code, again.changed) == (0, 0), again.text
    assert tree.playbook("status").code == 0


def rotate_where_a_host_is_left_out(tree: Tree) -> Run:
    """Of a document that has one host more."""
    home = tree.path / "inventories/ledger"
    one = f"l1: {{address: {ADDRESS}, vars: {{ansible_user: ops}}}}"
    more = (home / "federation.yml").read_text().replace(one, f"{one}\n      l2: {ADDRESS[:-1]}2")
    (home / "more.yml").write_text(more)
    return tree.playbook("rotate", "-e", "what=passwords", "--limit", "l1", document="more.yml")


def test_a_former_password_stays_valid_while_somebody_uses_it(tree: Tree) -> None:
    """Somebody whom nobody moved over is told and not shut out; when it has gone the next rotation ends what began."""
    former = told()[0]
    (newer,) = {"clerk_a", "clerk_b"} - {former}
    (before,) = valid(tree).items()
    left_out = rotate_where_a_host_is_left_out(tree)
    assert left_out.code == 2, left_out.text
    assert "not everybody has the new ones: l2 failed, or --limit left them out" in left_out.words, left_out.text
    (after,) = valid(tree).items() - {before}
    where = f"host={ADDRESS} user={former} dbname=ledger sslmode=require"
    waits = f"PGPASSWORD={quote(before[1])} psql -XAtqc 'SELECT pg_sleep(600)' {quote(where)}"
    on_host(f"systemd-run --quiet --unit waits /bin/sh -c {quote(waits)}; sleep 1")
    try:
        ended = command(tree, "fedlearn.infra.rotate -e what=passwords", "-e", '{"postgresql_withdraw_seconds": 5}')
        assert ended.code == 2, ended.text
        assert f"login {former}: stays valid, for there are sessions of it from {ADDRESS}" in ended.words, ended.text
        assert refused(former, before[1]) == ""
        assert (told()[0], logins(), valid(tree)) == (newer, ["clerk_a", "clerk_b"], dict([before, after]))
        kept = tree.playbook("site")
        assert (kept.code, kept.changed) == (0, 0), kept.text
    finally:
        on_host("systemctl stop waits || true")
        admin(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{former}'")
    assert command(tree, "fedlearn.infra.rotate -e what=passwords").code == 0
    assert (told()[0], logins(), valid(tree)) == (newer, [newer], dict([after]))


def test_certificates_are_replaced_without_a_failed_request(tree: Tree) -> None:
    look = f"sha256sum {CERTIFICATE}/key.pem {CERTIFICATE}/cert.pem; "
    served = f"openssl s_client -starttls postgres -connect {ADDRESS}:5432 </dev/null 2>/dev/null"
    look += f"{served} | openssl x509 -noout -serial"
    before, running, session = on_host(look), processes(), told()[:2]
    with all_along() as client:
        ended = command(tree, "fedlearn.infra.rotate -e what=certificates -e stack=book")
    assert ended.code == 0, ended.text
    assert (client.failures, client.asked > 100) == ([], True)
    assert set(on_host(look).splitlines()) & set(before.splitlines()) == set()
    assert (processes(), told()[:2]) == (running, session)
    again = tree.playbook("site")
    assert (again.code, again.changed) == (0, 0), again.text
    before = on_host(look)
    of_a_host = command(tree, "fedlearn.infra.rotate -e what=certificates --limit ms2")
    assert of_a_host.code == 0, of_a_host.text
    assert set(on_host(look).splitlines()) & set(before.splitlines()) == set()


def cas() -> list[str]:
    """Serial numbers of the CAs that the clerk's host trusts."""
    each = "openssl crl2pkcs7 -nocrl -certfile {} | openssl pkcs7 -print_certs -text | grep -A1 'Serial Number'"
    return on_host(each.format(f"{CERTIFICATE}/ca.pem")).split()


def test_cas_are_changed_without_a_failed_request(tree: Tree) -> None:
    former, running, session = cas(), processes(), told()[:2]
    served = f"openssl s_client -starttls postgres -connect {ADDRESS}:5432 -CAfile {CERTIFICATE}/ca.pem </dev/null 2>&1"
    on_host(f"cp {CERTIFICATE}/ca.pem /run/former.pem")
    with all_along() as client:
        ended = command(tree, "fedlearn.infra.rotate -e what=ca")
    assert ended.code == 0, ended.text
    assert (client.failures, client.asked > 100) == ([], True)
    assert (len(cas()), set(cas()) & set(former) <= {"Serial", "Number:"}) == (len(former), True)
    assert "Verify return code: 0 (ok)" in on_host(served)
    assert "Verify return code: 0 (ok)" not in on_host(served.replace(f"{CERTIFICATE}/ca.pem", "/run/former.pem"))
    assert (processes(), told()[:2]) == (running, session)
    keys = (tree.path / "inventories/ledger/.ca/lab").glob("*.key")
    assert [path.name for path in keys] == ["lab.key"]
    again = tree.playbook("site")
    assert (again.code, again.changed) == (0, 0), again.text


class Organisation:
    """Whose CA signs where the document says that others do."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "organisation")])
        self.root = self._signed(self.name, self.key.public_key(), x509.BasicConstraints(True, None))

    def _signed(self, subject: x509.Name, key: Any, *extensions: x509.ExtensionType) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self.name, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=90))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def sign(self, request: x509.CertificateSigningRequest, key: Any = None) -> bytes:
        """What a request asks for, for its key or another."""
        asked = [extension.value for extension in request.extensions]
        return self._signed(request.subject, key or request.public_key(), x509.BasicConstraints(False, None), *asked)


def variant(tree: Tree, name: str, pki: str) -> str:
    """The document where the party says this of its certificates."""
    home = tree.path / "inventories/ledger"
    text = (home / "federation.yml").read_text().replace("  lab:\n", f"  lab:\n    pki: {pki}\n")
    (home / f"{name}.yml").write_text(text)
    return f"{name}.yml"


def well_and_stays(tree: Tree, document: str) -> None:
    """What the document says is deployed, works, and a second run changes nothing."""
    for name in ("status", "verify"):
        ended = tree.playbook(name, document=document)
        assert ended.code == 0, ended.text
    again = tree.playbook("site", document=document)
    assert (again.code, again.changed) == (0, 0), again.text
    post("with the certificate of now")


def test_a_document_whose_certificates_others_sign_or_provide(tree: Tree) -> None:
    organisation, home = Organisation(), tree.path / "inventories/ledger"
    (home / "files").mkdir(exist_ok=True)
    (home / "files/organisation.pem").write_bytes(organisation.root)
    signed = variant(tree, "csr", "{mode: csr, ca: files/organisation.pem}")
    waiting = tree.playbook("site", document=signed)
    desk = home / "public/lab/requests/l1"
    assert waiting.code == 2
    assert f"waits to be signed: the request is {desk}/ledgers-book-database.csr" in waiting.words, waiting.text
    post("meanwhile")
    request = x509.load_pem_x509_csr((desk / "ledgers-book-database.csr").read_bytes())
    (desk / "ledgers-book-database.pem").write_bytes(organisation.sign(request))
    ended = tree.playbook("site", document=signed)
    assert ended.code == 0, ended.text
    well_and_stays(tree, signed)

    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    theirs = "/etc/ssl/theirs/ledgers-book-database"
    on_host(f"umask 077; mkdir -p /etc/ssl/theirs; printf %s {quote(pem)} >{theirs}.key")
    on_host(f"printf %s {quote(organisation.sign(request, key.public_key()).decode())} >{theirs}.pem")
    paths = "certificate_file: '/etc/ssl/theirs/{name}.pem', key_file: '/etc/ssl/theirs/{name}.key'"
    provided = variant(tree, "provided", f"{{mode: provided, ca: files/organisation.pem, {paths}}}")
    ended = tree.playbook("site", document=provided)
    assert ended.code == 0, ended.text
    assert on_host(f"cmp {theirs}.key {CERTIFICATE}/key.pem && echo same") == "same"
    well_and_stays(tree, provided)
    back = tree.playbook("site")
    assert back.code == 0, back.text
    on_host("rm -r /etc/ssl/theirs; ! ls /etc/systemd/system | grep certificates")
    well_and_stays(tree, "federation.yml")


def test_a_document_whose_ca_may_certify_some_names_only_changes_the_ca(tree: Tree) -> None:
    within = f"{ADDRESS.rpartition('.')[0]}.0/24"
    limited = variant(tree, "limited", f"{{permitted: {{names: [lab.example], networks: [{within}]}}}}")
    refused = tree.playbook("site", document=limited)
    assert refused.code == 2
    assert "keeps what it was made with: change the CA" in refused.words, refused.text
    with all_along() as client:
        ended = tree.playbook("rotate", "-e", "what=ca", document=limited)
    assert ended.code == 0, ended.text
    assert (client.failures, client.asked > 100) == ([], True)
    said = on_host(f"openssl x509 -noout -text -in {CERTIFICATE}/ca.pem")
    assert "DNS:lab.example" in said
    well_and_stays(tree, limited)
    back = tree.playbook("rotate", "-e", "what=ca")
    assert back.code == 0, back.text
    well_and_stays(tree, "federation.yml")


def test_what_is_not_to_be_rotated_or_restored_is_told_before_any_host_is_touched(tree: Tree) -> None:
    ended = tree.playbook("rotate", "-e", "what=cas")
    asked = "-e what=: expected one of certificates, passwords, ca, datastore_keys, found the text 'cas'"
    assert (ended.code, asked in ended.words) == (2, True), ended.text
    ended = tree.playbook("restore")
    assert (ended.code, "restore what? -e from=FOLDER takes the newest" in ended.words) == (2, True), ended.text
    ended = tree.playbook("restore", "-e", f"from={tree.room}")
    assert (ended.code, f"l1: there is no backup of postgresql in {tree.room}" in ended.words) == (2, True), ended.text


def test_a_new_host_gets_the_data_back(tree: Tree) -> None:
    ended = command(tree, "fedlearn.infra.backup")
    assert ended.code == 0, ended.text
    entry = tree.report("backup.json")["stacks"]["book"]
    (file,) = entry["files"]
    assert (entry["passed"], file["host"], file["role"]) == (True, "l1", "postgresql")
    path = Path(file["path"])
    assert path.parent == tree.path / "inventories/ledger/.backups/l1"
    assert path.stat().st_size == file["bytes"]
    kept = told()[2:]
    post("after the backup")

    hosts = [sys.executable, str(CHECKOUT / "molecule/shared/hosts.py")]
    subprocess.run([*hosts, "down", SET], check=True)
    subprocess.run([*hosts, "up", "--suite", "bookworm", "--subnet", SUBNET, SET, f"l1={ADDRESS}"], check=True)
    there = ("-e", f"from={path.parents[1]}")
    unreached = command(tree, "fedlearn.infra.restore -e from=.backups", *there, "-e", "ansible_port=1")
    assert unreached.code == 4, unreached.text
    assert tree.playbook("site").code == 0
    assert told()[2] == 0
    ended = command(tree, "fedlearn.infra.restore -e from=.backups", *there)
    assert ended.code == 0, ended.text
    assert told()[2:] == kept
    again = tree.playbook("site")
    assert (again.code, again.changed) == (0, 0), again.text


def test_a_backup_that_can_not_be_made_is_told_in_the_report(tree: Tree) -> None:
    on_host(f"systemctl stop {DATABASE}")
    try:
        ended = command(tree, "fedlearn.infra.backup")
    finally:
        on_host(f"systemctl start {DATABASE}")
    assert ended.code == 2, ended.text
    report = tree.report("backup.json")
    assert (report["verdict"], report["stacks"]["book"]["passed"], report["stacks"]["book"]["files"]) == (
        "failed",
        False,
        [],
    )
    (row,) = report["stacks"]["book"]["checks"]
    assert (row["name"], "No such file or directory" in row["detail"]) == ("l1: postgresql", True), row


def connects(port: int) -> bool:
    """Whether this control node, which no flow but the clerk's names, gets through to a port."""
    try:
        socket.create_connection((ADDRESS, port), 2).close()
    except OSError:
        return False
    return True


def test_the_firewall_is_brought_by_the_page_s_commands(tree: Tree) -> None:
    shown = [split(line, comments=True) for line in re.findall(r"^    ((?:ansible|#).*)$", FIREWALL, re.M)]
    flows, site, table, _edit, again, status = (words[3:] if words else [] for words in shown)
    report = yaml.safe_load(re.findall(r"^```yaml$(.*?)^```$", FIREWALL, re.M | re.S)[0])["parties"]["lab"]["firewall"]
    assert (report, _edit) == ({"mode": "report"}, [])

    def typed(words: list[str]) -> Run:
        name, *arguments = words
        done = tree.playbook(name.removeprefix("fedlearn.infra."), *arguments, document="guarded.yml")
        assert done.code == 0, done.text
        return done

    def says(mode: str) -> None:
        home = tree.path / "inventories/ledger"
        text = (home / "federation.yml").read_text().replace("  lab:\n", f"  lab:\n    firewall: {{mode: {mode}}}\n")
        (home / "guarded.yml").write_text(text)

    says("report")
    typed(flows)
    (written,) = (tree.room / "build").glob("*/flows.csv")
    assert {"5432", "7009"} <= {row["port"] for row in csv.DictReader(written.open(encoding="utf-8", newline=""))}
    typed(site)
    assert (connects(5432), connects(7009)) == (True, True)
    asked = [word.replace("NAME", "ledgers") for word in table]
    ssh = ["-e", json.dumps({"ansible_ssh_common_args": f"-F {tree.ssh_config}"})]
    counted = tree.run("ansible", "-i", "inventories/ledger/guarded.yml", *ssh, *asked)
    assert counted.code == 0, counted.text
    assert re.search(r"counter packets [1-9]", counted.text), counted.text
    says("enforce")
    typed(again)
    assert (connects(5432), connects(7009)) == (False, True)
    post("through the firewall")
    typed(status)
    assert tree.playbook("site", "-e", "fedlearn_prune=true").code == 0
    assert connects(5432)


def test_remove_leaves_nothing(tree: Tree) -> None:
    removed = tree.playbook("remove", "-e", "fedlearn_remove_data=true")
    assert removed.code == 0, removed.text
    left = on_host(
        "find /etc /run /var/lib /var/tmp -name '*ledgers*' 2>/dev/null; ss -Hltn 'sport = :5432 or sport = :7009'"
    )
    assert left == ""
