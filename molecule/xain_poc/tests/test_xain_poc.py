# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The xain roles with the generation ``poc`` on one host behind nginx, as an unprivileged sudo user."""

from __future__ import annotations

import hashlib
import itertools
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_host import RoleHost
from shared_tests import PORT
from shared_tests import unit as program

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
LISTS = ("nginx_", "xain_coordinator_", "xain_aggregator_", "xain_participant_", "served", "xain_settings")
OF_NONE = {key: value for key, value in VARIABLES.items() if not key.startswith(LISTS)}
COORDINATOR = "fedlearn-counts-coordinator.service"
AGGREGATOR = "fedlearn-counts-aggregator.service"
PARTICIPANTS = [one["name"] for one in VARIABLES["xain_participant_instances"]]
ANSWER = [8.0, 16.0, 24.0, 32.0]
"""Two rounds of [4, 8, 12, 16], the mean of both steps by samples."""

RESULT_SECONDS = 120
PYTHON = "$(ls -d /opt/fedlearn/xain-poc/*/python)"


def of(role: str) -> dict[str, Any]:
    return {**OF_NONE, **{key: value for key, value in VARIABLES.items() if key.startswith(f"{role}_")}}


@pytest.fixture
def coordinator(host: Any) -> RoleHost:
    return RoleHost(host, "xain_coordinator", of("xain_coordinator"))


@pytest.fixture
def aggregator(host: Any) -> RoleHost:
    return RoleHost(host, "xain_aggregator", of("xain_aggregator"))


@pytest.fixture
def participants(host: Any) -> RoleHost:
    return RoleHost(host, "xain_participant", of("xain_participant"))


def changed(of_role: str, **values: Any) -> list[dict[str, Any]]:
    """The scenario's coordinator, or aggregator, changed."""
    (only,) = VARIABLES[f"{of_role}_instances"]
    return [{**only, **values}]


def answers(role: RoleHost, port: int) -> bool:
    """Whether a program answers where there is nothing, by which nobody takes part: the aggregator with 405."""
    script = (
        "import urllib.error, urllib.request\n"
        f"try: urllib.request.urlopen('http://127.0.0.1:{port}/x', timeout=10)\n"
        "except urllib.error.HTTPError as error: print(error.code)\n"
        "except OSError: print(0)\n"
    )
    return role.sh(f"python3 - <<'END'\n{script}END").strip() in ("404", "405")


def test_a_training_ends_with_the_known_numbers(participants: RoleHost) -> None:
    for name in PARTICIPANTS:
        participants.sh(
            f"for i in $(seq {RESULT_SECONDS}); do test -e /var/lib/fedlearn-{name}/result.json && break; sleep 1; done"
        )
        assert participants.result(name)["values"] == pytest.approx(ANSWER, abs=1e-9)


def test_each_model_is_kept_the_last_one_too(aggregator: RoleHost) -> None:
    script = (
        "import glob, json, numpy; "
        "print(json.dumps([numpy.load(one).tolist() for one in sorted(glob.glob("
        "'/var/lib/fedlearn-counts-aggregator/models/*'))]))"
    )
    python = f"PYTHONHOME={PYTHON} LD_LIBRARY_PATH={PYTHON}/lib {PYTHON}/bin/python3.9"
    found = yaml.safe_load(aggregator.sh(f'{python} -B -c "{script}"'))
    assert found == [pytest.approx([value * rounds / 2 for value in ANSWER]) for rounds in (1, 2, 3)]


def test_listens_on_loopback_only(coordinator: RoleHost) -> None:
    lines = coordinator.sh("ss -Hltnp | grep -e '\"coordinator\"' -e '\"aggregator\"'").splitlines()
    assert sorted(line.split()[3] for line in lines) == [
        f"127.0.0.1:{port}" for port in ("50050", "50052", "5555", "6666")
    ]


@pytest.mark.parametrize("unit", [COORDINATOR, AGGREGATOR])
def test_hardened(coordinator: RoleHost, unit: str) -> None:
    assert coordinator.exposure(unit) <= 2.5
    user = coordinator.sh(f"stat -c %u /proc/$(systemctl show -p MainPID --value {unit})").strip()
    assert 61184 <= int(user) <= 65519  # a dynamic user


def test_second_run_changes_nothing(coordinator: RoleHost, aggregator: RoleHost, participants: RoleHost) -> None:
    for role, units in ((coordinator, (COORDINATOR,)), (aggregator, (AGGREGATOR,)), (participants, ())):
        before = role.state(units=units)
        again = role.play(most=3)
        assert (again.code, again.changed) == (0, 0), again.text
        assert role.state(units=units) == before


