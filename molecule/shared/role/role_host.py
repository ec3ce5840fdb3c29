# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests of a role need beside testinfra: running an entry point anew, a host's state in one word."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

# its asserts are told as those of a scenario's own tests
pytest.register_assert_rewrite("shared_tests")

CHECKOUT = Path(__file__).resolve().parents[3]
ROOM = CHECKOUT / "build" / "roles"
_RECAP = re.compile(r"^host\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """How ansible-playbook ended."""

    text: str
    code: int
    changed: int
    failed: int

    @property
    def words(self) -> str:
        """The output as it was meant: its line breaks folded, without what YAML and JSON do to quotes."""
        return re.sub(r"\s+", " ", self.text).replace("''", "'").replace('\\"', '"')


class RoleHost:
    """The one host of a role's scenario."""

    def __init__(
        self,
        host: Any,
        role: str,
        variables: Mapping[str, Any],
        services: Sequence[str] | None = None,
        books: Path = ROOM,
    ) -> None:
        """``services``: names of the role's services; those of all instances in ``variables`` unless they are given.

        ``books``: where plays lie, and so what their own paths begin with.
        """
        self._books = books
        self.host, self.role, self.variables = host, role, dict(variables)
        lists = [value for value in variables.values() if isinstance(value, list)]
        self._services = set(services or (one["name"] for value in lists for one in value))
        self.set = os.environ["FEDLEARN_ROLE_SET"]
        self.address: str = json.loads(self._inventory.read_text())["all"]["hosts"]["host"]["ansible_host"]

    @property
    def _inventory(self) -> Path:
        return CHECKOUT / "build" / "hosts" / self.set / "hosts.yml"

    def play(
        self,
        *arguments: str,
        entry: str = "main",
        most: int | None = None,
        environment: Mapping[str, str] | None = None,
        module_defaults: Mapping[str, Any] | None = None,
        **variables: Any,
    ) -> Run:
        """Runs an entry point of the role with its variables, some of them replaced.

        ``most``: fails when the host sees more remote executions than that. ``environment`` is that of its commands,
        ``module_defaults`` are the play's.
        """
        ROOM.mkdir(parents=True, exist_ok=True)
        play = {
            "hosts": "all",
            "gather_facts": False,
            # named, so that finding it isn't part of what is counted
            "vars": {"ansible_python_interpreter": "/usr/bin/python3", **self.variables, **variables},
            "environment": {**(environment or {})},
            "module_defaults": {**(module_defaults or {})},
            "tasks": [{"ansible.builtin.include_role": {"name": f"fedlearn.infra.{self.role}", "tasks_from": entry}}],
        }
        book = self._books / f"{self.set}-{self.role}.yml"
        book.write_text(json.dumps([play]))
        return self._ended(["ansible-playbook", "-i", str(self._inventory), str(book), *arguments], most)

    def playbook(self, name: str, *arguments: str, **variables: Any) -> Run:
        """Runs a playbook of the collection, on a federation that has this host, its role and nothing else."""
        given = {
            "ansible_python_interpreter": "/usr/bin/python3",
            "fedlearn_federation": "alone",
            "fedlearn_stages": {"data": [self.role]},
            "fedlearn_stacks": {"alone": {"kind": "none", "roles": [self.role]}},
            "fedlearn_stack_names": ["alone"],
            "fedlearn_authorities": [],
            "fedlearn_secrets": [],
            "fedlearn_exchange": {},
            "fedlearn_build": str(ROOM / f"{self.set}.build"),
            "fedlearn_state": os.environ["FEDLEARN_ROLE_STATE"],
            **self.variables,
            **variables,
        }
        there = json.loads(self._inventory.read_text())["all"]["hosts"]
        inventory = ROOM / f"{self.set}-{self.role}-federation.json"
        stages: dict[str, Any] = {f"stage_{one}": {} for one in ("front", "coordinator", "service", "participant")}
        stages["stage_data"] = {"hosts": there}
        inventory.write_text(json.dumps({"federation_hosts": {"hosts": there, "vars": given}, **stages}))
        return self._ended(["ansible-playbook", "-i", str(inventory), f"fedlearn.infra.{name}", *arguments], None)

    def _ended(self, command: list[str], most: int | None) -> Run:
        """How a command ends that runs a playbook."""
        if most is not None:
            counting = [sys.executable, str(CHECKOUT / "tests" / "support" / "counting.py"), "--most", str(most), "--"]
            command = [*counting, str(Path(sys.executable).with_name(command[0])), *command[1:]]
        done = subprocess.run(
            command, cwd=CHECKOUT, env=self._environment(), stdout=-1, stderr=-2, text=True, check=False
        )
        (ROOM / f"{self.set}-{self.role}.log").write_text(done.stdout)
        recap = _RECAP.search(done.stdout)
        changed, failed = (int(recap[2]), int(recap[4]) + int(recap[3])) if recap else (-1, -1)
        return Run(done.stdout, done.returncode, changed, failed)

    def secrets(self, *names: str, turn: str = "none") -> dict[str, str]:
        """Makes secrets of party lab anew that come in turns, or goes on with their turns; all values there are."""
        room = os.environ["FEDLEARN_ROLE_STATE"]
        if turn == "none":
            Path(room, ".secrets", "lab.yml").unlink(missing_ok=True)
        wanted = [{"name": name, "party": "lab", "in_turn": True} for name in names]
        said = json.dumps({"secrets": wanted, "state_directory": room, "turn": turn})
        self._run("ansible", "localhost", "-m", "fedlearn.infra.secrets", "-a", said, ANSIBLE_BECOME="false")
        text = self._run("ansible-vault", "view", f"{room}/.secrets/lab.yml")
        return {str(name): str(value) for name, value in yaml.safe_load(text).items()}

    def module(self, name: str, **arguments: Any) -> tuple[int, str]:
        """Status and output, on one line, of a module of the collection on the host, as root."""
        said = json.dumps(arguments)
        command = ["ansible", "host", "-i", str(self._inventory), "-m", f"fedlearn.infra.{name}", "-a", said]
        done = subprocess.run(
            command, cwd=CHECKOUT, env=self._environment(), stdout=-1, stderr=-2, text=True, check=False
        )
        return done.returncode, re.sub(r"\s+", " ", done.stdout)

    def _run(self, *argv: str, **environment: str) -> str:
        """Output of one of Ansible's commands on the control node."""
        env = {**self._environment(), **environment}
        done = subprocess.run(argv, cwd=CHECKOUT, env=env, stdout=-1, stderr=-1, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @staticmethod
    def _environment() -> dict[str, str]:
        here = str(Path(sys.executable).parent)
        return {
            **os.environ,
            "PATH": f"{here}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_HOME": str(CHECKOUT / "build" / "ansible-home"),
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_BECOME": "true",
            "ANSIBLE_FORCE_COLOR": "false",
            "ANSIBLE_NOCOLOR": "true",
        }

    def sh(self, command: str) -> str:
        """Output of a shell command as root; the command must succeed."""
        with self.host.sudo():
            return str(self.host.run_expect([0], command).stdout)

    def try_sh(self, command: str) -> tuple[int, str]:
        """Status and output of a shell command as root."""
        with self.host.sudo():
            done = self.host.run(command)
        return done.rc, done.stdout + done.stderr

    def owned(self) -> list[str]:
        """Every file that owned.json lists for this role's services."""
        text = self.sh("cat /var/lib/fedlearn/*/owned.json 2>/dev/null | tr -d '\\n' || true")
        files: list[str] = []
        decoder = json.JSONDecoder()
        while text.strip():
            value, end = decoder.raw_decode(text.strip())
            text = text.strip()[end:]
            files += [
                path
                for name, service in value["services"].items()
                if name in self._services
                for path in service["files"]
            ]
        return sorted(set(files))

    def state(self, *paths: str, units: tuple[str, ...] = ()) -> str:
        """One word for content, mode, owner and time of files, and for process and start of units."""
        files = " ".join(f"'{path}'" for path in [*self.owned(), *paths])
        text = self.sh(f"for f in {files}; do stat -c '%n %a %U:%G %Y %F' $f; sha256sum $f; done 2>&1") if files else ""
        if units:
            text += self.sh(
                f"systemctl show -p MainPID -p ExecMainStartTimestampMonotonic -p ActiveState {' '.join(units)}"
            )
        assert text, "there is nothing to compare"
        return hashlib.sha256(text.encode()).hexdigest()

    def configuration(self) -> str:
        """One word for every file of the host's configuration, and of what is noted of ours."""
        places = "/etc /usr/sbin/policy-rc.d /var/lib/fedlearn"
        look = f"find {places} -printf '%p %y %m %u:%g %l\\n' -type f -exec sha256sum {{}} +"
        return self.sh(f"{{ {look} 2>/dev/null || true; }} | sort | sha256sum").split()[0]

    def lose(self) -> None:
        """Destroys the host. Another one is in its place, with nothing but the scenario's certificates, made anew."""
        hosts = [sys.executable, str(CHECKOUT / "molecule" / "shared" / "hosts.py")]
        subnet, suite = (os.environ[f"FEDLEARN_ROLE_{name}"] for name in ("SUBNET", "SUITE"))
        fuse = "--fuse" if os.environ.get("FEDLEARN_ROLE_FUSE") else "--no-fuse"
        up = ["up", fuse, "--subnet", subnet, "--suite", suite, self.set, f"host={self.address}"]
        for command in (["down", self.set], up):
            self._run(*hosts, *command)
        prepare = CHECKOUT / "molecule" / "shared" / "role" / "prepare.yml"
        self._run("ansible-playbook", "-i", str(self._inventory), str(prepare))

    def result(self, instance: str) -> dict[str, Any]:
        """What a participant ended with, waited for; after five minutes the test fails with its journal."""
        path = f"/var/lib/fedlearn-{instance}/result.json"
        deadline = time.monotonic() + 300
        while self.try_sh(f"test -e {path}")[0] != 0:
            assert time.monotonic() < deadline, self.try_sh(f"journalctl -u fedlearn-{instance} -n 40 --no-pager")[1]
            time.sleep(2)
        found: dict[str, Any] = json.loads(self.sh(f"cat {path}"))
        return found

    def exposure(self, unit: str) -> float:
        """What systemd-analyze says of a unit."""
        found = re.search(
            r"exposure level for \S+: ([0-9.]+)", self.sh(f"systemd-analyze security --no-pager {unit} || true")
        )
        assert found, unit
        return float(found[1])
