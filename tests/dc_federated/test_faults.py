# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes wrong on hosts: processes killed, disks full, clocks off, certificates that ran out."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from deployment import NET, ROOM, Polls
from expiring import let_expire
from standing_demo import CHECKOUT, until

OTHERS = ROOM / "others.keys"
KILLS = 20
STATE = "/var/lib/private/fedlearn-polls-far-server"
PROXY = "/etc/fedlearn/polls/pki/polls-near-proxy"
UNITS = (("p1", "polls-near-server"), ("p2", "polls-near-worker"), ("p3", "polls-near-worker"), ("p1", "nginx"))


POLLING = """\
pid=$(systemctl show -p MainPID --value fedlearn-polls-near-worker)
for look in 1 2; do
    sleep 1
    ss -Htnp state established '( dport = :443 )' | grep -q "pid=$pid," || exit 0
done
echo polling
"""
"""A worker has a connection while it asks something, so one that has it twice in a row polls."""


def waiting(polls: Polls) -> int:
    """How many of the two workers of `near` poll."""
    return sum(polls.run(host, POLLING) == "polling\n" for host in ("p2", "p3"))


def test_twenty_kills_are_healed(polls: Polls) -> None:
    """Server, its one process, workers and nginx: each time both workers poll again, by themselves."""
    assert until(120, lambda: waiting(polls), lambda count: count == 2) == 2
    for turn in range(KILLS):
        host, unit = UNITS[turn % len(UNITS)]
        service = unit if unit == "nginx" else f"fedlearn-{unit}"
        former = polls.run(host, f"systemctl show -p MainPID --value {service}").strip()
        polls.run(host, f"systemctl kill --signal=KILL {service}")
        main = f"systemctl show -p MainPID --value {service}"
        gone = (former, "0")
        again = until(60, partial(polls.run, host, main), lambda pid, gone=gone: str(pid).strip() not in gone)
        assert again.strip() not in gone, (turn, service)
        assert until(120, lambda: waiting(polls), lambda count: count == 2) == 2, (turn, service)
    for host, unit in UNITS[:3]:
        assert polls.run(host, f"systemctl is-active fedlearn-{unit}").strip() == "active"
    status = polls.playbook("fedlearn.infra.status")
    assert status.returncode == 0, status.output[-3000:]


@pytest.fixture
def full(polls: Polls) -> Iterator[None]:
    """The state directory of `far`'s server on a disk of its own, which is full."""
    unit = "fedlearn-polls-far-server"
    polls.run(
        "p3",
        f"systemctl stop {unit}; mv {STATE} {STATE}.kept; mkdir -m 700 {STATE}; "
        f"mount -t tmpfs -o size=256k,mode=700 tmpfs {STATE}; cp -a {STATE}.kept/. {STATE}/; systemctl start {unit}",
    )
    assert until(60, lambda: polls.run("p3", "ss -Hltn 'sport = :5000'"), bool)
    polls.run("p3", f"dd if=/dev/zero of={STATE}/filling bs=1k 2>/dev/null || true")
    yield
    polls.run(
        "p3", f"systemctl stop {unit}; umount {STATE}; rmdir {STATE}; mv {STATE}.kept {STATE}; systemctl start {unit}"
    )
    OTHERS.write_text("# workers of others, one a line\n")
    polls.site("-e", "stack=far")


def test_a_full_disk_is_told_and_made_good_by_the_next_run(polls: Polls, full: None) -> None:
    key = secrets.token_hex(32)
    derive = f"from nacl.signing import SigningKey; print(SigningKey(bytes.fromhex('{key}')).verify_key.encode().hex())"
    python = "$(ls -d /opt/fedlearn/dc_federated-python/*/bin/python | tail -n1)"
    public = polls.run("p3", f'{python} -c "{derive}"').strip()
    server = polls.pid("p3", "polls-far-server")
    OTHERS.write_text(f"# workers of others, one a line\n{public}\n")
    refused = polls.playbook("site.yml", "-e", "stack=far")
    assert refused.returncode == 2
    assert "No space left on device" in refused.output
    assert polls.pid("p3", "polls-far-server") == server

    polls.run("p3", f"rm {STATE}/filling")
    polls.site("-e", "stack=far")
    assert polls.pid("p3", "polls-far-server") == server
    assert polls.client("p1", key, ["register"], stack="far") == [[200, public]]