def test_check_mode_reports_nothing_and_check_is_content(
    coordinator: RoleHost, aggregator: RoleHost, participants: RoleHost
) -> None:
    for role in (coordinator, aggregator, participants):
        checked = role.play("--check")
        assert (checked.code, checked.changed) == (0, 0), checked.text
        assert role.play(entry="check").code == 0
        assert role.play(entry="precheck").code == 0


def test_what_is_changed_by_hand_is_reported_and_repaired(aggregator: RoleHost) -> None:
    owned = aggregator.owned()
    assert len(owned) == 2  # unit and launcher
    damages = itertools.cycle(("printf '# by hand\\n' >> {0}", "rm {0}"))
    for path, damage in zip(owned, damages, strict=False):
        before = aggregator.sh(f"cat {path}; stat -c '%a %U' {path}")
        aggregator.sh(damage.format(path))
        assert aggregator.play("--check").changed == 1, (path, damage)
        repaired = aggregator.play()
        assert repaired.changed == 1, (path, damage, repaired.text)
        assert aggregator.sh(f"cat {path}; stat -c '%a %U' {path}") == before, (path, damage)


@pytest.mark.parametrize(("unit", "port"), [(COORDINATOR, 50050), (AGGREGATOR, 50052)])
def test_what_is_killed_comes_back(coordinator: RoleHost, unit: str, port: int) -> None:
    coordinator.sh(f"systemctl kill -s KILL {unit}; sleep 8")
    assert answers(coordinator, port)


def test_a_coordinator_waits_for_its_aggregator_and_is_well(coordinator: RoleHost, aggregator: RoleHost) -> None:
    coordinator.sh(f"systemctl stop {AGGREGATOR}; systemctl restart {COORDINATOR}; sleep 4")
    assert not answers(coordinator, 50050)
    assert coordinator.play(entry="check").code == 0
    assert aggregator.play(entry="check").code != 0
    coordinator.sh(f"systemctl start {AGGREGATOR}; sleep 8")
    assert answers(coordinator, 50050)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "AttributeError: module 'mine' has no attribute 'Mine'"),
        ("import torch\n", "ModuleNotFoundError: No module named 'torch'"),
        ("class Mine:\n    def __init__(self):\n        raise ValueError('no model')\n", "ValueError: no model"),
        ("class Mine:\n    add_weights = print\n", "it has no method aggregate"),
        ("raise SystemExit(0)\n", "it ends the program, by SystemExit(0)"),
        (
            "import time\nclass Mine:\n    add_weights = bool\n    def aggregate(self): time.sleep(12)\n",
            "aggregate() takes longer than 10 s on weights of 10 MB: after 10 s the coordinator has the round",
        ),
    ],
)
def test_a_class_that_can_not_be_made_is_refused_by_precheck_and_by_a_deploy(
    aggregator: RoleHost, tmp_path: Path, text: str, told: str
) -> None:
    (tmp_path / "mine.py").write_text(text)
    before = aggregator.state(units=(AGGREGATOR,))
    mine = {"python_class": "mine:Mine", "class_artifact": {"source": str(tmp_path / "mine.py")}}
    for entry in ("precheck", "main"):
        run = aggregator.play(entry=entry, xain_aggregator_instances=changed("xain_aggregator", **mine))
        assert run.failed == 1
        assert f"python_class mine:Mine: {told}" in run.words, (entry, run.text)
        assert aggregator.state(units=(AGGREGATOR,)) == before
    assert aggregator.sh("ls /tmp | grep -c fedlearn-trial || true").strip() == "0"
    assert answers(aggregator, 50052)


def test_a_class_that_fails_in_its_unit_only_is_taken_back(aggregator: RoleHost, tmp_path: Path) -> None:
    """The program answers before it makes the class, and the trial isn't confined as the unit is."""
    (tmp_path / "mine.py").write_text(
        "from xain_aggregators import weighted_average\n"
        "class Mine(weighted_average.Aggregator):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        open('/home/model').close()\n"
    )
    mine = {"python_class": "mine:Mine", "class_artifact": {"source": str(tmp_path / "mine.py")}}
    owned = "cat " + " ".join(aggregator.owned())
    before = aggregator.sh(owned)
    aggregator.sh("touch /home/model")
    run = aggregator.play(xain_aggregator_instances=changed("xain_aggregator", **mine))
    aggregator.sh("rm /home/model")
    assert run.failed == 1, run.text
    assert "rolled back, the former service is running" in run.words
    assert "the class mine:Mine can't be made: " in run.words, run.text
    assert "'/home/model'" in run.words
    assert aggregator.sh(owned) == before
    assert aggregator.play(entry="check").code == 0
    again = aggregator.play()
    assert (again.code, again.changed) == (0, 0), again.text


