# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts and processes that go away: what runs comes back by itself, and nothing learnt is lost."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from standing_demo import CHECKOUT, HOSTS_PY, ITERATIONS, WORKER, Changed, Demo, until

CHECKPOINTS = "ls /var/lib/private/fedlearn-demo-lenet-server-1/checkpoints | grep -c ckpt || true"


def since_start(unit: str) -> str:
    """The command that shows what a unit has written since it was last started."""
    return f"journalctl --no-pager -o cat _SYSTEMD_INVOCATION_ID=$(systemctl show -p InvocationID --value {unit})"


@pytest.mark.parametrize("hosts", [["ms1"], ["ms2"], ["ms3"], []], ids=["ms1", "ms2", "ms3", "all at once"])
def test_a_reboot_needs_no_ansible(demo: Demo, hosts: list[str]) -> None:
    before = demo.files()
    subprocess.run([*HOSTS_PY, "restart", "demo", *hosts], check=True)
    demo.becomes_healthy()
    assert demo.files() == before


def test_power_loss_of_all_hosts_needs_no_ansible(demo: Demo) -> None:
    subprocess.run([*HOSTS_PY, "restart", "--hard", "demo"], check=True)
    demo.becomes_healthy()


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
    demo.becomes_healthy()


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
    said = since_start("fedlearn-demo-lenet-server-1")
    for host in ("ms2", "ms3"):
        began = until(120, lambda host=host: demo.run(host, said), lambda text: "going on from" in str(text))
        assert "going on from lenet_recovery_iteration_" in str(began)
        assert int(demo.run(host, CHECKPOINTS)) > 0
    demo.becomes_healthy()


def test_a_server_that_dies_in_a_round_costs_no_worker(demo: Demo, tmp_path: Path) -> None:
    killer = (
        "for turn in $(seq 3000); do if systemctl -q is-active fedlearn-demo-verify-lenet-worker-1; then "
        "systemctl kill -s KILL fedlearn-demo-verify-lenet-server-1; echo killed; exit 0; fi; sleep 0.2; done; exit 1"
    )
    room = CHECKOUT / "build/hosts/demo/ssh_config"
    with subprocess.Popen(
        ["ssh", "-F", str(room), "ms3", "sudo", "sh", "-c", f"'{killer}'"], stdout=subprocess.PIPE
    ) as process:
        judged = demo.playbook("fedlearn.infra.verify", "-e", "verify=round", "-e", f"fedlearn_build={tmp_path}")
        assert process.communicate(timeout=700)[0].strip() == b"killed"
    entry = json.loads((tmp_path / "demo/verify.json").read_text())["stacks"]["lenet"]
    assert judged.returncode == 0, judged.output
    assert entry["max_error"] <= 0.05


def test_a_host_without_power_in_the_midst_of_a_run(demo: Demo, document: Changed, tmp_path: Path) -> None:
    """Its new files are there and its server hasn't been restarted; the run tells, and the next one finishes."""
    changed = document((ITERATIONS, "fl_iteration_num: 4"))
    demo.site(inventory=changed)
    undisturbed = demo.files()
    demo.site()
    demo.run("ms2", "echo hold placed demo-lenet-server-1 > /run/fedlearn-test-kill")
    run = demo.start("site.yml", changed, tmp_path / "log")
    placed = "grep -q 'fl_iteration_num: 4' /etc/fedlearn/demo/demo-lenet-server-1/mindspore.yml"
    demo.run("ms2", f"for turn in $(seq 1800); do {placed} && exit 0; sleep 0.1; done; exit 1")
    assert run.poll() is None
    subprocess.run([*HOSTS_PY, "restart", "--hard", "demo", "ms2"], check=True)
    assert run.wait() == 4, (tmp_path / "log").read_text()[-3000:]
    assert "ms2" in (tmp_path / "log").read_text()
    demo.site(inventory=changed)
    demo.becomes_healthy(changed)
    assert demo.files() == undisturbed


def test_workers_that_come_up_before_any_server_count_as_much_as_ever(demo: Demo, document: Changed) -> None:
    """The program's client takes a proxy's 502 for an answer, and would then weigh what it uploads as no samples."""
    demo.site(inventory=document((ITERATIONS, "fl_iteration_num: 22")))
    for host in ("ms2", "ms3"):
        demo.run(host, f"systemctl stop {WORKER} fedlearn-demo-lenet-server-1")
    for host in ("ms2", "ms3"):
        demo.run(host, f"systemctl start --no-block {WORKER}")
        said = until(60, lambda host=host: demo.run(host, since_start(WORKER)), lambda text: "waiting for" in str(text))
        assert "waiting for servers at 10.20.0.11:" in str(said)
    for host in ("ms2", "ms3"):
        demo.run(host, "systemctl start --no-block fedlearn-demo-lenet-server-1")
    for host in ("ms2", "ms3"):
        assert demo.trained(host)["iterations"]
        assert demo.run(host, f"systemctl show -p NRestarts --value {WORKER}").strip() == "0"


REACHED = (
    f'python3 -c \'import json; print(len(json.load(open("/var/lib/private/{WORKER}/progress.json"))["iterations"]))\''
)
NEWEST = (
    "ls /var/lib/private/fedlearn-demo-lenet-server-1/checkpoints"
    " | sed -n 's/^lenet_recovery_iteration_\\([0-9]*\\)_\\(.*\\).ckpt$/\\2 \\1/p' | sort | tail -1"
)


def test_training_goes_on_from_the_newest_checkpoint_after_power_loss(demo: Demo, document: Changed) -> None:
    demo.site(inventory=document((ITERATIONS, "fl_iteration_num: 40")))
    reached = until(300, lambda: int(demo.run("ms2", REACHED)), lambda count: isinstance(count, int) and count >= 3)
    assert isinstance(reached, int)
    assert 3 <= reached < 40, "it was not interrupted"
    subprocess.run([*HOSTS_PY, "restart", "--hard", "demo"], check=True)
    interrupted = int(demo.run("ms2", NEWEST).split()[1])
    for host in ("ms2", "ms3"):
        assert reached <= len(demo.trained(host)["iterations"]) <= 40
    assert int(demo.run("ms2", NEWEST).split()[1]) > interrupted
