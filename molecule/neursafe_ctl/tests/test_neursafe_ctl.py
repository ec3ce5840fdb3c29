# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The neursafe_ctl role on one host, as an unprivileged sudo user; a double stands in for nsfl-ctl."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_host import RoleHost
from shared_tests import Role, Secretive

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
(ONE,) = VARIABLES["neursafe_ctl_instances"]
UNIT = "fedlearn-imaging.service"
PASSWORD = "/etc/fedlearn/neursafe-one/imaging/password"


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "neursafe_ctl", VARIABLES)


def test_the_command_finds_what_was_told_and_root_alone_may_read_it(role: RoleHost) -> None:
    assert json.loads(role.sh("nsfl-ctl get config")) == {
        "api_server": "127.0.0.1:30083",
        "certificate": "/etc/ssl/certs/ca-certificates.crt",
        "data_server": "http://127.0.0.1:9000",
        "user": "operators",
    }
    assert role.sh("stat -c '%a %U' /etc/nsfl.json").strip() == "600 root"
    assert "CANARY" not in role.sh("cat /etc/nsfl.json")


def test_hardened(role: RoleHost) -> None:
    assert role.exposure(UNIT) <= 4.0


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("sed -i s/operators/bob/ /etc/nsfl.json", "/etc/nsfl.json has another user"),
        ("chmod 644 /etc/nsfl.json", "others than root read /etc/nsfl.json"),
        ("rm /etc/nsfl.json", "there is no /etc/nsfl.json"),
    ],
)
def test_settings_that_were_changed_are_told(role: RoleHost, damage: str, words: str) -> None:
    role.sh(damage)
    told = role.play(entry="check")
    assert (told.code, words in told.words) == (2, True), told.text
    role.sh(f"systemctl restart {UNIT}")
    assert role.play(entry="check").code == 0


@pytest.mark.parametrize(("unit", "port", "words"), [("api", 30083, "Error message"), ("store", 9000, "api server ok")])
def test_what_operators_don_t_reach_is_told(role: RoleHost, unit: str, port: int, words: str) -> None:
    role.sh(f"systemctl stop {unit}")
    try:
        told = role.play(entry="check")
        assert (told.code, "imaging: ill: nsfl-ctl health: " in told.words, words in told.words) == (2, True, True)
    finally:
        role.sh(
            f"systemd-run --quiet --unit {unit} python3 -m http.server {port} --bind 127.0.0.1 --directory /srv/api"
        )
        role.sh(f"for _ in $(seq 50); do ss -Hltn | grep -q 127.0.0.1:{port} && exit 0; sleep 0.1; done; exit 1")
    assert role.play(entry="check").code == 0


class TestCtl(Secretive, Role):
    units, owned = (UNIT,), 5
    changed = {"neursafe_ctl_instances": [{**ONE, "api": "10.20.0.13:30083"}]}
    meant = (PASSWORD,)
    # every wrong value has its exact message in tests/unit/plugins/plugin_utils/roles/test_catalogue.py
    wrong = (
        ({"api": "10.20.0.12"}, "api: '10.20.0.12' is no address and port"),
        ({"data": {"url": "10.20.0.11:9000", "user": "operators", "secret": "store"}}, "data.url: "),
    )

    def with_(self, changed: Mapping[str, Any]) -> dict[str, Any]:
        return {"neursafe_ctl_instances": [{**ONE, **changed}]}

    def lose(self, role: RoleHost) -> None:
        role.sh(f"rm {PASSWORD}")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"doubles": False}, "has a double, and doubles says otherwise"),
        ({"program": {"path": "/usr"}}, "/usr/bin/python3.7"),
    ],
)
def test_what_it_can_t_work_with_changes_nothing(role: RoleHost, changed: dict[str, Any], reason: str) -> None:
    before = role.state("/etc/nsfl.json")
    run = role.play(neursafe_ctl_instances=[{**ONE, **changed}])
    assert (run.failed, reason in run.words) == (1, True), run.text
    assert role.state("/etc/nsfl.json") == before


def test_removal_takes_the_settings_along(role: RoleHost) -> None:
    assert role.play(entry="remove", neursafe_ctl_remove_data=True).code == 0
    ours = "/etc/fedlearn/neursafe-one /etc/systemd/system/fedlearn-* /etc/nsfl.json /usr/local/bin/nsfl-ctl"
    assert role.sh(f"ls -d {ours} 2>/dev/null || true") == ""
    assert role.play().code == 0
