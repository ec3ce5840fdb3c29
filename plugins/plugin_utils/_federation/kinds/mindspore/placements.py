# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys of a stack: where its roles run, and what they run on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...schema import Anything, Choice, Integer, Items, Key, OneOf, Place, Rule, Section, Table, Text
from .settings import HOST_PATH, OBSERVED, SEED, UINT32_MAX, Breaches

VERIFY_PORT_SHIFT = 2000
DEFAULT_APPLICATION = "fedlearn_mindspore.linear:train"
DEFAULT_SHAPES: Mapping[str, list[int]] = {"fc.weight": [1, 3], "fc.bias": [1]}
"""The model that the default application trains (SHAPES in the launcher's linear.py)."""
_FILE = Text(format="path")

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


_REFUSED = "MindSpore Federated cannot give Redis a password and would exit: its authentication is the stack's `tls`"


def _password(values: Mapping[str, Any]) -> Breaches:
    return [(("settings", "requirepass"), _REFUSED)] if "requirepass" in values.get("settings", {}) else []


def _external_password(values: Mapping[str, Any]) -> Breaches:
    return [(("password",), _REFUSED)] if "password" in values else []


_EXTERNAL_REDIS = Section(
    {
        "address": Key(Text(format="address"), "Numeric address of the Redis.", required=True),
        "port": Key(Integer(1, 65535), "Its port.", default=6379),
        "ca": Key(_FILE, "File beside the document with the certificate of its CA; needed with `tls`."),
        "password": Key(Anything(), "Refused: MindSpore Federated cannot give a password."),
    },
    rules=(Rule("No password.", _external_password),),
)

_ARCHIVE = Section(
    {
        "source": Key(
            OneOf((Text(format="url", pattern="https://.+", pattern_name="an https URL"), Text(format="path"))),
            "https URL, or file beside the document.",
            required=True,
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
            source=OBSERVED,
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
                    "path": Key(HOST_PATH, "The interpreter on the hosts, with source: path."),
                    "archive": Key(_ARCHIVE, "A packed Python, with source: archive."),
                },
                rules=(Rule("Only what belongs to the source is given.", _python_source),),
            ),
            "The Python 3.9 that programs run on.",
            default={},
        ),
        "wheels": Key(_FILE, "Folder beside the document with the wheels to install from, for hosts without an index."),
        "index_url": Key(
            Text(format="url", pattern="https?://.+", pattern_name="a URL such as https://pypi.example/simple"),
            "The package index to install from, when not the hosts' own.",
        ),
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
        "source": Key(_FILE, "Its package or file, beside the document."),
        "settings": Key(Anything(), "What the function is given; JSON data."),
    }
)

_COMMON_NAME = Text(pattern=r"[A-Za-z0-9](?:[A-Za-z0-9 ._@-]{0,62}[A-Za-z0-9])?", pattern_name="a common name")

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
                    source=SEED,
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
                    Items(_COMMON_NAME, single=True),
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
                    "The servers' model before any update, needed but for the default application; "
                    "workers begin with their application's.",
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
