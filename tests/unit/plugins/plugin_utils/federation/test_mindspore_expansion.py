# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a document with MindSpore Federated becomes: components, ports, certificates, flows, groups."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import flows, loading, variables
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.mindspore.placements import (
    DEFAULT_SHAPES,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Component, Federation
from tests.unit.conftest import DOCUMENT
from tests.unit.plugins.plugin_utils.federation.conftest import Load, Mistakes

CHECKOUT = Path(__file__).resolve().parents[5]


@pytest.fixture(scope="module")
def demo() -> Federation:
    return loading.load(str(CHECKOUT / "inventories/demo/federation.yml"))


def ports(component: Component) -> list[tuple[str, int | None]]:
    return [(endpoint.address, endpoint.port) for endpoint in component.endpoints]


def test_the_demo_s_components_and_where_they_listen(demo: Federation) -> None:
    components = demo.expansions["lenet"].components
    many = ("mindspore_server", "mindspore_worker")
    assert {each.name: (each.role, each.host, ports(each)) for each in components if each.role not in many} == {
        "demo-lenet-redis": ("redis", "ms1", [("10.20.0.11", 23456)]),
        "demo-lenet-rest": ("nginx", "ms1", [("10.20.0.11", 11202)]),
        "demo-lenet-scheduler": ("mindspore_scheduler", "ms1", [("127.0.0.1", 11202)]),
        "demo-lenet-proxy": ("nginx", "ms1", [("10.20.0.11", 6666)]),
    }
    assert {(each.name, each.host): ports(each) for each in components if each.role in many} == {
        **{("demo-lenet-server-1", host): [(at, 6666), (at, None)] for host, at in SERVERS.items()},
        **{("demo-lenet-server-1-checkpoints", host): [(at, 7666)] for host, at in SERVERS.items()},
        **{("demo-lenet-worker-1", host): [] for host in SERVERS},
    }


def test_what_stops_is_named_by_stage_also_what_is_to_go_and_nothing_that_others_use(load: Load) -> None:
    text = DOCUMENT.replace("servers: {hosts: [ms2]", "servers: {hosts: [ms2], absent: [ms1]")
    assert text != DOCUMENT
    federation = load(text)
    hosts = variables.inventory(federation).hosts
    stops = {host: facts["fedlearn_stacks"]["lenet"]["services"] for host, facts in hosts.items()}
    server = ["demo-lenet-server-1", "demo-lenet-server-1-checkpoints"]
    assert stops == {
        "ms1": {"data": ["demo-lenet-redis"], "coordinator": ["demo-lenet-scheduler"], "service": server},
        "ms2": {"service": server, "participant": ["demo-lenet-worker-1"]},
    }


SERVERS = {"ms2": "10.20.0.12", "ms3": "10.20.0.13"}


def test_the_verify_round_has_names_and_ports_of_its_own(demo: Federation) -> None:
    transient = demo.expansions["lenet"].transient
    assert {each.name for each in transient} == {
        f"demo-verify-lenet-{part}" for part in ("scheduler", "server-1", "server-1-checkpoints", "proxy", "worker-1")
    }
    shifted = {port for each in transient for _address, port in ports(each) if port}
    assert shifted == {13202, 8666, 9666}


def test_the_demo_s_certificates(demo: Federation) -> None:
    certificates = {(each.name, each.host): each for each in demo.expansions["lenet"].certificates}
    told = {
        key: (each.authority, each.dns_names, each.addresses, each.usages, each.formats, each.trust)
        for key, each in certificates.items()
    }
    both, client = ("server", "client"), ("client",)
    store, pkcs12 = "lab-lenet-store", ("pem", "pkcs12")
    names = {role: f"demo-lenet-{role}" for role in ("redis", "scheduler", "server", "proxy", "worker")}
    assert told == {
        (names["redis"], "ms1"): (store, (), ("10.20.0.11",), both, ("pem",), (store,)),
        (names["scheduler"], "ms1"): (
            "lab",
            (names["scheduler"],),
            ("10.20.0.11", "127.0.0.1"),
            both,
            pkcs12,
            ("lab",),
        ),
        ("demo-lenet-scheduler-store", "ms1"): (store, (), (), client, ("pem",), (store,)),
        (names["proxy"], "ms1"): ("lab", (names["proxy"],), ("10.20.0.11",), ("server",), ("pem",), ("lab",)),
        **{
            (names["server"], host): ("lab", (names["server"],), (address,), both, pkcs12, ("lab",))
            for host, address in SERVERS.items()
        },
        **{("demo-lenet-server-store", host): (store, (), (), client, ("pem",), (store,)) for host in SERVERS},
        **{
            (names["worker"], host): ("lab", (), (address,), client, pkcs12, ("lab",))
            for host, address in SERVERS.items()
        },
    }
    assert {each.common_name for each in certificates.values()} == {f"{name}.{host}" for name, host in certificates}


def test_the_demo_s_flows(demo: Federation) -> None:
    found = {(flow.source, flow.destination, flow.port, flow.purpose) for flow in flows.flows(demo)}
    assert found == {
        *(("controller", host, 22, "ssh") for host in ("ms1", "ms2", "ms3")),
        *((host, "ms1", 23456, "Redis") for host in SERVERS),
        *(("ms1", host, None, "between servers and scheduler") for host in SERVERS),
        ("ms2", "ms3", None, "between servers and scheduler"),
        ("ms3", "ms2", None, "between servers and scheduler"),
        ("ms2", "ms3", 7666, "checkpoints"),
        ("ms3", "ms2", 7666, "checkpoints"),
        ("ms2", "ms3", 9666, "verify: checkpoints"),
        ("ms3", "ms2", 9666, "verify: checkpoints"),
        *((host, "ms1", 6666, "workers") for host in SERVERS),
        *((host, "ms1", 8666, "verify: workers") for host in SERVERS),
        *(("ms1", host, 6666, "proxy to server") for host in SERVERS),
        *(("ms1", host, 8666, "verify: proxy to server") for host in SERVERS),
        *(
            (host, mirror, 80, "packages, unless apt has other sources")
            for host in ("ms1", "ms2", "ms3")
            for mirror in ("deb.debian.org", "security.debian.org")
        ),
        *(
            (host, index, 443, "Python packages, unless pip has another index")
            for host in ("ms1", "ms2", "ms3")
            for index in ("pypi.org", "files.pythonhosted.org")
        ),
    }
    assert all(flow.authentication != "none" for flow in flows.flows(demo))


def test_the_demo_s_groups(demo: Federation) -> None:
    groups = {name: group.hosts for name, group in variables.inventory(demo).groups.items()}
    everybody = ["ms1", "ms2", "ms3"]
    for name in ("federation_hosts", "party_lab", "stack_lenet", "kind_mindspore", "pki", "limits"):
        assert sorted(groups[name]) == everybody, name
    for name in ("redis", "nginx", "mindspore_scheduler"):
        assert groups[name] == ["ms1"], name
    for name in ("mindspore_server", "mindspore_worker"):
        assert groups[name] == ["ms2", "ms3"], name


HEAD = "plugin: fedlearn.infra.federation\nversion: 1\n"
TWO_PARTIES = f"""\
{HEAD}federation: both
parties:
  lab: {{hosts: {{ms1: 10.20.0.11, ms2: {{address: 10.20.0.12, public_name: ms2.example}}}}}}
  clinic-a: {{hosts: {{a1: {{addresses: {{ssh: 10.99.0.1, internal: 10.30.0.11}}}}, a2: 10.30.0.12}}}}
stacks:
  lenet:
    kind: mindspore
    redis: {{host: ms1}}
    scheduler: {{host: ms1}}
    servers: {{hosts: [ms2]}}
    workers: {{hosts: ["a*"]}}
    proxy: {{host: ms1, public_url: "https://203.0.113.7:8443"}}
"""


def seen_from(load: Load, party: str) -> variables.Inventory:
    view = f"plugin: fedlearn.infra.federation\ndocument: federation.yml\nparty: {party}\n"
    return variables.inventory(load(TWO_PARTIES, source="view.yml", view=view))


@pytest.mark.parametrize(("party", "own"), [("lab", ["ms1", "ms2"]), ("clinic-a", ["a1", "a2"])])
def test_a_viewpoint_gives_that_party_s_hosts_only(load: Load, party: str, own: list[str]) -> None:
    inventory = seen_from(load, party)
    assert list(inventory.hosts) == own
    assert {host for group in inventory.groups.values() for host in group.hosts} == set(own)
    assert f"party_{party.replace('-', '_')}" in inventory.groups


def texts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Every text in plain data, with its path."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from texts(child, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, child in enumerate(value):
            yield from texts(child, (*path, index))
    elif isinstance(value, str):
        yield path, value


def test_a_viewpoint_knows_peers_by_what_is_public(load: Load) -> None:
    inventory = seen_from(load, "clinic-a")
    everything = [inventory.hosts, {name: group.variables for name, group in inventory.groups.items()}]
    assert [(path, text) for path, text in texts(everything) if re.search(r"10\.20\.|\bms[12]\b", text)] == []
    public = "https://203.0.113.7:8443"
    assert inventory.groups["federation_hosts"].variables["fedlearn_endpoints"] == {
        "lenet": {
            "proxy": [
                {
                    "component": "both-lenet-proxy",
                    "purpose": "http",
                    "host": "lab",
                    "bind": public,
                    "internal": public,
                    "public": public,
                }
            ]
        }
    }
    other = seen_from(load, "lab")
    assert [
        text for _path, text in texts([other.hosts, other.groups["federation_hosts"].variables]) if "10.30" in text
    ] == []


def workers_server(federation: Federation, host: str, *, verify: bool = False) -> tuple[str, int]:
    """Where a host's workers connect."""
    expansion = federation.expansions["lenet"]
    variables_ = expansion.verify[host].variables if verify else expansion.variables[host]
    servers = {tuple(each["server"].values()) for each in variables_["mindspore_worker_instances"]}
    assert len(servers) == 1
    return servers.pop()


PROXY = 'proxy: {host: ms1, public_url: "https://203.0.113.7:8443"}'
MS1_PUBLIC = ("ms1: 10.20.0.11", "ms1: {address: 10.20.0.11, public_name: 203.0.113.9}")


@pytest.mark.parametrize(
    ("changes", "server", "verify_server"),
    [
        ([], ("203.0.113.7", 8443), ("203.0.113.7", 10443)),
        ([MS1_PUBLIC], ("203.0.113.7", 8443), ("203.0.113.7", 10443)),
        ([MS1_PUBLIC, (PROXY, "proxy: {host: ms1}")], ("203.0.113.9", 6666), ("203.0.113.9", 8666)),
        ([MS1_PUBLIC, ("203.0.113.7:8443", "train.example")], ("203.0.113.9", 6666), ("203.0.113.9", 8666)),
        ([(PROXY, "proxy: {host: ms1}")], ("10.20.0.11", 6666), ("10.20.0.11", 8666)),
        (
            [
                (f"    {PROXY}\n", ""),
                ("servers: {hosts: [ms2]}", "servers: {host: ms2, public_url: 'https://203.0.113.8'}"),
            ],
            ("203.0.113.8", 443),
            ("203.0.113.8", 2443),
        ),
    ],
    ids=["url", "url before name", "name of the host", "the one that is numeric", "none given", "server's"],
)
def test_another_party_s_worker_connects_to_what_is_public(
    load: Load, changes: list[tuple[str, str]], server: tuple[str, int], verify_server: tuple[str, int]
) -> None:
    text = TWO_PARTIES
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    federation = load(text)
    assert workers_server(federation, "a1") == server
    assert workers_server(federation, "a1", verify=True) == verify_server
    own = load(text.replace('"a*"', '"a*", ms2'))
    assert workers_server(own, "ms2")[0].startswith("10.20.")
    assert workers_server(own, "a1") == server


def test_another_party_s_worker_needs_a_public_address_that_is_numeric(mistakes: Mistakes) -> None:
    assert mistakes(TWO_PARTIES.replace("203.0.113.7", "train.example")) == [
        "federation.yml:14:36: stacks.lenet.proxy.public_url: clinic-a's workers connect here and take a numeric IPv4 "
        "address only, not 'train.example': write one, or give its host one as public_name"
    ]


def test_flows_of_another_party_s_worker_lead_to_what_is_public(load: Load) -> None:
    found = {(flow.source, flow.destination, flow.port) for flow in load(TWO_PARTIES).expansions["lenet"].flows}
    assert {("a1", "203.0.113.7", 8443), ("a1", "203.0.113.7", 10443), ("clients", "ms1", 6666)} <= found
    assert not [flow for flow in found if flow[:2] == ("a1", "ms1")]


@pytest.mark.parametrize(
    ("placed", "flow"),
    [
        ('proxy: {host: ms1, public_url: "https://fl.example"}', ("clients", "fl.example", 443, "clients")),
        ('proxy: {host: ms1, public_url: "https://10.20.0.11:8443"}', ("clients", "10.20.0.11", 8443, "clients")),
        (
            "scheduler: {host: ms1, allow: [10.9.0.0/16], public_url: 'https://fl.example:8443'}",
            ("10.9.0.0/16", "fl.example", 8443, "scheduler REST"),
        ),
        ('proxy: {host: ms1, public_url: "https://10.20.0.11:6666"}', None),
    ],
    ids=["a gateway", "another port of the host", "the scheduler's", "where the proxy listens"],
)
def test_what_a_public_url_names_is_a_flow_too(load: Load, placed: str, flow: tuple[Any, ...] | None) -> None:
    """The firewall team opens what clients connect to, not only what it is forwarded to."""
    here = TWO_PARTIES.replace('workers: {hosts: ["a*"]}', "workers: {hosts: [ms2]}")
    document = here.replace(PROXY, "") + f"    {placed}\n"
    if "scheduler" in placed:
        document = document.replace("    scheduler: {host: ms1}\n", "")
    listed = load(document).expansions["lenet"].flows
    found = [(each.source, each.destination, each.port, each.purpose) for each in listed]
    assert len(found) == len(set(found))
    assert {each for each in found if each[2] in (443, 8443)} == ({flow} if flow else set())
    assert ("clients", "ms1", 6666, "clients") in found or "scheduler" in placed


def test_a_gateway_is_in_the_list_of_whose_proxy_it_leads_to(load: Load) -> None:
    view = "plugin: fedlearn.infra.federation\ndocument: federation.yml\nparty: lab\n"
    listed = flows.flows(load(TWO_PARTIES, source="view.yml", view=view))
    found = {(each.source, each.destination, each.port) for each in listed}
    assert {("clients", "203.0.113.7", 8443), ("clients", "ms1", 6666)} <= found
    assert not [flow for flow in found if flow[0] == "a1"]


def test_a_worker_of_another_party_trusts_both_cas_and_shows_its_own(load: Load) -> None:
    certificates = load(TWO_PARTIES).expansions["lenet"].certificates
    worker = next(each for each in certificates if each.host == "a1")
    assert (worker.authority, worker.trust, worker.usages) == ("clinic-a", ("clinic-a", "lab"), ("client",))


def test_two_federations_share_hosts_without_a_name_or_path_in_common(load: Load) -> None:
    one = load(TWO_PARTIES)
    other = load(TWO_PARTIES.replace("federation: both", "federation: other"))
    names = [{each.name for each in found.expansions["lenet"].components} for found in (one, other)]
    assert names[0].isdisjoint(names[1])
    said = json.dumps(variables.inventory(other).hosts)
    assert "both-" not in said
    assert "/both/" not in said


RANGE = f"""\
{HEAD}federation: demo
parties:
  lab:
    hosts:
      ms1: 10.20.0.11
      "w[08:11].lab.example": {{first_address: [10.20.1.254, "fd00::ffff"]}}
stacks:
  lenet:
    kind: mindspore
    redis: {{host: ms1}}
    scheduler: {{host: ms1}}
    servers: {{hosts: [ms1], per_host: 3}}
    workers: {{hosts: ["w08.lab.example"], per_host: 2}}
"""


def test_a_range_of_hosts_counts_addresses_up(load: Load) -> None:
    hosts = load(RANGE).parties["lab"].hosts
    assert {name: host.internal for name, host in hosts.items() if name != "ms1"} == {
        "w08.lab.example": ("10.20.1.254", "fd00::ffff"),
        "w09.lab.example": ("10.20.1.255", "fd00::1:0"),
        "w10.lab.example": ("10.20.2.0", "fd00::1:1"),
        "w11.lab.example": ("10.20.2.1", "fd00::1:2"),
    }


def test_several_on_a_host_take_the_next_ports(load: Load) -> None:
    expansion = load(RANGE).expansions["lenet"]
    servers = {each.name: ports(each)[0][1] for each in expansion.components if each.role == "mindspore_server"}
    assert servers == {
        **{f"demo-lenet-server-{number}": 6665 + number for number in (1, 2, 3)},
        **{f"demo-lenet-server-{number}-checkpoints": 7665 + number for number in (1, 2, 3)},
    }
    workers = [each.name for each in expansion.components if each.role == "mindspore_worker"]
    assert workers == ["demo-lenet-worker-1", "demo-lenet-worker-2"]
    settings = expansion.variables["ms1"]["mindspore_server_instances"][0]["settings"]
    assert (settings["round"]["start_fl_job_threshold"], settings["server_mode"]) == (2, "CLOUD_TRAINING")


def test_more_servers_on_a_host_leave_the_first_one_as_it_is(load: Load) -> None:
    def first(text: str) -> dict[str, Any]:
        instance = load(text).expansions["lenet"].variables["ms1"]["mindspore_server_instances"][0]
        return {**instance, "checkpoints": {**instance["checkpoints"], "peers": None}}

    assert first(RANGE) == first(RANGE.replace("per_host: 3", "per_host: 1"))


def test_ipv6_stands_in_brackets_where_it_is_and_is_refused_where_the_program_takes_none(
    load: Load, mistakes: Mistakes
) -> None:
    six = RANGE.replace("ms1: 10.20.0.11", 'ms1: {addresses: {ssh: "fd00::1", internal: ["fd00::1", 10.20.0.11]}}')
    federation = load(six)
    assert federation.host("ms1").internal == ("10.20.0.11", "fd00::1")
    redis = variables.inventory(federation).groups["federation_hosts"].variables["fedlearn_endpoints"]["lenet"]["redis"]
    assert [each["bind"] for each in redis] == ["10.20.0.11:23456"]
    way_out = "and MindSpore Federated takes IPv4 only: give it one under parties, addresses: {internal: [ADDRESS]}"
    only = mistakes(RANGE.replace("ms1: 10.20.0.11", 'ms1: "fd00::1"'))
    assert {line.partition("host 'ms1' ")[2] for line in only} == {f"has IPv6 addresses only, {way_out}"}


def test_an_ipv6_bind_of_the_proxy_stands_in_brackets(load: Load) -> None:
    text = RANGE + '    proxy: {host: w08.lab.example, bind: "::"}\n'
    found = variables.inventory(load(text)).groups["federation_hosts"].variables["fedlearn_endpoints"]["lenet"]["proxy"]
    assert [(each["bind"], each["internal"]) for each in found] == [("[::]:6666", "https://10.20.1.254:6666")]


def test_what_is_absent_is_named_and_no_more(load: Load) -> None:
    text = TWO_PARTIES.replace("hosts: [ms2]}", "hosts: [ms2, ms1], absent: [ms2], port: 6667}")
    expansion = load(text).expansions["lenet"]
    state = {(each.name, each.host): each.state for each in expansion.components if each.role == "mindspore_server"}
    assert state["both-lenet-server-1", "ms2"] == "absent"
    assert state["both-lenet-server-1", "ms1"] == "present"
    assert expansion.variables["ms2"]["mindspore_server_instances"] == [
        {"name": "both-lenet-server-1", "state": "absent", "federation": "both", "stack": "lenet"}
    ]
    assert "ms2" not in {flow.destination for flow in expansion.flows}


SECOND = """\
  other:
    kind: mindspore
    redis: {host: ms1, port: 23457}
    scheduler: {host: ms1, port: 11203}
    servers: {hosts: [ms2], port: 6668, checkpoint_port: 7668, initial_model: {shapes: {w: [1]}}}
"""


@pytest.mark.parametrize(
    ("change", "more", "limits"),
    [
        ("hosts: [ms2, ms1], absent: [ms2], port: 6667}", "", {"limits_state": "absent"}),
        ("hosts: [ms2], state: absent}\n    state: absent", "", {"limits_state": "absent"}),
        ("hosts: [ms2, ms1], absent: [ms2], port: 6667}", SECOND, {"limits_nofile": 65535}),
        ("hosts: [ms2]}", "", {"limits_nofile": 65535}),
    ],
    ids=["drained", "the whole stack", "another stack's servers", "present"],
)
def test_limits_go_where_nothing_needs_them_any_more(
    load: Load, change: str, more: str, limits: dict[str, Any]
) -> None:
    inventory = variables.inventory(load(TWO_PARTIES.replace("hosts: [ms2]}", change) + more))
    host = inventory.hosts["ms2"]
    assert "limits" in host["fedlearn_stages"]["base"]
    assert {name: value for name, value in host.items() if name.startswith("limits_")} == limits


@pytest.mark.parametrize(
    ("old", "new"), [("kind: mindspore", "kind: mindspore\n    state: absent")], ids=["the whole stack"]
)
def test_of_an_absent_stack_everything_is_to_be_removed(load: Load, old: str, new: str) -> None:
    federation = load(TWO_PARTIES.replace(old, new))
    expansion = federation.expansions["lenet"]
    assert {each.state for each in expansion.components} == {"absent"}
    assert {each.state for each in expansion.certificates} == {"absent"}
    assert {each.host for each in expansion.components} == {"ms1", "ms2", "a1", "a2"}
    assert expansion.flows == ()
    assert [flow.purpose for flow in flows.flows(federation)] == ["ssh"] * 4


def test_a_round_brings_workers_to_hosts_that_have_none(load: Load) -> None:
    """Those of a stack for devices, whose servers' hosts are in no group of participants."""
    servers = "servers: {hosts: [ms2], initial_model: {shapes: {a: [1]}}}"
    text = DOCUMENT.replace("    workers: {hosts: [ms2]}\n", "").replace("servers: {hosts: [ms2]}", servers)
    found = variables.inventory(load(text))
    assert found.groups["stage_participant"].hosts == []
    assert found.groups["round_participant"].hosts == ["ms2"]
    assert found.hosts["ms2"]["fedlearn_round_stages"] == {
        "service": ["mindspore_server"],
        "participant": ["mindspore_worker"],
    }
    assert found.groups["round_front"].hosts == found.groups["round_data"].hosts == []


def test_the_default_application_s_model_is_the_launcher_s() -> None:
    """Read and not imported: it calculates with numpy, which only hosts have."""
    source = (CHECKOUT / "roles/shared_mindspore/files/fedlearn_mindspore/linear.py").read_text()
    named = {ast.unparse(node.target): node.value for node in ast.parse(source).body if isinstance(node, ast.AnnAssign)}
    shapes = named["SHAPES"]
    assert shapes is not None
    assert ast.literal_eval(shapes) == DEFAULT_SHAPES
