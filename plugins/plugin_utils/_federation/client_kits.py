# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What somebody is given who is no host of the document, and how it is told for whom it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .model import Authority, Party

HOME = "/etc/fedlearn-client"


class NoKitError(Exception):
    """Why there is none; the message says what to do instead."""


@dataclass(frozen=True, slots=True)
class Asked:
    """For whom: ``controller`` is one of DPSA's, ``client`` a common name where certificates are shown."""

    controller: bool = False
    client: str = ""


@dataclass(frozen=True, slots=True)
class Kit:
    """``sites`` are nginx's, as its role takes them; ``ways`` says what is reached by which URL.

    ``subject`` is the common name of the certificate that is shown, which ``party`` signs; where none is, both are
    empty. ``authorities`` vouch for whom it leads to, each by the file of the kit it goes to. ``files`` are texts by
    their path in the kit, ``sources`` paths of files below roles/; ``readme`` is the kit's own README, where the one
    of sites says too little.
    """

    name: str
    sites: tuple[dict[str, Any], ...]
    ways: dict[str, str]
    authorities: Mapping[str, Authority]
    subject: str = ""
    party: Party | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    readme: str = ""

    @property
    def folder(self) -> str:
        """Where its files lie on the client's machine, where nginx is to find them."""
        return f"{HOME}/{self.name}"
