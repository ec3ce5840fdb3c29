# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a job needs is in the image, and jobs run in it as AWX runs them: by ansible-runner, in folders laid out so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.conftest import CHECKOUT

sys.path.insert(0, str(Path(__file__).resolve().parent))

from jobs import IMPORTS, PASSPHRASE, STATE, USER, VAULT, Job, generate, inside, let_in, sync, synced

EXAMPLE = CHECKOUT / "inventories" / "dc_federated" / "federation.yml"
"""One with a secret beside those of CAs."""
KEPT = f"{yaml.safe_load(EXAMPLE.read_text())['federation']}/lab"
"""The party's own folder in the state folder."""


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


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One that opens no host."""
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path.read_text()


@pytest.fixture
def job(tmp_path: Path, project: Path, hosts: str, state: Path, key: str) -> Any:
    """Makes and runs jobs that keep nothing but the state folder."""
    count = iter(range(100))

    def once(verb: str, **answers: Any) -> Job:
        room = tmp_path / f"job-{next(count)}"
        room.mkdir()
        return Job(room, project, hosts, state, verb, **{"key": key, **answers}).run()

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


@pytest.mark.parametrize(
    ("without", "name"),
    [
        ("Machine", "lab ssh"),
        ("Vault", "lab vault"),
        ("fedlearn CA passphrase", "lab CA passphrase"),
    ],
)
def test_a_credential_that_is_missing_names_itself_before_any_host_is_touched(
    job: Any, without: str, name: str
) -> None:
    one = job("precheck", **({"key": ""} if without == "Machine" else {"without": without}))
    assert one.rc == 2
    federation = KEPT.partition("/")[0]
    assert f"the credential '{federation} {name}' gave this job nothing: enter" in " ".join(one.stdout.split())
    assert "UNREACHABLE" not in one.stdout


def test_an_answer_out_of_range_is_refused_though_no_survey_asked(job: Any) -> None:
    one = job("verify", verify="ruond", stack="")
    assert one.rc == 2
    assert "-e verify=: expected one of probe, round, found the text 'ruond'" in " ".join(one.stdout.split())
    assert "UNREACHABLE" not in one.stdout


def test_a_document_with_mistakes_fails_its_sync_and_says_where(project: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "project"
    shutil.copytree(project, wrong)
    text = EXAMPLE.read_text()
    (wrong / "federation.yml").write_text(text.replace("kind: dc_federated", "kind: dc_fedrated", 1))
    let_in(wrong)
    seen = sync(wrong)
    assert (seen.returncode, seen.stdout) == (4, "")
    assert re.search(r"federation\.yml:\d+:\d+: stacks\.\S+\.kind: .*\(did you mean 'dc_federated'\?\)", seen.stderr)


# --- of parties that share a document ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the leader's side of a document."""
    folder = tmp_path_factory.mktemp("shared")
    for name in ("dpsa", "dpsa-leader"):
        shutil.copytree(CHECKOUT / "inventories" / name, folder / name)
    generate(folder, document="dpsa-leader/federation.yml")
    return folder


def test_a_party_accepts_signs_and_looks_whether_it_is_separate(shared: Path, tmp_path: Path, key: str) -> None:
    """No host is there, so of these audit can't say anything, and says that."""
    state = tmp_path / "state"
    state.mkdir()
    let_in(state)
    hosts = synced(shared)

    def ran(verb: str, **answers: Any) -> Job:
        room = tmp_path / f"{verb}-{len(answers)}"
        room.mkdir()
        return Job(room, shared, hosts, state, verb, key=key, **answers).run()

    assert ran("secrets").rc == 0
    assert "nobody here accepted" in " ".join(ran("exchange").stdout.split())
    shown = ran("accept")
    (digest,) = set(re.findall(r"-e digest=([0-9a-f]{64}) accepts it", " ".join(shown.stdout.split())))
    assert ran("accept", digest=digest).rc == 0
    signed = ran("exchange", days=30)
    assert signed.rc == 0, signed.stdout
    assert list(state.rglob("public/clinic-a/*"))
    audited = ran("audit")
    assert audited.rc == 0, audited.stdout
    assert "not checked  keys that may log in" in audited.stdout
    assert list(state.rglob("audit.json"))
    assert not any(secret in job for secret in (VAULT, PASSPHRASE) for job in (signed.left(), audited.left()))


def test_a_restore_and_a_rotation_say_what_they_lack(job: Any) -> None:
    job("secrets")
    assert f"{STATE}/{KEPT}/.backups is not there" in job("restore").stdout
    assert "rotate what?" in job("rotate").stdout
