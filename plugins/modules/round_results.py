#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waits for the result files of a round on one host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: round_results
short_description: Wait for the result files that participants of a round write
version_added: 0.1.0
author: fedlearn.infra contributors (@fedlearn)
description:
  - Waits until every participant of a round on this host has written its result file, its unit has failed, or the time
    is over, and returns what they wrote. It changes nothing.
  - A participant that failed or ran out of time is told in its O(results) row and does not fail the task. The report
    over all hosts judges.
options:
  results:
    description: The participants on this host.
    type: list
    elements: dict
    required: true
    suboptions:
      instance:
        description: Name of the instance.
        type: str
        required: true
      unit:
        description: Its systemd unit.
        type: str
        required: true
      path:
        description: The JSON file that it writes, whole, at its end, with the keys of RV(results[].content).
        type: path
        required: true
  timeout:
    description: Seconds to wait for all of them together.
    type: int
    default: 300
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: Returns what is there without waiting.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: It never changes anything.
"""

EXAMPLES = r"""
- name: Wait for the workers
  fedlearn.infra.round_results:
    results:
      - instance: demo-verify-lenet-worker-1
        unit: fedlearn-demo-verify-lenet-worker-1.service
        path: /var/lib/fedlearn-demo-verify-lenet-worker-1/result.json
    timeout: 120
  become: true
"""

RETURN = r"""
results:
  description: A row for each participant, in the order given.
  returned: always
  type: list
  elements: dict
  contains:
    instance:
      description: Name of the instance.
      type: str
      returned: always
    outcome:
      description: V(finished), V(failed) or V(timeout).
      type: str
      returned: always
    detail:
      description: Why there is no result.
      type: str
      returned: always
    seconds:
      description: How long this participant was waited for.
      type: float
      returned: always
    content:
      description:
        - What the participant wrote. C(values), a list of numbers, is what it ended with and is compared with the
          known numbers; where the participant knows them, C(own) is what its own data alone would have given and
          C(samples) how many it trained on. It may say more.
      type: dict
      returned: when it finished
"""

import json
import os
import time

from ansible.module_utils.basic import AnsibleModule

LARGEST_RESULT = 4 * 1024 * 1024  # bytes; a result is a handful of numbers, more is a mistake or an attack
PAUSE = 0.5  # seconds between two looks


def read_result(path: str) -> dict | None:
    """The result as written; None while there is none. Raises ValueError when it is no result."""
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read(LARGEST_RESULT + 1)
    except FileNotFoundError:
        return None
    if len(text) > LARGEST_RESULT:
        raise ValueError(f"{path} is larger than {LARGEST_RESULT} bytes")
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    return content


def failed_units(module: AnsibleModule, units: list[str]) -> set[str]:
    """Those of the units that systemd calls failed."""
    states = module.run_command(["systemctl", "is-failed", "--", *units])[1].split()
    return {unit for unit, state in zip(units, states) if state == "failed"}


def look(participant: dict, failed: set[str]) -> dict | None:
    """The participant's row when it has come to an end, one way or the other."""
    try:
        content = read_result(participant["path"])
    except (ValueError, OSError) as error:
        return {"outcome": "failed", "detail": f"no readable result: {error}"}
    if content is not None:
        return {"outcome": "finished", "detail": "", "content": content}
    if participant["unit"] in failed:
        return {"outcome": "failed", "detail": f"{participant['unit']} failed; see journalctl -u {participant['unit']}"}
    return None


def wait(module: AnsibleModule, participants: list[dict], timeout: float) -> list[dict]:
    """A row for each participant; at the latest after ``timeout`` seconds."""
    start = time.monotonic()
    rows: dict[str, dict] = {}
    while True:
        waiting = [each for each in participants if each["instance"] not in rows]
        failed = failed_units(module, [each["unit"] for each in waiting]) if waiting else set()
        elapsed = round(time.monotonic() - start, 1)
        for each in waiting:
            row = look(each, failed)
            if row is None and elapsed >= timeout:
                row = {"outcome": "timeout", "detail": f"no result at {each['path']} after {timeout} s"}
            if row is not None:
                rows[each["instance"]] = {"instance": each["instance"], "seconds": elapsed, **row}
        if len(rows) == len(participants):
            return [rows[each["instance"]] for each in participants]
        time.sleep(PAUSE)


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(
        argument_spec={
            "results": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "instance": {"type": "str", "required": True},
                    "unit": {"type": "str", "required": True},
                    "path": {"type": "path", "required": True},
                },
            },
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    os.environ["LC_ALL"] = "C"
    timeout = 0 if module.check_mode else module.params["timeout"]
    module.exit_json(changed=False, results=wait(module, module.params["results"], timeout))


if __name__ == "__main__":
    main()
