# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each role's README: its first example as it stands, in a project that has nothing but the built collection.

How it comes there is what the collection's own README says.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
SET = CHECKOUT / "build" / "hosts" / os.environ.get("FEDLEARN_README_SET", "readme")
BIN = Path(sys.executable).parent
ROLES = sorted(path.parent.name for path in (CHECKOUT / "roles").glob("*/README.md"))
BUILT = {
    "minio": "MinIO is built by Go",
    "mongodb": "FerretDB is built by Go",
    "xain_coordinator": "MinIO, which its example brings, is built by Go",
}
"""Roles whose program, or that of their example, is built on the control node."""
ELSEWHERE = {
    "dpsa_manager": "its program is in no registry",
    "janus": "its programs are in no registry",
    "neursafe_ctl": "its program is in no registry",
    "neursafe_standalone": "its program is in no registry",
    "xain_aggregator": "its programs are built for many minutes; molecule/xain_poc runs it",
}
"""Roles whose example needs what only its user has."""
UPSTREAM = os.environ.get("FEDLEARN_UPSTREAM_DIR", "")
OF_LIBRARIES = {
    name: "dc_federated" for name in ROLES if name.endswith("dc_federated") or name.startswith("dc_federated")
}
"""Roles that run a library which is in no index, and its folder."""
NEWER_DEBIAN = {*OF_LIBRARIES, *(name for name in ROLES if "xain" in name), "tunnel"}
"""They need a newer Python, or systemd, than the oldest Debian's."""


def possible(role: str) -> Any:
    """A role, skipped where its program can't be built, or its library isn't given."""
    reason = ELSEWHERE.get(role) or ("" if shutil.which("go") else BUILT.get(role, ""))
    if role in OF_LIBRARIES and not UPSTREAM:
        reason = f"FEDLEARN_UPSTREAM_DIR names no folder with {OF_LIBRARIES[role]}/"
    return pytest.param(role, marks=pytest.mark.skipif(bool(reason), reason=reason))


@dataclass(frozen=True)
class Project:
    """A folder elsewhere with an inventory and the installed collection."""

    folder: Path

    def run(self, tool: str, *arguments: str, place: Path | None = None) -> str:
        """What a tool says, in the project or elsewhere; one that fails fails the test."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        environment = {
            **kept,
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections"),
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_VAULT_PASSWORD_FILE": str(self.folder / "vault-pass"),
            "NO_COLOR": "1",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        command = [str(BIN / tool), *arguments]
        done = subprocess.run(
            command, cwd=place or self.folder, env=environment, check=False, stdout=-1, stderr=-2, text=True
        )
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def play(self, book: str, role: str) -> int:
        """Runs a playbook of the folder on the role's host; returns how much it changed there."""
        host = "r2" if role in NEWER_DEBIAN else "r1"
        said = self.run("ansible-playbook", "-i", "hosts.yml", "--limit", host, book)
        recap = re.search(rf"^{host} +: ok=\d+ +changed=(\d+)", said, re.MULTILINE)
        assert recap, said
        return int(recap[1])


def typed(section: str, number: int) -> str:
    """A block of the README's, of those that are indented in a section."""
    text = (CHECKOUT / "README.md").read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    return textwrap.dedent(re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)[number])


def host(name: str, command: str, given: bytes = b"") -> None:
    """Runs a command as root on a host."""
    subprocess.run(["ssh", "-F", str(SET / "ssh_config"), name, f"sudo {command}"], check=True, input=given)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    found = Project(tmp_path_factory.mktemp("project"))
    (found.folder / "ansible.cfg").touch()
    (found.folder / "vault-pass").write_text("of the project\n")
    shutil.copy(SET / "hosts.yml", found.folder)
    copied = [sys.executable, str(CHECKOUT / "tests" / "tools" / "tree.py"), "copy", str(found.folder / "tree")]
    tree = subprocess.run(copied, check=True, capture_output=True, text=True).stdout.strip()
    build, requirements, install = (typed("In a project of your own", number) for number in range(3))
    found.run(*build.split("#")[0].split(), place=Path(tree))
    (package,) = Path(tree).glob("build/*.tar.gz")
    assert f"build/{package.name}" in build
    shutil.move(package, found.folder)
    shutil.rmtree(found.folder / "tree")
    (found.folder / "requirements.yml").write_text(requirements)
    # it is there already, as the checkout that the environment links
    install, begin = install.splitlines()
    found.run(*install.split(), "--force")
    found.run(*begin.split())
    assert (found.folder / "inventories" / "mine" / "federation.yml").exists()
    # the environment links the checkout as this collection: it has to be the other one that is found
    listed = found.run("ansible-doc", "--type", "module", "--list_files", "fedlearn.infra").splitlines()
    assert {line.split()[-1].startswith(str(found.folder / "collections")) for line in listed} == {True}, listed
    if UPSTREAM:
        shutil.copytree(Path(UPSTREAM) / "dc_federated", found.folder / "dc_federated")
    here, scenarios = Path(__file__).parent, CHECKOUT / "molecule"
    host("r1", "tee /root/ntp.py", (scenarios / "time_sync" / "ntp.py").read_bytes())
    host("r1", "sh", (here / "host.sh").read_bytes())
    host("r2", "tee /root/postgresql.py", (here / "postgresql.py").read_bytes())
    host("r2", "tee /root/certificates.sh", (scenarios / "shared" / "role" / "certificates.sh").read_bytes())
    host("r2", "sh", (here / "other_end.sh").read_bytes())
    return found


def example(role: str) -> str:
    """The first example of a README."""
    found = re.search(r"^```yaml\n(.*?)^```$", (CHECKOUT / "roles" / role / "README.md").read_text(), re.M | re.S)
    assert found, f"the README of {role} has no example"
    return found[1]


@pytest.fixture
def book(project: Project, role: str) -> Iterator[str]:
    """The example as a playbook; what it brought is removed afterwards, by its own variables."""
    (project.folder / "example.yml").write_text(example(role))
    yield "example.yml"
    (play,) = yaml.safe_load(example(role))
    removals: list[dict[str, Any]] = [
        {
            "ansible.builtin.include_role": {"name": one["role"], "tasks_from": "remove"},
            "vars": {**one["vars"], f"{one['role'].rpartition('.')[2]}_remove_data": True},
        }
        for one in reversed(play["roles"])
    ]
    variables = play.get("vars", {})
    remove = [{"hosts": "all", "gather_facts": False, "vars": variables, "tasks": removals}]
    (project.folder / "remove.yml").write_text(yaml.safe_dump(remove))
    project.play("remove.yml", role)


@pytest.mark.parametrize("role", [possible(name) for name in ROLES])
def test_a_role_s_example_runs_as_it_stands(project: Project, role: str, book: str) -> None:
    assert f"fedlearn.infra.{role}" in example(role)
    assert project.play(book, role) > 0
    assert project.play(book, role) == 0
