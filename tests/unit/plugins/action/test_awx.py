# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is written for AWX into a project, and what AWX makes of the document there: a sync, and what jobs get."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task

from ansible_collections.fedlearn.infra.plugins.action.awx import ActionModule
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.first_files import first_files
from tests.unit.conftest import BIN, CHECKOUT, DOCUMENT, run

NO_CONNECTION = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
GIVEN = {"url": "https://git.example/a.git", "image": "registry.example/fedlearn:1", "state": "/var/lib/state"}
ENVIRONMENT = {"ANSIBLE_INVENTORY_ENABLED": "fedlearn.infra.federation,script,auto,yaml,ini"}
"""Of the image that jobs run in: they get their hosts of a program, which a project's settings needn't allow."""
TWO = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  clinic-a: {hosts: {a1: 10.20.0.11}}
  clinic-b: {hosts: {b1: 10.20.0.12}}
stacks:
  lenet:
    kind: mindspore
    redis: {host: a1}
    scheduler: {host: a1}
    servers: {hosts: [a1]}
    workers: {hosts: [b1]}
"""


def awx(folder: Path, *, check: bool = False, document: str = "federation.yml", **options: Any) -> dict[str, Any]:
    task = Task.load({"action": "fedlearn.infra.awx", "args": {}})
    task.args = {"document": str(folder / document), "project": str(folder), **GIVEN, **options}
    task.check_mode = check
    action = ActionModule(
        task=task,
        connection=NO_CONNECTION,
        play_context=None,
        loader=DataLoader(),
        templar=None,
        shared_loader_obj=None,
    )
    found: dict[str, Any] = action.run(task_vars={})
    return found


def files(project: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (project / "awx").glob("*")}


def viewpoint(project: Path, party: str, of: str | None = None) -> None:
    path = project / "parties" / party / "federation.yml"
    path.parent.mkdir(parents=True)
    path.write_text(f"plugin: fedlearn.infra.federation\ndocument: ../../federation.yml\nparty: {of or party}\n")


def test_it_is_written_once_and_the_same_again(folder: Path) -> None:
    first = awx(folder)
    written = files(folder)
    second = awx(folder)
    assert (first["changed"], first["written"]) == (True, sorted(written))
    assert {"objects.yml", "requests.json", "apply.yml", "site.yml", "status.yml"} <= set(written)
    assert (second["changed"], second["written"], second["removed"]) == (False, [], [])
    assert files(folder) == written
    assert "demo lab site" in first["templates"]


def test_in_check_mode_nothing_is_written(folder: Path) -> None:
    seen = awx(folder, check=True)
    assert seen["changed"]
    assert not (folder / "awx").exists()


def test_another_document_changes_the_survey_and_what_is_needed_no_more_goes(folder: Path) -> None:
    awx(folder)
    (folder / "awx" / "accept.yml").write_bytes((folder / "awx" / "site.yml").read_bytes())
    (folder / "awx" / "mine.yml").write_text("- hosts: all\n")
    (folder / "federation.yml").write_text(DOCUMENT.replace("lenet:", "resnet:"))
    seen = awx(folder)
    assert (seen["written"], seen["removed"]) == (["objects.yml", "requests.json"], ["accept.yml"])
    assert "- resnet" in (folder / "awx" / "objects.yml").read_text()
    assert (folder / "awx" / "mine.yml").exists()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"url": ""}, "-e awx_url="),
        ({"image": ""}, "-e awx_image="),
        ({"state": ""}, "-e awx_state="),
        ({"state": "state"}, "an absolute path"),
        ({"state": "https://git.example/a.git"}, "is reached by https: give its URL for ssh"),
        ({"state": "ssh://git:CANARY@git.example/a.git"}, "without a password"),
        ({"backups": "/backups"}, "-e awx_backups= is for a repository"),
        ({"state": "git@git.example:a.git", "backups": "backups"}, "an absolute path that each job mounts"),
        ({"state": "/kept/../etc"}, "goes up or in circles"),
        ({"state": "git@git.example:{pary}.git"}, r"\{pary\} stands for nothing"),
        (
            {"url": "https://bob:CANARY@git.example/a.git"},
            "awx_url= has a login, and what is written is for a repository",
        ),
        ({"webhook": "https://bob:CANARY@hooks.example/"}, "awx_webhook= has a login"),
        ({"webhook": "hooks.example"}, "awx_webhook=URL begins with https://"),
        ({"image": "an image"}, "is no name of an image"),
        ({"image": "https://registry.example/fed:1"}, "is no name of an image"),
        ({"image": "registry.example/FedLearn:1"}, "is no name of an image"),
        ({"image": ":::"}, "is no name of an image"),
        ({"url": "https://CANARY@git.example/a.git"}, "awx_url= has a login"),
        ({"state": "git@git.example:a.git", "backups": "/b/../c"}, "awx_backups=/b/../c goes up or in circles"),
    ],
)
def test_what_only_the_operator_knows_is_asked_for(folder: Path, options: dict[str, str], why: str) -> None:
    with pytest.raises(AnsibleActionFail, match=why) as refused:
        awx(folder, **options)
    assert "CANARY" not in str(refused.value) or "ssh://" in str(refused.value)
    assert not (folder / "awx").exists()


def test_a_document_outside_of_the_project_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with pytest.raises(AnsibleActionFail, match=r"is outside of the project .*: give -e awx_project="):
        awx(folder, project=str(elsewhere))
    assert not list(elsewhere.iterdir())


def test_of_two_parties_each_has_its_viewpoint(folder: Path) -> None:
    (folder / "federation.yml").write_text(TWO)
    with pytest.raises(
        AnsibleActionFail, match=r"parties/clinic-a/federation.yml isn't there: of several parties each"
    ):
        awx(folder, state="/kept/{party}")
    viewpoint(folder, "clinic-a")
    viewpoint(folder, "clinic-b")
    awx(folder, state="/kept/{party}")
    held = yaml.safe_load((folder / "awx" / "objects.yml").read_text())
    assert [each["name"] for each in held["aap_organizations"]] == ["clinic-a", "clinic-b"]
    assert [each["source_path"] for each in held["controller_inventory_sources"]] == [
        "parties/clinic-a/federation.yml",
        "parties/clinic-b/federation.yml",
    ]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"state": "git@git.example:demo.git"}, "one repository"),
        ({"state": "/kept"}, "one folder"),
        ({"state": "git@git.example:demo-{party}.git", "backups": "/backups"}, "one folder"),
    ],
)
def test_two_parties_have_no_place_in_common(folder: Path, options: dict[str, str], what: str) -> None:
    (folder / "federation.yml").write_text(TWO)
    viewpoint(folder, "clinic-a")
    viewpoint(folder, "clinic-b")
    with pytest.raises(AnsibleActionFail, match=rf"see each other's keys and data in {what}: say \{{party\}} in it"):
        awx(folder, **options)
    assert not (folder / "awx").exists()


def test_each_party_has_a_place_of_its_own(folder: Path) -> None:
    (folder / "federation.yml").write_text(TWO)
    viewpoint(folder, "clinic-a")
    viewpoint(folder, "clinic-b")
    awx(folder, state="/kept/{party}")
    held = yaml.safe_load((folder / "awx" / "objects.yml").read_text())
    assert [each["source_vars"]["FEDLEARN_STATE_DIRECTORY"] for each in held["controller_inventory_sources"]] == [
        "/kept/clinic-a/demo/clinic-a",
        "/kept/clinic-b/demo/clinic-b",
    ]
    awx(folder, state="git@git.example:demo-{party}.git")
    told = json.loads((folder / "awx" / "requests.json").read_text())
    found = [each["fields"] for each in told if each["endpoint"] == "inventory_sources"]
    assert [json.loads(each["source_vars"])["FEDLEARN_STATE_REPOSITORY"] for each in found] == [
        "git@git.example:demo-clinic-a.git",
        "git@git.example:demo-clinic-b.git",
    ]


def test_a_viewpoint_is_enough_for_its_own_party(folder: Path) -> None:
    (folder / "federation.yml").write_text(TWO)
    viewpoint(folder, "clinic-b")
    awx(folder, document="parties/clinic-b/federation.yml")
    held = yaml.safe_load((folder / "awx" / "objects.yml").read_text())
    assert [each["name"] for each in held["aap_organizations"]] == ["clinic-b"]


def test_another_party_s_viewpoint_in_its_place_is_refused(folder: Path) -> None:
    (folder / "federation.yml").write_text(TWO)
    viewpoint(folder, "clinic-a", of="clinic-b")
    with pytest.raises(AnsibleActionFail, match="is no viewpoint of party 'clinic-a'"):
        awx(folder)


def test_a_wrong_document_is_told_line_by_line(folder: Path) -> None:
    (folder / "federation.yml").write_text(DOCUMENT.replace("redis: {host: ms1}", "redis: {host: sm1}"))
    with pytest.raises(AnsibleActionFail, match=r"federation.yml:\d+:\d+: stacks.lenet.redis.host: "):
        awx(folder)
    assert not (folder / "awx").exists()


@pytest.mark.slow
def test_the_playbook_writes_it_and_a_second_run_nothing(folder: Path) -> None:
    given = [word for name, value in GIVEN.items() for word in ("-e", f"awx_{name}={value}")]
    command = ("ansible-playbook", "-i", "federation.yml", "-v", CHECKOUT / "playbooks" / "awx.yml")
    first, second = run(folder, *command, *given), run(folder, *command, *given)
    assert (first.returncode, second.returncode) == (0, 0), first.stdout + second.stdout
    assert "changed=1 " in first.stdout
    assert "changed=1 " not in second.stdout
    assert "awx_url" in run(folder, *command).stdout


# --- as AWX does ------------------------------------------------------------------------------------------------------


def sync(project: Path) -> subprocess.CompletedProcess[str]:
    """The inventory source's update, in the environment that it has by its variables."""
    (folder,) = {path.parent for path in project.glob("awx/objects.yml")}
    (source,) = yaml.safe_load((folder / "objects.yml").read_text())["controller_inventory_sources"]
    return _inventory(project, "--list", "--export", "-i", project / source["source_path"], **source["source_vars"])