@pytest.mark.parametrize("key", ["listen", "rpc"])
@pytest.mark.parametrize("role", ["xain_coordinator", "xain_aggregator"])
def test_a_port_of_somebody_else_is_named_and_nothing_changes(host: Any, role: str, key: str) -> None:
    """The programs end with 0 then, and say nothing."""
    one, name = RoleHost(host, role, of(role)), f"counts-{role.removeprefix('xain_')}"
    (only,) = VARIABLES[f"{role}_instances"]
    other = {f"{role}_instances": changed(role, **{key: {**only.get(key, {}), "port": PORT}})}
    before = one.state(units=(COORDINATOR, AGGREGATOR))
    listens = f"ss -Hltn | grep -q 127.0.0.1:{PORT}"
    with program(one, "foreign", f"python3 -m http.server {PORT} --bind 127.0.0.1", listens) as process:
        looked = one.play(entry="precheck", **other)
        way_out = f"process {process}, foreign.service): end it, or choose another port"
        told = f"{name}: 127.0.0.1 port {PORT}: held by python3 ({way_out}"
        assert (looked.code, told in looked.words) == (2, True), looked.text
        run = one.play(**other)
        told = f"{name}: port {PORT} is held by another program (python3, {way_out}; nothing was changed"
        assert (run.code, told in run.words) == (2, True), run.text
    assert one.state(units=(COORDINATOR, AGGREGATOR)) == before
    assert answers(one, 50050)
    assert answers(one, 50052)


@pytest.mark.parametrize("role", ["xain_coordinator", "xain_aggregator"])
def test_a_program_that_refuses_its_configuration_is_refused(host: Any, tmp_path: Path, role: str) -> None:
    """A double, which says what such programs were seen to say."""
    one, archive = RoleHost(host, role, of(role)), tmp_path / "program.tar.gz"
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho 'Problem parsing configuration file: missing field `x`' >&2\nexit 1\n")
    program.chmod(0o755)
    with tarfile.open(archive, "w:gz") as packed:
        for name in ("coordinator", "aggregator"):
            packed.add(program, name)
    packed_as = {"source": str(archive), "sha256": hashlib.sha256(archive.read_bytes()).hexdigest()}
    before = one.state(units=(COORDINATOR, AGGREGATOR))
    run = one.play(**{f"{role}_instances": changed(role, program=packed_as)})
    assert run.failed == 1
    assert "Problem parsing configuration file" in run.words, run.text
    assert one.state(units=(COORDINATOR, AGGREGATOR)) == before
    assert one.play().code == 0


def test_the_built_programs_serve_as_an_archive(aggregator: RoleHost) -> None:
    """What one control node has built others are handed, which could build nothing."""
    (built,) = (Path(__file__).parents[3] / "build" / "cargo").glob("*/xain-fl.tar.gz")
    packed_as = {"source": str(built), "sha256": hashlib.sha256(built.read_bytes()).hexdigest()}
    nowhere = {"shared_xain_cargo": "/nowhere/cargo", "shared_xain_build_directory": "/nowhere"}
    run = aggregator.play(xain_aggregator_instances=changed("xain_aggregator", program=packed_as), **nowhere)
    assert (run.code, run.changed) == (0, 2), run.text
    assert answers(aggregator, 50052)
    assert aggregator.play().code == 0


