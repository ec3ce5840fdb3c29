# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MindSpore Federated: scheduler, servers and workers over Redis.

The first half is its configuration, key by key; the second is what a stack expands into.
"""

from __future__ import annotations

import ipaddress
import math
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import certificates, known_task, network
from ..model import (
    Authority,
    Certificate,
    Component,
    Endpoint,
    Expansion,
    Federation,
    Flow,
    Host,
    Party,
    Path,
    Placement,
    Stack,
)
from ..nodes import Report
from ..schema import (
    Anything,
    Boolean,
    Choice,
    Integer,
    Items,
    Key,
    Number,
    OneOf,
    Place,
    Rule,
    Section,
    Table,
    Text,
    complete,
    merge,
)

NAME = "mindspore"
TLS = True
ROLES: Mapping[str, str] = {
    "mindspore_scheduler": "service",
    "mindspore_server": "service",
    "mindspore_worker": "participant",
}

EXAMPLE = """\
redis: {host: host1}                       # the store that scheduler and servers share
scheduler: {host: host1}                   # its REST interface: host1:11202, client certificates only
servers: {hosts: [host2, host3]}           # per_host: 2 for two on each; initial_model for a model of your own
workers: {hosts: [host2, host3]}           # each trains on its own data; leave it out when devices do
proxy: {host: host1}                       # workers then outlive a server
settings: {fl_iteration_num: 3}            # MindSpore Federated's own keys: docs/federation.md lists them
"""

VERIFY_PORT_SHIFT = 2000
VERIFY_WORKERS = 32
"""More workers than that would prove nothing more in a round."""

DEFAULT_APPLICATION = "fedlearn_mindspore.linear:train"
SCHEDULER_LOOPBACK = "127.0.0.1"
UINT32_MAX = 4294967295
MAX_NAMES = 46  # federation and stack together: instance names have room for 64

_CODE = "ccsrc/common/core/yaml_config.cc"
_SEED = "lenet.yaml of the deployment guide"
_OBSERVED = "observed with mindspore-federated 0.1.0"
_ECDHE = ("RSA-AES128-GCM-SHA256", "ECDSA-AES128-GCM-SHA256", "RSA-AES256-GCM-SHA384", "ECDSA-AES256-GCM-SHA384")
_ECDHE_MORE = (
    "RSA-CHACHA20-POLY1305",
    "PSK-CHACHA20-POLY1305",
    "ECDSA-AES128-CCM",
    "ECDSA-AES256-CCM",
    "ECDSA-CHACHA20-POLY1305",
)
CIPHERS = ":".join(f"ECDHE-{suite}" for suite in (*_ECDHE, *_ECDHE_MORE))

# -- Settings ---------------------------------------------------------------------------------------------------------

_COUNT = Integer(1, UINT32_MAX)
_RATIO = Number(above=0, maximum=1)
_POSITIVE = Number(above=0)
_HOST_PATH = Text(format="absolute_path")
_STATE_PATH = Text(format="path")
_OPTIONAL_HOST_PATH = OneOf((Choice(("",)), _HOST_PATH))

_MODES = ("FEDERATED_LEARNING", "HYBRID_TRAINING", "CLOUD_TRAINING")
_ENCRYPTIONS = ("NOT_ENCRYPT", "PW_ENCRYPT", "STABLE_PW_ENCRYPT", "DP_ENCRYPT", "SIGNDS")

_AGGREGATION = Section(
    {
        "aggregation_type": Key(
            Choice(("FedAvg", "FedProx", "Scaffold", "FedNova", "FedCM")),
            "How updates become one model; FedCM from 0.2.0 on.",
            default="FedAvg",
            source=_CODE,
        ),
        "iid_rate": Key(_RATIO, "How alike the participants' data are; FedProx and FedNova use it.", source=_CODE),
        "total_client_num": Key(
            _COUNT, "All participants there are; Scaffold divides its correction by it.", source=_CODE
        ),
    }
)

_DISTRIBUTED_CACHE = Section(
    {
        "type": Key(Choice(("redis",)), "The store.", default="redis", source=_CODE),
        "address": Key(Text(format="address_port"), "Derived from the placement `redis`.", source=_CODE),
        "plugin_lib_path": Key(
            Choice(("",)), "A library for another store: none is deployed here.", default="", source=_CODE
        ),
        "cacert_filename": Key(_HOST_PATH, "Derived from `tls`.", source=_CODE),
        "capath": Key(_HOST_PATH, "Derived from `tls`.", source=_CODE),
        "cert_filename": Key(_HOST_PATH, "Derived from `tls`.", source=_CODE),
        "private_key_filename": Key(_HOST_PATH, "Derived from `tls`.", source=_CODE),
        "server_name": Key(Text(), "Derived from `tls`.", source=_CODE),
    }
)

_ROUND = Section(
    {
        "start_fl_job_threshold": Key(
            _COUNT,
            "Participants that an iteration begins with; where workers are placed, all of them unless said otherwise.",
            default=2,
            source=_CODE,
        ),
        "start_fl_job_time_window": Key(
            _COUNT, "How long an iteration waits for its participants.", default=30000, unit="ms", source=_SEED
        ),
        "update_model_ratio": Key(
            _RATIO, "The part of the participants whose updates end an iteration.", default=1.0, source=_SEED
        ),
        "update_model_time_window": Key(
            _COUNT, "How long an iteration waits for updates.", default=30000, unit="ms", source=_SEED
        ),
        "global_iteration_time_window": Key(
            _COUNT, "How long an iteration may take.", default=60000, unit="ms", source=_SEED
        ),
    }
)

_SUMMARY = Section(
    {
        "metrics_file": Key(
            _STATE_PATH,
            "Metrics of each iteration, in the server's state directory.",
            default="metrics.json",
            source=_SEED,
        ),
        "failure_event_file": Key(
            _STATE_PATH, "Failures, in the server's state directory.", default="event.txt", source=_SEED
        ),
        "continuous_failure_times": Key(
            _COUNT, "So many failed iterations one after the other are an event.", default=10, source=_SEED
        ),
        "data_rate_dir": Key(
            _STATE_PATH,
            "Where traffic is recorded, in the server's state directory. None by default: with it a server takes 10 to 60 s to stop.",
            source=_OBSERVED,
        ),
        "participation_time_level": Key(
            Text(pattern=r"[0-9]{1,4},[0-9]{1,4}", pattern_name="two whole numbers such as 5,15"),
            "Two bounds of the participation statistics, 1 to 2880, the lower one first.",
            default="5,15",
            unit="min",
            source="ccsrc/server/kernel/round/update_model_kernel.cc",
        ),
    }
)

_UNSUPERVISED = Section(
    {
        "cluster_client_num": Key(_COUNT, "Participants that the evaluation groups.", source=_CODE),
        "eval_type": Key(
            Choice(("NOT_EVAL", "SILHOUETTE_SCORE", "CALINSKI_HARABASZ_SCORE", "DAVIES_BOULDIN_SCORE")),
            "How groups are evaluated.",
            default="NOT_EVAL",
            source=_CODE,
        ),
    }
)

_ENCRYPT = Section(
    {
        "encrypt_train_type": Key(
            Choice(_ENCRYPTIONS),
            "How updates are protected; 0.1.0 calls it encrypt_type.",
            default="NOT_ENCRYPT",
            source=_CODE,
        ),
        "encrypt_type": Key(
            Choice(_ENCRYPTIONS),
            "The name in 0.1.0 and in the deployment guide.",
            alias_of="encrypt_train_type",
            source=_SEED,
        ),
        "pw_encrypt": Key(
            Section(
                {
                    "share_secrets_ratio": Key(
                        _RATIO, "The part of the participants that shares secrets.", default=1.0, source=_SEED
                    ),
                    "cipher_time_window": Key(
                        _COUNT, "How long each step of the protocol waits.", default=3000, unit="ms", source=_SEED
                    ),
                    "reconstruct_secrets_threshold": Key(
                        _COUNT, "Shares that reconstruct a secret.", default=1, source=_SEED
                    ),
                }
            ),
            "For PW_ENCRYPT and STABLE_PW_ENCRYPT.",
            default={},
        ),
        "dp_encrypt": Key(
            Section(
                {
                    "dp_eps": Key(_POSITIVE, "Privacy budget.", default=50.0, source=_SEED),
                    "dp_delta": Key(
                        Number(above=0, below=1), "Probability that the budget is exceeded.", default=0.01, source=_SEED
                    ),
                    "dp_norm_clip": Key(_POSITIVE, "Norm that updates are cut to.", default=1.0, source=_SEED),
                }
            ),
            "For DP_ENCRYPT.",
            default={},
        ),
        "signds": Key(
            Section(
                {
                    "sign_k": Key(
                        Number(above=0, maximum=0.25),
                        "The part of the dimensions that is chosen.",
                        default=0.01,
                        source=_SEED,
                    ),
                    "sign_eps": Key(Number(above=0, maximum=100), "Privacy budget.", default=100, source=_SEED),
                    "sign_thr_ratio": Key(
                        Number(minimum=0.5, maximum=1), "Threshold of the choice.", default=0.6, source=_SEED
                    ),
                    "sign_global_lr": Key(_POSITIVE, "Learning rate of the servers.", default=0.1, source=_SEED),
                    "sign_dim_out": Key(
                        Integer(0, 50), "Dimensions sent; 0 lets the program choose.", default=0, source=_SEED
                    ),
                }
            ),
            "For SIGNDS.",
            default={},
        ),
        "privacy_eval_type": Key(
            Choice(("NOT_ENCRYPT", "LAPLACE")), "How evaluations are protected; from 0.2.0 on.", source=_CODE
        ),
        "laplace_eval": Key(
            Section({"laplace_eval_eps": Key(_POSITIVE, "Privacy budget of evaluations.", source=_CODE)}),
            "For LAPLACE; from 0.2.0 on.",
        ),
    }
)

_COMPRESSION = Section(
    {
        "upload_compress_type": Key(
            Choice(("NO_COMPRESS", "DIFF_SPARSE_QUANT")),
            "How updates are compressed.",
            default="NO_COMPRESS",
            source=_SEED,
        ),
        "upload_sparse_rate": Key(_RATIO, "The part of an update that is sent.", default=0.4, source=_SEED),
        "download_compress_type": Key(
            Choice(("NO_COMPRESS", "QUANT")), "How models are compressed.", default="NO_COMPRESS", source=_SEED
        ),
    }
)

_SSL = Section(
    {
        "server_cert_path": Key(_HOST_PATH, "Derived from `tls`.", source=_CODE),
        "client_cert_path": Key(_HOST_PATH, "Derived from `tls`.", source=_CODE),
        "ca_cert_path": Key(_HOST_PATH, "Derived from `tls`.", source=_CODE),
        "crl_path": Key(_OPTIONAL_HOST_PATH, "A list of withdrawn certificates on the host.", default="", source=_SEED),
        "cipher_list": Key(
            Text(pattern=r"[A-Za-z0-9!+@=_:-]+", pattern_name="a list of OpenSSL's cipher names"),
            "Ciphers of TLS 1.2.",
            default=CIPHERS,
            source=_SEED,
        ),
        "cert_expire_warning_time_in_day": Key(
            Integer(7, 180),
            "So early the log warns of a certificate's end.",
            default=90,
            unit="days",
            source="ccsrc/common/constants.h",
        ),
    }
)

_CLIENT_VERIFY = Section(
    {
        "pki_verify": Key(
            Boolean(),
            "Whether devices sign their requests with certificates of their own.",
            default=False,
            source=_SEED,
        ),
        "root_first_ca_path": Key(
            _OPTIONAL_HOST_PATH, "Root certificate of the devices, on the host.", default="", source=_SEED
        ),
        "root_second_ca_path": Key(
            _OPTIONAL_HOST_PATH, "Second certificate of the devices' chain, on the host.", default="", source=_SEED
        ),
        "equip_crl_path": Key(
            _OPTIONAL_HOST_PATH, "The devices' withdrawn certificates, on the host.", default="", source=_SEED
        ),
        "replay_attack_time_diff": Key(
            Integer(0, UINT32_MAX), "How far a request's time may be off.", default=600000, unit="ms", source=_SEED
        ),
    }
)

_CLIENT = Section(
    {
        "http_url_prefix": Key(
            OneOf(
                (
                    Choice(("",)),
                    Text(pattern=r"/(?:[A-Za-z0-9._~-]+/)*", pattern_name="a path that begins and ends with '/'"),
                )
            ),
            "What goes before the paths that devices call: the program puts nothing in between.",
            default="",
            source="ccsrc/common/communicator/http_communicator.cc",
        ),
        "client_epoch_num": Key(_COUNT, "Epochs a participant trains in an iteration.", default=20, source=_SEED),
        "client_batch_size": Key(_COUNT, "Samples in a batch.", default=32, source=_SEED),
        "client_learning_rate": Key(_POSITIVE, "Learning rate of the participants.", default=0.01, source=_SEED),
        "connection_num": Key(_COUNT, "Connections a server takes at once.", default=10000, source=_SEED),
    }
)


def program_keys(settings: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The settings with the keys that the program of this version reads.

    0.1.x takes ``encrypt_type`` and silently ignores ``encrypt_train_type``: it would train in clear.
    """
    encrypt = dict(settings.get("encrypt", {}))
    if _release(version) < (0, 2) and "encrypt_train_type" in encrypt:
        encrypt = {"encrypt_type": encrypt.pop("encrypt_train_type"), **encrypt}
    return {**settings, "encrypt": encrypt} if encrypt else dict(settings)


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


