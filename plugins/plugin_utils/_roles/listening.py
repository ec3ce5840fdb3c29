# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where instances listen: no two at one place, and what the preflight module looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .._federation.model import Path
from .._federation.schema import Rule


@dataclass(frozen=True, slots=True)
class Place:
    """An address and port, the key of the instance that says so, and what its unit's name has after the instance's."""

    address: str
    port: int
    key: Path = ("port",)
    part: str = ""


Places = Callable[[Mapping[str, Any]], Iterable[Place]]
"""All places of an instance."""


def one_owner(places: Places) -> Rule:
    """A rule across instances: each place is one key's of one instance."""

    def taken(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
        owners: dict[tuple[str, int], tuple[str, Path]] = {}
        breaches: list[tuple[Path, str]] = []
        for instance in values["instances"]:
            for place in places(instance):
                owner = (instance["name"] + place.part, place.key)
                first = owners.setdefault((place.address, place.port), owner)
                if first != owner:
                    told = f"{place.address} port {place.port} is taken by '{first[0]}'"
                    breaches.append(((instance["index"], *place.key), told))
        return breaches

    return Rule("A port has one owner.", taken)


def services(instances: Iterable[Mapping[str, Any]], places: Places) -> list[dict[str, Any]]:
    """The ports that present instances are to have, as the preflight module takes them."""
    return [
        {
            "name": instance["name"] + place.part,
            "address": place.address,
            "port": place.port,
            "unit": f"fedlearn-{instance['name']}{place.part}.service",
        }
        for instance in instances
        if instance["state"] == "present"
        for place in places(instance)
    ]


def each_address(instance: Mapping[str, Any]) -> list[Place]:
    """The places of an instance that has one port on all of its ``addresses``."""
    return [Place(address, instance["port"]) for address in instance["addresses"]]
