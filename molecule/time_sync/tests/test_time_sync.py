# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The time_sync role on one host, as an unprivileged sudo user. libfaketime turns what is read; no clock is set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_host import RoleHost
from shared_tests import Packaged, ipv6, unit

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
UNIT = "chrony.service"
UNITS = (UNIT,)
SOURCE = VARIABLES["time_sync_instances"][0]["sources"][0]
OURS = "-e fedlearn-clock -e fedlearn.conf -e clock-one -e clock-two"

TURNED = "/var/tmp/role-test-date"
DATE = f"""\
#!/bin/sh
# date on a host whose clock is off: line n of `offsets`, or the last, says by what at the n-th look
echo look >> {TURNED}/looks
offset=$(head -n $(wc -l < {TURNED}/looks) {TURNED}/offsets | tail -n 1)
exec faketime -f "$offset" /bin/date "$@"
"""


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "time_sync", VARIABLES)


def instances(**changed: Any) -> list[dict[str, Any]]:
    """The scenario's instance, changed."""
    return [{**VARIABLES["time_sync_instances"][0], **changed}]


def chronyc(role: RoleHost, command: str) -> str:
    return role.sh(f"chronyc -n -c {command}")


def debians(role: RoleHost) -> str:
    """Everything below /etc that chrony reads and is not ours."""
    return role.sh(f"find /etc/chrony /etc/default/chrony -type f | grep -v {OURS} | sort | xargs sha256sum")


def listening(role: RoleHost) -> list[str]:
    """Where chronyd listens."""
    lines = role.sh("ss -Hlunp | grep chronyd || true").splitlines()
    return sorted(line.split()[3] for line in lines)


# -- the host's chrony -------------------------------------------------------------------------------------------------


def test_the_time_comes_from_the_source_named(role: RoleHost) -> None:
    selected = [row.split(",") for row in chronyc(role, "sources").splitlines() if row.split(",")[1] == "*"]
    assert [row[2] for row in selected] == [SOURCE["address"]]
    assert role.sh("systemctl is-enabled chrony.service").strip() == "enabled"


def test_it_replaced_debians_other_client(host: Any) -> None:
    assert host.package("chrony").is_installed
    assert not host.package("systemd-timesyncd").is_installed


def test_it_listens_nowhere(role: RoleHost) -> None:
    assert listening(role) == []


def test_the_running_daemon_was_told_when_to_step(role: RoleHost) -> None:
    told = role.sh(f"systemctl show -p ExecStartPost {UNIT}")
    assert "argv[]=/usr/bin/chronyc makestep 0.5 5 ;" in told
    assert "status=0" in told


def test_the_unit_is_as_hardened_as_debian_has_it(role: RoleHost) -> None:
    assert role.exposure(UNIT) <= 4.0  # roles/time_sync/README.md says why not 2.5
    assert role.sh(f"stat -c %U /proc/$(systemctl show -p MainPID --value {UNIT})").strip() == "_chrony"


class TestTimeSync(Packaged):
    units, owned = UNITS, 4
    changed = {"time_sync_instances": instances(makestep={"threshold_seconds": 2, "updates": 1})}
    package = ("time_sync_packages", "chrony")
    wrong = (
        ({"sources": [{"address": "a b"}]}, "time_sync_instances[0]: sources[0].address: 'a b' is no DNS name"),
        ({"sources": [{"address": "127.0.0.1", "port": "123"}]}, "sources[0].port: expected a whole number from 1"),
        ({"sources": [{"address": "127.0.0.1\nallow"}]}, "sources[0].address"),
        ({"sources": [{}]}, "missing required arguments: address"),
        ({"listen": {"addresses": ["0.0.0.0"], "allow": ["10.0.0.0/8"]}}, "'0.0.0.0' is no address of one host"),
        ({"makestep": {"threshold_seconds": 0, "updates": 1}}, "threshold_seconds: expected a number above 0"),
        ({"require_authentication": True}, "no source has nts or a key: none would be left"),
        ({"name": "../x"}, "time_sync_instances[0]: name: '../x' is not a name"),
        ({"servers": ["a"]}, "Supported parameters include"),
    )

    def with_(self, changed: Mapping[str, Any]) -> dict[str, Any]:
        return {"time_sync_instances": instances(**changed)}


