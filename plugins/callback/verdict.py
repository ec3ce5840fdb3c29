# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prints the verdict of a status run as the last line, one JSON object that a script can read."""

from __future__ import annotations

DOCUMENTATION = r"""
name: verdict
type: aggregate
short_description: Print the stat fedlearn_status as the last line of a run
version_added: 0.1.0
author: fedlearn.infra contributors (@fedlearn)
description:
  - Prints C(fedlearn_status), which the playbook C(fedlearn.infra.status) sets, as one line of JSON after the recap.
requirements:
  - C(callbacks_enabled = fedlearn.infra.verdict) in ansible.cfg; the file that C(fedlearn.infra.init) writes has it.
"""

import json
from typing import Any

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """Listens to the end of a run only."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "fedlearn.infra.verdict"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Print the verdict, when this run set one."""
        status = stats.custom.get("_run", {}).get("fedlearn_status")
        if status:
            self._display.display(json.dumps(status, sort_keys=True))
