# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every key of MindSpore Federated's configuration: a right value, a wrong one, and what the wrong one is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.mindspore.settings import SETTINGS
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Path
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.role_settings import checked
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.schema import (
    Integer,
    Key,
    OneOf,
    Rule,
    Section,
    Text,
    check_values,
)

COUNT = "expected a whole number from 1 to 4294967295,"


class Row(NamedTuple):
    """A key, a value that is taken, one that isn't, and why not."""

    key: str
    right: Any
    wrong: Any
    message: str


TABLE = [
    Row("fl_name", "lenet-2.b", "le net", "'le net' is not a name of letters, digits, '.', '_' and '-', at most 100"),
    Row("fl_iteration_num", 1, 0, COUNT + " found the number 0"),
    Row(
        "server_mode",
        "HYBRID_TRAINING",
        "CLOUD",
        "expected one of FEDERATED_LEARNING, HYBRID_TRAINING, CLOUD_TRAINING, found the text 'CLOUD' "
        "(did you mean 'CLOUD_TRAINING'?)",
    ),
    Row(
        "aggregation.aggregation_type",
        "FedCM",
        "FedAvgg",
        "expected one of FedAvg, FedProx, Scaffold, FedNova, FedCM, found the text 'FedAvgg' (did you mean 'FedAvg'?)",
    ),
    Row("aggregation.iid_rate", 1, 0, "expected a number above 0 and of at most 1, found the number 0"),
    Row("aggregation.total_client_num", 4294967295, 4294967296, COUNT + " found the number 4294967296"),
    Row("distributed_cache.type", "redis", "memcached", "expected redis, found the text 'memcached'"),
    Row("distributed_cache.plugin_lib_path", "", "/opt/x.so", "expected '', found the text '/opt/x.so'"),
    Row("round.start_fl_job_threshold", 1, 0, COUNT + " found the number 0"),
    Row(
        "round.start_fl_job_time_window",
        60000,
        60001,
        "60001 ms is longer than a whole iteration may take (global_iteration_time_window: 60000)",
    ),
    Row("round.update_model_ratio", 0.5, 1.01, "expected a number above 0 and of at most 1, found the number 1.01"),
    Row(
        "round.update_model_time_window",
        1,
        60001,
        "60001 ms is longer than a whole iteration may take (global_iteration_time_window: 60000)",
    ),
    Row("round.global_iteration_time_window", 30000, "60000", COUNT + " found the text '60000': leave out the quotes"),
    Row(
        "summary.metrics_file",
        "m/a.json",
        "/var/m.json",
        "'/var/m.json' is an absolute path: the program writes it into its state directory",
    ),
    Row(
        "summary.failure_event_file",
        "f.txt",
        "../f.txt",
        "'../f.txt' leads upwards ('..'): the program writes it into its state directory",
    ),
    Row("summary.continuous_failure_times", 1, 1.5, COUNT + " found the number 1.5"),
    Row(
        "summary.data_rate_dir",
        "rates",
        "../rates",
        "'../rates' leads upwards ('..'): the program writes it into its state directory",
    ),
    Row(
        "summary.participation_time_level",
        "1,2880",
        "15,5",
        "wants two bounds from 1 to 2880, the lower one first, such as 5,15",
    ),
    Row("unsupervised.cluster_client_num", 10, 0, COUNT + " found the number 0"),
    Row("unsupervised.eval_type", "NOT_EVAL", "SILHOUETTE_SCORE", "needs unsupervised.cluster_client_num"),
    Row(
        "encrypt.encrypt_train_type",
        "DP_ENCRYPT",
        "DP",
        "expected one of NOT_ENCRYPT, PW_ENCRYPT, STABLE_PW_ENCRYPT, DP_ENCRYPT, SIGNDS, found the text 'DP'",
    ),
    Row(
        "encrypt.encrypt_type",
        "SIGNDS",
        "NONE",
        "expected one of NOT_ENCRYPT, PW_ENCRYPT, STABLE_PW_ENCRYPT, DP_ENCRYPT, SIGNDS, found the text 'NONE'",
    ),
    Row(
        "encrypt.pw_encrypt.share_secrets_ratio",
        0.1,
        0,
        "expected a number above 0 and of at most 1, found the number 0",
    ),
    Row("encrypt.pw_encrypt.cipher_time_window", 1, True, COUNT + " found true"),
    Row("encrypt.pw_encrypt.reconstruct_secrets_threshold", 7, 0, COUNT + " found the number 0"),
    Row("encrypt.dp_encrypt.dp_eps", 0.1, 0, "expected a number above 0, found the number 0"),
    Row(
        "encrypt.dp_encrypt.dp_delta",
        0.001,
        "1e-3",
        "expected a number above 0 and below 1, found the text '1e-3': YAML takes this notation for text, write 0.001",
    ),
    Row("encrypt.dp_encrypt.dp_norm_clip", 2, -1.0, "expected a number above 0, found the number -1.0"),
    Row("encrypt.signds.sign_k", 0.25, 0.26, "expected a number above 0 and of at most 0.25, found the number 0.26"),
    Row("encrypt.signds.sign_eps", 1, 101, "expected a number above 0 and of at most 100, found the number 101"),
    Row("encrypt.signds.sign_thr_ratio", 0.5, 0.4, "expected a number from 0.5 to 1, found the number 0.4"),
    Row("encrypt.signds.sign_global_lr", 0.5, 0, "expected a number above 0, found the number 0"),
    Row("encrypt.signds.sign_dim_out", 50, 51, "expected a whole number from 0 to 50, found the number 51"),
    Row("encrypt.privacy_eval_type", "NOT_ENCRYPT", "LAPLACE", "LAPLACE needs encrypt.laplace_eval.laplace_eval_eps"),
    Row("encrypt.laplace_eval.laplace_eval_eps", 1.5, 0, "expected a number above 0, found the number 0"),
    Row(
        "compression.upload_compress_type",
        "DIFF_SPARSE_QUANT",
        "QUANT",
        "expected one of NO_COMPRESS, DIFF_SPARSE_QUANT, found the text 'QUANT'",
    ),
    Row("compression.upload_sparse_rate", 1, 0, "expected a number above 0 and of at most 1, found the number 0"),
    Row(
        "compression.download_compress_type",
        "QUANT",
        "DIFF_SPARSE_QUANT",
        "expected one of NO_COMPRESS, QUANT, found the text 'DIFF_SPARSE_QUANT'",
    ),
    Row(
        "ssl.crl_path",
        "/etc/crl.pem",
        "crl.pem",
        "expected '' or an absolute path on the host, found the text 'crl.pem'",
    ),
    Row(
        "ssl.cipher_list",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "has no ECDSA cipher, and certificates are elliptic ones: no TLS 1.2 connection could be made",
    ),
    Row("ssl.cert_expire_warning_time_in_day", 7, 6, "expected a whole number from 7 to 180, found the number 6"),
    Row(
        "client_verify.pki_verify",
        False,
        "false",
        "expected true or false, found the text 'false': leave out the quotes",
    ),
    Row(
        "client_verify.root_first_ca_path",
        "/etc/a.pem",
        "a.pem",
        "expected '' or an absolute path on the host, found the text 'a.pem'",
    ),
    Row(
        "client_verify.root_second_ca_path",
        "",
        "/etc/../a.pem",
        "expected '' or an absolute path on the host, found the text '/etc/../a.pem'",
    ),
    Row(
        "client_verify.equip_crl_path",
        "/etc/crl.pem",
        7,
        "expected '' or an absolute path on the host, found the number 7",
    ),
    Row(
        "client_verify.replay_attack_time_diff",
        0,
        -1,
        "expected a whole number from 0 to 4294967295, found the number -1",
    ),
    Row(
        "client.http_url_prefix",
        "/a/",
        "/a",
        "expected '' or a path that begins and ends with '/', found the text '/a'",
    ),
    Row("client.client_epoch_num", 1, 0, COUNT + " found the number 0"),
    Row("client.client_batch_size", 1, "32", COUNT + " found the text '32': leave out the quotes"),
    Row(
        "client.client_learning_rate",
        0.001,
        "1e-3",
        "expected a number above 0, found the text '1e-3': YAML takes this notation for text, write 0.001",
    ),
    Row("client.connection_num", 1, 0, "expected a whole number from 1 to 1048064, found the number 0"),
]

