# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The neursafe_standalone role on one host, as an unprivileged sudo user; doubles stand in for client and selector."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_host import RoleHost
from shared_tests import Role

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
DOUBLE = Path(__file__).parents[3] / "tests" / "doubles" / "neursafe"
NEAR, CLINIC = VARIABLES["neursafe_standalone_instances"]
UNITS = ("fedlearn-near.service", "fedlearn-clinic.service")
ASK = r"""
import json, socket
with socket.create_connection(("127.0.0.1", 30091)) as there:
    there.sendall(b'{"call": "List"}\n')
    print(there.makefile().read())
"""


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "neursafe_standalone", VARIABLES)


def known(role: RoleHost) -> dict[str, Any]:
    """Whom the selector knows, by where they are reached."""
    found: dict[str, Any] = json.loads(role.sh(f"python3 - <<'END'\n{ASK}\nEND\n"))
    return found


def process(role: RoleHost, unit: str) -> str:
    return role.sh(f"systemctl show -p MainPID --value {unit}").strip()


def test_the_selector_knows_both(role: RoleHost) -> None:
    found = known(role)
    assert found["127.0.0.1:22000"] == {"address": "127.0.0.1:22000", "data": [], "label": "near"}
    assert found["clinic.example:22001"] == {"address": "clinic.example:22001", "data": ["mnist"], "label": "clinic"}


def test_listens_where_it_is_told(role: RoleHost) -> None:
    lines = role.sh("ss -Hltnp | grep -E ':2200[01] '").splitlines()
    assert sorted(line.split()[3] for line in lines) == sorted(["127.0.0.1:22000", f"{role.address}:22001"])


@pytest.mark.parametrize("unit", UNITS)
def test_hardened(role: RoleHost, unit: str) -> None:
    assert role.exposure(unit) <= 2.5
    assert int(role.sh(f"stat -c %u /proc/{process(role, unit)}").strip()) > 61000


@pytest.mark.parametrize("unit", UNITS)
def test_sees_folders_of_control_groups_and_may_make_no_groups(role: RoleHost, unit: str) -> None:
    root = f"/proc/{process(role, unit)}/root/sys/fs/cgroup"
    assert sorted(role.sh(f"ls {root}").split()) == ["cpu", "memory"]
    assert role.sh(f"ls {root}/cpu {root}/memory").split() == [f"{root}/cpu:", f"{root}/memory:"]
    said = role.sh(f"journalctl --no-pager -u {unit}")
    assert "Read-only file system: '/sys/fs/cgroup/cpu/probe'" in said


def test_only_who_is_in_a_group_reads_what_is_its(role: RoleHost) -> None:
    groups = [role.sh(f"grep Groups: /proc/{process(role, unit)}/status").split()[1:] for unit in UNITS]
    number = role.sh("getent group images | cut -d: -f3").strip()
    assert (number in groups[0], number in groups[1]) == (False, True)


def test_its_notes_are_its_own_on_the_host_s_disk(role: RoleHost) -> None:
    for name in ("near", "clinic"):
        home = f"/var/lib/private/fedlearn-{name}"
        assert sorted(role.sh(f"ls {home}").split()) == ["cgroup", "lmdb", "task_configs", "workspace"]
        assert role.sh(f"stat -c %a {home}").strip() == "700"
        assert role.sh(f"head -c 6 {home}/lmdb/data.mdb") == "double"


def test_a_client_that_the_selector_lost_is_told(role: RoleHost) -> None:
    shorter = [{**NEAR, "settings": {"label": "near", "options": {"REPORT_HEARTBEAT": 1}}}, CLINIC]
    assert role.play(neursafe_standalone_instances=shorter).code == 0
    role.sh("systemctl stop selector")
    try:
        role.sh("journalctl --rotate; sleep 65")
        told = role.play(entry="check", neursafe_standalone_instances=shorter)
        assert (told.code, "near: ill: " in told.words) == (2, True), told.text
        assert "the server's selector didn't take it" in told.words, told.text
    finally:
        role.sh(
            "systemd-run --quiet --unit selector --property Restart=always /opt/test/neursafe/bin/python3.7 "
            "-m neursafe_fl.python.selector.app 127.0.0.1 30091"
        )
    role.sh("systemctl restart fedlearn-near fedlearn-clinic; sleep 3")
    assert role.play().code == 0
    assert role.play(entry="check").code == 0


