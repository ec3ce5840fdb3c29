# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The s3fs role on one host, as an unprivileged sudo user."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
import yaml
from role_host import RoleHost
from shared_tests import Packaged, Secretive, ipv6, unit

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
FULL, READ, FOLDER = VARIABLES["s3fs_mounts"]
MOUNTS = (r"srv-shared\x2ddata.mount", "srv-deep-read.only.mount", "srv-folder.mount")
STORE = "fedlearn-store.service"
PLACE = FULL["path"]
PREPARED = yaml.safe_load((Path(__file__).parents[1] / "prepare.yml").read_text())[1]["vars"]
"""The storage's own variables."""


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "s3fs", VARIABLES)


def mounts(**changed: Any) -> list[dict[str, Any]]:
    """The scenario's mounts, the first one's bucket changed."""
    return [{**FULL, "s3": {**FULL["s3"], **changed}}, READ, FOLDER]


def look(role: RoleHost) -> str:
    """One word for all files of the role's, and for the mounts, each with the moment it was made."""
    since = "; ".join(f"systemctl show -p InvocationID -p ActiveState {quote(unit)}" for unit in MOUNTS)
    return role.state() + role.sh(since)


def put(role: RoleHost, name: str) -> None:
    """A file that says its own name, in the mount and never in the folder below it."""
    role.sh(f"mountpoint -q {PLACE} && echo {name} >{PLACE}/{name}")


def timers(role: RoleHost, verb: str) -> None:
    """Stops or starts what mounts again, so that a test sees what it did itself."""
    role.sh(f"systemctl {verb} " + " ".join(f"fedlearn-{one['name']}.timer" for one in VARIABLES["s3fs_mounts"]))


@pytest.fixture
def unwatched(role: RoleHost) -> Iterator[None]:
    timers(role, "stop")
    yield
    timers(role, "start")


def wait(role: RoleHost, condition: str) -> None:
    """Until a shell condition holds; a minute at most."""
    role.sh(f"for _ in $(seq 60); do {{ {condition}; }} && exit 0; sleep 1; done; exit 1")


def test_what_is_written_is_read_by_others(role: RoleHost) -> None:
    role.sh(f"head -c 20000000 /dev/urandom >{PLACE}/file; sync")
    role.sh(f"cmp {PLACE}/file {READ['path']}/file")
    assert role.sh(f"stat -c '%u:%g' {PLACE}/file").strip() == "1000:1000"
    assert role.host.run(f"head -c 1 {PLACE}/file").rc == 0
    code, said = role.try_sh(f"touch {READ['path']}/another")
    assert (code, "Read-only file system" in said) == (1, True), said
    role.sh(f"rm {PLACE}/file")
    role.sh("echo here >/srv/source/x && cmp /srv/source/x /srv/folder/x && rm /srv/folder/x")


def test_the_canary_leaves_nothing(role: RoleHost) -> None:
    assert role.play(entry="check").code == 0
    assert role.sh(f"ls -A {PLACE} /srv/source").split() == [f"{PLACE}:", "/srv/source:"]


def test_hardened(role: RoleHost) -> None:
    assert role.exposure("fedlearn-s3fs-full.service") <= 2.5
    pid = role.sh("pgrep -f '^s3fs imaging /srv/shared-data'").strip()
    status = role.sh(f"cat /proc/{pid}/status")
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert "CapBnd:\t0000000000200002" in status


