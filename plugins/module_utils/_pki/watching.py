# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has the host take renewed files in by itself: a path unit on them, and a program made of this very package.

They are there while a record says that a certificate is provided, one pair of units a federation; and while an ACME
server is asked for one, so is a timer, by which that program asks for what is due.
"""

from __future__ import annotations

import contextlib
import io
import os
import pkgutil
import subprocess
import zipfile

from . import acme, der, description, facts, files, installed, openssl, outcome, provided, renewal, settling, taking
from .description import Description
from .installed import Installed, Layout, recorded

_MODULES = (acme, der, description, facts, files, installed, openssl, outcome, provided, renewal, settling, taking)
_START = "import sys\n\nfrom fedlearn_pki.taking import main\n\nsys.exit(main(*sys.argv[1:]))\n"
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


_RENEWAL = """\
[Unit]
Description=Asks ACME servers for certificates that are due for the federation {federation}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 -I {program} {federation} renew
UMask=0077
ProtectHome=read-only
PrivateTmp=yes
NoNewPrivileges=yes
"""
_TIMER = """\
[Unit]
Description=Twice a day, certificates by ACME for the federation {federation}

[Timer]
OnCalendar=*-*-* 00,12:00:00
RandomizedDelaySec=11h
Persistent=yes

[Install]
WantedBy=timers.target
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
    paths, asked = watched(layout, federation), acme.wanted(layout, federation)
    service, path = (os.path.join(units, f"{name}.{kind}") for kind in ("service", "path"))
    renewal, timer = (os.path.join(units, f"{name}-renewal.{kind}") for kind in ("service", "timer"))
    wanted: dict[str, bytes] = {}
    if paths:
        lines = "\n".join(f"PathChanged={each}" for each in paths)
        wanted = {
            program: _program(),
            service: _SERVICE.format(federation=federation, program=program).encode("ascii"),
            path: _PATH.format(federation=federation, watched=lines).encode("ascii"),
        }
    if paths and asked:
        wanted[renewal] = _RENEWAL.format(federation=federation, program=program).encode("ascii")
        wanted[timer] = _TIMER.format(federation=federation).encode("ascii")
    changed = [each for each in (program, service, path, renewal, timer) if _content(each) != wanted.get(each)]
    starting = [os.path.basename(each) for each in (path, timer) if each in wanted]
    changed = changed or [os.path.join(units, each) for each in starting if not _runs(each)]
    if check or not changed:
        return changed
    for each in (path, timer):
        if each in changed and each not in wanted:
            _systemctl("disable", "--now", os.path.basename(each))
    for each in changed:
        if each in wanted:
            files.write(each, wanted[each], 0o644)
        else:
            os.unlink(each)
    if program in changed and program not in wanted:
        for folder in (os.path.dirname(program), os.path.dirname(os.path.dirname(program))):
            with contextlib.suppress(OSError):  # not the last thing there
                os.rmdir(folder)
    _systemctl("daemon-reload")
    for each in starting:
        _systemctl("enable", each)
        _systemctl("restart", each)
    return changed


def _content(path: str) -> bytes | None:
    found = files.read(path)
    return found.content if found else None


def _runs(unit: str) -> bool:
    return not any(_systemctl(verb, "--quiet", unit) for verb in ("is-active", "is-enabled"))


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
