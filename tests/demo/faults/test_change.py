# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands in the way of a change, and hosts that were changed by hand: what runs goes on, the message says why."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import yaml
from standing_demo import FILES, ITERATIONS, SERVERS, WORKER, Changed, Demo, last_line, recap, until

SERVER = "fedlearn-demo-lenet-server-1"
PID = f"systemctl show -p MainPID --value {SERVER}"


def test_what_is_changed_by_hand_is_reported_and_repaired(demo: Demo) -> None:
    before = demo.files()
    services = json.loads(demo.run("ms2", "cat /var/lib/fedlearn/demo/owned.json"))["services"]
    paths = sorted({path for service in services.values() for path in service["files"]})
    assert len(paths) >= 5
    for path in paths:
        demo.run("ms2", f"echo '# by hand' >> {path}")
    checked = demo.playbook("site.yml", "--check", "--diff", "--limit", "ms2")
    assert checked.returncode == 0, checked.output[-3000:]
    assert [path for path in paths if path not in checked.output] == []
    status = demo.playbook("fedlearn.infra.status")
    assert status.returncode == 2
    ms2 = last_line(status)["stacks"]["lenet"]["hosts"]["ms2"]
    assert (ms2["verdict"], {row["state"] for row in ms2["unwell"]}) == ("drift", {"differing"})
    told = " ".join(row["reason"] for row in ms2["unwell"])
    assert [path for path in paths if path not in told] == []
    demo.site("--limit", "ms2")
    assert demo.files() == before
    demo.becomes_healthy()


def test_redis_away_leaves_what_runs(demo: Demo, document: Changed) -> None:
    before, pid = demo.run("ms2", FILES), demo.run("ms2", PID)
    assert int(pid)
    changed = document((ITERATIONS, "fl_iteration_num: 4"))
    demo.run("ms1", "systemctl stop fedlearn-demo-lenet-redis")
    try:
        failed = demo.playbook("site.yml", "--limit", "ms2", inventory=changed)
        status = demo.playbook("fedlearn.infra.status")
    finally:
        demo.run("ms1", "systemctl start fedlearn-demo-lenet-redis")
    assert status.returncode == 2
    ms1 = last_line(status)["stacks"]["lenet"]["hosts"]["ms1"]
    stopped = [row["name"] for row in ms1["unwell"] if row["state"] == "stopped"]
    assert (ms1["verdict"], stopped) == ("unhealthy", ["demo-lenet-redis"])
    assert failed.returncode == 2, failed.output[-3000:]
    assert "ms2: demo-lenet-server-1: a look at what servers share refused the new configuration" in failed.output
    assert "Redis at 10.20.0.11:23456 doesn't answer" in failed.output
    assert "rolled back, the former service is running" in failed.output
    assert demo.run("ms2", FILES) == before
    assert demo.run("ms2", PID) == pid


def test_a_program_that_ends_at_once_is_rolled_back_with_its_last_words(demo: Demo, tmp_path: Path) -> None:
    """The server gets another certificate's password: nothing but the program itself can tell."""
    demo.beside(tmp_path)
    (tmp_path / "federation.yml").symlink_to(demo.inventory / "federation.yml")
    (tmp_path / "host_vars").mkdir()
    instances = demo.variables("ms2")["mindspore_server_instances"]
    wrong = "/etc/fedlearn/demo/pki/demo-lenet-worker/bundle.password"
    instances[0]["tls"]["password"] = wrong
    values = {**demo.ssh(), "mindspore_server_instances": instances}
    (tmp_path / "host_vars" / "ms2.yml").write_text(yaml.safe_dump(values))
    before = demo.run("ms2", FILES)
    failed = demo.playbook("site.yml", "--limit", "ms2", inventory=tmp_path / "federation.yml")
    assert failed.returncode == 2, failed.output[-3000:]
    assert f"ms2: demo-lenet-server-1: {SERVER}.service is " in failed.output
    assert "rolled back, the former service is running" in failed.output
    assert "journal: " in failed.output
    assert "PKCS12_parse failed" in failed.output
    passwords = demo.run("ms2", "cat /etc/fedlearn/demo/pki/*/*.password").split()
    assert passwords
    assert [password for password in passwords if password in failed.output] == []
    assert demo.run("ms2", FILES) == before
    demo.becomes_healthy()


