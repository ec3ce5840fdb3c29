# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What somebody needs who is no host of the document: a client's ways to both sides, or the controller's.

They are the same sites of nginx that hosts of the document get, and that a verify round goes by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ... import certificates, network
from ...model import Authority, Federation, Party, Stack
from ...nodes import Report
from .instances import ways_out
from .topology import LOOPBACK, Topology

HOME = "/etc/fedlearn-client"


class NoKitError(Exception):
    """Why there is none; the message says what to do instead."""


@dataclass(frozen=True, slots=True)
class Kit:
    """``sites`` are nginx's, as its role takes them; ``ways`` says what is reached by which URL.

    ``subject`` is the common name of the controller's certificate, which ``party`` signs; clients have none.
    ``authorities`` vouch for both sides.
    """

    name: str
    sites: tuple[dict[str, Any], ...]
    ways: dict[str, str]
    authorities: tuple[Authority, ...]
    subject: str = ""
    party: Party | None = None

    @property
    def folder(self) -> str:
        """Where its files lie on the client's machine."""
        return f"{HOME}/{self.name}"


def kit(stack: Stack, federation: Federation, *, controller: bool) -> Kit:
    """The kit of a right stack. Raises NoKitError."""
    topology = Topology(stack, federation, Report())
    if not all(side.there for side in topology.sides):
        raise NoKitError(f"stack '{stack.name}' has no side that anybody could be led to")
    name = f"{topology.prefix}-{'controller' if controller else 'client'}"
    files = {word: f"{HOME}/{name}/{word}.pem" for word in ("ca", "chain", "key")}
    sites, ways = [], {}
    for word, port, values in ways_out(topology, files, shows=controller):
        sites.append({"name": f"{name}-{word}", **values})
        ways[word] = str(network.Url("http", LOOPBACK, port))
    if not sites:
        raise NoKitError("with public certificates and without managers clients reach both sides as they are")
    parties = {side.party.name: side.party for side in topology.sides}
    trusted = () if topology.public else [certificates.party_authority(federation, one) for one in parties.values()]
    if not controller:
        return Kit(name, tuple(sites), ways, tuple(trusted))
    return Kit(name, tuple(sites), ways, tuple(trusted), name, topology.controller_party)
