# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""In which order roles converge: stages, and the roles of each."""

from __future__ import annotations

from .._roles.catalogue import INFRASTRUCTURE
from .kinds import kinds

STAGES = ("base", "data", "front", "coordinator", "service", "participant")
"""The order in which stages need each other."""


def stage_of(role: str) -> str:
    """The stage a role converges in.

    KeyError for a role that neither a kind nor the infrastructure has, ValueError when they don't agree.
    """
    said = {f"kind {name}": kind.ROLES[role] for name, kind in kinds().items() if role in kind.ROLES}
    if role in INFRASTRUCTURE:
        said["infrastructure"] = INFRASTRUCTURE[role]
    if not said:
        raise KeyError(role)
    if len(set(said.values())) > 1:
        told = ", ".join(f"{stage} ({who})" for who, stage in said.items())
        raise ValueError(f"role '{role}' has one stage, not {told}")
    return next(iter(said.values()))


def groups() -> dict[str, str]:
    """The groups that roles and stages have, whatever a document uses, and what each is."""
    roles = [*INFRASTRUCTURE, *(role for kind in kinds().values() for role in kind.ROLES)]
    return {role: f"the group of role '{role}'" for role in roles} | stage_groups()


def stage_groups() -> dict[str, str]:
    """The groups of stages and of a verify round's: always there, for playbooks to name."""
    deployed = {f"stage_{stage}": f"the group of stage '{stage}'" for stage in STAGES}
    return deployed | {f"round_{stage}": f"the group of a verify round's stage '{stage}'" for stage in STAGES}
