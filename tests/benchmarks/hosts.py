# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The benchmark's hosts: the demo with names and addresses of its own, made fresh as often as asked."""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support import counting

CHECKOUT = Path(__file__).resolve().parents[2]
ROOM = CHECKOUT / "build" / "bench"
INVENTORY = ROOM / "inventory"
LOOK = Path(__file__).with_name("baseline") / "look.py"
SET = "bench"
SUBNET = "10.98.11.0/24"
NAMES = ("b1", "b2", "b3")

State = dict[str, dict[str, Any]]
"""Host by host what baseline/look.py saw."""


class BenchError(Exception):
    """A run that can't be counted, and why."""


class Hosts:
    """Three hosts, and the ways to them: the ssh settings of ansible.cfg, an unprivileged user, sudo."""

    federation = "demo"
    names: tuple[str, ...] = NAMES
    # what a converged host had, and a fresh one gets for both ways: keys, certificates, what is noted of them
    laid: tuple[str, ...] = ("etc/fedlearn/demo/pki", "var/lib/fedlearn/demo/certificates")
    ssh_config = CHECKOUT / "build" / "hosts" / SET / "ssh_config"

    def __init__(self) -> None:
        self._sockets = tempfile.TemporaryDirectory(prefix="fedlearn-bench-")
        self._environment = {**os.environ, "ANSIBLE_SSH_CONTROL_PATH_DIR": self._sockets.name, "NO_COLOR": "1"}
        self._write_inventory()

    def _write_inventory(self) -> None:
        """The demo's document, its addresses and host names replaced; the state beside it is kept."""
        (INVENTORY / "group_vars").mkdir(parents=True, exist_ok=True)
        document = (CHECKOUT / "inventories" / "demo" / "federation.yml").read_text()
        document = document.replace("10.20.0.", SUBNET.rpartition(".")[0] + ".")
        for name in NAMES:
            document = document.replace(f"ms{name[1:]}", name)
        (INVENTORY / "federation.yml").write_text(document)
        access = f'-F "{self.ssh_config}"'
        (INVENTORY / "group_vars" / "all.yml").write_text(json.dumps({"ansible_ssh_common_args": access}) + "\n")
        password = ROOM / "vault-pass"
        if not password.exists():
            for name in (".secrets", ".ca", "public"):
                shutil.rmtree(INVENTORY / name, ignore_errors=True)
            password.touch(0o600)
            password.write_text(secrets.token_urlsafe(32) + "\n")

    def fresh(self) -> None:
        """Make the hosts anew; connections to the former ones are closed first."""
        self._forget()
        self._make("down", SET)
        self._make("up", "--suite", "bullseye", "--subnet", SUBNET, "--inventory", str(INVENTORY), SET)

    def _forget(self) -> None:
        for socket in Path(self._sockets.name).iterdir():
            subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "-"], check=False, capture_output=True)

    def down(self) -> None:
        """Remove the hosts."""
        self._make("down", SET)

    def _make(self, *arguments: str) -> None:
        subprocess.run(
            [sys.executable, str(CHECKOUT / "molecule" / "shared" / "hosts.py"), *arguments],
            check=True,
            cwd=CHECKOUT,
            stdout=subprocess.DEVNULL,
        )

    def _command(self, playbook: str) -> list[str]:
        command = [str(CHECKOUT / ".venv" / "bin" / "ansible-playbook"), "-i", str(INVENTORY)]
        return [*command, "--vault-password-file", str(ROOM / "vault-pass"), playbook]

    def playbook(self, name: str) -> str:
        """Run a playbook; what it said is the answer, and the message when it failed."""
        done = subprocess.run(
            self._command(name), check=False, cwd=CHECKOUT, env=self._environment, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise BenchError(f"{name} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
        return done.stdout

    def counted(self, name: str) -> counting.Counted:
        """Run a playbook with its remote executions counted."""
        return counting.run(self._command(name), self._environment)

    def root(self, host: str, command: str, given: bytes = b"") -> bytes:
        """What a command prints as root on a host, over a connection that persists as Ansible's do."""
        ssh = ["ssh", "-F", str(self.ssh_config), "-o", "ControlMaster=auto"]
        ssh += ["-o", "ControlPersist=120s", "-o", f"ControlPath={self._sockets.name}/own-%C", host, f"sudo {command}"]
        done = subprocess.run(ssh, input=given, check=False, capture_output=True)
        if done.returncode != 0:
            raise BenchError(f"{host}: {command} ended with {done.returncode}: {done.stderr.decode()[-3000:]}")
        return done.stdout

    def everywhere(self, work: Any) -> dict[str, Any]:
        """``work`` on all hosts, side by side as Ansible's forks are."""
        with ThreadPoolExecutor(len(self.names)) as pool:
            return dict(zip(self.names, pool.map(work, self.names), strict=True))

    def state(self) -> State:
        """What the two ways must agree on."""
        script = LOOK.read_bytes()
        return {
            host: json.loads(shown)
            for host, shown in self.everywhere(lambda h: self.root(h, "python3 -", script)).items()
        }

    def packed(self, host: str, paths: list[str]) -> bytes:
        """An archive of paths of a host, those that aren't there left out."""
        listed = "\0".join(path.lstrip("/") for path in paths).encode()
        return self.root(host, "tar -C / --ignore-failed-read --null --files-from=- -cf -", listed)

    def lay(self, host: str, archive: bytes, folder: str = "/") -> None:
        """Unpack an archive on a host."""
        self.root(host, f"sh -c 'mkdir -p {folder} && tar -C {folder} -xf -'", archive)


def unpack(archive: bytes, folder: Path) -> None:
    """Unpack an archive of a host beside the benchmark's results."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="tar")


def differences(wanted: State, found: State) -> list[str]:
    """Where a result isn't the one wanted: host, path, both sides."""
    lines = []
    for host in wanted:
        for part in ("files", "units"):
            before, after = wanted[host][part], found[host][part]
            for name in sorted(before.keys() | after.keys()):
                if before.get(name) != after.get(name):
                    lines.append(f"{host}: {name}: {before.get(name, 'absent')} became {after.get(name, 'absent')}")
        packages = set(wanted[host]["packages"]) ^ set(found[host]["packages"])
        lines += [f"{host}: package {package} on one side only" for package in sorted(packages)]
    return lines


def timed(work: Any) -> float:
    """How many seconds a call takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began
