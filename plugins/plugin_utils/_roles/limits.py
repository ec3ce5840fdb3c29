# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the limits role takes."""

from __future__ import annotations

from collections.abc import Mapping

from .._federation.schema import Choice, Integer, Key, Table, Text

NOFILE = Integer(1024, 1_073_741_816)
SYSCTLS = Table(
    Text(pattern=r"(?:fs|kernel|net|vm)(?:\.[A-Za-z0-9_/-]+)+", pattern_name="a kernel parameter such as fs.file-max"),
    Integer(1, 9_223_372_036_854_775_807),
)


VARIABLES: Mapping[str, Key] = {
    "limits_state": Key(
        Choice(("present", "absent")), "V(absent) withdraws what this federation asked for.", default="present"
    ),
    "limits_nofile": Key(
        NOFILE, "Open files each new session is to have, of ordinary users and of root.", default=65535
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
