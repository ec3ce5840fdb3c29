# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every kind does alike when it expands a stack: instances' names, where they listen, how they are reached.

A server behind nginx is two components: its own endpoint has the proxy's as ``front``, and is then reached there only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import network
from .model import Component, Endpoint, Federation, Host, Path, Placement, Stack, State
from .nodes import Report

VERIFY = "verify-"
"""What the name of a stack has in front where it is the verify round's copy; no stack of a document begins with it."""


def identity(
    federation: Federation, stack: Stack, component: str, *, state: State = "present", transient: bool = False
) -> dict[str, Any]:
    """What every instance has: its name, whose it is, and its state. ``transient`` ones are the verify round's."""
    name = f"{federation.name}-{VERIFY if transient else ''}{stack.name}-{component}"
    found: dict[str, Any] = {"name": name, "state": state, "federation": federation.name, "stack": stack.name}
    return found | {"transient": True} if transient else found


@dataclass(slots=True)
class Roster:
    """Who is there, while a kind gathers it: components, and the instances that their roles get on each host."""

    components: list[Component] = field(default_factory=list)
    variables: dict[str, dict[str, list[dict[str, Any]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def add(self, component: Component, variable: str, instance: Mapping[str, Any]) -> None:
        """One component and its instance in the variable of its role."""
        self.components.append(component)
        self.variables[component.host][variable].append(dict(instance))


def own_address(placement: Placement, host: Host, report: Report) -> str | None:
    """The numeric address that a placement's component listens on; None once it is noted that there is none."""
    if placement.bind is not None:
        return placement.bind
    if host.internal:
        return host.internal[0]
    way_out = "give it one under parties, addresses: {internal: [ADDRESS]}"
    report.mistake((*placement.path, placement.where), f"host '{host.name}' has no numeric address: {way_out}")
    return None


def endpoint(
    placement: Placement,
    host: Host,
    purpose: str,
    address: str,
    port: int,
    *,
    scheme: str = "",
    public: bool = True,
    front: Endpoint | None = None,
    path: Path = (),
) -> Endpoint:
    """Where a component that listens on this address and port is reached, in all three views.

    Views are URLs with a scheme, ``HOST:PORT`` without. The document's ``internal_url`` and ``public_url`` lead to what
    is deployed, never to a copy on another port. ``public`` is False for what only the stack's own components use;
    ``path`` is the key that says the port, the placement's own unless told.
    """
    path = path or (*placement.path, "port")
    if front is not None:
        return Endpoint(purpose, address, port, internal=front.internal, public=front.public, path=path)
    deployed = port == placement.port
    reached = host.internal[0] if address in network.WILDCARDS and host.internal else address
    internal = (deployed and placement.internal_url) or _view(scheme, reached, port)
    outside = (deployed and placement.public_url) or _view(scheme, host.public_name or "", port) or internal
    return Endpoint(purpose, address, port, internal=internal, public=outside if public else internal, path=path)


def _view(scheme: str, host: str, port: int) -> str:
    """How a place is told; nothing for no host."""
    if not host:
        return ""
    return str(network.Url(scheme, host, port)) if scheme else network.join(host, port)