PORT = (SERVERS, "servers: {hosts: [ms2, ms3], port: 6680}")
BOUND = 'import socket, time; held = socket.socket(); held.bind(("10.20.0.12", 6680)); time.sleep(900)'
"""Has a port without listening on it, so that only who starts there finds out."""


def test_a_port_of_servers_behind_the_proxy_changes_without_a_request_that_fails(demo: Demo, document: Changed) -> None:
    with demo.asked() as answers:
        demo.site(inventory=document(PORT))
    assert set(answers) == {"404"}
    site = demo.run("ms1", "cat /etc/nginx/conf.d/fedlearn-demo-lenet-proxy.conf")
    assert re.findall(r"^    server (\S+) ", site, re.MULTILINE) == ["10.20.0.12:6680", "10.20.0.13:6680"]


def test_the_proxy_leads_to_servers_that_could_not_take_their_new_port(demo: Demo, document: Changed) -> None:
    before, pid = demo.run("ms2", FILES), demo.run("ms2", PID)
    changed = document(PORT)
    demo.run("ms2", "systemd-run --unit=taken python3 -m http.server --bind 10.20.0.12 6680")
    try:
        failed = demo.playbook("site.yml", inventory=changed)
        with demo.asked() as answers:
            until(60, lambda: len(answers), lambda count: count >= 50)
    finally:
        demo.run("ms2", "systemctl stop taken")
    assert failed.returncode == 2, failed.output[-3000:]
    assert "ms2: demo-lenet-server-1: " in failed.output
    holder = r"python3, process \d+, taken.service"
    told = rf"port 6680 is held by another program \({holder}\): end it, or choose another port; nothing was changed"
    assert re.search(told, failed.output)
    assert (demo.run("ms2", FILES), demo.run("ms2", PID)) == (before, pid)
    assert set(answers) == {"404"}
    demo.site(inventory=changed)
    assert demo.run("ms2", "ss -Hltn 'sport = :6680'")


def test_a_wiped_server_finds_its_checkpoint_after_another_model_s_name_was_rolled_back(
    demo: Demo, document: Changed
) -> None:
    lay_over = (ITERATIONS, f"{ITERATIONS}\n      fl_name: other")
    demo.run("ms2", f"systemd-run --unit=taken python3 -c '{BOUND}'")
    try:
        failed = demo.playbook("site.yml", inventory=document(PORT, lay_over))
    finally:
        demo.run("ms2", "systemctl stop taken")
    assert failed.returncode == 2, failed.output[-3000:]
    assert "rolled back, the former service is running" in failed.output
    demo.run("ms2", f"systemctl stop {SERVER}; rm /var/lib/private/{SERVER}/checkpoints/*; systemctl start {SERVER}")
    said = f"journalctl -q -o cat -u {SERVER} _SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID {SERVER})"
    began = until(60, lambda: demo.run("ms2", said), lambda text: "going on from" in str(text))
    assert "going on from lenet_recovery_iteration_" in str(began)
    assert "starting from the initial weights" not in str(began)
    demo.site()


def test_a_full_disk_leaves_what_runs(demo: Demo) -> None:
    """Nothing more fits where programs are installed, and they have to be: what is there can't be seen."""
    before, pid = demo.run("ms2", FILES), demo.run("ms2", PID)
    demo.run("ms2", "mount -t tmpfs -o size=1m,mode=0755 none /opt/fedlearn")
    try:
        failed = demo.playbook("site.yml", "--limit", "ms2")
    finally:
        demo.run("ms2", "umount /opt/fedlearn")
    assert failed.returncode == 2, failed.output[-3000:]
    assert "/opt/fedlearn/mindspore-light: the file system is full, " in failed.output
    assert demo.run("ms2", FILES) == before
    assert demo.run("ms2", PID) == pid
    assert recap(demo.site("--limit", "ms2").output)["ms2"]["changed"] == 0


NO_MODEL = b"no model at all"


def with_no_model(document: Changed, sum_of: bytes) -> Path:
    """The document with an initial model that is none, told with the sum of some bytes."""
    told = hashlib.sha256(sum_of).hexdigest()
    changed = document(
        (SERVERS, f"servers: {{hosts: [ms2, ms3], initial_model: {{source: model.npz, sha256: {told}}}}}")
    )
    (changed.parent / "model.npz").write_bytes(NO_MODEL)
    return changed


