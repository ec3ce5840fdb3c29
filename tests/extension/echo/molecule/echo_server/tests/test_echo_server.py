# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The echo_server role on one host, as an unprivileged sudo user."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_host import RoleHost

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
UNIT = "fedlearn-echo-plain.service"


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "echo_server", VARIABLES)


def instances(**changed: Any) -> list[dict[str, Any]]:
    return [{**VARIABLES["echo_server_instances"][0], **changed}]


def ask(role: RoleHost, body: str | None = None) -> str:
    data = body.encode() if body else None
    try:
        with urllib.request.urlopen(f"http://{role.address}:7007/", data=data, timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()


def test_greets_echoes_and_refuses_what_is_too_long(role: RoleHost) -> None:
    assert ask(role) == "hello\n"
    assert ask(role, "12345678") == "12345678"
    assert ask(role, "123456789") == "longer than max_bytes\n"


def test_hardened(role: RoleHost) -> None:
    assert role.exposure(UNIT) <= 2.5


def test_second_run_changes_nothing(role: RoleHost) -> None:
    before = role.state(units=(UNIT,))
    again = role.play()
    assert (again.code, again.changed) == (0, 0), again.text
    assert role.state(units=(UNIT,)) == before
    assert role.play(entry="check").code == 0
    assert role.play(entry="precheck").code == 0


def test_wrong_settings_are_told_and_touch_nothing(role: RoleHost) -> None:
    before = role.state(units=(UNIT,))
    run = role.play(echo_server_instances=instances(settings={"max_bytes": 0}))
    assert run.code == 2
    assert "max_bytes: expected a whole number from 1 to 1048576, found the number 0" in run.words
    assert role.state(units=(UNIT,)) == before


def test_remove_leaves_nothing(role: RoleHost) -> None:
    assert role.play(entry="remove").changed == 1
    assert role.play(entry="remove").changed == 0
    assert role.sh("find /etc /run | grep -e echo-one -e fedlearn-echo || true") == ""
    assert role.play().changed == 1
