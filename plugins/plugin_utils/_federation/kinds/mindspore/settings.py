# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every key of MindSpore Federated's configuration: type, range, default, and the rules across keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...model import Path
from ...schema import Boolean, Choice, Integer, Key, Number, OneOf, Rule, Section, Text

UINT32_MAX = 4294967295

CODE = "ccsrc/common/core/yaml_config.cc"
SEED = "lenet.yaml of the deployment guide"
OBSERVED = "observed with mindspore-federated 0.1.0"
_ECDHE = ("RSA-AES128-GCM-SHA256", "ECDSA-AES128-GCM-SHA256", "RSA-AES256-GCM-SHA384", "ECDSA-AES256-GCM-SHA384")
_ECDHE_MORE = (
    "RSA-CHACHA20-POLY1305",
    "PSK-CHACHA20-POLY1305",
    "ECDSA-AES128-CCM",
    "ECDSA-AES256-CCM",
    "ECDSA-CHACHA20-POLY1305",
)
CIPHERS = ":".join(f"ECDHE-{suite}" for suite in (*_ECDHE, *_ECDHE_MORE))

_COUNT = Integer(1, UINT32_MAX)
_CONNECTIONS = Integer(1, 1_048_064)
"""Each is an open file, of which Linux gives a process 1048576; 512 are left for others."""
_RATIO = Number(above=0, maximum=1)
_POSITIVE = Number(above=0)
HOST_PATH = Text(format="absolute_path")
_STATE_PATH = Text(format="state_path")
_OPTIONAL_HOST_PATH = OneOf((Choice(("",)), HOST_PATH))

_MODES = ("FEDERATED_LEARNING", "HYBRID_TRAINING", "CLOUD_TRAINING")
_ENCRYPTIONS = ("NOT_ENCRYPT", "PW_ENCRYPT", "STABLE_PW_ENCRYPT", "DP_ENCRYPT", "SIGNDS")

_AGGREGATION = Section(
    {
        "aggregation_type": Key(
            Choice(("FedAvg", "FedProx", "Scaffold", "FedNova", "FedCM")),
            "How updates become one model; FedCM from 0.2.0 on.",
            default="FedAvg",
            source=CODE,
        ),
        "iid_rate": Key(_RATIO, "How alike the participants' data are; FedProx and FedNova use it.", source=CODE),
        "total_client_num": Key(
            _COUNT, "All participants there are; Scaffold divides its correction by it.", source=CODE
        ),
    }
)

_DISTRIBUTED_CACHE = Section(
    {
        "type": Key(Choice(("redis",)), "The store.", default="redis", source=CODE),
        "address": Key(Text(format="address_port"), "Derived from the placement `redis`.", source=CODE),
        "plugin_lib_path": Key(
            Choice(("",)), "A library for another store: none is deployed here.", default="", source=CODE
        ),
        "cacert_filename": Key(HOST_PATH, "Derived from `tls`.", source=CODE),
        "capath": Key(HOST_PATH, "Derived from `tls`.", source=CODE),
        "cert_filename": Key(HOST_PATH, "Derived from `tls`.", source=CODE),
        "private_key_filename": Key(HOST_PATH, "Derived from `tls`.", source=CODE),
        "server_name": Key(Text(), "Derived from `tls`.", source=CODE),
    }
)

_ROUND = Section(
    {
        "start_fl_job_threshold": Key(
            _COUNT,
            "Participants that an iteration begins with; where workers are placed, all of them unless said otherwise.",
            default=2,
            source=CODE,
        ),
        "start_fl_job_time_window": Key(
            _COUNT, "How long an iteration waits for its participants.", default=30000, unit="ms", source=SEED
        ),
        "update_model_ratio": Key(
            _RATIO, "The part of the participants whose updates end an iteration.", default=1.0, source=SEED
        ),
        "update_model_time_window": Key(
            _COUNT, "How long an iteration waits for updates.", default=30000, unit="ms", source=SEED
        ),
        "global_iteration_time_window": Key(
            _COUNT, "How long an iteration may take.", default=60000, unit="ms", source=SEED
        ),
    }
)

