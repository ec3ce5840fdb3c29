# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys of a stack: where its two sides and their clients are, and what they run."""

from __future__ import annotations

from collections.abc import Mapping

from ...expanding import LIMITS
from ...given_programs import SOURCE
from ...schema import (
    PORT,
    Boolean,
    Choice,
    Integer,
    Key,
    Number,
    Place,
    Reference,
    Section,
    Text,
)
from .settings import SETTINGS

DRIVERS = 16
"""Aggregation drivers that a leader may have: health ports are counted on from its first."""


_PROGRAMS = Section(
    {
        "janus": Key(
            SOURCE,
            "Janus: `bin/` with the generation's programs, `db/` with its migrations.",
            default={"path": "/opt/janus"},
        ),
        "manager": Key(SOURCE, "`bin/dpsa4fl-janus-manager`.", default={"path": "/opt/dpsa4fl"}),
        "doubles": Key(
            Boolean(),
            "They stand in for the programs, for tests of the deployment: they aggregate nothing, and are refused "
            "unless this says so.",
            default=False,
        ),
    }
)


def _database(port: int) -> Key:
    options = {
        "connections": Key(Integer(1, 1000), "Connections of each process; Janus opens 4 a processor.", default=8),
        "memory_mb": Key(Integer(128, 16_777_216), "What PostgreSQL may use; default: what its connections need."),
    }
    return Key(Place(port=port, listens=False, options=options), "Its PostgreSQL; default: beside the aggregator.")


def _manager(port: int, inner: int, gate: int) -> Key:
    section = Section(
        {
            "port": Key(PORT, "Where nginx serves it, beside the aggregator.", default=port),
            "public_url": Key(Text(format="origin"), "Where controller and clients reach it."),
            "inner_port": Key(PORT, "Its own port, on loopback.", default=inner),
            "gate_port": Key(
                PORT, "That of the gate before it, on loopback, which keeps `privacy.max_epsilon`.", default=gate
            ),
        }
    )
    return Key(
        section,
        "dpsa4fl-janus-manager, on the aggregator's host: it writes tasks with the same datastore keys.",
        default={},
    )


RECIPIENT = Text(pattern=r"age1[0-9a-z]{58}", pattern_name="a public key of age (age1...)")
ESCROW = Key(
    Section({"recipient": Key(RECIPIENT, "Its public key, as `age-keygen` tells it.", required=True)}),
    "Keep the datastore keys encrypted for a key of age, whose private half is on no host and no control node.",
)


def _side(port: int, shift: int, options: Mapping[str, Key]) -> Place:
    return Place(
        port=port,
        party=True,
        settings=SETTINGS,
        options={
            "inner_port": Key(PORT, "The aggregator's own port, on loopback behind nginx.", default=9971 + shift),
            "health_port": Key(
                PORT,
                "On loopback, the first of the ports for health: each process has its own.",
                default=9001 + 30 * shift,
            ),
            "database": _database(5432),
            "tunnel_port": Key(
                PORT,
                "On loopback, where generation B comes to a database that isn't on loopback alone: TLS leads on.",
                default=9977 + shift,
            ),
            "manager": _manager(9981 + shift, 9961 + shift, 9965 + shift),
            "escrow": ESCROW,
            "garbage_collector": Key(
                Boolean(), "Delete what has expired, in a process of its own; generation C.", default=False
            ),
            "limits": LIMITS,
            "body_size_mb": Key(Integer(1, 65536), "The largest report or share.", default=512, unit="MB"),
            "read_timeout_seconds": Key(Integer(1, 86400), "How long an answer may take.", default=300, unit="s"),
            **options,
        },
    )


def client_runtime(file: Text) -> Key:
    """What the published client runs on."""
    section = Section(
        {
            "python": Key(
                Text(format="absolute_path"), "CPython 3.9 or 3.10: there are no others.", default="/usr/bin/python3"
            ),
            "requirements": Key(file, "Pinned requirements with hashes, instead of the collection's own."),
            "wheels": Key(file, "Folder with the wheels to install from, for hosts without an index."),
            "index_url": Key(Text(format="url"), "The package index to install from, when not the host's own."),
        }
    )
    return Key(section, "What the published client runs on in a verify round, on the controller's host.", default={})


_LOCAL = "Where clients and controller reach the {}, on their own loopback."

PLACEMENTS: Mapping[str, Key] = {
    "leader": Key(
        _side(
            9991,
            0,
            {
                "egress_port": Key(
                    PORT, "On loopback, where nginx leads to the helper with the leader's certificate.", default=9975
                ),
                "drivers": Key(
                    Section(
                        {
                            "hosts": Key(
                                Reference("hosts"),
                                "Where, all of the leader's party; default: the aggregator's. Others reach the "
                                "database over TLS, and get the datastore keys encrypted for a key of their own.",
                            ),
                            "per_host": Key(Integer(1, DRIVERS), "How many on each.", default=1),
                        }
                    ),
                    "Aggregation drivers, which share the work.",
                    default={},
                ),
            },
        ),
        "The leader: takes reports, and drives aggregation and collection.",
        required=True,
    ),
    "helper": Key(_side(9992, 1, {}), "The helper, of another party: holds the other shares.", required=True),
    "controller": Key(
        Place(listens=False),
        "Who opens sessions and collects: gets a client certificate of its party, and the ways to both sides.",
    ),
    "clients": Key(
        Place(
            many=True,
            listens=False,
            external=Section({}),
            options={
                "expected": Key(
                    Integer(1, 200_000),
                    "How many clients there will be, also elsewhere: nginx on both sides bears `2 x expected + 50` "
                    "requests under way, and 512 at least; default: those placed here.",
                )
            },
        ),
        "Hosts of clients, which get the ways to both sides. `external: {}` where none is a host of the document.",
    ),
    "generation": Key(
        Choice(("A", "B", "C")),
        "Janus: B is 269b675c, the one that DPSA's clients speak; C 0.7.135, without a manager. A is refused.",
        default="B",
    ),
    "certificates": Key(
        Choice(("private", "public")),
        "Whether public CAs sign what both sides show. Programs here trust no other: with private CAs clients go by "
        "their own nginx on loopback.",
        default="private",
    ),
    "local_ports": Key(
        Section(
            {
                "leader": Key(PORT, _LOCAL.format("leader"), default=9991),
                "helper": Key(PORT, _LOCAL.format("helper"), default=9992),
                "leader_manager": Key(PORT, _LOCAL.format("leader's manager"), default=9981),
                "helper_manager": Key(PORT, _LOCAL.format("helper's manager"), default=9982),
            }
        ),
        "With private certificates both sides tell clients of `http://127.0.0.1:PORT`: the same for everybody.",
        default={},
    ),
    "client": client_runtime(Text(format="path")),
    "verify_port_shift": Key(
        Integer(1, 60000), "The verify round's ports are those of `local_ports` plus this.", default=2000
    ),
    "privacy": Key(
        Section(
            {
                "max_epsilon": Key(
                    Number(above=0, maximum=1e9),
                    "No session with more is let in, by a gate before each manager.",
                    required=True,
                )
            }
        ),
        "The bound that both sides keep; needed in generation B.",
    ),
    "allow_same_party": Key(
        Boolean(),
        "Leader and helper of one party, who then sees everything: for trying out, never for real data.",
        default=False,
    ),
    "insecure_public": Key(Boolean(), "Public URLs may be http.", default=False),
    "programs": Key(_PROGRAMS, "Where the programs come from: no registry has them.", default={}),
}
