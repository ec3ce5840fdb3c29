# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of a stack of xain, and what of it can't be."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import flows, reference, variables
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.client_kits import Asked
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain.kit import client_kit
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain.known_steps import answer, steps
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain.python_keys import (
    SETTINGS,
    participants_needed,
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
      h2: 10.20.0.12
      h3: 10.20.0.13
      "w[01:40].lab.example": {first_address: 10.20.1.1}
  clinic:
    hosts: {k1: 10.30.0.11}
stacks:
  images:
    kind: xain
    generation: python
    coordinator: {host: h1}
    storage: {host: h1}
    participants: {hosts: [h2, h3]}
    settings: {ai: {rounds: 3, min_participants: 2}}
"""
ELSEWHERE = DOCUMENT.replace("[h2, h3]", "[h2, k1]")
OTHERS = DOCUMENT.replace("{hosts: [h2, h3]}", "{external: {}, clients: [Somebody Else]}")


def hosts(federation: Federation) -> dict[str, dict[str, Any]]:
    return variables.inventory(federation).hosts


def only(federation: Federation, host: str, variable: str) -> dict[str, Any]:
    (found,) = hosts(federation)[host][variable]
    return dict(found)


def coordinator(federation: Federation) -> dict[str, Any]:
    return only(federation, "h1", "xain_coordinator_instances")


def participant(federation: Federation, host: str) -> dict[str, Any]:
    return only(federation, host, "xain_participant_instances")


def part(federation: Federation, host: str) -> dict[str, Any]:
    """A host's part in the verify round."""
    found: dict[str, Any] = hosts(federation)[host]["fedlearn_verify"]["images"]
    return found


def test_the_program_is_on_loopback_and_nginx_passes_connections_on(load: Load) -> None:
    found = load(DOCUMENT)
    assert coordinator(found)["listen"] == {"address": "127.0.0.1", "port": 50050}
    site = only(found, "h1", "nginx_sites")
    assert (site["protocol"], site["upstream"]) == ("tcp", {"servers": ["127.0.0.1:50050"]})
    assert [(one["address"], one["port"]) for one in site["listen"]] == [("10.20.0.11", 443)]
    assert site["tls"]["alpn"] == ["h2"]


def test_participants_are_known_by_name(load: Load) -> None:
    names = [f"demo-images-participant.{host}" for host in ("h2", "h3")]
    assert only(load(DOCUMENT), "h1", "nginx_sites")["tls"]["client_names"] == names
    others = only(load(OTHERS), "h1", "nginx_sites")["tls"]["client_names"]
    assert others == ["demo-images-participant.h1", "Somebody Else"]  # the first is for the verify round


def test_participants_of_another_party_are_vouched_for_by_its_ca_and_come_by_what_is_public(load: Load) -> None:
    found = load(ELSEWHERE)
    by_name = {one["name"]: one for one in hosts(found)["h1"]["pki_certificates"]}
    assert by_name["demo-images-proxy"]["trust"] == ["lab", "clinic"]
    (own,) = hosts(found)["k1"]["pki_certificates"]
    assert (own["authority"], own["trust"], own["usages"]) == ("clinic", ["lab"], ["client"])
    assert participant(found, "k1")["coordinator"] == {"host": "lab.example", "port": 443}
    assert participant(found, "k1")["storage"]["endpoint"] == "https://lab.example:9000"
    assert participant(found, "h2")["coordinator"] == {"host": "10.20.0.11", "port": 443}
    makers = {(one.party, one.maker) for one in found.expansions["images"].secrets if "participants" in one.name}
    assert makers == {("lab", ""), ("clinic", "lab")}
    assert {one.party for one in found.expansions["images"].secrets if "images_coordinator" in one.name} == {"lab"}


def test_participants_put_weights_and_never_a_global_model(load: Load) -> None:
    store = only(load(DOCUMENT), "h1", "minio_instances")
    clients = {one["name"]: one for one in store["clients"]}
    assert clients["images-participants"]["objects"] == {
        "get": ["*/global"],
        "put": ["*"],
        "never_put": ["*/global"],
    }
    assert clients["images-coordinator"]["objects"] == {"get": ["*"], "put": ["*/global"]}
    assert {one["bucket"] for name, one in clients.items() if "verify" in name} == {"demo-images-verify"}
    assert len({one["secret"] for one in clients.values()}) == len(clients) == 4


def test_a_rounds_copy_reaches_nothing_of_what_is_deployed(load: Load) -> None:
    found = load(DOCUMENT)
    brought = part(found, "h1")["variables"]
    assert set(brought) == {"xain_coordinator_instances", "nginx_sites"}
    (copy,) = brought["xain_coordinator_instances"]
    assert (copy["listen"]["port"], copy["storage"]["bucket"]) == (52050, "demo-images-verify")
    assert copy["settings"]["ai"] == {"rounds": 3, "epochs": 2, "min_participants": 2, "fraction_participants": 1.0}
    (taking,) = part(found, "h2")["variables"]["xain_participant_instances"]
    assert (taking["coordinator"]["port"], taking["storage"]["bucket"]) == (2443, "demo-images-verify")


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (("", ""), ["h2", "h3"]),
        (("{hosts: [h2, h3]}", "{hosts: [h2], expected: 2}"), ["h2", "h2"]),
        (("{hosts: [h2, h3]}", "{external: {}}"), ["h1", "h1"]),
        (("[h2, h3]", '["w*"]'), [f"w{number:02}.lab.example" for number in range(1, 17)]),
    ],
)
def test_two_participants_at_least_take_part_in_a_round(load: Load, change: tuple[str, str], where: list[str]) -> None:
    found = hosts(load(DOCUMENT.replace(*change)))
    taking = [
        (host, instance["application"]["settings"])
        for host, values in found.items()
        for instance in values["fedlearn_verify"]
        .get("images", {"variables": {}})["variables"]
        .get("xain_participant_instances", ())
    ]
    assert [host for host, _settings in taking] == where
    assert [settings for _host, settings in taking] == [steps(index) for index in range(len(where))]
    expected = {
        tuple(values["fedlearn_verify"]["images"]["expected"]) for values in found.values() if values["fedlearn_verify"]
    }
    assert expected == {answer([steps(index) for index in range(len(where))], 3, 2)}


