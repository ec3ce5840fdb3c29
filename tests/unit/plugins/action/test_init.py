# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import json
import shlex
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task

from ansible_collections.fedlearn.infra.plugins.action.init import ActionModule
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds import kinds
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.loading import load
from tests.unit.conftest import run

NO_CONNECTION = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
FILES = [".gitignore", "ansible.cfg", "federation.yml", "parties/lab/federation.yml"]


def init(directory, *, check=False, kind="mindspore", **options):
    task = Task.load({"action": "fedlearn.infra.init", "args": {}})
    task.args = {"kind": kind, "directory": str(directory), **options}
    task.check_mode = check
    action = ActionModule(
        task=task,
        connection=NO_CONNECTION,
        play_context=None,
        loader=DataLoader(),
        templar=None,
        shared_loader_obj=None,
    )
    return action.run(task_vars={})


def written(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", kinds())
def test_the_document_and_the_viewpoint_of_each_kind_load_without_a_mistake(tmp_path, kind):
    init(tmp_path, kind=kind, federation="clinics")
    assert written(tmp_path) == FILES
    for source in ("federation.yml", "parties/lab/federation.yml"):
        federation = load(str(tmp_path / source))
        assert federation.name == "clinics"
        assert [stack.kind for stack in federation.stacks.values()] == [kind]


def test_what_is_printed_is_what_the_kind_has(tmp_path, monkeypatch):
    assert init(tmp_path / "one")["next_steps"][-1].endswith(" fedlearn.infra.verify -e verify=round")
    expand = kinds()["mindspore"].expand

    def without_round(*arguments):
        return dataclasses.replace(expand(*arguments), verify={}, transient=())

    monkeypatch.setattr(kinds()["mindspore"], "expand", without_round)
    assert init(tmp_path / "two")["next_steps"][-1].endswith(" fedlearn.infra.verify")


def test_a_folder_s_name_with_a_space_is_quoted(tmp_path):
    (first, *_others) = init(tmp_path / "my clinics")["next_steps"]
    assert first.startswith(f"cd '{tmp_path}/my clinics', and change federation.yml")


def test_a_second_run_writes_nothing_and_a_file_that_is_there_stays_as_it_is(tmp_path):
    (tmp_path / "ansible.cfg").write_text("mine")
    first, second = init(tmp_path), init(tmp_path)
    assert (first["changed"], sorted(first["written"]), first["kept"]) == (
        True,
        [name for name in FILES if name != "ansible.cfg"],
        ["ansible.cfg"],
    )
    assert (second["changed"], second["written"], sorted(second["kept"])) == (False, [], FILES)
    assert (tmp_path / "ansible.cfg").read_text() == "mine"


def test_a_link_that_leads_nowhere_is_there_and_nothing_is_written_through_it(tmp_path):
    (tmp_path / "federation.yml").symlink_to(tmp_path / "elsewhere")
    assert init(tmp_path)["kept"] == ["federation.yml"]
    assert not (tmp_path / "elsewhere").exists()


def test_check_mode_tells_what_it_would_write_and_writes_nothing(tmp_path):
    result = init(tmp_path / "new", check=True)
    assert result["changed"]
    assert sorted(result["written"]) == FILES
    assert "plugin: fedlearn.infra.federation" in result["diff"][0]["after"]
    assert not (tmp_path / "new").exists()


def test_an_unknown_kind_is_refused_and_the_known_are_named(tmp_path):
    with pytest.raises(
        AnsibleActionFail, match=r"unknown kind 'mindspor' \(did you mean 'mindspore'\?\).*known are .*mindspore"
    ):
        init(tmp_path, kind="mindspor")
    assert written(tmp_path) == []


def test_a_federation_whose_name_is_none_is_refused(tmp_path):
    with pytest.raises(AnsibleActionFail, match="'My Lab' is no name"):
        init(tmp_path, federation="My Lab")


def test_a_directory_that_is_a_file_is_refused_by_its_name(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AnsibleActionFail, match=str(tmp_path / "file")):
        init(tmp_path / "file")


def typed(command, directory, home):
    return run(directory, *shlex.split(command), config=None, home=home)


@pytest.mark.slow
def test_the_playbook_writes_a_directory_in_which_ansible_works(tmp_path):
    home = tmp_path / "home"
    made = typed("ansible-playbook fedlearn.infra.init -e kind=mindspore -e federation=clinics", tmp_path, home)
    assert made.returncode == 0, made.stderr
    directory = tmp_path / "inventories" / "clinics"
    assert written(directory) == FILES

    shown = typed("ansible-config dump --only-changed --format json", directory, home).stdout
    origins = {setting["name"]: setting["origin"] for setting in json.loads(shown) if "name" in setting}
    assert origins["INVENTORY_ENABLED"] == str(directory / "ansible.cfg")

    for source in ("federation.yml", "parties/lab/federation.yml", "."):
        listed = typed(f"ansible-inventory -i {source} --list", directory, home)
        assert listed.returncode == 0, listed.stderr
        assert sorted(json.loads(listed.stdout)["_meta"]["hostvars"]) == ["host1", "host2", "host3"]

    document = directory / "federation.yml"
    document.write_text(document.read_text().replace("kind: mindspore", "kind: mindspor"))
    assert typed("ansible-inventory -i federation.yml --list", directory, home).returncode == 4
