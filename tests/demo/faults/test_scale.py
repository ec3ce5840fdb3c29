# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""More and fewer of what a document names, while requests and training go on."""

from __future__ import annotations

import subprocess
from pathlib import Path

from standing_demo import HOSTS_PY, ITERATIONS, SERVERS, WORKER, WORKERS, Changed, Demo, recap


def unchanged(before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]) -> bool:
    """Whether every process that ran before still does."""
    return all(before[host].items() <= after[host].items() for host in before)


def test_a_server_more_reloads_the_proxy_and_restarts_nobody(demo: Demo, document: Changed) -> None:
    before = demo.processes()
    assert before["ms1"]["nginx.service"]
    noop = demo.site().per_host()
    changed = document((SERVERS, "servers: {hosts: [ms2, ms3], per_host: 2}"))
    with demo.asked() as answers:
        more = demo.site(inventory=changed)
    after = demo.processes()
    assert unchanged(before, after)
    assert set(after["ms2"]) - set(before["ms2"]) == {
        "fedlearn-demo-lenet-server-2.service",
        "fedlearn-demo-lenet-server-2-checkpoints.service",
    }
    assert "10.20.0.12:6667" in demo.run("ms1", "cat /etc/nginx/conf.d/*")
    assert len(answers) > 20
    assert set(answers) == {"404"}
    assert more.per_host()["10.20.0.11"] <= noop["10.20.0.11"]


def test_training_goes_on_while_servers_come_and_go(demo: Demo, tmp_path: Path) -> None:
    """A drained host's keys go with its servers, so that it gets new ones when it comes back."""
    longer = (ITERATIONS, "fl_iteration_num: 60")
    with demo.changing(tmp_path, made_anew="/etc/fedlearn/demo/pki/demo-lenet-server") as document:
        demo.site(inventory=document(longer, (SERVERS, "servers: {hosts: [ms2], absent: [ms3]}")))
        for servers in (
            "{hosts: [ms2], per_host: 4, absent: [ms3]}",
            "{hosts: [ms2, ms3], per_host: 4}",
            "{hosts: [ms3], per_host: 4, absent: [ms2]}",
        ):
            demo.site(inventory=document(longer, (SERVERS, f"servers: {servers}")))
            assert demo.run("ms2", f"systemctl is-active {WORKER}").strip() == "active", "training was over too early"
        assert "lenet-server" not in demo.run("ms2", "ls /etc/systemd/system /etc/fedlearn/demo")
        for host in ("ms2", "ms3"):
            assert len(demo.trained(host)["iterations"]) >= 30


def test_a_worker_host_more_costs_the_others_nothing(demo: Demo, document: Changed) -> None:
    before = demo.processes()
    noop = demo.site().per_host()
    subprocess.run(
        [*HOSTS_PY, "up", "--suite", "bullseye", "--subnet", "10.20.0.0/24", "demo", "ms4=10.20.0.14"], check=True
    )
    changed = document(
        (WORKERS, "workers: {hosts: [ms2, ms3, ms4]}"),
        ("      ms3: {address", "      ms4: {address: 10.20.0.14, vars: {ansible_user: ops}}\n      ms3: {address"),
    )
    clean = demo.playbook("site.yml", "--check", "--diff", "--limit", "ms4", inventory=changed)
    assert clean.returncode == 0, clean.output[-3000:]
    more = demo.site(inventory=changed)
    assert unchanged(before, demo.processes())
    for host in demo.hosts:
        assert recap(more.output)[host]["changed"] == 0
    for address, executions in noop.items():
        assert more.per_host()[address] <= executions
    assert WORKER in demo.run("ms4", "ls /etc/systemd/system")
    removed = demo.playbook(
        "fedlearn.infra.remove", "--limit", "ms4", "-e", "fedlearn_remove_data=true", inventory=changed
    )
    assert removed.returncode == 0, removed.output[-3000:]
    left = "ls -d /etc/fedlearn /var/lib/fedlearn* /var/lib/private/* /etc/systemd/system/fedlearn-* 2>/dev/null"
    assert demo.run("ms4", f"{left} || true") == ""


def another_federation(demo: Demo, folder: Path) -> Path:
    """The demo's document for a federation beside it, on the same hosts and other ports."""
    text = (demo.inventory / "federation.yml").read_text().replace("federation: demo", "federation: other")
    for old, new in (
        ("redis: {host: ms1}", "redis: {host: ms1, port: 33456}"),
        ("scheduler: {host: ms1}", "scheduler: {host: ms1, port: 21202}"),
        ("servers: {hosts: [ms2, ms3]}", "servers: {hosts: [ms2, ms3], port: 16666, checkpoint_port: 17666}"),
        ("proxy: {host: ms1}", "proxy: {host: ms1, port: 16666}"),
    ):
        assert old in text
        text = text.replace(old, new)
    demo.beside(folder, state=False)
    (folder / "federation.yml").write_text(text)
    return folder / "federation.yml"


def test_a_federation_beside_another_comes_changes_stops_and_goes_unnoticed(demo: Demo, tmp_path: Path) -> None:
    before, processes = demo.files(), demo.processes()
    other, worker = another_federation(demo, tmp_path), WORKER.replace("-demo-", "-other-")
    units = "systemctl list-units --plain --no-legend 'fedlearn-other-*'"
    data = "ls /var/lib/private | grep fedlearn-other- || true"

    def does(verb: str, *options: str) -> None:
        done = demo.playbook(verb, *options, inventory=other)
        assert done.returncode == 0, f"{verb}: {done.output[-3000:]}"
        assert unchanged(processes, demo.processes()), verb

    does("fedlearn.infra.secrets")
    does("site.yml")
    does("site.yml", "-e", '{"mindspore_server_log_level": 2}')
    does("fedlearn.infra.verify", "-e", "verify=round", "-e", f"fedlearn_build={tmp_path / 'build'}")
    trained = demo.trained("ms2", worker)

    does("fedlearn.infra.stop")
    assert demo.run("ms2", units) == ""
    assert demo.playbook("fedlearn.infra.status", inventory=other).returncode == 2
    does("site.yml")
    demo.becomes_healthy(other)

    kept = demo.run("ms2", data)
    assert "server-1" in kept
    does("fedlearn.infra.remove")
    assert demo.processes() == processes
    assert demo.files() == before
    assert demo.run("ms2", data) == kept
    does("site.yml")
    assert demo.trained("ms2", worker) == trained, "it was trained a second time"

    does("fedlearn.infra.remove", "-e", "stack=lenet", "-e", "fedlearn_remove_data=true")
    assert demo.run("ms2", data) == ""
    does("fedlearn.infra.remove", "-e", "fedlearn_remove_data=true")
    assert demo.processes() == processes
    assert demo.files() == before
    assert demo.run("ms2", "ls /etc/fedlearn").split() == ["demo"]
    demo.becomes_healthy()
