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

from jobs import PASSPHRASE, USER, VAULT, Job, configuration, generate, synced
from standing_demo import Demo, recap

HOST_SET = os.environ.get("FEDLEARN_EXECUTION_SET", "execution")
NETWORK = os.environ.get("FEDLEARN_EXECUTION_SUBNET", "10.98.14.0/24").rpartition(".")[0]
ROOM = CHECKOUT / "build" / "hosts" / HOST_SET
NAMES = ("ms1", "ms2", "ms3")
NEXT = """\
- name: Read what the step before found
  hosts: ms1
  gather_facts: false
  tasks:
    - name: Tell it
      ansible.builtin.debug:
        msg: "found {{ fedlearn_status.verdict }} by {{ fedlearn_status.stacks | join(' ') }}"
"""
"""A step of a user's own workflow."""
STORE = f"""
cd /etc/fedlearn/demo/pki/demo-lenet-scheduler-store
redis-cli -h {NETWORK}.11 -p 23456 --tls --cacert ca.pem --cert cert.pem --key key.pem"""
TRUSTED = "sha256sum /etc/fedlearn/demo/pki/*/ca.pem"
HOOK = "/run/fedlearn-test-kill"
WAITING = "ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c ' /run/fedlearn/lock$' || true"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's document with the addresses of these hosts."""
    folder = tmp_path_factory.mktemp("project")
    document = (CHECKOUT / "inventories" / "demo" / "federation.yml").read_text().replace("10.20.0", NETWORK)
    keeps = document.replace("redis: {host: ms1}", "redis: {host: ms1, persistence: aof}")
    assert keeps != document
    (folder / "federation.yml").write_text(keeps)
    (folder / "next.yml").write_text(NEXT)
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
        how = {**self.how, "options": (*self.how["options"], "--name", name, "--hostname", name)}
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


def artifact(status: Job) -> Any:
    """What a job of status leaves for the next step."""
    told = [event.get("event_data", {}).get("artifact_data", {}) for event in status.events()]
    (found,) = [each["fedlearn_status"] for each in told if "fedlearn_status" in each]
    return found


def test_the_workflow_s_steps_end_in_a_verified_federation(awx: Awx, state: Path, demo: Demo) -> None:
    awx.good("secrets")
    awx.good("precheck")
    clean = demo.files()
    assert changes(awx.good("site", "--check", "--diff")) > 10
    assert demo.files() == clean
    awx.good("site")
    awx.good("verify", verify="round")
    assert artifact(awx.good("status"))["verdict"] == "ok"
    after_a_failure = awx.run("status", after_failure="true")
    assert (after_a_failure.rc, artifact(after_a_failure)["verdict"]) == (2, "ok")
    assert "what came before failed; status itself is ok" in after_a_failure.stdout
    awx.good("flows")
    assert [path for path, content in of_cas(state).items() if b"PRIVATE KEY" in content]


def test_what_status_found_is_read_by_a_workflow_s_next_step(awx: Awx) -> None:
    """AWX gives it as a variable. Everything was told to stop, so this isn't what a step finds by itself."""
    awx.good("stop")
    stopped = awx.run("status")
    assert (stopped.rc, artifact(stopped)["verdict"]) == (2, "unhealthy")
    following = awx.job("flows", fedlearn_status=artifact(stopped))
    following.playbook = "next.yml"
    following.run(**awx.how)
    assert "found unhealthy by lenet" in following.stdout


def test_what_was_stopped_is_there_again_after_site(awx: Awx, demo: Demo) -> None:
    files = demo.files()
    assert {unit for units in demo.processes().values() for unit in units} == {"nginx.service"}
    awx.good("site")
    assert "fedlearn-demo-lenet-server-1.service" in demo.processes()["ms2"]
    assert demo.files() == files
    assert artifact(awx.good("status"))["verdict"] == "ok"


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


