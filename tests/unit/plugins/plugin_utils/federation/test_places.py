# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where components run beside hosts: in clusters, and with external parties; and what is placed inside of another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.fedlearn.infra.plugins.action import flows as flows_action
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import (
    first_files,
    loading,
    network,
    variables,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.expanding import (
    Roster,
    endpoint,
    public_endpoint,
    service_endpoint,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import (
    Certificate,
    Component,
    Endpoint,
    Expansion,
    Federation,
    Flow,
    Host,
    Placement,
    RoundPart,
    Secret,
    gone,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.schema import Key, Place
from tests.unit.plugins.plugin_utils.federation import conftest
from tests.unit.plugins.plugin_utils.federation.conftest import Load, Mistakes

pytestmark = pytest.mark.usefixtures("toy")

DOCUMENT = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab: {hosts: {h1: 10.20.0.11}}
  clinic: {hosts: {k1: 10.30.0.11}}
  partner: {external: true, ca: public/partner/ca.pem}
clusters:
  kc: {party: lab, kubeconfig: files/kc}
  other: {party: clinic, kubeconfig: files/other}
stacks:
  one:
    kind: toy
    server: {cluster: kc}
"""
VIEWPOINT = "{plugin: fedlearn.infra.federation, document: federation.yml, party: PARTY}"
PUBLIC = "https://kc.example"
HTTP = Endpoint("http", "server.default", 8088, internal="http://server.default:8088", public=PUBLIC)


def in_cluster(federation: Federation) -> Federation:
    """The stack's server runs in its cluster, with a secret, a round and a connection to a host."""
    stack = federation.stacks["one"]
    roster = Roster(federation, stack)
    place = stack.placements["server"].places[0]
    instance = roster.present("redis", "server", "server", place, {"port": 8088}, [HTTP])
    expansion = Expansion(
        components=tuple(roster.components),
        variables=roster.variables,
        secrets=(Secret("one_token", "lab", "opens the server"),),
        flows=(Flow(place, "h1", 5432, "jobs", "password"),),
        verify={place: RoundPart((1.0,), 0.0, 10, variables={"redis_instances": [instance]})},
    )
    return dataclasses.replace(federation, expansions={"one": expansion})


def groups_of(host: str, found: variables.Inventory) -> set[str]:
    return {name for name, group in found.groups.items() if host in group.hosts}


def test_what_runs_in_a_cluster_is_its_host_s(load: Load) -> None:
    found = variables.inventory(in_cluster(load(DOCUMENT)))
    host = found.hosts["cluster-kc"]
    assert [each["name"] for each in host["redis_instances"]] == ["demo-one-server"]
    assert host["fedlearn_stages"] == {"data": ["redis"]}
    assert host["fedlearn_variables"] == ["redis_instances"]
    assert host["fedlearn_expected"]["services"] == ["demo-one-server"]
    assert host["fedlearn_stacks"]["one"]["roles"] == ["redis"]
    assert host["fedlearn_verify"]["one"]["variables"] == {"redis_instances": host["redis_instances"]}
    assert groups_of("cluster-kc", found) == {
        "federation_clusters",
        "party_lab",
        "stack_one",
        "kind_toy",
        "redis",
        "stage_data",
    }
    assert groups_of("cluster-other", found) == {"federation_clusters", "party_clinic"}
    assert (host["ansible_connection"], "ansible_host" in host) == ("local", False)


def test_clusters_know_what_hosts_know_but_how_a_machine_is_reached(load: Load) -> None:
    groups = variables.inventory(in_cluster(load(DOCUMENT))).groups
    hosts, clusters = groups["federation_hosts"].variables, groups["federation_clusters"].variables
    assert hosts.keys() - clusters.keys() == {"ansible_python_interpreter", "ansible_pipelining"}
    assert {name: hosts[name] for name in clusters} == clusters
    assert [each["name"] for each in clusters["fedlearn_secrets"]] == ["one_token"]
    assert network.endpoint_of(clusters["fedlearn_endpoints"]["one"], "server", "internal") == HTTP.internal


def test_the_group_of_clusters_is_there_without_any(load: Load) -> None:
    clusters = DOCUMENT[DOCUMENT.index("clusters:") : DOCUMENT.index("stacks:")]
    bare = load(DOCUMENT.replace(clusters, "").replace("{cluster: kc}", "{host: h1, state: absent}"))
    assert variables.inventory(bare).groups["federation_clusters"].hosts == []


@pytest.mark.parametrize(
    ("party", "hosts", "told", "flows"),
    [("lab", {"h1", "cluster-kc"}, "cluster-kc", 1), ("clinic", {"k1", "cluster-other"}, "lab", 0)],
)
def test_a_cluster_is_seen_by_its_own_party(load: Load, party: str, hosts: set[str], told: str, flows: int) -> None:
    federation = in_cluster(load(DOCUMENT, source="view.yml", view=VIEWPOINT.replace("PARTY", party)))
    found = variables.inventory(federation)
    assert found.hosts.keys() == hosts
    endpoint = found.groups["federation_clusters"].variables["fedlearn_endpoints"]["one"]["server"][0]
    assert (endpoint["host"], endpoint["public"]) == (told, PUBLIC)
    assert [row[-2] for row in flows_action.table_rows(federation)].count("jobs") == flows


@pytest.mark.parametrize(
    "asked",
    [
        {"certificates": (Certificate("c", "cluster-kc", "lab", "c", ("server",)),)},
        {"open_files": {"cluster-kc": 4096}},
    ],
    ids=["certificate", "limits"],
)
def test_no_kind_gets_files_of_the_control_node_for_a_cluster_s(load: Load, asked: dict[str, object]) -> None:
    federation = dataclasses.replace(load(DOCUMENT), expansions={"one": Expansion(**asked)})
    with pytest.raises(AssertionError, match="kind 'toy' asks for files on 'cluster-kc'"):
        variables.inventory(federation)


def test_a_role_without_a_stage_is_told_to_who_wrote_the_kind(load: Load) -> None:
    component = Component("demo-one-server", "one", "server", "toy_server", "h1")
    federation = dataclasses.replace(load(DOCUMENT), expansions={"one": Expansion(components=(component,))})
    with pytest.raises(AssertionError, match="kind 'toy': the role 'toy_server' has no stage: name its stage, in"):
        variables.inventory(federation)


def test_a_service_of_a_cluster_is_reached_by_its_name_and_only_inside(load: Load) -> None:
    own = service_endpoint("http", "jobs.default", 8088, scheme="http")
    assert (own.address, own.internal, own.public) == ("jobs.default", "http://jobs.default:8088", own.internal)
    federation = load(DOCUMENT, source="view.yml", view=VIEWPOINT.replace("PARTY", "clinic"))
    component = Component("demo-one-server", "one", "server", "redis", "cluster-kc", endpoints=(own,))
    federation = dataclasses.replace(federation, expansions={"one": Expansion(components=(component,))})
    assert variables.inventory(federation).groups["federation_hosts"].variables["fedlearn_endpoints"] == {"one": {}}


def test_a_port_of_a_cluster_s_nodes_is_reached_at_a_node() -> None:
    node = Host("h1", "lab", "h1", ("10.20.0.11",), public_name="h1.example")
    placement = Placement(cluster="kc", path=("stacks", "one", "server"))
    own = endpoint(placement, node, "grpc", "0.0.0.0", 30091, scheme="https", path=(*placement.path, "grpc_port"))
    assert (own.internal, own.public) == ("https://10.20.0.11:30091", "https://h1.example:30091")


def test_what_is_gone_from_a_cluster_is_removed_there(load: Load) -> None:
    left = load(DOCUMENT.replace("{cluster: kc}", "{cluster: kc, state: absent}")).stacks["one"].placements["server"]
    assert (left.places, left.absent_places) == ((), ("cluster-kc",))
    here = Placement(hosts=("h1", "h2"), absent=("h3",))
    assert (here.places, here.absent_places) == (("h1", "h2"), ("h3",))


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("server.default", "server.default", True),
        ("server.default", "server.other", False),
        ("server.default", "0.0.0.0", False),
        ("::", "server.default", False),
        ("::", "10.20.0.11", True),
    ],
)
def test_services_of_a_cluster_meet_by_name_alone(one: str, other: str, meet: bool) -> None:
    components = [
        Component(name, "one", "server", "redis", "cluster-kc", endpoints=(Endpoint("http", address, 8088),))
        for name, address in (("a", one), ("b", other))
    ]
    assert len(list(network.collisions(components))) == meet


THEIRS = Placement(party="partner", public_url="https://helper.p.example:8443", path=("stacks", "one", "server"))


def with_theirs(federation: Federation, url: str | None = THEIRS.public_url) -> Federation:
    """The partner runs two servers at the same URL."""
    roster = Roster(federation, federation.stacks["one"])
    own = public_endpoint(dataclasses.replace(THEIRS, public_url=url), "dap")
    for name in ("server-1", "server-2"):
        roster.theirs("redis", "server", name, "partner", [own])
    flow = Flow("h1", "partner", own.port, "shares", "mutual TLS", address=own.address)
    expansion = Expansion(components=tuple(roster.components), variables=roster.variables, flows=(flow,))
    return dataclasses.replace(federation, expansions={"one": expansion})


@pytest.mark.parametrize("view", network.VIEWS)
@pytest.mark.parametrize("url", ["https://helper.p.example:8443", "grpc://helper.p.example"])
def test_what_an_external_party_runs_is_reached_at_its_public_url(load: Load, view: str, url: str) -> None:
    found = variables.inventory(with_theirs(load(DOCUMENT), url))
    endpoints = found.groups["federation_hosts"].variables["fedlearn_endpoints"]["one"]
    assert network.endpoint_of(endpoints, "server", view, purpose="dap", host="partner") == url
    assert "redis" not in found.groups
    assert all("redis_instances" not in host for host in found.hosts.values())


def test_a_flow_to_an_external_party_tells_where(load: Load) -> None:
    federation = with_theirs(load(DOCUMENT))
    rows = flows_action.table_rows(federation, "one")
    assert (
        "one",
        "outgoing",
        "h1",
        "10.20.0.11",
        "partner",
        "helper.p.example",
        "tcp",
        "8443",
        "shares",
        "mutual TLS",
    ) in rows


def test_an_external_party_s_components_meet_nobody_here(load: Load) -> None:
    assert list(network.collisions(with_theirs(load(DOCUMENT)).expansions["one"].components)) == []


def test_a_url_without_a_port_leads_to_its_scheme_s() -> None:
    found = public_endpoint(dataclasses.replace(THEIRS, public_url="https://p.example"), "dap")
    assert (found.address, found.port, found.path[-1]) == ("p.example", 443, "public_url")
    with pytest.raises(AssertionError, match="no public_url, so it is no external party"):
        public_endpoint(dataclasses.replace(THEIRS, public_url=None), "dap")


NAMES = st.lists(st.sampled_from(["h1", "h2", "h3"]), unique=True, max_size=3).map(tuple)


def placed(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Placements, and what may hold some: a table of them, a list, another one's options."""
    options = st.dictionaries(st.sampled_from(["database", "clients", "port"]), inner, max_size=2)
    placement = st.builds(
        Placement,
        hosts=NAMES,
        absent=NAMES,
        cluster=st.sampled_from([None, "kc"]),
        party=st.sampled_from([None, "partner"]),
        external=st.sampled_from([None, {"url": "https://s.example"}]),
        options=options,
    )
    return placement | options | st.lists(inner, max_size=2)


def placements_in(value: object) -> Iterator[Placement]:
    if isinstance(value, Placement):
        yield value
        yield from placements_in(value.options)
    elif isinstance(value, (dict, list)):
        for child in value.values() if isinstance(value, dict) else value:
            yield from placements_in(child)


@given(st.recursive(st.integers() | st.text(max_size=3), placed, max_leaves=8))
def test_whatever_is_gone_runs_nowhere_and_is_removed_where_it_ran(value: object) -> None:
    before, after = list(placements_in(value)), list(placements_in(gone(value)))
    assert len(before) == len(after)
    for was, now in zip(before, after, strict=True):
        assert (now.hosts, now.places, now.cluster, now.party, now.external) == ((), (), None, None, None)
        assert set(was.hosts) | set(was.absent) == set(now.absent)
        assert was.cluster == now.absent_cluster
        assert {*was.hosts, *was.absent, *was.places} <= set(now.absent_places)
    assert gone(gone(value)) == gone(value)


@pytest.fixture
def nested(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy's server may have a database inside."""
    place = conftest.PLACEMENTS["server"].type
    inner = {**place.options, "database": Key(Place(port=5432), "Its database.")}
    outer = Key(dataclasses.replace(place, options=inner), "The server.", required=True)
    monkeypatch.setitem(conftest.PLACEMENTS, "server", outer)


@pytest.mark.usefixtures("nested")
@pytest.mark.parametrize(
    ("server", "stack", "expected"),
    [
        ("host: h1", "", (("k1",), ())),
        ("host: h1, state: absent", "", ((), ("k1",))),
        ("host: h1", "state: absent", ((), ("k1",))),
        ("host: h1, absent: [h1]", "", (("k1",), ())),
    ],
    ids=["present", "placement", "stack", "drained"],
)
def test_what_is_placed_in_what_is_absent_is_absent(
    load: Load, server: str, stack: str, expected: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    text = DOCUMENT.replace("{cluster: kc}", f"{{{server}, database: {{host: k1}}}}")
    found = load(f"{text}    {stack}\n").stacks["one"].placements["server"].options["database"]
    assert (found.hosts, found.absent) == expected


@pytest.fixture
def clustered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy's server runs in a cluster or with an external party, and on no host."""
    place = dataclasses.replace(conftest.PLACEMENTS["server"].type, on_hosts=False)
    monkeypatch.setitem(conftest.PLACEMENTS, "server", Key(place, "The server.", required=True))


WHERE = "14:13: stacks.one.server: doesn't say where: 'cluster' or 'party' is missing"


@pytest.mark.usefixtures("clustered")
@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("{host: h1}", [WHERE, "14:14: stacks.one.server.host: unknown key 'host' (did you mean 'port'?)"]),
        (
            "{cluster: kc, absent: [h1]}",
            ["14:27: stacks.one.server.absent: unknown key 'absent' (did you mean 'secret'?)"],
        ),
        ("{port: 7}", [WHERE]),
    ],
)
def test_what_runs_in_clusters_only_is_placed_on_no_host(
    load: Load, mistakes: Mistakes, server: str, expected: list[str]
) -> None:
    assert load(DOCUMENT).stacks["one"].placements["server"].places == ("cluster-kc",)
    assert mistakes(DOCUMENT.replace("{cluster: kc}", server)) == [f"federation.yml:{line}" for line in expected]


@pytest.mark.parametrize(
    ("example", "there"),
    [
        ("server: {cluster: cluster1}", ({"lab"}, {"cluster1"})),
        ("server: {party: partner, public_url: 'https://p.example'}", ({"lab", "partner"}, set())),
        ("server: {host: host1}", ({"lab"}, set())),
    ],
)
def test_a_first_document_has_what_its_example_names(
    load: Load, monkeypatch: pytest.MonkeyPatch, example: str, there: tuple[set[str], set[str]]
) -> None:
    known = {"toy": SimpleNamespace(EXAMPLE=example)}
    monkeypatch.setattr(first_files, "kinds", lambda: known)
    federation = load(first_files.first_files("toy")["federation.yml"])
    assert (set(federation.parties), set(federation.clusters)) == there
    assert len(federation.stacks) == 1


def test_a_host_cannot_be_called_like_a_cluster_s(mistakes: Mistakes) -> None:
    assert mistakes(DOCUMENT.replace("{h1: 10.20.0.11}", "{cluster-kc: 10.20.0.11}")) == [
        "federation.yml:5:17: parties.lab.hosts.cluster-kc: 'cluster-kc' is the host that stands for a cluster too: "
        "choose another name"
    ]


def test_the_names_of_clusters_hosts_are_in_one_place(load: Load) -> None:
    federation = load(DOCUMENT)
    assert {each.host: federation.party_of(each.host) for each in federation.clusters.values()} == {
        "cluster-kc": "lab",
        "cluster-other": "clinic",
    }
    assert federation.party_of("k1") == "clinic"
    with pytest.raises(KeyError):
        federation.party_of("partner")
    assert loading.RESERVED_GROUPS[-1] == "federation_clusters"


APART = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  clinic-a: {hosts: {a1: ONE}}
  clinic-b: {hosts: {b1: OTHER}}
"""


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("10.67.1.21", "10.67.1.21", True),
        ("m.example", "M.example", True),
        ("10.67.1.21", "{address: 10.67.1.21, vars: {ansible_port: 22}}", True),
        ("10.67.1.21", "{address: 10.67.1.21, public_name: b.example}", True),
        ("10.67.1.21", "{addresses: {ssh: 10.67.1.21, internal: 10.9.0.1}}", True),
        ("10.67.1.21", "10.67.1.22", False),
        ("10.67.1.21", "{address: 10.67.1.21, vars: {ansible_port: 2222}}", False),
        ("10.67.1.21", "{address: 10.67.1.21, state: absent}", False),
        ("{address: 10.0.0.5, public_name: a.example}", "{address: 10.0.0.5, public_name: b.example}", False),
        (
            "{addresses: {ssh: 127.0.0.1, internal: 10.0.0.5}}",
            "{addresses: {ssh: 127.0.0.1, internal: 10.0.0.6}}",
            False,
        ),
    ],
)
def test_parties_share_no_machine(load: Load, mistakes: Mistakes, one: str, other: str, shared: bool) -> None:
    text = APART.replace("ONE", one).replace("OTHER", other)
    if not shared:
        assert load(text).parties
        return
    (mistake,) = mistakes(text)
    assert mistake.startswith("federation.yml:6:26: parties.clinic-b.hosts.b1: ")
    assert "port 22, is where ssh finds 'a1' of party 'clinic-a' (federation.yml:5:26): parties share no" in mistake
