# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles whose variables are checked here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .._federation.schema import Key
from . import limits, mindspore, nginx, pki, redis
from .checking import RoleValueError, check_value

ROLES: Mapping[str, Mapping[str, Key]] = {
    "limits": limits.VARIABLES,
    "mindspore_scheduler": mindspore.SCHEDULER_VARIABLES,
    "mindspore_server": mindspore.SERVER_VARIABLES,
    "mindspore_worker": mindspore.WORKER_VARIABLES,
    "nginx": nginx.VARIABLES,
    "pki": pki.VARIABLES,
    "redis": redis.VARIABLES,
    "shared_mindspore": mindspore.SHARED_VARIABLES,
}
"""The variables of each role."""

Instances = list[dict[str, Any]]

INSTANCES: Mapping[str, Callable[[Any], Instances]] = {
    "mindspore_scheduler_instances": mindspore.check_schedulers,
    "mindspore_server_instances": mindspore.check_servers,
    "mindspore_worker_instances": mindspore.check_workers,
    "nginx_sites": nginx.check,
    "pki_authorities": pki.check_authorities,
    "pki_certificates": pki.check,
    "redis_instances": redis.check,
}
"""The checks of the list variables, which have rules across instances and defaults in them."""

LISTENING: Mapping[str, Callable[[Any], Instances]] = {
    "mindspore_scheduler_instances": mindspore.scheduler_listening,
    "mindspore_server_instances": mindspore.server_listening,
    "nginx_sites": nginx.listening,
    "redis_instances": redis.listening,
}
"""The ports each list variable asks for."""


def mistakes(role: str, values: Mapping[str, Any]) -> list[str]:
    """One line for each mistake in a role's variables; those that aren't given keep their defaults and are right."""
    found: list[str] = []
    for name, key in ROLES[role].items():
        if name in values:
            try:
                check(name, key, values[name])
            except RoleValueError as error:
                found += str(error).splitlines()
    return found


def check(name: str, key: Key, value: Any) -> Any:
    """One variable, checked and with defaults. Raises RoleValueError."""
    return INSTANCES[name](value) if name in INSTANCES else check_value(name, value, key.type)
