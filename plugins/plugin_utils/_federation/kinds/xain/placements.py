# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys of a stack: which generation, where its roles run, and what they run on."""

from __future__ import annotations

from collections.abc import Mapping

from ...python_programs import ARCHIVE, application_artifact, runtime
from ...schema import PORT, Anything, Choice, Integer, Items, Key, Place, Section, Text

GENERATIONS = ("poc", "python", "pet")
OFFERED = ("python", "pet")
"""Those that can be deployed so far; the others are refused by name."""

APPLICATIONS = {"python": "fedlearn_xain.steps:Steps", "pet": "fedlearn_xain.marks:Marks"}
"""What participants run unless told: known numbers, which prove that it works and are of no other use."""

REDIS_PORT = 6379
LOCAL_PORT = 8081

_FILE = Text(format="path")
_NETWORKS = Items(Text(format="network"), single=True)
_COMMON_NAME = Text(pattern=r"[A-Za-z0-9](?:[A-Za-z0-9 ._@-]{0,62}[A-Za-z0-9])?", pattern_name="a common name")

LONGEST_BUCKET = 56
BUCKET = Text(
    min_length=3,
    max_length=LONGEST_BUCKET,
    pattern=r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?",
    pattern_name="the name of a bucket: a-z, 0-9, '-' and '.', neither at its ends",
)
"""Seven characters less than S3 takes: the verify round's bucket has them."""

PLACEMENTS: Mapping[str, Key] = {
    "generation": Key(
        Choice(GENERATIONS),
        "Which of xain's programs: `python` is xain-fl 0.6, `pet` is xaynet-server 0.2, which sees no participant's "
        "weights. `poc`, the Rust proof of concept, isn't offered yet.",
        required=True,
    ),
    "coordinator": Key(
        Place(
            port=443,
            options={
                "program_port": Key(PORT, "Where the program itself listens, on loopback.", default=50050),
                "redis_port": Key(PORT, f"Of `pet`: where its Redis listens, on loopback; default: {REDIS_PORT}."),
                "allow": Key(_NETWORKS, "Networks participants come from; default: everywhere.", default=[]),
            },
        ),
        "The coordinator, behind nginx on its host: TLS, and a certificate of each participant's. In `python` its "
        "state is in one process, and a restart of it loses the training; in `pet` a round.",
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
        "MinIO, where the coordinator puts global models, and participants of `python` their weights.",
    ),
    "participants": Key(
        Place(
            many=True,
            listens=False,
            external=Section({}),
            options={
                "expected": Key(
                    Integer(1, 100_000), "How many there will be, others' included; default: those placed here."
                ),
                "clients": Key(
                    Items(_COMMON_NAME),
                    "Common names of others' certificates, of the CA of the coordinator's party.",
                    default=[],
                ),
                "application": Key(
                    Text(format="callable"),
                    "`make(settings)`, such as a class: returns a `Participant` of xain-sdk, or in `pet` a "
                    "`ParticipantABC` of xaynet_sdk; default: one with known numbers.",
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
    "aggregator": Key(Anything(), "Of the generation `poc`, which isn't offered yet."),
    "runtime": runtime(_FILE),
    "program": Key(
        ARCHIVE,
        "Of `pet`: an archive with `coordinator` in it, xaynet-server with the feature model-persistence; default: "
        "built of crates.io on the control node.",
    ),
    "verify_port_shift": Key(
        Integer(1, 60000), "The verify round's ports are the deployed ones plus this.", default=2000
    ),
}
