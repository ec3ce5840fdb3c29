# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The firewall role on one host, as an unprivileged sudo user; who comes is a neighbour in a network of the host's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_host import CHECKOUT, RoleHost, Run
from shared_tests import Packaged

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
SERVICES: list[dict[str, Any]] = VARIABLES["firewall_services"]
README = CHECKOUT / "roles" / "firewall" / "README.md"

TABLE = "fedlearn-fire-one"
UNIT = "fedlearn-fire-one-firewall.service"
FILES = (
    "/etc/fedlearn/fire-one/firewall.nft",
    f"/etc/systemd/system/{UNIT}",
    "/etc/systemd/system/fedlearn-fire-one-firewall-again.service",
    "/var/lib/fedlearn/fire-one/firewall.json",
)
HOOK = "/run/fedlearn-test-kill"

HOST = {4: "192.0.2.1", 6: "fd17::1"}
FRIEND = {4: "192.0.2.2", 6: "fd17::2"}
STRANGER = {4: "192.0.2.3", 6: "fd17::3"}

Way = tuple[str, int, int, str]
"""Who comes, by which family, to which port, how."""

CLOSED_TO_STRANGERS = {
    ("stranger", family, port, "tcp") for family, port in product((4, 6), (8101, 8102, 40001, 45001))
} | {("stranger", 4, 8105, "udp")}
CLOSED_TO_ALL = {(who, 4, 8104, "tcp") for who in ("friend", "stranger")} | {("friend", 6, 8102, "tcp")}
CLOSED = CLOSED_TO_STRANGERS | CLOSED_TO_ALL
WAYS: list[Way] = [
    *product(("friend", "stranger"), (4, 6), (22, *range(8100, 8108), 40001, 45001, 50001), ("tcp",)),
    *product(("friend", "stranger"), (4,), (8105, 8106), ("udp",)),
]


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "firewall", VARIABLES, ["fire-one-firewall"])


def come(role: RoleHost, ways: list[Way], seconds: float = 5) -> dict[Way, bool]:
    """Which ways lead to an answer."""
    named = [
        f"{(FRIEND if who == 'friend' else STRANGER)[family]},{HOST[family]},{port},{how}"
        for who, family, port, how in ways
    ]
    said = role.sh(f"ip netns exec neighbour python3 /usr/local/sbin/connect.py {seconds} {' '.join(named)}")
    return dict(zip(ways, json.loads(said), strict=True))


def listing(role: RoleHost, table: str = TABLE) -> str:
    return role.sh(f"nft -s list table inet {table}")


def counted(role: RoleHost, table: str = TABLE) -> dict[str, int]:
    """Packets by service."""
    found: dict[str, int] = {}
    for line in role.sh(f"nft list table inet {table}").splitlines():
        match = re.search(r'counter packets (\d+) .*comment "([^"]+)"', line)
        if match:
            found[match[2]] = found.get(match[2], 0) + int(match[1])
    return found


def in_engine(role: RoleHost, command: str) -> str:
    """A command on the host that needs no network of it: for when ssh is broken on purpose."""
    done = subprocess.run(
        ["docker", "exec", f"{role.set}-host", "sh", "-ec", command], capture_output=True, text=True, check=True
    )
    return done.stdout


def until(seconds: float, what: Callable[[], Any], wanted: Any) -> Any:
    """The first answer that is as wanted; the last one when none is within the time."""
    limit = time.monotonic() + seconds
    while (found := what()) != wanted and time.monotonic() < limit:
        time.sleep(0.5)
    return found


def changed_services(port: int = 8107) -> list[dict[str, Any]]:
    """Services that are not what is deployed: one more is guarded."""
    return [*SERVICES, {"name": "one-more", "addresses": ["192.0.2.1"], "port": port, "sources": ["192.0.2.2"]}]


# --- who comes in


def test_only_those_come_in_whom_the_rules_name(role: RoleHost) -> None:
    found = come(role, WAYS)
    assert {way for way, answered in found.items() if not answered} == CLOSED


def test_the_host_itself_reaches_everything(role: RoleHost) -> None:
    ways = [f"{HOST[family]},{HOST[family]},{port},tcp" for family in (4, 6) for port in (8101, 8104, 45001)]
    assert all(json.loads(role.sh(f"python3 /usr/local/sbin/connect.py 5 {' '.join(ways)}")))


