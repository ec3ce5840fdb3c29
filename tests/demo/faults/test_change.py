# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A document that changes, hosts that were changed by hand, and what stands in the way of a change."""

from __future__ import annotations

import json
from pathlib import Path

from standing_demo import FILES, Changed, Demo, recap


def test_what_is_changed_by_hand_is_reported_and_repaired(demo: Demo) -> None:
    before = demo.files()
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
    assert demo.files() == before


def test_redis_away_leaves_what_runs(demo: Demo, document: Changed) -> None:
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


def test_an_orphan_is_reported_and_pruned_and_its_data_stay(demo: Demo, document: Changed) -> None:
    changed = document("workers: {hosts: [ms2, ms3]}", "workers: {hosts: [ms2]}")
    status = demo.playbook("fedlearn.infra.status", inventory=changed)
    assert status.returncode == 2
    last = json.loads([line for line in status.output.splitlines() if line.strip()][-1])
    assert "demo-lenet-worker-1" in json.dumps(last["stacks"]["lenet"]["hosts"]["ms3"]["orphans"])
    pruned = demo.playbook("site.yml", "-e", "fedlearn_prune=true", inventory=changed)
    assert pruned.returncode == 0, pruned.output
    assert "demo-lenet-worker-1" not in demo.run("ms3", "ls /etc/systemd/system /etc/fedlearn/demo")
    assert "result.json" in demo.run("ms3", "ls /var/lib/private/fedlearn-demo-lenet-worker-1")


def test_a_server_more_reloads_the_proxy_and_restarts_nobody(demo: Demo, document: Changed) -> None:
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
    before = demo.files()
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
    assert demo.files() == before
    assert demo.run("ms2", "ls /etc/fedlearn").split() == ["demo"]
    demo.becomes_healthy()
