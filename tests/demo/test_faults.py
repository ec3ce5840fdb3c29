# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What breaks, and what is asked for next: each test leaves the demo as `make demo` made it.

`make test-all PART=demo-faults` runs these; they take longer than a `make test` has.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from standing_demo import CHECKOUT, Demo, recap

pytestmark = pytest.mark.slow

HOSTS_PY = [str(CHECKOUT / ".venv/bin/python"), str(CHECKOUT / "molecule/shared/hosts.py")]
FILES = r"""
find /etc/fedlearn /etc/systemd/system/fedlearn-* /etc/nginx/conf.d -type f ! -name '*.lock' 2>/dev/null \
    -printf '%p %m %U:%G ' -exec sha256sum {} \; | sort
"""
CHECKPOINTS = "ls /var/lib/private/fedlearn-demo-lenet-server-1/checkpoints | grep -c ckpt || true"


def until(seconds: float, what: Callable[[], object], wanted: Callable[[object], bool]) -> object:
    """The first answer that is as wanted; the last one when none is within the time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = what()
        except AssertionError as error:
            found = error
        if wanted(found) or time.monotonic() > deadline:
            return found
        time.sleep(2)


def files(demo: Demo) -> dict[str, str]:
    return {host: demo.run(host, FILES) for host in demo.hosts}


def healthy(demo: Demo) -> None:
    """Everything runs and is as described, without a run of site."""
    verdicts = until(90, lambda: demo.playbook("fedlearn.infra.status").returncode, lambda code: code == 0)
    assert verdicts == 0


@pytest.fixture
def document(demo: Demo, tmp_path: Path) -> Iterator[Callable[[str, str], Path]]:
    """A changed copy of the demo's document with the same state beside it; afterwards the hosts are as before."""

    def changed(old: str, new: str) -> Path:
        text = (demo.inventory / "federation.yml").read_text()
        assert old in text
        demo.beside(tmp_path)
        (tmp_path / "federation.yml").write_text(text.replace(old, new))
        return tmp_path / "federation.yml"

    yield changed
    restored = demo.playbook("site.yml", "-e", "fedlearn_prune=true")
    assert restored.returncode == 0, restored.output


@pytest.mark.parametrize("hosts", [["ms1"], ["ms2"], []], ids=["ms1", "ms2", "all at once"])
def test_a_reboot_needs_no_ansible(demo: Demo, hosts: list[str]) -> None:
    before = files(demo)
    subprocess.run([*HOSTS_PY, "restart", "demo", *hosts], check=True)
    healthy(demo)
    assert files(demo) == before


def test_power_loss_of_all_hosts_needs_no_ansible(demo: Demo) -> None:
    subprocess.run([*HOSTS_PY, "restart", "--hard", "demo"], check=True)
    healthy(demo)


def test_no_server_starts_from_nothing_while_another_has_a_checkpoint(demo: Demo) -> None:
    assert int(demo.run("ms3", CHECKPOINTS)) > 0
    stop = "systemctl stop fedlearn-demo-lenet-server-1 fedlearn-demo-lenet-server-1-checkpoints"
    demo.run("ms2", f"{stop}; rm -rf /var/lib/private/fedlearn-demo-lenet-server-1/*")
    demo.run("ms2", "systemctl start fedlearn-demo-lenet-server-1-checkpoints fedlearn-demo-lenet-server-1")
    found = until(60, lambda: int(demo.run("ms2", CHECKPOINTS)), bool)
    assert isinstance(found, int)
    assert found > 0
    newest = "cd /var/lib/private/fedlearn-demo-lenet-server-1/checkpoints && sha256sum $(ls -t *.ckpt | head -1)"
    assert demo.run("ms2", newest) == demo.run("ms3", newest)
    healthy(demo)


