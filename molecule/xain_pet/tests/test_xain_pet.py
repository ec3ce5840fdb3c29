# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The xain roles with the generation ``pet`` on one host, with Redis, store and nginx, as an unprivileged sudo user."""

from __future__ import annotations

import hashlib
import itertools
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_host import RoleHost

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
LISTS = ("minio_instances", "redis_", "nginx_", "xain_coordinator_", "xain_participant_", "everybody")
OF_NONE = {key: value for key, value in VARIABLES.items() if not key.startswith(LISTS)}
UNIT = "fedlearn-masked-coordinator.service"
REDIS = "fedlearn-masked-redis.service"
PARTICIPANTS = [one["name"] for one in VARIABLES["xain_participant_instances"]]
ANSWER = [1.25 / 4.5]
"""The mean of all numbers, of which the first counts twice."""

RESULT_SECONDS = 180
ASK = """\
import hashlib, ssl, sys, urllib.error, urllib.request
context = ssl.create_default_context(cafile="/etc/role-test/ca.pem")
if sys.argv[2:]:
    context.load_cert_chain(*(f"/etc/role-test/{name}" for name in sys.argv[2:]))
try:
    with urllib.request.urlopen(sys.argv[1], context=context, timeout=10) as answer:
        print(answer.status, hashlib.sha256(answer.read()).hexdigest())
except urllib.error.HTTPError as error:
    print(error.code, "-")
except OSError:
    print("000", "-")
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


def status(role: RoleHost, path: str, *files: str) -> str:
    """How a path is answered through nginx, to who shows these certificates."""
    return asked(role, f"https://{role.address}{path}", *files).split()[0]


def own(role: RoleHost, path: str) -> str:
    """The same of the program itself."""
    return asked(role, f"http://127.0.0.1:50050{path}").split()[0]


def model(role: RoleHost) -> str:
    """Whether there is a global model, and its sum."""
    return asked(role, "http://127.0.0.1:50050/model")


def asked(role: RoleHost, url: str, *files: str) -> str:
    """Status and sum of what is answered; 000 where nothing is."""
    return role.sh(f"python3 - {url} {' '.join(files)} <<'END'\n{ASK}END").strip()


def test_a_round_ends_with_the_known_numbers_whoever_was_drawn(participants: RoleHost) -> None:
    found = []
    for name in PARTICIPANTS:
        participants.sh(
            f"for i in $(seq {RESULT_SECONDS}); do test -e /var/lib/fedlearn-{name}/result.json && break; sleep 1; done"
        )
        found.append(participants.result(name))
    assert [one["values"] for one in found] == [pytest.approx(ANSWER, abs=1e-9)] * len(PARTICIPANTS)
    assert all(3 <= len(one["drawn"]) < len(PARTICIPANTS) for one in found)


def test_nginx_lets_in_whom_it_knows_by_certificate_and_to_what_there_is(coordinator: RoleHost) -> None:
    known = ("client.pem", "client.key")
    assert status(coordinator, "/params", *known) == "200"
    assert status(coordinator, "/params") in ("400", "403")
    assert status(coordinator, "/params", "stranger.pem", "stranger.key") in ("000", "400")
    assert status(coordinator, "/params", "server.pem", "server.key") in ("400", "403")  # of the CA, and another name
    assert status(coordinator, "/other", *known) == "404"
    assert own(coordinator, "/params") == "200"


def test_listens_on_loopback_only(coordinator: RoleHost) -> None:
    lines = coordinator.sh("ss -Hltnp | grep -e '\"coordinator\"' -e redis").splitlines()
    assert sorted(line.split()[3] for line in lines) == ["127.0.0.1:50050", "127.0.0.1:6379"]


def test_hardened(coordinator: RoleHost) -> None:
    assert coordinator.exposure(UNIT) <= 2.5
    user = coordinator.sh(f"stat -c %u /proc/$(systemctl show -p MainPID --value {UNIT})").strip()
    assert 61184 <= int(user) <= 65519  # a dynamic user


def test_no_password_is_where_others_can_read_it(coordinator: RoleHost) -> None:
    for number, name in ((1, "storage"), (22, "redis")):
        where = coordinator.sh(f"grep -rlF 'CANARY-{number}' /etc /run /var/lib/fedlearn* 2>/dev/null || true").split()
        assert f"/etc/fedlearn/rounds/masked-coordinator/{name}.password" in where
        assert "/run/fedlearn-masked-coordinator/coordinator.json" in where
        # a credential's 440 is 400 and the mask of an access list, by which Debian 13's systemd lets its unit in
        modes = coordinator.sh(f"stat -L -c '%a %G' {' '.join(where)}").splitlines()
        assert [mode for mode in modes if mode[1:3] != "00" and mode != "440 root"] == [], modes
    assert "CANARY" not in coordinator.sh(
        "cat /proc/*/cmdline /proc/*/environ | tr '\\0' ' '; journalctl -a --no-pager -u 'fedlearn-*'"
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
    assert len(owned) == 4  # unit, launcher, two passwords
    damages = itertools.cycle(("printf '# by hand\\n' >> {0}", "chmod 640 {0}", "rm {0}"))
    for path, damage in zip(owned, damages, strict=False):
        before = coordinator.sh(f"cat {path}; stat -c '%a %U' {path}")
        coordinator.sh(damage.format(path))
        assert coordinator.play("--check").changed == 1, (path, damage)
        repaired = coordinator.play()
        assert repaired.changed == 1, (path, damage, repaired.text)
        assert coordinator.sh(f"cat {path}; stat -c '%a %U' {path}") == before, (path, damage)


def test_a_killed_coordinator_goes_on_with_its_model(coordinator: RoleHost) -> None:
    assert own(coordinator, "/model") == "200"
    before = model(coordinator)
    coordinator.sh(f"systemctl kill -s KILL {UNIT}; sleep 6")
    assert model(coordinator) == before


def test_it_comes_back_when_redis_does(coordinator: RoleHost) -> None:
    coordinator.sh(f"systemctl stop {REDIS}; systemctl restart {UNIT}; sleep 6")
    assert own(coordinator, "/params") == "000"
    assert "Redis at port 6379: [Errno 111] Connection refused" in coordinator.sh(
        f"journalctl -o cat --no-pager -u {UNIT} | tail -n 20"
    )
    coordinator.sh(f"systemctl start {REDIS}; sleep 8")
    assert own(coordinator, "/model") == "200"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"storage": {"endpoint": "https://127.0.0.1:9", "bucket": "models", "user": "coordinator"}},
            "failed to create bucket",
        ),
        ({"redis": {"user": "coordinator", "port": 9}}, "Redis at port 9: [Errno 111] Connection refused"),
        ({"redis": {"user": "nobody"}}, "Redis at port 6379: WRONGPASS"),
    ],
    ids=["storage", "redis", "login"],
)
def test_a_coordinator_that_can_not_be_is_rolled_back(
    coordinator: RoleHost, changed: dict[str, Any], told: str
) -> None:
    secret = {"storage": "storage", "redis": "redis"}
    given = {key: {**value, "secret": secret[key]} for key, value in changed.items()}
    run = coordinator.play(xain_coordinator_instances=instances(**given), xain_coordinator_health_timeout_seconds=15)
    assert run.failed == 1
    assert told in run.words, run.text
    assert own(coordinator, "/model") == "200"
    assert coordinator.play().code == 0


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("failed to establish a connection to Redis", "it is built without the feature model-persistence"),
        ("invalid tls settings", "it is built with the feature tls"),
        ("any other thing", "any other thing"),
    ],
)
def test_a_program_that_was_built_otherwise_is_refused(
    coordinator: RoleHost, tmp_path: Path, says: str, told: str
) -> None:
    """These are doubles, which say what such programs were seen to say."""
    program, archive = tmp_path / "coordinator", tmp_path / "program.tar.gz"
    program.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit 101\n")
    program.chmod(0o755)
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(program, "coordinator")
    before = coordinator.state(units=(UNIT,))
    packed_as = {"source": str(archive), "sha256": hashlib.sha256(archive.read_bytes()).hexdigest()}
    run = coordinator.play(xain_coordinator_instances=instances(program=packed_as))
    assert run.failed == 1
    assert told in run.words, run.text
    assert coordinator.state(units=(UNIT,)) == before
    assert own(coordinator, "/model") == "200"
    assert coordinator.play().code == 0


def test_the_built_program_serves_as_an_archive(coordinator: RoleHost, tmp_path: Path) -> None:
    """What one control node has built others are handed."""
    (built,) = (Path(__file__).parents[3] / "build" / "cargo").glob("*/coordinator")
    archive = tmp_path / "xaynet.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(built, "coordinator")
    packed_as = {"source": str(archive), "sha256": hashlib.sha256(archive.read_bytes()).hexdigest()}
    run = coordinator.play(xain_coordinator_instances=instances(program=packed_as), shared_xain_cargo="/nowhere/cargo")
    assert (run.code, run.changed) == (0, 2), run.text
    assert own(coordinator, "/model") == "200"
    assert coordinator.play().code == 0


def test_settings_that_would_lose_the_model_change_only_when_that_is_meant(coordinator: RoleHost) -> None:
    (only,) = VARIABLES["xain_coordinator_instances"]
    other = instances(settings={**only["settings"], "pet": {**only["settings"]["pet"], "sum": 0.4}})
    before = coordinator.state(units=(UNIT,))
    refused = coordinator.play(xain_coordinator_instances=other)
    assert refused.failed == 1
    assert "[pet] differ from those that its state and last global model were made with" in refused.words, refused.text
    assert "say -e fedlearn_disrupt=masked" in refused.words
    assert coordinator.state(units=(UNIT,)) == before
    assert coordinator.play("-e", "fedlearn_disrupt=others", xain_coordinator_instances=other).failed == 1
    assert own(coordinator, "/model") == "200"
    filtered = instances(settings={**only["settings"], "log": {"filter": "warn"}})
    assert coordinator.play(xain_coordinator_instances=filtered).failed == 0
    assert own(coordinator, "/model") == "200"
    assert coordinator.play("-e", "fedlearn_disrupt=masked", xain_coordinator_instances=other).failed == 0
    assert own(coordinator, "/model") == "204"
    assert coordinator.try_sh("ls /run/fedlearn-disrupt-*")[0] != 0
    assert coordinator.play("-e", "fedlearn_disrupt=masked").failed == 0


def test_an_application_that_fails_is_told_and_started_again(participants: RoleHost, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def make(settings):\n    return object()\n")
    first, *_others = VARIABLES["xain_participant_instances"]
    mine = {"callable": "mine:make", "source": str(tmp_path / "mine.py")}
    run = participants.play(
        xain_participant_instances=[{**first, "name": "mine", "application": mine}],
        xain_participant_health_timeout_seconds=10,
    )
    assert run.failed == 1
    assert "application mine:make returned no ParticipantABC" in run.words, run.text
    missing = [{**first, "name": "mine", "application": {"callable": "no.such:Mine"}}]
    run = participants.play(xain_participant_instances=missing)
    assert "application no.such:Mine: ModuleNotFoundError" in run.words, run.text
    gone = [{"name": "mine", "federation": "rounds", "state": "absent"}]
    assert participants.play(xain_participant_instances=gone, xain_participant_remove_data=True).code == 0


def test_the_version_says_of_what_it_was_built(coordinator: RoleHost) -> None:
    """The digest of crate and lock names the version, and what is recorded on the host has it."""
    launcher = json.loads(coordinator.sh("cat /etc/fedlearn/rounds/masked-coordinator/launcher.json"))
    folder = Path(launcher["program"]).parent
    found = json.loads(coordinator.sh(f"cat {folder}/.fedlearn-artifact.json"))
    assert (found["source"], found["digest"][:12]) == ("cargo", folder.name)


def test_removal_leaves_data_only(coordinator: RoleHost, participants: RoleHost) -> None:
    assert participants.play(entry="remove").code == 0
    assert coordinator.play(entry="remove").code == 0
    left = coordinator.sh(
        "ls /etc/fedlearn/rounds /opt/fedlearn /etc/systemd/system | grep -e xain -e xaynet -e coordinator || true"
    )
    assert left == ""
    assert coordinator.try_sh("pgrep -x coordinator")[0] == 1
    assert participants.try_sh("pgrep -f '[f]edlearn_xain'")[0] == 1
    assert participants.play(entry="remove", xain_participant_remove_data=True).code == 0
    assert participants.sh("ls -d /var/lib/private/fedlearn-participant-* 2>/dev/null || true") == ""