def _inventory(project: Path, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    settings = {"ANSIBLE_HOME": str(project / "home"), "NO_COLOR": "1", "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true"}
    command = [BIN / "ansible-inventory", *arguments]
    return subprocess.run(
        command, cwd=project, env=kept | settings | variables, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.slow
def test_a_job_s_hosts_have_what_the_document_says(folder: Path) -> None:
    """A sync keeps what ansible-inventory exports; each job gets that of a program that prints it."""
    awx(folder)
    kept = sync(folder)
    assert kept.returncode == 0, kept.stderr
    (folder / "inventory").mkdir()
    program = folder / "inventory" / "hosts"
    program.write_text(f"#!/usr/bin/env python3\nprint({kept.stdout!r})\n")
    program.chmod(0o700)
    plugin, state = "fedlearn.infra.federation", "/var/lib/state/demo/lab"
    of_document = ("-i", "federation.yml", "--host", "ms1")
    direct = _inventory(folder, *of_document, ANSIBLE_INVENTORY_ENABLED=plugin, FEDLEARN_STATE_DIRECTORY=state)
    (folder / "ansible.cfg").write_text(first_files("mindspore")["ansible.cfg"])
    job = _inventory(folder, "-i", "inventory/hosts", "--host", "ms1", **ENVIRONMENT)
    assert job.returncode == 0, job.stderr
    assert json.loads(job.stdout) == _plain(json.loads(direct.stdout))
    assert json.loads(job.stdout)["fedlearn_state"] == state


def _plain(value: Any) -> Any:
    """What is marked as no template, as it is."""
    if isinstance(value, dict):
        return (
            value["__ansible_unsafe"]
            if set(value) == {"__ansible_unsafe"}
            else {k: _plain(v) for k, v in value.items()}
        )
    return [_plain(each) for each in value] if isinstance(value, list) else value


@pytest.mark.slow
def test_a_sync_of_a_wrong_document_fails_and_says_where(folder: Path) -> None:
    awx(folder)
    (folder / "federation.yml").write_text(DOCUMENT.replace("redis: {host: ms1}", "redis: {host: sm1}"))
    seen = sync(folder)
    assert seen.returncode == 4
    assert "federation.yml:9:19: stacks.lenet.redis.host: no party has a host named 'sm1'" in seen.stderr
    assert seen.stdout == ""
