# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What AWX is to hold: derived of documents, the same for the same, and nobody's secrets in anybody else's jobs."""

from __future__ import annotations

import json
import re
from typing import Any

import jinja2
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.fedlearn.infra.plugins.plugin_utils._awx import forms
from ansible_collections.fedlearn.infra.plugins.plugin_utils._awx.objects import (
    Object,
    Settings,
    Side,
    kubeconfig_variable,
    objects,
    verbs_of,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._awx.surveys import question, survey
from ansible_collections.fedlearn.infra.plugins.plugin_utils._awx.verbs import (
    STACK,
    VERBS,
    Option,
    verb,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import loading
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Cluster
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.schema import (
    Boolean,
    Choice,
    Integer,
    Text,
)
from tests.unit.conftest import CHECKOUT

SETTINGS = Settings("https://git.example/a.git", "registry.example/fedlearn:1", "/state", "awx", "0.1.0")
DEMO = "inventories/demo/federation.yml"
REPOSITORY = "git@git.example:{federation}-{party}.git"
SIDES = ["inventories/dpsa-leader/federation.yml", "inventories/dpsa-helper/federation.yml"]
DOCUMENTS = sorted(str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "inventories").glob("*/federation.yml"))


def side(path: str) -> Side:
    federation = loading.load(str(CHECKOUT / path))
    party = federation.viewpoint or next(name for name, party in federation.parties.items() if not party.external)
    return Side(party, federation, path)


def of(path: str, **settings: Any) -> list[Object]:
    chosen = Settings(**{name: getattr(SETTINGS, name) for name in Settings.__slots__} | settings)
    return objects([side(path)], chosen)


def templates(made: list[Object]) -> dict[str, Object]:
    return {each.name.rpartition(" ")[2]: each for each in made if each.endpoint == "job_templates"}


def opened(template: Object) -> list[str]:
    return [one.name for one in template.associations["credentials"]]


OPTIONS = st.builds(
    Option,
    name=st.from_regex(r"[a-z_]{1,20}", fullmatch=True),
    type=st.one_of(
        st.builds(Text, min_length=st.integers(0, 5), max_length=st.integers(5, 4096)),
        st.builds(Integer, minimum=st.integers(-5, 5), maximum=st.integers(6, 500)),
        st.lists(st.from_regex(r"[a-z]{1,9}", fullmatch=True), min_size=1, unique=True).map(tuple).map(Choice),
        st.just(Boolean()),
        st.just(STACK),
    ),
    help=st.text(max_size=40),
    required=st.booleans(),
    secret=st.booleans(),
)
STACKS = st.lists(st.from_regex(r"[a-z]{1,9}", fullmatch=True), min_size=1, unique=True)


@given(OPTIONS, STACKS)
def test_every_option_is_a_question_that_the_api_takes(option: Option, stacks: list[str]) -> None:
    asked = question(option, stacks, "/state")
    assert asked["type"] in ("text", "integer", "multiplechoice", "password")
    assert asked["variable"] == option.name
    assert isinstance(asked["required"], bool)
    assert asked["required"] == option.required
    if asked["type"] == "multiplechoice":
        assert asked["choices"]
        assert all(isinstance(choice, str) for choice in asked["choices"])
    else:
        assert asked["min"] <= asked["max"]
        assert asked["choices"] == []
    assert "default" not in asked  # an empty one would be sent as the answer


@given(OPTIONS, STACKS, st.data())
def test_what_the_survey_lets_through_is_what_the_option_takes(
    option: Option, stacks: list[str], data: st.DataObject
) -> None:
    asked = question(option, stacks, "/state")
    match option.type:
        case Integer(minimum=least, maximum=most):
            assert (asked["min"], asked["max"]) == (least, most)
        case Text(min_length=least, max_length=most):
            assert asked["max"] == most
            assert asked["min"] == (least if option.required else 0)
            assert (asked["type"] == "password") == option.secret
        case Choice(words=words):
            assert data.draw(st.sampled_from(words)) in asked["choices"]
        case Boolean():
            assert asked["choices"] == ["false", "true"]
        case _:
            assert asked["choices"] == stacks


@pytest.mark.parametrize("one", VERBS, ids=lambda one: one.name)
def test_a_changed_option_changes_the_survey(one: Any) -> None:
    """Each question is of its option: no survey is written down a second time."""
    asked = survey(one, ["lenet"], "/state").get("spec", [])
    assert [each["variable"] for each in asked] == [option.name for option in one.options if not option.here]


def test_a_default_is_one_of_the_choices_and_a_folder_lies_in_the_state() -> None:
    site = {each["variable"]: each for each in survey(verb("site"), ["lenet"], "/state")["spec"]}
    assert site["fedlearn_prune"]["default"] == "false"
    assert "default" not in site["stack"]
    (restored, *_others) = survey(verb("restore"), ["lenet"], "/state/.backups")["spec"]
    assert (restored["default"], restored["required"]) == ("/state/.backups", True)
    for one in VERBS:
        for each in survey(one, ["lenet"], "/state").get("spec", []):
            if each["choices"] and "default" in each:
                assert each["default"] in each["choices"]


def test_without_stacks_none_is_asked_for() -> None:
    assert [each["variable"] for each in survey(verb("verify"), [], "/state")["spec"]] == ["verify"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_example_gives_what_names_only_what_was_made_before(document: str) -> None:
    made = of(document, webhook="https://hooks.example/x", ca_passphrase=True)
    known = {("credential_types", name) for name in ("Machine", "Vault", "Source Control")}
    for each in made:
        named = [*each.references.values(), *(one for others in each.associations.values() for one in others)]
        assert [one for one in named if (one.endpoint, one.name) not in known] == []
        known.add((each.endpoint, each.name))
    names = [(each.endpoint, each.name) for each in made]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_same_document_gives_the_same_files(document: str) -> None:
    assert forms.configuration(of(document)) == forms.configuration(of(document))
    assert forms.requests(of(document)) == forms.requests(of(document))


def test_a_verb_has_a_template_where_it_makes_sense() -> None:
    everywhere = [
        "secrets",
        "precheck",
        "site",
        "verify",
        "status",
        "flows",
        "backup",
        "restore",
        "rotate",
        "stop",
        "remove",
    ]
    assert list(templates(of(DEMO))) == everywhere
    assert set(templates(of(SIDES[0]))) - set(everywhere) == {"accept", "audit", "exchange"}
    assert [one.name for one in verbs_of(side(DEMO).federation)] == everywhere


def test_two_that_write_never_run_at_once() -> None:
    found = templates(of(DEMO))
    assert sorted(name for name, one in found.items() if one.fields["allow_simultaneous"]) == [
        "flows",
        "precheck",
        "status",
    ]


def test_a_job_gets_the_credentials_that_its_verb_needs_and_no_other() -> None:
    found = templates(of(DEMO, ca_passphrase=True))
    assert opened(found["flows"]) == []
    assert opened(found["stop"]) == ["demo lab ssh"]
    assert opened(found["secrets"]) == ["demo lab vault", "demo lab CA passphrase"]
    assert opened(found["site"]) == ["demo lab ssh", "demo lab vault", "demo lab CA passphrase"]
    assert opened(templates(of(DEMO))["site"]) == ["demo lab ssh", "demo lab vault"]


def test_a_template_tells_its_job_what_each_credential_gives() -> None:
    made = of("inventories/neursafe/federation.yml", ca_passphrase=True)
    types = {each.name: each.fields for each in made if each.endpoint == "credential_types"}
    credentials = {
        each.name: each.references["credential_type"].name for each in made if each.endpoint == "credentials"
    }
    for one in templates(made).values():
        told = one.fields["extra_vars"].get("fedlearn_credentials", {})
        assert list(told) == opened(one)
        for name, gives in told.items():
            of_type = credentials[name]
            assert gives in types[of_type]["injectors"]["extra_vars"] if of_type in types else gives == of_type


def test_two_parties_are_two_organisations_and_name_nothing_of_each_other() -> None:
    made = objects([side(path) for path in SIDES], SETTINGS)
    owners = {each.name: each.references["organization"].name for each in made if "organization" in each.references}
    assert set(owners.values()) == {"clinic-a", "clinic-b"}
    for each in made:
        owner = owners.get(each.name)
        named = [*each.references.values(), *(one for others in each.associations.values() for one in others)]
        assert owner is None or {owners.get(one.name, owner) for one in named} == {owner}
    states = {each.fields["extra_vars"]["fedlearn_state"] for each in made if each.endpoint == "job_templates"}
    assert states == {"/state/dpsa/clinic-a", "/state/dpsa/clinic-b"}


def test_what_is_secret_lies_in_a_file_and_only_its_path_is_a_variable() -> None:
    made = of("inventories/neursafe/federation.yml", ca_passphrase=True, state=REPOSITORY)
    types = {each.name: each.fields for each in made if each.endpoint == "credential_types"}
    assert len(types) >= 3
    for fields in types.values():
        assert set(fields["injectors"]) == {"file", "extra_vars"}
        asked = fields["inputs"]["fields"]
        contents, paths = (list(fields["injectors"][kind].values()) for kind in ("file", "extra_vars"))
        assert [each.strip() for each in contents] == [f"{{{{ {each['id']} }}}}" for each in asked]
        assert paths == [f"{{{{ tower.filename.{each['id']} }}}}" for each in asked]
        assert [each["id"] for each in asked if not each["secret"]] in ([], ["known_hosts"])
    assert types["fedlearn CA passphrase"]["injectors"]["extra_vars"].keys() == {"fedlearn_ca_passphrase_file"}


def test_no_credential_has_a_value() -> None:
    """One that was entered in AWX would be overwritten."""
    made = of(DEMO, url="git@git.example:a.git")
    found = {each.name: each for each in made if each.endpoint == "credentials"}
    assert set(found) == {"demo lab ssh", "demo lab vault", "demo lab project"}
    assert not any("inputs" in each.fields for each in found.values())
    assert [each.references["credential_type"].name for each in found.values()] == [
        "Machine",
        "Vault",
        "Source Control",
    ]
    (project,) = [each for each in made if each.endpoint == "projects"]
    assert project.references["credential"].name == "demo lab project"


def test_a_cluster_s_kubeconfig_is_told_by_the_variable_that_its_roles_read() -> None:
    cluster = Cluster("kc-1", "lab", "files/kc.kubeconfig")
    assert kubeconfig_variable(cluster) == "fedlearn_kubeconfig_cluster_kc_1"
    made = of("inventories/neursafe/federation.yml")
    with_it = [name for name, one in templates(made).items() if any("kubeconfig" in each for each in opened(one))]
    assert with_it == ["precheck", "site", "verify", "status", "rotate", "remove"]


def test_the_workflow_leads_from_precheck_by_an_approval_to_status() -> None:
    made = of(DEMO, webhook="https://hooks.example/x")
    nodes = {each.name: each for each in made if each.endpoint == "workflow_job_template_nodes"}
    ways = {
        (name, way, one.name)
        for name, each in nodes.items()
        for way, others in each.associations.items()
        for one in others
    }
    assert ways == {
        ("precheck", "success_nodes", "approval"),
        ("precheck", "failure_nodes", "status after a failure"),
        ("approval", "success_nodes", "site"),
        ("site", "success_nodes", "verify"),
        ("site", "failure_nodes", "status after a failure"),
        ("verify", "success_nodes", "status"),
        ("verify", "failure_nodes", "status after a failure"),
    }
    # AWX takes a failure for mended where what comes after it ends well: this one doesn't
    assert [name for name, each in nodes.items() if each.fields] == ["status after a failure"]
    assert nodes["status after a failure"].fields == {"extra_data": {"after_failure": "true"}}
    assert [name for name, each in nodes.items() if each.approval] == ["approval"]
    (workflow,) = [each for each in made if each.endpoint == "workflow_job_templates"]
    assert set(workflow.associations) == {"notification_templates_error", "notification_templates_approvals"}


def test_a_document_with_a_mistake_ends_the_sync() -> None:
    """Other inventory plugins aren't asked, and a source that nobody could read is an error."""
    (source,) = [each for each in of(DEMO) if each.endpoint == "inventory_sources"]
    assert source.fields["source_path"] == DEMO
    assert source.fields["source_vars"] == {
        "ANSIBLE_INVENTORY_ENABLED": "fedlearn.infra.federation",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "FEDLEARN_STATE_DIRECTORY": "/state/demo/lab",
    }


def test_a_repository_has_a_credential_in_the_jobs_of_verbs_that_open_it() -> None:
    found = templates(of(DEMO, state=REPOSITORY))
    key = "demo lab state repository"
    assert [name for name, one in found.items() if key not in opened(one)] == ["flows"]
    assert opened(found["secrets"]) == [key, "demo lab vault"]
    for one in found.values():
        given = dict(one.fields["extra_vars"])
        assert given.pop("fedlearn_state") == "git@git.example:demo-lab.git"
        told = given.pop("fedlearn_credentials", {})
        assert list(told) == opened(one)
        assert told.get(key, "") == ("fedlearn_state_key_file" if key in opened(one) else "")
        assert given == {"fedlearn_build": "/tmp/fedlearn", "fedlearn_generated_by": "0.1.0"}
    (source,) = [each for each in of(DEMO, state=REPOSITORY) if each.endpoint == "inventory_sources"]
    assert source.fields["source_vars"]["FEDLEARN_STATE_REPOSITORY"] == "git@git.example:demo-lab.git"
    assert "FEDLEARN_STATE_DIRECTORY" not in source.fields["source_vars"]
    assert not any("state repository" in one for one in opened(templates(of(DEMO))["site"]))


def test_a_deploy_key_s_file_ends_with_its_last_line_though_somebody_entered_it_without() -> None:
    (kind,) = [each for each in of(DEMO, state=REPOSITORY) if each.endpoint == "credential_types"]
    template = jinja2.Template(kind.fields["injectors"]["file"]["template.key"])
    assert template.render(key="-----END OPENSSH PRIVATE KEY-----") == "-----END OPENSSH PRIVATE KEY-----\n"


def test_with_a_repository_backups_need_a_folder() -> None:
    """Without one there is no template that couldn't keep what it brings."""
    without, with_ = (templates(of(DEMO, state=REPOSITORY, backups=folder)) for folder in ("", "/backups"))
    assert set(with_) - set(without) == {"backup", "restore"}
    assert with_["backup"].fields["extra_vars"]["fedlearn_backup_directory"] == "/backups/demo/lab"
    asked = with_["restore"].survey["spec"][0]
    assert (asked["variable"], asked["default"]) == ("from", "/backups/demo/lab")


# --- as files ---------------------------------------------------------------------------------------------------------


class Unsafe(yaml.SafeLoader):
    """Reads what Ansible is told to leave alone."""


Unsafe.add_constructor("!unsafe", lambda loader, node: f"unsafe {node.value}")


def test_variables_are_those_of_the_configuration_collection_and_braces_are_left_alone() -> None:
    text = forms.configuration(of("inventories/neursafe/federation.yml", webhook="https://hooks.example/x"))
    held = yaml.load(text, Unsafe)
    assert list(held) == [
        "aap_organizations",
        "controller_credential_types",
        "controller_credentials",
        "controller_execution_environments",
        "controller_notifications",
        "controller_projects",
        "controller_inventories",
        "controller_inventory_sources",
        "controller_templates",
        "controller_workflows",
    ]
    (kind,) = {json.dumps(each["injectors"]["file"]) for each in held["controller_credential_types"]}
    assert kind == '{"template.kubeconfig": "unsafe {{ kubeconfig }}"}'
    assert "{{" not in "".join(line for line in text.splitlines() if "!unsafe" not in line)
    assert "&id" not in text


def test_types_of_credentials_are_there_once_though_two_parties_have_them() -> None:
    made = objects([side(path) for path in SIDES], Settings(**{**_slots(), "ca_passphrase": True}))
    held = yaml.load(forms.configuration(made), Unsafe)
    assert [each["name"] for each in held["controller_credential_types"]] == ["fedlearn CA passphrase"]
    told = json.loads(forms.requests(made))
    assert len([each for each in told if each["endpoint"] == "credential_types"]) == 1


def _slots() -> dict[str, Any]:
    return {name: getattr(SETTINGS, name) for name in Settings.__slots__}


def test_the_api_is_told_each_object_in_its_turn() -> None:
    told = json.loads(forms.requests(of(DEMO)))
    assert [each["endpoint"] for each in told[:2]] == ["organizations", "credentials"]
    (site,) = [each for each in told if each["fields"].get("name") == "demo lab site"]
    assert json.loads(site["fields"]["extra_vars"]) == {
        "fedlearn_state": "/state/demo/lab",
        "fedlearn_build": "/state/demo/lab/build",
        "fedlearn_generated_by": "0.1.0",
        "fedlearn_credentials": {"demo lab ssh": "Machine", "demo lab vault": "Vault"},
    }
    assert site["references"]["project"] == {"endpoint": "projects", "name": "demo lab project"}
    assert site["survey_spec"]["spec"][0]["choices"] == ["lenet"]


def test_a_template_s_playbook_is_one_that_awx_finds() -> None:
    """It looks for a line that begins so, and knows no name with a namespace."""
    loaded = yaml.safe_load(forms.playbook(verb("site")))
    assert loaded == [{"name": "Site", "import_playbook": "fedlearn.infra.site"}]
    assert "\n  import_playbook: " in forms.playbook(verb("site"))


def test_what_the_page_shows_is_generated() -> None:
    """Each block is a part of what the demo's document gives, with the options of the page."""
    page = (CHECKOUT / "docs" / "awx.md").read_text()
    given = dict(reversed(re.findall(r"-e awx_(url|image|state)=([^\s`]+)", page)))  # the first of each
    demo = Side("lab", side(DEMO).federation, "federation.yml")
    settings = {**_slots(), **given}
    texts = [forms.playbook(verb("site"))]
    texts += [
        forms.configuration(objects([demo], Settings(**{**settings, "ca_passphrase": kept}))) for kept in (False, True)
    ]
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    assert [block for block in blocks if not any(block in text for text in texts)] == []


def test_the_page_has_a_command_for_each_template() -> None:
    page = (CHECKOUT / "docs" / "awx.md").read_text()
    told = set(re.findall(r"^\| (\w+) \| `ansible-playbook -i federation.yml fedlearn.infra.(\w+)", page, re.MULTILINE))
    assert told == {(one.name, one.name) for one in VERBS if one.where != "never"}