Breaches = list[tuple[Path, str]]

_DERIVED: Mapping[Path, str] = {
    ("enable_ssl",): "the stack's `tls`",
    ("distributed_cache", "address"): "the placement `redis`",
    **{
        ("distributed_cache", key): "the stack's `tls`"
        for key in ("cacert_filename", "capath", "cert_filename", "private_key_filename", "server_name")
    },
    **{("ssl", key): "the stack's `tls`" for key in ("server_cert_path", "client_cert_path", "ca_cert_path")},
}


def _at(values: Mapping[str, Any], path: Path) -> Any:
    """The value at a path, or None."""
    found: Any = values
    for step in path:
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _derived(values: Mapping[str, Any]) -> Breaches:
    return [
        (path, f"is derived from {origin}: leave it out")
        for path, origin in _DERIVED.items()
        if _at(values, path) is not None
    ]


def _windows(values: Mapping[str, Any]) -> Breaches:
    round_ = values["round"]
    whole = round_["global_iteration_time_window"]
    return [
        (
            ("round", key),
            f"{round_[key]} ms is longer than a whole iteration may take (global_iteration_time_window: {whole})",
        )
        for key in ("start_fl_job_time_window", "update_model_time_window")
        if round_[key] > whole
    ]


def _participation(values: Mapping[str, Any]) -> Breaches:
    low, high = (int(number) for number in values["summary"]["participation_time_level"].split(","))
    if 0 < low < high <= 2880:
        return []
    return [
        (("summary", "participation_time_level"), "wants two bounds from 1 to 2880, the lower one first, such as 5,15")
    ]


def _evaluation(values: Mapping[str, Any]) -> Breaches:
    unsupervised = values["unsupervised"]
    if unsupervised["eval_type"] == "NOT_EVAL" or "cluster_client_num" in unsupervised:
        return []
    return [(("unsupervised", "eval_type"), "needs unsupervised.cluster_client_num")]


def _secret_shares(values: Mapping[str, Any]) -> Breaches:
    """PW_ENCRYPT waits for one participant more than reconstruct_secrets_threshold (ccsrc/server/server.cc)."""
    if values["encrypt"]["encrypt_train_type"] != "PW_ENCRYPT":
        return []
    threshold = values["encrypt"]["pw_encrypt"]["reconstruct_secrets_threshold"]
    updates = math.ceil(values["round"]["start_fl_job_threshold"] * values["round"]["update_model_ratio"])
    if threshold < updates:
        return []
    path = ("encrypt", "pw_encrypt", "reconstruct_secrets_threshold")
    return [
        (
            path,
            f"{threshold} must be below the {updates} updates that end an iteration (start_fl_job_threshold x update_model_ratio)",
        )
    ]


def _compressed_secrets(values: Mapping[str, Any]) -> Breaches:
    encryption = values["encrypt"]["encrypt_train_type"]
    if values["compression"]["upload_compress_type"] == "NO_COMPRESS" or encryption not in ("PW_ENCRYPT", "SIGNDS"):
        return []
    return [
        (("compression", "upload_compress_type"), f"the program ignores it with {encryption}: choose one of the two")
    ]


