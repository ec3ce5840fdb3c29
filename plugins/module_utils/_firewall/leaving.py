# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a federation's services are leaving: guarded as before while something of it may still listen there.

Rules are changed before services are. One that can't take its new port goes on at the former one, which no document
names any more; without a guard everybody would reach it there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.fedlearn.infra.plugins.module_utils._firewall.rules import (
    Place,
    Surroundings,
    places_at,
    ports_of,
)


def left(
    former: Iterable[dict[str, Any]], named: Iterable[dict[str, Any]], around: Surroundings
) -> list[dict[str, Any]]:
    """The services of a former claim, with those of their addresses that no service named now guards."""
    guarded = [place for service in named for place in _places(service, around)]
    found = []
    for service in former:
        addresses = [
            address
            for address in service["addresses"]
            if not all(any(one.covers(place) for one in guarded) for place in _places(service, around, address))
        ]
        found += [{**service, "addresses": addresses}] if addresses else []
    return found


def listened_on(
    services: Iterable[dict[str, Any]], owned: Iterable[dict[str, Any]], around: Surroundings
) -> list[dict[str, Any]]:
    """Those services on whose places one of the ports lies that owned.json knows of: addresses, ports, protocols."""
    held = [place for port in owned for place in places_at(port["address"], port["protocol"], (port["port"],) * 2)]
    return [
        service for service in services if any(place.meets(one) for place in _places(service, around) for one in held)
    ]


def _places(service: dict[str, Any], around: Surroundings, *addresses: str) -> list[Place]:
    ports = ports_of(service, around)
    return [
        place
        for address in addresses or service["addresses"]
        for place in places_at(address, service["protocol"], ports)
    ]
