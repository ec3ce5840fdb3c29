# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All infrastructure roles together: what one host brings the other uses, through each other's TLS and firewalls."""

from __future__ import annotations

import socket
import subprocess
from typing import Any

import pytest
from standing_demo import HOSTS_PY, recap

# three of PostgreSQL and of MinIO, two of each other role, and the first contact of each of three plays
MOST = {"store": 2 * 3 + 3 + 2 + 3, "front": 2 * 3 + 3 + 2 + 2 + 2}
OPEN = {"store": {5432, 23456, 9000}, "front": {27017, 5000, 8443}}


def connects(address: str, port: int) -> bool:
    with socket.socket() as asking:
        asking.settimeout(2)
        return asking.connect_ex((address, port)) == 0


def test_each_role_is_content(hosts: Any) -> None:
    checked = hosts.play("check.yml")
    assert checked.returncode == 0, checked.output[-4000:]


def test_a_second_run_changes_nothing_with_few_executions(hosts: Any) -> None:
    before = (hosts.files(), hosts.processes())
    again = hosts.converge()
    assert [row["changed"] for row in recap(again.output).values()] == [0, 0], again.output[-3000:]
    seen = {host: again.per_host().get(address, 0) for host, address in hosts.addresses.items()}
    assert {host: count for host, count in seen.items() if not 0 < count <= MOST[host]} == {}
    assert (hosts.files(), hosts.processes()) == before


def test_check_mode_changes_nothing(hosts: Any) -> None:
    before = (hosts.files(), hosts.processes())
    assert [row["changed"] for row in recap(hosts.converge("--check").output).values()] == [0, 0]
    assert (hosts.files(), hosts.processes()) == before


def test_what_is_written_on_one_host_lies_on_the_other(hosts: Any) -> None:
    hosts.run("front", "echo 'of a survey' > /srv/imaging/first.txt")
    hosts.run("store", "test -e \"$(find /var/lib/private/fedlearn-base-buckets -path '*/imaging/first.txt/xl.meta')\"")


def test_documents_lie_in_the_other_hosts_database(hosts: Any) -> None:
    sessions = hosts.run("store", "ss -Htn state established '( sport = :5432 )'")
    assert {line.split()[-1].rpartition(":")[0] for line in sessions.splitlines()} == {hosts.addresses["front"]}


def test_the_entrance_leads_to_the_other_host(hosts: Any) -> None:
    url = f"https://{hosts.addresses['front']}:8443/minio/health/live"
    context = "ssl.create_default_context(cafile='/etc/fedlearn/base/pki/host/ca.pem')"
    asked = f"import ssl, urllib.request; print(urllib.request.urlopen('{url}', context={context}).status)"
    assert hosts.run("store", f'python3 -c "{asked}"') == "200\n"


@pytest.mark.parametrize("host", OPEN)
def test_only_those_come_in_whom_the_firewall_names(hosts: Any, host: str) -> None:
    """The control node is a stranger but to the entrance; the other host is none."""
    assert {port for port in OPEN[host] if connects(hosts.addresses[host], port)} == OPEN[host] & {8443}
    other = next(name for name in OPEN if name != host)
    for port in OPEN[host]:
        hosts.run(other, f"timeout 5 bash -c '</dev/tcp/{hosts.addresses[host]}/{port}'")


def test_both_hosts_come_back_from_a_boot(hosts: Any) -> None:
    hosts.run("front", "echo kept > /srv/imaging/kept.txt")
    before = hosts.files()
    subprocess.run([*HOSTS_PY, "restart", hosts.room.name], check=True)
    hosts.become_well()
    assert hosts.files() == before
    assert hosts.run("front", "cat /srv/imaging/kept.txt") == "kept\n"
