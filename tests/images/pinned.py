# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""federation.yml of this folder, laid into build/images/: a registry on a host, and a control plane on loopback."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from standing_demo import CHECKOUT, Demo

from tests.support.control_plane import ControlPlane, up

HERE = Path(__file__).resolve().parent
ROOM = CHECKOUT / "build" / "images"
SET = os.environ.get("FEDLEARN_ROLE_SET", "wimages")
NETWORK = os.environ.get("FEDLEARN_ROLE_SUBNET", "10.98.73.0/24").rpartition(".")[0]
REGISTRY = f"{NETWORK}.11:5000"
SOURCE = ROOM / "source"
"""The checkout: the stand-in for upstream's build, and the file that it makes images of."""
CA = ROOM / "files" / "registry.pem"
Document = dict[str, Any]

ASK = """\
import ssl
import urllib.request

headers = {{"Accept": "application/vnd.oci.image.manifest.v1+json", "Authorization": "Basic {1}"}}
asked = urllib.request.Request("https://{0}", headers=headers, method="HEAD")
context = ssl.create_default_context(cafile="/etc/role-test/ca.pem")
context.verify_flags &= ~ssl.VERIFY_X509_STRICT
print(urllib.request.urlopen(asked, context=context).headers["Docker-Content-Digest"])
"""


class Pinned(Demo):
    """The registry, the cluster, and what is built for it."""

    def __init__(self) -> None:
        super().__init__(ROOM, ("r1",), SET, ROOM / "vault-pass")
        self.cluster = ControlPlane(ROOM / "cluster")

    def begin(self) -> None:
        """Lay all of it down, and bring the registry; nothing is built and nothing deployed."""
        self.lay_beside()
        if not (self.cluster.folder / "ready").exists():
            up(self.cluster.folder)
        (ROOM / "files").mkdir(exist_ok=True)
        (ROOM / "files" / "kc").write_text(self.cluster.admin.read_text())
        CA.touch()
        SOURCE.mkdir(exist_ok=True)
        shutil.copy(HERE / "stand_in_build.py", SOURCE)
        (SOURCE / "content").write_text("first")
        self.write()
        made = self.playbook("fedlearn.infra.secrets")
        assert made.returncode == 0, made.output[-3000:]
        self._bring_registry()

    def write(
        self, change: Callable[[Document], None] = lambda images: None, *, registry: Document | None = None
    ) -> None:
        """The document, with a change of its images; with ``registry`` these are in one of the stack's own."""
        document = yaml.safe_load((HERE / "federation.yml").read_text().replace("10.98.73", NETWORK))
        images = document["stacks"]["imaging"]["server"]["images"]
        images["build"] |= {"checkout": str(SOURCE), "command": ["python3", "stand_in_build.py", "--ca", str(CA)]}
        if registry:
            document["stacks"]["imaging"]["registry"] = registry
            del images["registry"], images["ca"], images["pull"], images["build"]["login"]
            images["build"]["command"] = ["python3", "stand_in_build.py", "--ca", str(ROOM / "public/lab/lab.pem")]
        change(images)
        (ROOM / "federation.yml").write_text(yaml.safe_dump(document, sort_keys=False))

    def _bring_registry(self) -> None:
        passwords = ROOM / "passwords.json"
        passwords.touch(mode=0o600)
        known = self.secrets()
        passwords.write_text(json.dumps({f"registry_password_{name}": known[name] for name in ("push", "pull")}))
        command = [str(CHECKOUT / ".venv" / "bin" / "ansible-playbook"), "-e", f"@{passwords}"]
        command += ["-i", str(CHECKOUT / "build" / "hosts" / SET / "hosts.yml"), str(HERE / "registry.yml")]
        done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, env=self.environment, check=False)
        assert done.returncode == 0, done.stdout[-4000:]
        CA.write_text(self.run("r1", "cat /etc/role-test/ca.pem"))

    @property
    def record(self) -> Path:
        return ROOM / "public" / "lab" / "images" / "imaging.json"

    def recorded(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.record.read_text())["digests"]
        return found

    def answered(self, word: str, tag: str = "1.0") -> str:
        """The digest that the registry itself says, asked on its host by who pulls."""
        login = base64.b64encode(f"puller:{self.secrets()['pull']}".encode()).decode()
        ask = ASK.format(f"{REGISTRY}/v2/nsfl-{word}/manifests/{tag}", login)
        return self.run("r1", f"python3 - <<'END'\n{ask}END\n").strip()

    def images(self) -> dict[str, str]:
        """Of each deployment its program's image, as the cluster has it."""
        done = self.cluster.kubectl("get", "deployments", "--all-namespaces", "-o=json")
        assert done.returncode == 0, done.stderr
        pods = {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in json.loads(done.stdout)["items"]}
        return {name: spec["containers"][0]["image"] for name, spec in pods.items()}
