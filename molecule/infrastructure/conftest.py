# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two hosts, and the playbooks that converge and check them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
sys.path.insert(0, str(CHECKOUT / "tests" / "support"))

import counting  # noqa: E402 - found by the line above
from standing_demo import FILES, HOSTS_PY, until  # noqa: E402 - so is this

NAMES = ("store", "front")
CONFIGURATION = r"""
find /etc -type f ! -name '*.lock' ! -path '/etc/fedlearn/*/pki/*' -printf '%p %m %U:%G ' -exec sha256sum {} \; | sort
find /etc/fedlearn/*/pki ! -name '*.lock' -printf '%p %y %m %U:%G\n' | sort
"""
BASE = ["limits", "pki", "firewall"]
# what uses another host's data comes a stage after them
STAGES = {
    "store": {"base": BASE, "data": ["postgresql", "redis", "minio"]},
    "front": {"base": BASE, "data": ["registry"], "front": ["mongodb", "nginx", "s3fs"]},
}
LISTS = {
    **{role: f"{role}_instances" for role in ("postgresql", "redis", "minio", "registry", "mongodb")},
    "nginx": "nginx_sites",
    "s3fs": "s3fs_mounts",
}
EXPECTED = {
    "store": {"services": ["base-databases", "base-cache", "base-buckets", "base-firewall"], "sites": []},
    "front": {
        "services": ["base-documents", "base-images", "base-imaging", "base-firewall"],
        "sites": ["base-entrance"],
    },
}


def federation(addresses: dict[str, str], connections: dict[str, dict[str, object]]) -> dict[str, object]:
    """An inventory of the two hosts as `site` and the other verbs take one, from the scenario's plain variables."""
    plain = yaml.safe_load((HERE / "vars.yml").read_text())
    hosts = {
        name: {
            **connections[name],
            "firewall_services": plain["firewall_services_of"][name],
            "fedlearn_stages": STAGES[name],
            "fedlearn_variables": [LISTS[role] for of in STAGES[name].values() for role in of if role in LISTS],
            "fedlearn_stacks": {
                "base": {"kind": "none", "roles": [role for of in STAGES[name].values() for role in of]}
            },
            "fedlearn_expected": {**EXPECTED[name], "certificates": [one["name"] for one in plain["pki_certificates"]]},
        }
        for name in addresses
    }
    common = {
        **plain,
        "ansible_python_interpreter": "/usr/bin/python3",
        "fedlearn_stack_names": ["base"],
        "fedlearn_authorities": [{**one, "mode": "ownca"} for one in plain["pki_authorities"]],
        "fedlearn_certified_hosts": len(hosts),
        "fedlearn_secrets": plain["secrets"],
        "fedlearn_exchange": {},
        "fedlearn_partners": [],
        "fedlearn_viewpoint": False,
        "fedlearn_known": {},
        "fedlearn_verify": {},
    }
    of_stage = {
        f"stage_{stage}": {"hosts": {name: {} for name in hosts if stage in STAGES[name]}}
        for stage in ("data", "front", "coordinator", "service", "participant")
    }
    return {
        "federation_hosts": {"hosts": hosts, "vars": common},
        "pki": {"hosts": {name: {} for name in hosts}},
        "stack_base": {"hosts": {name: {} for name in hosts}},
        **of_stage,
    }


