# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of a stack of xain of the generation ``pet``, and what of it can't be."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import flows, reference, variables
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.client_kits import Asked
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain import known_marks
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain.kit import client_kit
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain.pet_keys import (
    LARGEST_MASK,
    SETTINGS,
    bytes_per_weight,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Federation
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.schema import check_values
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles import catalogue, nginx
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
      h2: 10.20.0.12
      h3: 10.20.0.13
      "w[01:40].lab.example": {first_address: 10.20.1.1}
  clinic:
    hosts: {k1: 10.30.0.11}
stacks:
  masked:
    kind: xain
    generation: pet
    coordinator: {host: h1}
    storage: {host: h1}
    participants: {hosts: [h2, h3], expected: 20}
    settings:
      pet: {sum: 0.2, update: 0.9}
      mask: {data_type: F32, bound_type: B0}
      model: {length: 1000}
"""
LEAST: dict[str, Any] = {
    "pet": {"sum": 0.2, "update": 0.9},
    "mask": {"data_type": "F32", "bound_type": "B0"},
    "model": {"length": 1000},
}


def hosts(federation: Federation) -> dict[str, dict[str, Any]]:
    return variables.inventory(federation).hosts


def named(federation: Federation, host: str, variable: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in hosts(federation)[host][variable] if one["name"] == f"demo-masked-{name}"]
    return dict(found)


def test_what_is_deployed_is_right_for_the_roles(load: Load) -> None:
    """Each instance as its role checks it."""
    for values in hosts(load(DOCUMENT)).values():
        for role in ("xain_coordinator", "xain_participant", "redis", "minio", "nginx"):
            variable = "nginx_sites" if role == "nginx" else f"{role}_instances"
            assert catalogue.mistakes(role, {variable: values.get(variable, [])}) == []


def test_the_coordinator_has_a_redis_of_its_own_on_loopback(load: Load) -> None:
    found = load(DOCUMENT)
    redis = named(found, "h1", "redis_instances", "redis")
    assert (redis["addresses"], redis["port"], redis["persistence"]) == (["127.0.0.1"], 6379, "aof")
    (user,) = redis["users"]
    own = named(found, "h1", "xain_coordinator_instances", "coordinator")["redis"]
    assert own == {"address": "127.0.0.1", "port": 6379, "user": user["name"], "secret": user["secret"]}
    other = named(
        load(DOCUMENT.replace("{host: h1}", "{host: h1, redis_port: 6400}", 1)), "h1", "redis_instances", "redis"
    )
    assert other["port"] == 6400


def test_participants_reach_it_through_nginx_on_their_host(load: Load) -> None:
    found = load(DOCUMENT)
    for host in ("h2", "h3"):
        way = named(found, host, "nginx_sites", "exit")
        assert way["listen"] == [{"address": "127.0.0.1", "port": 8081}]
        assert way["upstream"]["servers"] == ["10.20.0.11:443"]
        assert way["upstream"]["tls"]["name"] == "demo-masked-proxy"
        assert way["upstream"]["tls"]["certificate"].endswith("/demo-masked-participant/chain.pem")
        own = named(found, host, "xain_participant_instances", "participant")
        assert own["coordinator"] == {"host": "127.0.0.1", "port": 8081}
        assert {"storage", "tls", "ca"} & set(own) == set()
    site = named(found, "h1", "nginx_sites", "proxy")
    assert site["tls"]["client_names"] == [f"demo-masked-participant.{host}" for host in ("h2", "h3")]
    assert [path["path"] for path in site["paths"]] == ["/message", "/params", "/sums", "/seeds", "/model"]
    (certificate,) = [one for one in hosts(found)["h1"]["pki_certificates"] if one["name"] == "demo-masked-proxy"]
    assert "demo-masked-proxy" in str(certificate["dns_names"])


@pytest.mark.parametrize(
    ("mask", "length", "megabytes"),
    [
        ("data_type: F32, bound_type: B0", 1000, 1),
        ("data_type: F32, bound_type: B0", 10_000_000, 58),
        ("data_type: F64, bound_type: Bmax", 1_000_000, 252),
    ],
)
def test_a_message_may_be_as_large_as_a_masked_model(load: Load, mask: str, length: int, megabytes: int) -> None:
    document = DOCUMENT.replace("data_type: F32, bound_type: B0", mask).replace("length: 1000", f"length: {length}")
    found = load(document)
    assert named(found, "h1", "nginx_sites", "proxy")["body_size_mb"] == megabytes
    assert named(found, "h2", "nginx_sites", "exit")["body_size_mb"] == megabytes


@pytest.mark.parametrize(("length", "memory"), [(1_000_000, None), (10_000_000, "6616M")])
def test_memory_is_bounded_by_the_models_size(load: Load, length: int, memory: str | None) -> None:
    found = named(
        load(DOCUMENT.replace("length: 1000", f"length: {length}")), "h1", "xain_coordinator_instances", "coordinator"
    )
    assert found.get("memory_max") == memory


ORDERS = [
    ("Integer", "F32", "B0", "M3", 20_000_000_000_001),
    ("Prime", "F32", "B0", "M3", 20_000_000_000_021),
    ("Power2", "F32", "B0", "M3", 2**45),
    ("Integer", "F64", "B6", "M12", 2 * 10**38 + 1),
    ("Power2", "I32", "Bmax", "M6", 2**86),
]
"""Of xaynet-core's catalogue of masks some, each with the order of its group."""


@pytest.mark.parametrize(("group", "data", "bound", "models", "order"), ORDERS)
def test_a_masked_weight_has_as_many_bytes_as_the_groups_largest_number(
    group: str, data: str, bound: str, models: str, order: int
) -> None:
    mask = {"group_type": group, "data_type": data, "bound_type": bound, "model_type": models}
    assert bytes_per_weight(mask) == math.ceil((order - 1).bit_length() / 8)


def test_only_the_coordinator_has_a_login_of_the_store(load: Load) -> None:
    found = load(DOCUMENT)
    clients = named(found, "h1", "minio_instances", "storage")["clients"]
    assert {(one["name"], one["bucket"], one["access"]) for one in clients} == {
        ("masked-coordinator", "demo-masked", "write"),
        ("masked-verify-coordinator", "demo-masked-verify", "write"),
    }
    assert {(one.name, one.party) for one in found.expansions["masked"].secrets} == {
        ("masked_coordinator_storage", "lab"),
        ("masked_verify_coordinator_storage", "lab"),
        ("masked_redis", "lab"),
    }


def test_a_rounds_copy_reaches_nothing_of_what_is_deployed(load: Load) -> None:
    brought = hosts(load(DOCUMENT))["h1"]["fedlearn_verify"]["masked"]["variables"]
    assert set(brought) == {"xain_coordinator_instances", "redis_instances", "nginx_sites"}
    (copy,) = brought["xain_coordinator_instances"]
    (redis,) = brought["redis_instances"]
    assert (copy["listen"]["port"], copy["redis"]["port"], copy["storage"]["bucket"]) == (
        52050,
        8379,
        "demo-masked-verify",
    )
    assert (redis["port"], redis["persistence"]) == (8379, "none")
    assert copy["settings"]["model"] == {"length": 11}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (("", ""), ["h2", "h3"] * 4),
        (("{hosts: [h2, h3], expected: 20}", "{hosts: [h2], expected: 20}"), ["h2"] * 8),
        (("{hosts: [h2, h3], expected: 20}", "{external: {}}"), ["h1"] * 8),
        (("[h2, h3], expected: 20", '["w*"]'), [f"w{number:02}.lab.example" for number in range(1, 17)]),
    ],
)
def test_eight_participants_at_least_take_part_in_a_round(
    load: Load, change: tuple[str, str], where: list[str]
) -> None:
    found = hosts(load(DOCUMENT.replace(*change)))
    taking = {
        tuple(instance["application"]["settings"]["model"]): host
        for host, values in found.items()
        for instance in values["fedlearn_verify"]
        .get("masked", {"variables": {}})["variables"]
        .get("xain_participant_instances", ())
    }
    marked = [tuple(known_marks.marked(index, len(where))["model"]) for index in range(len(where))]
    assert [taking.get(one) for one in marked] == where
    expected = {
        tuple(values["fedlearn_verify"]["masked"]["expected"]) for values in found.values() if values["fedlearn_verify"]
    }
    assert expected == {known_marks.answer(len(where))}


