# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a host waits for whoever else installs packages there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VARIABLE = "fedlearn_apt_wait_seconds"
DEFAULT = 120
LONGEST = 3600


def seconds(option: Any, variables: Mapping[str, Any], templar: Any) -> int:
    """What the task says, else the host's variable, else two minutes. Raises ValueError."""
    if option is not None:
        return int(option)
    value = templar.template(variables.get(VARIABLE, DEFAULT))
    word = "" if isinstance(value, bool) else str(value)
    if not word.isascii() or not word.isdigit() or int(word) > LONGEST:
        raise ValueError(f"{VARIABLE}: expected a whole number from 0 to {LONGEST}, found {value!r}")
    return int(word)