class TestS3fs(Secretive, Packaged):
    owned = 14
    changed = {"s3fs_mounts": mounts(umask="0002")}
    package = ("s3fs_packages", "s3fs")
    # every wrong value has its exact message in tests/unit/plugins/plugin_utils/roles/test_catalogue.py
    wrong = (
        (
            [{**FULL, "directory": "/srv"}],
            "[0]: needs exactly one of s3, nfs, directory: what is mounted there; found s3",
        ),
        ([{**FULL, "options": ["no_check_certificate"]}], "whoever answers would be believed to be the storage"),
        ([FULL, {**FOLDER, "path": PLACE}], f"[1]: path: '{PLACE}' is where 's3fs-full' is mounted"),
        ([{**FULL, "pfad": 1}], "Supported parameters include:"),
    )

    def with_(self, changed: list[Any]) -> dict[str, Any]:
        return {"s3fs_mounts": changed}

    meant = tuple(f"/etc/fedlearn/s3fs-one/s3fs-{name}/passwd" for name in ("full", "read"))
    # the storage is the scenario's own
    places = Secretive.places.replace("/var/lib/fedlearn*", "/var/lib/fedlearn/")

    def lose(self, role: RoleHost) -> None:
        role.sh(f"rm {self.meant[0]}")

    def state(self, role: RoleHost) -> str:
        return f"{look(role)} {role.configuration()}"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"secret": "second"}, "invalid credentials"),
        ({"client": "nobody"}, "invalid credentials"),
        # who may not list a bucket isn't told whether there is one
        ({"bucket": "nowhere"}, "invalid credentials"),
        ({"ca": "/etc/role-test/other.pem"}, "certificate isn't trusted: unable to get local issuer certificate"),
        ({"ca": "/etc/role-test/ended-ca.pem"}, "certificate isn't trusted: certificate has expired"),
        ({"ca": "/etc/role-test/none.pem"}, "/etc/role-test/none.pem holds no certificate of the storage's CA"),
        ({"ca": "/etc/role-test/server.key"}, "/etc/role-test/server.key holds no certificate of the storage's CA"),
        ({"url": "https://localhost:9000"}, "certificate isn't trusted: hostname mismatch"),
        ({"url": "https://127.0.0.1:9999"}, "connect"),
    ],
    ids=["secret", "client", "bucket", "CA", "ended CA", "no CA", "no certificate", "name", "address"],
)
def test_what_can_not_be_mounted_is_told_and_the_former_mount_is_back(
    role: RoleHost, changed: dict[str, Any], reason: str
) -> None:
    put(role, "kept")
    before = role.state()
    run = role.play(s3fs_mounts=mounts(**changed))
    assert run.failed == 1
    assert "s3fs-full" in run.words
    assert reason.lower() in run.words.lower(), run.text
    # what is known beforehand is refused before anything changes
    refused = "isn't trusted" in reason or "no certificate" in reason
    assert ("nothing was changed" if refused else "rolled back, the former service is running") in run.words
    assert role.state() == before
    assert role.sh(f"cat {PLACE}/kept; rm {PLACE}/kept") == "kept\n"
    assert role.play(entry="check").code == 0


def third(**changed: Any) -> list[dict[str, Any]]:
    """The scenario's mounts, and one more."""
    s3 = {**FULL["s3"], **changed.pop("s3", {})}
    return [
        FULL,
        READ,
        FOLDER,
        {"name": "s3fs-third", "federation": "s3fs-one", "path": "/srv/third", "s3": s3, **changed},
    ]