def test_destination_options_of_ipv6_hide_no_port(role: RoleHost) -> None:
    ways: list[Way] = [(who, 6, port, "options") for who in ("friend", "stranger") for port in (8101, 45001, 8100)]
    closed = {("stranger", 6, 8101, "options"), ("stranger", 6, 45001, "options")}
    assert {way for way, answered in come(role, ways).items() if not answered} == closed


@pytest.mark.parametrize("piece", [0, 8, 16])
def test_fragments_hide_neither_ports_nor_flags(role: RoleHost, piece: int) -> None:
    def answer(who: dict[int, str], port: int) -> str:
        command = f"python3 /usr/local/sbin/fragments.py {who[4]} {HOST[4]} {port} {piece}"
        return role.sh(f"ip netns exec neighbour {command}").strip()

    for port in (8101, 45001):
        assert answer(FRIEND, port) == "answered"
        assert answer(STRANGER, port) == "silence"


@pytest.mark.parametrize("source", ["127.0.0.1", "192.0.2.1"])
def test_nobody_outside_passes_for_the_host_itself(role: RoleHost, source: str) -> None:
    role.sh(f"ip netns exec neighbour python3 /usr/local/sbin/fragments.py {source} 192.0.2.1 8104")
    assert role.sh("ss -Htn state syn-recv").strip() == ""


# --- a second run, and what is changed by hand


class TestFirewall(Packaged):
    units, owned = (UNIT,), len(FILES)
    damages = ("printf ' ' >> {0}", "chmod 604 {0}", "rm {0}")
    changed = {"firewall_services": changed_services()}
    package = ("firewall_packages", "nftables")
    foretold = False
    wrong = (
        ({"firewall_mode": "on"}, "value of firewall_mode must be one of: off, report, enforce, got: on"),
        (
            {"firewall_services": [{"name": "web", "addresses": ["192.0.2.1"]}]},
            "firewall_services[0]: port: is missing: where it listens, or ephemeral: true",
        ),
        (
            {"firewall_services": [{"name": "web", "addresses": ["192.0.2.1"], "port": 1, "sources": ["friends"]}]},
            "firewall_services[0]: sources[0]: 'friends' is no network, such as 10.20.0.0/16 or fd00::/64",
        ),
        ({"firewall_confirm_seconds": 0}, "firewall_confirm_seconds: expected a whole number from 5 to 600"),
    )

    def state(self, role: RoleHost) -> str:
        return f"{super().state(role)} {listing(role)}"


@pytest.mark.parametrize(
    "damage", ["nft insert rule inet {0} input accept", "nft delete table inet {0}", "nft flush ruleset"]
)
def test_a_table_that_is_changed_by_hand_is_reported_and_repaired(role: RoleHost, damage: str) -> None:
    before = listing(role)
    role.sh(damage.format(TABLE))
    assert f"firewall: differing: table {TABLE}" in role.play(entry="check").words
    assert role.play().changed == 1
    assert listing(role) == before


def test_a_unit_that_is_changed_by_hand_is_reported_and_repaired(role: RoleHost) -> None:
    role.sh(f"systemctl disable --now {UNIT}")
    told = role.play("--check")
    assert (told.failed, told.changed) == (0, 1)
    assert UNIT in role.play(entry="check").words
    assert role.play().changed == 1
    assert role.sh(f"systemctl is-active {UNIT}; systemctl is-enabled {UNIT}").split() == ["active", "enabled"]
    assert come(role, [("stranger", 4, 8101, "tcp")]) == {("stranger", 4, 8101, "tcp"): False}


def test_debians_own_unit_may_empty_all_tables(role: RoleHost) -> None:
    before = listing(role)
    for verb in ("start", "restart", "reload"):
        role.sh(f"systemctl {verb} nftables.service")
        assert until(10, lambda: listing_or_none(role), before) == before, verb
    role.sh("systemctl stop nftables.service")
    assert role.play().failed == 0
    assert listing(role) == before


def listing_or_none(role: RoleHost) -> str:
    code, text = role.try_sh(f"nft -s list table inet {TABLE}")
    return text if code == 0 else ""


# --- what services leave


def test_a_place_that_is_left_stays_guarded_as_long_as_it_is_asked(role: RoleHost) -> None:
    left = {"firewall_services": [one for one in SERVICES if one["name"] != "one-web"]}
    ways: list[Way] = [("stranger", 4, 8101, "tcp"), ("friend", 4, 8101, "tcp")]
    before = listing(role)
    kept = role.play(**left, firewall_keep_left=True)
    assert (kept.failed, kept.changed) == (0, 1)  # its order in the table is another
    assert sorted(listing(role).splitlines()) == sorted(before.splitlines())
    assert list(come(role, ways).values()) == [False, True]
    assert role.play(**left, firewall_keep_left=True).changed == 0
    assert role.play(**left).changed == 1
    assert list(come(role, ways).values()) == [True, True]
    assert role.play().changed == 1
    assert listing(role) == before


