# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two hosts, and the playbooks that converge and check them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
sys.path.insert(0, str(CHECKOUT / "tests" / "support"))

import counting  # noqa: E402 - found by the line above
from standing_demo import FILES, until  # noqa: E402 - so is this

NAMES = ("store", "front")


class Hosts:
    """What the tests need of both."""

    def __init__(self) -> None:
        self.room = CHECKOUT / "build" / "hosts" / os.environ["FEDLEARN_ROLE_SET"]
        network = os.environ["FEDLEARN_ROLE_SUBNET"].rpartition(".")[0]
        self.addresses = {"store": f"{network}.11", "front": f"{network}.12"}
        plain = {"ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_NOCOLOR": "true"}
        self._environment = {**os.environ, "ANSIBLE_BECOME": "true", **plain}

    def _command(self, book: str, *arguments: str) -> list[str]:
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        return [program, "-i", str(self.room / "hosts.yml"), str(HERE / book), *arguments]

    def play(self, book: str, *arguments: str) -> counting.Counted:
        """Runs one of the scenario's playbooks, its remote executions counted."""
        return counting.run(self._command(book, *arguments), self._environment)

    def converge(self, *arguments: str) -> counting.Counted:
        """A run that has to end well."""
        done = self.play("converge.yml", *arguments)
        assert done.returncode == 0, done.output[-6000:]
        return done

    def start(self, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """The same, begun and not waited for."""
        with log.open("w") as output:
            command = self._command("converge.yml", *arguments)
            return subprocess.Popen(command, env=self._environment, cwd=CHECKOUT, stdout=output, stderr=output)

    def become_well(self, *arguments: str) -> None:
        """Each role's check is content before long, without a run that changes anything."""

        def check() -> str:
            done = self.play("check.yml", *arguments)
            return "" if done.returncode == 0 else done.output[-3000:]

        told = until(120, check, lambda found: found == "")
        assert told == "", told

    def run(self, host: str, command: str) -> str:
        """What a shell script prints, as root on a host; a failing one fails the test."""
        ssh = ["ssh", "-F", str(self.room / "ssh_config"), host, "sudo sh"]
        done = subprocess.run(ssh, input=command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{host}: {command}: {done.stdout}{done.stderr}"
        return done.stdout

    def files(self) -> dict[str, str]:
        """Host by host, every file that is ours, with mode, owner and content."""
        return {host: self.run(host, FILES) for host in NAMES}

    def processes(self) -> dict[str, str]:
        """Host by host, every unit of ours with its main process."""
        command = "systemctl show -p Id,MainPID,ActiveState 'fedlearn-*' nginx.service | sort"
        return {host: self.run(host, command) for host in NAMES}


@pytest.fixture(scope="session")
def hosts() -> Hosts:
    return Hosts()
