# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small federation in a folder of its own, and Ansible's real commands called there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# how long an example takes says what else the machine does
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

CHECKOUT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

DOCUMENT = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab: {hosts: {ms1: 10.20.0.11, ms2: 10.20.0.12}}
stacks:
  lenet:
    kind: mindspore
    redis: {host: ms1}
    scheduler: {host: ms1}
    servers: {hosts: [ms2]}
    workers: {hosts: [ms2]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with that document."""
    (tmp_path / "federation.yml").write_text(DOCUMENT)
    return tmp_path


def run(
    folder: Path, *command: str | Path, config: Path | None = CHECKOUT / "ansible.cfg", home: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """A command of Ansible as it ended, without the settings that whoever runs the tests has in the environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment |= {"ANSIBLE_HOME": str(home or folder / "home"), "NO_COLOR": "1"}
    if config:
        environment["ANSIBLE_CONFIG"] = str(config)
    return subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