_SUMMARY = Section(
    {
        "metrics_file": Key(
            _STATE_PATH,
            "Metrics of each iteration, in the server's state directory.",
            default="metrics.json",
            source=SEED,
        ),
        "failure_event_file": Key(
            _STATE_PATH, "Failures, in the server's state directory.", default="event.txt", source=SEED
        ),
        "continuous_failure_times": Key(
            _COUNT, "So many failed iterations one after the other are an event.", default=10, source=SEED
        ),
        "data_rate_dir": Key(
            _STATE_PATH,
            "Where traffic is recorded, in the server's state directory. Without it a server stops in 1 s, not in 60.",
            source=OBSERVED,
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
        "cluster_client_num": Key(_COUNT, "Participants that the evaluation groups.", source=CODE),
        "eval_type": Key(
            Choice(("NOT_EVAL", "SILHOUETTE_SCORE", "CALINSKI_HARABASZ_SCORE", "DAVIES_BOULDIN_SCORE")),
            "How groups are evaluated.",
            default="NOT_EVAL",
            source=CODE,
        ),
    }
)

_ENCRYPT = Section(
    {
        "encrypt_train_type": Key(
            Choice(_ENCRYPTIONS),
            "How updates are protected; 0.1.0 calls it encrypt_type.",
            default="NOT_ENCRYPT",
            source=CODE,
        ),
        "encrypt_type": Key(
            Choice(_ENCRYPTIONS),
            "The name in 0.1.0 and in the deployment guide.",
            alias_of="encrypt_train_type",
            source=SEED,
        ),
        "pw_encrypt": Key(
            Section(
                {
                    "share_secrets_ratio": Key(
                        _RATIO, "The part of the participants that shares secrets.", default=1.0, source=SEED
                    ),
                    "cipher_time_window": Key(
                        _COUNT, "How long each step of the protocol waits.", default=3000, unit="ms", source=SEED
                    ),
                    "reconstruct_secrets_threshold": Key(
                        _COUNT, "Shares that reconstruct a secret.", default=1, source=SEED
                    ),
                }
            ),
            "For PW_ENCRYPT and STABLE_PW_ENCRYPT.",
            default={},
        ),
        "dp_encrypt": Key(
            Section(
                {
                    "dp_eps": Key(_POSITIVE, "Privacy budget.", default=50.0, source=SEED),
                    "dp_delta": Key(
                        Number(above=0, below=1), "Probability that the budget is exceeded.", default=0.01, source=SEED
                    ),
                    "dp_norm_clip": Key(_POSITIVE, "Norm that updates are cut to.", default=1.0, source=SEED),
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
                        source=SEED,
                    ),
                    "sign_eps": Key(Number(above=0, maximum=100), "Privacy budget.", default=100, source=SEED),
                    "sign_thr_ratio": Key(
                        Number(minimum=0.5, maximum=1), "Threshold of the choice.", default=0.6, source=SEED
                    ),
                    "sign_global_lr": Key(_POSITIVE, "Learning rate of the servers.", default=0.1, source=SEED),
                    "sign_dim_out": Key(
                        Integer(0, 50), "Dimensions sent; 0 lets the program choose.", default=0, source=SEED
                    ),
                }
            ),
            "For SIGNDS.",
            default={},
        ),
        "privacy_eval_type": Key(
            Choice(("NOT_ENCRYPT", "LAPLACE")), "How evaluations are protected; from 0.2.0 on.", source=CODE
        ),
        "laplace_eval": Key(
            Section({"laplace_eval_eps": Key(_POSITIVE, "Privacy budget of evaluations.", source=CODE)}),
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
            source=SEED,
        ),
        "upload_sparse_rate": Key(_RATIO, "The part of an update that is sent.", default=0.4, source=SEED),
        "download_compress_type": Key(
            Choice(("NO_COMPRESS", "QUANT")), "How models are compressed.", default="NO_COMPRESS", source=SEED
        ),
    }
)

_SSL = Section(
    {
        "server_cert_path": Key(HOST_PATH, "Derived from `tls`.", source=CODE),
        "client_cert_path": Key(HOST_PATH, "Derived from `tls`.", source=CODE),
        "ca_cert_path": Key(HOST_PATH, "Derived from `tls`.", source=CODE),
        "crl_path": Key(_OPTIONAL_HOST_PATH, "A list of withdrawn certificates on the host.", default="", source=SEED),
        "cipher_list": Key(
            Text(pattern=r"[A-Za-z0-9!+@=_:-]+", pattern_name="a list of OpenSSL's cipher names"),
            "Ciphers of TLS 1.2.",
            default=CIPHERS,
            source=SEED,
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
            source=SEED,
        ),
        "root_first_ca_path": Key(
            _OPTIONAL_HOST_PATH, "Root certificate of the devices, on the host.", default="", source=SEED
        ),
        "root_second_ca_path": Key(
            _OPTIONAL_HOST_PATH, "Second certificate of the devices' chain, on the host.", default="", source=SEED
        ),
        "equip_crl_path": Key(
            _OPTIONAL_HOST_PATH, "The devices' withdrawn certificates, on the host.", default="", source=SEED
        ),
        "replay_attack_time_diff": Key(
            Integer(0, UINT32_MAX), "How far a request's time may be off.", default=600000, unit="ms", source=SEED
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
        "client_epoch_num": Key(_COUNT, "Epochs a participant trains in an iteration.", default=20, source=SEED),
        "client_batch_size": Key(_COUNT, "Samples in a batch.", default=32, source=SEED),
        "client_learning_rate": Key(_POSITIVE, "Learning rate of the participants.", default=0.01, source=SEED),
        "connection_num": Key(_CONNECTIONS, "Connections a server takes at once.", default=10000, source=SEED),
    }
)


def program_keys(settings: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The settings with the keys that the program of this version reads.

    0.1.x takes ``encrypt_type`` and silently ignores ``encrypt_train_type``: it would train in clear.
    """
    encrypt = dict(settings.get("encrypt", {}))
    if release(version) < (0, 2) and "encrypt_train_type" in encrypt:
        encrypt = {"encrypt_type": encrypt.pop("encrypt_train_type"), **encrypt}
    return {**settings, "encrypt": encrypt} if encrypt else dict(settings)


def release(version: str) -> tuple[int, ...]:
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
            f"{threshold} must be below the {updates} updates that end an iteration "
            "(start_fl_job_threshold x update_model_ratio)",
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
            source=CODE,
        ),
        "fl_iteration_num": Key(_COUNT, "Iterations; those that ran out of time count too.", default=25, source=SEED),
        "server_mode": Key(
            Choice(_MODES),
            "Who takes part: devices (FEDERATED_LEARNING), workers (CLOUD_TRAINING; the default where any are placed), "
            "or both (HYBRID_TRAINING, not proven).",
            default="FEDERATED_LEARNING",
            source=CODE,
        ),
        "enable_ssl": Key(Boolean(), "Derived from `tls`.", source=CODE),
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
