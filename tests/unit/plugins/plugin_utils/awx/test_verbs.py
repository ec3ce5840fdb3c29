# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a verb takes is said once, and is what its playbook and the roles read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import pytest
import yaml

from ansible_collections.fedlearn.infra.plugins.action.exchange import MAX_DAYS
from ansible_collections.fedlearn.infra.plugins.plugin_utils._awx.surveys import survey
from ansible_collections.fedlearn.infra.plugins.plugin_utils._awx.verbs import (
    EVERYWHERE,
    VERBS,
    Verb,
    misspelt,
    out_of_range,
    verb,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import loading, variables
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.schema import Integer
from tests.unit.conftest import CHECKOUT
from tests.unit.playbooks.test_playbooks import INNER

PLAYBOOKS = CHECKOUT / "playbooks"
ROLES = sorted(path.name for path in (CHECKOUT / "roles").iterdir() if path.is_dir())
DOCUMENTS = sorted((CHECKOUT / "inventories").glob("*/federation.yml"))

BY_ANSIBLE = {
    "ansible_check_mode",
    "ansible_facts",
    "ansible_failed_result",
    "ansible_host",
    "ansible_managed",
    "ansible_play_hosts",
    "ansible_play_hosts_all",
    "ansible_python_interpreter",
    "group_names",
    "groups",
    "hostvars",
    "inventory_dir",
    "inventory_hostname",
    "item",
    "lookup",
    "now",
    "omit",
    "playbook_dir",
    "q",
    "query",
    "role_path",
}
CONDITIONS = {"when", "that", "until", "changed_when", "failed_when"}
"""Whose texts are expressions without braces."""
NAMES_IT = {"register", "loop_var", "index_var"}
BY_LOOKUPS = {"fedlearn_set_aside"}
"""What a lookup gives set_fact."""
FOR_SOME = {
    "federation.yml": {"stack", "fedlearn_disrupt"},  # refuses one that isn't there, whoever asks
    "choose.yml": {"fedlearn_remove_data"},  # hands it to roles, for those who remove
}
SOMEWHERE_ELSE = {"round.yml", "federation.yml"}
"""What verify imports by an expression."""


class Known(dict[str, Any]):
    """Filters, or tests, of any name: Ansible's aren't Jinja's."""

    def get(self, key: str, default: Any = None) -> Any:
        return str

    def __contains__(self, key: object) -> bool:
        return True


JINJA = jinja2.Environment()
JINJA.filters, JINJA.tests = Known(), Known()


def walk(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with the key it is under, and every mapping under its own."""
    if isinstance(value, dict):
        yield key, value
        for name, child in value.items():
            yield from walk(child, str(name))
    elif isinstance(value, list):
        for child in value:
            yield from walk(child, key)
    else:
        yield key, value


def read_by(content: Any) -> set[str]:
    """The variables that expressions of a file read."""
    found: set[str] = set()
    for key, value in walk(content):
        if isinstance(value, str) and ("{{" in value or "{%" in value or key in CONDITIONS):
            text = value if "{{" in value or "{%" in value else "{{ " + value + " }}"
            found |= jinja2.meta.find_undeclared_variables(JINJA.parse(text))
    return found


def set_by(content: Any) -> set[str]:
    """The variables that a file sets by itself."""
    found: set[str] = set()
    for key, value in walk(content):
        if key in NAMES_IT and isinstance(value, str):
            found.add(value)
        if key in ("vars", "ansible.builtin.set_fact") and isinstance(value, dict):
            found |= set(value)
    return found


def files_of(name: str) -> set[Path]:
    """A playbook, and all that it is made of."""
    found: set[Path] = set()
    open_ = [PLAYBOOKS / name]
    while open_:
        path = open_.pop()
        if path in found:
            continue
        found.add(path)
        for key, value in walk(yaml.safe_load(path.read_text())):
            if key == "ansible.builtin.import_playbook":
                open_ += [PLAYBOOKS / each for each in (SOMEWHERE_ELSE if "{{" in value else {value})]
            if isinstance(value, str) and re.fullmatch(r"tasks/\w+\.yml", value):
                open_.append(PLAYBOOKS / value)
    return found


@cache
def by_inventory() -> frozenset[str]:
    """The variables that hosts have of the example documents."""
    found: set[str] = set()
    for document in DOCUMENTS:
        made = variables.inventory(loading.load(str(document)))
        found |= {name for each in made.hosts.values() for name in each}
        found |= {name for group in made.groups.values() for name in group.variables}
    return frozenset(found)


def of_a_role(name: str) -> bool:
    return any(name.startswith(f"{role}_") for role in ROLES)


def asked_for(paths: set[Path]) -> set[str]:
    """What these files read, and nobody but the caller gives them."""
    read: set[str] = set()
    for path in paths:
        content = yaml.safe_load(path.read_text())
        read |= read_by(content) - set_by(content) - FOR_SOME.get(path.name, set())
    given = BY_ANSIBLE | BY_LOOKUPS | by_inventory() | by_playbooks()
    return {name for name in read - given if not of_a_role(name)}


@cache
def by_playbooks() -> frozenset[str]:
    """What playbooks set for each other, and for roles."""
    return frozenset(set().union(*(set_by(yaml.safe_load(path.read_text())) for path in PLAYBOOKS.rglob("*.yml"))))


@cache
def asked_for_by_roles() -> frozenset[str]:
    """What roles read of the caller, beside what playbooks set for them."""
    paths = {path for part in ("defaults", "tasks", "vars") for path in CHECKOUT.glob(f"roles/*/{part}/*.yml")}
    return frozenset(asked_for(paths) - set().union(*(_defaults(path) for path in paths)))


def _defaults(path: Path) -> set[str]:
    content = yaml.safe_load(path.read_text())
    return set(content) if isinstance(content, dict) else set()


def options(one: Verb) -> set[str]:
    return {option.name for option in (*one.options, *EVERYWHERE)}


def test_what_only_the_caller_gives_is_found() -> None:
    """Of a playbook with an option of each kind."""
    assert read_by({"when": "a is b", "hosts": "{{ c | default(d) }}", "name": "e"}) == {"a", "c", "d"}
    assert set_by([{"vars": {"f": 1}, "register": "g", "ansible.builtin.set_fact": {"h": 1}}]) == {"f", "g", "h"}
    assert files_of("verify.yml") >= {PLAYBOOKS / "round_stage.yml", PLAYBOOKS / "tasks/check.yml"}
    assert {"stack", "from", "moment"} <= asked_for(files_of("restore.yml"))


def test_every_playbook_is_a_verb() -> None:
    """But for those that others are made of."""
    assert {f"{each.name}.yml" for each in VERBS} == {path.name for path in PLAYBOOKS.glob("*.yml")} - INNER


@pytest.mark.parametrize("one", VERBS, ids=lambda one: one.name)
def test_a_verb_takes_what_its_playbook_reads(one: Verb) -> None:
    read = asked_for(files_of(f"{one.name}.yml"))
    assert read - options(one) == set()
    assert options(one) - options_of_everywhere() - read - asked_for_by_roles() == set()


def options_of_everywhere() -> set[str]:
    return {option.name for option in EVERYWHERE}


def test_what_roles_read_is_an_option_of_a_verb() -> None:
    assert asked_for_by_roles() - set().union(*map(options, VERBS)) == set()


@pytest.mark.parametrize("one", VERBS, ids=lambda one: one.name)
def test_an_empty_answer_is_as_none(one: Verb) -> None:
    """AWX may send one: so no playbook asks whether an option is there, or takes an empty one for its default."""
    text = "".join(path.read_text() for path in files_of(f"{one.name}.yml"))
    asked = [option for option in one.options if not option.here]
    assert [option.name for option in asked if re.search(rf"(?<![\w.]){option.name} is (not )?defined", text)] == []
    for option in asked:
        for default in re.findall(rf"(?<![\w.]){option.name} \| default\((.+?)\)", text):
            assert default in ("''", "false") or default.endswith(", true"), option.name


@pytest.mark.parametrize("one", VERBS, ids=lambda one: one.name)
def test_what_a_verb_keeps_is_opened_before_anything_else(one: Verb) -> None:
    plays = yaml.safe_load((PLAYBOOKS / f"{one.name}.yml").read_text())
    imported = [(play.get("ansible.builtin.import_playbook"), play.get("vars", {})) for play in plays]
    found = [given for name, given in imported if name == "state.yml"]
    assert found == ([{"fedlearn_keeps": True} if one.keeps else {}] if one.state else [])
    if one.state:
        assert imported[1][0] == "state.yml"
    elif one.name != "awx":  # which only writes down where it is
        text = "".join(path.read_text() for path in files_of(f"{one.name}.yml"))
        assert "state_directory" not in text
    assert not one.keeps or one.state


def test_a_verb_is_found_by_its_name() -> None:
    assert verb("site").clusters
    with pytest.raises(KeyError):
        verb("sight")


@pytest.mark.parametrize("one", VERBS, ids=lambda one: one.name)
def test_operations_name_it(one: Verb) -> None:
    assert f"| `fedlearn.infra.{one.name}" in (CHECKOUT / "docs" / "operations.md").read_text()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("stak", "stack"),
        ("Stack", "stack"),
        ("stacks", "stack"),
        ("fedlearn_stack", "stack"),
        ("verfy", "verify"),
        ("fedlearn_prun", "fedlearn_prune"),
        ("fedlearn_remove_date", "fedlearn_remove_data"),
        ("awx_webhok", "awx_webhook"),
    ],
)
def test_a_misspelt_option_is_told_with_what_was_meant(name: str, meant: str) -> None:
    assert misspelt([name, "stack"]) == [
        f"-e {name}= is no option: write {meant}=, or give a variable of yours another name"
    ]


def test_no_option_and_nothing_of_the_user_s_own_is_taken_for_misspelt() -> None:
    options = [option.name for each in VERBS for option in each.options]
    others = ["region", "ansible_host", "awx_job_id", "tower_user_name", "nginx_sites", "redis_port", "memory"]
    others.append("fedlearn_verify")  # by which a round is tried with other instances than the document's
    by_awx = "job_id job_launch_type job_template_name project_revision project_scm_branch user_id inventory_id"
    webhook = "webhook_event_type webhook_event_guid webhook_event_ref webhook_status_api webhook_payload webhook_guid"
    others += [f"awx_{name}" for name in (*by_awx.split(), *webhook.split())]
    assert misspelt([*options, *others]) == []


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("days", "0", "expected a whole number from 1 to 400, found the number 0"),
        ("days", "401", "expected a whole number from 1 to 400, found the number 401"),
        ("days", "many", "expected a whole number from 1 to 400, found the text 'many'"),
        ("verify", "ruond", "expected one of probe, round, found the text 'ruond' (did you mean 'round'?)"),
        ("what", "keys", "expected one of certificates, passwords, ca, datastore_keys, found the text 'keys'"),
        ("fedlearn_prune", "perhaps", "expected true or false, found the text 'perhaps'"),
        ("digest", "a" * 65, "is longer than 64 characters"),
        ("moment", ["now"], "expected text, found a list"),
    ],
)
def test_a_value_that_no_survey_lets_through_is_told(name: str, value: Any, why: str) -> None:
    assert out_of_range({name: value, "stack": "lenet", "memory": -1}) == [f"-e {name}=: {why}"]


@pytest.mark.parametrize("one", VERBS, ids=lambda one: one.name)
def test_what_a_survey_lets_through_is_none_of_them(one: Verb) -> None:
    """Each answer at its bounds, as AWX sends it, and each as the command line says it."""
    for asked in survey(one, ["lenet"], "/state").get("spec", []):
        bounds = [asked["min"], asked["max"]]
        found = {"text": ["a" * size for size in bounds if asked["type"] == "text"], "integer": bounds}
        answers = [*asked["choices"], *found.get(asked["type"], []), asked.get("default")]
        for answer in answers:
            assert out_of_range({asked["variable"]: answer}) == []
            assert out_of_range({asked["variable"]: "" if answer is None else str(answer)}) == []


def test_a_moment_is_a_text_whatever_yaml_makes_of_it() -> None:
    assert out_of_range(yaml.safe_load("moment: 2026-11-28 08:30:00+00")) == []
    assert out_of_range(yaml.safe_load("moment: 2026-11-28")) == []


ASKED = sorted({option.name for each in VERBS for option in each.options if not option.here})


@pytest.mark.parametrize("name", ASKED)
def test_an_empty_answer_is_none(name: str) -> None:
    """Ansible makes nothing of an empty text that a survey sent, and `default` alone lets that through."""
    files = [
        *PLAYBOOKS.rglob("*.yml"),
        *CHECKOUT.glob("roles/*/tasks/*.yml"),
        *CHECKOUT.glob("roles/*/defaults/main.yml"),
    ]
    lax = re.compile(rf"\b{name} \| default\((?:''|false|\d+)\)")
    assert [str(path) for path in files if lax.search(path.read_text())] == []


def test_what_ansible_takes_for_a_boolean_and_what_is_yet_to_be_resolved_is_in_range() -> None:
    assert out_of_range({"fedlearn_prune": "yes", "withdraw": False, "informed": 0, "moment": 2026}) == []
    assert out_of_range({"days": "{{ some }}"}) == []


def test_who_takes_signatures_over_takes_as_many_days_as_are_asked_for() -> None:
    (days,) = [option.type for option in verb("exchange").options if option.name == "days"]
    assert days == Integer(1, MAX_DAYS)