def test_a_place_that_is_left_stays_guarded_where_a_service_is_known_to_be(role: RoleHost) -> None:
    """As one is that no document names any more and nobody removed: here one that a hand wrote down."""
    owned = "/var/lib/fedlearn/fire-one/owned.json"
    kept = role.sh(f"cat {owned}")
    known = json.loads(kept)
    port = {"address": "192.0.2.1", "port": 8101, "protocol": "tcp"}
    known["services"]["orphan"] = {"units": [], "files": [], "data": [], "directories": [], "ports": [port]}
    role.sh(f"cat > {owned} <<'E'\n{json.dumps(known)}\nE")
    left = {"firewall_services": [one for one in SERVICES if one["name"] != "one-web"]}
    try:
        assert role.play(**left).failed == 0
        assert role.play(**left).changed == 0
        assert come(role, [("stranger", 4, 8101, "tcp")]) == {("stranger", 4, 8101, "tcp"): False}
    finally:
        role.sh(f"cat > {owned} <<'E'\n{kept}\nE")
    assert role.play(**left).changed == 1
    assert role.play().changed == 1


# --- others on the host


@contextmanager
def unit(role: RoleHost, name: str, command: str, listens: str) -> Iterator[None]:
    """A service of somebody else's, for the time of the block."""
    role.sh(f"systemd-run --collect --unit={name} {command}")
    try:
        assert until(20, lambda: role.try_sh(listens)[1] != "", True)
        yield
    finally:
        role.sh(f"systemctl stop {name}")


def test_tables_of_others_stay_untouched(role: RoleHost) -> None:
    role.sh("nft add table inet theirs; nft add chain inet theirs input '{ type filter hook input priority 0; }'")
    role.sh("nft add rule inet theirs input tcp dport 9 counter drop")
    before = listing(role, "theirs"), role.try_sh("nft list table ip nat")
    assert role.play(firewall_services=changed_services()).changed == 1
    assert role.play(entry="remove").changed == 1
    assert role.play().changed == 1
    assert (listing(role, "theirs"), role.try_sh("nft list table ip nat")) == before
    role.sh("nft delete table inet theirs")


def test_two_federations_and_a_foreign_service_share_a_host(role: RoleHost) -> None:
    before = listing(role)
    second = [
        {"name": "two-web", "addresses": ["192.0.2.1", "fd17::1"], "port": 8107, "sources": ["192.0.2.3", "fd17::3"]},
        # one's web is two's as well, as a port of nginx with two sites is
        {"name": "two-shared", "addresses": ["fd17::1"], "port": 8101, "sources": ["fd17::3"]},
        {"name": "two-peers", "addresses": ["192.0.2.1"], "ephemeral": True, "sources": ["192.0.2.3"]},
    ]
    theirs = {"fedlearn_federation": "fire-two", "firewall_services": second}
    assert role.play(**theirs).changed == 1
    opened = {("stranger", 6, 8101, "tcp"), ("stranger", 4, 45001, "tcp")}
    closed = (CLOSED - opened) | {("friend", 4, 8107, "tcp"), ("friend", 6, 8107, "tcp")}
    assert {way for way, answered in come(role, WAYS).items() if not answered} == closed
    for variables in ({}, theirs):
        assert role.play(**variables).changed == 0
        assert role.play(entry="check", **variables).code == 0
    assert role.play(entry="remove", **theirs).changed == 1
    assert listing(role) == before
    assert role.play().changed == 0
    assert {way for way, answered in come(role, WAYS).items() if not answered} == CLOSED


def test_who_else_listens_in_the_ephemeral_range_is_named_before_anything_is_cut(role: RoleHost) -> None:
    with unit(role, "theirs", "python3 -m http.server 45555", "ss -Hltn sport = 45555"):
        before = listing(role)
        run = role.play(firewall_services=changed_services())
        assert run.failed == 1
        assert "port 45555 on every address is listened on by python3 and would lose its clients" in run.words
        assert listing(role) == before
        assert role.play(entry="precheck", firewall_services=changed_services()).code == 2
        named = [*VARIABLES["firewall_others"], {"name": "their-web", "port": 45555}]
        assert role.play(firewall_others=named).failed == 0
        assert come(role, [("stranger", 4, 45555, "tcp")]) == {("stranger", 4, 45555, "tcp"): True}
    assert role.play().changed == 1


