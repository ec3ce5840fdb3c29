# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""awx.awx tells what is generated to a contract double of AWX's API, which proves order and idempotence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import yaml

from tests.doubles.awx import api
from tests.unit.conftest import BIN, CHECKOUT

COLLECTIONS = Path(os.environ.get("FEDLEARN_AWX_COLLECTIONS", CHECKOUT / "build" / "awx" / "collections"))
"""Where awx.awx lies: tests/tools/awx.sh brings it."""

DOCUMENT = """\
plugin: fedlearn.infra.federation
version: 1
federation: survey
parties:
  clinic-a: {hosts: {a1: 10.20.0.11, a2: 10.20.0.13}}
  clinic-b: {hosts: {b1: 10.20.0.12}}
clusters:
  kc-1: {party: clinic-a, kubeconfig: files/kc.kubeconfig}
stacks:
  both:
    kind: dpsa
    leader: {host: a1}
    helper: {host: b1}
    privacy: {max_epsilon: 1.0}
"""


def project(folder: Path) -> Path:
    """A project of two parties, with what is generated for AWX."""
    (folder / "federation.yml").write_text(DOCUMENT)
    for party in ("clinic-a", "clinic-b"):
        path = folder / "parties" / party / "federation.yml"
        path.parent.mkdir(parents=True)
        path.write_text(f"plugin: fedlearn.infra.federation\ndocument: ../../federation.yml\nparty: {party}\n")
    return generated(folder)


