# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has the host take renewed files in by itself: a path unit on them, and a program made of this very package.

They are there while a record says that a certificate is provided, one pair of units a federation.
"""

from __future__ import annotations

import io
import os
import pkgutil
import subprocess
import zipfile

from . import der, description, facts, files, installed, openssl, outcome, provided, renewal, settling, taking
from .description import Description
from .installed import Installed, Layout, recorded

_MODULES = (der, description, facts, files, installed, openssl, outcome, provided, renewal, settling, taking)
_START = "import sys\n\nfrom fedlearn_pki.taking import main\n\nsys.exit(main(sys.argv[1]))\n"
_SERVICE = """\
[Unit]
Description=Takes in certificates that were renewed for the federation {federation}
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 -I {program} {federation}
UMask=0077
ProtectHome=read-only
PrivateTmp=yes
NoNewPrivileges=yes
"""
_PATH = """\
[Unit]
Description=Watches provided certificates of the federation {federation}

[Path]
{watched}

[Install]
WantedBy=paths.target
"""


def watched(layout: Layout, federation: str) -> list[str]:
    """The files of others that certificates of this federation are taken from."""
    found = set()
    for name in recorded(layout, federation):
        source = provided.from_record(Installed(layout, Description(name, federation, "present"), create=False).record)
        if source:
            found |= {source[0].certificate_file, source[0].key_file}
    return sorted(found)


def settle(layout: Layout, federation: str, check: bool = False) -> list[str]:
    """Bring program and units in line with the records; the files that changed."""
    units = os.path.join(layout.configuration, "systemd/system")
    name = f"fedlearn-{federation}-certificates"
    program = os.path.join(layout.state, "fedlearn", federation, "certificates.pyz")
    paths = watched(layout, federation)
    service, path = (os.path.join(units, f"{name}.{kind}") for kind in ("service", "path"))
    wanted: dict[str, bytes] = {}
    if paths:
        lines = "\n".join(f"PathChanged={each}" for each in paths)
        wanted = {
            program: _program(),
            service: _SERVICE.format(federation=federation, program=program).encode("ascii"),
            path: _PATH.format(federation=federation, watched=lines).encode("ascii"),
        }
    changed = [each for each in (program, service, path) if _content(each) != wanted.get(each)]
    if paths and not changed and not _watches(name):
        changed = [path]
    if check or not changed:
        return changed
    if not paths:
        _systemctl("disable", "--now", f"{name}.path")
    for each in changed:
        if each in wanted:
            files.write(each, wanted[each], 0o644)
        else:
            os.unlink(each)
    _systemctl("daemon-reload")
    if paths:
        _systemctl("enable", f"{name}.path")
        _systemctl("restart", f"{name}.path")
    return changed


def _content(path: str) -> bytes | None:
    found = files.read(path)
    return found.content if found else None


def _watches(name: str) -> bool:
    return not any(_systemctl(verb, "--quiet", f"{name}.path") for verb in ("is-active", "is-enabled"))


def _systemctl(*words: str) -> int:
    return subprocess.run(["systemctl", *words], capture_output=True, check=False).returncode


def _program() -> bytes:
    """The package as one file that Python runs; the same bytes each time."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr(zipfile.ZipInfo("__main__.py"), _START)
        made.writestr(zipfile.ZipInfo("fedlearn_pki/__init__.py"), "")
        for module in _MODULES:
            name = module.__name__.rpartition(".")[2] + ".py"
            made.writestr(zipfile.ZipInfo(f"fedlearn_pki/{name}"), pkgutil.get_data(str(__package__), name) or b"")
    return archive.getvalue()
