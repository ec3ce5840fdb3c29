# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the limits role takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._federation.model import Path
from .._federation.schema import PORT, Choice, Integer, Key, Rule, Section, Table, Text

NOFILE = Integer(1024, 1_073_741_816)
SYSCTLS = Table(
    Text(pattern=r"(?:fs|kernel|net|vm)(?:\.[A-Za-z0-9_/-]+)+", pattern_name="a kernel parameter such as fs.file-max"),
    Integer(1, 9_223_372_036_854_775_807),
)


def _ends(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    if not values:
        return []
    missing = [end for end in ("first", "last") if end not in values]
    if missing:
        return [((missing[0],), "is missing: first and last go together")]
    return [] if values["first"] < values["last"] else [(("last",), "is not above first")]


_PORTS = Section(
    {"first": Key(PORT, "The lowest."), "last": Key(PORT, "The highest.")},
    rules=(Rule("A range has two ends.", _ends),),
)

VARIABLES: Mapping[str, Key] = {
    "limits_state": Key(
        Choice(("present", "absent")), "V(absent) withdraws what this federation asked for.", default="present"
    ),
    "limits_nofile": Key(
        NOFILE, "Open files each new session is to have, of ordinary users and of root.", default=65535
    ),
    "limits_nproc": Key(
        Integer(0, 4_194_304),
        "Processes each new session may have at least, written only where it would have fewer; 0 asks for nothing.",
        default=0,
    ),
    "limits_ephemeral_ports": Key(
        _PORTS,
        "Ports that the host is to have for connections of its own; the range is only ever widened. Services listen on "
        "none of them.",
        default={},
    ),
    "limits_sysctls": Key(
        SYSCTLS,
        "Kernel parameters and the least value each is to have; they are only ever raised.",
        default={"fs.file-max": 1048576, "net.core.somaxconn": 1024},
    ),
}
"""All variables of the role."""

ROLES = {"limits": VARIABLES}
INFRASTRUCTURE = {"limits": "base"}
