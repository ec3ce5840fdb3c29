# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each part of a stack has that may be on a host of ours: which host, and by what address it is reached."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from ...expanding import own_address
from ...model import Host, Placement

if TYPE_CHECKING:
    from .topology import Topology


class Hosted:
    """A part of the stack, by its placement."""

    def __init__(self, topology: Topology, place: Placement) -> None:
        self.topology = topology
        self.place = place

    @property
    def hosted(self) -> bool:
        """Whether it is on a host of ours."""
        return bool(self.place.hosts)

    @property
    def there(self) -> bool:
        """Whether it is anywhere."""
        return self.hosted or self.place.external is not None

    @property
    def host(self) -> Host:
        """Its host; it has to be ``hosted``."""
        return self.topology.federation.host(self.place.hosts[0])

    @cached_property
    def address(self) -> str:
        """What it listens on; empty once it is noted that there is none."""
        return own_address(self.place, self.host, self.topology.report) or ""