def _laplace(values: Mapping[str, Any]) -> Breaches:
    encrypt = values["encrypt"]
    if encrypt.get("privacy_eval_type") != "LAPLACE" or _at(encrypt, ("laplace_eval", "laplace_eval_eps")) is not None:
        return []
    return [(("encrypt", "privacy_eval_type"), "LAPLACE needs encrypt.laplace_eval.laplace_eval_eps")]


def _device_roots(values: Mapping[str, Any]) -> Breaches:
    verify = values["client_verify"]
    if not verify["pki_verify"]:
        return []
    return [
        (("client_verify", key), "is needed with pki_verify: the server exits without it")
        for key in ("root_first_ca_path", "root_second_ca_path")
        if not verify[key]
    ]


def _aggregation_needs(values: Mapping[str, Any]) -> Breaches:
    aggregation = values["aggregation"]
    needed = {"Scaffold": "total_client_num", "FedProx": "iid_rate", "FedNova": "iid_rate"}.get(
        aggregation["aggregation_type"]
    )
    if needed is None or needed in aggregation:
        return []
    return [(("aggregation", "aggregation_type"), f"{aggregation['aggregation_type']} needs aggregation.{needed}")]


def _ciphers(values: Mapping[str, Any]) -> Breaches:
    if "ECDSA" in values["ssl"]["cipher_list"]:
        return []
    return [
        (
            ("ssl", "cipher_list"),
            "has no ECDSA cipher, and certificates are elliptic ones: no TLS 1.2 connection could be made",
        )
    ]


SETTINGS = Section(
    {
        "fl_name": Key(
            Text(
                pattern=r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}",
                pattern_name="a name of letters, digits, '.', '_' and '-', at most 100",
            ),
            "Name of the training: in Redis keys and checkpoint files. Default: the stack's name.",
            required=True,
            source=_CODE,
        ),
        "fl_iteration_num": Key(_COUNT, "Iterations; those that ran out of time count too.", default=25, source=_SEED),
        "server_mode": Key(
            Choice(_MODES),
            "Who takes part: devices (FEDERATED_LEARNING), workers (CLOUD_TRAINING), both (HYBRID_TRAINING, not proven). Default: CLOUD_TRAINING where workers are placed.",
            default="FEDERATED_LEARNING",
            source=_CODE,
        ),
        "enable_ssl": Key(Boolean(), "Derived from `tls`.", source=_CODE),
        "aggregation": Key(_AGGREGATION, "How updates become one model.", default={}),
        "distributed_cache": Key(_DISTRIBUTED_CACHE, "The store.", default={}),
        "round": Key(_ROUND, "An iteration.", default={}),
        "summary": Key(_SUMMARY, "What servers record.", default={}),
        "unsupervised": Key(_UNSUPERVISED, "Evaluation without labels.", default={}),
        "encrypt": Key(_ENCRYPT, "Protection of updates.", default={}),
        "compression": Key(_COMPRESSION, "Compression of updates and models.", default={}),
        "ssl": Key(_SSL, "TLS.", default={}),
        "client_verify": Key(_CLIENT_VERIFY, "Devices' certificates.", default={}),
        "client": Key(_CLIENT, "What participants are told.", default={}),
    },
    rules=(
        Rule("Derived keys are left out.", _derived),
        Rule("No window of an iteration is longer than the iteration.", _windows),
        Rule("participation_time_level has its lower bound first.", _participation),
        Rule("An evaluation has its cluster_client_num.", _evaluation),
        Rule("PW_ENCRYPT reconstructs from fewer shares than there are updates.", _secret_shares),
        Rule("Updates are not both compressed and encrypted with PW_ENCRYPT or SIGNDS.", _compressed_secrets),
        Rule("LAPLACE has its budget.", _laplace),
        Rule("pki_verify has both root certificates.", _device_roots),
        Rule("Scaffold, FedProx and FedNova have their parameter.", _aggregation_needs),
        Rule("cipher_list has a cipher for elliptic certificates.", _ciphers),
    ),
)

# -- Placements -------------------------------------------------------------------------------------------------------

REDIS_SETTINGS = Section(
    {
        "maxmemory": Key(
            Text(pattern=r"[0-9]+(?:[kmgKMG][bB]?)?", pattern_name="bytes such as 512mb"),
            "Memory for data; 0 is no bound.",
        ),
        "maxclients": Key(Integer(32, 1_000_000), "Connections at once.", default=None),
        "timeout": Key(Integer(0, UINT32_MAX), "An idle connection is closed after so long; 0 is never.", unit="s"),
        "tcp-keepalive": Key(Integer(0, 86400), "How often a silent peer is asked for a sign of life.", unit="s"),
        "tcp-backlog": Key(Integer(1, 65535), "Connections waiting to be taken."),
        "loglevel": Key(Choice(("debug", "verbose", "notice", "warning")), "How much is logged."),
        "requirepass": Key(
            Anything(), "Refused: MindSpore Federated cannot give a password, `tls` is its only authentication."
        ),
    }
)


def _password(values: Mapping[str, Any]) -> Breaches:
    if "requirepass" not in values.get("settings", {}):
        return []
    return [
        (
            ("settings", "requirepass"),
            "MindSpore Federated cannot give Redis a password and would exit: its authentication is the stack's `tls`",
        )
    ]


def _external_redis(values: Mapping[str, Any]) -> Breaches:
    if "password" in values:
        return [
            (
                ("password",),
                "MindSpore Federated cannot give Redis a password and would exit: its authentication is the stack's `tls`",
            )
        ]
    return []


_EXTERNAL_REDIS = Section(
    {
        "address": Key(Text(format="address"), "Numeric address of the Redis.", required=True),
        "port": Key(Integer(1, 65535), "Its port.", default=6379),
        "ca": Key(_STATE_PATH, "File beside the document with the certificate of its CA; needed with `tls`."),
        "password": Key(Anything(), "Refused: MindSpore Federated cannot give a password."),
    },
    rules=(Rule("No password.", _external_redis),),
)

_ARCHIVE = Section(
    {
        "source": Key(
            OneOf((Text(format="url"), Text(format="path"))), "URL, or file beside the document.", required=True
        ),
        "sha256": Key(Text(format="sha256"), "Its sum.", required=True),
    }
)


def _python_source(values: Mapping[str, Any]) -> Breaches:
    source = values["source"]
    breaches: Breaches = []
    for key in ("path", "archive"):
        if (source == key) != (key in values):
            message = f"is needed with source: {key}" if source == key else f"means nothing with source: {source}"
            breaches.append(((key,) if key in values else ("source",), f"'{key}' {message}"))
    return breaches


_RUNTIME = Section(
    {
        "flavour": Key(
            Choice(("light", "full")),
            "light: without mindspore, 85 MB, on numpy. full: with mindspore, 2.8 GB.",
            default="light",
            source=_OBSERVED,
        ),
        "version": Key(
            Text(pattern=r"[0-9]+\.[0-9]+\.[0-9]+", pattern_name="a version such as 0.1.0"),
            "Version of mindspore-federated.",
            default="0.1.0",
        ),
        "python": Key(
            Section(
                {
                    "source": Key(
                        Choice(("system", "path", "archive")),
                        "Where Python 3.9 with libpython3.9.so comes from: Debian 11 has its own.",
                        default="system",
                    ),
                    "path": Key(_HOST_PATH, "The interpreter on the hosts, with source: path."),
                    "archive": Key(_ARCHIVE, "A packed Python, with source: archive."),
                },
                rules=(Rule("Only what belongs to the source is given.", _python_source),),
            ),
            "The Python 3.9 that programs run on.",
            default={},
        ),
        "wheels": Key(
            _STATE_PATH, "Folder beside the document with the wheels to install from, for hosts without an index."
        ),
        "index_url": Key(Text(format="url"), "The package index to install from, when not the hosts' own."),
    }
)

_MODEL = Section(
    {
        "source": Key(
            Text(format="path", pattern=r".+\.(?:ckpt|npz)", pattern_name="a file whose name ends with .ckpt or .npz"),
            "File beside the document.",
            required=True,
        ),
        "sha256": Key(Text(format="sha256"), "Its sum: another file is refused before anything starts.", required=True),
    }
)

_SHAPES = Section(
    {
        "shapes": Key(
            Table(Text(max_length=256), Items(Integer(1, UINT32_MAX), min_items=1, max_items=16)),
            "Names and dimensions of the weights, which are then zeros at first.",
            required=True,
            example={"fc.weight": [1, 3], "fc.bias": [1]},
        ),
    }
)

