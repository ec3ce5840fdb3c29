# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The demo as it stands: `make demo` brought it, these tests look at it as its users do, by ssh and Ansible."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import counting

CHECKOUT = Path(__file__).resolve().parents[2]
HOSTS_PY = (str(CHECKOUT / ".venv" / "bin" / "python"), str(CHECKOUT / "molecule" / "shared" / "hosts.py"))

# Every file that is ours, with mode, owner and content.
FILES = r"""
find /etc/fedlearn /etc/systemd/system/fedlearn-* /etc/nginx/conf.d -type f ! -name '*.lock' 2>/dev/null \
    -printf '%p %m %U:%G ' -exec sha256sum {} \; | sort
"""

# Gives the inventory of the demo's document with one text in it replaced by another.
Changed = Callable[[str, str], Path]


def plain(found: dict[str, Any]) -> Any:
    """A string of the document, which ansible-inventory marks as no template, as the string it is."""
    return found["__ansible_unsafe"] if found.keys() == {"__ansible_unsafe"} else found


@dataclass
class Demo:
    """The three hosts and the commands that reach them."""

    inventory: Path = CHECKOUT / "inventories" / "demo"
    hosts: tuple[str, ...] = ("ms1", "ms2", "ms3")
    environment: dict[str, str] = field(default_factory=lambda: {**os.environ, "NO_COLOR": "1"})

    def playbook(self, name: str, *arguments: str, inventory: Path | None = None) -> counting.Counted:
        """A playbook of the collection on the demo's hosts, its remote executions counted."""
        command = [str(CHECKOUT / ".venv" / "bin" / "ansible-playbook"), "-i", str(inventory or self.inventory)]
        command += ["--vault-password-file", str(CHECKOUT / "build" / "vault-pass"), name, *arguments]
        return counting.run(command, self.environment)

    def start(self, name: str, inventory: Path) -> subprocess.Popen[bytes]:
        """The same, begun and not waited for; what it says is thrown away."""
        command = [str(CHECKOUT / ".venv" / "bin" / "ansible-playbook"), "-i", str(inventory)]
        command += ["--vault-password-file", str(CHECKOUT / "build" / "vault-pass"), name]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, env=self.environment, cwd=CHECKOUT, stdout=quiet, stderr=quiet)

    def ssh(self) -> dict[str, str]:
        """The connection variables that the demo's group_vars give, for inventories that lie elsewhere."""
        return {"ansible_ssh_common_args": f'-F "{CHECKOUT / "build" / "hosts" / "demo" / "ssh_config"}"'}

    def beside(self, folder: Path, *, state: bool = True) -> None:
        """Lay beside another document what lies beside the demo's: how to connect and, with ``state``, its state."""
        (folder / "group_vars").mkdir()
        (folder / "group_vars" / "all.yml").write_text(json.dumps(self.ssh()))
        for name in (".secrets", ".ca", "public") if state else ():
            (folder / name).symlink_to(self.inventory / name)

    def run(self, host: str, command: str) -> str:
        """What a shell script prints, as root on a host; a failing one fails the test.

        It goes there by standard input: sudo writes command lines to the journal, where secrets are looked for.
        """
        room = CHECKOUT / "build" / "hosts" / "demo"
        done = subprocess.run(
            ["ssh", "-F", str(room / "ssh_config"), host, "sudo sh"],
            input=command,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{host}: {command}: {done.stderr}"
        return done.stdout

    def files(self) -> dict[str, str]:
        """Host by host, every file that is ours."""
        return {host: self.run(host, FILES) for host in self.hosts}

    def becomes_healthy(self) -> None:
        """Everything runs and is as described before long, without a run of site."""
        assert until(90, lambda: self.playbook("fedlearn.infra.status").returncode, lambda code: code == 0) == 0

    def variables(self, host: str) -> dict[str, Any]:
        """What the inventory says of a host."""
        command = [str(CHECKOUT / ".venv" / "bin" / "ansible-inventory"), "-i", str(self.inventory), "--host", host]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=CHECKOUT, env=self.environment)
        found: dict[str, Any] = json.loads(done.stdout, object_hook=plain)
        return found

    def secrets(self) -> dict[str, str]:
        """Every secret of the demo's party."""
        view = [str(CHECKOUT / ".venv" / "bin" / "ansible-vault"), "view"]
        view += ["--vault-password-file", str(CHECKOUT / "build" / "vault-pass")]
        file = self.inventory / ".secrets" / "lab.yml"
        shown = subprocess.run([*view, str(file)], check=True, capture_output=True, text=True).stdout
        pairs = (line.partition(": ") for line in shown.splitlines() if ": " in line)
        return {name.strip(): value.strip().strip("\"'") for name, _colon, value in pairs}


def recap(output: str) -> dict[str, dict[str, int]]:
    """Host by host, the counts of a run's last lines."""
    rows = re.findall(r"^(\S+)\s+: (ok=.*)$", output, re.MULTILINE)
    return {host: {word: int(count) for word, count in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in rows}


def until(seconds: float, what: Callable[[], object], wanted: Callable[[object], bool]) -> object:
    """The first answer that is as wanted; the last one when none is within the time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = what()
        except AssertionError as error:
            found = error
        if wanted(found) or time.monotonic() > deadline:
            return found
        time.sleep(2)
