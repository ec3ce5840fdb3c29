# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The execution environment, made without a container registry, on the Debian of the test hosts.

    execution_environment.py       makes the image when there is none of this tree, and prints its name

ansible-builder would make it on another base. Programs are those of bindep.txt, packages those of requirements.txt at
the versions of constraints.txt; ansible-core, ansible-runner and the image's environment are those of
execution-environment.yml, and the collection is that of this tree.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import docker
import tree
import yaml
from docker.errors import ImageNotFound
from docker.models.containers import Container

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "molecule" / "shared"))

import engine
import image

CHECKOUT = Path(__file__).resolve().parents[2]
BASE = "trixie"
REPOSITORY = "fedlearn-execution-environment"
SETTINGS = ("requirements.txt", "constraints.txt", "bindep.txt", "execution-environment.yml")
USER = "1000"
PLACE = "/opt/ansible"
COLLECTIONS = "/usr/share/ansible/collections"

MAKE = f"""set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends python3-venv $PROGRAMS
rm -rf /var/lib/apt/lists/*
python3 -m venv {PLACE}
{PLACE}/bin/pip install --quiet --disable-pip-version-check --no-cache-dir \\
    -c /tmp/constraints.txt -r /tmp/requirements.txt $PACKAGES
{PLACE}/bin/ansible-galaxy collection install --offline --collections-path {COLLECTIONS} /tmp/collection.tar.gz
install -d -m 0777 /runner
install -d -m 0755 -o {USER} -g 0 /home/runner
rm -f /tmp/*.txt /tmp/collection.tar.gz
"""


class MakingError(Exception):
    """The image could not be made."""


def ensure(client: docker.DockerClient) -> str:
    """The name of the image, made first when there is none of this tree."""
    base = image.ensure(client, BASE)
    name = f"{REPOSITORY}:{_digest(base)}"
    try:
        client.images.get(name)
    except ImageNotFound:
        _make(client, base, name)
    return name


def described() -> dict[str, Any]:
    """What execution-environment.yml says."""
    found: dict[str, Any] = yaml.safe_load((CHECKOUT / "execution-environment.yml").read_text())
    return found


def environment() -> list[str]:
    """The variables that it sets in the image."""
    steps = described()["additional_build_steps"]["append_final"]
    return [step.removeprefix("ENV ") for step in steps if step.startswith("ENV ")]


def packages() -> list[str]:
    """ansible-core and ansible-runner, each at its version."""
    dependencies = described()["dependencies"]
    return [dependencies[name]["package_pip"] for name in ("ansible_core", "ansible_runner")]


def programs() -> list[str]:
    """The Debian packages of bindep.txt."""
    lines = (line.partition("#")[0].strip() for line in (CHECKOUT / "bindep.txt").read_text().splitlines())
    return [line.split()[0] for line in lines if line.endswith("[platform:dpkg]")]


def _digest(base: str) -> str:
    parts = [base, MAKE, tree.digest(), *((CHECKOUT / name).read_text() for name in SETTINGS)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _make(client: docker.DockerClient, base: str, name: str) -> None:
    container = client.containers.create(base, ["sleep", "infinity"], environment={"container": "docker"})
    try:
        container.start()
        container.put_archive("/tmp", context())
        told = container.exec_run(
            ["sh", "-c", MAKE], environment={"PROGRAMS": " ".join(programs()), "PACKAGES": " ".join(packages())}
        )
        assert isinstance(told.output, bytes)
        if told.exit_code != 0:
            raise MakingError(told.output.decode()[-3000:])
        _commit(container, name)
    finally:
        container.remove(force=True, v=True)


def _commit(container: Container, name: str) -> None:
    repository, tag = name.split(":")
    settings = {
        "User": USER,
        "WorkingDir": "/runner",
        "Env": [
            f"PATH={PLACE}/bin:/usr/local/bin:/usr/bin:/bin",
            "HOME=/home/runner",
            "LANG=C.UTF-8",
            f"ANSIBLE_COLLECTIONS_PATH={COLLECTIONS}",
            *environment(),
        ],
        "Cmd": ["ansible-runner", "--version"],
    }
    container.commit(repository=repository, tag=tag, conf=settings)


def context() -> bytes:
    """The files that making it needs, as a tar archive."""
    with tempfile.TemporaryDirectory(prefix="fedlearn-ee-") as room:
        copied = Path(room, "tree", "ansible_collections", "fedlearn", "infra")
        subprocess.run(
            [sys.executable, str(CHECKOUT / "tests/tools/tree.py"), "copy", f"{room}/tree"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        build = [
            str(Path(sys.executable).parent / "ansible-galaxy"),
            "collection",
            "build",
            str(copied),
            "--output-path",
            room,
        ]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        (built,) = Path(room).glob("*.tar.gz")
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            archive.add(built, "collection.tar.gz")
            for file in SETTINGS[:2]:
                archive.add(CHECKOUT / file, file)
        return content.getvalue()


def main() -> int:
    """Make it, and print its name."""
    print(ensure(engine.client(CHECKOUT / "build" / "hosts")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