def test_the_rounds_settings_are_right(load: Load) -> None:
    """The program refuses some that look well: it reckons with fractions."""
    (copy,) = hosts(load(DOCUMENT))["h1"]["fedlearn_verify"]["masked"]["variables"]["xain_coordinator_instances"]
    assert check_values(SETTINGS, copy["settings"])[1] == []


@pytest.mark.parametrize(("kind", "length"), [("F32", 2), ("F64", 1000), ("I32", 1000), ("I64", 1)])
def test_a_deployed_participant_has_as_many_weights_as_the_model(load: Load, kind: str, length: int) -> None:
    document = DOCUMENT.replace("data_type: F32", f"data_type: {kind}").replace("length: 1000", f"length: {length}")
    own = named(load(document), "h2", "xain_participant_instances", "participant")["application"]
    assert own["callable"] == "fedlearn_xain.marks:Marks"
    assert len(own["settings"]["model"]) == length
    assert {type(weight) for weight in own["settings"]["model"]} == {int if kind[0] == "I" else float}
    assert max(map(abs, own["settings"]["model"])) <= 1


def test_another_partys_participants_come_by_what_is_public(load: Load) -> None:
    found = load(DOCUMENT.replace("[h2, h3]", "[h2, k1]"))
    assert named(found, "k1", "nginx_sites", "exit")["upstream"]["servers"] == ["lab.example:443"]
    (own,) = hosts(found)["k1"]["pki_certificates"]
    assert (own["authority"], own["trust"], own["usages"]) == ("clinic", ["lab"], ["client"])
    assert {one.party for one in found.expansions["masked"].secrets} == {"lab"}