DERIVED = {
    "enable_ssl": (True, "the stack's `tls`"),
    "distributed_cache.address": ("10.20.0.11:23456", "the placement `redis`"),
    "distributed_cache.cacert_filename": ("/etc/ca.pem", "the stack's `tls`"),
    "distributed_cache.capath": ("/etc/ca", "the stack's `tls`"),
    "distributed_cache.cert_filename": ("/etc/cert.pem", "the stack's `tls`"),
    "distributed_cache.private_key_filename": ("/etc/key.pem", "the stack's `tls`"),
    "distributed_cache.server_name": ("redis", "the stack's `tls`"),
    "ssl.server_cert_path": ("/etc/server.p12", "the stack's `tls`"),
    "ssl.client_cert_path": ("/etc/client.p12", "the stack's `tls`"),
    "ssl.ca_cert_path": ("/etc/ca.pem", "the stack's `tls`"),
}
"""Keys that follow from the rest of the document: a value the program would take, and where ours comes from."""


def keys(section: Section, path: Path = ()) -> Iterator[str]:
    """The dotted path of every key that isn't itself a section."""
    for name, key in section.keys.items():
        if isinstance(key.type, Section):
            yield from keys(key.type, (*path, name))
        else:
            yield ".".join(str(step) for step in (*path, name))


