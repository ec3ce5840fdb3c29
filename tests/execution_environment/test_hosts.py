# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The demo's federation on hosts of its own, made and verified by AWX's jobs from inside the image.

Tests build on each other: they go on with what the one before left.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.conftest import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from jobs import PASSPHRASE, USER, VAULT, Job, generate, synced
from standing_demo import Demo, recap

HOST_SET = os.environ.get("FEDLEARN_EXECUTION_SET", "execution")
NETWORK = os.environ.get("FEDLEARN_EXECUTION_SUBNET", "10.98.14.0/24").rpartition(".")[0]
ROOM = CHECKOUT / "build" / "hosts" / HOST_SET
NAMES = ("ms1", "ms2", "ms3")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's document with the addresses of these hosts."""
    folder = tmp_path_factory.mktemp("project")
    document = (CHECKOUT / "inventories" / "demo" / "federation.yml").read_text()
    (folder / "federation.yml").write_text(document.replace("10.20.0", NETWORK))
    generate(folder)
    return folder


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    os.chown(folder, USER, USER)
    return folder


@pytest.fixture(scope="module")
def demo(project: Path) -> Demo:
    """How the tests themselves look at the hosts."""
    return Demo(project, NAMES, HOST_SET)


class Awx:
    """Runs jobs, each in a container that keeps nothing but the state folder."""

    def __init__(
        self, room: Path, project: Path, hosts: str, state: Path | None, values: Mapping[str, str] | None = None
    ) -> None:
        self.room, self.project, self.hosts, self.state, self.values = room, project, hosts, state, values
        self.done: list[Job] = []
        known = room / "known_hosts"
        known.write_bytes((ROOM / "known_hosts").read_bytes())
        known.chmod(0o644)
        self.how: dict[str, Any] = {
            "options": ("--network", HOST_SET),
            "more": {known: "/home/runner/.ssh/known_hosts:ro"},
        }

    def job(self, verb: str, *flags: str, hosts: str = "", **answers: Any) -> Job:
        room = self.room / f"job-{len(self.done)}"
        room.mkdir()
        key = (CHECKOUT / "build" / "hosts" / "id_ed25519").read_text()
        given = {"key": key, "values": self.values}
        made = Job(room, self.project, hosts or self.hosts, self.state, verb, *flags, **given, **answers)
        self.done.append(made)
        return made

    def run(self, verb: str, *flags: str, hosts: str = "", **answers: Any) -> Job:
        return self.job(verb, *flags, hosts=hosts, **answers).run(**self.how)

    def good(self, verb: str, *flags: str, hosts: str = "", **answers: Any) -> Job:
        """One that has to end well."""
        ran = self.run(verb, *flags, hosts=hosts, **answers)
        assert ran.rc == 0, ran.stdout[-4000:]
        return ran

    def begin(
        self, verb: str, name: str, *flags: str, hosts: str = "", **answers: Any
    ) -> tuple[Job, subprocess.Popen[bytes]]:
        """One that isn't waited for."""
        made = self.job(verb, *flags, hosts=hosts, **answers)
        how = {**self.how, "options": (*self.how["options"], "--name", name)}
        return made, subprocess.Popen(made.command(**how), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def awx(tmp_path_factory: pytest.TempPathFactory, project: Path, state: Path) -> Awx:
    return Awx(tmp_path_factory.mktemp("jobs"), project, synced(project), state)


def slice_of(hosts: str, number: int, count: int) -> str:
    """What AWX gives the job of one slice: every so many of the hosts, and of groups and variables only theirs."""
    whole: dict[str, Any] = json.loads(hosts)
    kept = set(sorted(whole["_meta"]["hostvars"])[number::count])
    cut = {
        name: {**group, "hosts": [host for host in group.get("hosts", []) if host in kept]}
        for name, group in whole.items()
        if name != "_meta"
    }
    variables = {host: values for host, values in whole["_meta"]["hostvars"].items() if host in kept}
    return json.dumps({**cut, "_meta": {"hostvars": variables}})


def of_cas(state: Path) -> dict[Path, bytes]:
    """What is kept of CAs; a lock says who had it last."""
    found = (path for path in state.rglob("*") if ".ca" in path.parts and path.is_file())
    return {path: path.read_bytes() for path in found if path.suffix != ".lock"}


def changes(job: Job) -> int:
    return sum(counts["changed"] for counts in recap(re.sub(r"\x1b\[[0-9;]*m", "", job.stdout)).values())


def until(what: Callable[[], bool], seconds: int = 180) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_the_workflow_s_steps_end_in_a_verified_federation(awx: Awx, state: Path) -> None:
    awx.good("secrets")
    awx.good("precheck")
    awx.good("site")
    awx.good("verify", verify="round")
    status = awx.good("status")
    told = [event.get("event_data", {}).get("artifact_data", {}) for event in status.events()]
    (found,) = [each["fedlearn_status"] for each in told if "fedlearn_status" in each]
    assert found["verdict"] == "ok"
    assert [path for path, content in of_cas(state).items() if b"PRIVATE KEY" in content]


def test_a_later_job_changes_nothing_and_makes_no_other_ca(awx: Awx, state: Path, demo: Demo) -> None:
    files, processes = demo.files(), demo.processes()
    keys = of_cas(state)
    assert changes(awx.good("site")) == 0
    assert of_cas(state) == keys
    assert (demo.files(), demo.processes()) == (files, processes)


def test_the_check_and_the_diff_mode_tell_and_touch_nothing(awx: Awx, demo: Demo) -> None:
    demo.run("ms2", "echo '# by hand' >> /etc/systemd/system/fedlearn-demo-lenet-server-1.service")
    files = demo.files()
    foreseen = awx.good("site", "--check", "--diff", "--limit", "ms2")
    assert "by hand" in foreseen.stdout
    assert demo.files() == files
    awx.good("site", "--limit", "ms2")
    assert demo.files() != files


def test_three_slices_end_in_the_same_files_as_one_run(awx: Awx, demo: Demo) -> None:
    files = demo.files()
    awx.good("remove")
    assert demo.files() != files
    for number in range(3):
        awx.good("site", hosts=slice_of(awx.hosts, number, 3))
    left = {host: re.sub(r"(?m)^.*(/pki/|\.former|secret).*\n", "", rows) for host, rows in demo.files().items()}
    before = {host: re.sub(r"(?m)^.*(/pki/|\.former|secret).*\n", "", rows) for host, rows in files.items()}
    assert left == before
    assert changes(awx.good("site")) == 0


def test_a_job_that_is_cancelled_is_finished_by_the_next(awx: Awx, demo: Demo) -> None:
    files = demo.files()
    awx.good("remove", "--limit", "ms2")
    job, running = awx.begin("site", "fedlearn-cancelled")
    try:
        until(lambda: "fedlearn-demo-lenet-server-1" in demo.run("ms2", "ls /etc/systemd/system"))
        subprocess.run(["docker", "kill", "--signal", "TERM", "fedlearn-cancelled"], check=True, capture_output=True)
        time.sleep(3)
    finally:
        subprocess.run(["docker", "kill", "fedlearn-cancelled"], check=False, capture_output=True)
        running.wait(60)
    assert job.events()[-1]["event"] != "playbook_on_stats"
    awx.good("site")
    paths = {host: {row.split()[0] for row in rows.splitlines()} for host, rows in demo.files().items()}
    assert paths == {host: {row.split()[0] for row in rows.splitlines()} for host, rows in files.items()}
    awx.good("status")


def test_two_templates_at_once_both_end_well(awx: Awx) -> None:
    first, running = awx.begin("site", "fedlearn-first")
    second = awx.run("verify", verify="round")
    running.wait(900)
    assert (first.rc, second.rc) == (0, 0), first.stdout[-2000:] + second.stdout[-2000:]


def test_a_fact_cache_changes_nothing(awx: Awx) -> None:
    cached = awx.job("site")
    environment = {
        "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": "/runner/artifacts/job/fact_cache",
    }
    cached.run(**awx.how, **environment)
    assert cached.rc == 0, cached.stdout[-3000:]
    assert changes(cached) == 0


def test_no_event_of_any_job_has_a_secret(awx: Awx, state: Path) -> None:
    # the demo has no secret in its vault; of its CAs' keys a line each, encrypted though they are
    keys = [content.decode().splitlines()[2] for content in of_cas(state).values() if b"PRIVATE KEY" in content]
    found = [VAULT, PASSPHRASE, *keys]
    assert len(found) > 2
    told = "".join(job.left() for job in awx.done)
    assert sum(len(job.events()) for job in awx.done) > 500
    assert [value for value in found if value in told] == []
    assert f"{NETWORK}.12" in told  # what is there would be found
    print(f"{sum(len(job.events()) for job in awx.done)} events of {len(awx.done)} jobs searched")