class Hosts:
    """What the tests need of both."""

    def __init__(self) -> None:
        self.room = CHECKOUT / "build" / "hosts" / os.environ["FEDLEARN_ROLE_SET"]
        network = os.environ["FEDLEARN_ROLE_SUBNET"].rpartition(".")[0]
        self.addresses = {"store": f"{network}.11", "front": f"{network}.12"}
        # molecule's own settings are for its own runs
        settings = {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_BECOME": "true"}
        plain = {"ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_NOCOLOR": "true"}
        self._environment = {**os.environ, **settings, **plain}

    def _command(self, book: str, *arguments: str) -> list[str]:
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        return [program, "-i", str(self.room / "hosts.yml"), str(HERE / book), *arguments]

    def _verb(self, name: str, *arguments: str) -> list[str]:
        """One of the collection's playbooks, on the inventory that says of these hosts what a document would."""
        connections = json.loads((self.room / "hosts.yml").read_text())["all"]["hosts"]
        inventory = CHECKOUT / "build" / "roles" / f"{self.room.name}-federation.json"
        inventory.write_text(json.dumps(federation(self.addresses, connections)))
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        report = f"fedlearn_build={inventory.with_suffix('.build')}"
        return [program, "-i", str(inventory), f"fedlearn.infra.{name}", "-e", report, *arguments]

    def playbook(self, name: str, *arguments: str) -> counting.Counted:
        """Runs one of the collection's playbooks."""
        return counting.run(self._verb(name, *arguments), self._environment)

    def site(self, *arguments: str) -> counting.Counted:
        """A run of site that has to end well."""
        done = self.playbook("site", *arguments)
        assert done.returncode == 0, done.output[-6000:]
        return done

    def play(self, book: str, *arguments: str) -> counting.Counted:
        """Runs one of the scenario's playbooks, its remote executions counted."""
        return counting.run(self._command(book, *arguments), self._environment)

    def converge(self, *arguments: str) -> counting.Counted:
        """A run that has to end well."""
        done = self.play("converge.yml", *arguments)
        assert done.returncode == 0, done.output[-6000:]
        return done

    def start(self, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """A run of site, begun and not waited for."""
        with log.open("w") as output:
            command = self._verb("site", *arguments)
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

    def secrets(self, **more: str) -> dict[str, str]:
        """The party's secrets, some of them laid there first."""
        path = Path(os.environ["FEDLEARN_ROLE_STATE"], ".secrets", "lab.yml")
        vault = str(Path(sys.executable).with_name("ansible-vault"))
        shown = subprocess.run([vault, "view", str(path)], check=True, capture_output=True, text=True)
        known: dict[str, str] = {**yaml.safe_load(shown.stdout), **more}
        if more:
            command = [vault, "encrypt", "--output", str(path)]
            subprocess.run(command, input=json.dumps(known), check=True, capture_output=True, text=True)
        return known

    def renew(self) -> None:
        """Puts new machines with nothing on them in the place of both."""
        hosts = [*HOSTS_PY, "up", "--fuse", "--subnet", os.environ["FEDLEARN_ROLE_SUBNET"], "--suite"]
        places = [f"{name}={address}" for name, address in self.addresses.items()]
        subprocess.run([*HOSTS_PY, "down", self.room.name], check=True)
        subprocess.run([*hosts, os.environ["FEDLEARN_ROLE_SUITE"], self.room.name, *places], check=True)

    def files(self) -> dict[str, str]:
        """Host by host, every file that is ours, with mode, owner and content."""
        return {host: self.run(host, FILES) for host in NAMES}

    def described(self) -> dict[str, str]:
        """Host by host, all configuration, ours and others', but for certificates: a new one is never as the last."""
        return {host: self.run(host, CONFIGURATION) for host in NAMES}

    def names(self) -> set[str]:
        """What certificates say beside their hosts' names."""
        command = "openssl x509 -noout -ext subjectAltName -in /etc/fedlearn/base/pki/host/cert.pem"
        told = "".join(self.run(host, command) for host in NAMES)
        return set(re.findall(r"turn\d+\.base\.test", told))

    def processes(self) -> dict[str, dict[str, str]]:
        """Host by host, every unit of ours that is active with its main process, where it is a kind that has one.

        Others aren't asked for: systemd forgets them as it likes.
        """
        units = "systemctl list-units --plain --no-legend --state=active 'fedlearn-*' nginx.service | cut -d' ' -f1"
        command = f"for unit in $({units}); do echo $unit $(systemctl show -p MainPID --value $unit); done"
        return {
            host: {
                unit: pid
                for unit, _space, pid in (line.partition(" ") for line in self.run(host, command).splitlines())
            }
            for host in NAMES
        }


@pytest.fixture(scope="session")
def hosts() -> Hosts:
    return Hosts()