_APPLICATION = Section(
    {
        "callable": Key(
            Text(format="callable"),
            "The function that trains.",
            default=DEFAULT_APPLICATION,
            example="myapp.worker:train",
        ),
        "source": Key(_STATE_PATH, "Its package or file, beside the document."),
        "settings": Key(Anything(), "What the function is given; JSON data."),
    }
)

_PER_HOST = Key(Integer(1, 64), "How many on each host.", default=1)

PLACEMENTS: Mapping[str, Key] = {
    "redis": Key(
        Place(
            port=23456,
            external=_EXTERNAL_REDIS,
            settings=REDIS_SETTINGS,
            options={
                "persistence": Key(
                    Choice(("none", "rdb", "aof")),
                    "Whether Redis keeps its data: servers recover without.",
                    default="none",
                    source=_SEED,
                )
            },
            rules=(Rule("No password.", _password),),
        ),
        "The store that scheduler and servers share.",
        required=True,
    ),
    "scheduler": Key(
        Place(
            port=11202,
            options={
                "allow": Key(
                    Items(Text(format="network"), single=True),
                    "Networks that may reach the REST interface; default: the scheduler's host alone.",
                ),
                "clients": Key(
                    Items(Text(max_length=64), single=True),
                    "Common names of the party's certificates that may, beside the scheduler's own.",
                    default=[],
                ),
            },
        ),
        "The scheduler. Its REST interface has no authentication, so it listens on loopback, behind nginx on `port`.",
        required=True,
    ),
    "servers": Key(
        Place(
            many=True,
            port=6666,
            options={
                "per_host": _PER_HOST,
                "checkpoint_port": Key(
                    Integer(1, 65535), "Where servers exchange checkpoints; one more for each on a host.", default=7666
                ),
                "initial_model": Key(
                    OneOf((_MODEL, _SHAPES)),
                    "The model that training begins with; needed but for the default application.",
                ),
            },
        ),
        "The servers; with several on a host each takes the next port.",
        required=True,
    ),
    "workers": Key(
        Place(
            many=True,
            listens=False,
            options={"per_host": _PER_HOST, "application": Key(_APPLICATION, "What a worker trains.", default={})},
        ),
        "The stack's own participants, each with its own data.",
    ),
    "proxy": Key(
        Place(
            port=6666,
            options={
                "allow": Key(
                    Items(Text(format="network"), single=True),
                    "Networks that may reach it; default: everyone.",
                    default=[],
                ),
                "body_size_mb": Key(Integer(1, 65536), "The largest update.", default=512, unit="MB"),
                "read_timeout_seconds": Key(Integer(1, 86400), "How long an answer may take.", default=120, unit="s"),
            },
        ),
        "nginx in front of the servers: participants then outlive a server.",
    ),
    "runtime": Key(_RUNTIME, "What programs run on.", default={}),
    "verify_port_shift": Key(
        Integer(1, 60000), "The verify round's ports are the deployed ones plus this.", default=VERIFY_PORT_SHIFT
    ),
}

# -- Expansion --------------------------------------------------------------------------------------------------------


def expand(stack: Stack, federation: Federation, report: Report) -> Expansion:
    """A stack's components, and all that follows from them."""
    before = len(report)
    topology = _Topology(stack, federation, report)
    topology.check_names()
    if any(placement.hosts for placement in stack.placements.values()):
        topology.check_placements()
        settings = _settings(topology, report)
        if len(report) > before:
            return Expansion()
        return _Builder(topology, settings).build()
    return _removal(topology) if len(report) == before else Expansion()


def _usable(address: str) -> bool:
    """Whether the program takes the address: IPv4, first and last number from 1 to 254 (ccsrc/common/core/comm_util.cc)."""
    numbers = address.split(".")
    return len(numbers) == 4 and 1 <= int(numbers[0]) <= 254 and 1 <= int(numbers[3]) <= 254


@dataclass(frozen=True, slots=True)
class _Server:
    """One server process and its ports before any shift."""

    host: str
    number: int
    address: str
    port: int
    checkpoint_port: int


class _Topology:
    """Who runs where, and at which addresses. What is wrong goes to the report."""

    def __init__(self, stack: Stack, federation: Federation, report: Report) -> None:
        self.stack = stack
        self.federation = federation
        self.report = report
        self.prefix = f"{federation.name}-{stack.name}"
        self.redis = stack.placements.get("redis", Placement())
        self.scheduler = stack.placements.get("scheduler", Placement())
        self.servers = stack.placements.get("servers", Placement())
        self.workers = stack.placements.get("workers", Placement())
        self.proxy = stack.placements.get("proxy", Placement())
        self.hosts: dict[str, Host] = {
            name: host for party in federation.parties.values() for name, host in party.hosts.items()
        }
        self._addresses: dict[tuple[str, str], str] = {}

    @property
    def party(self) -> Party:
        """The party that runs scheduler, servers and Redis."""
        return self.federation.parties[self.hosts[self.scheduler.hosts[0]].party]

    @property
    def scheme(self) -> str:
        """http or https."""
        return "https" if self.stack.tls else "http"

    @property
    def shift(self) -> int:
        """What the verify round's ports have more than the deployed ones."""
        return int(self.stack.options["verify_port_shift"])

    def worker_places(self) -> list[tuple[str, int]]:
        """Host and number of each worker."""
        return [(host, number + 1) for host in self.workers.hosts for number in range(self.workers.options["per_host"])]

    def server_places(self) -> list[_Server]:
        """Every server, in the document's order."""
        return [
            _Server(
                host,
                number + 1,
                self.address("servers", host),
                self._port(self.servers) + number,
                self._checkpoint_port + number,
            )
            for host in self.servers.hosts
            for number in range(self.servers.options["per_host"])
        ]

    @property
    def _checkpoint_port(self) -> int:
        return int(self.servers.options["checkpoint_port"])

    @staticmethod
    def _port(placement: Placement) -> int:
        assert placement.port is not None
        return placement.port

    def address(self, role: str, host: str) -> str:
        """The numeric IPv4 address of a role's components on a host; empty once the mistake is noted."""
        found = self._addresses.get((role, host))
        if found is None:
            found = self._addresses[role, host] = self._find_address(role, host)
        return found

    def _find_address(self, role: str, host: str) -> str:
        placement = self.stack.placements[role]
        if placement.bind is not None and not (role == "proxy" and placement.bind in network.WILDCARDS):
            return self._bound_address(role, placement.bind)
        internal = self.hosts[host].internal
        for address in internal:
            if _usable(address):
                return address
        if not internal:
            reason = "has no numeric address, and MindSpore Federated takes no names"
        elif all(":" in address for address in internal):
            reason = "has IPv6 addresses only, and MindSpore Federated takes IPv4 only"
        else:
            reason = (
                f"has {', '.join(internal)}, and MindSpore Federated takes no address whose last number is 0 or 255"
            )
        way_out = "give it one under parties, addresses: {internal: [ADDRESS]}"
        self.report.mistake((*placement.path, "hosts"), f"host '{host}' {reason}: {way_out}")
        return ""

    def _bound_address(self, role: str, bind: str) -> str:
        path = (*self.stack.placements[role].path, "bind")
        if bind in network.WILDCARDS:
            self.report.mistake(
                path, f"'{bind}' is refused by the program, which tells it to others: give one of the host's addresses"
            )
        elif not _usable(bind):
            self.report.mistake(
                path, f"'{bind}' is no IPv4 address that MindSpore Federated takes (last number 1 to 254)"
            )
        elif ipaddress.ip_address(bind).is_loopback and len(self._all_hosts()) > 1:
            self.report.mistake(path, f"'{bind}' cannot be reached from the stack's other hosts")
        else:
            return bind
        return ""

    def _all_hosts(self) -> set[str]:
        return {host for placement in self.stack.placements.values() for host in placement.hosts}

    def check_names(self) -> None:
        """Names that would meet the verify round's, or be too long."""
        path = self.stack.path
        if self.stack.name.startswith("verify-"):
            self.report.mistake(path, "a stack's name cannot begin with 'verify-': the verify rounds have these names")
        length = len(self.federation.name) + len(self.stack.name)
        if length > MAX_NAMES:
            self.report.mistake(
                path,
                f"the names of federation and stack have {length} characters, at most {MAX_NAMES} leave room for components",
            )

    def check_placements(self) -> None:
        """What must run, and where it can't."""
        self._check_required()
        self._check_urls()
        self._check_bind()
        self._check_parties()
        self._check_model()
        self._check_ports()
        if self.redis.external and self.stack.tls and "ca" not in self.redis.external:
            self.report.mistake(
                (*self.redis.path, "external"),
                "the key 'ca' is missing: with the stack's `tls` Redis is reached by TLS too",
            )
        for role in ("redis", "scheduler", "servers", "proxy"):
            for host in self.stack.placements[role].hosts if role in self.stack.placements else ():
                self.address(role, host)

    def _check_required(self) -> None:
        for role in ("redis", "scheduler", "servers"):
            placement = self.stack.placements[role]
            if not placement.hosts and not placement.external:
                self.report.mistake(
                    placement.path,
                    f"'{role}' is absent everywhere, and the stack's other roles need it: name a host, or make the stack absent",
                )

    def _check_urls(self) -> None:
        for role, placement in self.stack.placements.items():
            if placement.internal_url is None:
                continue
            path = (*placement.path, "internal_url")
            if role != "proxy":
                self.report.mistake(
                    path,
                    "MindSpore Federated's components reach each other at the hosts' numeric addresses: leave it out",
                )
                continue
            url = network.parse_url(placement.internal_url)
            if url.scheme != self.scheme:
                self.report.mistake(path, f"workers connect by {self.scheme}: {self.scheme}://ADDRESS:PORT")
            elif not network.is_numeric(url.host) or not _usable(url.host):
                self.report.mistake(path, f"workers take a numeric IPv4 address only, not '{url.host}'")

    def _check_bind(self) -> None:
        if self.servers.bind is not None and len(self.servers.hosts) > 1:
            self.report.mistake(
                (*self.servers.path, "bind"), "is one address, and the servers run on several hosts: leave it out"
            )

    def _check_parties(self) -> None:
        """One CA issues for all but workers: the program compares issuers with the one CA file it is given."""
        owners = {
            host: self.hosts[host].party
            for placement in (self.scheduler, self.redis, self.servers, self.proxy)
            for host in placement.hosts
        }
        home = next(iter(owners.values()), "")
        for role in ("redis", "servers", "proxy"):
            placement = self.stack.placements.get(role, Placement())
            strangers = [host for host in placement.hosts if owners[host] != home]
            if strangers:
                message = f"host '{strangers[0]}' is of party '{owners[strangers[0]]}', the scheduler's of '{home}': only workers may be another party's"
                self.report.mistake((*placement.path, "hosts"), message)

    def _check_model(self) -> None:
        if "initial_model" in self.servers.options or not self.servers.hosts:
            return
        if not self.workers.hosts:
            self.report.mistake(
                self.servers.path,
                "the key 'initial_model' is missing: without workers of the stack's own there is no application to know the model's shape",
            )
        elif self.workers.options["application"]["callable"] != DEFAULT_APPLICATION:
            self.report.mistake(
                self.servers.path, "the key 'initial_model' is missing: the model that the workers' application trains"
            )

    def _check_ports(self) -> None:
        """No port beyond 65535, the verify round's included."""
        more = int(self.servers.options.get("per_host", 1)) - 1
        highest = {
            ("scheduler", "port"): self.scheduler.port or 0,
            ("servers", "port"): (self.servers.port or 0) + more,
            ("servers", "checkpoint_port"): self._checkpoint_port + more,
            ("proxy", "port"): self.proxy.port or 0,
        }
        for (role, key), port in highest.items():
            if port + self.shift > 65535:
                message = f"{port} and the verify round's {port + self.shift} ({self.shift} more) must not be above 65535: see verify_port_shift"
                self.report.mistake((*self.stack.path, role, key), message)