def generated(folder: Path) -> Path:
    given = {
        "awx_url": "git@git.example:survey.git",
        "awx_image": "registry.example/fedlearn:1",
        "awx_state": "git@git.example:survey-{party}.git",
        "awx_backups": "/var/lib/fedlearn-backups/{party}",
        "awx_webhook": "https://hooks.example/fedlearn",
        "awx_ca_passphrase": "true",
    }
    words = [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
    play(folder, "-i", "federation.yml", "fedlearn.infra.awx", *words, config=CHECKOUT / "ansible.cfg")
    return folder


def play(folder: Path, *arguments: str, config: Path | None = None, **variables: str) -> str:
    """A playbook that has to end well, and what it said."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "CONTROLLER_"))}
    settings = {
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_CONFIG": str(config or folder / "none.cfg"),  # that isn't there: no settings
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "NO_COLOR": "1",
    }
    command = [str(BIN / "ansible-playbook"), *arguments]
    ended = subprocess.run(
        command, cwd=folder, env=kept | settings | variables, capture_output=True, text=True, timeout=1100, check=False
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
    return ended.stdout


@contextmanager
def double(folder: Path) -> Iterator[tuple[api.Store, str]]:
    """A double whose project has the files of this one."""
    files = {str(path.relative_to(folder)): path.read_text() for path in (folder / "awx").glob("*")}
    store = api.Store(api.playbooks_of(files))
    with api.serving(store) as url:
        yield store, url


def apply(folder: Path, url: str) -> str:
    access = {"CONTROLLER_HOST": url, "CONTROLLER_OAUTH_TOKEN": api.TOKEN, "CONTROLLER_VERIFY_SSL": "false"}
    return play(
        folder,
        "-i",
        "localhost,",
        "-c",
        "local",
        "-e",
        f"ansible_python_interpreter={sys.executable}",
        "awx/apply.yml",
        **access,
    )


def ask(url: str, method: str, path: str, token: str = api.TOKEN, **body: Any) -> Any:
    """One request, as a plain client sends it."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    target, data = (f"{path}?{urlencode(body)}", None) if method == "GET" else (path, json.dumps(body).encode())
    with urlopen(Request(f"{url}/api/v2/{target}", data, headers, method=method)) as answer:
        content = answer.read()
        return json.loads(content) if content else None


def send(url: str, requests: list[dict[str, Any]]) -> None:
    """What requests.json says, by a client that knows nothing else."""
    ids: dict[tuple[str, str], int] = {}

    def number(named: dict[str, str]) -> int:
        key = (named["endpoint"], named["name"])
        if key not in ids:
            ids[key] = ask(url, "GET", f"{named['endpoint']}/", name=named["name"])["results"][0]["id"]
        return ids[key]

    nodes: dict[tuple[int, str], int] = {}
    for each in requests:
        fields = {**each["fields"], **{key: number(named) for key, named in each["references"].items()}}
        made = ask(url, "POST", f"{each['endpoint']}/", **fields)["id"]
        place = f"{each['endpoint']}/{made}"
        if each["endpoint"] == "workflow_job_template_nodes":
            nodes[fields["workflow_job_template"], fields["identifier"]] = made
        else:
            ids[each["endpoint"], fields["name"]] = made
        if "survey_spec" in each:
            ask(url, "POST", f"{place}/survey_spec/", **each["survey_spec"])
        if "approval" in each:
            ask(url, "POST", f"{place}/create_approval_template/", **each["approval"])
        for relation, others in each["associations"].items():
            for named in others:
                node = nodes.get((fields.get("workflow_job_template", 0), named["name"]))
                ask(url, "POST", f"{place}/{relation}/", id=node or number(named))


def held(store: api.Store) -> list[Any]:
    """What the double holds, whatever the numbers are."""
    names = {number: each.get("identifier") or each["name"] for number, each in store.objects.items()}
    found = []
    for number, each in store.objects.items():
        kind = next(kind for kind in api.KINDS.values() if kind.type == each["type"])
        fields = {
            name: names[each[name]] if name in kind.references and each[name] else each[name] for name in kind.fields
        }
        others = {
            relation: sorted(names[one] for one in members)
            for (owner, relation), members in store.associated.items()
            if owner == number and members
        }
        found.append([each["type"], fields, others, store.surveys.get(number)])
    return sorted(found, key=json.dumps)


@dataclass
class Told:
    """What the double held and was sent, run by run of apply.yml."""

    store: api.Store
    said: list[str]
    held: list[list[Any]]
    writes: list[list[str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def told(made: Path) -> Told:
    """The first run, somebody who enters a password, the second run, and a third for another document."""
    with double(made) as (store, url):
        found = Told(store, [], [], [])

        def once() -> None:
            store.writes.clear()
            found.said.append(apply(made, url))
            found.held.append(held(store))
            found.writes.append(list(store.writes))

        once()
        for each in store.of("credentials"):
            ask(url, "PATCH", f"credentials/{each['id']}/", inputs={"vault_password": "$encrypted$"})
        once()
        first = (made / "awx" / "requests.json").read_text()
        (made / "federation.yml").write_text(DOCUMENT.replace("  both:", "  joint:"))
        generated(made)
        once()
        (made / "awx" / "requests.json").write_text(first)
        return found


def test_a_second_run_of_awx_awx_sends_no_write(told: Told) -> None:
    assert len(told.writes[0]) > 100
    assert told.writes[1] == []
    assert "changed=0 " not in told.said[0]
    assert "changed=0 " in told.said[1]


def test_values_that_somebody_entered_stay(told: Told) -> None:
    entered = [each["inputs"] for each in told.store.of("credentials")]
    assert len(entered) == 11
    assert all(each == {"vault_password": "$encrypted$"} for each in entered)


def test_another_stack_changes_surveys_and_nothing_else(told: Told) -> None:
    asking = [number for number, survey in told.store.surveys.items() if "joint" in json.dumps(survey)]
    assert len(asking) > 10
    assert sorted(told.writes[2]) == sorted(f"POST job_templates/{number}/survey_spec" for number in asking)


def test_plain_json_ends_in_the_same_objects(made: Path, told: Told) -> None:
    with double(made) as (store, url):
        send(url, json.loads((made / "awx" / "requests.json").read_text()))
    assert held(store) == told.held[0]


def test_each_party_has_its_templates(told: Told) -> None:
    templates = [each["name"] for each in told.store.of("job_templates")]
    assert len(templates) == len(set(templates)) == 28
    assert {"survey clinic-a site", "survey clinic-b site", "survey clinic-b audit"} <= set(templates)


def test_nothing_of_one_organisation_leads_to_the_other(told: Told) -> None:
    store = told.store
    owners = {each["id"]: each["organization"] for each in store.objects.values() if each.get("organization")}
    assert len(set(owners.values())) == 2
    for (number, _relation), members in store.associated.items():
        if number in owners:
            assert {owners.get(one, owners[number]) for one in members} <= {owners[number]}
    for number, owner in owners.items():
        each = store.objects[number]
        kind = next(kind for kind in api.KINDS.values() if kind.type == each["type"])
        named = {each[name] for name in kind.references if each[name]} - {owner}
        assert {owners.get(one, owner) for one in named} <= {owner}


def test_a_survey_lets_its_defaults_through_and_nothing_that_is_out_of_range(made: Path) -> None:
    """By plain JSON, then by the rules of AWX that the double has."""
    with double(made) as (store, url):
        send(url, json.loads((made / "awx" / "requests.json").read_text()))
        looked_at = 0
        for number, survey in store.surveys.items():
            required = {each["variable"]: answer(each) for each in survey["spec"] if each["required"]}
            assert ask(url, "POST", f"job_templates/{number}/launch/", extra_vars=required)
            for each in survey["spec"]:
                for wrong in out_of_range(each):
                    looked_at += 1
                    with pytest.raises(HTTPError) as refused:
                        ask(
                            url,
                            "POST",
                            f"job_templates/{number}/launch/",
                            extra_vars=required | {each["variable"]: wrong},
                        )
                    assert f"'{each['variable']}'" in json.loads(refused.value.read())["variables_needed_to_start"][0]
        assert looked_at > 50


def answer(asked: dict[str, Any]) -> Any:
    return asked.get("default") or (asked["choices"] or ["a" * (asked["min"] or 1)])[0]


def out_of_range(asked: dict[str, Any]) -> list[Any]:
    """What is just beyond what a question takes."""
    if asked["type"] == "integer":
        return [asked["min"] - 1, asked["max"] + 1, "many"]
    return ["none of them"] if asked["choices"] else ["a" * (asked["max"] + 1), 5]


# --- the double refuses what AWX does, or the tests above would prove nothing ---------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        ("organizations/", {"name": "a", "colour": "red"}, "there is no such field"),
        ("projects/", {"name": "p", "organization": 99}, "object does not exist"),
        ("inventories/", {"name": "i"}, "This field is required"),
        ("credential_types/", {"name": "Machine", "kind": "cloud"}, "already exists"),
        ("job_templates/", {"name": "t", "playbook": "awx/none.yml"}, "Playbook not found for project"),
        ("job_templates/", {"name": "t", "playbook": "awx/objects.yml"}, "Playbook not found for project"),
    ],
)
def test_the_double_refuses(made: Path, path: str, body: dict[str, Any], why: str) -> None:
    with double(made) as (store, url), pytest.raises(HTTPError) as refused:
        ask(url, "POST", path, **body)
    assert refused.value.code == 400
    assert why in refused.value.read().decode()
    assert not [each for each in store.objects.values() if each["name"] == body["name"] and not each["managed"]]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({}, "'type' in survey question 0"),
        ({"type": "choice"}, "is not one of the types"),
        ({"type": "multiplechoice"}, "must specify choices"),
        ({"type": "multiplechoice", "choices": ["a"], "default": "b"}, "Default choice"),
        ({"type": "integer", "min": "1"}, "expected to be integer"),
    ],
)
def test_the_double_refuses_surveys(made: Path, asked: dict[str, Any], why: str) -> None:
    question = {"question_name": "q", "variable": "q", "required": False, **asked}
    with double(made) as (store, _url), pytest.raises(api.RefusedError, match=why):
        store.survey(1, {"name": "", "description": "", "spec": [question]})


