# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a server's settings its unit has to allow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.conftest import CHECKOUT, run

UNIT = CHECKOUT / "roles/mindspore_server/templates/etc/systemd/system/fedlearn-instance.service.j2"


def line(folder: Path, connections: int, **variables: object) -> str:
    """The unit's limit of open files for a server of so many connections."""
    instance = {
        "name": "demo-lenet-server-1",
        "federation": "demo",
        "exchange": "demo-lenet-server-1-checkpoints",
        "settings": {"client": {"connection_num": connections}},
        "checkpoints": {"tls": None},
    }
    names = [f"{instance['name']}/{part}" for part in ("environment", "launcher")]
    brought = {name: {"path": "/opt/x", "library_path": ""} for name in names}
    given = {"instance": instance, "shared_mindspore_artifacts": {"artifacts": brought}, **variables}
    shown = {"ansible.builtin.debug": {"msg": f"{{{{ lookup('ansible.builtin.template', '{UNIT}') }}}}"}}
    play = {"hosts": "localhost", "gather_facts": False, "vars": given, "tasks": [shown]}
    play["vars_files"] = [str(CHECKOUT / "roles/mindspore_server/defaults/main.yml")]
    (folder / "play.yml").write_text(json.dumps([play]))
    done = run(folder, "ansible-playbook", "play.yml")
    assert done.returncode == 0, done.stdout
    found = [each.strip() for each in done.stdout.splitlines() if "LimitNOFILE=" in each]
    assert len(found) == 1, done.stdout
    return found[0]


@pytest.mark.slow
@pytest.mark.parametrize(("connections", "limit"), [(10_000, 65_535), (70_000, 70_512), (1_048_064, 1_048_576)])
def test_a_server_may_open_a_file_for_each_connection(tmp_path: Path, connections: int, limit: int) -> None:
    assert line(tmp_path, connections) == f"LimitNOFILE={limit}"