def test_what_is_stopped_or_disabled_by_hand_is_named_and_repaired(role: RoleHost) -> None:
    role.sh(f"systemctl disable --now {UNIT}")
    named = role.play(entry="check").words
    assert f"clock-lab: stopped: {UNIT} is inactive (dead)" in named
    assert f"clock-lab: differing: enablement of {UNIT}" in named
    assert role.play().changed == 1
    assert role.sh(f"systemctl is-active {UNIT}; systemctl is-enabled {UNIT}").split() == ["active", "enabled"]


def test_a_source_that_is_silent_never_replaces_one_that_gives_the_time(role: RoleHost) -> None:
    before = role.sh(f"cat {' '.join(role.owned())}")
    run = role.play(
        time_sync_instances=instances(sources=[{"address": "127.0.0.2"}]), time_sync_health_timeout_seconds=8
    )
    assert run.failed == 1
    assert "clock-lab" in run.words
    assert re.search(r"no source gives the time: .*127\.0\.0\.2 is silent", run.words), run.text
    assert "rolled back, the former service is running" in run.words
    assert role.sh(f"cat {' '.join(role.owned())}") == before
    assert role.play(entry="check").code == 0


def test_what_the_administrator_broke_stops_nobody(role: RoleHost) -> None:
    role.sh("echo nonsense 1 > /etc/chrony/conf.d/theirs.conf")
    before = role.state(units=UNITS)
    run = role.play(time_sync_instances=instances(makestep={"threshold_seconds": 2, "updates": 1}))
    assert run.failed == 1
    assert "chronyd refused the new configuration" in run.words
    assert "Invalid directive at line 1 in file /etc/chrony/conf.d/theirs.conf" in run.words
    assert role.state(units=UNITS) == before
    role.sh("rm /etc/chrony/conf.d/theirs.conf")
    assert role.play().failed == 0


def test_a_clock_that_may_not_be_set_is_told(role: RoleHost) -> None:
    """As systemd would have it without the scenario's drop-in."""
    role.sh("sed -i s/^ConditionCapability=/#/ /etc/systemd/system/chrony.service.d/zz-role-test.conf")
    try:
        run = role.play(time_sync_instances=instances(makestep={"threshold_seconds": 2, "updates": 1}))
    finally:
        role.sh("sed -i s/^#/ConditionCapability=/ /etc/systemd/system/chrony.service.d/zz-role-test.conf")
        role.sh("systemctl daemon-reload")
    assert run.failed == 1
    assert "this host may not set its clock (no CAP_SYS_TIME)" in run.words
    assert role.play().failed == 0


def test_what_stops_leaves_the_host_its_time(role: RoleHost) -> None:
    before = role.state(units=UNITS)
    assert role.play(time_sync_instances=instances(state="stopped")).changed == 0
    assert role.state(units=UNITS) == before


def test_two_federations_share_the_hosts_chrony(role: RoleHost) -> None:
    other = [{"name": "clock-other", "federation": "clock-two"}]
    assert role.play(time_sync_instances=other).changed == 1
    assert role.play().changed == 0
    assert role.play(entry="remove", time_sync_instances=other).changed == 1
    assert role.play().changed == 0
    assert role.play(entry="check").code == 0


# -- those it serves, and authentication -------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [4, 6])
def test_it_serves_on_its_address_those_it_allows(role: RoleHost, family: int) -> None:
    address, shown, bits, elsewhere = {
        4: (role.address, role.address, 32, "192.0.2.0/24"),
        6: ("::1", "[::1]", 128, "2001:db8::/32"),
    }[family]
    listen = {"addresses": [address], "port": 11125, "allow": [f"{address}/{bits}"]}
    with ipv6(role):
        assert role.play(time_sync_instances=instances(listen=listen)).changed == 1
        assert listening(role) == [f"{shown}:11125"]
        asked = f"chronyd -Q -t 5 'server {address} port 11125 iburst maxsamples 1'"
        assert "System clock wrong by" in role.try_sh(asked)[1]
        assert role.play(time_sync_instances=instances(listen={**listen, "allow": [elsewhere]})).changed == 1
        assert "System clock wrong by" not in role.try_sh(asked)[1]
    assert role.play().changed == 1
    assert listening(role) == []


def test_the_time_comes_by_ipv6_alone(role: RoleHost) -> None:
    source = {"address": "::1", "port": 11128, "minpoll": 4}
    answers = "python3 /usr/local/lib/role-test/ntp.py ::1 11128"
    with ipv6(role), unit(role, "six", answers, "ss -Hlun sport = :11128 | grep -q ."):
        assert role.play(time_sync_instances=instances(sources=[source])).changed == 1
        rows = [row.split(",") for row in chronyc(role, "sources").splitlines()]
        assert [row[2] for row in rows if row[1] == "*"] == ["::1"]
    assert role.play().changed == 1


