# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every kind does alike when it expands a stack: instances' names, where they listen, how they are reached.

A server behind nginx is two components: its own endpoint has the proxy's as ``front``, and is then reached there only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import network
from .model import Component, Endpoint, Expansion, Federation, Flow, Host, Path, Placement, Stack, State
from .nodes import Report
from .schema import Integer, Key, Section

VERIFY = "verify-"
"""What the name of a stack has in front where it is the verify round's copy; no stack of a document begins with it."""


CONTROLLER = "controller"
"""What flows call the control node."""

LEAST_AT_ONCE = 512
"""Of a site of nginx: how many requests under way it bears, where nobody says for how many clients it is."""

MOST_AT_ONCE = 1_000_000

LEAST_REQUESTS = 1000
"""Of a site of nginx: how many requests a second it bears, since one program can ask one after the other."""

PYPI = ("https://pypi.org", "https://files.pythonhosted.org")


def instance_name(federation: Federation, stack: Stack, component: str, *, transient: bool = False) -> str:
    """The name of a component's instance; ``transient`` ones are the verify round's."""
    return f"{federation.name}-{VERIFY if transient else ''}{stack.name}-{component}"


@dataclass(slots=True)
class Roster:
    """Who is there, while a kind gathers it: components, and the instances that their roles get on each host.

    A component is a word such as ``server``, with a number where a host may have several (``server-2``). Numbers count
    on each host by itself: a host that comes or goes renames nothing elsewhere. A ``transient`` roster is that of the
    verify round.
    """

    federation: Federation
    stack: Stack
    transient: bool = False
    components: list[Component] = field(default_factory=list)
    variables: dict[str, dict[str, list[dict[str, Any]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def take(self, removed: Expansion) -> None:
        """Also the instances of what is to be removed."""
        for host, variables in removed.variables.items():
            for variable, instances in variables.items():
                self.variables[host][variable].extend(instances)

    def present(
        self,
        role: str,
        placement: str,
        component: str,
        host: str,
        values: Mapping[str, Any],
        endpoints: Iterable[Endpoint] = (),
        *,
        variable: str = "",
    ) -> dict[str, Any]:
        """A component that runs on a host, by this placement of the document, and its instance, which is returned.

        ``values`` are what the role takes beside its identity; ``variable`` is the role's list of instances, where it
        isn't called ``<role>_instances``.
        """
        self.beside(role, placement, component, host, endpoints)
        return self._instance(role, component, host, variable, "present", values)

    def beside(
        self,
        role: str,
        placement: str,
        component: str,
        host: str,
        endpoints: Iterable[Endpoint] = (),
        *,
        state: State = "present",
    ) -> None:
        """A component that another one's instance brings along, and takes away: it has none of its own."""
        self._component(role, placement, component, host, state, endpoints)

    def theirs(self, role: str, placement: str, component: str, party: str, endpoints: Iterable[Endpoint]) -> None:
        """A component that an external party runs: how it is reached is all that is known of it."""
        name, known = self._name(component), tuple(endpoints)
        self.components.append(Component(name, self.stack.name, placement, role, "", endpoints=known, party=party))

    def absent(self, role: str, placement: str, component: str, host: str, *, variable: str = "") -> None:
        """A component that is to be removed from a host: of its instance the name is all that a role needs."""
        self._component(role, placement, component, host, "absent", ())
        self._instance(role, component, host, variable, "absent", {})

    def _name(self, component: str) -> str:
        return instance_name(self.federation, self.stack, component, transient=self.transient)

    def _component(
        self, role: str, placement: str, component: str, host: str, state: State, endpoints: Iterable[Endpoint]
    ) -> None:
        name = self._name(component)
        self.components.append(Component(name, self.stack.name, placement, role, host, state, tuple(endpoints)))

    def _instance(
        self, role: str, component: str, host: str, variable: str, state: State, values: Mapping[str, Any]
    ) -> dict[str, Any]:
        whose = {"federation": self.federation.name, "stack": self.stack.name}
        instance = {"name": self._name(component), "state": state, **whose, **values}
        if self.transient:
            instance["transient"] = True
        self.variables[host][variable or f"{role}_instances"].append(instance)
        return instance


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
    names: tuple[str, ...] = (),
    path: Path = (),
) -> Endpoint:
    """Where a component that listens on this address and port is reached, in all three views.

    Views are URLs with a scheme, ``HOST:PORT`` without. The document's ``internal_url`` and ``public_url`` lead to what
    is deployed, never to a copy on another port. ``public`` is False for what only the stack's own components use;
    ``names`` are a site's server names; ``path`` is the key that says the port, the placement's own unless told.
    """
    path = path or (*placement.path, "port")
    if front is not None:
        return Endpoint(purpose, address, port, internal=front.internal, public=front.public, path=path)
    deployed = port == placement.port
    internal = (deployed and placement.internal_url) or _view(scheme, network.reached(host, address), port)
    outside = (deployed and placement.public_url) or _view(scheme, host.public_name or "", port) or internal
    told = outside if public else internal
    return Endpoint(purpose, address, port, internal=internal, public=told, names=names, path=path)


def public_endpoint(placement: Placement, purpose: str) -> Endpoint:
    """Where a component is reached that an external party runs: at the placement's public_url, and nowhere else."""
    if placement.public_url is None:
        raise AssertionError(f"{'.'.join(map(str, placement.path))}: no public_url, so it is no external party's")
    url = network.parse_url(placement.public_url)
    port, path = url.port or network.DEFAULT_PORTS.get(url.scheme), (*placement.path, "public_url")
    return Endpoint(purpose, url.host, port, internal=placement.public_url, public=placement.public_url, path=path)


def at_once(clients: int) -> int:
    """How many requests clients have under way: two each, since one may come anew before its former is known dead."""
    return 2 * clients + 50


def site_limits(most: int = 0, *, connections: bool = False, per_address: int | None = None) -> dict[str, int]:
    """What a site of nginx bears of all clients together, since they may share one address.

    ``most`` requests under way, and as many new ones a second; of passed on ``connections`` only these are counted.
    ``per_address`` is what the document says of each (``LIMITS``).
    """
    bears = min(max(LEAST_AT_ONCE, most), MOST_AT_ONCE)
    of_all = {"clients": bears} | ({} if connections else {"total_requests_per_second": max(LEAST_REQUESTS, bears)})
    return of_all | ({"clients_per_address": per_address} if per_address else {})


LIMITS = Key(
    Section(
        {
            "per_address": Key(
                Integer(1, 1_000_000),
                "Requests under way from one address, of which each poll is one. Without it there is only the total, "
                "`2 x expected + 50` and 512 at least: all clients may share an address.",
            )
        }
    ),
    "How much at once, beside what `expected` says.",
    default={},
)
"""What a document may say of the clients of a site."""


def service_endpoint(purpose: str, service: str, port: int, *, scheme: str = "", path: Path = ()) -> Endpoint:
    """Where others in a cluster reach a service of it by its name; nobody outside is told.

    What has a port of the cluster's nodes is an ``endpoint`` of a node, which listens on every address.
    """
    told = _view(scheme, service, port)
    return Endpoint(purpose, service, port, internal=told, public=told, path=path)


def fetched(source: str, url: str, purpose: str, proof: str) -> Flow:
    """What a host, or the control node, gets from outside at a URL; ``proof`` is how it knows it for right."""
    place = network.parse_url(url)
    return Flow(source, place.host, place.port or network.DEFAULT_PORTS[place.scheme], purpose, proof)


def python_packages(host: str, index_url: str | None) -> Iterator[Flow]:
    """Hash-locked packages from an index, the host's own unless one is told."""
    if index_url is not None:
        yield fetched(host, index_url, "Python packages", "TLS, hashes" if index_url.startswith("https:") else "hashes")
        return
    for url in PYPI:
        yield fetched(host, url, "Python packages, unless pip has another index", "TLS, hashes")


def _view(scheme: str, host: str, port: int) -> str:
    """How a place is told; nothing for no host, and none for a port there isn't, which the loader takes note of."""
    if not host or port > network.MAX_PORT:
        return ""
    return str(network.Url(scheme, host, port)) if scheme else network.join(host, port)
