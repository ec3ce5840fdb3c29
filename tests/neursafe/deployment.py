# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""federation.yml of this folder, laid into build/neursafe/: on two hosts, and a control plane on loopback."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from standing_demo import CHECKOUT, Demo

from tests.support import neursafe_programs
from tests.support.control_plane import ControlPlane, up

ROOM = CHECKOUT / "build" / "neursafe"
HOSTS = ("s1", "n1")
SET = os.environ.get("FEDLEARN_ROLE_SET", "wneursafe")
NETWORK = os.environ.get("FEDLEARN_ROLE_SUBNET", "10.98.72.0/24").rpartition(".")[0]
STORE, NODE = f"{NETWORK}.11", f"{NETWORK}.12"
DOUBLE = CHECKOUT / "tests" / "doubles" / "neursafe"
REAL = not neursafe_programs.missing()
"""Whether the client on a host, and whom it registers with, are the programs."""
PROGRAM = f"/opt/test/{'neursafe' if REAL else 'double'}"
SELECTOR = f"{PROGRAM}/bin/python3.7 -B -m neursafe_fl.python.selector.app"
BOTO = "boto3==1.34.162"
"""As the program comes to S3; of its version no Python of today can run."""
IMAGE = "127.0.0.1:5050/nsfl-client-cpu"
"""Of clients in containers: their host's own files in a few folders, with what the clients on hosts run."""
LAY_DOCKER = """\
install -d /etc/docker
cat >/etc/docker/daemon.json <<END
{"data-root": "/tmp/docker-data", "bridge": "none", "iptables": false, "ip6tables": false}
END
programs="docker.io docker-registry" service=docker
"""
LAY_PODMAN = """\
install -d /etc/containers/registries.conf.d
cat >/etc/containers/storage.conf <<END
[storage]
driver = "overlay"
graphroot = "/tmp/podman"
runroot = "/run/containers/storage"
END
cat >/etc/containers/registries.conf.d/test.conf <<END
[[registry]]
location = "127.0.0.1:5050"
insecure = true
END
programs="podman fuse-overlayfs docker-registry" service=podman.socket
"""
LAY_IMAGE = """\
export DEBIAN_FRONTEND=noninteractive
dpkg -s $programs >/dev/null 2>&1 ||
    apt-get -qq -o Dpkg::Options::=--force-confold install -y $programs </dev/null >/dev/null
systemctl disable --quiet --now docker-registry
systemctl start $service
cat >/run/images.yml <<END
{"version": 0.1, "storage": {"filesystem": {"rootdirectory": "/tmp/images"}}, "http": {"addr": "127.0.0.1:5050"}}
END
systemctl is-active --quiet images || systemd-run --quiet --unit images docker-registry serve /run/images.yml
ENGINE image inspect IMAGE:1.0 >/dev/null 2>&1 || {
    cd /
    linker="etc/ld.so.cache etc/ld.so.conf etc/ld.so.conf.d"
    tar -c --exclude='usr/bin/*docker*' --exclude='usr/bin/containerd*' --exclude='usr/bin/podman*' \\
        bin lib lib64 usr/bin usr/lib usr/lib64 etc/passwd etc/group $linker PROGRAM |
        ENGINE import --change 'ENV PATH=/PROGRAM/bin:/usr/bin:/bin' - IMAGE:1.0 >/dev/null
}
ENGINE push --quiet IMAGE:1.0 >/dev/null
ENGINE image inspect --format '{{index .RepoDigests 0}}' IMAGE:1.0
"""
CONTAINERS = {"boxed": ("s1", "docker", LAY_DOCKER), "podded": ("n1", "podman", LAY_PODMAN)}
"""Clients in containers: the host, what runs them there, and what makes it ready."""
Document = dict[str, Any]