def test_a_port_of_somebody_else_is_named(role: RoleHost) -> None:
    hold = 'import socket,time;s=socket.socket(type=socket.SOCK_DGRAM);s.bind(("127.0.0.1",11126));time.sleep(600)'
    role.sh(f"systemd-run -q --unit foreign python3 -c '{hold}'; sleep 1")
    listen = {"addresses": ["127.0.0.1"], "port": 11126, "allow": ["127.0.0.0/8"]}
    changed = instances(listen=listen)
    before = role.sh(f"cat {' '.join(role.owned())}")
    try:
        run = role.play(time_sync_instances=changed, entry="precheck")
        assert re.search(r"clock-lab: 127\.0\.0\.1 UDP port 11126: held by python3 \(process \d+, foreign", run.words)
        run = role.play(time_sync_instances=changed, time_sync_health_timeout_seconds=10)
    finally:
        role.sh("systemctl stop foreign")
    assert run.failed == 1
    assert "rolled back, the former service is running" in run.words
    assert role.sh(f"cat {' '.join(role.owned())}") == before


NTS_SERVER = """\
local stratum 3
port 11127
ntsport 4461
ntsserverkey /run/role-test-nts/key
ntsservercert /run/role-test-nts/cert
allow
bindaddress 127.0.0.3
bindaddress ::1
cmdport 0
bindcmdaddress /run/role-test-nts/socket
pidfile /run/role-test-nts/pid
user root
"""


@pytest.fixture
def nts(role: RoleHost) -> Iterator[str]:
    """A chronyd that proves by the scenario's certificate who it is; its name."""
    role.sh("mkdir -m 0700 -p /run/role-test-nts && cd /etc/role-test && cp server.pem /run/role-test-nts/cert")
    role.sh(
        "cp /etc/role-test/server.key /run/role-test-nts/key; cp /etc/role-test/ca.pem /etc/chrony/role-test-ca.pem"
    )
    role.sh("cp /etc/role-test/other.pem /etc/chrony/role-test-other.pem; cp /etc/hosts /run/role-test-nts/hosts")
    role.sh(f"printf %s '{NTS_SERVER}' > /run/role-test-nts/conf; echo 127.0.0.3 server.test >> /etc/hosts")
    role.sh("systemd-run -q --unit role-test-nts chronyd -x -d -f /run/role-test-nts/conf; sleep 1")
    yield "server.test"
    role.sh("systemctl stop role-test-nts; cat /run/role-test-nts/hosts > /etc/hosts; rm -r /run/role-test-nts")
    role.sh("rm /etc/chrony/role-test-*.pem")


def test_nts_takes_the_time_from_whom_the_ca_vouches_for_only(role: RoleHost, nts: str) -> None:
    changed: dict[str, Any] = {
        "sources": [{"address": nts, "nts": True, "port": 4461, "minpoll": 4}],
        "require_authentication": True,
        "trusted_certificates": "/etc/chrony/role-test-ca.pem",
    }
    assert role.play(time_sync_instances=instances(**changed)).changed == 1
    modes = {row.split(",")[0]: row.split(",")[1] for row in chronyc(role, "authdata").splitlines()}
    assert modes["127.0.0.3"] == "NTS"
    assert [row.split(",")[2] for row in chronyc(role, "sources").splitlines() if row[2] == "*"] == ["127.0.0.3"]
    before = role.sh(f"cat {' '.join(role.owned())}")
    changed["trusted_certificates"] = "/etc/chrony/role-test-other.pem"
    run = role.play(time_sync_instances=instances(**changed), time_sync_health_timeout_seconds=8)
    assert run.failed == 1
    assert "no source gives the time" in run.words
    assert role.sh(f"cat {' '.join(role.owned())}") == before
    assert role.play().changed == 1


# -- the clock ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def turned(role: RoleHost) -> Iterator[dict[str, str]]:
    """An environment in which `date` tells another time."""
    role.sh(f"rm -rf {TURNED}; mkdir -m 1777 {TURNED}; cat > {TURNED}/date <<'EOF'\n{DATE}EOF\nchmod 755 {TURNED}/date")
    yield {"PATH": f"{TURNED}:/usr/sbin:/usr/bin:/sbin:/bin"}
    role.sh(f"rm -r {TURNED}")


