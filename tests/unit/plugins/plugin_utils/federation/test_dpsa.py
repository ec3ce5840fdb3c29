# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a document with DPSA becomes: two sides, who may come where, and what can't be."""

from __future__ import annotations

import hashlib
import ipaddress
import posixpath
import random
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import flows, variables
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.dpsa import rounds
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.dpsa.settings import (
    GENERATIONS,
    PROGRAMS,
    SETTINGS,
    generations_of,
    program_section,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.loading import WrongDocumentError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Federation
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.reference import flat
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.schema import check_values
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles import catalogue
from tests.unit.plugins.plugin_utils.federation.conftest import Load, Mistakes

STACK = """\
    leader: {host: a1}
    helper: {host: b1}
    controller: {host: a1}
    clients: {hosts: [k1]}
    privacy: {max_epsilon: 1.0}
"""
DOCUMENT = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  clinic-a: {hosts: {a1: 10.30.0.11, a2: 10.30.0.12, k1: 10.30.0.13}}
  clinic-b: {hosts: {b1: 10.40.0.11}}
  clinic-c: {external: true, ca: public/clinic-c/ca.pem}
  clinic-d: {external: true}
stacks:
  survey:
    kind: dpsa
"""


def document(stack: str = STACK, *changes: tuple[str, str]) -> str:
    text = DOCUMENT + stack
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


def given(federation: Federation, host: str, variable: str) -> dict[str, dict[str, Any]]:
    """A role's instances on a host, by what their names end with."""
    instances = variables.inventory(federation).hosts[host].get(variable, [])
    return {each["name"].removeprefix("demo-survey-"): each for each in instances}


def test_drivers_on_other_hosts_come_to_the_database_over_tls_and_get_their_keys(load: Load) -> None:
    federation = load(
        document(STACK, ("leader: {host: a1}", "leader: {host: a1, drivers: {hosts: [a1, a2], per_host: 2}}"))
    )
    here, there = given(federation, "a1", "janus_instances"), given(federation, "a2", "janus_instances")
    assert sorted(there) == ["leader-aggregation-driver-1", "leader-aggregation-driver-2"]
    assert {"leader-aggregation-driver-1", "leader-aggregation-driver-2"} <= set(here)
    for one in there.values():
        assert (one["delivered"], one["keyring"]) == (True, "demo-survey-leader")
        assert one["database"]["direct"]["host"] == "10.30.0.11"
        assert one["database"]["port"] == 9977  # not the server's, which may be on loopback again when drivers go
    assert (here["leader-aggregator"]["keys_for"], here["leader-aggregator"].get("delivered")) == (["a2"], None)
    (store,) = given(federation, "a1", "postgresql_instances").values()
    (client,) = store["clients"]
    assert (store["addresses"], client["addresses"]) == (["10.30.0.11"], ["10.30.0.11/32", "10.30.0.12/32"])
    assert client["connections"] == 8 * 7 + 8  # seven of Janus', and the manager
    for host in ("a1", "a2"):
        tunnel = given(federation, host, "tunnel_instances")["leader-tunnel"]
        assert (tunnel["listen"], tunnel["connect"]) == (
            {"address": "127.0.0.1", "port": 9977},
            {"host": "10.30.0.11", "port": 5432},
        )
        assert "leader-egress" in given(federation, host, "nginx_sites")
    assert "leader-manager" not in given(federation, "a2", "dpsa_manager_instances")
    (expansion,) = federation.expansions.values()
    shown = {one.common_name for one in expansion.certificates if one.name == "demo-survey-leader"}
    assert (shown, {one.host for one in expansion.certificates if one.name == "demo-survey-leader"}) == (
        {"demo-survey-leader"},
        {"a1", "a2"},
    )


# -- who runs where ---------------------------------------------------------------------------------------------------


def test_the_leader_has_five_processes_and_the_helper_two(load: Load) -> None:
    federation = load(document())
    janus = {host: sorted(given(federation, host, "janus_instances")) for host in ("a1", "b1", "k1")}
    assert janus == {
        "a1": ["leader-aggregation-driver-1", "leader-aggregator", "leader-collection-driver", "leader-job-creator"],
        "b1": ["helper-aggregator"],
        "k1": [],
    }
    managers = {host: list(given(federation, host, "dpsa_manager_instances")) for host in ("a1", "b1")}
    assert managers == {"a1": ["leader-manager"], "b1": ["helper-manager"]}


def test_no_two_processes_share_a_port_for_health(load: Load) -> None:
    federation = load(document(STACK, ("leader: {host: a1}", "leader: {host: a1, drivers: {per_host: 3}}")))
    for host in ("a1", "b1"):
        instances = [
            *given(federation, host, "janus_instances").values(),
            *given(federation, host, "dpsa_manager_instances").values(),
        ]
        ports = [each["health_port"] for each in instances]
        assert len(set(ports)) == len(ports)


def test_everything_but_nginx_listens_on_loopback(load: Load) -> None:
    federation = load(document())
    (expansion,) = federation.expansions.values()
    beyond = {
        component.role
        for component in expansion.components
        for endpoint in component.endpoints
        if not ipaddress.ip_address(endpoint.address).is_loopback
    }
    assert beyond == {"nginx"}


@pytest.mark.parametrize(
    ("clients", "at_once", "files"),
    [
        ("{hosts: [k1]}", 512, 0),
        ("{hosts: [k1], expected: 100000}", 200_050, 400_000),
        ("{external: {}, expected: 1000}", 2050, 0),
    ],
)
def test_both_sides_bear_the_clients_that_are_said_to_come(load: Load, clients: str, at_once: int, files: int) -> None:
    federation = load(document(STACK, ("clients: {hosts: [k1]}", f"clients: {clients}")))
    for host, side in (("a1", "leader"), ("b1", "helper")):
        sites = given(federation, host, "nginx_sites")
        fronts = [sites[f"{side}-{front}"] for front in ("front", "manager-front")]
        told = {site["limits"]["clients"] for site in fronts}
        assert {site["upstream"]["keep_connections"] for site in fronts} == {False}
        allowed = variables.inventory(federation).hosts[host].get("nginx_open_files", 0)
        assert (told, allowed >= files) == ({at_once}, True)


@pytest.mark.parametrize("certificates", ["private", "public"])
def test_both_managers_tell_clients_the_same_letter_by_letter(load: Load, certificates: str) -> None:
    urls = 'public_url: "https://{}.example:8443"'
    federation = load(
        document(
            STACK + f"    certificates: {certificates}\n",
            ("leader: {host: a1}", f"leader: {{host: a1, {urls.format('leader')}}}"),
            ("helper: {host: b1}", f"helper: {{host: b1, {urls.format('helper')}}}"),
        )
    )
    told = [
        {key: url for key, url in manager["urls"].items() if key.startswith("external_")}
        for host in ("a1", "b1")
        for manager in given(federation, host, "dpsa_manager_instances").values()
    ]
    assert told[0] == told[1]
    assert (
        told[0]["external_leader"]
        == {
            "private": "http://127.0.0.1:9991",
            "public": "https://leader.example:8443",
        }[certificates]
    )


def test_the_leader_goes_out_with_its_certificate_and_nothing_else_does(load: Load) -> None:
    federation = load(document())
    (manager,) = given(federation, "a1", "dpsa_manager_instances").values()
    assert manager["urls"]["helper_endpoint"] == "http://127.0.0.1:9975"
    shows = {
        (host, name): site["upstream"]["tls"].get("certificate", "").split("/")[-2:-1]
        for host in ("a1", "b1", "k1")
        for name, site in given(federation, host, "nginx_sites").items()
        if "tls" in site["upstream"]
    }
    assert shows.pop(("a1", "leader-egress")) == ["demo-survey-leader"]
    assert {tuple(value) for (host, _name), value in shows.items() if host == "a1"} == {("demo-survey-controller",)}
    assert {tuple(value) for (host, _name), value in shows.items() if host == "k1"} == {()}


def test_the_helper_lets_the_leader_in_by_its_subject_alone(load: Load) -> None:
    federation = load(document())
    site = given(federation, "b1", "nginx_sites")["helper-front"]
    names = {path["path"]: path.get("client_names") for path in site["paths"]}
    assert names == {
        "/hpke_config": None,
        "/tasks/*/aggregation_jobs/*": ["demo-survey-leader"],
        "/tasks/*/aggregate_shares": ["demo-survey-leader"],
    }
    peers = given(federation, "b1", "pki_certificates")["helper-peers"]
    assert (peers["usages"], peers["trust"]) == ([], ["clinic-a"])
    assert site["tls"]["client_ca"].endswith("/demo-survey-helper-peers/ca.pem")
    issued = [
        certificate["common_name"]
        for host in ("a1", "b1", "k1")
        for certificate in given(federation, host, "pki_certificates").values()
        if certificate.get("authority") == "clinic-a"
    ]
    assert issued.count("demo-survey-leader") == 1


def test_the_leader_s_subject_is_the_same_wherever_it_runs(load: Load) -> None:
    """So renewal, and another host, need nothing of the partner."""
    subjects = {
        given(load(document(STACK, ("leader: {host: a1}", f"leader: {{host: {host}}}"))), host, "pki_certificates")[
            "leader"
        ]["common_name"]
        for host in ("a1", "a2")
    }
    assert subjects == {"demo-survey-leader"}


def test_sessions_are_the_controller_s(load: Load) -> None:
    federation = load(document())
    for host, name in (("a1", "leader-manager-front"), ("b1", "helper-manager-front")):
        paths = {path["path"]: path for path in given(federation, host, "nginx_sites")[name]["paths"]}
        for path in ("/create_session", "/start_round", "/end_session"):
            assert paths[path]["client_names"] == ["demo-survey-controller", "demo-survey-verify"]
        assert paths["/get_main_locations"]["without_certificate"] is True


@pytest.mark.parametrize("controller", ["a1", "b1", "k1"])
def test_each_way_believes_the_party_it_leads_to_and_no_other(load: Load, controller: str) -> None:
    """Whose CA vouched for the other side, too, could be shown what is sealed for it."""
    federation = load(document(STACK, ("    controller: {host: a1}\n", f"    controller: {{host: {controller}}}\n")))
    host = variables.inventory(federation).hosts[controller]
    trust = {each["name"]: each["trust"] for each in host["pki_certificates"] if "trust" in each}
    believed = {
        site["name"].rpartition("controller-")[2]: trust[
            posixpath.basename(posixpath.dirname(site["upstream"]["tls"]["ca"]))
        ]
        for site in host["nginx_sites"]
        if "-controller-" in site["name"]
    }
    assert believed == {
        "leader": ["clinic-a"],
        "leader-manager": ["clinic-a"],
        "helper": ["clinic-b"],
        "helper-manager": ["clinic-b"],
    }


@pytest.mark.parametrize(
    ("controller", "clients"),
    [
        ("{host: a2}", "{hosts: [a2, k1]}"),
        ("{absent: a2}", "{hosts: [k1], absent: [a2]}"),
        ("{host: a2}", "{absent: [a2, k1]}"),
    ],
)
@pytest.mark.parametrize("state", ["present", "absent"])
def test_who_was_both_is_left_without_what_either_needed(load: Load, state: str, controller: str, clients: str) -> None:
    changed = STACK.replace("{host: a1}\n    clients: {hosts: [k1]}", f"{controller}\n    clients: {clients}")
    assert changed != STACK
    found = variables.inventory(load(document(f"    state: {state}\n{changed}")))
    for name in ("a2", "k1"):
        assert catalogue.mistakes("pki", found.hosts[name]) == []
        names = [each["name"] for each in found.hosts[name]["pki_certificates"]]
        assert len(names) == len(set(names))


def ways_out(federation: Federation) -> dict[str, str]:
    """By the ways out, the list of which servers they don't believe any more."""
    return {
        name: site["upstream"]["tls"].get("crl", "").rpartition("/")[2]
        for host in ("a1", "b1")
        if host in variables.inventory(federation).hosts
        for name, site in given(federation, host, "nginx_sites").items()
        if "tls" in site["upstream"]
    }


def lists(federation: Federation) -> dict[str, str]:
    """By the sites that let clients in, the list of whom they don't let in any more."""
    sites = {
        name: site["tls"]
        for host in ("a1", "b1")
        if host in variables.inventory(federation).hosts
        for name, site in given(federation, host, "nginx_sites").items()
        if "client_ca" in site.get("tls", {})
    }
    assert all(
        tls.get("client_crl", tls["client_ca"]).rpartition("/")[0] == tls["client_ca"].rpartition("/")[0]
        for tls in sites.values()
    )
    return {name: tls.get("client_crl", "").rpartition("/")[2] for name, tls in sites.items()}


def test_whom_their_party_withdrew_is_let_in_nowhere(load: Load) -> None:
    """That of a partner comes with what it signs."""
    fronts = {f"{side}-{what}" for side in ("leader", "helper") for what in ("front", "manager-front")}
    assert lists(load(document())) == dict.fromkeys(fronts, "crl.pem")
    view = "plugin: fedlearn.infra.federation\ndocument: federation.yml\nparty: {}\n"
    shared = document(STACK, ("    controller: {host: a1}\n", "    controller: {host: b1}\n"))
    helper = load(shared, source="view.yml", view=view.format("clinic-b"))
    assert lists(helper) == {"helper-front": "crl.pem", "helper-manager-front": "crl.pem"}
    leader = load(shared, source="view.yml", view=view.format("clinic-a"))
    assert lists(leader) == {"leader-front": "crl.pem", "leader-manager-front": "crl.pem"}
    assert ways_out(leader) == {"leader-egress": "crl.pem"}
    assert set(ways_out(helper).values()) == {"crl.pem"}


@pytest.mark.parametrize(
    ("pki", "has"),
    [("", True), ("pki: {mode: csr}, ", False), ("pki: {mode: csr, crl: files/a.crl.pem}, ", True)],
    ids=["a CA of its own", "an organisation's", "an organisation's with a list"],
)
def test_a_partner_s_list_is_read_where_its_ca_is(load: Load, pki: str, has: bool) -> None:
    shared = document(STACK, ("clinic-a: {hosts", f"clinic-a: {{{pki}hosts"))
    helper = load(shared, source="view.yml", view=VIEW)
    found = variables.inventory(helper)
    (theirs,) = [each for each in found.hosts["b1"]["pki_authorities"] if each["party"] == "clinic-a"]
    taken = f"{helper.state_directory}/.exchange/clinic-a/clinic-a.crl.pem"
    assert (theirs["mode"], theirs.get("crl")) == ("external", taken if has else None)
    assert bool(lists(helper)["helper-front"]) is has
    assert ways_out(load(shared, source="view.yml", view=VIEW.replace("clinic-b", "clinic-a")))["leader-egress"]
    assert catalogue.mistakes("pki", found.hosts["b1"]) == []


def test_strangers_send_no_more_than_is_of_use(load: Load) -> None:
    federation = load(document(STACK, ("helper: {host: b1}", "helper: {host: b1, limits: {per_address: 7}}")))
    bodies = {
        path["path"]: path.get("body_size_mb")
        for host in ("a1", "b1")
        for site in given(federation, host, "nginx_sites").values()
        for path in site.get("paths", [])
        if path.get("without_certificate")
    }
    assert bodies == {
        "/hpke_config": 1,
        "/tasks/*/reports": None,
        "/get_main_locations": 1,
        "/get_vdaf_parameter": 1,
    }
    sites = given(federation, "b1", "nginx_sites")
    assert {name: site["limits"]["clients_per_address"] for name, site in sites.items() if "limits" in site} == {
        "helper-front": 7,
        "helper-manager-front": 7,
    }


def test_a_bound_that_both_sides_keep(load: Load) -> None:
    federation = load(document())
    for host in ("a1", "b1"):
        (manager,) = given(federation, host, "dpsa_manager_instances").values()
        assert (manager["max_epsilon"], manager["urls"]["leader_endpoint"]) == (1.0, "https://10.30.0.11:9991")
        assert manager["verify"] == {"subject": "CN=demo-survey-verify", "max_epsilon": 100.0}


def test_a_verify_round_goes_from_the_controller_by_ways_of_its_own(load: Load) -> None:
    federation = load(document())
    (expansion,) = federation.expansions.values()
    ((host, part),) = expansion.verify.items()
    assert (host, part.participants, expansion.real) == ("a1", ("demo-verify-survey-round",), True)
    (round_,) = part.variables["dpsa_round_instances"]
    assert round_["managers"] == {"leader": "http://127.0.0.1:11981", "helper": "http://127.0.0.1:11982"}
    for site in part.variables["nginx_sites"]:
        assert site["upstream"]["tls"]["certificate"].endswith("/demo-survey-verify/chain.pem")
    names = {one.name: one for one in expansion.certificates}
    assert (names["demo-survey-verify"].common_name, names["demo-survey-verify"].host) == ("demo-survey-verify", "a1")
    assert part.conditions == {"epsilon": 100.0, "clients": 3, "fixed_bits": 16, "missed": 1e-6}


def test_no_controller_of_ours_no_round(load: Load) -> None:
    (expansion,) = load(document(STACK, ("    controller: {host: a1}\n", ""))).expansions.values()
    assert (expansion.verify, expansion.transient) == ({}, ())


def test_what_a_right_sum_may_be_off_is_what_the_noise_is_but_once_in_a_million_rounds() -> None:
    """A tail of 1e-6 can't be seen by trying: one of a hundredth can, and it is the same formula."""
    bound, deviation, chance = rounds.noise_bound(100.0, 8, 16, missed=0.01), 2.0 / 100.0, random.Random(7)
    largest = [
        max(abs(chance.gauss(0, deviation) + chance.gauss(0, deviation)) for _number in range(8))
        for _round in range(20_000)
    ]
    assert 0.007 < sum(one > bound for one in largest) / len(largest) < 0.013
    assert 0.145 < rounds.noise_bound(100.0, 8, 16) < 0.16


def test_a_missing_client_and_another_vector_are_more_than_the_noise() -> None:
    bound = rounds.noise_bound(100.0, 8, rounds.FIXED_BITS)
    for vector in rounds.VECTORS:
        assert sum(value * value for value in vector) < 1
        assert max(map(abs, vector)) > 2 * bound
        assert all((value * 2**15).is_integer() for value in vector)
    assert rounds.answer() == (0.5, 0.5, 1.25, 0.125, -0.25, -0.25, 0.625, 0.125)


def test_a_viewpoint_has_nothing_of_the_other_side(load: Load) -> None:
    view = "plugin: fedlearn.infra.federation\ndocument: federation.yml\nparty: clinic-b\n"
    federation = load(document(), source="view.yml", view=view)
    inventory = variables.inventory(federation)
    assert list(inventory.hosts) == ["b1"]
    common = inventory.groups["federation_hosts"].variables
    assert {secret["name"] for secret in common["fedlearn_secrets"]} == {
        "ca_clinic-b",
        "exchange_signer",
        "survey_helper_database",
    }
    assert "survey_leader_database" not in str(inventory.hosts)


ESCROW = f"escrow: {{recipient: age1{'q' * 58}}}"
BOTH_ESCROWED = (("host: a1}\n    helper", f"host: a1, {ESCROW}}}\n    helper"), ("host: b1}", f"host: b1, {ESCROW}}}"))


def test_no_key_opens_the_datastore_keys_of_both_sides(load: Load, mistakes: Mistakes) -> None:
    (told,) = mistakes(document(STACK, *BOTH_ESCROWED))
    assert told == (
        "federation.yml:13:44: stacks.survey.helper.escrow.recipient: is the leader's, too (federation.yml:12:44): who "
        "has its private half could open both sides' datastore keys. Each party has a key of its own"
    )
    one_s_own = [BOTH_ESCROWED[0], (BOTH_ESCROWED[1][0], BOTH_ESCROWED[1][1].replace("qqq", "ppp"))]
    assert load(document(STACK, *one_s_own)).stacks
    together = (("kind: dpsa\n", "kind: dpsa\n    allow_same_party: true\n"), *BOTH_ESCROWED)
    assert load(document(STACK, *together)).stacks


VIEW = "plugin: fedlearn.infra.federation\ndocument: federation.yml\nparty: clinic-b\n"
PRINT = "SHA256:" + "a" * 43


def test_a_viewpoint_says_whose_signatures_it_believes(load: Load) -> None:
    federation = load(document(), source="view.yml", view=f"{VIEW}signers: {{clinic-a: ['{PRINT}']}}\n")
    shared = variables.inventory(federation).groups["federation_hosts"].variables["fedlearn_exchange"]
    assert shared["partners"] == {"clinic-a": {"signers": [PRINT], "authorities": ["clinic-a"]}}
    assert (shared["party"], shared["document"]) == ("clinic-b", federation.sources[1])
    with open(shared["document"], "rb") as stream:  # noqa: PTH123
        assert shared["digest"] == hashlib.sha256(stream.read()).hexdigest()
    everybody = variables.inventory(load(document())).groups["federation_hosts"].variables
    assert everybody["fedlearn_exchange"] == {}


def test_what_another_party_signed_is_read_where_it_was_taken_to(load: Load) -> None:
    federation = load(document(), source="view.yml", view=VIEW)
    entries = variables.inventory(federation).groups["federation_hosts"].variables["fedlearn_authorities"]
    (theirs,) = [each for each in entries if each["party"] == "clinic-a"]
    assert (theirs["mode"], theirs["ca"]) == (
        "external",
        f"{federation.state_directory}/.exchange/clinic-a/clinic-a.pem",
    )


@pytest.mark.parametrize(
    ("signers", "message"),
    [
        (f"{{clinic-x: ['{PRINT}']}}", "there is no party named 'clinic-x'"),
        (f"{{clinic-b: ['{PRINT}']}}", "a viewpoint believes signatures of other parties only"),
        (f"{{clinic-d: ['{PRINT}']}}", "'clinic-d' is an external party"),
        ("{clinic-a: []}", "signers.clinic-a"),
        ("{clinic-a: ['MD5:aa']}", "a fingerprint, as `ssh-keygen -l` writes it"),
    ],
)
def test_signers_that_can_t_be(load: Load, signers: str, message: str) -> None:
    with pytest.raises(WrongDocumentError) as wrong:
        load(document(), source="view.yml", view=f"{VIEW}signers: {signers}\n")
    assert any(message in str(mistake) and str(mistake).startswith("view.yml:4") for mistake in wrong.value.mistakes)


def test_flows_go_from_the_leader_to_the_helper_and_never_back(load: Load) -> None:
    found = flows.flows(load(document()), "survey")
    assert [(flow.source, flow.destination, flow.port) for flow in found if flow.purpose == "aggregation"] == [
        ("a1", "b1", 9992)
    ]
    assert [flow for flow in found if (flow.source, flow.destination) == ("b1", "a1")] == []


def test_a_helper_that_somebody_else_runs(load: Load) -> None:
    helper = 'helper: {party: clinic-c, public_url: "https://helper.c.example:8443"}'
    federation = load(document(STACK, ("helper: {host: b1}", helper)))
    egress = given(federation, "a1", "nginx_sites")["leader-egress"]["upstream"]
    assert (egress["servers"], egress["host"]) == (["helper.c.example:8443"], "helper.c.example")
    assert egress["tls"]["name"] == "helper.c.example"
    sites = given(federation, "k1", "nginx_sites")
    assert sites["client-helper-manager"]["upstream"]["servers"] == ["helper.c.example:9982"]


def test_a_leader_that_somebody_else_runs(load: Load) -> None:
    leader = 'leader: {party: clinic-c, public_url: "https://leader.c.example:8443"}'
    federation = load(document(STACK, ("leader: {host: a1}", leader)))
    peers = given(federation, "b1", "pki_certificates")["helper-peers"]
    assert peers["trust"] == ["clinic-c"]
    assert given(federation, "a1", "janus_instances") == {}


@pytest.mark.parametrize(("generation", "role"), [("B", "tunnel"), ("C", "")])
def test_a_database_on_another_host_is_reached_over_tls(load: Load, generation: str, role: str) -> None:
    """B can't, so it goes in on loopback and comes out as TLS."""
    stack = STACK.replace("leader: {host: a1}", "leader: {host: a1, database: {host: a2}}")
    if generation == "C":
        stack = stack.replace("    privacy: {max_epsilon: 1.0}\n", "    generation: C\n")
    federation = load(document(stack))
    (server,) = given(federation, "a2", "postgresql_instances").values()
    assert server["clients"][0]["addresses"] == ["10.30.0.11/32"]
    assert set(server["tls"]) == {"certificate", "key", "ca"}
    database = given(federation, "a1", "janus_instances")["leader-aggregator"]["database"]
    tunnels = given(federation, "a1", "tunnel_instances")
    if role:
        assert database["host"] == "127.0.0.1"
        assert (database["port"], "ca" in database) == (9977, False)
        assert (database["direct"]["host"], database["direct"]["port"]) == ("10.30.0.12", 5432)
        assert tunnels["leader-tunnel"]["connect"] == {"host": "10.30.0.12", "port": 5432}
    else:
        assert (database["host"], tunnels) == ("10.30.0.12", {})
        assert database["ca"].endswith("/demo-survey-leader-store/ca.pem")


def test_ipv6_addresses(load: Load) -> None:
    changed = (
        "clinic-b: {hosts: {b1: 10.40.0.11}}",
        'clinic-b: {hosts: {b1: {addresses: {ssh: b, internal: ["fd00::5"]}}}}',
    )
    federation = load(document(STACK, changed))
    assert given(federation, "a1", "nginx_sites")["leader-egress"]["upstream"]["servers"] == ["[fd00::5]:9992"]
    (manager,) = given(federation, "b1", "dpsa_manager_instances").values()
    assert manager["urls"]["helper_endpoint"] == "https://[fd00::5]:9992"


def test_generation_c_has_programs_of_its_own_and_no_manager(load: Load) -> None:
    stack = STACK.replace("privacy: {max_epsilon: 1.0}", "generation: C").replace(
        "{host: b1}", "{host: b1, garbage_collector: true}"
    )
    federation = load(document(stack))
    assert list(given(federation, "b1", "janus_instances")) == ["helper-aggregator", "helper-garbage-collector"]
    assert given(federation, "a1", "dpsa_manager_instances") == {}
    driver = given(federation, "a1", "janus_instances")["leader-aggregation-driver-1"]["settings"]
    assert (driver["job_discovery_interval_s"], "min_job_discovery_delay_secs" in driver) == (10, False)


def test_doubles_are_told_apart(load: Load) -> None:
    federation = load(document(STACK + "    programs: {doubles: true}\n"))
    assert federation.expansions["survey"].real is False
    assert load(document()).expansions["survey"].real is True


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_program_s_file_is_right_without_a_word(generation: str) -> None:
    for program in PROGRAMS:
        if generation in generations_of(program):
            assert check_values(program_section(program, generation), {})[1] == []


def test_every_key_of_a_program_can_be_said_in_a_document() -> None:
    known = {path for path, _key in flat(SETTINGS)}
    for program in PROGRAMS:
        for generation in generations_of(program):
            for path, _key in flat(program_section(program, generation)):
                assert {f"common.{path}", f"{program}.{path}"} & known, (program, path)


def test_a_side_s_settings_go_over_the_stack_s_and_these_over_what_is_common(load: Load) -> None:
    stack = STACK.replace(
        "helper: {host: b1}", "helper: {host: b1, settings: {aggregator: {max_upload_batch_size: 3}}}"
    )
    common = "common: {database: {connection_pool_timeouts_secs: 7}}"
    stack += f"    settings: {{{common}, aggregator: {{max_upload_batch_size: 2}}}}\n"
    federation = load(document(stack))
    sizes = [
        given(federation, host, "janus_instances")[name]["settings"]["max_upload_batch_size"]
        for host, name in (("a1", "leader-aggregator"), ("b1", "helper-aggregator"))
    ]
    assert sizes == [2, 3]
    creator = given(federation, "a1", "janus_instances")["leader-job-creator"]["settings"]
    assert creator["database"]["connection_pool_timeouts_secs"] == 7


# -- what can't be ----------------------------------------------------------------------------------------------------

URL = 'public_url: "https://x.example:8443"'
WRONG = {
    "one party": (
        ("helper: {host: b1}", "helper: {host: a2}"),
        "13:20: stacks.survey.helper.host: leader and helper are both of party 'clinic-a', who then could open every "
        "report: place it with another party, or say allow_same_party: true to try things out on data that may be "
        "known",
    ),
    "equal URLs": (
        ("leader: {host: a1}\n    helper: {host: b1}", f"leader: {{host: a1, {URL}}}\n    helper: {{host: b1, {URL}}}"),
        "is the same URL as at federation.yml:12:36: each program has its own",
    ),
    "http": (
        ("leader: {host: a1}", 'leader: {host: a1, public_url: "http://x.example"}'),
        "reports and tokens would travel unencrypted: write https://x.example, or insecure_public: true",
    ),
    "http of the helper, whatever is allowed": (
        (
            "helper: {host: b1}",
            'helper: {host: b1, public_url: "http://x.example"}\n    insecure_public: true',
        ),
        "the leader shows its certificate there: write https://x.example",
    ),
    "a path in a URL": (
        ("leader: {host: a1}", 'leader: {host: a1, public_url: "https://x.example/dap"}'),
        "has a path or a query: write scheme://host:port only",
    ),
    "generation A": (("privacy:", "generation: A\n    privacy:"), "A (branch dpsa-m6-dev) can't be deployed"),
    "no bound": (
        ("    privacy: {max_epsilon: 1.0}\n", ""),
        "the key 'privacy' is missing: privacy: {max_epsilon: NUMBER}",
    ),
    "epsilon 0": (("max_epsilon: 1.0", "max_epsilon: 0"), "expected a number above 0"),
    "a bound without a manager": (
        ("privacy:", "generation: C\n    privacy:"),
        "generation C has no manager whose sessions it could bound: leave it out",
    ),
    "keys of two generations": (
        ("privacy:", "settings: {aggregation_job_driver: {job_discovery_interval_s: 5}}\n    privacy:"),
        "generation B has no such key: it is min_job_discovery_delay_secs and max_job_discovery_delay_secs there",
    ),
    "a program of the other generation": (
        ("privacy:", "settings: {garbage_collector: {garbage_collection: {gc_frequency_s: 5}}}\n    privacy:"),
        "generation B has no such program",
    ),
    "a key of nobody's": (
        ("privacy:", "settings: {aggregator: {max_upload_batch_sise: 5}}\n    privacy:"),
        "unknown key 'max_upload_batch_sise' (did you mean 'max_upload_batch_size'?)",
    ),
    "more shards than are collected": (
        ("privacy:", "settings: {aggregator: {batch_aggregation_shard_count: 33}}\n    privacy:"),
        "is 33, and the collection_job_driver's is 32: what it doesn't know is lost",
    ),
    "a lease that its allowance eats up": (
        ("privacy:", "settings: {aggregation_job_driver: {worker_lease_duration_secs: 60}}\n    privacy:"),
        "is 60, and worker_lease_duration_secs is 60: it has to be less",
    ),
    "what is derived": (
        ("privacy:", 'settings: {manager: {external_leader: "http://x"}}\n    privacy:'),
        "can't be set: it follows from `leader.public_url` or `local_ports`, equal on both sides",
    ),
    "a peer whose CA nobody has": (
        ("helper: {host: b1}", f"helper: {{party: clinic-d, {URL}}}"),
        "parties.clinic-d: the key 'ca' is missing: the file with the certificate of helper's CA, as it gave it to you",
    ),
    "another party's address": (
        ("helper: {host: b1}", 'helper: {party: clinic-c, public_url: "https://10.0.0.1"}'),
        "nginx compares names in certificates, never addresses: write a DNS name",
    ),
    "another party's database": (
        ("leader: {host: a1}", "leader: {host: a1, database: {host: b1}}"),
        "host 'b1' is of another party: nobody but 'clinic-a' may see its reports",
    ),
    "every address": (
        ("leader: {host: a1}", "leader: {host: a1, bind: 0.0.0.0}"),
        "'0.0.0.0' is every address of the host: name the one that others reach",
    ),
    "a port of another": (
        ("leader: {host: a1}", "leader: {host: a1, health_port: 9971}"),
        "port 9971 on host 'a1' is taken by demo-survey-leader-aggregator",
    ),
    "ways that meet": (
        ("privacy:", "local_ports: {leader: 9992}\n    privacy:"),
        "9992 is that of 'leader' already",
    ),
    "public certificates without a port": (
        (
            "leader: {host: a1}",
            'certificates: public\n    leader: {host: a1, public_url: "https://x.example"}',
        ),
        "the controller wants a port in the URL that isn't the scheme's own, or it can't collect: https://x.example:9991",
    ),
    "a template": (
        ("leader: {host: a1}", 'leader: {host: a1, public_url: "https://{{ x }}.example"}'),
        "'{{'",
    ),
    "a path upwards": (
        ("privacy:", "programs: {janus: {archive: ../janus.tar.gz, sha256: " + "a" * 64 + "}}\n    privacy:"),
        "programs.janus.archive: expected a URL or the path of a file beside the document",
    ),
    "programs of two places": (
        ("privacy:", "programs: {janus: {path: /opt/janus, archive: janus.tar.gz}}\n    privacy:"),
        "one of 'path' and 'archive' says where the programs come from",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_can_t_be_is_told_where_it_stands(mistakes: Mistakes, name: str) -> None:
    change, message = WRONG[name]
    lines = mistakes(document(STACK, change))
    assert [line for line in lines if message in line], lines
    assert all(line.startswith("federation.yml:") for line in lines)


def test_two_mistakes_are_told_in_one_run(mistakes: Mistakes) -> None:
    text = document(STACK, ("helper: {host: b1}", "helper: {host: a2}"), ("    privacy: {max_epsilon: 1.0}\n", ""))
    assert len(mistakes(text)) == 2
