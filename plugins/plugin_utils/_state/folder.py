# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A folder as the home of what verbs write on the control node."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.errors import StateError

_WAY_OUT = (
    "give -e fedlearn_state= a folder that outlives the run, or the URL of a git repository (docs/operations.md, "
    "`A repository for what is kept`)"
)


def check(state: Path, thrown_away: Path | None = None) -> None:
    """StateError unless what is written there now is there tomorrow. ``thrown_away`` is what ends with this run."""
    place = Path(os.path.realpath(state))
    there = next(each for each in (place, *place.parents) if each.exists())
    if not there.is_dir():
        raise StateError(
            f"what this run makes (CAs, secrets, the register) has no home: {there} is no folder; {_WAY_OUT}"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise StateError(
            f"what this run makes (CAs, secrets, the register) has no home: {there} can't be written to; {_WAY_OUT}"
        )
    if thrown_away is not None and _ends_with(place, Path(os.path.realpath(thrown_away))):
        raise StateError(
            f"what this run makes (CAs, secrets, the register) has no home: {place} is thrown away after this job, and "
            f"the next would begin with a CA of its own; {_WAY_OUT}"
        )


def _ends_with(place: Path, thrown_away: Path) -> bool:
    """Whether a place lies in the other one, and nothing that is mounted there is between them."""
    between = [each for each in (place, *place.parents) if thrown_away in each.parents]
    return thrown_away in (place, *place.parents) and not any(map(os.path.ismount, between))
