# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of a stack of dc_federated, and what of it can't be."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import flows, variables
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.dc_federated.parts import answer, vector
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Federation
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles import nginx
from tests.unit.plugins.plugin_utils.federation.conftest import Load, Mistakes

DOCUMENT = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab:
    hosts:
      h1: {address: 10.20.0.11, public_name: lab.example}
      h2: 10.20.0.12
      "w[01:40].lab.example": {first_address: 10.20.1.1}
  clinic:
    hosts: {k1: 10.30.0.11}
stacks:
  vision:
    kind: dc_federated
    server: {host: h1}
    proxy: {host: h1}
    workers: {hosts: [h2, k1]}
"""
APART = DOCUMENT.replace("proxy: {host: h1}", "proxy: {host: h2}")
ALONE = DOCUMENT.replace("    proxy: {host: h1}\n", "")


def hosts(federation: Federation) -> dict[str, dict[str, Any]]:
    return variables.inventory(federation).hosts


def server(federation: Federation, host: str = "h1") -> dict[str, Any]:
    (found,) = hosts(federation)[host]["dc_federated_server_instances"]
    return dict(found)


def site(federation: Federation, host: str) -> dict[str, Any]:
    (found,) = hosts(federation)[host]["nginx_sites"]
    return dict(found)


def worker(federation: Federation, host: str) -> dict[str, Any]:
    (found,) = hosts(federation)[host]["dc_federated_worker_instances"]
    return dict(found)


def test_beside_its_proxy_a_server_is_on_loopback_without_tls(load: Load) -> None:
    found = load(DOCUMENT)
    assert (server(found)["listen"], server(found)["tls"]) == ({"address": "127.0.0.1", "port": 5000}, None)
    assert site(found, "h1")["upstream"] == {"servers": ["127.0.0.1:5000"], "retries": 0}


def test_apart_from_its_proxy_it_speaks_tls_itself(load: Load) -> None:
    found = load(APART)
    assert server(found)["listen"] == {"address": "10.20.0.11", "port": 5000}
    assert server(found)["tls"]["key"] == "/etc/fedlearn/demo/pki/demo-vision-server/key.pem"
    assert site(found, "h2")["upstream"]["tls"]["name"] == "demo-vision-server"
    names = {one["name"]: one["dns_names"] for one in hosts(found)["h1"]["pki_certificates"]}
    assert "demo-vision-server" in names["demo-vision-server"]


def test_without_a_proxy_workers_connect_to_it(load: Load) -> None:
    found = load(ALONE)
    assert server(found)["tls"] is not None
    assert worker(found, "h2")["server"] == {"protocol": "https", "host": "10.20.0.11", "port": 5000}


def test_exactly_the_workers_paths_are_public(load: Load) -> None:
    paths = site(load(DOCUMENT), "h1")["paths"]
    assert {path["path"] for path in paths} == {
        "/register_worker",
        "/challenge_phrase/",
        "/return_global_model",
        "/notify_me_if_gm_version_updated",
        "/receive_worker_update/",
    }


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (("", ""), [{"address": "10.20.0.11", "port": 80}]),
        (("{host: h1}\n    workers", "{host: h1, redirect: false}\n    workers"), []),
        (("{host: h1}\n    workers", "{host: h1, port: 8443}\n    workers"), []),
        (("    workers", "    tls: false\n    workers"), []),
    ],
    ids=["443", "not wanted", "another port", "no tls"],
)
def test_port_80_leads_to_443(load: Load, change: tuple[str, str], wanted: list[dict[str, Any]]) -> None:
    text = DOCUMENT.replace("[h2, k1]", "[h2, k1], expected: 9")
    found = load(text.replace(*change) if change[0] else text)
    assert site(found, "h1")["redirect"] == wanted
    (copy,) = hosts(found)["h1"]["fedlearn_verify"]["vision"]["variables"]["nginx_sites"]
    assert copy["redirect"] == []
    leading = [flow for flow in flows.flows(found) if (flow.destination, flow.port) == ("h1", 80)]
    assert [flow.source for flow in leading] == ["clients"] * len(wanted)


def test_port_80_is_left_to_an_acme_server_s_questions(load: Load) -> None:
    acme = "    pki: {mode: acme, ca: files/root.pem, acme: {directory: https://acme.example/dir}}\n"
    found = load(DOCUMENT.replace("  lab:\n", f"  lab:\n{acme}"))
    (front,) = [one for one in hosts(found)["h1"]["nginx_sites"] if one["name"] == "demo-vision-proxy"]
    assert front["redirect"] == []
    kit = variables.inventory(found).groups["federation_hosts"].variables["fedlearn_kits"]["vision"]
    assert kit["variables"]["dc_federated_worker_kit_ca"] == f"{found.directory}/files/root.pem"


def test_what_has_port_80_already_is_told(mistakes: Mistakes) -> None:
    other = (
        DOCUMENT[DOCUMENT.index("  vision:") :].replace("vision", "second").replace("host: h1", "host: h1, port: 80")
    )
    told = mistakes(DOCUMENT + other.replace("server: {host: h1, port: 80}", "server: {host: h1, port: 5001}"))
    assert [line for line in told if "10.20.0.11" in line and "80" in line]


def test_updates_are_handed_on_as_they_come(load: Load) -> None:
    streamed = {path["path"] for path in site(load(DOCUMENT), "h1")["paths"] if path.get("stream_requests")}
    assert streamed == {"/receive_worker_update/"}


def test_administrators_alone_need_a_certificate(load: Load) -> None:
    admins = "{host: h1, admins: {names: [operator], allow: [10.20.0.0/16]}}"
    found = site(load(DOCUMENT.replace("{host: h1}\n    workers", f"{admins}\n    workers")), "h1")
    assert {path["path"] for path in found["paths"] if not path.get("without_certificate")} == {"/workers", "/workers/"}
    assert {tuple(path["client_names"]) for path in found["paths"] if "client_names" in path} == {("operator",)}
    assert found["tls"]["client_ca"].endswith("/demo-vision-proxy/ca.pem")
    assert found["tls"]["client_crl"].endswith("/demo-vision-proxy/crl.pem")  # who was withdrawn is an operator no more


def test_another_partys_workers_connect_to_what_is_public(load: Load) -> None:
    found = load(DOCUMENT)
    assert worker(found, "h2")["server"]["host"] == "10.20.0.11"
    assert worker(found, "k1")["server"] == {"protocol": "https", "host": "lab.example", "port": 443}


def test_public_keys_travel_by_their_partys_folder_and_stand_in_the_documents_order(load: Load) -> None:
    found = load(DOCUMENT.replace("[h2, k1]", "[h2, k1], keys: [public/clinic/vision.keys]"))
    published = {host: worker(found, host)["public_key_file"] for host in ("h2", "k1")}
    assert published["k1"].endswith("/public/clinic/demo-vision-worker.k1.pub")
    files = server(found)["key_files"]
    assert files == [published["h2"], published["k1"]]
    (lists,) = server(found)["key_lists"]
    assert lists.endswith("/public/clinic/vision.keys")
    more = server(load(DOCUMENT.replace("[h2, k1]", "[h2, w01.lab.example, k1]")))["key_files"]
    assert [path for path in more if path in files] == files


@pytest.mark.parametrize(("expected", "files", "clients"), [(1000, 65535, 2050), (40_000, 200_512, 80_050)])
def test_limits_come_of_the_expected_workers(load: Load, expected: int, files: int, clients: int) -> None:
    found = load(DOCUMENT.replace("[h2, k1]", f"[h2, k1], expected: {expected}"))
    assert hosts(found)["h1"]["limits_nofile"] == files
    assert server(found)["expected"] == expected
    assert site(found, "h1")["limits"] == {"clients": clients, "total_requests_per_second": clients}
    # two connections a client, a file each
    assert hosts(found)["h1"].get("nginx_open_files", 65535) == max(65535, 2 * clients + 1024)


def test_an_address_has_a_limit_of_its_own_where_that_is_said(load: Load) -> None:
    found = load(DOCUMENT.replace("proxy: {host: h1}", "proxy: {host: h1, limits: {per_address: 40}}"))
    assert site(found, "h1")["limits"] == {
        "clients": 512,
        "total_requests_per_second": 1000,
        "clients_per_address": 40,
    }


def test_machines_of_others_take_part_by_what_is_public(load: Load) -> None:
    found = load(DOCUMENT)
    kit = variables.inventory(found).groups["federation_hosts"].variables["fedlearn_kits"]["vision"]
    (instance,) = kit["variables"]["dc_federated_worker_instances"]
    assert instance["server"] == {"protocol": "https", "host": "lab.example", "port": 443}
    assert instance["application"]["settings"] == {"vector": vector(2)}  # none of our own workers'
    assert kit["variables"]["dc_federated_worker_kit_ca"] == f"{found.state_directory}/public/lab/lab.pem"
    signed = load(DOCUMENT.replace("  lab:\n", "  lab:\n    pki: {mode: csr, ca: public/lab/theirs.pem}\n"))
    kit = variables.inventory(signed).groups["federation_hosts"].variables["fedlearn_kits"]["vision"]
    assert kit["variables"]["dc_federated_worker_kit_ca"] == f"{signed.directory}/public/lab/theirs.pem"
    plain = load(DOCUMENT + "    tls: false\n    settings: {server_mode_safe: false}\n")
    kit = variables.inventory(plain).groups["federation_hosts"].variables["fedlearn_kits"]["vision"]
    (instance,) = kit["variables"]["dc_federated_worker_instances"]
    assert (instance["ca"], instance["key"]) == (None, None)


def test_a_stack_that_goes_has_no_kit(load: Load) -> None:
    found = load(DOCUMENT.replace("kind: dc_federated", "kind: dc_federated\n    state: absent"))
    assert variables.inventory(found).groups["federation_hosts"].variables["fedlearn_kits"] == {}


TWO = """\
    proxy: {host: h1, server_names: [vision.example]}
    workers: {hosts: [h2]}
  speech:
    kind: dc_federated
    server: {host: h1, port: 5001}
    proxy: {host: h1, server_names: [speech.example]}
    workers: {hosts: [h2]}
