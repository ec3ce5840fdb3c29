# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What nginx itself says of its files."""

from __future__ import annotations

import os
import re

from ansible.module_utils.basic import AnsibleModule

# as it goes to the log, with time and process, or without them
REASON = re.compile(r"^.*?\[emerg\] (?:\d+#\d+: )?(.*)$", re.MULTILINE)


def refusal(module: AnsibleModule, program: str | None) -> str:
    """Why nginx wouldn't start with the files that are there; empty where it would, and where there is no nginx.

    It runs on with what it has read: after a reboot no site would be there.
    """
    if not program or not os.access(program, os.X_OK):
        return ""
    code, _output, errors = module.run_command([program, "-t", "-q"])
    if code == 0:
        return ""
    found = REASON.search(errors)
    return f"nginx refuses the files it would start with: {found[1] if found else errors.strip()}"