def test_the_next_ca_signs_and_the_former_is_trusted_no_more(awx: Awx, state: Path, demo: Demo) -> None:
    former = of_cas(state)
    trusted = demo.run("ms2", TRUSTED)
    awx.good("rotate", what="ca")
    assert of_cas(state) != former
    assert demo.run("ms2", TRUSTED) != trusted
    assert artifact(awx.good("status"))["verdict"] == "ok"


def test_three_slices_end_in_the_same_files_as_one_run(awx: Awx, demo: Demo) -> None:
    """Where data are: a server that has none waits for the others', which come with a later slice."""
    files = demo.files()
    awx.good("remove")
    assert demo.files() != files
    for number in range(3):
        awx.good("site", hosts=slice_of(awx.hosts, number, 3))
    left = {host: re.sub(r"(?m)^.*(/pki/|\.former|secret).*\n", "", rows) for host, rows in demo.files().items()}
    before = {host: re.sub(r"(?m)^.*(/pki/|\.former|secret).*\n", "", rows) for host, rows in files.items()}
    assert left == before
    assert changes(awx.good("site")) == 0


def test_a_backup_brings_data_back_that_were_removed(awx: Awx, demo: Demo) -> None:
    demo.run("ms1", f"{STORE} SET mark kept")
    awx.good("backup")
    awx.good("remove", fedlearn_remove_data="true")
    awx.good("site")
    assert demo.run("ms1", f"{STORE} GET mark").strip() == ""
    awx.good("restore")
    assert demo.run("ms1", f"{STORE} GET mark").strip() == "kept"


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


def waits_of(job: Job) -> list[str]:
    """What its events say of runs that it waited for."""
    told = [event.get("event_data", {}).get("res", {}).get("warnings", []) for event in job.events()]
    return [text for texts in told for text in texts if "another run" in text]


def test_of_two_templates_at_once_one_waits_and_names_the_other(awx: Awx, demo: Demo) -> None:
    """The first is held where it has the host's lock until the second stands before it."""
    demo.run("ms2", f"echo hold locked > {HOOK}")
    first, running = awx.begin("site", "fedlearn-first")
    try:
        until(lambda: int(demo.run("ms2", WAITING)) == 1)
        second, other = awx.begin("verify", "fedlearn-second", verify="round")
        until(lambda: int(demo.run("ms2", WAITING)) == 2)
    finally:
        demo.run("ms2", f"rm -f {HOOK}")
        running.wait(900)
    other.wait(900)
    assert (first.rc, second.rc) == (0, 0), first.stdout[-2000:] + second.stdout[-2000:]
    waited = [text for job, name in ((first, "second"), (second, "first")) for text in waits_of(job) if name in text]
    assert re.search(
        r"waited [\d.]+ s for another run, .*: process \d+ since .* on fedlearn-(first|second)", str(waited)
    )


def test_a_fact_cache_changes_nothing(awx: Awx) -> None:
    cached = awx.job("site")
    environment = {
        "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": "/runner/artifacts/job/fact_cache",
    }
    cached.run(**awx.how, **environment)
    assert cached.rc == 0, cached.stdout[-3000:]
    assert changes(cached) == 0


def test_each_template_was_executed(awx: Awx, project: Path) -> None:
    generated = {each["playbook"] for each in configuration(project)["controller_templates"]}
    assert {job.playbook for job in awx.done if job.went_well} & generated == generated
    assert len(generated) == 11


def test_no_event_of_any_job_has_a_secret(awx: Awx, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # the demo has no secret in its vault; of its CAs' keys a line each, encrypted though they are
    keys = [content.decode().splitlines()[2] for content in of_cas(state).values() if b"PRIVATE KEY" in content]
    found = [VAULT, PASSPHRASE, *keys]
    assert len(found) > 2
    told = "".join(job.left() for job in awx.done)
    assert sum(len(job.events()) for job in awx.done) > 500
    assert [value for value in found if value in told] == []
    assert f"{NETWORK}.12" in told  # what is there would be found
    with capsys.disabled():
        print(f"\n{sum(len(job.events()) for job in awx.done)} events of {len(awx.done)} jobs searched")
