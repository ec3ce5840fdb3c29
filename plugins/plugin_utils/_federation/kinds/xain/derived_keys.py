# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys of the programs that follow from others: there they are, and can't be set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...model import Path
from ...schema import Anything, Key, Rule

Breaches = list[tuple[Path, str]]


def derived(source: str, reasons: Mapping[str, str]) -> tuple[dict[str, Key], Rule]:
    """The keys of a section that follow from others, each with the reason, and the rule that says so."""

    def check(values: Mapping[str, Any]) -> Breaches:
        return [((name,), f"can't be set: it {reason}") for name, reason in reasons.items() if name in values]

    keys = {name: Key(Anything(), f"Refused: {reason}.", source=source) for name, reason in reasons.items()}
    return keys, Rule("What follows from other keys isn't set.", check)
