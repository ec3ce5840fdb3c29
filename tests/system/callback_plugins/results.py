# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the last task's result as JSON to the file named by FEDLEARN_RESULT, for the tests to read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: results
type: aggregate
short_description: The last result as JSON
description: For the system tests.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "results"

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._write(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._write(result)

    def _write(self, result: Any) -> None:
        value = getattr(result, "result", None) or result._result
        Path(os.environ["FEDLEARN_RESULT"]).write_text(json.dumps(value, default=str))
