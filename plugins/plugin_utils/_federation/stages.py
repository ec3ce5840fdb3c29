# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""In which order roles converge: stages, and the roles of each."""

from __future__ import annotations

from collections.abc import Mapping

from .kinds import kinds

STAGES = ("base", "data", "front", "coordinator", "service", "participant")
"""The order in which stages need each other."""

INFRASTRUCTURE: Mapping[str, str] = {
    "limits": "base",
    "time_sync": "base",
    "firewall": "base",
    "pki": "base",
    "postgresql": "data",
    "mongodb": "data",
    "redis": "data",
    "minio": "data",
    "s3fs": "data",
    "registry": "data",
    "nginx": "front",
}
"""Stage of each infrastructure role, in the order of a stage; a kind's own roles come after them."""


def stage_of(role: str) -> str:
    """The stage a role converges in. KeyError for a role that neither a kind nor the infrastructure has."""
    if role in INFRASTRUCTURE:
        return INFRASTRUCTURE[role]
    return next(kind.ROLES[role] for kind in kinds().values() if role in kind.ROLES)


def groups() -> Mapping[str, str]:
    """The groups that roles and stages have or will have, whatever a document uses, and what each is."""
    roles = [*INFRASTRUCTURE, *(role for kind in kinds().values() for role in kind.ROLES)]
    return {role: f"the group of role '{role}'" for role in roles} | {
        f"stage_{stage}": f"the group of stage '{stage}'" for stage in STAGES
    }