def test_flows_are_those_that_are_needed(load: Load) -> None:
    found = [(one.source, one.destination, one.port) for one in flows.flows(load(DOCUMENT))]
    for host in ("h2", "h3"):
        assert {(host, "h1", 443), (host, "h1", 2443)} <= set(found)
        assert (host, "h1", 9000) not in found
    assert ("controller", "static.crates.io", 443) in found
    packed = DOCUMENT.replace(
        "generation: pet", f"generation: pet\n    program: {{source: https://x.example/p.tgz, sha256: {'a' * 64}}}"
    )
    found = [(one.source, one.destination, one.port) for one in flows.flows(load(packed))]
    assert ("h1", "x.example", 443) in found
    assert ("controller", "static.crates.io", 443) not in found


def test_a_packed_program_is_beside_the_document(load: Load) -> None:
    packed = DOCUMENT.replace("generation: pet", f"generation: pet\n    program: {{source: p.tgz, sha256: {'a' * 64}}}")
    own = named(load(packed), "h1", "xain_coordinator_instances", "coordinator")["program"]
    assert own["source"].endswith("/p.tgz")
    assert own["source"] != "p.tgz"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("hosts: [h2, h3], expected: 20", "hosts: [h2, h3]"),
            "stacks.masked.participants.hosts: a round needs 4 participants (pet.min_sum_count and "
            "pet.min_update_count), and 2 are placed",
        ),
        (
            ("sum: 0.2, update: 0.9", "sum: 0.01, update: 0.9"),
            "stacks.masked.participants.hosts: of 20 participants 0.2 are drawn for the phase 'sum' on average, and "
            "pet.min_sum_count is 1: most rounds would fail; draw more by pet.sum",
        ),
        (
            ("sum: 0.2, update: 0.9", "sum: 0.2, update: 0.1"),
            "of 20 participants 1.6 are drawn for the phase 'update' on average, and pet.min_update_count is 3",
        ),
        (
            ("{hosts: [h2, h3], expected: 20}", "{external: {}, expected: 3, clients: [x]}"),
            "stacks.masked.participants.external: a round needs 4 participants",
        ),
        (
            ("storage: {host: h1}", "storage: {host: h2, bind: 127.0.0.1}"),
            "stacks.masked.storage.bind: '127.0.0.1' cannot be reached from 'h1'",
        ),
        (
            ("    storage: {host: h1}\n", ""),
            "stacks.masked: the key 'storage' is missing: generation 'pet' needs it",
        ),
        (
            ("generation: pet", "generation: pet\n    aggregator: {host: h2}"),
            "stacks.masked.aggregator: is for the generation 'poc': in 'pet' the coordinator aggregates",
        ),
        (
            ("    settings:\n", "    settings:\n      ai: {rounds: 3}\n"),
            "stacks.masked.settings.ai: unknown key 'ai': generation 'pet' has pet, mask, model, log and restore",
        ),
        (
            ("coordinator: {host: h1}", "coordinator: {host: h1, redis_port: 50050}"),
            "50050",
        ),
        (
            ("coordinator: {host: h1}", "coordinator: {host: h1, redis_port: 64000}"),
            "stacks.masked.coordinator.redis_port: 64000 and the verify round's 66000 must not be above 65535",
        ),
        (
            ("expected: 20", "expected: 20, local_port: 64000"),
            "stacks.masked.participants.local_port: 64000 and the verify round's 66000 must not be above 65535",
        ),
    ],
)
def test_what_can_not_be_is_told(mistakes: Mistakes, change: tuple[str, str], message: str) -> None:
    assert [line for line in mistakes(DOCUMENT.replace(*change)) if message in line]


