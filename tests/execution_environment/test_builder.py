# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image that ansible-builder makes of execution-environment.yml, on the Debian of the test hosts.

No registry is at hand, so its base, how packages get into that, and where the collection comes from are replaced.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.unit.conftest import BIN, CHECKOUT

sys.path.insert(0, str(CHECKOUT / "tests" / "tools"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import execution_environment as made_otherwise
from jobs import IMPORTS, USER

TAG = "fedlearn-ansible-builder:test"
LABEL = "fedlearn.ansible-builder=test"
APT = """\
ENV DEBIAN_FRONTEND=noninteractive
RUN echo 'APT::Install-Recommends "false";' >/etc/apt/apt.conf.d/00-few
RUN apt-get update -q
"""


def described(base: str) -> str:
    """execution-environment.yml for a Debian."""
    found = made_otherwise.described()
    found["images"]["base_image"]["name"] = base
    found["dependencies"]["python_interpreter"]["package_system"] = "python3 python3-pip"
    found["dependencies"]["galaxy"] = {"collections": [{"name": "configs/collection.tar.gz", "type": "file"}]}
    found["additional_build_files"] = [{"src": "collection.tar.gz", "dest": "configs"}]
    found["options"] = {"package_manager_path": "/usr/bin/apt-get", "skip_pip_install": True}
    found["additional_build_steps"]["prepend_base"] = [f"LABEL {LABEL}", *APT.splitlines()]
    return yaml.safe_dump(found)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("builder")
    client = made_otherwise.engine.client(CHECKOUT / "build" / "hosts")
    base = made_otherwise.image.ensure(client, made_otherwise.BASE)
    (folder / "execution-environment.yml").write_text(described(base))
    for name in ("requirements.txt", "bindep.txt"):
        shutil.copy(CHECKOUT / name, folder)
    with tarfile.open(fileobj=io.BytesIO(made_otherwise.context())) as archive:
        archive.extract("collection.tar.gz", folder, filter="data")
    # apt's lists are to be there for all steps
    options = ("--container-runtime", "docker", "--build-arg", "PKGMGR_PRESERVE_CACHE=1", "--tag", TAG)
    told = subprocess.run(
        [str(BIN / "ansible-builder"), "build", *options], capture_output=True, text=True, check=False, cwd=folder
    )
    try:
        assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-2000:]
        yield TAG
    finally:
        subprocess.run(["docker", "image", "rm", "--force", TAG], check=False, capture_output=True)
        prune = ["docker", "image", "prune", "--force", "--filter", f"label={LABEL}"]
        subprocess.run(prune, check=True, capture_output=True)


def inside(image: str, *words: str) -> str:
    """What a command prints in it, as a job's user, who reaches nobody; it has to end well."""
    project = CHECKOUT / "inventories" / "demo"
    options = ("--rm", "--network", "none", "--volume", f"{project}:/runner/project:ro")
    told = subprocess.run(["docker", "run", *options, image, *words], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout[-2000:] + told.stderr[-2000:]
    return told.stdout


def test_ansible_builder_s_image_has_all_that_a_job_needs(built: str) -> None:
    assert int(inside(built, "id", "--user")) == USER
    for program in ("ssh", "ssh-keygen", "sshpass", "git", "openssl", "findmnt"):
        assert program in inside(built, "sh", "-c", f"command -v {program}")
    frozen = inside(built, "python3", "-m", "pip", "freeze").split()
    wanted = {*made_otherwise.packages(), *(CHECKOUT / "requirements.txt").read_text().split("\n")}
    assert {each for each in wanted if each and not each.startswith("#")} <= set(frozen)
    assert int(inside(built, "python3", "-c", IMPORTS)) == len(list((CHECKOUT / "plugins").rglob("*.py")))


def test_a_playbook_runs_in_it(built: str) -> None:
    flows = ("-i", "/runner/project/federation.yml", "fedlearn.infra.flows", "-e", "fedlearn_build=/tmp/build")
    assert "failed=0" in inside(built, "ansible-playbook", *flows)
