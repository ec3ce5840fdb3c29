# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The very first run of site, killed on a host that has nothing: the next one ends where an undisturbed one does."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from standing_demo import CHECKOUT, HOSTS_PY, Demo, recap

ROOM = CHECKOUT / "build" / "first"
TASK = "TASK ["
MOMENTS = [(seed + random.Random(seed).random()) / 4 for seed in range(4)]
"""One in each quarter of a run."""

# Units of ours and nginx's with what they do and whether a boot starts them; every file with mode, owner and content;
# programs, and what is noted of services. What a worker does depends on how far its training is.
LOOK = r"""
for unit in $(cd /etc/systemd/system && ls -d fedlearn-*.service) nginx.service; do
    case $unit in *worker*) doing=;; *) doing=$(systemctl is-active $unit);; esac
    echo "$unit $doing $(systemctl is-enabled $unit)"
done
find /etc/fedlearn /etc/nginx/conf.d /etc/systemd/system /etc/security/limits.d /etc/sysctl.d -type f ! -name '*.lock' \
    -printf '%p %m %U:%G ' -exec sha256sum {} \; | sort
ls -Ad /opt/fedlearn/*/* /var/lib/fedlearn/first/*/*
"""

# Of each certificate: does it belong to its key, is it of the CA beside it, and does its bundle open.
FIT = r"""
cd /etc/fedlearn/first/pki
for name in *; do
    test "$(openssl pkey -in $name/key.pem -pubout)" = "$(openssl x509 -in $name/cert.pem -noout -pubkey)"
    openssl verify -CAfile $name/ca.pem $name/cert.pem > /dev/null
    ! test -e $name/bundle.password || openssl pkcs12 -in $name/bundle.p12 -passin file:$name/bundle.password -noout
    echo $name
done
"""


KEYS = r"""
cd /etc/fedlearn/first/pki 2> /dev/null || exit 0
for certificate in */cert.pem; do
    ! test -e $certificate || sha256sum $(dirname $certificate)/key.pem
done
"""


@dataclass(frozen=True)
class Deployed:
    """What a first deploy ends in, and how many tasks its run had."""

    look: list[str]
    owned: dict[str, Any]
    public: list[str]
    tasks: int


class First(Demo):
    """One host that is made anew as often as asked, with a control node that knows nothing yet."""

    def __init__(self) -> None:
        super().__init__(ROOM, ("f1",), "first", ROOM / "vault-pass")

    @property
    def document(self) -> Path:
        return ROOM / "federation.yml"

    def fresh(self) -> None:
        """No host of before, no CA, no secret but those that are made now."""
        # a connection that persists leads to the host that was
        self.connections = tempfile.TemporaryDirectory(prefix="fedlearn-first-")
        self.environment["ANSIBLE_SSH_CONTROL_PATH_DIR"] = self.connections.name
        subprocess.run([*HOSTS_PY, "down", "first"], check=True)
        subprocess.run(
            [*HOSTS_PY, "up", "--suite", "bullseye", "--subnet", "10.98.15.0/24", "first", "f1=10.98.15.11"], check=True
        )
        shutil.rmtree(ROOM, ignore_errors=True)
        ROOM.mkdir(parents=True)
        self.vault_password.write_text("known to this test\n")
        shutil.copy(Path(__file__).with_name("federation.yml"), ROOM)
        self.beside(ROOM, state=False)
        made = self.playbook("fedlearn.infra.secrets")
        assert made.returncode == 0, made.output[-3000:]

    def public(self) -> dict[str, str]:
        """Every certificate of a CA, and its digest."""
        found = (ROOM / "public").rglob("*.pem")
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    def keys(self) -> set[str]:
        """Digest and path of every key on the host that already has its certificate."""
        return set(self.run("f1", KEYS).splitlines())

    def deployed(self, tasks: int) -> Deployed:
        """What stands now; everything is well, and certificates, keys and bundles fit each other."""
        self.becomes_healthy(self.document)
        owned = json.loads(self.run("f1", "cat /var/lib/fedlearn/first/owned.json"))
        assert len(self.run("f1", f"set -e\n{FIT}").split()) == 7
        rows = self.run("f1", LOOK).splitlines()
        # keys and certificates are others each time: they are there, with mode and owner
        look = [" ".join(row.split()[:3]) if "/pki/" in row else row for row in rows]
        return Deployed(look, owned, sorted(self.public()), tasks)


@pytest.fixture(scope="module")
def first() -> First:
    return First()


@pytest.fixture(scope="module")
def undisturbed(first: First) -> Deployed:
    first.fresh()
    return first.deployed(first.site(inventory=first.document).output.count(TASK))


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: f"{moment:.0%}")
def test_a_first_site_that_was_killed_is_finished_by_the_next(
    first: First, undisturbed: Deployed, tmp_path: Path, moment: float
) -> None:
    first.fresh()
    secrets, log = first.secrets(), tmp_path / "log"
    with first.start("site.yml", first.document, log) as process:
        while process.poll() is None and log.read_text().count(TASK) < moment * undisturbed.tasks:
            time.sleep(0.05)
        process.kill()
    assert process.returncode == -9, "the run was over before it was killed"
    authorities, keys = first.public(), first.keys()
    first.site(inventory=first.document)
    found = first.deployed(undisturbed.tasks)
    assert found == undisturbed
    # what was there is used and not made anew
    assert authorities.items() <= first.public().items()
    assert keys <= first.keys()
    assert first.secrets() == secrets
    again = first.site(inventory=first.document)
    assert {row["changed"] for row in recap(again.output).values()} == {0}