def test_the_store_may_be_on_loopback_since_no_participant_goes_there(load: Load) -> None:
    found = load(DOCUMENT.replace("storage: {host: h1}", "storage: {host: h1, bind: 127.0.0.1}"))
    assert named(found, "h1", "minio_instances", "storage")["address"] == "127.0.0.1"
    own = named(found, "h1", "xain_coordinator_instances", "coordinator")["storage"]
    assert own["endpoint"] == "https://127.0.0.1:9000"


def test_a_wrong_value_is_told_where_it_stands(mistakes: Mistakes) -> None:
    told_of = mistakes(DOCUMENT.replace("update: 0.9", "update: 1.5"))
    assert [line for line in told_of if ":21:31: stacks.masked.settings.pet.update: expected" in line], told_of


def test_an_absent_stack_takes_redis_and_ways_out_along(load: Load) -> None:
    found = hosts(load(DOCUMENT.replace("kind: xain", "kind: xain\n    state: absent")))
    assert {one["state"] for one in found["h1"]["redis_instances"]} == {"absent"}
    for host in ("h1", "h2", "h3"):
        assert {one["state"] for one in found[host]["nginx_sites"]} == {"absent"}


PHASES = ("sum", "update", "sum2")
FEWEST = {"sum": 1, "update": 3, "sum2": 1}
RIGHT: dict[str, list[Any]] = {
    **{f"pet.min_{phase}_count": [FEWEST[phase], 100] for phase in PHASES},
    "pet.max_sum_count": [100, 1_000_000_000],
    "pet.max_update_count": [3, 1000],
    "pet.max_sum2_count": [1, 100],
    **{f"pet.min_{phase}_time": [0, 3600] for phase in PHASES},
    **{f"pet.max_{phase}_time": [10, 31_536_000] for phase in PHASES},
    "pet.sum": [0.001, 0.5, 0.999],
    "pet.update": [0.001, 1, 1.0],
    "mask.group_type": ["Integer", "Prime", "Power2"],
    "mask.data_type": ["F32", "F64", "I32", "I64"],
    "mask.bound_type": ["B0", "B2", "B4", "B6", "Bmax"],
    "mask.model_type": ["M3", "M6", "M9", "M12"],
    "model.length": [1, 1000, LARGEST_MASK // 6],
    "log.filter": ["info", "warn,xaynet_server=debug", "xaynet_server[run_phase{phase=Idle}]=trace"],
    "restore.enable": [True, False],
}
"""Each key with values that are right. What is derived has none."""

WRONG: dict[str, list[Any]] = {
    "api.bind_address": ["127.0.0.1:8081"],
    "api.tls_certificate": ["/app/ssl/tls.pem"],
    "api.tls_key": ["/app/ssl/tls.key"],
    "api.tls_client_auth": ["/app/ssl/ca.pem"],
    **{f"pet.min_{phase}_count": [FEWEST[phase] - 1, -1, "3", 1.0, 2000] for phase in PHASES},
    **{f"pet.max_{phase}_count": [FEWEST[phase] - 1, "3", None, 10**10] for phase in PHASES},
    **{f"pet.min_{phase}_time": [-1, "5", 0.5, 3601] for phase in PHASES},
    **{f"pet.max_{phase}_time": [0, 1, "3600", 10**9] for phase in PHASES},  # 1 is less than the least
    "pet.sum": [0, 1, 1.0, -0.1, "0.5", True],
    "pet.update": [0, 0.0, 1.1, "1"],
    "mask.group_type": ["prime", "Power", 1],
    "mask.data_type": ["f32", "F16", 32],
    "mask.bound_type": ["B1", "b0", 0],
    "mask.model_type": ["M1", "m3", 3],
    "model.length": [0, -1, "4", 4.0, LARGEST_MASK // 6 + 1],
    "metrics.influxdb.url": ["http://127.0.0.1:8086"],
    "metrics.influxdb.db": ["metrics"],
    "redis.url": ["redis://127.0.0.1"],
    "log.filter": ["", "info debug", True],
    "s3.access_key": ["minio"],
    "s3.secret_access_key": ["-"],
    "s3.region": [["minio", "http://localhost:9000"]],
    "s3.buckets.global_models": ["global-models"],
    "restore.enable": ["true", 1, "no"],
}
"""Each key with values that are wrong: all that the program itself takes silently is among them."""


def told(path: str, value: Any) -> list[str]:
    """What is said of settings with this value, at its path."""
    settings: dict[str, Any] = {name: dict(section) for name, section in LEAST.items()}
    *sections, key = path.split(".")
    inner = settings
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[key] = value
    _values, mistakes = check_values(SETTINGS, settings)
    return [mistake.message for mistake in mistakes]


def test_the_tables_have_every_key() -> None:
    flat = {path for path, _key in reference.flat(SETTINGS)}
    keys = {path for path in flat if not any(other.startswith(f"{path}.") for other in flat)}
    assert set(WRONG) == keys
    derived = {path for path in keys if path.split(".")[0] in ("api", "metrics", "redis", "s3")}
    assert set(RIGHT) == keys - derived


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, values in RIGHT.items() for value in values])
def test_right_values_are_taken(path: str, value: Any) -> None:
    assert told(path, value) == []


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, values in WRONG.items() for value in values])
def test_wrong_values_are_refused(path: str, value: Any) -> None:
    assert told(path, value) != []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"pet": {"sum": 0.2, "update": 0.9, "min_sum2_count": 50, "max_sum_count": 40}},
            "50 is more than max_sum_count",
        ),
        ({"pet": {"sum": 0.2, "update": 0.9, "max_sum2_count": 200}}, "200 is more than max_sum_count, 100"),
        ({"pet": {"sum": 0.2, "update": 0.9, "max_update_count": 1001}}, "1001 is more than the mask's 1000"),
        ({"model": {"length": 10**9}}, f"and Redis keeps {LARGEST_MASK}"),
        ({"pet": {"sum": 0.2}}, "the key 'update' is missing"),
    ],
)
def test_rules_across_keys(change: dict[str, Any], message: str) -> None:
    _values, mistakes = check_values(SETTINGS, {**LEAST, **change})
    assert [one.message for one in mistakes if message in str(one)], mistakes


