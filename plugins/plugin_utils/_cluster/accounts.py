# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which Secrets an account of somebody else's pulls images with: ours are beside those of others.

Their list is one value to the API, which has one owner: an apply of ours alone would take away those of others.
"""

from __future__ import annotations

from collections.abc import Collection

from .api import Object

PULLS = "imagePullSecrets"


def beside_theirs(wanted: Object, live: Object | None) -> Object:
    """The account with ours after those that it has, as long as it is as it was seen."""
    if live is None or PULLS not in wanted:
        return wanted
    theirs = live.get(PULLS) or []
    seen = {**wanted["metadata"], "resourceVersion": live["metadata"]["resourceVersion"]}
    return {**wanted, "metadata": seen, PULLS: [*theirs, *(one for one in wanted[PULLS] if one not in theirs)]}


def without(live: Object, names: Collection[str]) -> list[str]:
    """The paths in an account at which it names these Secrets, the last first."""
    named = list(enumerate(live.get(PULLS) or ()))
    return [f"/{PULLS}/{index}" for index, one in reversed(named) if one.get("name") in names]
