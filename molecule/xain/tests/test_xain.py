# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The xain roles on one host, with store and nginx, as an unprivileged sudo user."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_host import RoleHost

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
LISTS = ("minio_", "nginx_", "xain_coordinator_", "xain_participant_")
OF_NONE = {key: value for key, value in VARIABLES.items() if not key.startswith(LISTS)}
UNIT = "fedlearn-rounds-coordinator.service"
PARTICIPANTS = ("first-participant", "second-participant")
ANSWER = [0.5 + 4 * 1.75, 1.0 + 4 * 0.5]
"""The mean of what they begin with, and two rounds of two epochs of the mean step, weighted by samples."""

TRAINING = "/run/fedlearn-rounds-coordinator/training"
SLOW = """\
import time
from fedlearn_xain.steps import Steps

class Slow(Steps):
    def train_round(self, weights, epochs, epoch_base):
        time.sleep(600)
"""
ASK = """\
import sys, grpc
from xain_proto.fl.coordinator_pb2 import HeartbeatRequest
from xain_proto.fl.coordinator_pb2_grpc import CoordinatorStub
ca, *pair = (open(f"/etc/role-test/{name}", "rb").read() for name in sys.argv[2:])
shown = grpc.ssl_channel_credentials(ca, *reversed(pair)) if pair else grpc.ssl_channel_credentials(ca)
try:
    CoordinatorStub(grpc.secure_channel(sys.argv[1], shown)).Heartbeat(HeartbeatRequest(), timeout=10)
except grpc.RpcError as error:
    print(error.code().name)
"""


def of(role: str) -> dict[str, Any]:
    return {**OF_NONE, **{key: value for key, value in VARIABLES.items() if key.startswith(f"{role}_")}}


@pytest.fixture
def coordinator(host: Any) -> RoleHost:
    return RoleHost(host, "xain_coordinator", of("xain_coordinator"))


@pytest.fixture
def participants(host: Any) -> RoleHost:
    return RoleHost(host, "xain_participant", of("xain_participant"))


def instances(**changed: Any) -> list[dict[str, Any]]:
    """The scenario's coordinator, changed."""
    (only,) = VARIABLES["xain_coordinator_instances"]
    return [{**only, **changed}]


def asked(role: RoleHost, *files: str) -> str:
    """How the coordinator answers a heartbeat of nobody through nginx, to who shows these certificates."""
    python = "$(ls -d /opt/fedlearn/xain-python/*/bin/python | tail -n1)"
    return role.sh(f"{python} -B - {role.address}:443 {' '.join(files)} <<'END'\n{ASK}END").strip()


def test_a_training_ends_with_the_known_numbers(participants: RoleHost) -> None:
    for name, samples in zip(PARTICIPANTS, (10, 30), strict=True):
        found = participants.result(name)
        assert (found["values"], found["samples"]) == (ANSWER, samples)


def test_nginx_lets_in_whom_it_knows_by_certificate(coordinator: RoleHost) -> None:
    assert asked(coordinator, "ca.pem", "client.pem", "client.key") == "PERMISSION_DENIED"  # of the program itself
    assert asked(coordinator, "ca.pem") == "UNAVAILABLE"
    assert asked(coordinator, "ca.pem", "stranger.pem", "stranger.key") == "UNAVAILABLE"
    assert asked(coordinator, "ca.pem", "server.pem", "server.key") == "UNAVAILABLE"  # of the CA, and another name


def test_listens_on_loopback_only(coordinator: RoleHost) -> None:
    lines = coordinator.sh("ss -Hltnp | grep python").splitlines()
    assert [line.split()[3] for line in lines] == ["127.0.0.1:50050"]


@pytest.mark.parametrize("unit", [UNIT])
def test_hardened(coordinator: RoleHost, unit: str) -> None:
    assert coordinator.exposure(unit) <= 2.5
    user = coordinator.sh(f"stat -c %u /proc/$(systemctl show -p MainPID --value {unit})").strip()
    assert 61184 <= int(user) <= 65519  # a dynamic user


def test_no_password_is_where_others_can_read_it(coordinator: RoleHost) -> None:
    for number, places in ((1, ("rounds-coordinator",)), (2, PARTICIPANTS)):
        where = coordinator.sh(f"grep -rlF 'CANARY-{number}' /etc /run /var/lib/fedlearn* 2>/dev/null || true").split()
        for place in places:
            assert f"/etc/fedlearn/rounds/{place}/storage.password" in where
        # a credential's 440 is 400 and the mask of an access list, by which Debian 13's systemd lets its unit in
        modes = coordinator.sh(f"stat -L -c '%a %G' {' '.join(where)}").splitlines()
        assert [mode for mode in modes if mode[1:3] != "00" and mode != "440 root"] == [], modes
    assert "CANARY" not in coordinator.sh(
        "cat /proc/*/cmdline /proc/*/environ | tr '\\0' ' '; journalctl --no-pager -u 'fedlearn-*'"
    )


def test_second_run_changes_nothing(coordinator: RoleHost, participants: RoleHost) -> None:
    for role, units in ((coordinator, (UNIT,)), (participants, ())):
        before = role.state(units=units)
        again = role.play(most=3)
        assert (again.code, again.changed) == (0, 0), again.text
        assert role.state(units=units) == before


