# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of site that are killed: the next one ends where an undisturbed one does."""

from __future__ import annotations

import random
import signal
import time

from standing_demo import Changed, Demo


def test_site_killed_at_seeded_moments_is_finished_by_the_next(demo: Demo, document: Changed) -> None:
    """The controller is killed while it brings a change; the next run ends where an undisturbed one does."""
    changed = document("fl_iteration_num: 3", "fl_iteration_num: 5")
    whole = demo.playbook("site.yml", inventory=changed)
    assert whole.returncode == 0, whole.output
    undisturbed = demo.files()
    moments = random.Random(20)
    for index in range(20):
        back = (demo.inventory / "federation.yml") if index % 2 == 0 else changed
        with demo.start("site.yml", inventory=back) as process:
            time.sleep(moments.uniform(2, 25))
            process.send_signal(signal.SIGKILL)
        finished = demo.playbook("site.yml", inventory=changed)
        assert finished.returncode == 0, finished.output[-3000:]
        assert demo.files() == undisturbed
    healthy_now = demo.playbook("fedlearn.infra.status", inventory=changed)
    assert healthy_now.returncode == 0, healthy_now.output[-3000:]