class Whole(Demo):
    """The hosts, the cluster, and how they are changed."""

    def __init__(self) -> None:
        super().__init__(ROOM, HOSTS, SET, ROOM / "vault-pass")
        self.cluster = ControlPlane(ROOM / "cluster")
        self.images: dict[str, str] = {}

    def begin(self) -> None:
        """Lay the document down and deploy it; what stands already is brought up to date."""
        self.lay_beside()
        settings = ROOM / "group_vars" / "all.yml"
        built = {"minio_build_directory": str(CHECKOUT / "build" / "go")}
        settings.write_text(json.dumps({**json.loads(settings.read_text()), **built}))
        if not (self.cluster.folder / "ready").exists():
            up(self.cluster.folder)
        (ROOM / "files").mkdir(exist_ok=True)
        (ROOM / "files" / "kc").write_text(self.cluster.admin.read_text())
        self._lay_programs()
        self.write()
        self.deploy()

    def write(self, change: Callable[[Document], None] = lambda document: None) -> None:
        """The document, with a change."""
        text = (CHECKOUT / "tests" / "neursafe" / "federation.yml").read_text().replace("10.98.72", NETWORK)
        document = yaml.safe_load(text)
        stack = document["stacks"]["imaging"]
        for placed in (stack["clients"]["k"], stack["operators"]):
            placed |= {"program": {"path": PROGRAM}, "doubles": not REAL}
        for name, (_host, engine, _lay) in CONTAINERS.items():
            container = {"engine": engine, "image": self.images[name]}
            stack["clients"][name] |= {"container": container, "doubles": not REAL}
        change(document)
        (ROOM / "federation.yml").write_text(yaml.safe_dump(document, sort_keys=False))

    def _lay_programs(self) -> None:
        """The programs on both hosts, else their doubles; on the node a selector, where clients look for the proxy."""
        source = neursafe_programs.brought().parents[1] if REAL else DOUBLE
        lay = f"sudo mkdir -p {PROGRAM} && sudo tar -x --no-same-owner -C {PROGRAM}"
        for host in self.hosts:
            if self.run(host, f"ls {PROGRAM} 2>/dev/null || true") == "":
                pack = ["tar", "-C", str(source), "--exclude=__pycache__", "-c", "."]
                with subprocess.Popen(pack, stdout=subprocess.PIPE) as packed:
                    subprocess.run(["ssh", "-F", str(self.ssh_config), host, lay], stdin=packed.stdout, check=True)
        setup = {"host": NODE, "port": 30091, "auth_client": "false", "log_level": "info"}
        self.run("n1", f"echo {shlex.quote(json.dumps(setup))} >/opt/test/selector.json")
        arguments = "--config_file /opt/test/selector.json" if REAL else f"{NODE} 30091"
        begin = f"systemd-run --quiet --unit selector --property Restart=always {SELECTOR} {arguments}"
        self.run("n1", f"systemctl is-active --quiet selector || {begin}")
        self.answer_api()
        has = "dpkg -s postgresql-client >/dev/null 2>&1"
        self.run("n1", f"{has} || apt-get -qq install -y postgresql-client >/dev/null")
        for name, (host, engine, lay) in CONTAINERS.items():
            image = LAY_IMAGE.replace("ENGINE", engine).replace("IMAGE", IMAGE).replace("PROGRAM", PROGRAM.lstrip("/"))
            self.images[name] = self.run(host, f"set -eu\n{lay}{image}").split()[-1]

    def answer_api(self) -> None:
        """A double of the proxy's port for users, which says that it is well."""
        serve = f"python3 -m http.server 30083 --bind {NODE} --directory /srv/api"
        lay = "install -d /srv/api/api/v1 && echo '{}' >/srv/api/api/v1/health"
        self.run("n1", f"{lay}; systemctl is-active --quiet api || systemd-run --quiet --unit api {serve}")

    def known_clients(self) -> str:
        """What the selector says of who registered: the double lists them, the program logs each."""
        if REAL:
            return self.run(
                "n1", "journalctl --quiet --output=cat -u selector | grep -E 'Register|Update client' || true"
            )
        ask = (
            f"import json, socket\nthere = socket.create_connection(('{NODE}', 30091))\n"
            'there.sendall(b\'{"call": "List"}\\n\')\nprint(there.makefile().read())\n'
        )
        return self.run("n1", f"python3 - <<'END'\n{ask}END\n")

    def kubectl(self, *arguments: str) -> Any:
        """What the cluster says, as JSON."""
        done = self.cluster.kubectl(*arguments, "-o=json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def sql(self, host: str, login: str, database: str, statement: str, *, options: str = "") -> tuple[bool, str]:
        """How a statement ends for a login that comes by TLS, and by the name that pods know; what it says."""
        alias = "whole-imaging-database"
        secrets, name = self.secrets(), f"imaging_{login.replace('-', '_')}_database"
        secret, turn = (secrets[name], "a") if name in secrets else (secrets[f"{name}.2"], "b")
        there = f"host={alias} hostaddr={STORE} port=5432 dbname={database} sslmode=verify-full"
        where = f"{there} user={login}_{turn} {options}"
        ca = (ROOM / "public" / "lab" / "lab.pem").read_text()
        script = (
            f"cat >/tmp/ca.pem <<'END'\n{ca}\nEND\n"
            f"export PGPASSWORD={shlex.quote(secret)}\n"
            f"psql -XAtq {shlex.quote(f'{where} sslrootcert=/tmp/ca.pem')} -c {shlex.quote(statement)} 2>&1 ||\n"
            "    echo FAILED\n"
        )
        said = self.run(host, script).strip()
        return "FAILED" not in said, said

    def s3(self, login: str, script: str) -> Any:
        """What a script prints as JSON that asks the store as this login, `client` being the way the program goes."""
        python = _boto()
        secret, user = self.secrets()[f"imaging_{login}_storage"], login if login == "operators" else f"{login}_a"
        begin = (
            "import json, boto3\nfrom botocore.config import Config\nfrom botocore.exceptions import ClientError\n"
            f"resource = boto3.resource('s3', aws_access_key_id={user!r}, aws_secret_access_key={secret!r}, "
            f"endpoint_url='https://{STORE}:9000', verify={str(ROOM / 'public' / 'lab' / 'lab.pem')!r})\n"
            "client = resource.meta.client\n"
            "def tried(call, **given):\n"
            "    try:\n"
            "        getattr(client, call)(**given)\n"
            "        return 'done'\n"
            "    except ClientError as error:\n"
            "        return error.response['Error']['Code']\n"
        )
        done = subprocess.run([str(python), "-"], input=begin + script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)


def _boto() -> Path:
    """A Python of its own with the library that the program comes to S3 by."""
    room = CHECKOUT / "build" / "neursafe-boto"
    if not (room / "whole").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(room)], check=True)
        subprocess.run([str(room / "bin" / "pip"), "install", "--quiet", BOTO], check=True)
        (room / "whole").touch()
    return room / "bin" / "python"