def apart(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return max(abs(left - right) for left, right in zip(one, other, strict=True))


@pytest.mark.parametrize("count", [2, 3, 16])
def test_a_number_is_right_only_when_all_of_the_round_is(count: int) -> None:
    taking = [steps(index) for index in range(count)]
    right = answer(taking, 3, 2)
    for index in range(count):
        without = [*taking[:index], *taking[index + 1 :]]
        assert apart(answer(without, 3, 2), right) > 1e-3
        for samples in (1, taking[index]["samples"] + 20):
            other = [*taking[:index], {**taking[index], "samples": samples}, *taking[index + 1 :]]
            assert apart(answer(other, 3, 2), right) > 1e-6
    assert apart(answer([{**one, "samples": 1} for one in taking], 3, 2), right) > 1e-3
    assert apart(answer(taking, 2, 2), right) > 1e-3
    assert apart(answer(taking, 3, 1), right) > 1e-3


def test_the_known_numbers_are_those_reckoned_by_hand() -> None:
    assert answer([steps(0), steps(1)], 3, 2) == (0.5 + 4 * 1.75, 1.5 - 4 * 0.8125, 1 + 4 * 0.625)


def test_flows_are_those_that_participants_and_store_need(load: Load) -> None:
    found = set(map(_ends, flows.flows(load(DOCUMENT))))
    for host in ("h2", "h3"):
        assert {(host, "h1", 443), (host, "h1", 2443), (host, "h1", 9000)} <= found
    apart_from_store = load(DOCUMENT.replace("storage: {host: h1}", "storage: {host: h3}"))
    assert ("h1", "h3", 9000) in set(map(_ends, flows.flows(apart_from_store)))


def _ends(flow: Any) -> tuple[str, str, int | None]:
    return flow.source, flow.destination, flow.port


def test_an_application_of_ones_own_gets_its_own_settings(load: Load) -> None:
    assert participant(load(DOCUMENT), "h3")["application"]["settings"] == steps(1)
    own = "[h2, h3], application: 'myapp.train:Mine', application_artifact: {source: myapp}"
    found = participant(load(DOCUMENT.replace("[h2, h3]", own)), "h3")["application"]
    assert (found["callable"], found["settings"]) == ("myapp.train:Mine", {})
    assert found["source"].endswith("/myapp")


def test_who_has_finished_takes_part_in_another_training(load: Load) -> None:
    def training(document: str) -> Any:
        return only(load(document), "h2", "xain_participant_instances")["training"]

    assert training(DOCUMENT.replace("rounds: 3", "rounds: 4")) != training(DOCUMENT)
    logged = DOCUMENT.replace("settings: {", "settings: {logging: {level: debug}, ")
    assert training(logged) == training(DOCUMENT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("coordinator: {host: h1}", "coordinator: {host: h1, redis_port: 6380}"),
            "stacks.images.coordinator.redis_port: is for the generation 'pet': in 'python' its coordinator",
        ),
        (
            ("[h2, h3]}", "[h2, h3], local_port: 8082}"),
            "stacks.images.participants.local_port: is for the generation 'pet': in 'python' its participants",
        ),
        (
            ("generation: python", f"generation: python\n    program: {{source: x.tar.gz, sha256: {'0' * 64}}}"),
            "stacks.images.program: is for the generation 'pet' or 'poc': in 'python' the programs come from `runtime`",
        ),
        (
            ("settings: {", "settings: {pet: {sum: 0.5}, "),
            "stacks.images.settings.pet: unknown key 'pet': generation 'python' has server, ai, storage, logging",
        ),
        (
            ("    storage: {host: h1}\n", ""),
            "stacks.images: the key 'storage' is missing: generation 'python' needs it",
        ),
        (
            ("    participants: {hosts: [h2, h3]}\n", ""),
            "stacks.images: the key 'participants' is missing: generation 'python' needs it",
        ),
        (
            ("generation: python", "generation: python\n    aggregator: {host: h2}"),
            "stacks.images.aggregator: is for the generation 'poc': in 'python' the coordinator aggregates",
        ),
        (("    generation: python\n", ""), "stacks.images: the key 'generation' is missing"),
        (
            ("storage: {host: h1}", "storage: {host: k1}"),
            "stacks.images.storage.host: host 'k1' is of party 'clinic', the coordinator's of 'lab'",
        ),
        (
            ("coordinator: {host: h1}", "coordinator: {host: h1, bind: 127.0.0.1}"),
            "stacks.images.coordinator.bind: '127.0.0.1' cannot be reached from 'h2'",
        ),
        (
            ("storage: {host: h1}", "storage: {host: h1, bind: 0.0.0.0}"),
            "stacks.images.storage.bind: '0.0.0.0' is every address: choose one",
        ),
        (
            ("coordinator: {host: h1}", "coordinator: {host: h1, program_port: 64000}"),
            "stacks.images.coordinator.program_port: 64000 and the verify round's 66000 must not be above 65535",
        ),
        (
            ("coordinator: {host: h1}", "coordinator: {host: h1, state: absent}"),
            "stacks.images.storage.host: the coordinator is absent, and it keeps its weights: make both absent",
        ),
        (
            ("storage: {host: h1}", "storage: {host: h1, state: absent}"),
            "stacks.images.storage: is absent, and the coordinator keeps its weights there",
        ),
        (
            ("min_participants: 2", "min_participants: 2, fraction_participants: 0.5"),
            "stacks.images.participants.hosts: a training begins when 4 participants are there",
        ),
        (
            ("storage: {host: h1}", "storage: {host: h1, bucket: A}"),
            "stacks.images.storage.bucket:",
        ),
    ],
)
def test_what_can_not_be_is_told(mistakes: Mistakes, change: tuple[str, str], message: str) -> None:
    assert [line for line in mistakes(DOCUMENT.replace(*change)) if message in line]


