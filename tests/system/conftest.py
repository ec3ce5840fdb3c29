# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Gives the tests the host that tests/tools/system.sh brought up, wiped before each of them."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from service_host import HERE, ServiceHost


@pytest.fixture(scope="session")
def standing(tmp_path_factory: pytest.TempPathFactory) -> ServiceHost:
    host = ServiceHost(tmp_path_factory.mktemp("runs"))
    program = base64.b64encode((HERE / "thing.py").read_bytes()).decode()
    host.shell(f"echo {program} | base64 -d > /opt/thing.py; chmod 0644 /opt/thing.py")
    return host


@pytest.fixture
def host(standing: ServiceHost) -> ServiceHost:
    standing.wipe()
    return standing
