# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The limits role on one host, as an unprivileged sudo user."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_host import ROOM, RoleHost
from shared_tests import Role

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
LIMITS = "/etc/security/limits.d/zz-fedlearn.conf"
SYSCTLS = "/etc/sysctl.d/zz-fedlearn.conf"
CLAIMS = "/var/lib/fedlearn/limits.json"
FILES = (LIMITS, SYSCTLS, CLAIMS)


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "limits", VARIABLES)


def allowed(role: RoleHost) -> int:
    """What of 65535 the machine allows, asked of the kernel in another way than the module does."""
    code, _text = role.try_sh("sh -c 'ulimit -n 65535'")
    return 65535 if code == 0 else int(role.sh("awk '/open files/ {print $5}' /proc/1/limits"))


def session(role: RoleHost, user: str) -> int:
    return int(role.sh(f"su -s /bin/sh {user} -c 'ulimit -Sn'"))


def test_new_sessions_have_what_the_machine_allows(role: RoleHost, host: Any) -> None:
    wanted = allowed(role)
    assert session(role, "nobody") == session(role, "root") == wanted
    # the way users come: ssh as an ordinary user, then sudo
    assert int(host.run("ulimit -Sn").stdout) == wanted
    assert int(host.run("sudo -n sh -c 'ulimit -Sn'").stdout) == wanted


def test_nothing_that_was_refused_is_written(role: RoleHost) -> None:
    numbers = {int(line.split()[3]) for line in role.sh(f"grep -v '#' {LIMITS}").splitlines()}
    assert min(numbers) == allowed(role)
    for number in numbers:
        assert role.try_sh(f"sh -c 'ulimit -n {number}'")[0] == 0


def test_hard_limits_are_not_lowered(role: RoleHost) -> None:
    before = int(role.sh("grep 'open files' /proc/$(pgrep -o sshd)/limits | awk '{print $5}'"))
    assert int(role.sh("su -s /bin/sh nobody -c 'ulimit -Hn'")) >= before


class TestLimits(Role):
    most = 1
    changed = {"limits_nofile": 4096}
    wrong = (
        (
            {"limits_nofile": "65535"},
            "limits_nofile: expected a whole number from 1024 to 1073741816, found the text '65535'",
        ),
        ({"limits_nofile": 0}, "limits_nofile: expected a whole number from 1024"),
        (
            {"limits_sysctls": {"net.core.somaxconn": "many"}},
            "limits_sysctls: 'net.core.somaxconn': expected a whole number",
        ),
        ({"limits_sysctls": {"../../etc/passwd": 1}}, "is not a kernel parameter such as fs.file-max"),
        ({"limits_sysctls": 5}, "cannot be converted to a dict"),
    )

    def state(self, role: RoleHost) -> str:
        return f"{role.state(*FILES)} {role.configuration()}"

    @pytest.mark.parametrize("path", FILES)
    @pytest.mark.parametrize("damage", ["printf '# by hand\\n' >> {0}", "chmod 600 {0}", "rm {0}"])
    def test_what_is_changed_by_hand_is_named_and_repaired(self, role: RoleHost, path: str, damage: str) -> None:
        if path == CLAIMS and damage.startswith("printf"):
            damage = "sed -i s/65535/65534/ {0}"
        before = role.sh(f"cat {path}; stat -c '%a %U' {path}")
        role.sh(damage.format(path))
        assert role.play("--check").changed == 1
        assert f"limits: differing: {path}" in role.play(entry="check").words
        assert role.play().changed == 1
        if path != CLAIMS:
            assert role.sh(f"cat {path}; stat -c '%a %U' {path}") == before


def test_parameters_are_only_raised(role: RoleHost) -> None:
    assert role.sh("cat /proc/sys/net/core/somaxconn").strip() == "8192"
    assert role.play(limits_sysctls={"net.core.somaxconn": 128}).failed == 0
    assert role.sh("cat /proc/sys/net/core/somaxconn").strip() == "8192"
    role.sh("echo 4096 > /proc/sys/net/core/somaxconn")
    assert role.play("--check").changed == 1
    assert role.play().changed == 1
    assert role.sh("cat /proc/sys/net/core/somaxconn").strip() == "8192"
    assert role.play().changed == 0


def test_a_parameter_that_is_none_is_told_and_left_out(role: RoleHost) -> None:
    run = role.play(limits_sysctls=VARIABLES["limits_sysctls"] | {"net.core.nothing": 1})
    assert run.failed == 0
    assert "net.core.nothing: is no kernel parameter" in run.words
    assert "nothing" not in role.sh(f"cat {SYSCTLS}")
    assert role.play().failed == 0