@pytest.mark.parametrize("placement", ["coordinator", "storage"])
def test_a_mistyped_host_is_no_absence(mistakes: Mistakes, placement: str) -> None:
    assert len(mistakes(DOCUMENT.replace(f"{placement}: {{host: h1", f"{placement}: {{host: h9"))) == 1


def test_an_absent_coordinator_takes_its_certificates_along(load: Load) -> None:
    gone = DOCUMENT.replace("kind: xain", "kind: xain\n    state: absent")
    found = hosts(load(gone))
    assert {one["state"] for one in found["h1"]["pki_certificates"]} == {"absent"}
    assert {one["state"] for one in found["h2"]["xain_participant_instances"]} == {"absent"}
    assert "redis_instances" not in found["h1"]
    assert "nginx_sites" not in found["h2"]


RIGHT: dict[str, list[Any]] = {
    "server.grpc_options": [{}, {"grpc.max_receive_message_length": -1}, {"grpc.primary_user_agent": "ours"}],
    "server.thread_pool_workers": [1, 10_000],
    "server.heartbeat_time": [6, 86_400],
    "server.heartbeat_timeout": [1, 86_400],
    "ai.rounds": [1, 1_000_000],
    "ai.epochs": [0, 1_000_000],
    "ai.min_participants": [1, 100_000],
    "ai.fraction_participants": [0.001, 1, 1.0],
    "logging.level": ["notset", "debug", "info", "warning", "error", "critical"],
    "logging.console": [True, False],
    "logging.third_party": [True],
    "metrics.enable": [False],
    "metrics.host": ["127.0.0.1", "localhost"],
    "metrics.port": [1, 65_535],
    "metrics.user": ["root"],
    "metrics.password": ["influx_password"],
    "metrics.db_name": ["metrics"],
    "max_model_size": [1, 1_048_576],
}
"""Each key with values that are right. What is derived has none."""