def test_all_lost_but_one_disk(demo: Demo) -> None:
    stop = "systemctl stop fedlearn-demo-lenet-server-1 fedlearn-demo-lenet-server-1-checkpoints"
    for host in ("ms2", "ms3"):
        demo.run(host, stop)
    demo.run("ms2", "rm -rf /var/lib/private/fedlearn-demo-lenet-server-1/*")
    demo.run("ms1", "systemctl stop fedlearn-demo-lenet-redis; rm -rf /var/lib/private/fedlearn-demo-lenet-redis/*")
    demo.run("ms1", "systemctl start fedlearn-demo-lenet-redis")
    for host in ("ms2", "ms3"):
        demo.run(host, "systemctl start fedlearn-demo-lenet-server-1-checkpoints")
    for host in ("ms2", "ms3"):
        demo.run(host, "systemctl start --no-block fedlearn-demo-lenet-server-1")
    journal = "journalctl --no-pager -o cat -b -u fedlearn-demo-lenet-server-1 | tail -300"
    begins = "checkpoint"
    for host in ("ms2", "ms3"):
        said = until(60, lambda host=host: demo.run(host, journal), lambda text: begins in str(text))
        assert begins in str(said)
        assert int(demo.run(host, CHECKPOINTS)) > 0
    healthy(demo)


def test_a_server_that_dies_in_a_round_costs_no_worker(demo: Demo, tmp_path: Path) -> None:
    killer = (
        "for turn in $(seq 300); do if systemctl -q is-active fedlearn-demo-verify-lenet-worker-1; then "
        "systemctl kill -s KILL fedlearn-demo-verify-lenet-server-1; echo killed; exit 0; fi; sleep 0.2; done; exit 1"
    )
    room = CHECKOUT / "build/hosts/demo/ssh_config"
    with subprocess.Popen(
        ["ssh", "-F", str(room), "ms3", "sudo", "sh", "-c", f"'{killer}'"], stdout=subprocess.PIPE
    ) as process:
        judged = demo.playbook("fedlearn.infra.verify", "-e", "verify=round", "-e", f"fedlearn_build={tmp_path}")
        assert process.communicate(timeout=120)[0].strip() == b"killed"
    entry = json.loads((tmp_path / "demo/verify.json").read_text())["stacks"]["lenet"]
    assert judged.returncode == 0, judged.output
    assert entry["max_error"] <= 0.05


def test_what_is_changed_by_hand_is_reported_and_repaired(demo: Demo) -> None:
    before = files(demo)
    owned = json.loads(demo.run("ms2", "cat /var/lib/fedlearn/demo/owned.json"))
    paths = [path for path in before["ms2"].split() if path.startswith(("/etc/fedlearn/demo/demo-", "/etc/systemd"))]
    assert len(paths) >= 5
    assert owned
    for path in paths:
        demo.run("ms2", f"echo '# by hand' >> {path}")
    checked = demo.playbook("site.yml", "--check", "--limit", "ms2")
    assert recap(checked.output)["ms2"]["changed"] >= 3
    assert demo.playbook("fedlearn.infra.status").returncode == 2
    repaired = demo.playbook("site.yml", "--limit", "ms2")
    assert repaired.returncode == 0, repaired.output
    assert files(demo) == before


def test_redis_away_leaves_what_runs(demo: Demo, document: Callable[[str, str], Path]) -> None:
    pid = demo.run("ms2", "systemctl show -p MainPID --value fedlearn-demo-lenet-server-1")
    before = demo.run("ms2", FILES)
    changed = document("fl_iteration_num: 3", "fl_iteration_num: 4")
    demo.run("ms2", "command -v iptables >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -qq -y iptables")
    demo.run("ms2", "iptables -I OUTPUT -p tcp --dport 23456 -j DROP")
    try:
        failed = demo.playbook(
            "site.yml", "--limit", "ms2", "-e", "mindspore_server_health_timeout_seconds=20", inventory=changed
        )
    finally:
        demo.run("ms2", "iptables -D OUTPUT -p tcp --dport 23456 -j DROP")
    assert failed.returncode == 2
    assert "demo-lenet-server-1" in failed.output
    assert "rolled back" in failed.output
    assert demo.run("ms2", FILES.replace("/etc/systemd/system/fedlearn-*", "")).count("\n") > 3
    assert "fl_iteration_num: 3" in demo.run("ms2", "cat /etc/fedlearn/demo/demo-lenet-server-1/mindspore.yml")
    assert demo.run("ms2", "systemctl is-active fedlearn-demo-lenet-server-1").strip() == "active"
    assert pid
    assert before


