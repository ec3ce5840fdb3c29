# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A system has all that "Adding a system" in docs/architecture.md asks for, and its roles take what it gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import loading, network, variables
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.first_files import first_files
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds import kinds
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Federation
from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests.catalogue import MANIFESTS
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles import catalogue
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.checking import is_loopback

CHECKOUT = Path(__file__).resolve().parents[2]
INFRASTRUCTURE_HAS = (
    "README.md",
    "defaults/main.yml",
    "meta/argument_specs.yml",
    "meta/main.yml",
    "tasks/main.yml",
    "tasks/precheck.yml",
    "tasks/check.yml",
    "tasks/remove.yml",
)
SERVICES = "templates/service.yml.j2"
"""What a role's instances are on a host; in a cluster they are what `_manifests/` has."""
COMPONENT_HAS = (*INFRASTRUCTURE_HAS, "tasks/configure.yml", SERVICES)
DOCUMENTS = [
    path
    for path in sorted(CHECKOUT.glob("inventories/*/federation.yml"))
    if "stacks" in yaml.safe_load(path.read_text())
]
"""Viewpoints show a party's part of one of these."""


def kinds_of(document: Path) -> set[str]:
    """The kinds of a document's stacks."""
    stacks = yaml.safe_load(document.read_text()).get("stacks", {})
    return {stack["kind"] for stack in stacks.values()}


def has_scenario(role: str) -> bool:
    """Whether a Molecule scenario converges the role."""
    name = f"fedlearn.infra.{role}"
    plays = [play for file in CHECKOUT.glob("molecule/*/converge.yml") for play in yaml.safe_load(file.read_text())]
    return any(name in (each["role"] for each in play.get("roles", ())) for play in plays)


def missing_of_role(role: str, files: Iterable[str]) -> list[str]:
    """What a role lacks, in words."""
    home = CHECKOUT / "roles" / role
    wanted = [name for name in files if name != SERVICES or role not in MANIFESTS]
    lacking = [f"roles/{role}/{name}" for name in wanted if not (home / name).is_file()]
    return lacking if has_scenario(role) else [*lacking, f"a scenario in molecule/ that converges {role}"]


def missing_of_system(kind: str, roles: Iterable[str]) -> list[str]:
    """What a kind lacks, in words."""
    lacking = [words for role in roles for words in missing_of_role(role, COMPONENT_HAS)]
    if not any(kind in kinds_of(document) for document in DOCUMENTS):
        lacking.append(f"an example in inventories/ with a stack of kind {kind}")
    page = f"docs/systems/{kind}.md"
    return lacking if (CHECKOUT / page).is_file() else [*lacking, page]


def test_what_is_missing_is_found() -> None:
    assert missing_of_system("nothing", ["nobody_s", "redis"]) == [
        *(f"roles/nobody_s/{name}" for name in COMPONENT_HAS),
        "a scenario in molecule/ that converges nobody_s",
        "an example in inventories/ with a stack of kind nothing",
        "docs/systems/nothing.md",
    ]


@pytest.mark.parametrize("kind", kinds())
def test_a_system_is_whole(kind: str) -> None:
    assert missing_of_system(kind, kinds()[kind].ROLES) == []


@pytest.mark.parametrize("role", catalogue.INFRASTRUCTURE)
def test_an_infrastructure_role_is_whole(role: str) -> None:
    staged = catalogue.INFRASTRUCTURE[role] != "base"
    assert missing_of_role(role, (*INFRASTRUCTURE_HAS, *["tasks/configure.yml"] * staged)) == []


LIMITED = "{mode: ownca, permitted: {names: [fed.example], networks: [10.0.0.0/8]}}"


def examples() -> Mapping[str, Mapping[str, str]]:
    """Every example and what `init` writes, as files by their path; some also where CAs may certify some names only."""
    found = {f"inventories/{path.parent.name}": {"federation.yml": path.read_text()} for path in DOCUMENTS}
    found |= {f"first {kind}": first_files(kind) for kind in kinds()}
    for name in ("demo", "dc_federated", "dpsa-local", "xain-local", "xain-masked", "xain-poc"):
        text = found[f"inventories/{name}"]["federation.yml"].replace("    pki: {mode: ownca}\n", "")
        limited = text.replace("    hosts:\n", f"    pki: {LIMITED}\n    hosts:\n").replace(
            ".lab.example", ".fed.example"
        )
        found[f"limited {name}"] = {"federation.yml": limited}
    return found


EXAMPLES = examples()