@pytest.fixture
def expired(polls: Polls) -> Iterator[None]:
    """nginx of `near` shows a certificate that ran out yesterday."""
    let_expire(polls, "p1", PROXY, ROOM)
    yield
    polls.site("-e", "stack=near")


HANDSHAKE = """
import socket, ssl
context = ssl.create_default_context(cafile="/etc/fedlearn/polls/pki/polls-near-worker/ca.pem")
try:
    with context.wrap_socket(socket.create_connection(({address!r}, 443), timeout=10), server_hostname={address!r}):
        print("right")
except ssl.SSLCertVerificationError as error:
    print(error.verify_message)
"""


def handshake(polls: Polls, *, clock: str = "") -> str:
    """What a worker's host makes of nginx' certificate, with its clock set off."""
    script = HANDSHAKE.format(address=f"{NET}.11")
    faked = f"faketime {clock!r} " if clock else ""
    return polls.run("p2", f"{faked}python3 - <<'END'\n{script}\nEND").strip()


def test_an_expired_certificate_keeps_workers_waiting_and_site_renews_it(polls: Polls, expired: None) -> None:
    assert handshake(polls) == "certificate has expired"
    polls.run("p2", "systemctl restart fedlearn-polls-near-worker")
    journal = "journalctl -u fedlearn-polls-near-worker -n 20 --no-pager"
    said = until(60, lambda: polls.run("p2", journal), lambda text: "certificate has expired" in str(text))
    assert "certificate has expired" in said
    status = polls.playbook("fedlearn.infra.status")
    assert status.returncode == 2
    assert "polls-near-proxy" in status.output
    polls.site("-e", "stack=near")
    assert handshake(polls) == "right"
    assert until(120, lambda: waiting(polls), lambda count: count == 2) == 2
    assert polls.run("p2", "systemctl is-active fedlearn-polls-near-worker").strip() == "active"


def test_a_worker_s_clock_may_be_off_by_hours_and_not_by_years(polls: Polls) -> None:
    """Nothing of the library's depends on it; the certificate's validity does."""
    polls.run("p2", "apt-get -qq update && apt-get -qq install --no-install-recommends faketime >/dev/null")
    assert handshake(polls, clock="+12 hours") == "right"
    assert handshake(polls, clock="-10 years") == "certificate is not yet valid"
    assert handshake(polls, clock="+50 years") == "certificate has expired"


def test_fewer_open_files_than_workers_need_is_told_with_the_number(polls: Polls) -> None:
    def expect(document: dict[str, Any]) -> None:
        document["stacks"]["near"]["workers"]["expected"] = 200_000

    polls.write(expect)
    try:
        done = polls.playbook("fedlearn.infra.precheck", "-e", "stack=near")
    finally:
        polls.write()
    assert done.returncode == 2
    words = " ".join(done.output.split())
    assert "polls-near-server: 1000512 open files are needed (five for each of 200000 workers: `expected`)" in words
    assert "set fs.nr_open to 1000512 at least, of a container its own limit (--ulimit nofile=1000512)" in words


def test_verify_has_a_row_for_each_whom_servers_refuse(polls: Polls) -> None:
    assert polls.playbook("fedlearn.infra.verify", "-e", "stack=far").returncode == 0
    report = json.loads((CHECKOUT / "build" / "polls" / "verify.json").read_text())
    rows = {row["name"]: row["passed"] for row in report["stacks"]["far"]["checks"]}
    assert rows["p3: polls-far-server refuses an unknown key"] is True
    assert rows["p3: polls-far-server refuses a known key with another's signature"] is True