def test_an_orphan_is_reported_and_pruned_and_its_data_stay(demo: Demo, document: Callable[[str, str], Path]) -> None:
    changed = document("workers: {hosts: [ms2, ms3]}", "workers: {hosts: [ms2]}")
    status = demo.playbook("fedlearn.infra.status", inventory=changed)
    assert status.returncode == 2
    last = json.loads([line for line in status.output.splitlines() if line.strip()][-1])
    assert "demo-lenet-worker-1" in json.dumps(last["stacks"]["lenet"]["hosts"]["ms3"]["orphans"])
    pruned = demo.playbook("site.yml", "-e", "fedlearn_prune=true", inventory=changed)
    assert pruned.returncode == 0, pruned.output
    assert "demo-lenet-worker-1" not in demo.run("ms3", "ls /etc/systemd/system /etc/fedlearn/demo")
    assert "result.json" in demo.run("ms3", "ls /var/lib/private/fedlearn-demo-lenet-worker-1")


def test_a_server_more_reloads_the_proxy_and_restarts_nobody(demo: Demo, document: Callable[[str, str], Path]) -> None:
    pids = (
        "systemctl show -p MainPID --value nginx fedlearn-demo-lenet-redis fedlearn-demo-lenet-scheduler"
        " fedlearn-demo-lenet-server-1 fedlearn-demo-lenet-server-1-checkpoints fedlearn-demo-lenet-worker-1"
    )
    before = {host: demo.run(host, pids) for host in demo.hosts}
    changed = document("servers: {hosts: [ms2, ms3]}", "servers: {hosts: [ms2, ms3], per_host: 2}")
    more = demo.playbook("site.yml", inventory=changed)
    assert more.returncode == 0, more.output
    assert {host: demo.run(host, pids) for host in demo.hosts} == before
    assert demo.run("ms2", "systemctl is-active fedlearn-demo-lenet-server-2").strip() == "active"
    assert "10.20.0.12:6667" in demo.run("ms1", "cat /etc/nginx/conf.d/*")


def test_two_federations_share_hosts(demo: Demo, tmp_path: Path) -> None:
    before = files(demo)
    text = (demo.inventory / "federation.yml").read_text().replace("federation: demo", "federation: other")
    for old, new in (
        ("redis: {host: ms1}", "redis: {host: ms1, port: 33456}"),
        ("scheduler: {host: ms1}", "scheduler: {host: ms1, port: 21202}"),
        ("servers: {hosts: [ms2, ms3]}", "servers: {hosts: [ms2, ms3], port: 16666, checkpoint_port: 17666}"),
        ("proxy: {host: ms1}", "proxy: {host: ms1, port: 16666}"),
    ):
        assert old in text
        text = text.replace(old, new)
    demo.beside(tmp_path, state=False)
    (tmp_path / "federation.yml").write_text(text)
    other = tmp_path / "federation.yml"
    nginx = demo.run("ms1", "systemctl show -p MainPID --value nginx")
    for verb, *options in (
        ("fedlearn.infra.secrets",),
        ("site.yml",),
        ("fedlearn.infra.verify", "-e", "verify=round", "-e", f"fedlearn_build={tmp_path / 'build'}"),
        ("fedlearn.infra.remove", "-e", "fedlearn_remove_data=true"),
    ):
        done = demo.playbook(verb, *options, inventory=other)
        assert done.returncode == 0, f"{verb}: {done.output[-3000:]}"
    assert demo.run("ms1", "systemctl show -p MainPID --value nginx") == nginx
    assert files(demo) == before
    assert demo.run("ms2", "ls /etc/fedlearn").split() == ["demo"]
    healthy(demo)


def test_site_killed_at_seeded_moments_is_finished_by_the_next(
    demo: Demo, document: Callable[[str, str], Path]
) -> None:
    """The controller is killed while it brings a change; the next run ends where an undisturbed one does."""
    changed = document("fl_iteration_num: 3", "fl_iteration_num: 5")
    whole = demo.playbook("site.yml", inventory=changed)
    assert whole.returncode == 0, whole.output
    undisturbed = files(demo)
    moments = random.Random(20)
    for index in range(20):
        back = (demo.inventory / "federation.yml") if index % 2 == 0 else changed
        with demo.start("site.yml", inventory=back) as process:
            time.sleep(moments.uniform(2, 25))
            process.send_signal(signal.SIGKILL)
        finished = demo.playbook("site.yml", inventory=changed)
        assert finished.returncode == 0, finished.output[-3000:]
        assert files(demo) == undisturbed
    healthy_now = demo.playbook("fedlearn.infra.status", inventory=changed)
    assert healthy_now.returncode == 0, healthy_now.output[-3000:]
