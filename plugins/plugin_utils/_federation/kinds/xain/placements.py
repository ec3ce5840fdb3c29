# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys of a stack: which generation, where its roles run, and what they run on."""

from __future__ import annotations

from collections.abc import Mapping

from ...python_programs import ARCHIVE, application_artifact, runtime
from ...schema import PORT, Anything, Choice, Integer, Items, Key, Place, Section, Text

GENERATIONS = ("poc", "python", "pet")

APPLICATIONS = {
    "python": "fedlearn_xain.steps:Steps",
    "pet": "fedlearn_xain.marks:Marks",
    "poc": "fedlearn_xain.adds:Adds",
}
"""What participants run unless told: known numbers, which prove that it works and are of no other use."""

OUR_CLASS = "xain_aggregators.weighted_average:Aggregator"
"""What aggregates in `poc` unless told."""

OUR_SUM = "xain_aggregators.model_sum:Aggregator"
"""The other one of the collection's."""

REDIS_PORT = 6379
LOCAL_PORT = 8081
RPC_PORT = 5555

MODEL_ARCHIVE = Key(
    Section(
        {
            "seconds": Key(Integer(1, 31_536_000), "The least time between two of them.", required=True, unit="s"),
            "keep": Key(Integer(1, 100_000), "How many are kept.", default=100),
        }
    ),
    "Of a training's models one each so many seconds, as files on the aggregator's host, beside the last ones "
    "(`keep_models`). No file can be given back to the program.",
)
"""A document says so of the placement `aggregator`, and a role of an instance."""

_FILE = Text(format="path")
_NETWORKS = Items(Text(format="network"), single=True)
_COMMON_NAME = Text(pattern=r"[A-Za-z0-9](?:[A-Za-z0-9 ._@-]{0,62}[A-Za-z0-9])?", pattern_name="a common name")

LONGEST_BUCKET = 56
BUCKET = Text(format="bucket", min_length=3, max_length=LONGEST_BUCKET)
"""Seven characters less than S3 takes: the verify round's bucket has them."""

PLACEMENTS: Mapping[str, Key] = {
    "generation": Key(
        Choice(GENERATIONS),
        "Which of xain's programs: `python` is xain-fl 0.6, `poc` the Rust proof of concept, xain-fl 0.8, `pet` is "
        "xaynet-server 0.2, which sees no participant's weights.",
        required=True,
    ),
    "coordinator": Key(
        Place(
            port=443,
            options={
                "program_port": Key(PORT, "Where the program itself listens, on loopback.", default=50050),
                "rpc_port": Key(
                    PORT, f"Of `poc`: where it listens on loopback for its aggregator; default: {RPC_PORT}."
                ),
                "redis_port": Key(PORT, f"Of `pet`: where its Redis listens, on loopback; default: {REDIS_PORT}."),
                "allow": Key(_NETWORKS, "Networks participants come from; default: everywhere.", default=[]),
            },
        ),
        "The coordinator, behind nginx on its host: TLS, and a certificate of each participant's. In `python` and "
        "`poc` its state is in one process, and a restart of it loses the training; in `pet` a round.",
        required=True,
    ),
    "storage": Key(
        Place(
            port=9000,
            options={
                "bucket": Key(BUCKET, "The bucket; default: the federation's name and the stack's."),
                "keep_days": Key(
                    Integer(1, 36500),
                    "How long models are kept that a later training wrote over; in `pet` none is.",
                    default=30,
                    unit="days",
                ),
            },
        ),
        "MinIO, where the coordinator puts global models, and participants of `python` their weights; `poc` has none.",
    ),
    "participants": Key(
        Place(
            many=True,
            listens=False,
            external=Section({}),
            options={
                "expected": Key(
                    Integer(1, 100_000),
                    "How many there will be, others' included; default: those placed here, and one for each of "
                    "`clients`.",
                ),
                "clients": Key(
                    Items(_COMMON_NAME),
                    "Common names of others' certificates, of the CA of the coordinator's party.",
                    default=[],
                ),
                "application": Key(
                    Text(format="callable"),
                    "`make(settings)`, such as a class: returns a `Participant` of xain-sdk, in `pet` a "
                    "`ParticipantABC` of xaynet_sdk, in `poc` one of xain-sdk 0.8; default: one with known numbers.",
                    example="myapp.participant:Mine",
                ),
                "application_artifact": application_artifact(_FILE, ARCHIVE),
                "application_settings": Key(Anything(), "What the callable is given; JSON data."),
                "local_port": Key(
                    PORT,
                    "Of `pet`: where participants reach the coordinator on their own host, whose nginx leads there; "
                    f"default: {LOCAL_PORT}.",
                ),
            },
        ),
        "Who takes part: participants on hosts of ours. `external: {}` where all are others'.",
    ),
    "aggregator": Key(
        Place(
            port=8082,
            options={
                "program_port": Key(PORT, "Where the program itself listens, on loopback.", default=50052),
                "rpc_port": Key(PORT, "Where it listens for the coordinator, on loopback.", default=6666),
                "python_class": Key(
                    Text(format="callable"),
                    "What aggregates: a class of Python 3.9, made without arguments, whose `add_weights(bytes)` says "
                    "whether it took them, and whose `aggregate()` returns the model as bytes.",
                    default=OUR_CLASS,
                    example="myapp.aggregators:Mine",
                ),
                "class_artifact": application_artifact(_FILE, ARCHIVE),
                "keep_models": Key(
                    Integer(0, 10_000), "How many global models are kept, as files on its host.", default=3
                ),
                "model_archive": MODEL_ARCHIVE,
            },
        ),
        "Of `poc`: who gives participants the model and aggregates what they send, behind nginx on its host. On "
        "another host than the coordinator's both reach each other by their `rpc_port`, over TLS with certificates.",
    ),
    "runtime": runtime(_FILE),
    "program": Key(
        ARCHIVE,
        "Of `pet` and `poc`: an archive with the program in it, as another control node has built it; default: built "
        "of crates.io on this one.",
    ),
    "verify_port_shift": Key(
        Integer(1, 60000), "The verify round's ports are the deployed ones plus this.", default=2000
    ),
}
