# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registry_trust role on one host, as an unprivileged sudo user; no container engine is there to read its files."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_host import RoleHost
from shared_tests import Role

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
FIRST, SECOND = VARIABLES["registry_trust_instances"]
KEYED = Path(os.environ["FEDLEARN_ROLE_STATE"]) / "keyed.pem"
FOLDERS = ("/etc/containerd/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d")


@pytest.fixture(autouse=True)
def keyed() -> None:
    """A CA with its key, as somebody may keep both in one file."""
    KEYED.write_text(
        "-----BEGIN EC PRIVATE KEY-----\nx\n-----END EC PRIVATE KEY-----\n" + Path(FIRST["ca"]).read_text()
    )


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "registry_trust", VARIABLES)


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_engine_has_the_ca_in_the_folder_of_the_registry(role: RoleHost, folder: str) -> None:
    wanted = Path(FIRST["ca"]).read_text()
    for one in (FIRST, SECOND):
        assert role.sh(f"cat {folder}/{one['registry']}/ca.crt") == wanted
        assert role.sh(f"stat -c '%a %U' {folder}/{one['registry']}/ca.crt").strip() == "644 root"


def test_containerd_is_told_what_proves_the_registry(role: RoleHost) -> None:
    told = tomllib.loads(role.sh(f"cat {FOLDERS[0]}/{FIRST['registry']}/hosts.toml"))
    server = f"https://{FIRST['registry']}"
    assert told["server"] == server
    assert told["host"][server]["ca"] == f"{FOLDERS[0]}/{FIRST['registry']}/ca.crt"


def test_what_others_keep_beside_it_stays(role: RoleHost) -> None:
    others = "/etc/docker/certs.d/other.example"
    role.sh(f"install -d {others} && echo theirs >{others}/ca.crt")
    assert role.play().changed == 0
    assert role.sh(f"cat {others}/ca.crt").strip() == "theirs"
    role.sh(f"rm -r {others}")


class TestTrust(Role):
    units, owned = ("fedlearn-first.target", "fedlearn-second.target"), 10
    changed = {"registry_trust_instances": [{**FIRST, "registry": "registry.example:5001"}, SECOND]}
    # every wrong value has its exact message in tests/unit/plugins/plugin_utils/roles/test_catalogue.py
    wrong = (
        ({"registry": "registry.example/team"}, "registry: 'registry.example/team' is not a registry without a path"),
        ({"registry": "10.20.0.11"}, "registry: '10.20.0.11' is that of"),
        ({"ca": "/no/ca.pem"}, "there is no /no/ca.pem, which is to have a registry's CA"),
        ({"ca": "/etc/hostname"}, "ca.crt"),
        ({"ca": str(KEYED)}, "keyed.pem has a private key: leave certificates alone"),
    )

    def with_(self, changed: Mapping[str, Any]) -> dict[str, Any]:
        return {"registry_trust_instances": [{**FIRST, **changed}, SECOND]}


def test_removal_takes_all_of_it_and_nothing_else(role: RoleHost) -> None:
    role.sh("install -d /etc/docker/certs.d/other.example")
    assert role.play(entry="remove").code == 0
    ours = f"find {' '.join(FOLDERS)} -type f 2>/dev/null; ls /etc/systemd/system/fedlearn-* 2>/dev/null || true"
    assert role.sh(ours) == ""
    assert role.sh("ls /etc/docker/certs.d").split() == ["other.example"]
    role.sh("rmdir /etc/docker/certs.d/other.example")
    assert role.play().code == 0
