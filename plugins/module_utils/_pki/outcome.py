# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run did, or would do, for one certificate."""

from __future__ import annotations

from dataclasses import dataclass, field

from .facts import Facts


class RefusedError(Exception):
    """A certificate that was handed over isn't the one that was asked for; nothing was put in place."""


@dataclass
class Outcome:
    """What was done, or would be, for one certificate.

    ``usable`` is whether the one that is there will do until a new one came for its ``request``. ``lists_end`` is when
    the first of the lists ends that say what its CAs have withdrawn.
    """

    changed: bool = False
    action: str = "none"
    reasons: list[str] = field(default_factory=list)
    request: str | None = None
    usable: bool = False
    lists_end: int | None = None
    before: Facts | None = None
    after: Facts | None = None
    warnings: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def repaired(self, reason: str) -> None:
        """Note a change that needs no new certificate."""
        self.changed = True
        self.reasons.append(reason)
        if self.action == "none":
            self.action = "repaired"
