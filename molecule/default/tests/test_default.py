# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A role's default scenario: what its README's first example brings, as an unprivileged sudo user."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_host import CHECKOUT, RoleHost

ROLE = os.environ["FEDLEARN_ROLE"]
ROOM = Path(os.environ["FEDLEARN_ROLE_STATE"])
(PLAY,) = yaml.safe_load((ROOM / "example.yml").read_text())
((OWN,),) = [[one["vars"] for one in PLAY["roles"] if one["role"] == f"fedlearn.infra.{ROLE}"]]
MOST = {"minio": 3, "postgresql": 3}
"""Remote executions of a run that changes nothing, where they are more than two."""


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, ROLE, {**PLAY.get("vars", {}), **OWN}, books=ROOM)


def services(role: RoleHost) -> dict[str, Any]:
    """What is noted of the role's services on the host."""
    noted = role.sh("cat /var/lib/fedlearn/*/owned.json 2>/dev/null || echo '{\"services\": {}}'")
    found: dict[str, Any] = json.loads(noted)["services"]
    return found


def listening(role: RoleHost) -> set[tuple[str, int]]:
    """Where processes of our units, and of nginx, listen."""
    found = set()
    for line in role.sh("ss -Hltunp").splitlines():
        address, _colon, port = line.split()[4].rpartition(":")
        for pid in set(re.findall(r"pid=(\d+)", line)):
            if re.search(r"/(fedlearn-|nginx\.service)", role.sh(f"cat /proc/{pid}/cgroup")):
                found.add((address.strip("[]"), int(port)))
    return found


LOCKS = {"/run/fedlearn", "/run/fedlearn/limits", "/run/fedlearn/lock", "/run/fedlearn-certificates.lock"}
"""By which runs take turns: they are there until the next boot."""


def ours(role: RoleHost) -> set[str]:
    """Everything on the host that has our name, but locks."""
    places = "/etc /run /usr/local /var/lib /var/log/nginx /var/tmp /tmp /opt"
    named = role.sh(f"find {places} -name '*fedlearn*' ! -path '/run/systemd/*' 2>/dev/null || true")
    laid = role.sh("find /run/fedlearn -mindepth 1 2>/dev/null; grep -rlsI fedlearn /etc || true")
    return {*named.split(), *laid.split()} - LOCKS


def test_a_second_run_changes_nothing_with_few_executions(role: RoleHost) -> None:
    before = role.configuration()
    again = role.play(most=MOST.get(ROLE, 2))
    assert (again.code, again.changed) == (0, 0), again.text
    assert role.configuration() == before


def test_it_is_well_and_check_mode_finds_nothing(role: RoleHost) -> None:
    for entry in ("check", "precheck"):
        looked = role.play(entry=entry)
        assert (looked.code, looked.changed) == (0, 0), looked.text
    assert role.play("--check").changed == 0


def test_it_listens_where_it_says_and_nowhere_else(role: RoleHost) -> None:
    """By default that is loopback."""
    said = {(one["address"], one["port"]) for service in services(role).values() for one in service["ports"]}
    heard = listening(role)
    assert said <= heard
    assert {(address.replace("::1", "127.0.0.1"), port) for address, port in heard} == said
    assert {address for address, _port in heard} <= {"127.0.0.1", "::1"}


def test_its_units_are_hardened(role: RoleHost) -> None:
    readme = (CHECKOUT / "roles" / ROLE / "README.md").read_text()
    for unit in {name for service in services(role).values() for name in service["units"]}:
        if unit.endswith(".service"):
            bound = 2.5 if "and not 2.5" not in readme else 4.0
            assert role.exposure(unit) <= bound, unit


def test_remove_leaves_nothing_of_it(role: RoleHost) -> None:
    assert ours(role)
    assert role.play(entry="remove", **{f"{ROLE}_remove_data": True}).code == 0
    again = role.play(entry="remove", **{f"{ROLE}_remove_data": True})
    assert (again.code, again.changed) == (0, 0), again.text
    assert ours(role) == set()
    assert listening(role) == set()
    assert role.sh("systemctl list-units --all --plain --no-legend 'fedlearn-*'") == ""