def given_by(room: Path, files: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """The variables that a document's hosts get, and those that the verify round brings."""
    for name, text in files.items():
        (room / name).parent.mkdir(parents=True, exist_ok=True)
        (room / name).write_text(text)
    hosts = variables.inventory(loading.load(str(room / "federation.yml"))).hosts.values()
    return [*hosts, *(part["variables"] for host in hosts for part in host["fedlearn_verify"].values())]


def mistakes_of(given: Iterable[Mapping[str, Any]]) -> list[str]:
    """What roles would say of variables."""
    return [line for values in given for role in catalogue.ROLES for line in catalogue.mistakes(role, values)]


@pytest.mark.parametrize("example", EXAMPLES)
def test_roles_take_what_a_document_gives_them(tmp_path: Path, example: str) -> None:
    assert mistakes_of(given_by(tmp_path, EXAMPLES[example])) == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_site_that_others_reach_has_names_and_bears_a_total(tmp_path: Path, example: str) -> None:
    """Unknown names are refused, and a flood of one stack's clients takes nobody else's connections."""
    given = given_by(tmp_path, EXAMPLES[example])
    sites = [site for values in given for site in values.get("nginx_sites", ()) if site["state"] == "present"]
    reached = [site for site in sites if not all(is_loopback(listen["address"]) for listen in site["listen"])]
    totals = {"http": {"clients", "total_requests_per_second"}, "tcp": {"clients"}}
    assert [site["name"] for site in reached if "tcp" not in site.values() and not site["server_names"]] == []
    wanted = {site["name"]: totals[site.get("protocol", "http")] for site in reached}
    assert {site["name"]: set(site.get("limits", ())) & totals["http"] for site in reached} == wanted


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_site_s_certificate_is_for_the_names_it_is_asked_by(tmp_path: Path, example: str) -> None:
    """The role nginx takes no other."""
    given = given_by(tmp_path, EXAMPLES[example])
    names: dict[str, set[str]] = {}
    for certificate in (one for values in given for one in values.get("pki_certificates", ())):
        told = {*certificate.get("dns_names", ()), *certificate.get("addresses", ())}
        names.setdefault(certificate["name"], set()).update(told)
    for site in (one for values in given for one in values.get("nginx_sites", ())):
        if site["state"] == "present" and site.get("tls") and site.get("protocol") != "tcp":
            assert site["server_names"], site
            assert set(site["server_names"]) <= names[Path(site["tls"]["certificate"]).parent.name], site


@pytest.mark.parametrize("example", EXAMPLES)
def test_who_is_led_to_a_site_asks_by_a_name_of_its(tmp_path: Path, example: str) -> None:
    """Workers by where they are told it is, and other sites by what they are told to ask for."""
    given = given_by(tmp_path, EXAMPLES[example])
    every = [site for values in given for site in values.get("nginx_sites", ()) if site["state"] == "present"]
    sites = [site for site in every if site.get("protocol") != "tcp"]
    places = [((at["address"], at["port"]), site) for site in sites for at in site["listen"]]
    names = {place: site["server_names"] for place, site in places if "server_names" in site}
    by_sites = [(server, site["upstream"].get("host")) for site in sites for server in site["upstream"]["servers"]]
    asked = [(*network.split(server), name) for server, name in by_sites]
    for variable in ("dc_federated_worker_instances", "mindspore_worker_instances"):
        for one in (one for values in given for one in values.get(variable, ()) if one["state"] == "present"):
            host = one["server"].get("host") or one["server"]["address"]
            asked.append((host, one["server"]["port"], host))
    for host, port, name in asked:
        there = [known for (address, at), known in names.items() if at == port and host in (address, *known)]
        assert not there or name in there[0], (host, port, name)


def test_what_roles_do_not_take_is_found(tmp_path: Path) -> None:
    given = given_by(tmp_path, EXAMPLES["inventories/demo"])
    for values in given:
        for instance in values.get("mindspore_worker_instances", ()):
            instance["server"]["port"] = 0
    wrong = "server.port: expected a whole number from 1 to 65535, found the number 0"
    assert mistakes_of(given) == [f"mindspore_worker_instances[0]: {wrong}"] * 4


def instances(federation: Federation, state: str) -> set[tuple[str, str, str]]:
    """Host, variable and name of what roles are to have there in this state, certificates among them."""
    hosts = variables.inventory(federation).hosts
    return {
        (host, name, each["name"])
        for host, values in hosts.items()
        for name in values["fedlearn_variables"]
        for each in values[name]
        if each["state"] == state
    }


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_absent_stack_takes_all_of_its_own_away(tmp_path: Path, example: str) -> None:
    """Nothing that a kind deploys is forgotten by its removal: what is placed inside of another role least of all."""
    given_by(tmp_path, EXAMPLES[example])
    document = tmp_path / "federation.yml"
    deployed = instances(loading.load(str(document)), "present")
    assert deployed
    values = yaml.safe_load(document.read_text())
    for stack in values["stacks"].values():
        stack["state"] = "absent"
    document.write_text(yaml.safe_dump(values))
    gone = loading.load(str(document))
    assert instances(gone, "present") == set()
    assert deployed - instances(gone, "absent") == set()
