# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a job needs is in the image, and jobs run in it as AWX runs them: by ansible-runner, in folders laid out so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.conftest import CHECKOUT

sys.path.insert(0, str(Path(__file__).resolve().parent))

from jobs import PASSPHRASE, STATE, USER, VAULT, Job, generate, inside, synced

EXAMPLE = CHECKOUT / "inventories" / "dc_federated" / "federation.yml"
"""One with a secret beside those of CAs."""
KEPT = f"{yaml.safe_load(EXAMPLE.read_text())['federation']}/lab"
"""The party's own folder in the state folder."""

IMPORTS = """
import importlib, sys
from pathlib import Path
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader()
import ansible_collections.fedlearn.infra as collection
(folder,) = collection.__path__
count = 0
for path in sorted(Path(folder, "plugins").rglob("*.py")):
    parts = path.relative_to(folder).with_suffix("").parts
    importlib.import_module(".".join(["ansible_collections.fedlearn.infra", *(p for p in parts if p != "__init__")]))
    count += 1
print(count)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A document in a project, with what is generated for AWX."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(EXAMPLE, folder)
    generate(folder)
    return folder


@pytest.fixture(scope="module")
def hosts(project: Path) -> str:
    """What AWX knows of the hosts."""
    return synced(project)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, USER, USER)
    return folder


@pytest.fixture
def job(tmp_path: Path, project: Path, hosts: str, state: Path) -> Any:
    """Makes and runs jobs that keep nothing but the state folder."""
    count = iter(range(100))

    def once(verb: str, **answers: Any) -> Job:
        room = tmp_path / f"job-{next(count)}"
        room.mkdir()
        return Job(room, project, hosts, state, verb, **answers).run()

    return once


# --- what is in it ----------------------------------------------------------------------------------------------------


def test_nobody_is_root_in_it() -> None:
    assert inside("id", "--user").stdout.strip() == "1000"


def test_every_plugin_is_imported() -> None:
    told = inside("python", "-c", IMPORTS)
    assert told.returncode == 0, told.stderr[-2000:]
    assert int(told.stdout) == len(list((CHECKOUT / "plugins").rglob("*.py")))


def test_every_playbook_passes_its_syntax_check(project: Path) -> None:
    names = sorted(path.stem for path in (CHECKOUT / "playbooks").glob("*.yml"))
    one = "ansible-playbook --syntax-check -i /runner/project/federation.yml fedlearn.infra.$name"
    check = f"for name in $NAMES; do {one} || exit 1; done"
    told = inside("sh", "-c", check, folders={project: "/runner/project:ro"}, NAMES=" ".join(names))
    assert told.returncode == 0, told.stderr[-2000:]
    assert told.stdout.count("playbook: ") == len(names)


def test_packages_are_of_the_versions_that_are_pinned() -> None:
    frozen = inside("python", "-m", "pip", "freeze").stdout.split()
    core = yaml.safe_load((CHECKOUT / "execution-environment.yml").read_text())["dependencies"]["ansible_core"]
    pinned = {*(CHECKOUT / "constraints.txt").read_text().split(), core["package_pip"]}
    assert len(frozen) > 10
    assert [each for each in frozen if each.lower() not in {one.lower() for one in pinned}] == []


@pytest.mark.parametrize("program", ["ssh", "ssh-keygen", "sshpass", "git", "openssl", "findmnt"])
def test_what_the_control_node_runs_is_there(program: str) -> None:
    assert inside("sh", "-c", f"command -v {program}").returncode == 0


# --- jobs -------------------------------------------------------------------------------------------------------------


def test_what_a_job_writes_outlives_it_and_the_next_one_changes_nothing(job: Any, state: Path) -> None:
    first = job("secrets")
    kept = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    second = job("secrets")
    assert (first.rc, second.rc) == (0, 0), first.stdout
    assert [str(path.relative_to(state)) for path in kept if path.suffix == ".yml"] == [f"{KEPT}/.secrets/lab.yml"]
    assert {path: path.read_bytes() for path in state.rglob("*") if path.is_file()} == kept
    assert "changed=1 " in first.stdout
    assert "changed=1 " not in second.stdout


def test_no_event_has_a_secret(job: Any) -> None:
    for one in (job("secrets"), job("site"), job("precheck")):
        told = one.left()
        assert len(one.events()) > 5
        assert "Look for the hosts of a federation" in told
        assert VAULT not in told
        assert PASSPHRASE not in told


def test_flows_needs_no_credential_and_leaves_its_report(job: Any, state: Path) -> None:
    one = job("flows")
    assert one.rc == 0, one.stdout
    assert sorted(path.name for path in (one.room / "env").iterdir()) == ["extravars"]
    assert (state / KEPT / "build" / KEPT.partition("/")[0] / "flows.csv").read_text().startswith("stack,direction,")


def test_an_exit_code_arrives(job: Any) -> None:
    wrong = job("flows", stack="nothing")
    assert (wrong.rc, wrong.ended.returncode) == (2, 2)
    assert "the document has no stack 'nothing'" in wrong.stdout


def test_a_template_of_another_version_is_told(job: Any) -> None:
    other = job("precheck", fedlearn_generated_by="0.0.1")
    assert other.rc == 2
    assert "fedlearn.infra 0.0.1 generated this job's template, and " in other.stdout
    assert "UNREACHABLE" not in other.stdout


def test_a_verb_that_must_write_and_has_no_home_says_so_before_any_host_is_touched(job: Any) -> None:
    """A job without a state folder keeps CAs beside its document, in a project that is thrown away."""
    one = job("precheck", fedlearn_state="/runner/project")
    assert one.rc == 2
    assert "has no home: /runner/project can't be written to; give -e fedlearn_state=" in " ".join(one.stdout.split())
    assert "UNREACHABLE" not in one.stdout


def test_an_empty_answer_is_none(job: Any) -> None:
    assert job("flows", stack="").rc == 0


def test_what_nobody_made_yet_is_named_before_any_host_is_touched(job: Any) -> None:
    one = job("site")
    assert one.rc == 2
    assert "UNREACHABLE" not in one.stdout
    assert "fedlearn.infra.secrets" in one.stdout


@pytest.mark.parametrize("verb", ["precheck", "site", "verify", "status", "backup", "stop", "remove"])
def test_a_template_s_job_gets_as_far_as_its_hosts(job: Any, verb: str) -> None:
    """With the answers that its survey begins with; no host is there."""
    job("secrets")
    one = job(verb)
    assert one.rc in (2, 4)
    assert "UNREACHABLE" in one.stdout


def test_a_restore_and_a_rotation_say_what_they_lack(job: Any) -> None:
    job("secrets")
    assert f"{STATE}/{KEPT}/.backups is not there" in job("restore").stdout
    assert "rotate what?" in job("rotate").stdout


def test_ansible_builder_takes_what_says_how_it_is_made(tmp_path: Path) -> None:
    builder = Path(sys.executable).parent / "ansible-builder"
    command = [builder, "create", "-f", CHECKOUT / "execution-environment.yml", "-c", tmp_path / "context"]
    told = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert told.returncode == 0, told.stdout + told.stderr
    (made,) = [path for path in (tmp_path / "context").iterdir() if path.is_file()]
    assert "ENV ANSIBLE_INVENTORY_ENABLED=fedlearn.infra.federation,script" in made.read_text()
