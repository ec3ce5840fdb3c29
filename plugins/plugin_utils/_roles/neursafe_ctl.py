# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role neursafe_ctl takes: nsfl-ctl, Neursafe's command line, set up for whoever runs jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._federation.given_programs import of_role
from .._federation.kinds.neursafe.settings import Breaches
from .._federation.schema import Boolean, Items, Key, Rule, Section, Text
from .checking import FILE, IDENTITY, SECONDS, check_instances
from .minio import CLIENT

INSTANCE = Section(
    {
        **IDENTITY,
        "program": Key(
            of_role(),
            "A Python 3.7 with nsfl-ctl in it: `bin/python3.7` of a folder.",
            default={"path": "/opt/neursafe"},
        ),
        "doubles": Key(
            Boolean(), "It is a double, for tests: refused without this, and nothing else with it.", default=False
        ),
        "api": Key(Text(format="endpoint"), "Where the API is, which it speaks no TLS to.", required=True),
        "data": Key(
            Section(
                {
                    "url": Key(Text(format="origin"), "Where the store is.", required=True),
                    "user": Key(CLIENT, "The name that it comes by.", required=True),
                    "secret": Key(Text(format="secret"), "Name of the secret that is its password.", required=True),
                    "ca": Key(FILE, "CA of the store's certificate; default: those the host trusts."),
                }
            ),
            "The store of jobs' files and models.",
        ),
    }
)


def _one(values: Mapping[str, Any]) -> Breaches:
    message = "its settings are one file of the host, /etc/nsfl.json: '{}' has it already"
    first = values["instances"][:1]
    return [((one["index"],), message.format(first[0]["name"])) for one in values["instances"][1:]]


def check(instances: Any) -> list[dict[str, Any]]:
    """``neursafe_ctl_instances`` with defaults. Raises RoleValueError."""
    rules = (Rule("A host has one.", _one),)
    return check_instances("neursafe_ctl_instances", instances, INSTANCE, rules)


VARIABLES: Mapping[str, Key] = {
    "neursafe_ctl_instances": Key(Items(INSTANCE), "What nsfl-ctl of this host is set up for: one.", default=[]),
    "neursafe_ctl_health_timeout_seconds": Key(SECONDS, "How long setting it up may take.", default=60),
    "neursafe_ctl_remove_data": Key(Boolean(), "Remove the log of absent instances, too.", default=False),
}
"""All variables of the role."""


ROLES = {"neursafe_ctl": VARIABLES}
INSTANCES = {"neursafe_ctl_instances": check}