class TestStandalone(Role):
    units, owned = UNITS, 12
    most = 3
    changed = {"neursafe_standalone_instances": [{**NEAR, "settings": {**NEAR["settings"], "label": "other"}}, CLINIC]}
    # every wrong value has its exact message in tests/unit/plugins/plugin_utils/roles/test_catalogue.py
    wrong = (
        ({"server": "10.67.134.15.9001"}, "server: '10.67.134.15.9001' is no address and port"),
        ({"server": "[fd00::1]:30091"}, "server: the program parts an address at its only colon"),
        ({"listen": {"address": "0.0.0.0"}}, "listen.address: '0.0.0.0' is no address of one host"),
        ({"datasets": {"mnist": "/home/me"}}, "'/home/me': the process sees no homes"),
        ({"program": {}}, "one of 'path' and 'archive' says where the programs come from"),
    )

    def with_(self, changed: Mapping[str, Any]) -> dict[str, Any]:
        return {"neursafe_standalone_instances": [{**NEAR, **changed}, CLINIC]}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"datasets": {"mnist": "/srv/gone"}}, "data set 'mnist': there is no /srv/gone"),
        ({"task_configs": "/srv/gone"}, "tasks' configurations: there is no folder /srv/gone"),
        ({"doubles": False}, "has a double, which learns nothing: only with doubles"),
        ({"settings": {"label": "stranger"}}, "a stranger isn't taken"),
    ],
)
def test_what_it_can_t_work_with_never_replaces_what_it_can(
    role: RoleHost, changed: dict[str, Any], reason: str
) -> None:
    before = role.state(units=UNITS[1:])
    run = role.play(neursafe_standalone_instances=[{**NEAR, **changed}, CLINIC])
    assert run.failed == 1, run.text
    assert reason in run.words, run.text
    assert role.state(units=UNITS[1:]) == before
    assert role.play(entry="check").code == 0


def test_an_archive_is_a_version_of_its_own(role: RoleHost, tmp_path: Path) -> None:
    archive = tmp_path / "neursafe.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        for path in sorted(DOUBLE.iterdir()):
            packed.add(path, path.name)
    program = {"archive": str(archive), "sha256": hashlib.sha256(archive.read_bytes()).hexdigest()}
    packed_one = [{**NEAR, "program": program}, CLINIC]
    wrong = [{**NEAR, "program": {**program, "sha256": "0" * 64}}, CLINIC]
    assert "sha256" in role.play(entry="precheck", neursafe_standalone_instances=wrong).words
    assert role.play(neursafe_standalone_instances=packed_one).code == 0
    assert "ExecStart=/opt/fedlearn/neursafe-client/" in role.sh(f"cat /etc/systemd/system/{UNITS[0]}")
    assert role.play(neursafe_standalone_instances=packed_one).changed == 0
    assert role.play().code == 0
    assert role.play(entry="check").code == 0


def test_removal_leaves_nothing(role: RoleHost) -> None:
    assert role.play(entry="remove", neursafe_standalone_remove_data=True).code == 0
    ours = "/etc/fedlearn/neursafe-one /etc/systemd/system/fedlearn-*"
    places = f"{ours} /var/lib/fedlearn-near /var/lib/private/fedlearn-*"
    left = role.sh(f"ls -d {places} 2>/dev/null || true")
    assert left == ""
    assert role.try_sh("ss -Hltn | grep -E ':2200[01] '")[0] != 0
    assert role.play().code == 0