def look(role: RoleHost, environment: dict[str, str], *offsets: str, entry: str = "precheck") -> str:
    """What the role says of a clock with these offsets, one look after the other."""
    lines = "\n".join(offsets)
    role.sh(f"rm -f {TURNED}/looks; printf '%s\\n' '{lines}' > {TURNED}/offsets")
    run = role.play(entry=entry, environment=environment, time_sync_instances=[], time_sync_max_skew_ms=5000)
    assert run.code == (2 if run.failed else 0), run.text
    assert role.sh(f"wc -l < {TURNED}/looks").strip() == "3"
    return run.words if run.failed else ""


def seconds(said: str, pattern: str) -> float:
    found = re.search(pattern, said)
    assert found, said
    return float(found[1])


@pytest.mark.parametrize("entry", ["precheck", "check"])
@pytest.mark.parametrize("offset", [90, -90])
def test_a_skew_is_found_in_size_and_sign(role: RoleHost, turned: dict[str, str], offset: int, entry: str) -> None:
    said = look(role, turned, f"{offset:+d}s", entry=entry)
    told = seconds(said, r"the clock is ([+-][\d.]+) s off the control node's")
    give_or_take = seconds(said, r"give or take ([\d.]+) s")
    assert abs(told - offset) <= give_or_take + 0.5  # control node and host are one machine with one clock
    assert "at most 5 s are borne" in said
    assert ("clock: ill: the clock is" in said) is (entry == "check")


@pytest.mark.parametrize(
    ("offsets", "jump"), [(("+0s", "+90s"), 90), (("+0s", "-90s"), -90), (("-90s", "-90s", "+0s"), 90)]
)
def test_a_jump_between_two_looks_is_found_in_size_and_sign(
    role: RoleHost, turned: dict[str, str], offsets: tuple[str, ...], jump: int
) -> None:
    said = look(role, turned, *offsets)
    told = seconds(said, r"the clock jumped by ([+-][\d.]+) s while it was looked at")
    assert round(told) == jump


def test_a_clock_within_the_bound_is_no_hindrance(role: RoleHost, turned: dict[str, str]) -> None:
    assert look(role, turned, "+3s") == ""
    assert look(role, turned, "+0s", "+3s") == ""


# -- and the way back --------------------------------------------------------------------------------------------------


def test_remove_leaves_what_was_there_and_a_clean_host_can_be_checked(role: RoleHost) -> None:
    before = debians(role)
    assert role.play(entry="remove").changed == 1
    assert role.play(entry="remove").changed == 0
    left = role.sh(f"find /etc /var/lib /run | grep {OURS} || true")
    assert left == "", left
    assert debians(role) == before
    assert role.sh(f"systemctl is-active {UNIT}").strip() == "active"
    assert "makestep" not in role.sh(f"systemctl show -p ExecStartPost {UNIT}")
    assert listening(role) == ["127.0.0.1:323", "[::1]:323"]  # as Debian has it
    clean = role.play("--check")
    assert (clean.code, clean.failed) == (0, 0), clean.text
    assert role.owned() == []


FOREIGN = """\
Package: role-test-ntpd
Version: 1
Architecture: all
Maintainer: nobody <nobody@example.org>
Provides: time-daemon
Conflicts: time-daemon
Description: another program that sets the clock
"""


def test_another_program_that_sets_the_clock_is_left_and_told(role: RoleHost) -> None:
    role.sh("DEBIAN_FRONTEND=noninteractive apt-get purge -qq -y chrony > /dev/null 2>&1; mkdir -p /run/foreign/DEBIAN")
    role.sh(
        f"printf %s '{FOREIGN}' > /run/foreign/DEBIAN/control; cd /run; dpkg-deb -b foreign foreign.deb > /dev/null"
    )
    role.sh("dpkg -i /run/foreign.deb > /dev/null")
    try:
        for entry in ("precheck", "main"):
            run = role.play(entry=entry)
            assert (run.failed, run.changed) == (1, 0), run.text
            assert "chrony can't be installed: apt would remove role-test-ntpd for it" in run.words
            assert role.sh("dpkg-query -W -f '${db:Status-Status}' role-test-ntpd") == "installed"
        assert role.play(entry="check", time_sync_instances=[]).code == 0
    finally:
        role.sh("dpkg -P role-test-ntpd > /dev/null; rm -r /run/foreign /run/foreign.deb")
    assert role.play().failed == 0