def given(key: str, value: Any) -> dict[str, Any]:
    """Settings with this key."""
    for step in reversed(key.split(".")):
        value = {step: value}
    return {"fl_name": "lenet", **value}


def lines(values: dict[str, Any]) -> list[str]:
    return [str(mistake) for mistake in check_values(SETTINGS, values)[1]]


def test_the_tables_have_every_key_once() -> None:
    assert sorted([*(row.key for row in TABLE), *DERIVED]) == sorted(keys(SETTINGS))


@pytest.mark.parametrize("row", TABLE, ids=[row.key for row in TABLE])
def test_a_right_value_is_taken_as_it_is(row: Row) -> None:
    found: Any = checked("mindspore", given(row.key, row.right))
    for step in row.key.replace("encrypt_type", "encrypt_train_type").split("."):
        found = found[step]
    assert found == row.right
    assert type(found) is type(row.right)


@pytest.mark.parametrize("row", TABLE, ids=[row.key for row in TABLE])
def test_a_wrong_value_is_told_why(row: Row) -> None:
    assert lines(given(row.key, row.wrong)) == [f"{row.key}: {row.message}"]


@pytest.mark.parametrize("key", DERIVED)
def test_a_derived_key_is_left_out(key: str) -> None:
    value, origin = DERIVED[key]
    assert lines(given(key, value)) == [f"{key}: is derived from {origin}: leave it out"]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (
            {"encrypt": {"encrypt_train_type": "PW_ENCRYPT", "pw_encrypt": {"reconstruct_secrets_threshold": 2}}},
            "encrypt.pw_encrypt.reconstruct_secrets_threshold: 2 must be below the 2 updates that end an iteration "
            "(start_fl_job_threshold x update_model_ratio)",
        ),
        (
            {"encrypt": {"encrypt_train_type": "SIGNDS"}, "compression": {"upload_compress_type": "DIFF_SPARSE_QUANT"}},
            "compression.upload_compress_type: the program ignores it with SIGNDS: choose one of the two",
        ),
        (
            {"client_verify": {"pki_verify": True, "root_first_ca_path": "/etc/root.pem"}},
            "client_verify.root_second_ca_path: is needed with pki_verify: the server exits without it",
        ),
        (
            {"aggregation": {"aggregation_type": "Scaffold"}},
            "aggregation.aggregation_type: Scaffold needs aggregation.total_client_num",
        ),
        (
            {"aggregation": {"aggregation_type": "FedProx"}},
            "aggregation.aggregation_type: FedProx needs aggregation.iid_rate",
        ),
        (
            {"round": {"global_iteration_time_window": 1000, "start_fl_job_time_window": 1000}},
            "round.update_model_time_window: 30000 ms is longer than a whole iteration may take "
            "(global_iteration_time_window: 1000)",
        ),
    ],
)
def test_rules_across_keys(values: dict[str, Any], line: str) -> None:
    assert lines({"fl_name": "lenet", **values}) == [line]


def test_encrypt_type_is_another_word_for_encrypt_train_type() -> None:
    values = {"fl_name": "lenet", "encrypt": {"encrypt_type": "SIGNDS"}}
    assert checked("mindspore", values)["encrypt"]["encrypt_train_type"] == "SIGNDS"
    assert lines({"fl_name": "lenet", "encrypt": {"encrypt_type": "SIGNDS", "encrypt_train_type": "SIGNDS"}}) == [
        "encrypt.encrypt_type: 'encrypt_type' is another word for 'encrypt_train_type', which is given too"
    ]


def test_a_rule_s_breach_stands_where_the_alias_does() -> None:
    refused = Rule("Never.", lambda _values: [(("new",), "is refused"), (("deep", "new"), "is refused too")])
    keys = {"new": Key(Integer(), "A number."), "old": Key(Integer(), "The same.", alias_of="new")}
    section = Section({**keys, "deep": Key(OneOf((Text(), Section(keys))), "Deeper.")}, rules=(refused,))
    _values, found = check_values(section, {"old": 1, "deep": {"old": 2}})
    assert [str(mistake) for mistake in found] == ["deep.old: is refused too", "old: is refused"]