def test_another_file_that_lowers_is_named_and_all_is_put_back(role: RoleHost) -> None:
    role.sh(f"rm {LIMITS}; echo 'nobody soft nofile 1000' > /etc/security/limits.d/zzz-theirs.conf")
    run = role.play()
    assert run.failed == 1
    assert "a new session of nobody has 1000 open files" in run.words
    assert "the former limits were put back" in run.words
    assert role.try_sh(f"test -e {LIMITS}")[0] == 1
    role.sh("rm /etc/security/limits.d/zzz-theirs.conf")
    assert role.play().changed == 1


@pytest.fixture
def theirs(role: RoleHost) -> Iterator[Callable[[str], None]]:
    """Gives limits by a file of somebody else's, which is read before ours."""
    path = "/etc/security/limits.d/10-theirs.conf"

    def give(text: str) -> None:
        role.sh(f"printf '{text}' >{path}")

    yield give
    role.sh(f"rm {path}")
    assert role.play().changed == 1
    assert role.try_sh(f"grep -e nobody -e nproc {LIMITS}")[0] == 1


def test_whom_another_file_names_is_named_too(role: RoleHost, theirs: Callable[[str], None]) -> None:
    def processes() -> list[str]:
        look = "grep processes /proc/self/limits"
        return [role.sh(f"su -s /bin/sh {user} -c '{look}'") for user in ("nobody", "root")]

    before = processes()
    theirs("nobody soft nofile 1000\\n@games - nproc 50\\n")
    assert session(role, "nobody") == 1000
    run = role.play(limits_nproc=60)
    assert (run.code, run.changed) == (0, 1), run.text
    assert session(role, "nobody") == allowed(role)
    found = role.sh(f"grep -e nobody -e nproc {LIMITS}").splitlines()
    assert [line.rpartition(" ")[0] for line in found] == [
        "nobody soft nofile",
        "nobody hard nofile",
        "@games soft nproc",
        "@games hard nproc",
    ]
    assert processes() == before
    assert role.play(limits_nproc=60).changed == 0


def test_who_has_more_by_another_file_keeps_it(role: RoleHost, theirs: Callable[[str], None]) -> None:
    more = 5000
    theirs(f"* - nofile {more}\\nroot - nofile {more}\\n")
    run = role.play(limits_nofile=4096)
    assert (run.code, run.changed) == (0, 1), run.text
    assert session(role, "nobody") == session(role, "root") == more
    assert role.play(limits_nofile=4096).changed == 0


def test_what_the_machine_refuses_is_told_and_the_nearest_that_holds_is_written(role: RoleHost) -> None:
    number = 1_073_741_816
    if role.try_sh(f"sh -c 'ulimit -n {number}'")[0] == 0:
        pytest.skip("this machine allows whatever the role lets one ask for")
    before = role.sh(f"cat {LIMITS}")
    run = role.play(limits_nofile=number)
    assert run.failed == 0, run.text
    told = rf"nofile: {number} was asked for, this machine allows (\d+), enough for (\d+) workers"
    found = re.search(told, run.words)
    assert found, run.text
    holds, workers = int(found[1]), int(found[2])
    assert role.try_sh(f"sh -c 'ulimit -n {holds}'")[0] == 0
    assert workers == (holds - 512) // 5
    assert session(role, "nobody") == session(role, "root") == holds
    assert str(number) not in role.sh(f"cat {LIMITS}")
    for entry, changed in (("main", 0), ("check", 0)):
        again = role.play(entry=entry, limits_nofile=number)
        assert (again.code, again.changed) == (0, changed), again.text
        assert f"[WARNING]: host: {found[0]}" in again.words, again.text
    role.play()
    assert role.sh(f"cat {LIMITS}") == before


def test_status_tells_what_the_machine_refuses_and_calls_it_no_drift(role: RoleHost) -> None:
    number = 1_073_741_816
    if role.try_sh(f"sh -c 'ulimit -n {number}'")[0] == 0:
        pytest.skip("this machine allows whatever the role lets one ask for")
    known = {"fedlearn_stages": {"base": ["limits"]}, "fedlearn_expected": {"services": [], "sites": []}}
    wanted = {"fedlearn_federation": "limits-one", "limits_nofile": number}
    assert role.play(**wanted).code == 0
    run = role.playbook("status", **wanted, **known)
    assert run.code == 0, run.text
    kept = json.loads((ROOM / f"{role.set}.build" / "limits-one" / "status.json").read_text())
    (warned,) = kept["stacks"]["alone"]["hosts"]["host"]["warnings"]
    assert warned.startswith(f"limits: nofile: {number} was asked for, this machine allows "), warned
    assert role.play().failed == 0


