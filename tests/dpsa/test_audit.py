# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The audit of two deployed sides: nothing is violated as they are; what is planted for each row is found."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from parties import HELPER, LEADER, NETWORK, ROOM, SIX, Party

KEYS = "/var/lib/fedlearn-dpsa-survey-leader/datastore-keys"
CLUSTER = "/var/lib/fedlearn-dpsa-survey-leader-database/data/global/pg_control"


def audited(party: Party, *arguments: str) -> dict[str, dict[str, Any]]:
    """The rows of a party's audit; what it published is signed and handed over."""
    ended = party.playbook("audit", *arguments)
    rows: dict[str, dict[str, Any]] = party.report("audit.json")["rows"]
    violated = [name for name, row in rows.items() if row["status"] == "violated"]
    assert ended.code == (2 if violated else 0), ended.text
    assert party.playbook("exchange").code == 0
    other = HELPER if party is LEADER else LEADER
    party.publish(other)
    return rows


def both(*arguments: str) -> dict[str, dict[str, Any]]:
    """The helper's report, once each side has seen what the other published."""
    audited(LEADER, *arguments)
    audited(HELPER, *arguments)
    audited(LEADER, *arguments)
    return audited(HELPER, *arguments)


def test_on_a_clean_deployment_each_row_is_proved() -> None:
    alone = audited(LEADER)
    assert {row["status"] for row in alone.values()} == {"not checked"}
    assert "there is no report of clinic-b" in str(alone["machine-ids"]["evidence"])
    found = both()
    assert {name: row for name, row in found.items() if row["status"] != "proved"} == {}
    assert f"{SIX}:22: all 65535 tried, 22 are open" in str(found["inner paths"]["evidence"])
    (text,) = (HELPER.home / "build").glob("*/audit.txt")
    assert "It proves nothing against one that lies" in text.read_text()


@contextmanager
def on(party: Party, write: str, remove: str) -> Iterator[None]:
    """Something on a party's host, and its way back."""
    party.sh(write)
    try:
        yield
    finally:
        party.sh(remove)


@contextmanager
def on_both(write: str, remove: str) -> Iterator[None]:
    """The same on both hosts."""
    with on(LEADER, write, remove), on(HELPER, write, remove):
        yield


@contextmanager
def instead(path: str, write: str) -> Iterator[None]:
    """Another content of a file of the helper's, perhaps a program that runs, which gets the former one back."""
    kept = f"{path}-kept"
    with on(HELPER, f"mv {path} {kept} && cp -p {kept} {path} && {write}", f"mv -f {kept} {path}"):
        yield


@contextmanager
def copied(source: str, target: str) -> Iterator[None]:
    """A file of the leader's host on the helper's."""
    content = LEADER.sh(f"base64 -w0 {source}")
    with on(HELPER, f"mkdir -p $(dirname {target}) && echo {content} | base64 -d > {target}", f"rm {target}"):
        yield


@contextmanager
def on_control_node(name: str, content: str) -> Iterator[None]:
    path = HELPER.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    try:
        yield
    finally:
        path.unlink()