WRONG: dict[str, list[Any]] = {
    "server.host": ["127.0.0.1"],
    "server.port": [50051],
    "server.grpc_options": [{"max_receive_message_length": 1}, {"grpc.so_reuseport": 1.5}, []],
    "server.thread_pool_workers": [0, "10", 1.5, True],
    "server.heartbeat_time": [0, 5, "10"],
    "server.heartbeat_timeout": [0, -1, None],
    "ai.rounds": [0, -1, "2", 1.0],
    "ai.epochs": [-1, "1"],
    "ai.min_participants": [0, -1, "1"],
    "ai.fraction_participants": [0, 0.0, -0.5, 1.5, "1.0"],
    "storage.endpoint": ["http://127.0.0.1:9000"],
    "storage.bucket": ["models"],
    "storage.access_key_id": ["somebody"],
    "storage.secret_access_key": ["-"],
    "logging.level": ["trace", "INFO", 1],
    "logging.console": ["yes", 1],
    "logging.third_party": ["false", 0],
    "metrics.enable": [True, "true"],  # true without a password
    "metrics.host": ["influx.example", "10.0.0.1"],
    "metrics.port": [0, 65_536, "8086"],
    "metrics.user": ["", 1],
    "metrics.password": ["Not a Name", 1],
    "metrics.db_name": ["", None],
    "max_model_size": [0, "200", 1.5],
}
"""Each key with values that are wrong: all that the program itself takes silently is among them."""


def told(path: str, value: Any) -> list[str]:
    """What is said of settings with this value, at its path."""
    settings: dict[str, Any] = {"ai": {"rounds": 3}}
    *sections, key = path.split(".")
    inner = settings
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[key] = value
    _values, mistakes = check_values(SETTINGS, settings)
    return [mistake.message for mistake in mistakes]


