# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles whose instances run in clusters, found by their modules' presence in this directory.

A module offers ``objects(instance, secret, text)``, the instance's objects in the order they are made in, ``secrets``
and ``files``, the names of secrets and the files of the control node that it is made with, ``looks``, what is tried
inside of its pods, ``made``, and ``ALONE``; one with a round of its own also ``trial``, what runs that there. Of a
secret whose login comes in turns ``secret`` gives the newest value, and by ``turn`` whose that is.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from .parts import Looks, Object, Secrets

_OURS = ("catalogue", "neursafe", "neursafe_looks", "neursafe_round", "parts")


class Manifests(Protocol):
    """What a role's module offers."""

    ALONE: bool
    """Whether a cluster takes one instance of the role only."""

    def objects(self, instance: Mapping[str, Any], secret: Secrets, text: Callable[[str], str]) -> list[Object]:
        """The instance's objects, in the order they are made in."""

    def secrets(self, instance: Mapping[str, Any]) -> list[str]:
        """The names of the secrets that it is made with."""

    def looks(self, instance: Mapping[str, Any]) -> list[Looks]:
        """What is tried inside of the instance's pods."""

    def made(self, instance: Mapping[str, Any]) -> Object:
        """A pod as those of the instance make them, in a namespace that isn't ours."""

    def files(self, instance: Mapping[str, Any]) -> list[str]:
        """The files of the control node that it is made with."""


class Rounds(Protocol):
    """What the module of a role with a round of its own offers, too."""

    def trial(self, instance: Mapping[str, Any], name: str, clients: int, seconds: int) -> Looks:
        """What runs verify's round, by that name, inside of the instance's pods."""


def _found() -> dict[str, Manifests]:
    names = sorted(each.name for each in pkgutil.iter_modules([str(Path(__file__).parent)]) if each.name not in _OURS)
    return {name: cast("Manifests", importlib.import_module(f"{__package__}.{name}")) for name in names}


MANIFESTS: Mapping[str, Manifests] = _found()
"""What each role's instances are in a cluster."""

ROUNDS: Mapping[str, Rounds] = {
    name: cast("Rounds", module) for name, module in MANIFESTS.items() if hasattr(module, "trial")
}
"""Those with a round of their own."""