def test_a_model_of_another_sum_is_refused_before_anything_starts(demo: Demo, document: Changed) -> None:
    before, processes = demo.files(), demo.processes()
    failed = demo.playbook("site.yml", inventory=with_no_model(document, sum_of=b"another"))
    assert failed.returncode == 2, failed.output[-3000:]
    assert "model.npz" in failed.output
    assert demo.files() == before
    assert demo.processes() == processes


def test_a_model_that_is_none_is_refused_before_any_host_is_touched(demo: Demo, document: Changed) -> None:
    before, processes = demo.files(), demo.processes()
    failed = demo.playbook("site.yml", inventory=with_no_model(document, sum_of=NO_MODEL))
    assert failed.returncode == 2, failed.output[-3000:]
    assert "model.npz: it is no complete archive of NumPy's arrays" in failed.output
    assert {counts["changed"] for counts in recap(failed.output).values()} == {0}
    assert demo.files() == before
    assert demo.processes() == processes


def test_an_orphan_is_reported_and_pruned_and_its_data_stay(demo: Demo, tmp_path: Path) -> None:
    """A worker that moved to another host; coming back it gets a new key, since an orphan's is removed."""
    with demo.changing(tmp_path, made_anew="/etc/fedlearn/demo/pki/demo-lenet-worker/") as document:
        changed = document(("workers: {hosts: [ms2, ms3]}", "workers: {hosts: [ms2, ms1]}"))
        moved = demo.site(inventory=changed)
        assert "demo-lenet-worker-1" in demo.run("ms1", "ls /etc/systemd/system")
        assert "demo-lenet-worker-1" in demo.run("ms3", "ls /etc/systemd/system"), moved.output
        status = demo.playbook("fedlearn.infra.status", inventory=changed)
        assert status.returncode == 2
        hosts = last_line(status)["stacks"]["lenet"]["hosts"]
        assert hosts["ms3"]["verdict"] == "drift"
        orphans = {(orphan["kind"], orphan["name"]) for orphan in hosts["ms3"]["orphans"]}
        assert orphans == {("service", "demo-lenet-worker-1"), ("certificate", "demo-lenet-worker")}
        assert hosts["ms1"]["orphans"] == hosts["ms2"]["orphans"] == []
        demo.site("-e", "fedlearn_prune=true", inventory=changed)
        assert "demo-lenet-worker" not in demo.run("ms3", "ls /etc/systemd/system; ls -R /etc/fedlearn/demo")
        assert "result.json" in demo.run("ms3", "ls /var/lib/private/fedlearn-demo-lenet-worker-1")
        # and back: its data are taken up again, so nothing is trained a second time
        demo.site("-e", "fedlearn_prune=true")
        demo.becomes_healthy()


def test_limit_and_stack_leave_others_alone(demo: Demo, document: Changed) -> None:
    before = demo.files()
    changed = document((ITERATIONS, "fl_iteration_num: 4"))
    limited = demo.site("--limit", "ms3", inventory=changed)
    assert set(limited.per_host()) == {"10.20.0.13"}
    after = demo.files()
    assert {host for host in demo.hosts if after[host] != before[host]} == {"ms3"}
    demo.site("-e", "stack=lenet", inventory=changed)
    assert "fl_iteration_num: 4" in demo.run("ms2", "cat /etc/fedlearn/demo/demo-lenet-server-1/mindspore.yml")
    unknown = demo.playbook("site.yml", "-e", "stack=lenets", inventory=changed)
    assert unknown.returncode == 2, unknown.output[-3000:]
    assert "it has lenet" in unknown.output