# --- what stands already


@contextmanager
def held(role: RoleHost, command: str, file: str) -> Iterator[Callable[[], str]]:
    """A connection that stands; the function has it speak, and tells what came of it."""
    role.sh(f"rm -f {file} {file}.go; systemd-run --collect --unit=held {command} {file}")
    assert until(10, lambda: role.try_sh(f"cat {file}")[1], "connected") == "connected"

    def speak() -> str:
        role.sh(f"touch {file}.go")
        until(10, lambda: role.sh(f"cat {file}") != "connected", True)
        return role.sh(f"cat {file}").strip()

    try:
        yield speak
    finally:
        role.try_sh("systemctl stop held")


def test_a_strangers_connection_that_stands_is_cut(role: RoleHost) -> None:
    assert role.play(firewall_mode="off").changed == 1
    command = "ip netns exec neighbour python3 /usr/local/sbin/hold.py 192.0.2.3 192.0.2.1 8101"
    with held(role, command, "/run/held") as speak:
        assert role.play().changed == 1
        assert speak() == "silence"


def test_a_connection_of_the_hosts_own_goes_on(role: RoleHost) -> None:
    """Its packets come to an ephemeral port from somebody whom no rule names."""
    held_by_host = "python3 /usr/local/sbin/hold.py 192.0.2.1 192.0.2.3 8100"
    inside = "ip netns exec neighbour"
    with unit(role, "far", f"{inside} python3 /usr/local/sbin/echo.py --tcp", f"{inside} ss -Hltn sport = 8100"):
        assert role.play(firewall_mode="off").changed == 1
        with held(role, held_by_host, "/run/held") as speak:
            assert role.play().changed == 1
            assert speak() == "answered"
        with held(role, held_by_host, "/run/held") as speak:
            assert speak() == "answered"


# --- report, and the default drop


def test_report_counts_what_would_be_dropped_and_drops_nothing(role: RoleHost) -> None:
    assert role.play(firewall_mode="report").changed == 1
    assert set(counted(role).values()) == {0}
    assert all(come(role, WAYS).values())
    found = counted(role)
    # of an ephemeral port attempts are counted, elsewhere every packet
    assert found.pop("one-peers") == 2
    assert found.pop("one-datagrams") == 1
    assert set(found) == {"one-web", "one-every", "one-inner", "one-high"}
    assert min(found.values()) >= 2
    again = role.play("-v", firewall_mode="report", most=2)
    assert again.changed == 0
    assert re.search(r"one-peers:\s+bytes: \d+\s+packets: 2\b", again.words), again.text
    assert role.play().changed == 1


def test_the_default_drop_is_the_hosts_and_lets_ssh_in(role: RoleHost) -> None:
    drop = {"firewall_default_drop": True, "firewall_ssh_sources": ["198.51.100.0/24"]}
    assert role.play(**drop).changed == 1
    assert role.play(**drop).changed == 0
    # neighbours find each other anew, by ICMPv6
    role.sh("ip neigh flush dev toward; ip -n neighbour neigh flush dev eth0")
    found = come(role, WAYS)
    named = {(who, family, port, "tcp") for who, family, port in product(("friend",), (4, 6), (8101, 40001, 45001))}
    named |= {("friend", 4, 8102, "tcp"), ("friend", 4, 8105, "udp")}
    named |= {(who, 4, 8103, "tcp") for who in ("friend", "stranger")}
    theirs = {(who, family, 50001, "tcp") for who in ("friend", "stranger") for family in (4, 6)}
    assert {way for way, answered in found.items() if answered} == named | theirs
    assert role.play(**drop, firewall_mode="report").changed == 1
    assert all(come(role, WAYS).values())
    assert counted(role, "fedlearn")["default"] > 0
    assert role.play().changed == 1
    assert "fedlearn\n" not in role.sh("nft list tables")
    assert role.try_sh("test -e /etc/fedlearn/firewall.nft")[0] == 1
    assert {way for way, answered in come(role, WAYS).items() if not answered} == CLOSED


def test_no_service_takes_the_port_of_ssh(role: RoleHost) -> None:
    before = listing(role)
    run = role.play(firewall_services=changed_services(22))
    assert run.failed == 1
    assert "'one-more' has port 22, by which this connection came" in run.words
    assert listing(role) == before


# --- the way back


