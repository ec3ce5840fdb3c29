# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host the tests converge things on, by Ansible as a role does, and what they see there by ssh."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import playbooks

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
ROOM = CHECKOUT / "build" / "hosts" / os.environ.get("FEDLEARN_SERVICE_SET", "service")
HOST = os.environ.get("FEDLEARN_SERVICE_HOST", "h1")
FEDERATION = "tests"
HOOK = "/run/fedlearn-test-kill"
PLAY = f"[{{hosts: {HOST}, gather_facts: false, roles: [thing]}}]\n"
ANSIBLE = {
    "NO_COLOR": "1",
    "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
    "ANSIBLE_ROLES_PATH": str(HERE / "roles"),
    "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback_plugins"),
    "ANSIBLE_CALLBACKS_ENABLED": "results",
    "ANSIBLE_INJECT_FACT_VARS": "false",
}
WIPE = """
systemctl stop 'fedlearn-*'
rm -rf /etc/systemd/system/fedlearn-* /etc/systemd/system/*.wants/fedlearn-* /run/systemd/system/fedlearn-*
rm -rf /etc/fedlearn /var/lib/fedlearn /var/lib/fedlearn-* /var/lib/private/fedlearn-* /etc/sysusers.d/fedlearn-*
rm -rf /run/fedlearn /run/fedlearn-test-kill /opt/watched
systemctl daemon-reload
systemctl reset-failed
"""


@dataclass
class Ran:
    """One run of ansible-playbook: its exit code, all it printed, and the task's result (empty when none came)."""

    code: int
    output: str
    result: dict[str, Any]

    def service(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.result["services"][name]
        return found


class Running:
    """A run in the background."""

    def __init__(self, process: BaseProcess, output: Path, result: Path) -> None:
        self._process, self._output, self._result = process, output, result

    def wait(self) -> Ran:
        self._process.join()
        assert self._process.exitcode is not None
        result = json.loads(self._result.read_text()) if self._result.exists() else {}
        return Ran(self._process.exitcode, self._output.read_text(), result)


@dataclass
class Seen:
    """All that a run could have changed on the host."""

    files: dict[str, dict[str, Any]]
    units: dict[str, dict[str, str]]
    owned: dict[str, dict[str, Any]]
    records: dict[str, dict[str, Any]]
    answers: dict[str, str | None]
    data: list[str]

    def end_state(self) -> dict[str, Any]:
        """What has to be equal after a run that was disturbed and one that wasn't: all but times and process ids."""
        files = copy.deepcopy(self.files)
        for path, entry in files.items():
            del entry["modified"]
            if path in self.records:
                del entry["content"]
        units = {
            name: {key: unit[key] for key in ("ActiveState", "UnitFileState", "NeedDaemonReload")}
            for name, unit in self.units.items()
        }
        records = {path: {**record, "invocation": None} for path, record in self.records.items()}
        return {**vars(self), "files": files, "units": units, "records": records}

    def pid(self, name: str) -> int:
        return int(self.units[f"fedlearn-{name}.service"]["MainPID"])

    def running(self, name: str) -> bool:
        return self.units[f"fedlearn-{name}.service"]["ActiveState"] == "active" and self.pid(name) > 0


def thing(name: str = "thing", port: int = 18001, **values: Any) -> dict[str, Any]:
    """An instance of the role."""
    return {"name": name, "port": port, "text": "first", "secret": f"canary-of-{name}-0", **values}


def folder(name: str) -> str:
    """Where a thing's files lie."""
    return f"/etc/fedlearn/{FEDERATION}/{name}"


def unit(name: str) -> str:
    """Where a thing's unit lies."""
    return f"/etc/systemd/system/fedlearn-{name}.service"


class ServiceHost:
    """The host."""

    def __init__(self, room: Path) -> None:
        self._room, self._count = room, 0
        self._socket = tempfile.mkdtemp(prefix="fl-")  # a socket's path is short
        (room / "play.yml").write_text(PLAY)
        os.environ.update(ANSIBLE)

    def begin(
        self, *instances: dict[str, Any], arguments: tuple[str, ...] = (), kill: str = "", **values: Any
    ) -> Running:
        """Starts a run; `kill` names the step at which its controller is killed, `values` are the role's."""
        self._count += 1
        variables, result, output = (self._room / f"{self._count}.{kind}" for kind in ("json", "result", "output"))
        settings = {"ansible_python_interpreter": "/usr/bin/python3", "fedlearn_federation": FEDERATION}
        variables.write_text(
            json.dumps({"thing_instances": instances, **settings, **{f"thing_{k}": v for k, v in values.items()}})
        )
        environment = {"FEDLEARN_RESULT": str(result), "FEDLEARN_TEST_KILL": kill}
        command = ["-i", str(ROOM / "hosts.yml"), str(self._room / "play.yml"), "-e", f"@{variables}", *arguments]
        return Running(playbooks.start(command, environment, output), output, result)

    def run(self, *instances: dict[str, Any], **how: Any) -> Ran:
        """A run to its end, whatever that is."""
        return self.begin(*instances, **how).wait()

    def converge(self, *instances: dict[str, Any], **how: Any) -> Ran:
        """A run that has to succeed."""
        ran = self.run(*instances, **how)
        assert ran.code == 0, ran.output
        return ran

    def fail(self, *instances: dict[str, Any], **how: Any) -> Ran:
        """A run that has to fail, by the task's own word."""
        ran = self.run(*instances, **how)
        assert ran.code == 2, ran.output
        assert "services" in ran.result, ran.output
        return ran

    def shell(self, script: str, interpreter: str = "sh -e") -> str:
        """What a script prints, as root on the host; a failing one fails the test."""
        shared = ["-o", "ControlMaster=auto", "-o", "ControlPersist=20", "-S", f"{self._socket}/%C"]
        command = ["ssh", "-F", str(ROOM / "ssh_config"), *shared, HOST, f"sudo {interpreter}"]
        with tempfile.TemporaryFile("w+") as errors:  # not a pipe: the shared connection would hold it open
            done = subprocess.run(command, input=script, check=False, stdout=subprocess.PIPE, stderr=errors, text=True)
            errors.seek(0)
            assert done.returncode == 0, f"{script}\n{done.stdout}{errors.read()}"
        return done.stdout

    def look(self) -> Seen:
        return Seen(**json.loads(self.shell((HERE / "look.py").read_text(), "python3 -")))

    def wipe(self) -> None:
        """A host on which nothing of ours ever was."""
        self.shell(WIPE, "sh")

    def hook(self, words: str) -> None:
        """Has the next run killed, or held, at a step."""
        self.shell(f"umask 022; echo '{words}' > {HOOK}")

    def hook_is_there(self) -> bool:
        return self.shell(f"test -e {HOOK} && echo yes || true").strip() == "yes"
