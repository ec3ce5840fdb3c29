# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two parties with a control node each: inventories/dpsa and its viewpoints, laid into build/dpsa/ and deployed on the
host set `dpsa`. Nothing but ``public/`` goes from one folder to the other.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
SET = os.environ.get("FEDLEARN_DPSA_SET", "dpsa")
NETWORK = os.environ.get("FEDLEARN_DPSA_NETWORK", "10.98.55")
SIX = f"fd98:{NETWORK.rpartition('.')[2]}:"
CONTROLLER = "c1"
DRIVERS = "a2"
"""A host of the leader's party that the document names only where it is given drivers."""
SSH = CHECKOUT / "build" / "hosts" / SET / "ssh_config"
USER = "ops"
ROOM = CHECKOUT / "build" / "dpsa"
DOCUMENT = ROOM / "dpsa" / "federation.yml"
BIN = Path(sys.executable).parent
PROGRAMS = CHECKOUT / "tests" / "doubles" / "dpsa" / "pack.py"


@dataclass(frozen=True)
class Run:
    """How a playbook ended."""

    code: int
    text: str

    @property
    def changed(self) -> int:
        """How many tasks changed something on hosts."""
        return sum(
            int(found) for found in re.findall(r"^(?!localhost )\S+ +: .*changed=(\d+)", self.text, re.MULTILINE)
        )

    @property
    def words(self) -> str:
        """The output with its line breaks folded, and without what YAML does to quotes."""
        return re.sub(r"\s+", " ", self.text).replace("''", "'")


