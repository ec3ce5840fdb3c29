#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the clock action; it runs on the control node only."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: clock
short_description: Measure how far a host's clock is from the control node's
version_added: 0.1.0
author: fedlearn.infra contributors (@fedlearn)
description:
  - Reads the host's clock a few times by C(date), between two looks at the control node's. Each reading says between
    which two numbers the skew is, half a round trip to both sides; all together say it closest.
  - Where they can't all be true the clock jumped meanwhile, and RV(jump_ms) says by how much.
  - Needs no Python on the host and no root. It costs a bare command for each reading.
options:
  readings:
    description: How often to look; a jump needs two.
    type: int
    default: 3
  max_skew_ms:
    description:
      - Fail where the clock is surely farther off, to either side, or jumped by more. Without it the task only tells.
    type: int
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: Looks just the same.
  diff_mode:
    support: none
  idempotent:
    support: full
    details: It never changes anything.
"""

EXAMPLES = r"""
- name: Refuse a clock that is more than a second off
  fedlearn.infra.clock:
    max_skew_ms: 1000
"""

RETURN = r"""
skew_ms:
  description: How many milliseconds the host's clock is ahead of the control node's; negative where it is behind.
  returned: always
  type: float
  sample: -90012.4
give_or_take_ms:
  description: How far from RV(skew_ms) the truth may be.
  returned: always
  type: float
  sample: 2.1
jump_ms:
  description: What the clock jumped by while it was looked at; 0 where it didn't.
  returned: always
  type: float
  sample: 0.0
"""
