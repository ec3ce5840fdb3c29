# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""federation.yml of this folder with a library, laid into build/six/ and deployed on hosts of its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import yaml
from standing_demo import CHECKOUT, Demo

ROOM = CHECKOUT / "build" / "six"
HOSTS = ("v1", "v2", "v3")
ALONE = ("v1", "v2")
"""Those that have no other address."""

UPSTREAM = os.environ.get("FEDLEARN_UPSTREAM_DIR", "")
DOUBLE = CHECKOUT / "tests" / "doubles" / "dc_federated"


class Six(Demo):
    """The three hosts."""

    def __init__(self) -> None:
        super().__init__(ROOM, HOSTS, os.environ.get("FEDLEARN_IPV6_SET", "six"), ROOM / "vault-pass")

    def begin(self) -> None:
        """Deploy, while the hosts get packages by IPv4 as the test's network has it, which is then taken from two."""
        self.lay_beside()
        shutil.rmtree(ROOM / "library", ignore_errors=True)
        shutil.copytree(Path(UPSTREAM) / "dc_federated" if UPSTREAM else DOUBLE, ROOM / "library")
        document = yaml.safe_load(Path(__file__).with_name("federation.yml").read_text())
        library = {"source": "library"} if UPSTREAM else {"source": "library", "double": True}
        document["stacks"]["polls"]["library"] = library
        (ROOM / "federation.yml").write_text(yaml.safe_dump(document, sort_keys=False))
        self.deploy()
        for host in ALONE:
            self.run(host, "ip -4 addr flush dev eth0")
