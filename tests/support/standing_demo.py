# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The demo as it stands: `make demo` brought it, these tests look at it as its users do, by ssh and Ansible."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

# Gives the inventory of the demo's document with texts in it replaced by others: (old, new), ...
Changed = Callable[..., Path]

# As `make demo` leaves them.
SERVERS = "servers: {hosts: [ms2, ms3]}"
WORKERS = "workers: {hosts: [ms2, ms3]}"
ITERATIONS = "fl_iteration_num: 3"

WORKER = "fedlearn-demo-lenet-worker-1"
TRUTH = (1.0, -2.0, 3.0, 0.5)


def plain(found: dict[str, Any]) -> Any:
    """A string of the document, which ansible-inventory marks as no template, as the string it is."""
    return found["__ansible_unsafe"] if found.keys() == {"__ansible_unsafe"} else found


@dataclass
class Demo:
    """The three hosts and the commands that reach them."""

    inventory: Path = CHECKOUT / "inventories" / "demo"
    hosts: tuple[str, ...] = ("ms1", "ms2", "ms3")
    host_set: str = "demo"
    vault_password: Path = CHECKOUT / "build" / "vault-pass"
    environment: dict[str, str] = field(default_factory=lambda: {**os.environ, "NO_COLOR": "1"})

    @property
    def ssh_config(self) -> Path:
        """How OpenSSH reaches the hosts."""
        return CHECKOUT / "build" / "hosts" / self.host_set / "ssh_config"

    def playbook(self, name: str, *arguments: str, inventory: Path | None = None) -> counting.Counted:
        """A playbook of the collection on the demo's hosts, its remote executions counted."""
        document = str(inventory or self.inventory / "federation.yml")
        command = [str(CHECKOUT / ".venv" / "bin" / "ansible-playbook"), "-i", document]
        command += ["--vault-password-file", str(self.vault_password), name, *arguments]
        return counting.run(command, self.environment)

    def start(self, name: str, inventory: Path, log: Path) -> subprocess.Popen[bytes]:
        """The same, begun and not waited for; what it says goes to a file."""
        command = [str(CHECKOUT / ".venv" / "bin" / "ansible-playbook"), "-i", str(inventory)]
        command += ["--vault-password-file", str(self.vault_password), name]
        with log.open("w") as output:
            return subprocess.Popen(command, env=self.environment, cwd=CHECKOUT, stdout=output, stderr=output)

    def site(self, *arguments: str, inventory: Path | None = None) -> counting.Counted:
        """A run of site that has to end well."""
        done = self.playbook("site.yml", *arguments, inventory=inventory)
        assert done.returncode == 0, done.output[-6000:]
        return done

    def ssh(self) -> dict[str, str]:
        """The connection variables that the demo's group_vars give, for inventories that lie elsewhere."""
        return {"ansible_ssh_common_args": f'-F "{self.ssh_config}"'}

    def beside(self, folder: Path, *, state: bool = True) -> None:
        """Lay beside another document what lies beside the demo's: how to connect and, with ``state``, its state."""
        (folder / "group_vars").mkdir()
        (folder / "group_vars" / "all.yml").write_text(json.dumps(self.ssh()))
        for name in (".secrets", ".ca", "public") if state else ():
            shutil.copytree(self.inventory / name, folder / name)  # the same CA, which is used through no link

    def lay_beside(self) -> None:
        """Make the inventory's folder, with a vault password of its own and no state that another one encrypted."""
        self.inventory.mkdir(parents=True, exist_ok=True)
        if not self.vault_password.exists():
            for state in (".secrets", ".ca", "public"):
                shutil.rmtree(self.inventory / state, ignore_errors=True)
            self.vault_password.write_text(secrets.token_urlsafe(32))
            self.vault_password.chmod(0o600)
        shutil.rmtree(self.inventory / "group_vars", ignore_errors=True)
        self.beside(self.inventory, state=False)

    def deploy(self) -> None:
        """Make the secrets that are missing, and run site."""
        made = self.playbook("fedlearn.infra.secrets")
        assert made.returncode == 0, made.output[-3000:]
        self.site()

    def run(self, host: str, command: str) -> str:
        """What a shell script prints, as root on a host; a failing one fails the test.

        It goes there by standard input: sudo writes command lines to the journal, where secrets are looked for.
        """
        done = subprocess.run(
            ["ssh", "-F", str(self.ssh_config), host, "sudo sh"],
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

    def processes(self) -> dict[str, dict[str, int]]:
        """Host by host, the main process of every unit of ours that runs, and of nginx."""
        return {
            host: _pids(self.run(host, "systemctl show -p Id,MainPID 'fedlearn-*' nginx.service"))
            for host in self.hosts
        }

    @contextmanager
    def asked(self) -> Iterator[list[str]]:
        """Asks the servers through the proxy, again and again, for the time of the block: gives the answers."""
        answers: list[str] = []
        over = threading.Event()
        trusted = self.inventory / "public" / "lab" / "lab.pem"

        def ask() -> None:
            while not over.wait(0.1):
                # as it is by now: CAs change
                context = ssl.create_default_context(cafile=str(trusted))
                try:
                    urllib.request.urlopen("https://10.20.0.11:6666/anything", timeout=30, context=context).close()
                except urllib.error.HTTPError as error:
                    answers.append(str(error.code))
                except OSError as error:
                    answers.append(str(error))

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            yield answers
        finally:
            over.set()
            asking.join()

    def becomes_healthy(self, inventory: Path | None = None) -> None:
        """Everything runs and is as described before long, without a run of site."""

        def code() -> int:
            return self.playbook("fedlearn.infra.status", inventory=inventory).returncode

        assert until(90, code, lambda found: found == 0) == 0

    def trained(self, host: str, worker: str = WORKER) -> dict[str, Any]:
        """What the deployed worker of a host ends with, right as it has to be, once its training is over."""
        state = until(600, lambda: self.run(host, f"systemctl is-active {worker} || true"), "inactive\n".__eq__)
        assert state == "inactive\n"
        result: dict[str, Any] = json.loads(self.run(host, f"cat /var/lib/private/{worker}/result.json"))
        error = max(abs(value - want) for value, want in zip(result["values"], TRUTH, strict=True))
        assert error <= 0.05, result
        return result

    @contextmanager
    def changing(self, folder: Path, made_anew: str = "/no/file") -> Iterator[Changed]:
        """Gives changed copies of the document, in a folder, with the same state; then the hosts are as before.

        But for what may be `made_anew` below a path, such as a key that was removed.
        """

        def kept() -> dict[str, list[str]]:
            found = self.files().items()
            return {host: [row for row in rows.splitlines() if not row.startswith(made_anew)] for host, rows in found}

        self.beside(folder)
        file = folder / "federation.yml"

        def changed(*texts: tuple[str, str]) -> Path:
            text = (self.inventory / "federation.yml").read_text()
            for old, new in texts:
                assert old in text
                text = text.replace(old, new)
            file.write_text(text)
            return file

        before = kept()
        yield changed
        if kept() != before:
            self.site("-e", "fedlearn_prune=true")
            assert kept() == before

    def variables(self, host: str) -> dict[str, Any]:
        """What the inventory says of a host."""
        command = [str(CHECKOUT / ".venv" / "bin" / "ansible-inventory"), "-i", str(self.inventory), "--host", host]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=CHECKOUT, env=self.environment)
        found: dict[str, Any] = json.loads(done.stdout, object_hook=plain)
        return found

    def secrets(self) -> dict[str, str]:
        """Every secret of the demo's party."""
        view = [str(CHECKOUT / ".venv" / "bin" / "ansible-vault"), "view"]
        view += ["--vault-password-file", str(self.vault_password)]
        file = self.inventory / ".secrets" / "lab.yml"
        shown = subprocess.run([*view, str(file)], check=True, capture_output=True, text=True).stdout
        pairs = (line.partition(": ") for line in shown.splitlines() if ": " in line)
        return {name.strip(): value.strip().strip("\"'") for name, _colon, value in pairs}


def _pids(shown: str) -> dict[str, int]:
    units = [dict(line.split("=", 1) for line in block.splitlines()) for block in shown.strip().split("\n\n")]
    return {unit["Id"]: int(unit["MainPID"]) for unit in units if int(unit["MainPID"])}


def last_line(status: counting.Counted) -> dict[str, Any]:
    """The report that a run of status ends with."""
    found: dict[str, Any] = json.loads([line for line in status.output.splitlines() if line.strip()][-1])
    return found


def recap(output: str) -> dict[str, dict[str, int]]:
    """Host by host, the counts of a run's last lines."""
    rows = re.findall(r"^(\S+)\s+: (ok=.*)$", output, re.MULTILINE)
    return {host: {word: int(count) for word, count in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in rows}


def until(seconds: float, what: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
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