"""


def test_stacks_behind_one_front_are_told_apart_by_name(load: Load) -> None:
    found = load(DOCUMENT[: DOCUMENT.index("    proxy:")] + TWO)
    sites = hosts(found)["h1"]["nginx_sites"]
    assert [one["listen"][0]["port"] for one in sites] == [443, 443]
    # one address and port is one socket, of which nginx takes this only once
    assert [one["listen"][0]["find_dead_peers"] for one in sites] == [True, False]
    assert [one["redirect"][0]["port"] for one in sites] == [80, 80]
    workers = hosts(found)["h2"]["dc_federated_worker_instances"]
    assert [one["server"]["host"] for one in workers] == ["vision.example", "speech.example"]
    names = {one["name"]: one["dns_names"] for one in hosts(found)["h1"]["pki_certificates"]}
    assert "speech.example" in names["demo-speech-proxy"]
    assert nginx.check(sites)


def test_unsafe_mode_has_no_keys(load: Load) -> None:
    found = load(DOCUMENT + "    settings: {server_mode_safe: false}\n")
    assert (server(found)["key_files"], server(found)["key_lists"]) == ([], [])
    assert worker(found, "h2")["key"] is None


def test_what_workers_run_goes_with_what_the_server_runs(load: Load) -> None:
    assert worker(load(DOCUMENT), "h2")["application"]["callable"] == "fedlearn_dc_federated.mean:run"
    own = DOCUMENT.replace("server: {host: h1}", 'server: {host: h1, application: "myapp.server:build"}')
    assert worker(load(own), "h2")["application"] == {"callable": "myapp.worker:run", "settings": {}}


def test_a_round_is_right_only_with_every_worker(load: Load) -> None:
    found = load(DOCUMENT)
    parts = {
        host: values["fedlearn_verify"]["vision"] for host, values in hosts(found).items() if values["fedlearn_verify"]
    }
    assert {tuple(part["expected"]) for part in parts.values()} == {answer(2)}
    (copy,) = parts["h1"]["variables"]["dc_federated_server_instances"]
    assert copy["application"]["settings"]["workers"] == 2
    assert copy["listen"]["port"] == 7000
    for count in (2, 3, 32):
        for missing in range(count):
            rest = [vector(index) for index in range(count) if index != missing]
            without = [
                sum(column) / len(rest) + own
                for column, own in zip(zip(*rest, strict=True), (1024.0, -0.5, 3.0), strict=True)
            ]
            assert max(abs(one - other) for one, other in zip(without, answer(count), strict=True)) > 1e-3


def test_at_most_32_workers_take_part_in_a_round(load: Load) -> None:
    found = load(DOCUMENT.replace("[h2, k1]", '["w*"]'))
    taking = [
        host for host, values in hosts(found).items() if values["fedlearn_verify"].get("vision", {}).get("results")
    ]
    assert len(taking) == 32


def test_flows_lead_to_the_entrance_and_from_there_to_the_server(load: Load) -> None:
    found = {(flow.source, flow.destination, flow.port) for flow in flows.flows(load(APART)) if flow.port not in (22,)}
    assert {("k1", "h2", 443), ("h2", "h1", 5000), ("k1", "h2", 2443), ("h2", "h1", 7000)} <= found
    assert not [flow for flow in found if flow[:2] == ("k1", "h1")]


def test_a_double_is_not_real(load: Load) -> None:
    found = load(DOCUMENT + "    library: {source: checkout, double: true}\n")
    assert found.expansions["vision"].real is False
    assert load(DOCUMENT).expansions["vision"].real is True


def test_the_administrators_password_is_a_secret_by_name(load: Load) -> None:
    (secret,) = load(DOCUMENT).expansions["vision"].secrets
    assert (dataclasses.astuple(secret)[:2], server(load(DOCUMENT))["admin"]) == (
        ("vision_admin", "lab"),
        {"secret": "vision_admin"},
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("proxy: {host: h1}", "proxy: {host: k1}"),
            "stacks.vision.proxy.host: host 'k1' is of party 'clinic', the server's of 'lab': both are one party's",
        ),
        (
            ("server: {host: h1}", "server: {host: h1, bind: 127.0.0.1}\n    library: {source: checkout}"),
            "stacks.vision.server.bind: '127.0.0.1' cannot be reached from 'h2'",
        ),
        (
            ("server: {host: h1}", "server: {host: h1, port: 64000}"),
            "stacks.vision.server.port: 64000 and the verify round's 66000 must not be above 65535",
        ),
        (
            ("[h2, k1]", "[h2, k1], keys: a.keys}\n    settings: {server_mode_safe: false"),
            "stacks.vision.workers.keys: server_mode_safe is false, so nobody's key is looked at",
        ),
        (
            ("server: {host: h1}", "server: {host: h1}\n    settings: {server_port: 1}"),
            "stacks.vision.settings.server_port: can't be set: it follows from `server`: its port",
        ),
        (
            ("proxy: {host: h1}", "proxy: {host: h1, server_names: [a.example], public_url: https://b.example}"),
            "stacks.vision.proxy.public_url: nginx refuses who asks for another name than its server_names: a.example",
        ),
        (
            ("server: {host: h1}", "server: {host: h1, state: absent}"),
            "stacks.vision.proxy.host: the server is absent, and it leads to the server: make both absent",
        ),
    ],
)
def test_what_can_not_be_is_told(mistakes: Mistakes, change: tuple[str, str], message: str) -> None:
    assert [line for line in mistakes(DOCUMENT.replace(*change)) if message in line]


def test_a_mistyped_server_is_no_absent_one(mistakes: Mistakes) -> None:
    assert len(mistakes(DOCUMENT.replace("server: {host: h1}", "server: {host: h9}"))) == 1