def test_fractions_are_added_as_the_program_adds_them() -> None:
    """Some that look well come out as 1.0000000000000002, and the program ends: these are refused, and no others."""
    for sum_ in (number / 1000 for number in range(1, 1000)):
        values = {**LEAST, "pet": {"sum": sum_, "update": 1.0}}
        _values, mistakes = check_values(SETTINGS, values)
        assert bool(mistakes) == (sum_ + 1.0 - sum_ * 1.0 > 1)


COORDINATOR = {
    "name": "one",
    "generation": "pet",
    "storage": {"endpoint": "http://127.0.0.1:9000", "bucket": "abc", "user": "u", "secret": "s"},
    "redis": {"user": "u", "secret": "r"},
    "settings": LEAST,
}
PARTICIPANT = {
    "name": "one",
    "generation": "pet",
    "application": {"callable": "a:b"},
    "coordinator": {"host": "127.0.0.1", "port": 8081},
}


@pytest.mark.parametrize(
    ("least", "change", "message"),
    [
        (COORDINATOR, {"redis": None}, "redis: is missing: the generation 'pet' needs it"),
        (COORDINATOR, {"generation": "python"}, "redis: is for the generation 'pet', and this is 'python'"),
        (COORDINATOR, {"redis": {"address": "10.0.0.1", "user": "u", "secret": "r"}}, "in the clear"),
        (COORDINATOR, {"settings": {"ai": {"rounds": 3}}}, "settings.ai: unknown key 'ai'"),
        (COORDINATOR, {"settings": {**LEAST, "model": {"length": 0}}}, "settings.model.length: expected"),
        (COORDINATOR, {"program": {"source": "p.tgz"}}, "the key 'sha256' is missing"),
        (PARTICIPANT, {"coordinator": {"host": "10.0.0.1"}}, "nginx on this one leads there"),
        (PARTICIPANT, {"tls": {"ca": "/a"}}, "tls: is for the generation 'python' or 'poc', and this is 'pet'"),
        (PARTICIPANT, {"generation": "python"}, "storage: is missing: the generation 'python' needs it"),
    ],
)
def test_roles_refuse_what_can_not_be(least: dict[str, Any], change: dict[str, Any], message: str) -> None:
    role = "xain_coordinator" if least is COORDINATOR else "xain_participant"
    assert catalogue.mistakes(role, {f"{role}_instances": [least]}) == []
    told_of = catalogue.mistakes(role, {f"{role}_instances": [{**least, **change}]})
    assert [line for line in told_of if message in line], told_of