def test_two_runs_at_once_both_end_well(demo: Demo, document: Changed, tmp_path: Path) -> None:
    """One is held in the midst of a transaction; the other comes to the same host meanwhile and waits.

    Both also write limits, which a new login of each has to confirm.
    """
    demo.run("ms3", "rm /etc/security/limits.d/zz-fedlearn.conf")
    changed = document((ITERATIONS, "fl_iteration_num: 4"))
    held = "/etc/fedlearn/demo/demo-lenet-server-1/.fedlearn-new.mindspore.yml"
    demo.run("ms2", "echo hold validated demo-lenet-server-1 > /run/fedlearn-test-kill")
    logs = [tmp_path / name for name in ("first", "second")]
    runs = [demo.start("site.yml", changed, log) for log in logs]
    demo.run("ms2", f"for turn in $(seq 1800); do [ -e {held} ] && break; sleep 0.1; done")
    assert [run.poll() for run in runs] == [None, None]
    demo.run("ms2", "sleep 5; rm /run/fedlearn-test-kill")
    for run, log in zip(runs, logs, strict=True):
        assert run.wait() == 0, log.read_text()[-3000:]
    for host in ("ms2", "ms3"):
        assert "fl_iteration_num: 4" in demo.run(host, "cat /etc/fedlearn/demo/demo-lenet-server-1/mindspore.yml")
    again = demo.site(inventory=changed)
    assert {row["changed"] for row in recap(again.output).values()} == {0}


def test_nobody_trains_alone_while_a_host_that_serves_them_failed(demo: Demo, document: Changed) -> None:
    changed = document((ITERATIONS, "fl_iteration_num: 5"))
    demo.run("ms2", "mount --bind /etc/fedlearn /etc/fedlearn && mount -o remount,bind,ro /etc/fedlearn")
    try:
        failed = demo.playbook("site.yml", inventory=changed)
    finally:
        demo.run("ms2", "umount /etc/fedlearn")
    assert failed.returncode == 2, failed.output[-3000:]
    assert "stays as it is, so that nobody trains alone: ms2 failed above" in " ".join(failed.output.split())
    assert demo.run("ms3", f"systemctl is-active {WORKER} || true") == "inactive\n"
    demo.site(inventory=changed)
    for host in ("ms2", "ms3"):
        demo.trained(host)


REACHED = (
    "ls /var/lib/private/fedlearn-demo-lenet-server-1/checkpoints"
    " | sed -n 's/.*_iteration_\\([0-9]*\\)_.*/\\1/p' | sort -n | tail -1"
)
IN_PLACE = {"ms1": ("fedlearn-demo-lenet-redis.service", "nginx.service")}


@pytest.mark.parametrize("what", ["certificates", "ca"])
def test_training_and_requests_go_on_while_a_rotation_replaces_who_is_who(
    demo: Demo, tmp_path: Path, what: str
) -> None:
    """Redis and nginx load what is new; programs that read it at their start are restarted, and it is told how long."""
    longer = tmp_path / "federation.yml"
    text = (demo.inventory / "federation.yml").read_text()
    # a worker that ended with a training doesn't begin the same one again: it outlasts the rotation on a loaded machine
    longer.write_text(text.replace(ITERATIONS, "fl_iteration_num: 4000"))
    demo.beside(tmp_path, state=False)
    state = ("-e", f"fedlearn_state={demo.inventory}")
    try:
        demo.site(*state, inventory=longer)
        before, reached = demo.processes(), int(demo.run("ms2", REACHED))
        with demo.asked() as answers:
            rotated = demo.playbook("fedlearn.infra.rotate", "-e", f"what={what}", *state, inventory=longer)
        assert rotated.returncode == 0, rotated.output[-3000:]
        assert (set(answers), len(answers) > 100) == ({"404"}, True)
        after = demo.processes()
        for host, units in IN_PLACE.items():
            assert [after[host][unit] for unit in units] == [before[host][unit] for unit in units]
        told = re.findall(r"ok: \[(ms\d)\] => \(item=demo-lenet-(server-1|worker-1)\)", rotated.output)
        assert set(told) == {(host, unit) for host in ("ms2", "ms3") for unit in ("server-1", "worker-1")}, told
        assert "worker-1 was restarted, and back after" in rotated.output
        # both have to take part in an iteration
        further = until(300, lambda: int(demo.run("ms2", REACHED)), lambda found: int(found) >= reached + 10)
        assert int(further) >= reached + 10
        status = demo.playbook("fedlearn.infra.status", *state, inventory=longer)
        assert status.returncode == 0, last_line(status)
        assert recap(demo.site(*state, inventory=longer).output)["ms2"]["changed"] == 0
    finally:
        demo.site()
