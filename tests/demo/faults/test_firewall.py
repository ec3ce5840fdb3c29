# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The firewall of a deployed federation, by the commands of docs/operations.md: connections beside what flows say."""

from __future__ import annotations

import csv
import ipaddress
import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from standing_demo import SERVERS, Changed, Demo, last_line, recap, until

HOSTS = "    hosts:\n"
SSH = 22
FIRST_EPHEMERAL = 32768

Way = tuple[str, str, int]
"""Who connects, to which host, to which port."""

TRY = """
import concurrent.futures, json, socket, sys

def connects(way):
    try:
        socket.create_connection(way, 2).close()
        return True
    except OSError:
        return False

with concurrent.futures.ThreadPoolExecutor(32) as pool:
    print(json.dumps(list(pool.map(connects, [tuple(way) for way in json.loads(sys.stdin.readline())]))))
"""


def firewall(said: str) -> tuple[str, str]:
    """The change of a document that has the lab say this of its hosts' firewalls."""
    return HOSTS, f"    firewall: {said}\n{HOSTS}"


def flows(demo: Demo, inventory: Path, folder: Path) -> list[dict[str, str]]:
    """The rows that the playbook writes for a firewall team."""
    done = demo.playbook("fedlearn.infra.flows", "-e", f"fedlearn_build={folder}", inventory=inventory)
    assert done.returncode == 0, done.output
    with (folder / "demo" / "flows.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def listening(demo: Demo, addresses: dict[str, str]) -> list[tuple[str, int]]:
    """Every host and port that something listens on for others."""
    found = set()
    for host in demo.hosts:
        for line in demo.run(host, "ss -ltnH").splitlines():
            address, _colon, port = line.split()[3].rpartition(":")
            if address in (addresses[host], "0.0.0.0", "*", "[::]"):
                found.add((host, int(port)))
    return sorted(found)


def named(way: Way, rows: list[dict[str, str]], source: str) -> bool:
    """Whether a flow names a connection; an ephemeral one is to a port that none says."""
    _who, host, port = way
    to_host = [row for row in rows if row["destination"] == host]
    ports = {row["port"] for row in to_host}
    said = str(port) if str(port) in ports or port < FIRST_EPHEMERAL else "ephemeral"
    return any(row["port"] == said and _is_from(row, source) for row in to_host)


def _is_from(row: dict[str, str], source: str) -> bool:
    if "/" in row["source"]:
        return ipaddress.ip_address(source) in ipaddress.ip_network(row["source"])
    return row["source"] == "clients" or source in row["source_address"].split()


def connections(demo: Demo, places: list[tuple[str, int]], addresses: dict[str, str]) -> dict[Way, bool]:
    """What comes of connecting from every host, and from this control node, which no flow lets in but for ssh."""
    found: dict[Way, bool] = {}
    for who in demo.hosts:
        others = [(host, port) for host, port in places if host != who]
        wanted = json.dumps([(addresses[host], port) for host, port in others])
        said = demo.run(
            who, f"cat > /run/try.py <<'E'\n{TRY}\nE\necho '{wanted}' | python3 /run/try.py; rm /run/try.py"
        )
        found |= {(who, *place): answered for place, answered in zip(others, json.loads(said), strict=True)}
    with ThreadPoolExecutor(32) as pool:
        answers = pool.map(lambda place: _connects(addresses[place[0]], place[1]), places)
        found |= {("controller", *place): answered for place, answered in zip(places, answers, strict=True)}
    return found


def _connects(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 2).close()
    except OSError:
        return False
    return True


def dropped(demo: Demo) -> dict[str, int]:
    """Host by host, the packets that rules counted."""
    command = "nft list table inet fedlearn-demo"
    return {host: sum(map(int, re.findall(r"counter packets (\d+)", demo.run(host, command)))) for host in demo.hosts}


@pytest.fixture(scope="module")
def addresses(demo: Demo) -> Iterator[dict[str, str]]:
    return {host: demo.variables(host)["ansible_host"] for host in demo.hosts}


def test_report_counts_nothing_of_a_round_and_enforce_lets_in_what_flows_name(
    demo: Demo, document: Changed, tmp_path: Path, addresses: dict[str, str]
) -> None:
    reporting = document(firewall("{mode: report}"))
    demo.site(inventory=reporting)
    judged = demo.playbook(
        "fedlearn.infra.verify", "-e", "verify=round", "-e", f"fedlearn_build={tmp_path}", inventory=reporting
    )
    assert judged.returncode == 0, judged.output[-3000:]
    assert dropped(demo) == dict.fromkeys(demo.hosts, 0)
    assert not _connects(addresses["ms1"], 9)
    assert _connects(addresses["ms1"], 23456)
    assert dropped(demo)["ms1"] > 0

    enforcing = document(firewall("{mode: enforce}"))
    demo.site(inventory=enforcing)
    rows = flows(demo, enforcing, tmp_path)
    places = listening(demo, addresses)
    assert len([port for _host, port in places if port >= FIRST_EPHEMERAL]) == 2  # a server's own on each of two hosts
    found = connections(demo, places, addresses)
    source = {**addresses, "controller": str(ipaddress.ip_network(f"{addresses['ms1']}/24", strict=False)[1])}
    wanted = {way: way[2] == SSH or named(way, rows, source[way[0]]) for way in found}
    assert found == wanted
    assert {True, False} == {answered for way, answered in found.items() if way[2] != SSH}
    judged = demo.playbook(
        "fedlearn.infra.verify", "-e", "verify=round", "-e", f"fedlearn_build={tmp_path}", inventory=enforcing
    )
    assert judged.returncode == 0, judged.output[-3000:]
    status = demo.playbook("fedlearn.infra.status", inventory=enforcing)
    assert (status.returncode, last_line(status)["verdict"]) == (0, "ok")


def test_a_port_that_is_left_stays_guarded_until_nothing_listens_there(
    demo: Demo, document: Changed, addresses: dict[str, str]
) -> None:
    """Rules change before services do, and a service that can't take its new port goes on at the former one."""
    site = demo.run("ms1", "cat /etc/nginx/conf.d/fedlearn-demo-lenet-proxy.conf")
    former = int(re.findall(r"^    server \S+:(\d+) ", site, re.MULTILINE)[0])
    guarded = f"nft list table inet fedlearn-demo | grep -c 'dport {former} ' || true"
    demo.site(inventory=document(firewall("{mode: enforce}")))
    moved = document(firewall("{mode: enforce}"), (SERVERS, "servers: {hosts: [ms2, ms3], port: 6680}"))
    demo.run("ms2", f"systemd-run --unit=taken python3 -m http.server --bind {addresses['ms2']} 6680")
    try:
        failed = demo.playbook("site.yml", inventory=moved)
    finally:
        demo.run("ms2", "systemctl stop taken")
    assert failed.returncode == 2, failed.output[-3000:]
    assert demo.run("ms2", f"ss -Hltn 'sport = :{former}'")
    assert not _connects(addresses["ms2"], former)
    demo.site(inventory=moved)
    assert int(demo.run("ms2", guarded)) == 0
    assert {row["changed"] for row in recap(demo.site(inventory=moved).output).values()} == {0}
    demo.site(inventory=document(firewall("{mode: 'off'}")))


def test_rules_that_no_document_names_are_orphans(demo: Demo, document: Changed) -> None:
    demo.site(inventory=document(firewall("{mode: enforce}")))
    plain = document()
    status = demo.playbook("fedlearn.infra.status", inventory=plain)
    assert status.returncode == 2
    assert "demo-firewall" in status.output
    demo.site("-e", "fedlearn_prune=true", inventory=plain)
    for host in demo.hosts:
        assert "fedlearn" not in demo.run(host, "nft list tables")


def test_an_emptied_table_is_drift(demo: Demo, document: Changed) -> None:
    enforcing = document(firewall("{mode: enforce}"))
    demo.site(inventory=enforcing)
    demo.run("ms1", "nft delete table inet fedlearn-demo")
    status = demo.playbook("fedlearn.infra.status", inventory=enforcing)
    assert status.returncode == 2
    rows = last_line(status)["stacks"]["lenet"]["hosts"]["ms1"]["unwell"]
    assert [(row["role"], row["state"], row["reason"]) for row in rows] == [
        ("firewall", "differing", "table fedlearn-demo")
    ]
    demo.site("--limit", "ms1", inventory=enforcing)
    assert until(30, lambda: demo.playbook("fedlearn.infra.status", inventory=enforcing).returncode, (0).__eq__) == 0
    demo.site(inventory=document(firewall("{mode: 'off'}")))
    for host in demo.hosts:
        assert "fedlearn" not in demo.run(host, "nft list tables")
        assert "demo-firewall" not in demo.run(host, "cat /var/lib/fedlearn/demo/owned.json")
