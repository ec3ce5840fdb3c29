# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every kind may count on: what its placements say, and what becomes of what it gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import (
    certificates,
    kinds,
    loading,
    stages,
    variables,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.expanding import endpoint
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import (
    Certificate,
    Component,
    Expansion,
    Federation,
    Host,
    Placement,
    RoundPart,
    Stack,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles import catalogue
from tests.unit.plugins.plugin_utils.federation.conftest import Load, Mistakes

pytestmark = pytest.mark.usefixtures("toy")
CHECKOUT = Path(__file__).resolve().parents[5]

DOCUMENT = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab: {pki: {lifetime_days: 30}, hosts: {h1: 10.20.0.11, h2: 10.20.0.12}}
  partner: {external: true, ca: public/partner/ca.pem}
clusters:
  kc: {party: lab, kubeconfig: files/kc}
stacks:
  one:
    kind: toy
    server: {host: h1}
"""


def with_expansion(federation: Federation, **parts: object) -> Federation:
    """The federation, its stack being expanded to these parts."""
    return dataclasses.replace(federation, expansions={"one": Expansion(**parts)})


def server(load: Load, text: str) -> Placement:
    """The placement of the toy's server where it is written so."""
    return load(DOCUMENT.replace("server: {host: h1}", f"server: {text}")).stacks["one"].placements["server"]


def test_a_certificate_is_valid_as_long_as_its_party_says(load: Load) -> None:
    federation = load(DOCUMENT)
    lab = certificates.party_authority(federation, federation.parties["lab"])
    leaf = Certificate("demo-one-server", "h1", "lab", "server.h1", ("server",))
    found = variables.inventory(with_expansion(federation, authorities=(lab,), certificates=(leaf,)))
    assert [each["lifetime_days"] for each in found.hosts["h1"]["pki_certificates"]] == [30]
    plain = load(DOCUMENT.replace("pki: {lifetime_days: 30}, ", ""))
    found = variables.inventory(with_expansion(plain, authorities=(lab,), certificates=(leaf,)))
    assert [each["lifetime_days"] for each in found.hosts["h1"]["pki_certificates"]] == [397]


def test_nobody_signs_in_an_external_party_s_name(load: Load) -> None:
    federation = load(DOCUMENT)
    partner = certificates.party_authority(federation, federation.parties["partner"])
    lab = certificates.party_authority(federation, federation.parties["lab"])
    leaf = Certificate("demo-one-server", "h1", "lab", "server.h1", ("server",), trust=("lab", "partner"))
    found = variables.inventory(with_expansion(federation, authorities=(lab, partner), certificates=(leaf,)))
    told = {each["name"]: each for each in found.hosts["h1"]["pki_authorities"]}
    assert told["partner"]["mode"] == "external"
    assert told["partner"]["ca"] == f"{federation.directory}/public/partner/ca.pem"
    secrets = found.groups["federation_hosts"].variables["fedlearn_secrets"]
    assert [each["name"] for each in secrets] == ["ca_lab"]


def test_what_a_component_only_trusts_is_told_without_a_signer(load: Load) -> None:
    federation = load(DOCUMENT)
    lab = certificates.party_authority(federation, federation.parties["lab"])
    partner = certificates.party_authority(federation, federation.parties["partner"])
    bundle = certificates.trusted("demo-one-client", "h1", "lab", "partner")
    found = variables.inventory(with_expansion(federation, authorities=(lab, partner), certificates=(bundle,)))
    told = found.hosts["h1"]["pki_certificates"]
    assert told == [
        {
            "name": "demo-one-client",
            "state": "present",
            "federation": "demo",
            "stack": "one",
            "usages": [],
            "trust": ["lab", "partner"],
        }
    ]
    assert [each["name"] for each in found.hosts["h1"]["pki_authorities"]] == ["lab", "partner"]
    assert catalogue.mistakes("pki", found.hosts["h1"]) == []
    assert certificates.find(told, "demo-one-client")["paths"]["ca"] == "/etc/fedlearn/demo/pki/demo-one-client/ca.pem"


H1 = Host("h1", "lab", "10.20.0.11", ("10.20.0.11", "fd00::11"), public_name="h1.example")


@pytest.mark.parametrize(
    ("placement", "address", "expected"),
    [
        ({}, "10.20.0.11", (("demo-one-server", "h1.example"), ("10.20.0.11",))),
        ({"bind": "::"}, "::", (("demo-one-server", "h1.example"), ("10.20.0.11", "fd00::11"))),
        (
            {"public_url": "https://p.example"},
            "fd00::11",
            (("demo-one-server", "h1.example", "p.example"), ("fd00::11",)),
        ),
        (
            {"internal_url": "https://10.20.0.9:8443", "public_url": "https://[fd00::9]"},
            "10.20.0.11",
            (("demo-one-server", "h1.example"), ("10.20.0.11", "10.20.0.9", "fd00::9")),
        ),
    ],
    ids=["plain", "wildcard", "public URL", "numeric URLs"],
)
def test_a_certificate_has_every_name_that_its_component_is_reached_by(
    placement: dict[str, str], address: str, expected: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    assert certificates.serving_names(Placement(**placement), H1, address, "demo-one-server") == expected


def test_a_host_with_a_name_only_is_reached_by_it() -> None:
    host = Host("h1", "lab", "h1.example", ())
    assert certificates.serving_names(Placement(bind="0.0.0.0"), host, "0.0.0.0") == (("h1.example",), ())


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_no_certificate_is_for_every_address(address: str) -> None:
    with pytest.raises(ValueError, match=f"certificate 'web': {address} stands for every address"):
        Certificate("web", "h1", "lab", "web.h1", addresses=("10.20.0.11", address))


@pytest.mark.parametrize(
    ("text", "of_stack"),
    [
        ("{cluster: kc, state: absent}", ""),
        ("{cluster: kc}", "state: absent\n    "),
    ],
    ids=["placement", "stack"],
)
def test_an_absent_cluster_is_left(load: Load, text: str, of_stack: str) -> None:
    found = server(load, f"{text}\n    {of_stack}")
    assert (found.cluster, found.absent_cluster) == (None, "kc")
    assert (server(load, "{cluster: kc}").cluster, server(load, "{cluster: kc}").absent_cluster) == ("kc", None)


PARTNER = "{party: partner, public_url: 'https://p.example'"


@pytest.mark.parametrize(
    ("text", "of_stack"),
    [(f"{PARTNER}, state: absent}}", ""), (f"{PARTNER}}}", "state: absent\n    ")],
    ids=["placement", "stack"],
)
def test_an_absent_part_of_an_external_party_runs_nowhere(load: Load, text: str, of_stack: str) -> None:
    assert server(load, f"{PARTNER}}}").party == "partner"
    assert server(load, f"{text}\n    {of_stack}").party is None


def test_an_absent_external_store_runs_nowhere(load: Load) -> None:
    store = "store: {external: {url: 'https://s.example'}"
    text = DOCUMENT + f"    {store}}}\n"
    assert load(text).stacks["one"].placements["store"].external is not None
    absent = text.replace(f"{store}}}", f"{store}, state: absent}}")
    assert load(absent).stacks["one"].placements["store"].external is None


@pytest.mark.parametrize("text", ["{host: h1}", "{cluster: kc}"], ids=["host", "cluster"])
@pytest.mark.parametrize("key", ["internal_url", "public_url"])
def test_no_url_leads_unencrypted_to_what_has_tls(load: Load, mistakes: Mistakes, text: str, key: str) -> None:
    url = text.replace("}", f", {key}: 'http://s.example:7000'}}")
    wrong = DOCUMENT.replace("server: {host: h1}", f"server: {url}")
    column = 13 + url.index("'http")
    assert mistakes(wrong) == [
        f"federation.yml:12:{column}: stacks.one.server.{key}: leads there unencrypted, and the stack has tls: "
        "write https://s.example:7000, or tls: false"
    ]
    assert load(wrong + "    tls: false\n").stacks
    assert load(wrong.replace("http:", "https:")).stacks


def test_a_placement_knows_the_key_that_says_where(load: Load) -> None:
    text = DOCUMENT + "    workers: {hosts: [h1, h2]}\n    store: {host: h2}\n"
    placements = load(text).stacks["one"].placements
    assert {word: each.where for word, each in placements.items()} == {
        "server": "host",
        "workers": "hosts",
        "store": "host",
    }


LONG = f"{'very-' * 13}long"


@pytest.mark.parametrize(
    ("expansion", "name", "room"),
    [
        (Expansion(variables={"h1": {"toy_instances": [{"name": LONG}]}}), LONG, "instances have room for 64"),
        (
            Expansion(verify={"h1": RoundPart((), 0, 1, variables={"toy_instances": [{"name": LONG}]})}),
            LONG,
            "instances have room for 64",
        ),
        (
            Expansion(certificates=(Certificate(2 * LONG, "h1", "lab", "x"),)),
            2 * LONG,
            "certificates have room for 128",
        ),
    ],
    ids=["component", "round", "certificate"],
)
def test_a_name_without_room_is_a_mistake_of_its_stack(
    toy_becomes: Callable[[Expansion], None], mistakes: Mistakes, expansion: Expansion, name: str, room: str
) -> None:
    toy_becomes(expansion)
    assert mistakes(DOCUMENT) == [
        f"federation.yml:10:3: stacks.one: '{name}' has {len(name)} characters, and {room}: "
        "give the federation or the stack a shorter name"
    ]


@pytest.mark.parametrize("part", ["components", "transient"])
def test_a_port_beyond_the_last_is_a_mistake_where_its_first_is_said(
    toy_becomes: Callable[[Expansion], None], mistakes: Mistakes, part: str
) -> None:
    placement = Placement(hosts=("h1",), port=65535, path=("stacks", "one", "server"))
    endpoints = [endpoint(placement, H1, "http", "10.20.0.11", 65535 + more, scheme="http") for more in range(3)]
    component = Component("demo-one-server", "one", "server", "toy_server", "h1", endpoints=tuple(endpoints))
    toy_becomes(Expansion(**{part: (component,)}))
    text = DOCUMENT.replace("{host: h1}", "{host: h1, port: 65535}")
    assert mistakes(text) == [
        f"federation.yml:12:30: stacks.one.server.port: demo-one-server would listen on {port}, the last port is "
        "65535: choose a lower one"
        for port in (65536, 65537)
    ]


def test_kinds_see_where_playbooks_write(
    toy: None, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What plays of ours wrote down there, such as public keys, is read by the library."""
    seen: list[str] = []

    def expand(_stack: Stack, federation: Federation, _report: object) -> Expansion:
        seen.append(federation.state_directory)
        return Expansion()

    monkeypatch.setattr(kinds.kinds()["toy"], "expand", expand)
    load(DOCUMENT)
    loading.load("federation.yml", state="state")
    assert seen == [str(tmp_path), str(tmp_path / "state")]


def test_a_role_has_one_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    def kinds_say(*told: str) -> None:
        said = {f"k{number}": SimpleNamespace(ROLES={"echo": stage}) for number, stage in enumerate(told)}
        monkeypatch.setattr(stages, "kinds", lambda: said)

    kinds_say("service", "service")
    assert stages.stage_of("echo") == "service"
    kinds_say("service", "participant")
    with pytest.raises(
        ValueError, match=r"^role 'echo' has one stage, not service \(kind k0\), participant \(kind k1\)$"
    ):
        stages.stage_of("echo")
    with pytest.raises(KeyError):
        stages.stage_of("nobody_s")


def test_every_role_has_a_stage() -> None:
    roles = [path.name for path in (CHECKOUT / "roles").iterdir() if not path.name.startswith("shared_")]
    assert roles
    assert {role: stages.stage_of(role) for role in roles if stages.stage_of(role) not in stages.STAGES} == {}
