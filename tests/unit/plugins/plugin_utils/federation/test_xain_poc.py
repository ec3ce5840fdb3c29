# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of a stack of xain of the generation ``poc``, and what of it can't be."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.splitter import parse_kv

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import flows, reference, variables
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.client_kits import Asked, NoKitError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain.kit import client_kit
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain.known_adds import (
    adds,
    answer,
    total,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain.poc_keys import (
    SETTINGS,
    least_participants,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Federation
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.schema import check_values
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles import catalogue
from tests.unit.plugins.plugin_utils.federation.conftest import Load, Mistakes

CHECKOUT = Path(__file__).resolve().parents[5]
DOCUMENT = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab:
    hosts:
      h1: {address: 10.20.0.11, public_name: lab.example}
      h2: {address: 10.20.0.12, public_name: models.example}
      h3: 10.20.0.13
  clinic:
    hosts: {k1: 10.30.0.11}
stacks:
  counts:
    kind: xain
    generation: poc
    coordinator: {host: h1}
    aggregator: {host: h2}
    participants: {hosts: [h2, h3]}
    settings: {federated_learning: {rounds: 3, min_clients: 2}}
"""
TOGETHER = DOCUMENT.replace("aggregator: {host: h2}", "aggregator: {host: h1}")
ROLES = ("xain_coordinator", "xain_aggregator", "xain_participant", "nginx")


def hosts(federation: Federation) -> dict[str, dict[str, Any]]:
    return variables.inventory(federation).hosts


def named(federation: Federation, host: str, variable: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in hosts(federation)[host][variable] if one["name"] == f"demo-counts-{name}"]
    return dict(found)


def names(federation: Federation, host: str, variable: str) -> set[str]:
    return {one["name"].removeprefix("demo-counts-") for one in hosts(federation)[host].get(variable, [])}


@pytest.mark.parametrize("document", [DOCUMENT, TOGETHER])
def test_what_is_deployed_and_of_a_round_is_right_for_the_roles(load: Load, document: str) -> None:
    for values in hosts(load(document)).values():
        of_round = values.get("fedlearn_verify", {}).get("counts", {}).get("variables", {})
        for role in ROLES:
            variable = "nginx_sites" if role == "nginx" else f"{role}_instances"
            for given in (values, of_round):
                assert catalogue.mistakes(role, {variable: given.get(variable, [])}) == []


@pytest.mark.parametrize("document", [DOCUMENT, TOGETHER])
def test_both_programs_are_told_the_same_wherever_they_are(load: Load, document: str) -> None:
    found = load(document)
    aggregating = "h2" if document is DOCUMENT else "h1"
    coordinator = named(found, "h1", "xain_coordinator_instances", "coordinator")
    aggregator = named(found, aggregating, "xain_aggregator_instances", "aggregator")
    assert coordinator["rpc"] == {"port": 5555, "aggregator_port": 6666}
    assert aggregator["rpc"] == {"port": 6666, "coordinator_port": 5555}
    assert coordinator["listen"] == {"address": "127.0.0.1", "port": 50050}
    assert aggregator["listen"] == {"address": "127.0.0.1", "port": 50052}
    assert coordinator["aggregator_url"] == f"https://10.20.0.1{aggregating[1]}:8082"
    assert "storage" not in coordinator


def test_on_two_hosts_calls_go_by_tls_to_the_peer_alone(load: Load) -> None:
    found = load(DOCUMENT)
    for host, peer, own_port, peers_port in (("h1", "h2", 5555, 6666), ("h2", "h1", 6666, 5555)):
        way_in, way_out = (named(found, host, "nginx_sites", name) for name in ("rpc-in", "rpc-out"))
        assert (way_in["protocol"], way_out["protocol"]) == ("tcp", "tcp")
        assert [(one["address"], one["port"]) for one in way_in["listen"]] == [(f"10.20.0.1{host[1]}", own_port)]
        assert way_in["tls"]["client_names"] == [f"demo-counts-rpc.{peer}"]
        assert way_in["upstream"]["servers"] == [f"127.0.0.1:{own_port}"]
        assert [(one["address"], one["port"]) for one in way_out["listen"]] == [("127.0.0.1", peers_port)]
        assert way_out["upstream"]["servers"] == [f"10.20.0.1{peer[1]}:{peers_port}"]
        assert way_out["upstream"]["tls"]["name"] == "demo-counts-rpc"
        (certificate,) = [one for one in hosts(found)[host]["pki_certificates"] if one["name"] == "demo-counts-rpc"]
        assert certificate["usages"] == ["server", "client"]
    assert names(load(TOGETHER), "h1", "nginx_sites") == {"proxy", "aggregator-proxy"}


def test_only_what_participants_ask_for_is_served_to_those_named(load: Load) -> None:
    found = load(DOCUMENT.replace("rounds: 3, min_clients: 2}", "rounds: 3, min_clients: 2}, max_model_size: 500"))
    site = named(found, "h1", "nginx_sites", "proxy")
    assert [path["path"] for path in site["paths"]] == ["/rendez_vous", "/heartbeat/*", "/start_training/*"]
    models = named(found, "h2", "nginx_sites", "aggregator-proxy")
    assert [path["path"] for path in models["paths"]] == ["/*/*"]
    assert models["body_size_mb"] == 501
    for one in (site, models):
        assert one["tls"]["client_names"] == [f"demo-counts-participant.{host}" for host in ("h2", "h3")]
        assert one["upstream"]["retries"] == 0
    assert set(models["server_names"]) == {"models.example", "demo-counts-aggregator", "10.20.0.12"}
    participant = named(found, "h3", "xain_participant_instances", "participant")
    assert participant["coordinator"] == {"host": "10.20.0.11", "port": 443}
    assert participant["tls"]["certificate"].endswith("/demo-counts-participant/chain.pem")
    assert participant["heartbeat_seconds"] == 5


@pytest.mark.parametrize("others", ["[h2, h3], expected: 3", "[h2, h3], clients: [partner]", "[h2, h3, k1]"])
def test_participants_elsewhere_are_led_to_the_public_place(load: Load, others: str) -> None:
    found = load(DOCUMENT.replace("[h2, h3]", others))
    coordinator = named(found, "h1", "xain_coordinator_instances", "coordinator")
    assert coordinator["aggregator_url"] == "https://models.example:8082"


@pytest.mark.parametrize(
    ("settings", "other"),
    [
        ("rounds: 4, min_clients: 2", True),
        ("rounds: 3, min_clients: 1", True),
        ("rounds: 3, min_clients: 2, heartbeat_timeout: 60", False),
    ],
)
def test_who_has_finished_takes_part_in_another_training(load: Load, settings: str, other: bool) -> None:
    def training(document: str) -> Any:
        return named(load(document), "h3", "xain_participant_instances", "participant")["training"]

    changed = DOCUMENT.replace("rounds: 3, min_clients: 2", settings)
    assert (training(changed) != training(DOCUMENT)) is other


@pytest.mark.parametrize(("seconds", "sure"), [(3, 1), (8, 3), (9, None), (15, None)])
def test_a_heartbeat_timeout_that_a_restart_does_not_meet_is_told_with_the_numbers(
    load: Load, seconds: int, sure: int | None
) -> None:
    found = load(DOCUMENT.replace("min_clients: 2", f"min_clients: 2, heartbeat_timeout: {seconds}")).warnings
    told = "stacks.counts.settings.federated_learning.heartbeat_timeout: a participant that is restarted"
    assert [told in line and f"for {sure} s only, and takes up to 4 s" in line for line in found] == [True] * bool(sure)
    assert all(line.endswith("; 9 s are enough") for line in found)


def test_who_is_let_in_by_name_has_flows_and_is_counted(load: Load) -> None:
    """One for each name, unless the document says how many there are."""
    named_only = DOCUMENT.replace("[h2, h3]", "[h2, h3], clients: [partner]")
    found = load(named_only.replace("min_clients: 2", "min_clients: 3"))
    ways = {(one.source, one.destination, one.port) for one in flows.flows(found)}
    assert {("clients", "h1", 443), ("clients", "h2", 8082)} <= ways
    own = named_only.replace("aggregator: {host: h2}", "aggregator: {host: h2, python_class: 'mine:Mean'}")
    memory = named(load(own), "h2", "xain_aggregator_instances", "aggregator")["memory_max"]
    assert memory == "3712M"  # three models more than for two


def test_memory_is_bounded_by_the_models_size_and_by_who_keeps_what(load: Load) -> None:
    def memory(document: str) -> str:
        return str(named(load(document), "h2", "xain_aggregator_instances", "aggregator")["memory_max"])

    assert memory(DOCUMENT) == "3112M"
    larger = DOCUMENT.replace("min_clients: 2}", "min_clients: 2}, max_model_size: 1000")
    assert memory(larger) == "13512M"
    own = larger.replace("{host: h2}", "{host: h2, python_class: 'mine:Mean'}").replace(
        "[h2, h3]", "[h2, h3], expected: 12"
    )
    assert memory(own) == "43512M"
    ours = larger.replace("[h2, h3]", "[h2, h3], expected: 12")
    assert memory(ours) == "33512M"
    all_elsewhere = larger.replace("{hosts: [h2, h3]}", "{external: {}, clients: [x]}")
    assert memory(all_elsewhere.replace("min_clients: 2", "min_clients: 12")) == "33512M"


def test_a_class_of_ones_own_is_brought(load: Load) -> None:
    kept = "keep_models: 0, model_archive: {seconds: 600}"
    own = f"{{host: h2, python_class: 'mine.mean:Mean', class_artifact: {{source: mine}}, {kept}}}"
    found = named(load(DOCUMENT.replace("{host: h2}", own)), "h2", "xain_aggregator_instances", "aggregator")
    assert (found["python_class"], found["keep_models"]) == ("mine.mean:Mean", 0)
    assert found["class_artifact"]["source"].endswith("/mine")
    assert found["model_archive"] == {"seconds": 600, "keep": 100}
    without = named(load(DOCUMENT), "h2", "xain_aggregator_instances", "aggregator")
    assert "model_archive" not in without


OTHERS = DOCUMENT.replace("[h2, h3]", "[h2, h3], expected: 3, clients: [others, Dr. No]")


def test_a_kit_leads_to_the_public_place_with_a_certificate_of_its_own(load: Load) -> None:
    found = load(OTHERS)
    made = client_kit(found.stacks["counts"], found, Asked(client="Dr. No"))
    told = json.loads(made.files["participant.json"])
    assert (made.name, made.subject, made.party) == ("demo-counts-client-Dr._No", "Dr. No", found.parties["lab"])
    assert told["configuration"]["coordinator"] == {"host": "lab.example", "port": 443}
    assert told["application"] == {"callable": "fedlearn_xain.adds:Adds", "settings": adds(2)}
    assert told["heartbeat_seconds"] == 5
    assert "-subj '/CN=Dr. No'" in made.readme
    texts = {name: (CHECKOUT / "roles" / path).read_text() for name, path in made.sources.items()}
    imported = {
        name
        for text in texts.values()
        for line in re.findall(r"^from \. import (.+)$", text, re.M)
        for name in line.split(", ")
    }
    assert {f"fedlearn_xain/{name}.py" for name in imported} <= set(texts)
    # as ansible splits it
    (asked,) = re.findall(r"client_kit (-e .*?)` lays", made.readme, re.DOTALL)
    assert parse_kv(shlex.split(asked)[3]) == {"client": "Dr. No"}
    assert "When the coordinator is restarted before that, this ends, too" in made.readme


def test_a_kit_of_the_stack_s_own_application_says_that_its_code_is_to_come(load: Load) -> None:
    own = OTHERS.replace("[h2, h3]", "[h2, h3], application: 'mine:Mine', application_artifact: {source: mine.py}")
    found = load(own)
    readme = client_kit(found.stacks["counts"], found, Asked(client="others")).readme
    assert "`mine:Mine`,\nwhose code isn't in this folder: party `lab` hands it over" in readme
    known = load(OTHERS)
    assert "hands it over" not in client_kit(known.stacks["counts"], known, Asked(client="others")).readme


@pytest.mark.parametrize("generation", ["poc", "python"])
def test_a_kit_leads_to_an_address_of_ipv6(load: Load, generation: str) -> None:
    document = OTHERS.replace("{address: 10.20.0.11, public_name: lab.example}", "'fd00::11'")
    if generation == "python":
        document = document.replace("generation: poc", "generation: python")
        document = document.replace("aggregator: {host: h2}", "storage: {host: h2}")
        document = document.replace("{federated_learning: {rounds: 3, min_clients: 2}}", "{ai: {rounds: 3}}")
    found = load(document)
    made = client_kit(found.stacks["counts"], found, Asked(client="others"))
    place = json.loads(made.files["participant.json"])["configuration"]["coordinator"]
    assert place == {"host": "[fd00::11]", "port": 443}


def test_a_kit_is_no_controller_s(load: Load) -> None:
    found = load(OTHERS)
    with pytest.raises(NoKitError, match="-e controller=true is of DPSA, and here everybody is a participant"):
        client_kit(found.stacks["counts"], found, Asked(controller=True, client="others"))


@pytest.mark.parametrize(
    ("document", "client", "told"),
    [
        (DOCUMENT, "", "stacks.counts.participants.clients names nobody: add the common name of whom the kit is for"),
        (OTHERS, "", "for whom of stacks.counts.participants.clients? -e client=NAME is one of others, Dr. No"),
        (OTHERS, "x", "'x' isn't in stacks.counts.participants.clients: -e client=NAME is one of others, Dr. No"),
    ],
)
def test_a_kit_is_for_somebody_who_is_let_in(load: Load, document: str, client: str, told: str) -> None:
    found = load(document)
    with pytest.raises(NoKitError) as caught:
        client_kit(found.stacks["counts"], found, Asked(client=client))
    assert str(caught.value) == told


def test_a_round_has_ports_of_its_own_and_known_numbers(load: Load) -> None:
    parts = {
        host: values["fedlearn_verify"]["counts"] for host, values in hosts(load(DOCUMENT)).items() if host != "k1"
    }
    (coordinator,) = parts["h1"]["variables"]["xain_coordinator_instances"]
    (aggregator,) = parts["h2"]["variables"]["xain_aggregator_instances"]
    assert (coordinator["listen"]["port"], coordinator["rpc"]) == (52050, {"port": 7555, "aggregator_port": 8666})
    assert coordinator["aggregator_url"] == "https://10.20.0.12:10082"
    assert coordinator["settings"]["federated_learning"]["min_clients"] == 2
    assert aggregator["rpc"] == {"port": 8666, "coordinator_port": 7555}
    assert {place["port"] for site in parts["h2"]["variables"]["nginx_sites"] for place in site["listen"]} == {
        8666,
        7555,
        10082,
    }
    # two rounds of (10 * step + 30 * other step) / 40
    assert parts["h1"]["expected"] == [3.5, -1.625, 1.25]
    assert [adds(index)["samples"] for index in range(2)] == [10, 30]


@pytest.mark.parametrize(
    ("aggregator", "run", "numbers", "untried"),
    [
        ("{host: h2}", "weighted_average", [3.5, -1.625, 1.25], None),
        # the second round's three, and the first one's that both send again
        ("{host: h2, python_class: 'xain_aggregators.model_sum:Aggregator'}", "model_sum", [9.0, -3.75, 4.5], None),
        ("{host: h2, python_class: 'medians:Median'}", "weighted_average", [3.5, -1.625, 1.25], "medians:Median"),
        (
            "{host: h2, python_class: 'xain_aggregators.model_sum:Aggregator', class_artifact: {source: mine}}",
            "weighted_average",
            [3.5, -1.625, 1.25],
            "xain_aggregators.model_sum:Aggregator",
        ),
    ],
)
def test_a_round_s_numbers_are_those_of_the_class_that_makes_them(
    load: Load, aggregator: str, run: str, numbers: list[float], untried: str | None
) -> None:
    found = load(DOCUMENT.replace("{host: h2}", aggregator))
    for host in ("h1", "h2", "h3"):
        part = hosts(found)[host]["fedlearn_verify"]["counts"]
        assert part["expected"] == pytest.approx(numbers, abs=1e-9)
        assert part["conditions"]["python_class"] == f"xain_aggregators.{run}:Aggregator"
        assert part["conditions"].get("not_tried") == untried
    (tried,) = hosts(found)["h2"]["fedlearn_verify"]["counts"]["variables"]["xain_aggregator_instances"]
    assert tried["python_class"] == f"xain_aggregators.{run}:Aggregator"
    assert tried["class_artifact"] == {}


def test_the_sum_s_numbers_are_those_of_a_training() -> None:
    taking = [adds(index) for index in range(3)]
    model = [0.0, 0.0, 0.0]
    for _round in range(3):
        sent = [[value + more for value, more in zip(model, one["step"], strict=True)] for one in taking]
        model = [sum(column) for column in zip(*sent, strict=True)]
    assert total(taking, 4) == pytest.approx(model, abs=1e-9)


def test_known_numbers_tell_who_was_missing_and_how_many_rounds_there_were() -> None:
    both = [adds(0), adds(1)]
    right = answer(both, 3)
    other = {**both[1], "samples": 50}
    for wrong in (answer(both[:1], 3), answer([both[0], other], 3), answer(both, 2)):
        assert all(abs(one - another) > 1e-3 for one, another in zip(right, wrong, strict=True))


def test_flows_are_participants_and_calls_both_ways(load: Load) -> None:
    found = {(one.source, one.destination, one.port) for one in flows.flows(load(DOCUMENT))}
    assert {("h3", "h1", 443), ("h3", "h2", 8082), ("h1", "h2", 6666), ("h2", "h1", 5555), ("h2", "h1", 7555)} <= found
    assert not {one for one in found if one[2] == 9000}
    together = {(one.source, one.destination, one.port) for one in flows.flows(load(TOGETHER))}
    assert not {one for one in together if one[2] in (5555, 6666)}


def test_what_the_control_node_gets_is_told(load: Load) -> None:
    def sources(document: str) -> set[str]:
        return {one.destination for one in flows.flows(load(document)) if one.source == "controller"}

    assert sources(DOCUMENT) >= {"index.crates.io", "static.crates.io", "deb.debian.org"}
    packed = f"program: {{source: 'https://files.example/x.tar.gz', sha256: {'a' * 64}}}"
    given = DOCUMENT.replace("    coordinator:", f"    {packed}\n    coordinator:")
    assert not sources(given) & {"index.crates.io", "deb.debian.org"}
    for host, variable in (("h1", "xain_coordinator_instances"), ("h2", "xain_aggregator_instances")):
        assert hosts(load(given))[host][variable][0]["program"]["source"] == "https://files.example/x.tar.gz"


def test_what_is_absent_is_removed_by_name(load: Load) -> None:
    gone = DOCUMENT.replace("    coordinator: {host: h1}", "    state: absent\n    coordinator: {host: h1}")
    found = load(gone)
    assert names(found, "h1", "nginx_sites") >= {"proxy", "rpc-in", "rpc-out"}
    assert names(found, "h2", "nginx_sites") >= {"aggregator-proxy", "rpc-in", "rpc-out"}
    assert names(found, "h2", "pki_certificates") >= {"aggregator", "rpc", "participant"}
    assert {one["state"] for one in hosts(found)["h2"]["xain_aggregator_instances"]} == {"absent"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("    aggregator: {host: h2}\n", ""),
            "stacks.counts: the key 'aggregator' is missing: generation 'poc' needs it",
        ),
        (
            ("aggregator: {host: h2}", "aggregator: {host: h2}\n    storage: {host: h1}"),
            "stacks.counts.storage: is for the generation 'python' or 'pet': in 'poc' the aggregator has the model",
        ),
        (
            ("coordinator: {host: h1}", "coordinator: {host: h1, redis_port: 6380}"),
            "stacks.counts.coordinator.redis_port: is for the generation 'pet': in 'poc' its coordinator keeps",
        ),
        (
            ("aggregator: {host: h2}", "aggregator: {host: k1}"),
            "stacks.counts.aggregator.host: host 'k1' is of party 'clinic', the coordinator's of 'lab'",
        ),
        (
            ("aggregator: {host: h2}", "aggregator: {host: h2, bind: 127.0.0.1}"),
            "stacks.counts.aggregator.bind: '127.0.0.1' cannot be reached from 'h1'",
        ),
        (
            ("coordinator: {host: h1}", "coordinator: {host: h1, bind: 127.0.0.1}"),
            "stacks.counts.coordinator.bind: '127.0.0.1' cannot be reached from 'h2'",
        ),
        (
            ("aggregator: {host: h2}", "aggregator: {host: h2, rpc_port: 64000}"),
            "stacks.counts.aggregator.rpc_port: 64000 and the verify round's 66000 must not be above 65535",
        ),
        (
            ("aggregator: {host: h2}", "aggregator: {host: h1, port: 443}"),
            "port 443",
        ),
        (
            ("aggregator: {host: h2}", "aggregator: {host: h2, state: absent}"),
            "stacks.counts.aggregator: is absent, and it aggregates",
        ),
        (
            ("min_clients: 2", "min_clients: 3"),
            "stacks.counts.participants.hosts: a round begins when 3 participants are there",
        ),
        (
            ("rounds: 3", "rounds: -1"),
            "stacks.counts.settings.federated_learning.rounds: expected a whole number from 1 to 4294967295",
        ),
        (
            ("rounds: 3", "rounds: '2'"),
            "stacks.counts.settings.federated_learning.rounds: expected a whole number",
        ),
        (
            ("min_clients: 2", "min_clients: 0"),
            "stacks.counts.settings.federated_learning.min_clients: expected a whole number from 1 to",
        ),
        (
            ("min_clients: 2", "min_clients: 2, heartbeat_timeout: 2"),
            "stacks.counts.settings.federated_learning.heartbeat_timeout: expected a whole number from 3 to",
        ),
        (
            ("aggregator: {host: h2}", "aggregator: {host: h2, public_url: 'http://agg.example'}"),
            "stacks.counts.aggregator.public_url: 'http://agg.example' is in the clear, and TLS is spoken there: https",
        ),
        (
            ("coordinator: {host: h1}", "coordinator: {host: h1, internal_url: 'http://h1.example:80'}"),
            "stacks.counts.coordinator.internal_url: 'http://h1.example:80' is in the clear",
        ),
        (
            ("[h2, h3]", "[h2, h3], expected: 1, clients: [partner]"),
            "stacks.counts.participants.expected: 1 is less than the 2 that are placed here",
        ),
        (
            ("[h2, h3]", "[h2, h3], clients: [a, b, a]"),
            "stacks.counts.participants.clients: 'a' is there more than once",
        ),
        (
            ("[h2, h3]", "[h2, h3], clients: [demo-counts-participant.h2]"),
            "stacks.counts.participants.clients: 'demo-counts-participant.h2' is the name of a certificate of a host",
        ),
        (
            ("[h2, h3]", "[h2, h3], clients: [demo-counts-rpc.h1]"),
            "stacks.counts.participants.clients: 'demo-counts-rpc.h1' is the name of a certificate of a host",
        ),
        (
            ("{hosts: [h2, h3]}", "{external: {}, expected: 5}"),
            "stacks.counts.participants.expected: 5 are expected, and nginx would let nobody in",
        ),
        (
            ("min_clients: 2", "min_clients: 2, participants_ratio: 0.3"),
            "stacks.counts.settings.federated_learning.participants_ratio: 0.3 of min_clients, 2, is nobody",
        ),
        (
            ("min_clients: 2", "min_clients: 2, participant_ratio: 0.5"),
            "stacks.counts.settings.federated_learning.participant_ratio: unknown key",
        ),
        (
            ("settings: {", "settings: {aggregator_url: 'http://localhost:8082', "),
            "stacks.counts.settings.aggregator_url: can't be set: it follows from `aggregator`",
        ),
        (
            ("settings: {", "settings: {rpc: {bind_address: '0.0.0.0:5555'}, "),
            "stacks.counts.settings.rpc.bind_address: can't be set: it follows from `rpc_port`, on loopback",
        ),
        (
            ("settings: {", "settings: {aggregation: {python: {module: mine}}, "),
            "stacks.counts.settings.aggregation.python.module: can't be set: it follows from `aggregator.python_class`",
        ),
        (
            ("settings: {", "settings: {metric_store: {database_url: 'http://localhost:8086'}, "),
            "stacks.counts.settings.metric_store.database_url: can't be set: it is read by no program that is built",
        ),
        (
            ("settings: {", "settings: {logging: {telemetry: {service_name: x}}, "),
            "stacks.counts.settings.logging.telemetry: can't be set: it is read by no program that is built",
        ),
        (
            ("settings: {", "settings: {logging: {filter: 'http=info'}, "),
            "stacks.counts.settings.logging.filter: 'http=info' is not a level such as info",
        ),
    ],
)
def test_what_cannot_be_is_told(mistakes: Mistakes, change: tuple[str, str], message: str) -> None:
    assert change[0] in DOCUMENT
    found = mistakes(DOCUMENT.replace(*change))
    assert any(message in one for one in found), found


@pytest.mark.parametrize(
    "level", ["info", "warn", "info,xain_fl::coordinator=debug", "xain_fl=trace", "error,xain_fl=info"]
)
def test_levels_are_of_all_or_of_the_programs_parts(level: str) -> None:
    given = {"federated_learning": {"rounds": 1}, "logging": {"filter": level}}
    assert check_values(SETTINGS, given)[1] == []


@pytest.mark.parametrize("level", ["", "info,", "tarpc=trace", "info,http=info", "verbose", "xain_fl=info,hyper=debug"])
def test_parts_that_would_log_tokens_have_no_level(level: str) -> None:
    given = {"federated_learning": {"rounds": 1}, "logging": {"filter": level}}
    assert check_values(SETTINGS, given)[1]


def test_the_program_rounds_down() -> None:
    for ratio, clients, expected in ((1.0, 2, 2), (0.5, 3, 1), (0.29, 100, 28)):
        assert (
            least_participants({"federated_learning": {"participants_ratio": ratio, "min_clients": clients}})
            == expected
        )


def test_each_key_of_both_programs_is_in_the_reference() -> None:
    told = {path for path, _key in reference.flat(SETTINGS)}
    for key in (
        "federated_learning.heartbeat_timeout",
        "aggregation.python.class",
        "metric_store.database_url",
        "logging.filter",
        "rpc.coordinator_address",
    ):
        assert key in told, key