def test_the_tables_have_every_key() -> None:
    sections = {"server", "ai", "storage", "logging", "metrics"}
    keys = {path for path, _key in reference.flat(SETTINGS)} - sections
    assert set(WRONG) == keys
    assert keys - set(RIGHT) == {
        "server.host",
        "server.port",
        *(f"storage.{name}" for name in ("endpoint", "bucket", "access_key_id", "secret_access_key")),
    }


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, values in RIGHT.items() for value in values])
def test_right_values_are_taken(path: str, value: Any) -> None:
    assert told(path, value) == []


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, values in WRONG.items() for value in values])
def test_wrong_values_are_refused(path: str, value: Any) -> None:
    assert told(path, value) != []


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_as_many_are_needed_as_the_program_reckons_and_enough_of_them_are_selected(fraction: float) -> None:
    for least in range(1, 60):
        needed = participants_needed({"ai": {"min_participants": least, "fraction_participants": fraction}})
        assert needed >= least
        assert math.ceil(needed * fraction) <= least


@pytest.mark.parametrize(
    ("role", "change", "message"),
    [
        ("xain_coordinator", {"listen": {"address": "10.0.0.1"}}, "the program asks nobody who they are"),
        (
            "xain_coordinator",
            {"storage": {"endpoint": "http://10.0.0.1:9000", "bucket": "abc", "user": "u", "secret": "s"}},
            "without https all can be read on the way",
        ),
        ("xain_participant", {"coordinator": {"host": "10.0.0.1"}}, "the SDK by itself speaks in the clear"),
        ("xain_participant", {"tls": {"ca": "/a", "key": "/b"}}, "'certificate' and 'key' go together"),
        (
            "xain_participant",
            {"application": {"callable": "a:b", "source": "x", "archive": {"source": "y", "sha256": "0" * 64}}},
            "the code comes from one place",
        ),
    ],
)
def test_roles_refuse_what_can_not_be(role: str, change: dict[str, Any], message: str) -> None:
    least = {
        "name": "one",
        "storage": {"endpoint": "http://127.0.0.1:9000", "bucket": "abc", "user": "u", "secret": "s"},
    }
    own: dict[str, Any] = (
        {"settings": {"ai": {"rounds": 1}}}
        if role == "xain_coordinator"
        else {"application": {"callable": "a:b"}, "coordinator": {"host": "127.0.0.1"}}
    )
    variable = f"{role}_instances"
    assert catalogue.mistakes(role, {variable: [{**least, **own}]}) == []
    (told_of,) = catalogue.mistakes(role, {variable: [{**least, **own, **change}]})
    assert message in told_of


CLIENTS = DOCUMENT.replace("[h2, h3]}", "[h2, h3], expected: 3, clients: [Somebody Else]}")


def test_a_kit_has_all_but_the_key_and_the_password(load: Load) -> None:
    found = load(CLIENTS)
    made = client_kit(found.stacks["images"], found, Asked())
    told = json.loads(made.files["participant.json"])
    assert (made.name, made.subject, made.sites) == ("demo-images-client-Somebody_Else", "Somebody Else", ())
    assert told["configuration"] == {
        "coordinator": {"host": "lab.example", "port": 443},
        "storage": {
            "endpoint": "https://lab.example:9000",
            "bucket": "demo-images",
            "access_key_id": "images-participants",
        },
        "logging": {"level": "info"},
    }
    assert told["application"] == {"callable": "fedlearn_xain.steps:Steps", "settings": steps(2)}
    assert {key: told[key] for key in ("ca", "max_model_size", "heartbeat_seconds")} == {
        "ca": "ca.pem",
        "max_model_size": 200,
        "heartbeat_seconds": 10,
    }
    assert "password of the login `images-participants`" in made.readme
    assert "CREDENTIALS_DIRECTORY=credentials environment/bin/python" in made.readme
    assert all((CHECKOUT / "roles" / path).is_file() for path in made.sources.values())
