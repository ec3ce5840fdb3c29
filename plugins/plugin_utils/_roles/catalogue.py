# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles whose variables are checked here, found by their modules' presence in this directory.

A module offers ``ROLES`` (role: its variables) and, where there are any, ``INSTANCES`` (list variable: its check, with
rules across instances and defaults in them), ``LISTENING`` (list variable: the ports it asks for) and ``PACKAGES``
(role: what the values of variables ask of the module ``packages``), ``TOGETHER`` (role: what is wrong with variables
that are right each for itself), ``BUILT`` (role: a program that Go builds), ``KEPT`` (role: whether an instance has
data to back up, where not all have). That of an infrastructure role also has
``INFRASTRUCTURE`` (role: its stage), ``BEFORE`` (role: those of its stage that need it) where the alphabet would have
it too late, and ``SHARED`` (role: unit) when instances are no services of their own, but parts of one of the host's.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from .._federation.schema import Key
from .checking import RoleValueError, check_value, is_running

Instances = list[dict[str, Any]]


def _gathered(attribute: str) -> dict[str, Any]:
    """What the roles' modules say under one name, in alphabetical order."""
    names = (found.name for found in pkgutil.iter_modules([str(Path(__file__).parent)]))
    modules = (importlib.import_module(f"{__package__}.{name}") for name in names if name not in _OURS)
    found = {key: value for module in modules for key, value in getattr(module, attribute, {}).items()}
    return dict(sorted(found.items()))


_OURS = ("catalogue", "checking")

ROLES: Mapping[str, Mapping[str, Key]] = _gathered("ROLES")
"""The variables of each role."""

INSTANCES: Mapping[str, Callable[[Any], Instances]] = _gathered("INSTANCES")
"""The checks of the list variables, which have rules across instances and defaults in them."""


def in_order(roles: Mapping[str, str], before: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """``roles`` in alphabetical order, but for those that others wait for: ``before`` says who for whom."""
    sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(roles, ()))
    for role, others in before.items():
        for other in others:
            if {role, other} - roles.keys():
                raise ValueError(f"BEFORE: '{role}' and '{other}' are not both roles of the infrastructure")
            sorter.add(other, role)
    ordered: dict[str, str] = {}
    sorter.prepare()
    while ready := sorted(sorter.get_ready()):
        ordered |= {role: roles[role] for role in ready}
        sorter.done(*ready)
    return ordered


INFRASTRUCTURE: Mapping[str, str] = in_order(_gathered("INFRASTRUCTURE"), _gathered("BEFORE"))
"""The stage of each infrastructure role. Of one stage they converge in this order, before the kinds' roles."""

SHARED: Mapping[str, str] = _gathered("SHARED")
"""The unit of the host's one service, of roles whose instances are parts of it."""

LISTENING: Mapping[str, Callable[[Any], Instances]] = _gathered("LISTENING")
"""The ports each list variable asks for."""


Packages = dict[str, list[Any]]
"""Options of the module ``packages``, those in `ASKED`: ``names`` always, others where there are any."""

ASKED = ("names", "withdraw", "replaces", "during", "minimums", "otherwise")

PACKAGES: Mapping[str, Callable[[Mapping[str, Any]], Packages]] = _gathered("PACKAGES")
"""What each role needs of the distribution, by the values of variables."""

BUILT: Mapping[str, str] = _gathered("BUILT")
"""The program of each role that the control node builds of Go modules."""

TOGETHER: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = _gathered("TOGETHER")
"""What is wrong with a role's variables, each of which is right for itself."""

KEPT: Mapping[str, Callable[[Mapping[str, Any]], bool]] = _gathered("KEPT")
"""Of roles with a backup, which instances have data for it; all of them where nothing is said."""

_DEFAULTS = {name: key.default for variables in ROLES.values() for name, key in variables.items()}


def packages(roles: Iterable[str], values: Mapping[str, Any]) -> Packages:
    """What roles need of the distribution, each thing once; variables that aren't given keep their defaults."""
    asked = [PACKAGES[role]({**_DEFAULTS, **values}) for role in dict.fromkeys(roles) if role in PACKAGES]
    needed: Packages = {option: [] for option in ASKED}
    for option, items in needed.items():
        for item in (item for one in asked for item in one.get(option, [])):
            if item not in items:
                items.append(item)
    return needed


def kept(role: str, instances: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of the instances of a role that its backup is made of."""
    has_data = KEPT.get(role, is_running)
    return [instance["name"] for instance in instances if is_running(instance) and has_data(instance)]


def mistakes(role: str, values: Mapping[str, Any]) -> list[str]:
    """One line for each mistake in a role's variables; those that aren't given keep their defaults and are right."""
    found: list[str] = []
    for name, key in ROLES[role].items():
        if name in values:
            try:
                check(name, key, values[name])
            except RoleValueError as error:
                found += str(error).splitlines()
    if not found and role in TOGETHER:
        found += TOGETHER[role]({**_DEFAULTS, **values})
    return found


def check(name: str, key: Key, value: Any) -> Any:
    """One variable, checked and with defaults. Raises RoleValueError."""
    return INSTANCES[name](value) if name in INSTANCES else check_value(name, value, key.type)