OTHER_TIME = """
import http.server, ssl, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(403)
        self.end_headers()
    def date_time_string(self, timestamp=None):
        return super().date_time_string(__import__("time").time() + int(sys.argv[1]))
server = http.server.HTTPServer(("127.0.0.1", 9443), Answer)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/etc/role-test/server.pem", "/etc/role-test/server.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
"""A storage whose clock is so many seconds ahead."""


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(1500, r"clock is (149\d|150\d) s behind that of"), (-1500, r"clock is (149\d|150\d) s ahead of that of")],
)
def test_a_clock_that_jumped_is_told_in_size_and_sign(role: RoleHost, seconds: int, told: str) -> None:
    """The storage would take nothing that is signed by it, and s3fs would call it wrong credentials."""
    before = TestS3fs().state(role)
    command = f"python3 -c {quote(OTHER_TIME)} {seconds}"
    with unit(role, "other-time", command, "ss -Hltn | grep -q 127.0.0.1:9443"):
        run = role.play(s3fs_mounts=third(s3={"url": "https://127.0.0.1:9443"}))
    assert run.failed == 1, run.text
    assert re.search(f"this host's {told} https://127.0.0.1:9443, which takes no more than 900", run.words), run.text
    assert TestS3fs().state(role) == before


def test_a_storage_that_has_ipv6_alone_is_mounted(host: Any, role: RoleHost) -> None:
    """Of a certificate that names the address, and by it."""
    signed = "openssl req -new -key server.key -subj /CN=server | openssl x509 -req -CA ca.pem -CAkey ca.key -days 9 "
    signed += "-extfile names -out new.pem && mv new.pem server.pem"
    names = f"printf 'subjectAltName=IP:::1,IP:127.0.0.1,IP:{role.address}' >names"
    store, url = RoleHost(host, "minio", {**VARIABLES, **PREPARED}), "https://[::1]:9000"
    role.sh(f"cd /etc/role-test && cp -p server.pem kept.pem && {names} && {signed}")
    with ipv6(role):
        try:
            assert store.play().code == 0
            role.sh(f"systemctl restart {STORE}")  # it listens on the loopback addresses that there are when it starts
            wanted = {"s3fs_mounts": third(s3={"url": url})}
            run = role.play(**wanted)
            assert (run.code, run.changed) == (0, 1), run.text
            role.sh("echo by-ipv6 >/srv/third/six && grep -q by-ipv6 /srv/third/six && rm /srv/third/six")
            assert role.sh("pgrep -af '^s3fs imaging /srv/third' | grep -cF 'url=https://[::1]:9000'").strip() == "1"
            assert role.play(**wanted).changed == 0
            gone = [FULL, READ, FOLDER, {"name": "s3fs-third", "federation": "s3fs-one", "state": "absent"}]
            assert role.play(s3fs_mounts=gone).changed == 1
        finally:
            role.sh("cd /etc/role-test && mv kept.pem server.pem && rm names; rmdir /srv/third")
            assert store.play().code == 0
    assert role.play(entry="check").code == 0


def test_a_new_one_that_can_not_be_mounted_leaves_nothing(role: RoleHost) -> None:
    before = look(role)
    run = role.play(s3fs_mounts=third(s3={"secret": "second"}))
    assert run.failed == 1
    assert "invalid credentials" in run.words.lower(), run.text
    assert "CANARY" not in run.text
    left = role.sh("find /etc /run/systemd -name '*s3fs-third*' -o -name 'srv-third*'; findmnt /srv/third || true")
    assert left == ""
    assert look(role) == before


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ("with a space 1", "has a colon or white space"),
        ("with:a:colon", "has a colon or white space"),
        ("li\nne", "white"),
    ],
)
def test_a_password_that_s3fs_can_not_read_is_told(role: RoleHost, secret: str, told: str) -> None:
    before = look(role)
    run = role.play(s3fs_mounts=third(s3={"secret": "odd"}), canary_odd=secret)
    assert run.failed == 1
    assert told in run.words
    assert secret not in run.text
    assert look(role) == before


@pytest.mark.parametrize("entry", ["precheck", "main"])
def test_what_a_mount_would_hide_is_left_alone(role: RoleHost, entry: str) -> None:
    role.sh("mkdir -p /srv/third && echo theirs >/srv/third/file")
    try:
        run = role.play(entry=entry, s3fs_mounts=third())
        assert "/srv/third is no empty folder: a mount would hide what is there" in run.words
        assert role.sh("cat /srv/third/file") == "theirs\n"
        role.sh("rm /srv/third/file && mount -t tmpfs theirs /srv/third")
        run = role.play(entry=entry, s3fs_mounts=third())
        assert "/srv/third: something else is mounted there: tmpfs theirs" in run.words
        assert role.sh("findmnt -n -o FSTYPE /srv/third").strip() == "tmpfs"
    finally:
        role.sh("umount /srv/third; rm -r /srv/third")


@pytest.mark.parametrize("entry", ["precheck", "main"])
def test_a_host_that_can_not_mount_what_programs_serve_is_told(role: RoleHost, entry: str) -> None:
    before = look(role)
    role.sh("mv /dev/fuse /dev/fuse.away")
    try:
        run = role.play(entry=entry, s3fs_mounts=third())
        assert run.failed == 1
        assert "there is no /dev/fuse: this host can't mount what programs serve" in run.words, run.text
    finally:
        role.sh("mv /dev/fuse.away /dev/fuse")
    assert look(role) == before


def test_nothing_is_in_the_way_of_what_runs(role: RoleHost) -> None:
    run = role.play(entry="precheck")
    assert (run.code, run.changed) == (0, 0), run.text


def test_a_kernel_without_nfs_is_told_and_nothing_changes(role: RoleHost) -> None:
    if role.try_sh("grep -qw nfs4 /proc/filesystems || modprobe --quiet fs-nfs")[0] == 0:
        pytest.skip("this kernel has NFS")
    before = TestS3fs().state(role)
    export = {"name": "s3fs-third", "federation": "s3fs-one", "path": "/srv/third", "nfs": "127.0.0.1:/export"}
    for entry in ("precheck", "main"):
        run = role.play(entry=entry, s3fs_mounts=[FULL, READ, FOLDER, export], s3fs_nfs_packages=["s3fs"])
        assert run.failed == 1, run.text
        assert "127.0.0.1:/export can't be mounted: this host's kernel has no NFS" in run.words, run.text
    assert TestS3fs().state(role) == before


def test_a_mount_that_is_gone_is_named_and_made(role: RoleHost, unwatched: None) -> None:
    role.sh(f"systemctl stop {quote(MOUNTS[0])}")
    named = role.play(entry="check").text.replace("\\\\", "\\")
    assert f"s3fs-full: stopped: {MOUNTS[0]} is inactive (dead)" in " ".join(named.split())
    assert role.play().changed == 1
    assert role.play(entry="check").code == 0


def test_a_mount_whose_program_died_is_named_and_made_again(role: RoleHost, unwatched: None) -> None:
    role.sh("pkill -9 -f '^s3fs imaging /srv/shared-data'")
    code, told = role.try_sh("sh /etc/fedlearn/s3fs-one/s3fs-full/storage.sh health")
    assert (code, f"can't cd to {PLACE}" in told) == (1, True), told
    timers(role, "start")
    wait(role, f"touch {PLACE}/again 2>/dev/null && rm {PLACE}/again")
    assert role.play().changed == 0


def test_a_mount_that_was_not_there_at_boot_comes_when_its_storage_does(role: RoleHost) -> None:
    role.sh(f"systemctl stop {STORE}; systemctl restart {quote(MOUNTS[0])}")
    try:
        wait(role, f"! findmnt {PLACE}")
    finally:
        role.sh(f"systemctl start {STORE}")
    wait(role, f"findmnt {PLACE} && touch {PLACE}/again && rm {PLACE}/again")
    assert role.play().changed == 0


def test_a_storage_that_was_away_is_back(role: RoleHost) -> None:
    put(role, "before")
    role.sh(f"systemctl stop {STORE}")
    try:
        ill = role.play(entry="check")
    finally:
        role.sh(f"systemctl start {STORE}")
    assert "s3fs-full: ill: " in ill.words, ill.text
    wait(role, f'[ "$(timeout 20 cat {PLACE}/before)" = before ]')
    wait(role, f"echo after | timeout 20 tee {PLACE}/after")
    role.sh(f"rm {PLACE}/before {PLACE}/after")
    assert role.play(entry="check").code == 0
    assert role.play().changed == 0


def test_what_a_program_has_open_does_not_keep_a_mount(role: RoleHost) -> None:
    role.sh(f"systemd-run --quiet --unit holds --working-directory={PLACE} sleep 600")
    try:
        assert role.play(s3fs_mounts=mounts(umask="0002")).changed == 1
        assert "umask=0002" in role.sh("pgrep -af '^s3fs imaging /srv/shared-data'")
    finally:
        role.sh("systemctl stop holds")
    assert role.play().changed == 1


def test_a_mount_follows_when_its_client_comes_in_turn(host: Any, role: RoleHost) -> None:
    """By the very steps of the playbook `rotate`, with both roles."""
    given = {"fedlearn_secret_backend": {}, "fedlearn_state": os.environ["FEDLEARN_ROLE_STATE"]}
    store = RoleHost(host, "minio", {**VARIABLES, **PREPARED})
    (server,) = PREPARED["minio_instances"]
    turning = {"name": "imaging", "bucket": "imaging", "secret": "turning", "in_turn": True}
    serves = {**given, "minio_instances": [{**server, "clients": [turning]}]}
    mounted = {**given, "s3fs_mounts": mounts(client="imaging", secret="turning", in_turn=True)[:1]}
    file = "/etc/fedlearn/s3fs-one/s3fs-full/passwd"
    first = role.secrets("turning")["turning"]
    try:
        assert [store.play(**serves).changed, role.play(**mounted).changed] == [1, 1]
        put(role, "before")
        second = role.secrets("turning", turn="begin")["turning.2"]
        assert [store.play(**serves).changed, role.play(**mounted).changed] == [1, 1]
        assert role.sh(f"cat {file}") == f"imaging_b:{second}\n"
        assert store.play(entry="withdraw", **serves).changed == 1
        role.secrets("turning", turn="end")
        assert [store.play(**serves).changed, role.play(**mounted).changed] == [0, 0]
        put(role, "after")
        assert role.sh(f"ls {PLACE}").split() == ["after", "before"]
        assert first not in role.sh(f"cat {file}")
    finally:
        assert [store.play().failed, role.play().failed] == [0, 0]
        role.sh(f"rm -f {PLACE}/before {PLACE}/after")


def test_deferred_restarts_leave_what_is_mounted(role: RoleHost) -> None:
    before = look(role)
    run = role.play("-e", "fedlearn_restart=deferred", s3fs_mounts=mounts(umask="0002"))
    assert run.code == 0, run.text
    assert look(role) == before


def test_remove_leaves_nothing_and_a_clean_host_can_be_checked(role: RoleHost) -> None:
    put(role, "kept")
    role.sh("echo kept >/srv/source/kept")
    assert role.play(entry="remove").changed == 1
    assert role.play(entry="remove").changed == 0
    left = role.sh("find /etc /var/lib /run | grep -e s3fs-one -e fedlearn-s3fs -e 'srv-.*mount' || true")
    assert left == "", left
    assert role.sh(f"findmnt -n -o TARGET | grep -e /srv || true; ls -A {PLACE}; pgrep -f '^s3fs' || true") == ""
    clean = role.play("--check")
    assert (clean.code, clean.failed) == (0, 0), clean.text
    assert role.play().changed >= 1
    assert role.sh(f"cat {PLACE}/kept /srv/folder/kept; rm {PLACE}/kept /srv/source/kept") == "kept\nkept\n"