def test_a_training_under_way_is_lost_only_when_that_is_meant(coordinator: RoleHost, aggregator: RoleHost) -> None:
    settings = VARIABLES["xain_settings"]
    longer = {**settings, "federated_learning": {**settings["federated_learning"], "rounds": 4}}
    for role, word, unit in (
        (coordinator, "xain_coordinator", COORDINATOR),
        (aggregator, "xain_aggregator", AGGREGATOR),
    ):
        runtime = f"/run/{unit.removesuffix('.service')}"
        role.sh(f"echo 'round 2 of 3' >{runtime}/training")
        other = {f"{word}_instances": changed(word, settings=longer)}
        before = role.state(units=(unit,))
        refused = role.play(**other)
        assert refused.failed == 1
        assert "a training is under way (round 2 of 3)" in refused.words, refused.text
        assert "say -e fedlearn_disrupt=counts" in refused.words
        assert role.state(units=(unit,)) == before
        gone = {f"{word}_instances": changed(word, state="absent")}
        for entry in ("main", "leaving", "precheck"):
            refused = role.play(entry=entry, **gone)
            assert refused.failed == 1, (entry, refused.text)
            assert "a training is under way (round 2 of 3)" in refused.words, refused.text
        assert role.play("-e", "fedlearn_disrupt=counts", entry="leaving", **gone).failed == 0
        assert role.state(units=(unit,)) == before
        assert role.play("-e", "fedlearn_disrupt=others", **other).failed == 1
        assert role.play("-e", "fedlearn_disrupt=counts", **other).failed == 0
        assert role.try_sh("ls /run/fedlearn-disrupt-*")[0] != 0
        assert role.play().failed == 0


def test_more_memory_comes_to_a_training_under_way(aggregator: RoleHost) -> None:
    """What it may have follows from how many take part, and one more is no reason to lose a model."""
    runtime = f"/run/{AGGREGATOR.removesuffix('.service')}"
    pid = f"systemctl show --value -p MainPID {AGGREGATOR}"
    aggregator.sh(f"echo 'round 2 of 3' >{runtime}/training")
    before = aggregator.sh(pid)
    more = {"xain_aggregator_instances": changed("xain_aggregator", memory_max="1100M")}
    run = aggregator.play(**more)
    assert (run.failed, run.changed) == (0, 1), run.text
    assert aggregator.play(**more).changed == 0
    assert aggregator.sh(pid) == before
    place = aggregator.sh(f"systemctl show --value -p ControlGroup {AGGREGATOR}").strip()
    files = f"/sys/fs/cgroup{place}/memory.max /sys/fs/cgroup/memory{place}/memory.limit_in_bytes"
    assert aggregator.sh(f"cat {files} 2>/dev/null || true").split() == [str(1100 << 20)]
    assert aggregator.sh(f"cat {runtime}/training") == "round 2 of 3\n"
    assert aggregator.play().failed == 0
    assert aggregator.sh(f"rm {runtime}/training; {pid}") == before


def test_removal_leaves_models_only(coordinator: RoleHost, aggregator: RoleHost, participants: RoleHost) -> None:
    for role in (participants, aggregator, coordinator):
        assert role.play(entry="remove").code == 0
    left = coordinator.sh(
        "ls /etc/fedlearn/rounds /opt/fedlearn /etc/systemd/system | grep -e xain -e coordinator -e aggregator || true"
    )
    assert left == ""
    assert coordinator.try_sh("pgrep -x coordinator")[0] == 1
    assert coordinator.try_sh("pgrep -x aggregator")[0] == 1
    assert aggregator.sh("ls /var/lib/fedlearn-counts-aggregator/models").strip() != ""
    assert aggregator.play(entry="remove", xain_aggregator_remove_data=True).code == 0
    assert aggregator.sh("ls -d /var/lib/private/fedlearn-counts-* 2>/dev/null || true") == ""


def test_precheck_of_a_host_that_has_nothing_yet_is_content(
    coordinator: RoleHost, aggregator: RoleHost, participants: RoleHost, tmp_path: Path
) -> None:
    """No program is there that could try a class: the deploy does, before it puts anything in place."""
    assert coordinator.sh("ls /opt/fedlearn | grep xain || true") == ""
    (tmp_path / "mine.py").write_text("import nowhere\n")
    mine = {"python_class": "mine:Mine", "class_artifact": {"source": str(tmp_path / "mine.py")}}
    for role in (coordinator, aggregator, participants):
        looked = role.play(entry="precheck")
        assert (looked.code, looked.changed) == (0, 0), looked.text
    looked = aggregator.play(entry="precheck", xain_aggregator_instances=changed("xain_aggregator", **mine))
    assert (looked.code, looked.changed) == (0, 0), looked.text
    assert coordinator.sh("ls /opt/fedlearn | grep xain; ls /tmp | grep fedlearn-trial; true") == ""
    refused = aggregator.play(xain_aggregator_instances=changed("xain_aggregator", **mine))
    assert "python_class mine:Mine: ModuleNotFoundError: No module named 'nowhere'" in refused.words, refused.text
    assert aggregator.try_sh(f"systemctl cat {AGGREGATOR}")[0] != 0
    assert aggregator.play(entry="remove").code == 0