def test_check_mode_reports_nothing_and_check_is_content(coordinator: RoleHost, participants: RoleHost) -> None:
    for role in (coordinator, participants):
        checked = role.play("--check")
        assert (checked.code, checked.changed) == (0, 0), checked.text
        assert role.play(entry="check").code == 0
        assert role.play(entry="precheck").code == 0


def test_what_is_changed_by_hand_is_reported_and_repaired(coordinator: RoleHost) -> None:
    owned = coordinator.owned()
    assert len(owned) == 3  # unit, launcher, password
    damages = itertools.cycle(("printf '# by hand\\n' >> {0}", "chmod 640 {0}", "rm {0}"))
    for path, damage in zip(owned, damages, strict=False):
        before = coordinator.sh(f"cat {path}; stat -c '%a %U' {path}")
        coordinator.sh(damage.format(path))
        assert coordinator.play("--check").changed == 1, (path, damage)
        repaired = coordinator.play()
        assert repaired.changed == 1, (path, damage, repaired.text)
        assert coordinator.sh(f"cat {path}; stat -c '%a %U' {path}") == before, (path, damage)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"application": {"callable": "no.such:Mine"}}, "application no.such:Mine: ModuleNotFoundError"),
        ({"application": {"callable": "fedlearn_xain.steps:Nothing"}}, "has no callable 'Nothing'"),
    ],
    ids=["module", "callable"],
)
def test_what_can_not_be_imported_is_refused(participants: RoleHost, changed: dict[str, Any], reason: str) -> None:
    before = participants.state()
    first, second = VARIABLES["xain_participant_instances"]
    run = participants.play(xain_participant_instances=[{**first, **changed}, second])
    assert run.failed == 1
    assert reason in run.words, run.text
    assert participants.state() == before


def test_a_coordinator_without_its_store_is_rolled_back(coordinator: RoleHost) -> None:
    storage = {**instances()[0]["storage"], "endpoint": "https://127.0.0.1:9"}
    run = coordinator.play(
        xain_coordinator_instances=instances(storage=storage), xain_coordinator_health_timeout_seconds=15
    )
    assert run.failed == 1
    assert "127.0.0.1:9" in run.words, run.text
    assert asked(coordinator, "ca.pem", "client.pem", "client.key") == "PERMISSION_DENIED"
    assert coordinator.play().code == 0


def test_a_training_under_way_is_lost_by_no_run_unless_it_is_meant(
    coordinator: RoleHost, participants: RoleHost, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    slow = [
        {
            **one,
            "name": f"slow-{one['name']}",
            "application": {**one["application"], "callable": "slow:Slow", "source": str(tmp_path / "slow.py")},
        }
        for one in VARIABLES["xain_participant_instances"]
    ]
    coordinator.sh(f"systemctl restart {UNIT}")
    assert participants.play(xain_participant_instances=slow).code == 0
    deadline = time.monotonic() + 120
    while coordinator.try_sh(f"test -e {TRAINING}")[0] != 0:
        assert time.monotonic() < deadline
        time.sleep(1)
    before = coordinator.state(units=(UNIT,))
    other = instances(settings={"ai": {"rounds": 4, "min_participants": 2}})
    refused = coordinator.play(xain_coordinator_instances=other)
    assert refused.failed == 1
    assert "a training is under way (round" in refused.words, refused.text
    assert "say -e fedlearn_disrupt=images" in refused.words
    assert coordinator.state(units=(UNIT,)) == before
    unrelated = coordinator.play("-e", "fedlearn_disrupt=others", xain_coordinator_instances=other)
    assert unrelated.failed == 1
    assert coordinator.play("-e", "fedlearn_disrupt=images", xain_coordinator_instances=other).failed == 0
    assert coordinator.state(units=(UNIT,)) != before
    assert coordinator.try_sh("ls /run/fedlearn-disrupt-*")[0] != 0
    gone = [{**one, "state": "absent"} for one in slow]
    assert participants.play(xain_participant_instances=gone, xain_participant_remove_data=True).code == 0
    assert coordinator.play("-e", "fedlearn_disrupt=images").failed == 0


def test_a_killed_coordinator_is_back(coordinator: RoleHost) -> None:
    coordinator.sh(f"systemctl kill -s KILL {UNIT}; sleep 8")
    assert asked(coordinator, "ca.pem", "client.pem", "client.key") == "PERMISSION_DENIED"


def test_removal_leaves_data_only(coordinator: RoleHost, participants: RoleHost) -> None:
    assert participants.play(entry="remove").code == 0
    assert coordinator.play(entry="remove").code == 0
    assert (
        coordinator.sh(
            "ls /etc/fedlearn/rounds /opt/fedlearn /etc/systemd/system | grep -c -e xain -e coordinator || true"
        )
        == "0\n"
    )
    assert coordinator.try_sh("pgrep -f '[f]edlearn_xain'")[0] == 1
    assert participants.sh("ls -d /var/lib/private/fedlearn-*participant").split() == [
        f"/var/lib/private/fedlearn-{name}" for name in PARTICIPANTS
    ]
    assert participants.play(entry="remove", xain_participant_remove_data=True).code == 0
    assert participants.sh("ls -d /var/lib/private/fedlearn-*participant 2>/dev/null || true") == ""
