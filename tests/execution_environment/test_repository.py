# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""AWX's jobs on the demo's hosts, each in a container of its own that keeps nothing but a git repository.

The git server is one of the hosts, reached by a deploy key. Tests build on each other.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.conftest import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from jobs import PASSPHRASE, VAULT, generate, synced
from standing_demo import Demo
from test_hosts import HOST_SET, NAMES, NETWORK, ROOM, Awx, changes, slice_of

SERVER = f"{NETWORK}.11"
HOME = "/srv/state.git"
URL = f"ssh://git@{SERVER}{HOME}"
BRANCH = "fedlearn-state"
PREPARE = f"""set -eu
export DEBIAN_FRONTEND=noninteractive
command -v git >/dev/null || {{ apt-get update -q; apt-get install -q -y --no-install-recommends git; }} >/dev/null
id git >/dev/null 2>&1 || useradd --system --create-home --shell "$(command -v git-shell)" git
usermod -p '*' git
rm -rf {HOME}
su -s /bin/sh git -c 'mkdir -p ~/.ssh' && install -o git -g git -d {HOME}
su -s /bin/sh git -c 'git init --quiet --bare {HOME}'
echo KEY >~git/.ssh/authorized_keys
chown -R git:git ~git/.ssh
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's document with the addresses of these hosts."""
    folder = tmp_path_factory.mktemp("project")
    document = (CHECKOUT / "inventories" / "demo" / "federation.yml").read_text()
    (folder / "federation.yml").write_text(document.replace("10.20.0", NETWORK))
    generate(folder, URL)
    return folder


@pytest.fixture(scope="module")
def demo(project: Path) -> Demo:
    """How the tests themselves look at the hosts."""
    return Demo(project, NAMES, HOST_SET)


@pytest.fixture(scope="module")
def deploy_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "deploy"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def awx(tmp_path_factory: pytest.TempPathFactory, project: Path, demo: Demo, deploy_key: Path) -> Iterator[Awx]:
    public = deploy_key.with_suffix(".pub").read_text().strip()
    demo.run("ms1", PREPARE.replace("KEY", f"'restrict {public}'"))
    known = (ROOM / "known_hosts").read_text()
    lines = [line for line in known.splitlines() if SERVER in line.split()[0]]
    assert lines, known
    # as somebody may enter it: without a line break at its end
    values = {"key": deploy_key.read_text().rstrip("\n"), "known_hosts": "\n".join(lines)}
    yield Awx(tmp_path_factory.mktemp("jobs"), project, synced(project), None, values)
    demo.run("ms1", f"rm -rf {HOME}")


def kept(demo: Demo) -> dict[str, str]:
    """What is in the repository, each file by its sum."""
    told = demo.run("ms1", f"su -s /bin/sh git -c 'git -C {HOME} ls-tree -r {BRANCH}'")
    rows = (line.split(maxsplit=3) for line in told.splitlines())
    return {name: content for _mode, _type, content, name in rows}


def content(demo: Demo, name: str) -> str:
    return demo.run("ms1", f"su -s /bin/sh git -c 'git -C {HOME} show {BRANCH}:{name}'")


def of_cas(demo: Demo) -> dict[str, str]:
    """Keys and certificates of CAs."""
    return {name: content for name, content in kept(demo).items() if name.endswith((".key", "public/lab/lab.pem"))}


def noted(demo: Demo) -> set[str]:
    """Serial numbers in the register, of any CA."""
    names = [name for name in kept(demo) if ".issued/" in name]
    return set(re.findall(r'"serial": "([0-9A-F]+)"', "".join(content(demo, name) for name in names)))


def installed(demo: Demo) -> set[str]:
    """Serial numbers of the certificates on hosts."""
    look = "for f in /etc/fedlearn/demo/pki/*/cert.pem; do openssl x509 -noout -serial -in $f; done"
    return {line.partition("=")[2] for host in NAMES for line in demo.run(host, look).splitlines()}


def test_a_first_deploy_leaves_a_ca_and_its_register_in_the_repository_alone(awx: Awx, demo: Demo) -> None:
    awx.good("secrets")
    awx.good("precheck")
    awx.good("site")
    awx.good("status")
    found = kept(demo)
    assert {".ca/lab/lab.key", "public/lab/lab.pem"} <= set(found)
    assert {name.partition("/")[0] for name in found} <= {".ca", ".secrets", "public"}
    assert content(demo, ".ca/lab/lab.key").startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert installed(demo)
    assert installed(demo) <= noted(demo)
    assert not any(job.state for job in awx.done)


def test_a_later_job_changes_nothing(awx: Awx, demo: Demo) -> None:
    before, files = kept(demo), demo.files()
    assert changes(awx.good("site")) == 0
    assert (kept(demo), demo.files()) == (before, files)


def test_a_renewal_is_of_the_same_ca_and_written_down(awx: Awx, demo: Demo) -> None:
    keys, before = of_cas(demo), installed(demo)
    awx.good("rotate", what="certificates")
    assert of_cas(demo) == keys
    assert installed(demo) & before == set()
    assert before | installed(demo) <= noted(demo)


def test_three_slices_one_after_the_other_have_the_same_ca(awx: Awx, demo: Demo) -> None:
    keys = of_cas(demo)
    awx.good("remove")
    for number in range(3):
        awx.good("site", hosts=slice_of(awx.hosts, number, 3))
    assert of_cas(demo) == keys
    assert installed(demo) <= noted(demo)


def test_three_slices_at_once_on_an_empty_repository_have_one_ca_and_lose_no_certificate(awx: Awx, demo: Demo) -> None:
    """Certificates alone: a slice's server wouldn't wait for another's Redis."""
    awx.good("remove")
    demo.run("ms1", f"su -s /bin/sh git -c 'git -C {HOME} update-ref -d refs/heads/{BRANCH}'")
    awx.good("secrets")
    begun = [
        awx.begin("site", f"fedlearn-slice-{number}", "--tags", "pki", hosts=slice_of(awx.hosts, number, 3))
        for number in range(3)
    ]
    for job, running in begun:
        running.wait(900)
        assert job.rc == 0, job.stdout[-4000:]
    keys = of_cas(demo)
    assert installed(demo)
    assert installed(demo) <= noted(demo)
    awx.good("site")
    assert of_cas(demo) == keys
    awx.good("status")


def test_a_job_that_is_cancelled_is_finished_by_the_next_with_the_same_ca(awx: Awx, demo: Demo) -> None:
    keys, before = of_cas(demo), installed(demo)
    _job, running = awx.begin("rotate", "fedlearn-cancelled", what="certificates")
    try:
        for _try in range(600):
            if installed(demo) != before:
                break
            time.sleep(0.2)
    finally:
        subprocess.run(["docker", "kill", "fedlearn-cancelled"], check=False, capture_output=True)
        running.wait(60)
    awx.good("site")
    assert of_cas(demo) == keys
    assert installed(demo) <= noted(demo)


def test_no_job_tells_the_deploy_key_and_those_that_keep_nothing_have_none(awx: Awx, deploy_key: Path) -> None:
    with_key, without = awx.good("secrets"), awx.good("flows")
    assert "template.key" in {path.name for path in (with_key.room / "env").iterdir()}
    assert "template.key" not in {path.name for path in (without.room / "env").iterdir()}
    lines = deploy_key.read_text().splitlines()[1:-1]
    told = "".join(job.left() for job in awx.done)
    assert "Fetch it where it is a repository" in told  # what is there would be found
    assert [value for value in (VAULT, PASSPHRASE, *lines) if value in told] == []
