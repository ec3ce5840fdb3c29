# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel's tables: what is there, what it would make of a text, loading one, and the way back.

Whether a table is as it is to be, a listing says: that of the host beside that of a network of its own, in which the
wanted text was loaded by the same program. So the kernel has taken a text before the host sees it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterable

from ansible_collections.fedlearn.infra.plugins.module_utils._firewall import rules
from ansible_collections.fedlearn.infra.plugins.module_utils._service import units
from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import ServiceError

PENDING = "/run/fedlearn-firewall"
ROLL_BACK = "fedlearn-firewall-rollback"
_SECONDS = 60
_END = "# end of table"
# $1 is the program, then come tables' names
_TRY = f'nft=$1; shift; "$nft" -f -; for table; do "$nft" -s list table inet "$table"; echo "{_END}"; done'
# Whoever moves the folder away, this or the confirmation, has the say.
_PUT_BACK = 'mv -T "$2" "$2.taken" && "$1" -f "$2.taken/former.nft"; rm -rf "$2.taken"'


class Nft:
    """The program, on this host."""

    def __init__(self, program: str) -> None:
        self.program = program

    @property
    def is_there(self) -> bool:
        return os.access(self.program, os.X_OK)

    def _run(self, argv: list[str], given: str = "") -> str:
        """What a command says; a ServiceError with its words when it fails."""
        try:
            done = subprocess.run(
                argv,
                input=given,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
                env={"LC_ALL": "C.UTF-8"},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServiceError(f"{argv[0]}: {error}") from None
        if done.returncode != 0:
            raise ServiceError(f"{' '.join(argv[:3])}: {units.ending(done.stderr or done.stdout)}")
        return done.stdout

    def names(self) -> set[str]:
        """The tables of the host that could be ours."""
        lines = [line.split() for line in self._run([self.program, "list", "tables"]).splitlines()]
        return {words[2] for words in lines if words[:2] == ["table", "inet"]}

    def listing(self, name: str, *, counters: bool = False) -> str:
        """A table of the host as it is."""
        return self._run([self.program, *([] if counters else ["-s"]), "list", "table", "inet", name])

    def would_list(self, tables: Iterable[rules.Table]) -> dict[str, str]:
        """What each table would be listed as, once it is loaded."""
        wanted = list(tables)
        names = [table.name for table in wanted]
        argv = ["unshare", "--net", "/bin/sh", "-ec", _TRY, "sh", self.program, *names]
        blocks = self._run(argv, "".join(table.text for table in wanted)).split(f"{_END}\n")
        return dict(zip(names, blocks))

    def load(self, text: str) -> None:
        """All of a text, or nothing of it."""
        self._run([self.program, "-f", "-"], text)

    def counted(self, name: str) -> dict[str, dict[str, int]]:
        """Packets and bytes that rules of a table counted, by their comment."""
        found: dict[str, dict[str, int]] = {}
        listed = json.loads(self._run([self.program, "-j", "list", "table", "inet", name]))
        for rule in (entry["rule"] for entry in listed["nftables"] if "rule" in entry):
            for counter in (part["counter"] for part in rule["expr"] if isinstance(part.get("counter"), dict)):
                total = found.setdefault(rule.get("comment", ""), {"packets": 0, "bytes": 0})
                for key in total:
                    total[key] += counter[key]
        return found


# --- until the controller confirms -----------------------------------------------------------------------------------


def arm(nft: Nft, names: Iterable[str], seconds: int) -> str:
    """Has the host put these tables back as they are now, after some seconds; returns the word that calls it off."""
    present = nft.names()
    former = [rules.emptied(name) + (nft.listing(name, counters=True) if name in present else "") for name in names]
    token = secrets.token_hex(16)
    shutil.rmtree(f"{PENDING}.taken", ignore_errors=True)
    os.mkdir(PENDING, 0o700)
    for name, text in (("former.nft", "".join(former)), ("token", token)):
        with open(f"{PENDING}/{name}", "w", encoding="utf-8") as stream:
            stream.write(text)
    argv = ["systemd-run", "--quiet", "--collect", f"--unit={ROLL_BACK}", f"--on-active={seconds}s"]
    argv += ["--timer-property=AccuracySec=100ms", "/bin/sh", "-c", _PUT_BACK, "sh", nft.program, PENDING]
    code, said = units.run(argv, _SECONDS)
    if code != 0:
        shutil.rmtree(PENDING)
        raise ServiceError(f"nothing was loaded: the way back can't be laid: {units.ending(said)}")
    return token


def disarm() -> None:
    """Nothing is to be put back any more."""
    shutil.rmtree(f"{PENDING}.taken", ignore_errors=True)
    try:
        os.rename(PENDING, f"{PENDING}.taken")
    except FileNotFoundError:
        return
    units.verb("stop", f"{ROLL_BACK}.timer")
    shutil.rmtree(f"{PENDING}.taken", ignore_errors=True)


def confirm(token: str) -> None:
    """Calls off the way back. ServiceError when it was taken, or what was loaded is another run's."""
    try:
        with open(f"{PENDING}/token", encoding="utf-8") as stream:
            ours = stream.read() == token
        if ours:
            os.rename(PENDING, f"{PENDING}.taken")
    except FileNotFoundError:
        ours = False
    if not ours:
        raise ServiceError("the confirmation came too late: the former rules were put back")
    units.verb("stop", f"{ROLL_BACK}.timer")
    shutil.rmtree(f"{PENDING}.taken", ignore_errors=True)


def is_settled() -> bool:
    """Whether no run has yet to confirm what it loaded."""
    return units.is_settled(PENDING, f"{ROLL_BACK}.timer")


def settle(nft: Nft) -> bool:
    """Puts back what a run loaded that never came to confirm it; returns whether there was any."""
    try:
        with open(f"{PENDING}/former.nft", encoding="utf-8") as stream:
            former = stream.read()
    except FileNotFoundError:
        return False
    nft.load(former)
    disarm()
    return True
