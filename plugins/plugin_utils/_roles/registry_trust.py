# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the registry_trust role takes: container registries, and the CAs that they are proved by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._federation.model import Path
from .._federation.schema import Boolean, Items, Key, Rule, Section, Text
from .checking import IDENTITY, SECONDS, check_instances

REGISTRY = Text(
    max_length=255,
    pattern=r"([a-z0-9][a-z0-9.-]*|\[[0-9a-f:]+\])(:[0-9]{1,5})?",
    pattern_name="a registry without a path, such as registry.example:5000",
)

INSTANCE = Section(
    {
        **IDENTITY,
        "registry": Key(REGISTRY, "As images name it.", required=True),
        "ca": Key(
            Text(pattern=r"[^\x00-\x1f\x7f]+", pattern_name="the path of a file on the control node"),
            "File of the control node with its CA.",
            required=True,
        ),
        "ca_follows": Key(
            Boolean(),
            "That file comes to be in the very run that brings the instance, so nobody misses it before.",
            default=False,
        ),
    }
)


def _twice(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    seen: dict[str, str] = {}
    breaches: list[tuple[Path, str]] = []
    for one in values["instances"]:
        first = seen.setdefault(one["registry"], one["name"])
        if first != one["name"]:
            breaches.append(((one["index"], "registry"), f"'{one['registry']}' is that of '{first}' already"))
    return breaches


def check(instances: Any) -> list[dict[str, Any]]:
    """``registry_trust_instances`` with defaults. Raises RoleValueError."""
    return check_instances("registry_trust_instances", instances, INSTANCE, (Rule("A registry has one CA.", _twice),))


VARIABLES: Mapping[str, Key] = {
    "registry_trust_instances": Key(Items(INSTANCE), "The registries that this host trusts.", default=[]),
    "registry_trust_health_timeout_seconds": Key(SECONDS, "How long bringing that may take.", default=60),
    "registry_trust_remove_data": Key(Boolean(), "Accepted as by every role: there are no data.", default=False),
}
"""All variables of the role."""

ROLES = {"registry_trust": VARIABLES}
INFRASTRUCTURE = {"registry_trust": "base"}
# of a registry on a host the CA is the party's own, which may come to be in the very run
BEFORE = {"pki": ["registry_trust"]}
INSTANCES = {"registry_trust_instances": check}