def start(role: RoleHost, **variables: Any) -> tuple[threading.Thread, list[Run]]:
    runs: list[Run] = []
    thread = threading.Thread(target=lambda: runs.append(role.play(**variables)))
    thread.start()
    return thread, runs


def test_rules_that_nobody_confirms_are_put_back(role: RoleHost) -> None:
    before, files = listing(role), role.state(*FILES)
    role.sh(f"echo 'kill loaded fire-one' > {HOOK}")
    assert role.play(firewall_services=changed_services()).failed == 1
    assert "one-more" in listing(role)
    assert until(30, lambda: listing(role), before) == before
    assert role.state(*FILES) == files
    assert role.play().changed == 0


def test_the_next_run_begins_where_a_killed_one_began(role: RoleHost) -> None:
    """Once the host has put back what the killed one can't confirm any more: nobody knows before that it was killed."""
    role.sh(f"echo 'kill loaded fire-one' > {HOOK}")
    assert role.play(firewall_services=changed_services(), firewall_confirm_seconds=40).failed == 1
    assert "one-more" in listing(role)
    run = role.play()
    assert run.failed == 0, run.text
    assert "one-more" not in listing(role)
    assert role.try_sh("systemctl is-active fedlearn-firewall-rollback.timer")[1].strip() == "inactive"
    assert role.play().changed == 0


def test_a_host_that_no_longer_answers_puts_its_rules_back(role: RoleHost) -> None:
    before, files = listing(role), role.state(*FILES)
    role.sh(f"echo 'hold loaded fire-one' > {HOOK}")
    thread, runs = start(role, firewall_services=changed_services())
    try:
        until(60, lambda: "one-more" in in_engine(role, f"nft list table inet {TABLE} || true"), True)
        in_engine(
            role,
            "nft add table inet lockout; nft add chain inet lockout input '{ type filter hook input priority -5; }'",
        )
        in_engine(role, "nft add rule inet lockout input tcp dport 22 ct state new drop")
        in_engine(role, f"rm {HOOK}")
        thread.join(120)
    finally:
        in_engine(role, f"rm -f {HOOK}; nft delete table inet lockout || true")
    assert runs[0].failed == 1
    assert "with these rules the host doesn't answer a new connection any more" in runs[0].words
    assert until(30, lambda: listing(role), before) == before
    assert role.state(*FILES) == files
    assert role.play().changed == 0


# --- boot


def test_a_reboot_brings_the_rules_back_before_the_network(role: RoleHost) -> None:
    before = listing(role)
    hosts = [sys.executable, str(CHECKOUT / "molecule" / "shared" / "hosts.py")]
    subprocess.run([*hosts, "restart", role.set], check=True, cwd=CHECKOUT)
    assert listing(role) == before
    assert {way for way, answered in come(role, WAYS).items() if not answered} == CLOSED

    def reached(unit: str) -> int:
        return int(role.sh(f"systemctl show -P ActiveEnterTimestampMonotonic {unit}"))

    for later in ("network-pre.target", "sysinit.target", "ssh.service", "fedlearn-test-echo.service"):
        assert 0 < reached(UNIT) <= reached(later), later
    assert role.play().changed == 0


def test_the_unit_is_hardened(role: RoleHost) -> None:
    assert role.exposure(UNIT) <= 2.5


# --- the end


def test_remove_leaves_nothing_and_a_clean_host_can_be_checked(role: RoleHost) -> None:
    assert role.play(entry="remove").changed == 1
    assert role.play(entry="remove").changed == 0
    assert "fedlearn" not in role.sh("nft list tables")
    assert "firewall" not in role.sh("ls /etc/systemd/system /etc/systemd/system/sysinit.target.wants")
    assert role.try_sh("ls -d /etc/fedlearn /var/lib/fedlearn")[1].count("No such file") == 2
    role.sh("DEBIAN_FRONTEND=noninteractive apt-get -qq purge nftables >/dev/null")
    assert role.play("--check").failed == 0
    assert role.play(entry="precheck").failed == 0
    assert role.play(entry="remove").changed == 0


def test_the_readmes_example_runs(role: RoleHost) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    play = yaml.safe_load(example)
    example = RoleHost(role.host, "firewall", play[0]["roles"][0]["vars"], ["default-firewall"])
    assert example.play().changed == 2
    assert example.play().changed == 0
    assert "tcp dport 23456 ip saddr != { 10.20.0.12, 10.20.0.14 }" in listing(example, "fedlearn-default")
    assert example.play(entry="remove").changed == 1
    assert role.play().changed == 1
