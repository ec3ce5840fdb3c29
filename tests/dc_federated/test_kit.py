# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine that no document names takes part by what the playbook `worker_kit` wrote."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment import ROOM, STRANGER, Polls
from standing_demo import recap, until

OTHERS = ROOM / "others.keys"
UNIT = "fedlearn-polls-far-worker.service"
KEY = "/var/lib/fedlearn/polls/keys/polls-far-worker/worker.key"
KIT = ROOM / "kit"


@pytest.fixture(scope="module")
def kit(polls: Polls) -> Iterator[Path]:
    """The kit of stack `far`, and nothing of it on the machine afterwards."""
    done = polls.playbook("fedlearn.infra.worker_kit", "-e", "stack=far", "-e", f"directory={KIT}")
    assert done.returncode == 0, done.output[-3000:]
    yield KIT
    polls.run(STRANGER, f"[ ! -e /root/kit ] || /root/kit/install.sh remove; rm -rf /root/kit {Path(KEY).parent}")
    OTHERS.write_text("# workers of others, one a line\n")
    polls.site("-e", "stack=far")


def send(polls: Polls, kit: Path) -> None:
    """The folder, to root's home on the machine."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(kit, "kit")
    unpack = ["ssh", "-F", str(polls.ssh_config), STRANGER, "sudo tar --no-same-owner -C /root -xf -"]
    subprocess.run(unpack, input=packed.getvalue(), check=True)


def test_a_kit_is_whole_holds_no_secret_and_is_written_once(polls: Polls, kit: Path) -> None:
    files = {path.relative_to(kit).as_posix(): path.read_bytes() for path in kit.rglob("*") if path.is_file()}
    assert {
        "README.md",
        "SHA256SUMS",
        "ca.pem",
        "install.sh",
        "launcher.json",
        "requirements.txt",
        UNIT,
    } <= files.keys()
    checked = subprocess.run(["sha256sum", "--quiet", "--check", "SHA256SUMS"], cwd=kit, check=False)
    assert checked.returncode == 0
    keys = polls.run("p1", f"cat {KEY} /etc/fedlearn/polls/pki/*/key.pem").splitlines()
    canaries = [*polls.secrets().values(), *(line for line in keys if len(line) > 40), "PRIVATE KEY-----"]
    assert len(canaries) > 3
    assert [name for name, text in files.items() for canary in canaries if canary.encode() in text] == []
    again = polls.playbook("fedlearn.infra.worker_kit", "-e", "stack=far", "-e", f"directory={KIT}")
    assert {found["changed"] for found in recap(again.output).values()} == {0}


def test_a_damaged_kit_changes_nothing(polls: Polls, kit: Path) -> None:
    send(polls, kit)
    damage = "cd /root/kit; echo '# by somebody' >>launcher/fedlearn_dc_federated/worker.py; "
    said = polls.run(STRANGER, damage + "./install.sh 2>&1 && echo installed || true; ls /opt /etc/systemd/system")
    assert "these aren't the files that were sent: nothing was changed" in said
    assert "installed" not in said.split()
    assert "fedlearn" not in said.partition("nothing was changed")[2]


def test_its_worker_is_refused_until_its_key_is_known_and_then_takes_part(polls: Polls, kit: Path) -> None:
    send(polls, kit)
    missing = polls.run(STRANGER, "apt-get -qq purge '^python3.*-venv$' >/dev/null; /root/kit/install.sh 2>&1 || true")
    assert missing.startswith(
        "/usr/bin/python3 isn't Python 3.11 or newer with venv (Debian: apt install python3-venv)"
    )
    polls.run(STRANGER, "apt-get -qq update && apt-get -qq install --no-install-recommends python3-venv >/dev/null")
    told = polls.run(STRANGER, "/root/kit/install.sh")
    public = told.splitlines()[-1]
    assert public == polls.run(STRANGER, f"cat {KEY}.pub")
    assert polls.run(STRANGER, f"stat -c '%a %U' {KEY}").split() == ["600", "root"]
    journal = f"journalctl -u {UNIT} --no-pager -n 50"
    refused = until(60, lambda: polls.run(STRANGER, journal), lambda text: "refuses this worker's key" in str(text))
    assert "refuses this worker's key" in refused

    OTHERS.write_text(f"# workers of others, one a line\n{public}\n")
    polls.site("-e", "stack=far")
    connected = "ss -Htn state established '( dport = :443 )' | wc -l"
    assert until(120, lambda: int(polls.run(STRANGER, connected)), lambda count: count >= 1) >= 1
    running = f"systemctl show -p ActiveState --value {UNIT}"
    assert until(60, lambda: polls.run(STRANGER, running).strip(), "active".__eq__) == "active"
    exposure = polls.run(STRANGER, f"systemd-analyze security {UNIT} --no-pager | tail -n1")
    assert float(exposure.split(":")[1].split()[0]) <= 2.5
    again = polls.run(STRANGER, f"/root/kit/install.sh | tail -n1; {running}").split()
    assert again == [public, "active"]  # the key is the machine's, whatever kit it has


def test_removal_leaves_the_key_alone(polls: Polls, kit: Path) -> None:
    polls.run(STRANGER, "/root/kit/install.sh remove")
    left = "find /opt /etc/fedlearn /etc/systemd/system -name '*fedlearn-*' -o -name '*far-worker*'"
    assert polls.run(STRANGER, left) == ""
    assert polls.run(STRANGER, f"test -e {KEY} && echo kept").strip() == "kept"