def test_a_kit_brings_the_way_out_that_hosts_have(load: Load) -> None:
    found = load(DOCUMENT.replace("expected: 20", "expected: 20, clients: [Dr. No]"))
    made = client_kit(found.stacks["masked"], found, Asked(client="Dr. No"))
    told = json.loads(made.files["participant.json"])
    assert told["configuration"] == {"coordinator": {"host": "127.0.0.1", "port": 8081}}
    assert told["application"] == {
        "callable": "fedlearn_xain.marks:Marks",
        "settings": known_marks.known(2, 1000, whole=False),
    }
    (site,), home = made.sites, f"/etc/fedlearn-client/{made.name}"
    nginx.check([site])
    assert site["name"] == "demo-masked-client-dr-no"
    assert site["upstream"]["servers"] == ["lab.example:443"]
    assert site["upstream"]["tls"]["key"] == f"{home}/key.pem"
    (exit_,) = (one for one in hosts(found)["h2"]["nginx_sites"] if "exit" in one["name"])
    for key in ("paths", "body_size_mb", "read_timeout_seconds", "listen"):
        assert site[key] == exit_[key]
    assert f"-keyout {home}/key.pem" in made.readme
    assert f"install -m 644 -t {home} ca.pem chain.pem" in made.readme
    assert all((CHECKOUT / "roles" / path).is_file() for path in made.sources.values())
