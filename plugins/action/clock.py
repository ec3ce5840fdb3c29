# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measures how far a host's clock is from the control node's."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.fedlearn.infra.plugins.plugin_utils import clock

READ = "date +%s.%N"


class ActionModule(ActionBase):
    """Action plugin behind M(fedlearn.infra.clock)."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the skew in milliseconds; ``failed`` where it is beyond ``max_skew_ms``."""
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={"readings": {"type": "int", "default": 3}, "max_skew_ms": {"type": "int"}}
        )
        if arguments["readings"] < 1:
            raise AnsibleActionFail(f"readings: expected a number of at least 1, found {arguments['readings']}")
        # our own clock may be set meanwhile, so only its beginning counts
        epoch = time.time() - time.monotonic()
        skew = clock.measured([self._reading(epoch) for _each in range(arguments["readings"])])
        result: dict[str, Any] = {
            "changed": False,
            "skew_ms": _milliseconds(skew.seconds),
            "give_or_take_ms": _milliseconds(skew.give_or_take),
            "jump_ms": _milliseconds(skew.jump),
        }
        bound = arguments["max_skew_ms"]
        wrong = clock.trouble(skew, bound / 1000) if bound is not None else ""
        return result | ({"failed": True, "msg": wrong} if wrong else {})

    def _reading(self, epoch: float) -> clock.Reading:
        """One look at the host's clock, as the user we come as: the fewer steps, the closer."""
        command = f"{self._compute_environment_string()} {READ}".strip()
        before = epoch + time.monotonic()
        said = self._low_level_execute_command(command, sudoable=False)
        after = epoch + time.monotonic()
        try:
            return clock.Reading(before, float(said["stdout"]), after)
        except ValueError:
            told = (said["stderr"] or said["stdout"]).strip() or f"exit status {said['rc']}"
            raise AnsibleActionFail(f"the clock can't be read: `{READ}` says: {told}") from None


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