@contextmanager
def in_git(content: str) -> Iterator[None]:
    """Committed once, and removed."""

    def git(*words: str) -> None:
        who = ["-c", "user.name=x", "-c", "user.email=x@x.example", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", HELPER.home, *who, *words], check=True, capture_output=True)

    git("init", "-q")
    try:
        (HELPER.home / "oops").write_text(content)
        git("add", "-f", "oops")
        git("commit", "-qm", "one")
        git("rm", "-qf", "oops")
        git("commit", "-qm", "two")
        yield
    finally:
        shutil.rmtree(HELPER.home / ".git")


@contextmanager
def another_authority() -> Iterator[None]:
    """The leader's CA among those of the helper's party."""
    path = HELPER.home / "public" / "clinic-b" / "more.pem"
    shutil.copy(LEADER.home / "public" / "clinic-a" / "clinic-a.pem", path)
    try:
        yield
    finally:
        path.unlink()


@contextmanager
def same_vault() -> Iterator[None]:
    """A copy of the leader's encrypted file under a name of the helper's own."""
    path = HELPER.home / ".ca" / "clinic-b" / "copy.key"
    shutil.copy(LEADER.home / ".secrets" / "clinic-a.yml", path)
    try:
        yield
    finally:
        path.unlink()


FORWARD = """
import socket, threading
server = socket.create_server(("::", 7777), family=socket.AF_INET6, dualstack_ipv6=True)
def pump(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.close()
while True:
    one, _ = server.accept()
    two = socket.create_connection(("127.0.0.1", 9972))
    for pair in ((one, two), (two, one)):
        threading.Thread(target=pump, args=pair, daemon=True).start()
"""
TOKEN = "Authorization: Bearer " + "q7" * 16
LOGIN = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP0NxG4Vt1bQp8RjZ8kq1mD9c4mY2j2t8gk2hYb1pXwZ both"
CONFIGURATION = "/etc/fedlearn/dpsa/dpsa-survey-helper-aggregator/janus.yml"
PACKAGES = "/etc/apt/sources.list.d/more.list"
LATE = '#!/bin/sh\\nexec /bin/date -d +120sec "$@"\\n'


def plants(shared: Path) -> dict[str, tuple[AbstractContextManager[None], str]]:
    """For each row what violates it, and what its evidence then names."""
    datastore = LEADER.sh(f"cat {KEYS}")
    key = LEADER.sh("cat /etc/fedlearn/dpsa/pki/dpsa-survey-leader/key.pem")
    program = HELPER.sh("ls /opt/fedlearn/janus/*/bin/aggregator")
    machine = LEADER.sh("cat /etc/machine-id")
    address = f"{NETWORK}.200"
    return {
        "reach": (on_control_node(".secrets/clinic-a.yml", "x"), ".secrets/clinic-a.yml is another party's"),
        "hosts": (copied("/etc/ssh/ssh_host_ed25519_key.pub", "/etc/ssh/ssh_host_copy_key.pub"), "has the same"),
        "addresses": (on_both(f"ip address add {address}/32 dev lo", f"ip address del {address}/32 dev lo"), address),
        "CAs": (another_authority(), "the key of the CA more"),
        "ssh keys": (
            on_both(
                f"install -d -m 700 /root/.ssh; echo '{LOGIN}' > /root/.ssh/authorized_keys2",
                "rm /root/.ssh/authorized_keys2",
            ),
            "has the same",
        ),
        "machine-ids": (instead("/etc/machine-id", f"echo {machine} > /etc/machine-id"), machine),
        "database servers": (copied(CLUSTER, "/var/lib/copy/data/global/pg_control"), "has the same"),
        "vault files": (same_vault(), "copy.key"),
        "backup destinations": (nullcontext(), str(shared)),
        "package sources": (
            on_both(f"echo 'deb [trusted=yes] http://packages.example/ ./' > {PACKAGES}", f"rm {PACKAGES}"),
            "http://packages.example",
        ),
        "secrets on hosts": (on(HELPER, f"echo 'keys={datastore}' > /root/notes", "rm /root/notes"), "/root/notes"),
        "secrets on the control node": (on_control_node("notes.txt", key), "notes.txt: clinic-a"),
        "secrets in backups": (on_control_node("../backups/b1/old.sql", f"-- {datastore}"), "b1/old.sql: clinic-a"),
        "secrets in git": (in_git(key), "object "),
        "clocks": (
            on(
                HELPER,
                f"printf '{LATE}' > /usr/local/bin/date && chmod 755 /usr/local/bin/date",
                "rm /usr/local/bin/date",
            ),
            "b1: 12",
        ),
        "software": (instead(program, f"echo '# more' >> {program}"), "bin/aggregator: is another than in the archive"),
        "configuration": (instead(CONFIGURATION, f"echo '# more' >> {CONFIGURATION}"), "janus"),
        "inner paths": (
            on(HELPER, f"systemd-run --quiet --unit=forward python3 -c '{FORWARD}'", "systemctl stop forward"),
            f"{SIX}:22 port 7777 answers /tasks/",
        ),
        "logs": (
            on(HELPER, f"mkdir /var/log/more && echo '{TOKEN}' > /var/log/more/app.log", "rm -r /var/log/more"),
            "/var/log/more/app.log: 1 tokens",
        ),
    }


def test_one_violation_a_row_and_each_is_found() -> None:
    """`parties` and `document` are in documents and reports alone: tests/unit has them."""
    shared = ROOM / "backups"
    with ExitStack() as stack:
        planted = plants(shared)
        for plant, _words in planted.values():
            stack.enter_context(plant)
        found = both("-e", f"fedlearn_backup_directory={shared}")
    assert set(found) - set(planted) == {"parties", "document"}
    missed = {
        name: found[name] for name, (_plant, words) in planted.items() if words not in str(found[name]["evidence"])
    }
    assert missed == {}
    assert f"{NETWORK}.22 port 7777 answers /tasks/" in str(found["inner paths"]["evidence"])
    assert {name for name in planted if found[name]["status"] != "violated"} == set()