def _settings(topology: _Topology, report: Report) -> dict[str, Any]:
    """The stack's settings, derived and given, complete and checked against where it runs."""
    stack = topology.stack
    path = (*stack.path, "settings")
    workers = len(topology.workers.hosts) * int(topology.workers.options.get("per_host", 1))
    derived: dict[str, Any] = {"fl_name": stack.name}
    if workers:
        derived |= {"server_mode": "CLOUD_TRAINING", "round": {"start_fl_job_threshold": workers}}
    settings = complete(SETTINGS, merge(derived, stack.settings), path, report)
    if not settings:
        return settings
    for where, message in [*_version_breaches(settings, stack), *_worker_breaches(settings, topology, workers)]:
        report.mistake((*path, *where), message)
    _check_shared_redis(topology, settings, path)
    return settings


def _version_breaches(settings: Mapping[str, Any], stack: Stack) -> Breaches:
    """Keys that this version would silently ignore."""
    version = stack.options["runtime"]["version"]
    if _release(version) >= (0, 2):
        return []
    since = f"from mindspore-federated 0.2.0 on, and runtime.version is {version}, which ignores it"
    breaches: Breaches = [
        (("encrypt", key), since) for key in ("privacy_eval_type", "laplace_eval") if key in settings["encrypt"]
    ]
    if settings["aggregation"]["aggregation_type"] == "FedCM":
        breaches.append(
            (("aggregation", "aggregation_type"), f"FedCM exists {since.removesuffix(', which ignores it')}")
        )
    return breaches


def _worker_breaches(settings: Mapping[str, Any], topology: _Topology, workers: int) -> Breaches:
    """What the stack's own workers can't do."""
    if not workers:
        return []
    breaches: Breaches = []
    if settings["server_mode"] == "FEDERATED_LEARNING":
        breaches.append(
            (("server_mode",), "the stack has workers, who take part in CLOUD_TRAINING and HYBRID_TRAINING only")
        )
    runtime = topology.stack.options["runtime"]
    possible = ("NOT_ENCRYPT",) if _release(runtime["version"]) < (0, 2) else ("NOT_ENCRYPT", "STABLE_PW_ENCRYPT")
    encryption = settings["encrypt"]["encrypt_train_type"]
    if encryption not in possible:
        message = f"workers of mindspore-federated {runtime['version']} can do {' and '.join(possible)} only, not {encryption}"
        breaches.append((("encrypt", "encrypt_train_type"), message))
    if settings["aggregation"]["aggregation_type"] == "Scaffold" and runtime["flavour"] == "light":
        breaches.append(
            (("aggregation", "aggregation_type"), "light workers cannot do Scaffold: set runtime.flavour to full")
        )
    if settings["client"]["http_url_prefix"]:
        breaches.append(
            (("client", "http_url_prefix"), "workers call the paths without a prefix: leave it out, or the workers")
        )
    threshold = settings["round"]["start_fl_job_threshold"]
    public = topology.proxy.public_url or topology.servers.public_url
    if threshold > workers and settings["server_mode"] == "CLOUD_TRAINING" and not public:
        message = (
            f"{threshold} participants would never come: the stack has {workers} workers (and no public_url for others)"
        )
        breaches.append((("round", "start_fl_job_threshold"), message))
    return breaches


def _check_shared_redis(topology: _Topology, settings: Mapping[str, Any], path: Path) -> None:
    """Two stacks with one external Redis need names of their own: Redis keys begin with fl_name."""
    own = topology.redis.external
    if not own:
        return
    for other in topology.federation.stacks.values():
        theirs = other.placements["redis"].external if other.kind == NAME and "redis" in other.placements else None
        if (
            other.name == topology.stack.name
            or not theirs
            or (theirs["address"], theirs["port"]) != (own["address"], own["port"])
        ):
            continue
        if other.settings.get("fl_name", other.name) == settings["fl_name"]:
            message = f"'{settings['fl_name']}' is also the name of stack '{other.name}' in the same Redis: give them two names"
            topology.report.mistake((*path, "fl_name"), message)


@dataclass(frozen=True, slots=True)
class _Copy:
    """The deployed stack, or its transient copy for the verify round.

    ``application`` gives the application of the worker with this index; ``workers`` are host and number of each.
    """

    prefix: str
    shift: int
    settings: Mapping[str, Any]
    workers: Sequence[tuple[str, int]]
    application: Callable[[int], Mapping[str, Any]]
    transient: bool = False


