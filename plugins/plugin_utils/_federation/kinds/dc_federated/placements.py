# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys of a stack: where its roles run, and what they run on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...expanding import LIMITS
from ...python_programs import ARCHIVE, application_artifact, runtime
from ...schema import Anything, Boolean, Integer, Items, Key, Place, Rule, Section, Text
from .settings import Breaches

DEFAULT_SERVER = "fedlearn_dc_federated.mean:build"
DEFAULT_WORKER = "fedlearn_dc_federated.mean:run"
DEFAULT_LIBRARY = "/opt/dc_federated"

_FILE = Text(format="path")
_HOST_PATH = Text(format="absolute_path")
_CALLABLE = Text(format="callable")
_NETWORKS = Items(Text(format="network"), single=True)
_COMMON_NAME = Text(pattern=r"[A-Za-z0-9](?:[A-Za-z0-9 ._@-]{0,62}[A-Za-z0-9])?", pattern_name="a common name")


def one_origin(values: Mapping[str, Any]) -> Breaches:
    """A library comes from one place."""
    given = [name for name in ("source", "archive", "preinstalled") if name in values]
    return [((given[1],), f"'{given[0]}' is given too: the library comes from one place")] if len(given) > 1 else []


def _library(file: Text, archive: Section) -> Section:
    return Section(
        {
            "source": Key(file, "A checkout: a folder with `src/dc_federated` or `dc_federated` in it."),
            "archive": Key(archive, "A packed checkout."),
            "preinstalled": Key(_HOST_PATH, f"Such a folder on the hosts; `{DEFAULT_LIBRARY}` when nothing is said."),
            "double": Key(
                Boolean(),
                "This isn't the library, but a stand-in for tests: no verify round of it ever counts as passed.",
                default=False,
            ),
        },
        rules=(Rule("A library comes from one place.", one_origin),),
    )


def library(file: Text, archive: Section) -> Key:
    """Where the library comes from; files are beside the document, or anywhere on the control node for a role."""
    return Key(_library(file, archive), "The library dc_federated, which is in no package index.", default={})


_OF_APPLICATION = {
    "application_artifact": application_artifact(_FILE, ARCHIVE),
    "application_settings": Key(Anything(), "What the callable is given beside the arguments; JSON data."),
}

_ADMINS = Section(
    {
        "names": Key(
            Items(_COMMON_NAME, min_items=1, single=True), "Common names of their certificates.", required=True
        ),
        "allow": Key(_NETWORKS, "Networks they come from.", required=True),
    }
)

PLACEMENTS: Mapping[str, Key] = {
    "server": Key(
        Place(
            port=5000,
            options={
                "application": Key(
                    _CALLABLE,
                    "`build(arguments, settings)`: returns a DCFServer or FedAvgServer made with the arguments.",
                    default=DEFAULT_SERVER,
                    example="myapp.server:build",
                ),
                **_OF_APPLICATION,
            },
        ),
        "The server. Its state is in one process, so a federation has one; on the proxy's host it listens on loopback.",
        required=True,
    ),
    "proxy": Key(
        Place(
            port=443,
            options={
                "allow": Key(_NETWORKS, "Networks workers come from; default: everywhere.", default=[]),
                "admins": Key(
                    _ADMINS, "Who reaches `/workers` from outside, with the server's administrator's password."
                ),
                "limits": LIMITS,
                "redirect": Key(
                    Boolean(),
                    "Where `port` is 443, send to it who asks on port 80, and refuse who sends anything there.",
                    default=True,
                ),
                "server_names": Key(
                    Items(Text(format="dns_name"), single=True),
                    "Names that workers ask for: several stacks then share an address and port. Default: all that its "
                    "certificate is for. Who asks for another is refused.",
                    default=[],
                ),
            },
        ),
        "nginx in front: TLS, and of all paths the workers' five.",
    ),
    "workers": Key(
        Place(
            many=True,
            listens=False,
            external=Section({}),
            options={
                "expected": Key(
                    Integer(1, 200_000),
                    "How many workers there will be, others' included: sizes limits; default: those placed here.",
                ),
                "keys": Key(
                    Items(_FILE, single=True),
                    "Files with others' public keys, one a line, as public/PARTY/NAME.keys.",
                    default=[],
                ),
                "application": Key(
                    _CALLABLE,
                    "`run(arguments, settings)`: takes part as a DCFWorker; default: `worker:run` in the package of "
                    "the server's application.",
                    example="myapp.worker:run",
                ),
                **_OF_APPLICATION,
            },
        ),
        "Who takes part: workers on hosts of ours, and others' by their keys. `external: {}` where all are others'.",
        required=True,
    ),
    "library": library(_FILE, ARCHIVE),
    "runtime": runtime(_FILE),
    "verify_port_shift": Key(
        Integer(1, 60000), "The verify round's ports are the deployed ones plus this.", default=2000
    ),
}


def worker_application(server: str, worker: str | None) -> str:
    """What workers run."""
    if worker is not None:
        return worker
    return DEFAULT_WORKER if server == DEFAULT_SERVER else f"{server.split(':')[0].split('.')[0]}.worker:run"
