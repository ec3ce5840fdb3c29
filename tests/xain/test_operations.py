# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What operators do with it: status, flows, and the end."""

from __future__ import annotations

import json

from places import X1, X2, X3
from standing_demo import CHECKOUT
from training import COORDINATOR, Rounds


def verdict(rounds: Rounds) -> tuple[int, str]:
    done = rounds.playbook("fedlearn.infra.status")
    found = json.loads((CHECKOUT / "build" / "rounds" / "status.json").read_text())
    return done.returncode, str(found["verdict"])


def test_status_tells_a_stopped_coordinator_from_a_running_one(rounds: Rounds) -> None:
    assert verdict(rounds) == (0, "ok")
    rounds.run("x1", f"systemctl stop {COORDINATOR}")
    assert verdict(rounds) == (2, "unhealthy")
    rounds.run("x1", f"systemctl start {COORDINATOR}; sleep 5")
    assert verdict(rounds) == (0, "ok")


def test_flows_are_those_that_are_needed(rounds: Rounds) -> None:
    done = rounds.playbook("fedlearn.infra.flows")
    assert done.returncode == 0, done.output[-3000:]
    told = (CHECKOUT / "build" / "rounds" / "flows.csv").read_text()
    for to, address, port in (("x1", X1, 443), ("x1", X1, 2443), ("x3", X3, 9000)):
        assert f"images,inside,x2,{X2},{to},{address},tcp,{port}," in told, told
    assert f"images,inside,x1,{X1},x3,{X3},tcp,9000," in told, told


def test_each_listens_where_it_should(rounds: Rounds) -> None:
    for host, own in (("x1", [f"{X1}:443", "127.0.0.1:50050"]), ("x3", [f"{X3}:9000", "127.0.0.1:9000"])):
        found = rounds.run(host, "ss -Hltn '( sport = :443 or sport = :50050 or sport = :9000 )'")
        assert sorted(line.split()[3] for line in found.splitlines() if "[" not in line) == own


def test_a_removed_stack_leaves_its_models_only(rounds: Rounds) -> None:
    done = rounds.playbook("fedlearn.infra.remove", "-e", "stack=images")
    assert done.returncode == 0, done.output[-3000:]
    for host in rounds.hosts:
        assert rounds.run(host, "ls /etc/systemd/system | grep -c fedlearn-rounds || true").strip() == "0"
        assert (
            rounds.run(
                host, "ls /etc/nginx/streams.d /etc/nginx/modules-enabled 2>/dev/null | grep -c fedlearn || true"
            ).strip()
            == "0"
        )
    assert rounds.run("x3", "ls -d /var/lib/fedlearn-rounds-images-storage").strip() != ""
    rounds.site()
