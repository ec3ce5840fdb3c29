# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The demo's hosts as pyinfra describes them, from the same bundles as converge.sh: packages, files, units."""

from __future__ import annotations

import os
from pathlib import Path

from pyinfra import host
from pyinfra.operations import apt, files, systemd

BUNDLE = Path(os.environ["FEDLEARN_BUNDLES"]) / host.name
PACKAGES = (BUNDLE / "packages").read_text().split()
MANIFEST = [line.split(maxsplit=3) for line in (BUNDLE / "manifest").read_text().splitlines()]
ENVIRONMENT = (BUNDLE / "environment").read_text().strip()

apt.packages(packages=PACKAGES, no_recommends=True, _sudo=True)

if ENVIRONMENT:
    # the file that is written last stands for the environment, as it does in converge.sh
    files.put(src=str(BUNDLE / "requirements.txt"), dest=f"{ENVIRONMENT}/requirements.txt", mode="644", _sudo=True)

for mode, owner, group, path in host.loop(MANIFEST):
    if path.endswith("/"):
        files.directory(path=path.rstrip("/"), mode=mode, user=owner, group=group, _sudo=True)
    else:
        files.put(src=f"{BUNDLE}/files{path}", dest=path, mode=mode, user=owner, group=group, _sudo=True)

if any(package.startswith("nginx=") for package in PACKAGES):
    files.link(path="/etc/nginx/sites-enabled/default", present=False, _sudo=True)
    systemd.service(service="nginx.service", running=True, enabled=True, _sudo=True)

for _mode, _owner, _group, path in host.loop(MANIFEST):
    unit = path.removeprefix("/etc/systemd/system/")
    if unit.startswith("fedlearn-"):
        # a worker ends when it has trained
        systemd.service(service=unit, running=None if "-worker" in unit else True, enabled=True, _sudo=True)