def test_the_double_lets_nobody_in_without_a_token_and_pages(made: Path) -> None:
    with double(made) as (_store, url):
        with pytest.raises(HTTPError) as refused:
            ask(url, "GET", "organizations/", token="another")
        assert refused.value.code == 401
        with pytest.raises(HTTPError) as missing:
            ask(url, "GET", "organizations/7/")
        assert missing.value.code == 404
        for name in "abcd":
            ask(url, "POST", "organizations/", name=name)
        first = ask(url, "GET", "organizations/")
        assert (first["count"], len(first["results"]), first["next"]) == (4, 3, "/api/v2/organizations/?page=2")
        second = ask(url, "GET", "organizations/", page="2")
        assert ([each["name"] for each in second["results"]], second["next"]) == (["d"], None)


def test_awx_awx_is_the_one_that_is_named() -> None:
    about = json.loads((COLLECTIONS / "ansible_collections" / "awx" / "awx" / "MANIFEST.json").read_text())
    assert about["collection_info"]["version"] == "24.6.1"


def test_every_generated_file_is_what_its_reader_takes(made: Path) -> None:
    for path in (made / "awx").glob("*.yml"):
        if path.name != "objects.yml":
            (entry,) = yaml.safe_load(path.read_text())
            assert "import_playbook" in entry or "hosts" in entry
