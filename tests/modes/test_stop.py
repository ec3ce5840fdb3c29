# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook `stop`: what runs ends, and nothing but the document has to be there for it."""

from __future__ import annotations

from deployment import ROOM, Modes
from standing_demo import last_line, recap

DEVICE = {"m1": ("redis", "scheduler"), "m2": ("server-1", "server-1-checkpoints")}
"""What the stack `device` has on each host."""


def states(modes: Modes) -> set[str]:
    """What the stack's units do, and whether they start with their hosts."""
    found = set()
    for host, components in DEVICE.items():
        units = " ".join(f"fedlearn-modes-device-{component}" for component in components)
        asked = modes.run(host, f"for verb in is-active is-enabled; do systemctl $verb {units} || true; done")
        found |= set(asked.split())
    return found


def test_a_stack_is_stopped_without_what_it_was_made_from(modes: Modes) -> None:
    modes.deploy_devices()
    files, processes = modes.files(), modes.processes()
    assert states(modes) == {"active", "enabled"}
    initial, secrets = ROOM / "initial.npz", ROOM / ".secrets"
    for path in (initial, secrets):
        path.rename(path.with_suffix(".away"))
    try:
        foreseen = modes.playbook("fedlearn.infra.stop", "-e", "stack=device", "--check")
        assert recap(foreseen.output)["m2"]["changed"] == 1, foreseen.output[-3000:]
        assert modes.processes() == processes
        stopped = modes.playbook("fedlearn.infra.stop", "-e", "stack=device")
        assert stopped.returncode == 0, stopped.output[-3000:]
        again = modes.playbook("fedlearn.infra.stop", "-e", "stack=device")
    finally:
        for path in (initial, secrets):
            path.with_suffix(".away").rename(path)
    assert {row["changed"] for row in recap(again.output).values()} == {0}
    assert states(modes) == {"inactive", "disabled"}
    assert modes.processes() == {
        host: {unit: pid for unit, pid in found.items() if "device" not in unit} for host, found in processes.items()
    }
    assert modes.files() == files
    status = modes.playbook("fedlearn.infra.status")
    assert status.returncode == 2
    assert last_line(status)["stacks"]["device"]["verdict"] == "unhealthy"
    modes.site()
    assert states(modes) == {"active", "enabled"}
    assert modes.files() == files
    assert modes.playbook("fedlearn.infra.status").returncode == 0
