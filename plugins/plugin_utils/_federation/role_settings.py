# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings that a role was given as plain variables, checked as those of a document are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .kinds import kinds
from .nodes import did_you_mean
from .schema import check_values


class WrongSettingsError(ValueError):
    """Settings with mistakes: one line each, made to be shown."""


def checked(kind: str, values: Mapping[str, Any], version: str = "") -> dict[str, Any]:
    """The settings of a kind with all defaults, under the keys that the program of this version reads.

    Raises WrongSettingsError.
    """
    if kind not in kinds():
        raise WrongSettingsError(f"there is no kind '{kind}'{did_you_mean(kind, kinds())}")
    found, mistakes = check_values(kinds()[kind].SETTINGS, values)
    if mistakes:
        lines = [f"settings.{mistake}" if mistake.path else f"settings: {mistake}" for mistake in mistakes]
        raise WrongSettingsError("\n".join(lines))
    rename = getattr(kinds()[kind], "program_keys", None)
    complete: dict[str, Any] = rename(found, version) if rename and version else found
    return complete