@pytest.mark.parametrize(
    ("version", "key", "other"),
    [("0.1.0", "encrypt_type", "encrypt_train_type"), ("0.2.0", "encrypt_train_type", "encrypt_type")],
)
def test_each_version_gets_the_word_that_it_reads(version: str, key: str, other: str) -> None:
    encrypt = checked("mindspore", {"fl_name": "lenet", "encrypt": {"encrypt_type": "SIGNDS"}}, version)["encrypt"]
    assert encrypt[key] == "SIGNDS"
    assert other not in encrypt


DOCUMENT = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab: {hosts: {ms1: 10.20.0.11, ms2: 10.20.0.12, ms3.lab.example: ms3.lab.example}}
stacks:
  lenet:
    kind: mindspore
    redis: {host: ms1}
    scheduler: {host: ms1}
    servers: {hosts: [ms2]}
    workers: {hosts: [ms2]}
    settings: {}
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "settings: {}",
            "settings: {round: {start_fl_job_threshold: 0}}",
            f"13:48: stacks.lenet.settings.round.start_fl_job_threshold: {COUNT} found the number 0",
        ),
        (
            "settings: {}",
            "settings: {fl_iteration_num: '3'}",
            f"13:34: stacks.lenet.settings.fl_iteration_num: {COUNT} found the text '3': leave out the quotes",
        ),
        (
            "settings: {}",
            "settings: {client: {client_learning_rate: 1e-3}}",
            "13:47: stacks.lenet.settings.client.client_learning_rate: 1e-3 is read differently by different YAML "
            "readers: write 0.001, or '1e-3' in quotes",
        ),
        (
            "settings: {}",
            "settings: {client: {client_learning_rate: '1e-3'}}",
            "13:47: stacks.lenet.settings.client.client_learning_rate: expected a number above 0, found the text "
            "'1e-3': YAML takes this notation for text, write 0.001",
        ),
        (
            "servers: {hosts: [ms2]}",
            "servers: {hosts: [ms3.lab.example]}",
            "11:22: stacks.lenet.servers.hosts: host 'ms3.lab.example' has no numeric address, and MindSpore Federated "
            "takes no names: give it one under parties, addresses: {internal: [ADDRESS]}",
        ),
        (
            "redis: {host: ms1}",
            "redis: {external: {address: redis.example, ca: ca.pem}}",
            "9:33: stacks.lenet.redis.external.address: 'redis.example' is no numeric address",
        ),
        (
            "redis: {host: ms1}",
            "redis: {host: ms1, settings: {requirepass: hunter2}}",
            "9:48: stacks.lenet.redis.settings.requirepass: MindSpore Federated cannot give Redis a password and would "
            "exit: its authentication is the stack's `tls`",
        ),
        (
            "redis: {host: ms1}",
            "redis: {external: {address: 10.20.0.9, ca: ca.pem, password: redis_password}}",
            "9:66: stacks.lenet.redis.external.password: MindSpore Federated cannot give Redis a password and would "
            "exit: its authentication is the stack's `tls`\n"
            "9:66: stacks.lenet.redis.external.password: a secret in clear: a document only names secrets, their "
            "values go into the vault",
        ),
        (
            "servers: {hosts: [ms2]}",
            "servers: {hosts: [ms2], bind: 0.0.0.0}",
            "11:35: stacks.lenet.servers.bind: '0.0.0.0' is refused by the program, which tells it to others: "
            "give the host's address",
        ),
        (
            "settings: {}",
            "settings: {ssl: {cipher_list: ECDHE-RSA-AES128-GCM-SHA256}}",
            "13:35: stacks.lenet.settings.ssl.cipher_list: has no ECDSA cipher, and certificates are elliptic ones: "
            "no TLS 1.2 connection could be made",
        ),
        (
            "settings: {}",
            "settings: {round: {start_fl_job_threshold: 2}}",
            "13:48: stacks.lenet.settings.round.start_fl_job_threshold: 2 participants would never come: the stack has "
            "1 workers (and no public_url for others)",
        ),
        (
            "settings: {}",
            "settings: {encrypt: {privacy_eval_type: NOT_ENCRYPT}}",
            "13:45: stacks.lenet.settings.encrypt.privacy_eval_type: from mindspore-federated 0.2.0 on, and "
            "runtime.version is 0.1.0, which ignores it",
        ),
    ],
)
def test_what_the_program_takes_and_breaks_on(
    mistakes: Callable[[str], list[str]], old: str, new: str, expected: str
) -> None:
    assert mistakes(DOCUMENT.replace(old, new, 1)) == [f"federation.yml:{line}" for line in expected.splitlines()]
