# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every role asks of the instances it is given, and how their mistakes are told.

A role's variables are checked strictly and completed with defaults before anything is looked at on a host.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping
from typing import Any

from .._federation.model import MAX_INSTANCE_NAME, Path
from .._federation.network import is_numeric
from .._federation.nodes import Mistake
from .._federation.schema import Boolean, Choice, Integer, Items, Key, Rule, Section, Text, Type, check_values

NAME = Text(
    max_length=MAX_INSTANCE_NAME,
    pattern=r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?",
    pattern_name="a name: a-z, 0-9 and '-', no '-' at its ends",
)
STATES = Choice(("present", "stopped", "absent"))
FILE = Text(format="absolute_path")
SECONDS = Integer(1, 3600)
MEMORY = Text(
    pattern=r"[1-9][0-9]{6,}|[1-9][0-9]{3,}K|[1-9][0-9]*[MGT]|infinity", pattern_name="bytes such as 4G, or infinity"
)
"""A million at least: nothing starts with less."""
TASKS = Integer(16, 4_194_304)
CONTROL_FILE = Text(pattern=r"[^\x00-\x1f\x7f]+", pattern_name="the path of a file on the control node")
CONTROL_FOLDER = Text(pattern=r"[^\x00-\x1f\x7f]+", pattern_name="the path of a folder on the control node")

IDENTITY: Mapping[str, Key] = {
    "name": Key(NAME, "Names the instance on its host: its unit, files and data.", required=True),
    "state": Key(STATES, "V(stopped) keeps files and data, V(absent) keeps data only.", default="present"),
    "federation": Key(Text(format="name"), "Whose state on the host it belongs to; without it that of the play."),
    "stack": Key(Text(), "The stack of a federation document it comes from; the role doesn't use it."),
    "transient": Key(Boolean(), "Lives until the next boot only, as instances of a verify round do.", default=False),
    "round": Key(Text(), "Tells one verify round from another, so that what a former one left doesn't count."),
}
"""The keys every instance of every role has."""

PUBLIC_NAME = Key(
    Text(format="address_or_name"),
    "What clients call it, where that isn't its address; its certificate has that name.",
)


def certified(instance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What clients may call a server: one of these its certificate has to be valid for. None where all is loopback."""
    names = [name for name in instance["addresses"] if not is_loopback(name)]
    given = instance.get("public_name")
    return [{"name": name, "is_address": is_numeric(name)} for name in ([given] if given else names)]


_ABSENT = Section({key: IDENTITY[key] for key in ("name", "state", "federation", "stack", "transient")})


class RoleValueError(ValueError):
    """Values a role can't work with; the message has one line for each mistake."""


TURNS = ("a", "b")
"""What the two names of a login that comes in turns end with."""
IN_TURN = Key(
    Boolean(),
    "It has two logins, C(<name>_a) and C(<name>_b), used in turn, so that its password can be replaced while it is "
    "connected.",
    default=False,
)


def logins_of(client: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A client's login, or both of one that has two, each with its ``turn``."""
    if not client.get("in_turn"):
        return [dict(client)]
    return [{**client, "name": f"{client['name']}_{turn}", "turn": turn} for turn in TURNS]


def is_present(instance: Mapping[str, Any]) -> bool:
    """Whether an instance has files on its host; one that is stopped has."""
    return instance.get("state") != "absent"


def is_running(instance: Mapping[str, Any]) -> bool:
    """Whether an instance is neither stopped nor absent."""
    return bool(instance.get("state", "present") == "present")


def check_instances(
    variable: str, instances: Any, section: Section, rules: tuple[Rule, ...] = ()
) -> list[dict[str, Any]]:
    """The instances with their defaults. ``rules`` look across the present ones, given as ``{"instances": [...]}``.

    A key that is null counts as not given. Of an absent one only its name, state, federation and stack are looked at.
    Raises RoleValueError.
    """
    if not isinstance(instances, list):
        raise RoleValueError(f"{variable}: expected a list")
    mistakes: list[Mistake] = []
    checked: list[dict[str, Any]] = []
    for index, given in enumerate(instances):
        values, wrong = check_values(*_fitting(section, given))
        mistakes += [Mistake(f"{variable}[{index}]", 0, 0, one.path, one.message) for one in wrong]
        checked.append(values)
    if not mistakes:
        present = [
            {**instance, "index": index} for index, instance in enumerate(checked) if instance["state"] != "absent"
        ]
        mistakes += [
            Mistake(f"{variable}[{path[0]}]", 0, 0, ".".join(str(step) for step in path[1:]), message)
            for rule in (_UNIQUE_NAMES, *rules)
            for path, message in rule.check({"instances": present})
        ]
    if mistakes:
        raise RoleValueError("\n".join(str(mistake) for mistake in mistakes))
    return checked


def check_value(variable: str, value: Any, type_: Type) -> Any:
    """One value of a role. Raises RoleValueError."""
    checked, mistakes = check_values(type_, _plain(value), where=variable)
    if mistakes:
        raise RoleValueError("\n".join(str(mistake) for mistake in mistakes))
    return checked


def _fitting(section: Section, given: Any) -> tuple[Section, Any]:
    if not isinstance(given, Mapping):
        return section, given
    values = _plain(without_nulls(given))
    if values.get("state") == "absent":
        return _ABSENT, {key: value for key, value in values.items() if key in _ABSENT.keys}
    return section, values


def _plain(value: Any) -> Any:
    """Templating gives subclasses of plain values; JSON makes them plain. What JSON can't hold is left as it is."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return value


def without_nulls(value: Any) -> Any:
    """The value without the keys that are null, at every depth."""
    if isinstance(value, Mapping):
        return {str(key): without_nulls(one) for key, one in value.items() if one is not None}
    if isinstance(value, (list, tuple)):
        return [without_nulls(one) for one in value]
    return value


def _twice(instances: Iterable[Mapping[str, Any]]) -> list[tuple[Path, str]]:
    seen: dict[str, int] = {}
    breaches: list[tuple[Path, str]] = []
    for instance in instances:
        first = seen.setdefault(instance["name"], instance["index"])
        if first != instance["index"]:
            breaches.append(((instance["index"], "name"), f"'{instance['name']}' is also the name of [{first}]"))
    return breaches


_UNIQUE_NAMES = Rule("Names are unique on a host.", lambda values: _twice(values["instances"]))


LOOPBACK = "127.0.0.1"


def is_loopback(address: str) -> bool:
    """Whether only the host itself reaches that address."""
    return ipaddress.ip_address(address).is_loopback


ADDRESSES = Items(Text(format="address"), min_items=1)
