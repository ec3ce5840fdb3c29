# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What -e stack= and --limit leave out: playbooks as they are written, and as the real command runs them."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.conftest import CHECKOUT, DOCUMENT, run

PLAYBOOKS = CHECKOUT / "playbooks"
INNER = {"federation.yml", "federation_only.yml", "programs.yml", "round.yml", "stage.yml"}
"""Parts of the others."""
OUTER = sorted({path.name for path in PLAYBOOKS.glob("*.yml")} - INNER - {"init.yml"})


def plays(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((PLAYBOOKS / name).read_text())
    return found


def begin_with(folder: Path, source: str, sha256: str) -> None:
    """Have the servers begin with a model of the control node."""
    model = f"initial_model: {{source: {source}, sha256: {sha256}}}"
    (folder / "federation.yml").write_text(DOCUMENT.replace("servers: {", f"servers: {{{model}, "))
    (folder / "model.npz").write_bytes(b"weights")


def play(folder: Path, playbook: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A playbook as it ended on hosts that nobody reaches."""
    unreachable = ["-e", "ansible_host=127.0.0.1", "-e", "ansible_port=1"]  # where nothing listens
    return run(folder, "ansible-playbook", "-i", "federation.yml", PLAYBOOKS / playbook, *unreachable, *arguments)


@pytest.mark.parametrize("name", OUTER)
def test_every_playbook_begins_with_a_look_at_the_federation(name: str) -> None:
    first = plays(name)[0]["ansible.builtin.import_playbook"]
    assert first in ("federation.yml", "federation_only.yml")
    assert plays("federation.yml")[0]["ansible.builtin.import_playbook"] == "federation_only.yml"


@pytest.mark.parametrize("name", ["precheck.yml", "status.yml", "verify.yml"])
def test_whoever_goes_through_all_roles_chooses_the_stack_s_instances_first(name: str) -> None:
    """Else roles on a host that stacks share would look at the other's instances, too."""
    tasks = [task for play in plays(name) for task in play.get("tasks", [])]
    chosen = [index for index, task in enumerate(tasks) if "lookup('fedlearn.infra.instances'" in str(task)]
    looped = [index for index, task in enumerate(tasks) if "fedlearn_stages" in str(task.get("loop"))]
    assert chosen
    assert looped
    assert chosen[0] < looped[0]


def test_site_takes_a_certificate_away_only_when_what_reads_it_has_gone() -> None:
    """A host's `absent` servers stop in stage `service`; the certificates are made in stage `base`."""
    site = plays("site.yml")
    stages = [play.get("vars", {}).get("fedlearn_stage") for play in site]
    assert site[stages.index("base")]["vars"]["pki_remove_absent"] is False
    removes = [index for index, play in enumerate(site) if "fedlearn.infra.pki" in str(play.get("tasks"))]
    orphans = [index for index, play in enumerate(site) if "fedlearn.infra.orphans" in str(play.get("tasks"))]
    assert max(index for index, stage in enumerate(stages) if stage) < removes[0] < orphans[0]


@pytest.mark.slow
@pytest.mark.parametrize("playbook", ["status.yml", "flows.yml"])
def test_a_stack_that_is_not_there_is_refused_before_any_host_is_touched(folder: Path, playbook: str) -> None:
    ended = play(folder, playbook, "-e", "stack=nope")
    assert ended.returncode == 2, ended
    assert "the document has no stack 'nope': it has lenet" in ended.stdout
    assert "UNREACHABLE" not in ended.stdout
    assert not (folder / "build").exists()


@pytest.mark.slow
def test_status_tells_of_hosts_of_the_run_only(folder: Path) -> None:
    ended = play(folder, "status.yml", "--limit", "ms1")
    assert ended.returncode == 4, ended
    told = json.loads((folder / "build/demo/status.json").read_text())["stacks"]["lenet"]
    assert (told["verdict"], list(told["hosts"])) == ("unreachable", ["ms1"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("model.npz", f"model.npz has the sha256 {hashlib.sha256(b'weights').hexdigest()}, not {'a' * 64}"),
        ("nowhere.npz", "nowhere.npz' on the control node"),
    ],
)
def test_site_refuses_another_model_before_any_host_is_touched(folder: Path, source: str, said: str) -> None:
    begin_with(folder, source, "a" * 64)
    ended = play(folder, "site.yml")
    assert ended.returncode == 2, ended
    assert said in ended.stdout
    assert "UNREACHABLE" not in ended.stdout


@pytest.mark.slow
def test_site_goes_on_to_the_hosts_with_the_model_that_was_meant(folder: Path) -> None:
    begin_with(folder, "model.npz", hashlib.sha256(b"weights").hexdigest())
    ended = play(folder, "site.yml")
    assert ended.returncode == 4, ended
    assert "UNREACHABLE" in ended.stdout