def test_the_hosts_own_ports_are_only_widened(role: RoleHost) -> None:
    read = "xargs </proc/sys/net/ipv4/ip_local_port_range"
    before = role.sh(read).strip()
    first, last = (int(word) for word in before.split())
    try:
        wider = {"first": first - 1000, "last": last - 1000}
        assert role.play("--check", limits_ephemeral_ports=wider).changed == 1
        assert role.play(limits_ephemeral_ports=wider).changed == 1
        assert role.sh(read).strip() == f"{first - 1000} {last}"
        assert f"net.ipv4.ip_local_port_range = {first - 1000} {last}" in role.sh(f"cat {SYSCTLS}")
        assert role.play(limits_ephemeral_ports=wider).changed == 0
    finally:
        role.sh(f"echo {before} >/proc/sys/net/ipv4/ip_local_port_range")
    assert role.play().changed == 1


@pytest.mark.parametrize("service", ["sshd", "sudo"])
def test_limits_with_which_nobody_comes_in_are_put_back_by_the_host(role: RoleHost, service: str) -> None:
    """Sessions of `su` are well; who comes as users come is refused as long as the new file is there."""
    refuses, pam = "/usr/local/bin/refuses", f"/etc/pam.d/{service}"
    role.sh(f"rm {LIMITS}; cp -p {pam} /run/kept-pam")
    role.sh(f"printf '#!/bin/sh\\n[ ! -e {LIMITS} ]\\n' >{refuses}; chmod 755 {refuses}")
    role.sh(f"echo 'session required pam_exec.so type=open_session {refuses}' >>{pam}")
    run = role.play()
    assert run.failed == 1, run.text
    assert "with these limits nobody comes in and becomes root any more" in run.words
    until_somebody_comes_in(role)
    assert role.try_sh(f"ls {LIMITS} /run/fedlearn-limits")[1].count("No such file") == 2
    role.sh(f"mv /run/kept-pam /etc/pam.d/{service}; rm {refuses}")
    assert role.play().changed == 1
    assert role.try_sh("ls /run/fedlearn-limits; systemctl is-active fedlearn-limits-undo.timer")[0] != 0


@pytest.fixture
def unconfirmed(role: RoleHost) -> Iterator[None]:
    """Another run has written its limits and comes to confirm them after a while, well before the host gives it up."""
    timer = "systemd-run --quiet --collect --unit=fedlearn-limits-undo --on-active=30s true"
    confirm = "sleep 5; systemctl stop fedlearn-limits-undo.timer; rm -rf /run/fedlearn-limits"
    role.sh(f"mkdir -m 700 /run/fedlearn-limits; echo '# former' >/run/fedlearn-limits/former; {timer}")
    role.sh(f"systemd-run --quiet --collect --unit=other-run sh -c '{confirm}'")
    yield
    role.try_sh("systemctl stop other-run; systemctl stop fedlearn-limits-undo.timer; rm -rf /run/fedlearn-limits")


@pytest.mark.usefixtures("unconfirmed")
def test_what_another_run_is_about_to_confirm_is_left_to_it(role: RoleHost) -> None:
    before = role.sh(f"cat {LIMITS}")
    assert role.play().changed == 0
    assert role.sh(f"cat {LIMITS}") == before


def until_somebody_comes_in(role: RoleHost) -> None:
    for _turn in range(60):
        time.sleep(2)
        try:
            if role.try_sh("true")[0] == 0:
                return
        except RuntimeError:  # no connection
            continue
    raise AssertionError("the host put nothing back")


def test_a_new_login_has_what_was_written(role: RoleHost) -> None:
    role.sh(f"rm {LIMITS}")
    run = role.play("-v")
    found = re.search(r"login: (\d+)", run.words)
    assert found, run.text
    assert int(found[1]) >= allowed(role)


def test_federations_share_the_highest(role: RoleHost) -> None:
    assert role.play(fedlearn_federation="limits-two", limits_nofile=4096).changed == 1
    assert session(role, "nobody") == allowed(role)
    before = role.sh(f"cat {LIMITS}")
    assert role.play(fedlearn_federation="limits-two", entry="remove").changed == 1
    assert role.sh(f"cat {LIMITS}") == before


def test_remove_leaves_nothing_and_a_clean_host_can_be_checked(role: RoleHost) -> None:
    assert role.play(entry="remove").changed == 1
    assert role.play(entry="remove").changed == 0
    assert role.try_sh("ls " + " ".join(FILES))[1].count("No such file") == len(FILES)
    assert role.play("--check").changed == 1
    assert role.play().changed == 1