@dataclass(slots=True)
class _Result:
    """What a copy expands into."""

    components: list[Component] = field(default_factory=list)
    variables: dict[str, dict[str, list[dict[str, Any]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def add(self, component: Component, variable: str, instance: dict[str, Any]) -> None:
        """One component and its role's instance."""
        self.components.append(component)
        self.variables[component.host][variable].append(instance)


class _Builder:
    """Turns a right topology into components, certificates, flows and variables."""

    def __init__(self, topology: _Topology, settings: Mapping[str, Any]) -> None:
        self.topology = topology
        self.stack = topology.stack
        self.federation = topology.federation
        self.version: str = self.stack.options["runtime"]["version"]
        self.settings = settings
        self.party = certificates.party_authority(self.federation, topology.party)
        self.store = certificates.store_authority(self.federation, topology.party, self.stack.name)
        self.servers = topology.server_places()
        self.runtime = self._runtime()
        self.redis = self._redis_address()
        self.model = self._initial_model()

    # ... shared parts of instances

    def _beside(self, path: str) -> str:
        return posixpath.join(self.federation.directory, path)

    def _runtime(self) -> dict[str, Any]:
        runtime = dict(self.stack.options["runtime"])
        if "wheels" in runtime:
            runtime["wheels"] = self._beside(runtime["wheels"])
        archive = runtime["python"].get("archive")
        if archive and "://" not in archive["source"]:
            runtime["python"] = {**runtime["python"], "archive": {**archive, "source": self._beside(archive["source"])}}
        return runtime

    def _redis_address(self) -> dict[str, Any]:
        placement = self.topology.redis
        if placement.external:
            return {"address": placement.external["address"], "port": placement.external["port"]}
        return {"address": self.topology.address("redis", placement.hosts[0]), "port": placement.port}

    def _initial_model(self) -> dict[str, Any] | None:
        model = self.topology.servers.options.get("initial_model")
        return {**model, "source": self._beside(model["source"])} if model and "source" in model else model

    def certificate(self, role: str) -> str:
        """The name of a role's certificate; both copies use the same."""
        return f"{self.topology.prefix}-{role}"

    def tls(self, role: str) -> dict[str, Any] | None:
        """What a scheduler, server or worker speaks TLS with."""
        if not self.stack.tls:
            return None
        own = certificates.paths(self.federation.name, self.certificate(role))
        return {"pkcs12": own["pkcs12"], "password": own["password"], "ca": own["ca"]}

    def tls_with_store(self, role: str) -> dict[str, Any] | None:
        """The same with what Redis asks for."""
        store = certificates.paths(self.federation.name, self.certificate(f"{role}-store"))
        found = self.tls(role)
        if found is None:
            return None
        return found | {"store_ca": store["ca"], "store_certificate": store["certificate"], "store_key": store["key"]}

    def participants_server(self, copy: _Copy) -> dict[str, Any]:
        """Where workers connect: the proxy, or without one the first server."""
        proxy = self.topology.proxy
        if proxy.hosts and proxy.internal_url and not copy.transient:
            url = network.parse_url(proxy.internal_url)
            return {"address": url.host, "port": url.port or network.DEFAULT_PORTS[url.scheme]}
        if proxy.hosts and proxy.port is not None:
            return {"address": self.topology.address("proxy", proxy.hosts[0]), "port": proxy.port + copy.shift}
        return {"address": self.servers[0].address, "port": self.servers[0].port + copy.shift}

    # ... one copy

    def copy(self, copy: _Copy) -> _Result:
        """Components and instances of one copy."""
        result = _Result()
        if not copy.transient:
            self._add_redis(copy, result)
            self._add_rest(copy, result)
        self._add_scheduler(copy, result)
        self._add_servers(copy, result)
        self._add_proxy(copy, result)
        self._add_workers(copy, result)
        return result

    def _instance(self, copy: _Copy, component: str) -> dict[str, Any]:
        base: dict[str, Any] = {
            "name": f"{copy.prefix}-{component}",
            "state": "present",
            "federation": self.federation.name,
            "stack": self.stack.name,
        }
        return base | {"transient": True} if copy.transient else base

    def _component(
        self, copy: _Copy, name: str, placement: str, role: str, host: str, endpoints: Iterable[Endpoint] = ()
    ) -> Component:
        return Component(f"{copy.prefix}-{name}", self.stack.name, placement, role, host, endpoints=tuple(endpoints))

    def _endpoint(
        self, placement: Placement, purpose: str, address: str, port: int, *, scheme: str = "", key: str = "port"
    ) -> Endpoint:
        internal = network.join(address, port)
        if scheme:
            internal = f"{scheme}://{internal}"
        public = placement.public_url if purpose in ("http", "rest-front") else None
        return Endpoint(
            purpose, address, port, internal=internal, public=public or internal, path=(*placement.path, key)
        )

    def _add_redis(self, copy: _Copy, result: _Result) -> None:
        placement = self.topology.redis
        for host in placement.hosts:
            paths = certificates.paths(self.federation.name, self.certificate("redis"))
            tls = (
                {"certificate": paths["certificate"], "key": paths["key"], "client_ca": paths["ca"]}
                if self.stack.tls
                else None
            )
            endpoint = self._endpoint(placement, "redis", self.redis["address"], self.redis["port"])
            instance = self._instance(copy, "redis") | {
                "addresses": [self.redis["address"]],
                "port": self.redis["port"],
                "persistence": placement.options["persistence"],
                "tls": tls,
                "allow_unauthenticated": tls is None,
                "settings": dict(placement.settings),
            }
            result.add(self._component(copy, "redis", "redis", "redis", host, [endpoint]), "redis_instances", instance)

    def _add_scheduler(self, copy: _Copy, result: _Result) -> None:
        placement = self.topology.scheduler
        assert placement.port is not None
        port = placement.port + copy.shift
        endpoint = self._endpoint(placement, "rest", SCHEDULER_LOOPBACK, port, scheme=self.topology.scheme)
        instance = self._instance(copy, "scheduler") | {
            "runtime": self.runtime,
            "listen": {"address": SCHEDULER_LOOPBACK, "port": port},
            "redis": self.redis,
            "tls": self.tls_with_store("scheduler"),
            "settings": program_keys(copy.settings, self.version),
        }
        component = self._component(
            copy, "scheduler", "scheduler", "mindspore_scheduler", placement.hosts[0], [endpoint]
        )
        result.add(component, "mindspore_scheduler_instances", instance)

    def _add_rest(self, copy: _Copy, result: _Result) -> None:
        """nginx before the scheduler's REST interface: client certificates and an allow list."""
        placement = self.topology.scheduler
        host = placement.hosts[0]
        address = self.topology.address("scheduler", host)
        assert placement.port is not None
        paths = certificates.paths(self.federation.name, self.certificate("scheduler"))
        upstream: dict[str, Any] = {"servers": [network.join(SCHEDULER_LOOPBACK, placement.port)], "tls": None}
        tls = None
        if self.stack.tls:
            names = [certificates.common_name(self.certificate("scheduler"), host), *placement.options["clients"]]
            tls = {"certificate": paths["chain"], "key": paths["key"], "client_ca": paths["ca"], "client_names": names}
            upstream["tls"] = {
                "ca": paths["ca"],
                "name": self.certificate("scheduler"),
                "certificate": None,
                "key": None,
            }
        instance = self._instance(copy, "rest") | {
            "listen": [{"address": address, "port": placement.port}],
            "server_names": [],
            "tls": tls,
            "allow": self.rest_networks(),
            "upstream": upstream,
            "body_size_mb": 1,
            "read_timeout_seconds": 60,
        }
        endpoint = self._endpoint(placement, "rest-front", address, placement.port, scheme=self.topology.scheme)
        result.add(self._component(copy, "rest", "scheduler", "nginx", host, [endpoint]), "nginx_sites", instance)

    def rest_networks(self) -> list[str]:
        """Who may reach the REST interface."""
        placement = self.topology.scheduler
        own = network.single(self.topology.address("scheduler", placement.hosts[0]))
        return list(dict.fromkeys([own, *placement.options.get("allow", ())]))

    def _exchange(self, server: _Server, copy: _Copy) -> dict[str, str]:
        """Where a server's checkpoints are, and the name that its certificate has."""
        return {
            "endpoint": network.join(server.address, server.checkpoint_port + copy.shift),
            "name": certificates.common_name(self.certificate("server"), server.host),
        }

    def _add_servers(self, copy: _Copy, result: _Result) -> None:
        placement = self.topology.servers
        exchange = [self._exchange(server, copy) for server in self.servers]
        paths = certificates.paths(self.federation.name, self.certificate("server"))
        mutual = {"certificate": paths["chain"], "key": paths["key"], "ca": paths["ca"]} if self.stack.tls else None
        shared = {
            "runtime": self.runtime,
            "redis": self.redis,
            "tls": self.tls_with_store("server"),
            "settings": program_keys(copy.settings, self.version),
            "initial_model": None if copy.transient else self.model,
        }
        for index, server in enumerate(self.servers):
            port, checkpoint_port = server.port + copy.shift, server.checkpoint_port + copy.shift
            endpoints = [
                self._endpoint(placement, "http", server.address, port, scheme=self.topology.scheme),
                Endpoint("tcp", server.address, None, path=placement.path),
            ]
            exchanged = self._endpoint(placement, "checkpoints", server.address, checkpoint_port, key="checkpoint_port")
            instance = (
                self._instance(copy, f"server-{server.number}")
                | shared
                | {
                    "http": {"address": server.address, "port": port},
                    "tcp_address": server.address,
                    "checkpoints": {
                        "address": server.address,
                        "port": checkpoint_port,
                        "peers": [*exchange[:index], *exchange[index + 1 :]],
                        "tls": mutual,
                    },
                }
            )
            name = f"server-{server.number}"
            component = self._component(copy, name, "servers", "mindspore_server", server.host, endpoints)
            result.add(component, "mindspore_server_instances", instance)
            beside = self._component(
                copy, f"{name}-checkpoints", "servers", "mindspore_server", server.host, [exchanged]
            )
            result.components.append(beside)

    def _add_proxy(self, copy: _Copy, result: _Result) -> None:
        placement = self.topology.proxy
        for host in placement.hosts:
            assert placement.port is not None
            address, port = placement.bind or self.topology.address("proxy", host), placement.port + copy.shift
            paths = certificates.paths(self.federation.name, self.certificate("proxy"))
            tls = upstream_tls = None
            if self.stack.tls:
                tls = {"certificate": paths["chain"], "key": paths["key"], "client_ca": None, "client_names": []}
                upstream_tls = {"ca": paths["ca"], "name": self.certificate("server"), "certificate": None, "key": None}
            instance = self._instance(copy, "proxy") | {
                "listen": [{"address": address, "port": port}],
                "server_names": [],
                "tls": tls,
                "allow": list(placement.options["allow"]),
                "upstream": {
                    "servers": [network.join(server.address, server.port + copy.shift) for server in self.servers],
                    "tls": upstream_tls,
                    "retry_non_idempotent": True,
                },
                "body_size_mb": placement.options["body_size_mb"],
                "read_timeout_seconds": placement.options["read_timeout_seconds"],
            }
            endpoint = self._endpoint(placement, "http", address, port, scheme=self.topology.scheme)
            result.add(self._component(copy, "proxy", "proxy", "nginx", host, [endpoint]), "nginx_sites", instance)

    def _add_workers(self, copy: _Copy, result: _Result) -> None:
        role = (
            "worker" if self.topology.workers.hosts else "server"
        )  # without workers the round's run beside the servers
        shared = {
            "runtime": self.runtime,
            "server": self.participants_server(copy),
            "tls": self.tls(role),
            "settings": program_keys(copy.settings, self.version),
        }
        for index, (host, number) in enumerate(copy.workers):
            instance = self._instance(copy, f"worker-{number}") | shared | {"application": copy.application(index)}
            component = self._component(copy, f"worker-{number}", "workers", "mindspore_worker", host)
            result.add(component, "mindspore_worker_instances", instance)

    # ... the whole

    def build(self) -> Expansion:
        """Everything the stack expands into."""
        deployed = self._deployed()
        verify = self._verify()
        built, transient = self.copy(deployed), self.copy(verify)
        removed = _removal(self.topology)
        for host, variables in removed.variables.items():
            for variable, instances in variables.items():
                built.variables[host][variable].extend(instances)
        return Expansion(
            components=(*built.components, *removed.components),
            authorities=tuple(self._authorities()),
            certificates=(*(self._certificates() if self.stack.tls else ()), *removed.certificates),
            flows=tuple(self._flows(deployed, verify)),
            variables=built.variables,
            verify=self._rounds(verify, transient),
            transient=tuple(transient.components),
            known=self._known(deployed),
            open_files=self._open_files(),
        )

    def _open_files(self) -> dict[str, int]:
        """Open files that hosts with servers or the proxy allow a process: one for each connection."""
        needed = network.nofile_limit(self.settings["client"]["connection_num"], per_client=1)
        return dict.fromkeys((*self.topology.servers.hosts, *self.topology.proxy.hosts), needed)

    def _application(self) -> dict[str, Any]:
        application = self.topology.workers.options.get("application", {})
        source = application.get("source")
        return {
            "callable": application.get("callable", DEFAULT_APPLICATION),
            "source": self._beside(source) if source else None,
            "settings": application.get("settings", {}),
        }

    @property
    def _seed(self) -> int:
        return known_task.seed(self.federation.name, self.stack.name)

    def _trains_known_task(self) -> bool:
        """Whether the deployed workers train the known task: the default application without settings of the user's."""
        application = self._application()
        return (
            application["callable"] == DEFAULT_APPLICATION and not application["settings"] and not application["source"]
        )

    def _deployed(self) -> _Copy:
        shared = self._application()
        known = self._trains_known_task()

        def application(index: int) -> Mapping[str, Any]:
            if not known:
                return shared
            return {**shared, "settings": known_task.settings(known_task.steady_offset(index), self._seed + index)}

        return _Copy(self.topology.prefix, 0, self.settings, self.topology.worker_places(), application)

    def _verify(self) -> _Copy:
        workers = self.topology.worker_places() or [(host, 1) for host in self.topology.servers.hosts]
        workers = workers[:VERIFY_WORKERS]
        offsets = known_task.balanced_offsets(len(workers))
        seed = self._seed

        def application(index: int) -> Mapping[str, Any]:
            return {
                "callable": DEFAULT_APPLICATION,
                "source": None,
                "settings": known_task.settings(offsets[index], seed + index),
            }

        prefix = f"{self.federation.name}-verify-{self.stack.name}"
        return _Copy(
            prefix, self.topology.shift, self._verify_settings(len(workers)), workers, application, transient=True
        )

    def _verify_settings(self, workers: int) -> dict[str, Any]:
        """The round's settings: every worker takes part, and nothing of the deployed training but its TLS."""
        values = {
            "fl_name": f"verify-{self.settings['fl_name']}",
            "fl_iteration_num": 3,
            "server_mode": "CLOUD_TRAINING",
            "round": {
                "start_fl_job_threshold": workers,
                "start_fl_job_time_window": 60000,
                "update_model_time_window": 60000,
                "global_iteration_time_window": 120000,
            },
            "ssl": self.settings["ssl"],
        }
        return complete(SETTINGS, values, (*self.stack.path, "settings"), self.topology.report)

    def _result_row(self, copy: _Copy, number: int) -> dict[str, str]:
        name = f"{copy.prefix}-worker-{number}"
        return {"instance": name, "unit": f"fedlearn-{name}.service", "path": f"/var/lib/fedlearn-{name}/result.json"}

    def _rows(self, copy: _Copy) -> dict[str, list[dict[str, str]]]:
        rows: dict[str, list[dict[str, str]]] = defaultdict(list)
        for host, number in copy.workers:
            rows[host].append(self._result_row(copy, number))
        return rows

    def _rounds(self, verify: _Copy, transient: _Result) -> dict[str, dict[str, Any]]:
        """Each host's part in the verify round."""
        offsets = known_task.balanced_offsets(len(verify.workers))
        shared = {"mode": "round", "timeout": 240, **self._expectation(known_task.answer(offsets))}
        rows = self._rows(verify)
        return {
            host: {**shared, "results": rows.get(host, []), "variables": dict(variables)}
            for host, variables in transient.variables.items()
        }

    def _expectation(self, expected: list[float]) -> dict[str, Any]:
        return {"kind": NAME, "expected": expected, "max_error": known_task.MAX_ERROR, "seed": self._seed}

    def _known(self, deployed: _Copy) -> dict[str, dict[str, Any]]:
        """What deployed workers end with, where that is known: all take part in every iteration of the known task."""
        workers = len(deployed.workers)
        round_ = self.settings["round"]
        everyone = round_["start_fl_job_threshold"] == workers and round_["update_model_ratio"] == 1
        if not workers or not everyone or self.model or not self._trains_known_task():
            return {}
        if (
            self.settings["server_mode"] != "CLOUD_TRAINING"
            or self.settings["aggregation"]["aggregation_type"] != "FedAvg"
        ):
            return {}
        expected = known_task.answer([known_task.steady_offset(index) for index in range(workers)])
        shared = {"mode": "deployed", "timeout": 240, **self._expectation(expected)}
        return {host: {**shared, "results": rows} for host, rows in self._rows(deployed).items()}

    # ... certificates

    def _authorities(self) -> list[Authority]:
        if not self.stack.tls:
            return []
        parties = dict.fromkeys(self.topology.hosts[host].party for host in self.topology.workers.hosts)
        own = [self.party, self.store]
        external = self.topology.redis.external
        if external:
            own.append(
                Authority(self._redis_authority, self.party.party, "external", self._redis_authority, external["ca"])
            )
        others = [self.federation.parties[name] for name in parties if name != self.party.party]
        return [*own, *(certificates.party_authority(self.federation, party) for party in others)]

    @property
    def _redis_authority(self) -> str:
        """The CA that Redis' certificate comes from."""
        return f"{self.store.name}-external" if self.topology.redis.external else self.store.name

    def _certificates(self) -> list[Certificate]:
        topology = self.topology
        found = [
            self._store_certificate("redis", host, ("server", "client"), (self.redis["address"],))
            for host in topology.redis.hosts
        ]
        for host in topology.scheduler.hosts:
            address = topology.address("scheduler", host)
            found.append(
                self._service(
                    "scheduler", host, (address, SCHEDULER_LOOPBACK), topology.scheduler, ("server", "client")
                )
            )
            found.append(self._store_certificate("scheduler-store", host, ("client",)))
        for host in topology.servers.hosts:
            found.append(
                self._service(
                    "server", host, (topology.address("servers", host),), topology.servers, ("server", "client")
                )
            )
            found.append(self._store_certificate("server-store", host, ("client",)))
        for host in topology.proxy.hosts:
            found.append(self._service("proxy", host, (topology.address("proxy", host),), topology.proxy, ("server",)))
        for host in topology.workers.hosts:
            found.append(self._worker_certificate(host))
        return found

    def _service(
        self, role: str, host: str, addresses: tuple[str, ...], placement: Placement, usages: Any
    ) -> Certificate:
        """A certificate of the party's CA for what others connect to. nginx knows servers by a name, so there is one."""
        name = self.certificate(role)
        known = self.topology.hosts[host]
        public = network.parse_url(placement.public_url).host if placement.public_url else None
        named = [text for text in (known.public_name, public) if text]
        return Certificate(
            name,
            host,
            self.party.name,
            certificates.common_name(name, host),
            dns_names=tuple(dict.fromkeys([name, *(text for text in named if not network.is_numeric(text))])),
            addresses=tuple(dict.fromkeys([*addresses, *(text for text in named if network.is_numeric(text))])),
            usages=usages,
            formats=("pem",) if role == "proxy" else ("pem", "pkcs12"),
            trust=(self.party.name,),
        )

    def _store_certificate(self, role: str, host: str, usages: Any, addresses: tuple[str, ...] = ()) -> Certificate:
        name = self.certificate(role)
        return Certificate(
            name,
            host,
            self.store.name,
            certificates.common_name(name, host),
            addresses=addresses,
            usages=usages,
            trust=(self._redis_authority,),
        )

    def _worker_certificate(self, host: str) -> Certificate:
        """A worker's own CA stands first in what it trusts: the program compares its issuer with the first one there."""
        name = self.certificate("worker")
        known = self.topology.hosts[host]
        return Certificate(
            name,
            host,
            known.party,
            certificates.common_name(name, host),
            addresses=known.internal,
            usages=("client",),
            formats=("pem", "pkcs12"),
            trust=tuple(dict.fromkeys((known.party, self.party.name))),
        )

    # ... flows

    def _flows(self, deployed: _Copy, verify: _Copy) -> Iterable[Flow]:
        yield from self._store_flows()
        yield from self._server_flows()
        yield from self._rest_flows()
        for copy in (deployed, verify):
            yield from self._exchange_flows(copy)
            yield from self._participant_flows(copy)
        yield from self._client_flows()

    def _between(
        self, sources: Iterable[str], host: str, port: int | None, purpose: str, authentication: str
    ) -> Iterable[Flow]:
        """A flow from each source that is another machine than the destination."""
        for source in dict.fromkeys(sources):
            if source != host:
                yield Flow(source, host, port, purpose, authentication)

    def _with_tls(self, words: str) -> str:
        return words if self.stack.tls else "none"

    def _store_flows(self) -> Iterable[Flow]:
        topology = self.topology
        users = [*topology.scheduler.hosts, *topology.servers.hosts]
        words = self._with_tls(f"mutual TLS, CA {self.store.name}")
        for host in topology.redis.hosts or (self.redis["address"],):
            yield from self._between(users, host, self.redis["port"], "Redis", words)

    def _server_flows(self) -> Iterable[Flow]:
        """The program's own TCP: its port is ephemeral and cannot be chosen."""
        sources = [*self.topology.servers.hosts, *self.topology.scheduler.hosts]
        for host in self.topology.servers.hosts:
            yield from self._between(
                sources, host, None, "between servers and scheduler", self._with_tls("TLS, server certificate")
            )

    def _rest_flows(self) -> Iterable[Flow]:
        host = self.topology.scheduler.hosts[0]
        for source in self.rest_networks()[1:]:
            yield Flow(
                source,
                host,
                self.topology.scheduler.port,
                "scheduler REST",
                self._with_tls("TLS, client certificate by name"),
            )

    def _exchange_flows(self, copy: _Copy) -> Iterable[Flow]:
        hosts = self.topology.servers.hosts
        for server in self.servers:
            purpose = "verify: checkpoints" if copy.transient else "checkpoints"
            yield from self._between(
                hosts, server.host, server.checkpoint_port + copy.shift, purpose, self._with_tls("mutual TLS")
            )

    def _participant_flows(self, copy: _Copy) -> Iterable[Flow]:
        label = "verify: " if copy.transient else ""
        words = self._with_tls("TLS, server certificate")
        proxy = self.topology.proxy
        workers = [host for host, _number in copy.workers]
        target = self.participants_server(copy)
        host = proxy.hosts[0] if proxy.hosts else self.servers[0].host
        if proxy.internal_url and not copy.transient:
            host = target["address"]
        yield from self._between(workers, host, target["port"], f"{label}workers", words)
        for server in self.servers:
            yield from self._between(
                proxy.hosts, server.host, server.port + copy.shift, f"{label}proxy to server", words
            )

    def _client_flows(self) -> Iterable[Flow]:
        """Devices and other parties' participants, where the document expects any."""
        proxy, servers = self.topology.proxy, self.topology.servers
        if self.settings["server_mode"] == "CLOUD_TRAINING" and not (proxy.public_url or servers.public_url):
            return
        words = self._with_tls("TLS, server certificate")
        sources = list(proxy.options["allow"]) or ["clients"] if proxy.hosts else ["clients"]
        targets = [(host, proxy.port) for host in proxy.hosts] or [
            (server.host, server.port) for server in self.servers
        ]
        for source in sources:
            for host, port in targets:
                yield Flow(source, host, port, "clients", words)


_REMOVED: Sequence[tuple[str, str, str, str, tuple[str, ...]]] = (
    ("redis", "redis", "redis", "redis_instances", ("redis",)),
    (
        "scheduler",
        "scheduler",
        "mindspore_scheduler",
        "mindspore_scheduler_instances",
        ("scheduler", "scheduler-store"),
    ),
    ("scheduler", "rest", "nginx", "nginx_sites", ()),
    ("servers", "server", "mindspore_server", "mindspore_server_instances", ("server", "server-store")),
    ("proxy", "proxy", "nginx", "nginx_sites", ("proxy",)),
    ("workers", "worker", "mindspore_worker", "mindspore_worker_instances", ("worker",)),
)
"""Placement, component, role, variable and certificates of what can be absent."""


def _removal(topology: _Topology) -> Expansion:
    """Everything that is to be removed, by name."""
    result = _Result()
    gone: list[Certificate] = []
    common = {"state": "absent", "federation": topology.federation.name, "stack": topology.stack.name}
    for placement_name, component, role, variable, names in _REMOVED:
        placement = topology.stack.placements.get(placement_name, Placement())
        per_host = placement.options.get("per_host")
        suffixes = [f"-{number + 1}" for number in range(per_host)] if per_host else [""]
        for host in placement.absent:
            for suffix in suffixes:
                name = f"{topology.prefix}-{component}{suffix}"
                absent = Component(name, topology.stack.name, placement_name, role, host, state="absent")
                result.add(absent, variable, {"name": name, **common})
            gone += [Certificate(f"{topology.prefix}-{each}", host, "", "", state="absent") for each in names]
    return Expansion(components=tuple(result.components), certificates=tuple(gone), variables=result.variables)