class Party:
    """One of the two: its folder, its host, and the playbooks it runs."""

    def __init__(self, side: str, name: str, *hosts: str) -> None:
        self.side, self.name, self.host, self.hosts = side, name, hosts[0], hosts
        self.home = ROOM / f"dpsa-{side}"
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")} | {
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_HOME": str(CHECKOUT / "build" / "ansible-home"),
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_VAULT_PASSWORD_FILE": str(self.home / "vault-pass"),
            "NO_COLOR": "1",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }

    def begin(self) -> None:
        """A folder with the viewpoint and a vault password of its own."""
        (self.home / "group_vars").mkdir(parents=True)
        shutil.copy(CHECKOUT / "inventories" / f"dpsa-{self.side}" / "federation.yml", self.home)
        (self.home / "group_vars" / "all.yml").write_text(f"ansible_ssh_common_args: -F {self.ssh}\n")
        (self.home / "vault-pass").write_text(secrets.token_urlsafe(32))
        self.own_key()

    @property
    def ssh(self) -> Path:
        """How ssh reaches the party's host."""
        return self.home / "ssh_config"

    def own_key(self) -> None:
        """Let nobody in at the party's hosts but by a key of its own."""
        key = self.home / "id_ed25519"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        for host in self.hosts:
            self.let_in(host)
        text = re.sub(r"(?m)^(\s*IdentityFile\s+).*$", rf"\g<1>{key}", SSH.read_text())
        self.ssh.write_text(text)

    def let_in(self, host: str) -> None:
        """Nobody at this host but by the party's key."""
        own = (self.home / "id_ed25519.pub").read_text()
        self.on_engine(f"cat > /home/{USER}/.ssh/authorized_keys", own, host)

    def on_engine(self, command: str, given: str = "", host: str = "") -> None:
        """A shell command on the party's host by the container engine: what no party could do."""
        entered = ["docker", "exec", "-i", f"{SET}-{host or self.host}", "bash", "-c", command]
        subprocess.run(entered, input=given, text=True, check=True, capture_output=True)

    def signers(self, *parties: Party) -> None:
        """Pin whose signatures this party believes, as its operator was told them by another way."""
        viewpoint = yaml.safe_load((self.home / "federation.yml").read_text())
        viewpoint["signers"] = {party.name: [party.signer()] for party in parties}
        (self.home / "federation.yml").write_text(yaml.safe_dump(viewpoint, sort_keys=False))

    def overlay(self, values: Mapping[str, Any]) -> None:
        """What this party alone says over the shared document; nothing, where that is empty."""
        viewpoint = yaml.safe_load((self.home / "federation.yml").read_text())
        viewpoint.pop("overlay", None)
        if values:
            viewpoint["overlay"] = "own.yml"
            (self.home / "own.yml").write_text(yaml.safe_dump(dict(values)))
        (self.home / "federation.yml").write_text(yaml.safe_dump(viewpoint, sort_keys=False))

    def signer(self) -> str:
        """What this party's operator tells others: the fingerprint that `exchange` printed."""
        (found,) = re.findall(r"signed by\s+(SHA256:\S+)", (self.home / "exchange.log").read_text())
        return str(found)

    def playbook(self, name: str, *arguments: str, most: int | None = None) -> Run:
        """A playbook on this party's viewpoint; ``most`` fails where a host sees more remote executions."""
        given = json.dumps({"fedlearn_build": str(self.home / "build")})
        command = ["ansible-playbook", "-i", str(self.home / "federation.yml"), f"fedlearn.infra.{name}", "-e", given]
        if most is not None:
            counting = [sys.executable, str(CHECKOUT / "tests/support/counting.py"), "--most", str(most), "--"]
            command = [*counting, str(BIN / command[0]), *command[1:]]
        done = subprocess.run(
            [*command, *arguments],
            cwd=CHECKOUT,
            env=self.environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        (self.home / f"{name}.log").write_text(done.stdout)
        return Run(done.returncode, done.stdout)

    def variables(self, host: str) -> dict[str, Any]:
        """A host's variables as this party sees them."""

        def plain(found: dict[str, Any]) -> Any:
            return found["__ansible_unsafe"] if found.keys() == {"__ansible_unsafe"} else found

        command = [str(BIN / "ansible-inventory"), "-i", str(self.home / "federation.yml"), "--host", host]
        told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=CHECKOUT, env=self.environment)
        found: dict[str, Any] = json.loads(told.stdout, object_hook=plain)
        return found

    def report(self, name: str) -> dict[str, Any]:
        """A report of the last run."""
        (path,) = (self.home / "build").glob(f"*/{name}")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def sh(self, command: str, host: str = "") -> str:
        """What a shell command prints on the party's host, as root; it must succeed."""
        ssh = ["ssh", "-F", str(self.ssh), host or self.host, "sudo bash -s"]
        done = subprocess.run(ssh, input=command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def publish(self, other: Party) -> None:
        """Hand ``public/`` over, as it would go by mail or a repository."""
        there = other.home / "public" / self.name
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(self.home / "public" / self.name, there)


LEADER, HELPER = Party("leader", "clinic-a", "a1", CONTROLLER, DRIVERS), Party("helper", "clinic-b", "b1")
PARTIES = (LEADER, HELPER)


def packed() -> dict[str, Any]:
    """The archives of the programs beside both viewpoints, and how the document names them."""
    laid = [sys.executable, str(PROGRAMS), str(LEADER.home / "files")]
    ran = subprocess.run(laid, check=True, capture_output=True)
    shutil.copytree(LEADER.home / "files", HELPER.home / "files")
    archives: dict[str, Mapping[str, Any]] = json.loads(ran.stdout)
    named = {
        word: {"archive": f"files/{Path(archives[name]['archive']).name}", "sha256": archives[name]["sha256"]}
        for word, name in (("janus", "janus-B"), ("manager", "manager-B"))
    }
    return {**named, "doubles": any(archives[name]["doubles"] for name in ("janus-B", "manager-B"))}


def escrow_recipient() -> str:
    """The public half of a key whose private half is in the tests' folder, and with nobody who deploys."""
    made = LEADER.sh("apt-get install -qq -y age >/dev/null && age-keygen 2>/dev/null", CONTROLLER)
    (ROOM / "escrow.key").write_text(made + "\n")
    (recipient,) = re.findall(r"public key: (age1\w+)", made)
    return str(recipient)


def furnish(party: Party, host: str) -> None:
    """What the doubles are written in."""
    party.sh("apt-get install -qq -y python3-yaml python3-asyncpg >/dev/null", host)


def lose(party: Party) -> None:
    """The party's host is gone with all that was on it; another one has its addresses."""
    subprocess.run(["docker", "rm", "--force", "--volumes", f"{SET}-{party.host}"], check=True, capture_output=True)
    number = {"a1": 21, "b1": 22}[party.host]
    networks = ["--subnet", f"{NETWORK}.0/24", "--subnet", f"{SIX}:/64"]
    made = [sys.executable, str(CHECKOUT / "molecule" / "shared" / "hosts.py"), "up", "--suite", "bookworm", *networks]
    given = f"{party.host}={NETWORK}.{number},{SIX}:{number}"
    subprocess.run([*made, SET, given], check=True)  # pytest shows what it says
    party.let_in(party.host)
    furnish(party, party.host)


def begin() -> None:
    """Both parties with nothing but the document that they agreed on."""
    shutil.rmtree(ROOM, ignore_errors=True)
    (ROOM / "dpsa").mkdir(parents=True)
    for party in PARTIES:
        party.begin()
    text = (CHECKOUT / "inventories" / "dpsa" / "federation.yml").read_text()
    document = yaml.safe_load(text.replace("10.98.55.", f"{NETWORK}."))
    document["stacks"]["survey"]["programs"] = packed()
    document["stacks"]["survey"]["settings"] = {"aggregator": {"max_upload_batch_size": 1}}
    document["stacks"]["survey"]["leader"]["escrow"] = {"recipient": escrow_recipient()}
    DOCUMENT.write_text(yaml.safe_dump(document, sort_keys=False))
    for party, host in ((LEADER, LEADER.host), (LEADER, DRIVERS), (HELPER, HELPER.host)):
        furnish(party, host)


def digest() -> str:
    """Of the shared document, as sha256sum tells it."""
    return hashlib.sha256(DOCUMENT.read_bytes()).hexdigest()


def agree(document: dict[str, Any]) -> None:
    """Another document, which both accept, and each has what the other signed since."""
    DOCUMENT.write_text(yaml.safe_dump(document, sort_keys=False))
    for party in PARTIES:
        for name, *more in (("accept", "-e", f"digest={digest()}"), ("exchange",)):
            ended = party.playbook(name, *more)
            assert ended.code == 0, ended.text
    for party, other in (PARTIES, PARTIES[::-1]):
        party.publish(other)


def rows_of(party: Party, statement: str) -> str:
    """What a statement gives in the party's database, by its administrator: programs reach it in various ways."""
    socket = f"/run/fedlearn-dpsa-survey-{party.side}-database"
    return party.sh(f"psql -h {socket} -U postgres -d janus -qAt <<'SQL'\n{statement}\nSQL")


def running(party: Party, host: str = "") -> set[str]:
    """The components that run on a party's host."""
    units = party.sh("systemctl list-units --plain --no-legend --state=active 'fedlearn-dpsa-survey-*.service'", host)
    return {line.split(".service")[0].replace("fedlearn-dpsa-survey-", "") for line in units.splitlines()}


def front(party: Party) -> str:
    """What listens for the other party and for clients."""
    return party.sh("ss -Hltnp | grep nginx | grep -v '127\\.' || true")


ASK = """
import http.client, json, socket, ssl, sys
case = json.loads(sys.argv[1])
if case["tls"]:
    context = ssl.create_default_context(cafile=case["tls"] + "/ca.pem")
    context.check_hostname = False
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if case["shows"]:
        context.load_cert_chain(case["shows"] + "/chain.pem", case["shows"] + "/key.pem")
    connection = http.client.HTTPSConnection(case["host"], case["port"], timeout=20, context=context)
    # nginx takes a request only for the name that its certificate was asked for by
    plain = socket.create_connection((case["host"], case["port"]), timeout=20)
    connection.sock = context.wrap_socket(plain, server_hostname=case["name"])
else:
    connection = http.client.HTTPConnection(case["host"], case["port"], timeout=20)
head = {"Host": case["name"], "Content-Type": case["type"]}
connection.request(case["method"], case["path"], case["body"], headers=head)
answer = connection.getresponse()
print(json.dumps([answer.status, answer.read().decode(errors="replace")]))
"""


TYPES = {
    "/reports": "report",
    "/aggregation_jobs/": "aggregation-job-init-req",
    "/collection_jobs/": "collect-req",
    "/aggregate_shares": "aggregate-share-req",
}
"""What an aggregator wants to be told that a body is."""


def ask(
    party: Party,
    place: tuple[str, int],
    request: str,
    *,
    name: str,
    trusts: str = "",
    shows: str = "",
    host: str = "",
    body: Any = None,
) -> tuple[int, str]:
    """Status and body of an answer, asked for on a party's host; ``shows`` is one of the certificates there."""
    method, path = request.split()
    pki = "/etc/fedlearn/dpsa/pki/dpsa-survey-"
    case = {
        "host": place[0],
        "port": place[1],
        "method": method,
        "path": path,
        "name": name,
        "tls": trusts and pki + trusts,
        "shows": shows and pki + shows,
        "type": next((f"application/dap-{kind}" for word, kind in TYPES.items() if word in path), "application/json"),
        "body": None if body is None else json.dumps(body),
    }
    told = party.sh(f"python3 - {json.dumps(json.dumps(case))} <<'PYTHON'\n{ASK}\nPYTHON", host)
    status, body = json.loads(told)
    return int(status), str(body)
