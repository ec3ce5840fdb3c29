# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles mindspore_scheduler, mindspore_server and mindspore_worker on one host, as an unprivileged sudo user."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_host import CHECKOUT, RoleHost

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
STATE = Path(os.environ["FEDLEARN_ROLE_STATE"])
SCHEDULER, SERVER, WORKER = ROLES = ("mindspore_scheduler", "mindspore_server", "mindspore_worker")
EXECUTIONS = {SCHEDULER: 2, SERVER: 3, WORKER: 2}
TRUTH = [1.0, -2.0, 3.0, 0.5]
PASSWORD = "/etc/fedlearn/secure/pki/server-1/bundle.password"


def names(role: str) -> list[str]:
    """The services a role has here: its instances', and a server's exchange of checkpoints."""
    instances = [one["name"] for one in VARIABLES[f"{role}_instances"]]
    return instances + [f"{name}-checkpoints" for name in instances if role == SERVER]


def units(role: str) -> tuple[str, ...]:
    return tuple(f"fedlearn-{name}.service" for name in names(role))


def instances(role: str, **changed: Any) -> dict[str, Any]:
    """A role's instances, the first one changed, as variables."""
    first, *rest = VARIABLES[f"{role}_instances"]
    return {f"{role}_instances": [{**first, **changed}, *rest]}


@pytest.fixture
def roles(host: Any) -> dict[str, RoleHost]:
    return {name: RoleHost(host, name, VARIABLES, services=names(name)) for name in ROLES}


@pytest.fixture(params=ROLES)
def role(request: pytest.FixtureRequest, roles: dict[str, RoleHost]) -> RoleHost:
    return roles[request.param]


@pytest.fixture
def server(roles: dict[str, RoleHost]) -> RoleHost:
    return roles[SERVER]


def junk(name: str, content: bytes) -> dict[str, str]:
    """A model of this content, with its right sum."""
    (STATE / name).write_bytes(content)
    return {"source": str(STATE / name), "sha256": hashlib.sha256(content).hexdigest()}


def fetch(role: RoleHost, url: str) -> Any:
    """JSON of a URL, asked on the host."""
    ca = "/etc/fedlearn/secure/pki/server-1/ca.pem"
    code = (
        "import ssl, sys, urllib.request as u; "
        f"c = ssl.create_default_context(cafile='{ca}'); "
        "print(u.urlopen(sys.argv[1], context=c if 'https' in sys.argv[1] else None, timeout=10).read().decode())"
    )
    return json.loads(role.sh(f'python3 -c "{code}" {url}'))


# --- what it is for ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names(WORKER))
def test_training_ends_with_the_right_numbers_which_no_worker_had_alone(roles: dict[str, RoleHost], name: str) -> None:
    result = roles[WORKER].result(name)
    assert result["values"] == pytest.approx(TRUTH, abs=0.05)
    for own, right in zip(result["own"], TRUTH, strict=True):
        assert abs(own - right) == pytest.approx(0.5, abs=0.01)
    assert len(result["iterations"]) == (3 if name.startswith("secure") else 2)
    assert result.get("application") == ("learn" if name == "secure-worker-2" else None)
    assert roles[WORKER].sh(f"systemctl show -p Result --value fedlearn-{name}").strip() == "success"


def test_the_schedulers_say_that_it_has_finished(roles: dict[str, RoleHost]) -> None:
    role = roles[SCHEDULER]
    for url, servers in ((f"https://{role.address}:11303/state", 2), ("http://127.0.0.1:11202/state", 1)):
        state = fetch(role, url)
        assert state["cluster_state"] == "CLUSTER_FINISH"
        assert len(state["nodes"]) == servers


def test_each_server_of_a_stack_holds_the_newest_checkpoint(server: RoleHost) -> None:
    newest = [
        server.sh(f"ls /var/lib/fedlearn-secure-server-{number}/checkpoints | sort | tail -1") for number in (1, 2)
    ]
    assert newest[0] == newest[1]
    assert newest[0].startswith("everything.on_1_recovery_iteration_3_")


def test_a_server_begins_with_the_model_it_was_given(server: RoleHost) -> None:
    launcher = json.loads(server.sh("cat /etc/fedlearn/secure/secure-server-1/launcher.json"))
    given = json.loads((STATE / "model.json").read_text())
    assert server.sh(f"sha256sum {launcher['initial_model']}").split()[0] == given["sha256"]


def test_who_comes_when_all_is_over_ends_and_says_so(roles: dict[str, RoleHost]) -> None:
    worker, words = roles[WORKER], "the training was over before this worker took part in it"
    there = VARIABLES["mindspore_worker_instances"]
    late = {**there[-1], "name": "plain-worker-3"}
    assert worker.play(mindspore_worker_instances=[*there, late]).code == 0
    assert worker.result("plain-worker-3")["missed"] == words
    worker.sh("for turn in $(seq 50); do systemctl is-active -q fedlearn-plain-worker-3 || break; sleep 0.2; done")
    assert worker.sh("systemctl show -p Result --value fedlearn-plain-worker-3").strip() == "success"
    again = worker.play(mindspore_worker_instances=[*there, late])
    assert (again.code, again.changed) == (0, 0), again.text
    assert words in again.words
    assert worker.play(entry="check", mindspore_worker_instances=[*there, late]).code == 0
    gone = {**late, "state": "absent"}
    assert worker.play(mindspore_worker_instances=[*there, gone], mindspore_worker_remove_data=True).changed == 1


# --- where it runs, and as whom ---------------------------------------------------------------------------------------


def test_listens_where_it_was_told_to_and_on_one_ephemeral_port_a_server(server: RoleHost) -> None:
    ephemeral = server.sh("cat /proc/sys/net/ipv4/ip_local_port_range").split()
    assert ephemeral == ["32768", "60999"], "the host's range isn't ours to narrow"
    first_ephemeral = int(ephemeral[0])
    listening = [line.split()[3] for line in server.sh("ss -Hltnp | grep python").splitlines()]
    chosen = [one for one in listening if int(one.rpartition(":")[2]) >= first_ephemeral]
    own, loopback = server.address, "127.0.0.1"
    assert sorted(one.rpartition(":")[0] for one in chosen) == sorted([own, own, loopback])
    assert sorted(set(listening) - set(chosen)) == sorted(
        [f"{own}:{port}" for port in (6666, 6667, 7666, 7667, 11303)]
        + [f"{loopback}:{port}" for port in (6666, 7666, 11202)]
    )


@pytest.mark.parametrize("unit", itertools.chain(*map(units, ROLES)))
def test_hardened(server: RoleHost, unit: str) -> None:
    assert server.exposure(unit) <= 2.5
    assert server.sh(f"systemctl show -p DynamicUser --value {unit}").strip() == "yes"


@pytest.mark.parametrize("unit", [*units(SCHEDULER), *units(SERVER)])
def test_runs_as_a_user_of_its_own_on_the_python_that_was_brought(server: RoleHost, unit: str) -> None:
    process = server.sh(f"systemctl show -p MainPID --value {unit}").strip()
    assert 61184 <= int(server.sh(f"stat -c %u /proc/{process}")) <= 65519
    source = json.loads((STATE / "python.json").read_text())["source"]
    # Debian's own program has the library built in
    python = server.sh(f"grep -m1 -oE '/.*(libpython3.9.so|bin/python3.9).*' /proc/{process}/maps").strip()
    assert python.startswith({"system": "/usr/", "archive": "/opt/fedlearn/mindspore-python/"}[source])


def test_the_light_runtime_is_light(server: RoleHost) -> None:
    for size in server.sh("du -sm /opt/fedlearn/mindspore-light/* | cut -f1").split():
        assert int(size) <= 100, "megabytes"
    for unit in (*units(SCHEDULER), *units(SERVER)):
        process = server.sh(f"systemctl show -p MainPID --value {unit}").strip()
        assert int(server.sh(f"awk '/VmRSS/ {{print $2}}' /proc/{process}/status")) <= 64 * 1024, f"{unit}: kilobytes"


def test_limits_are_in_effect(server: RoleHost) -> None:
    process = server.sh("systemctl show -p MainPID --value fedlearn-secure-server-1").strip()
    allowed = int(server.sh("awk '/open files/ {print $5}' /proc/1/limits"))
    assert int(server.sh(f"awk '/open files/ {{print $4}}' /proc/{process}/limits")) == min(8192, allowed)
    shown = server.sh("systemctl show -p MemoryMax -p TasksMax fedlearn-secure-server-1").split()
    assert shown == ["MemoryMax=4294967296", "TasksMax=1024"]
    quota = server.sh("systemctl show -p CPUQuotaPerSecUSec --value fedlearn-secure-worker-1").strip()
    assert float(quota.rstrip("s")) == 1.5


# --- a second run, changes by hand ------------------------------------------------------------------------------------


def test_second_run_changes_nothing(role: RoleHost) -> None:
    before = role.state(units=units(role.role))
    again = role.play(most=EXECUTIONS[role.role])
    assert (again.code, again.changed) == (0, 0), again.text
    assert role.state(units=units(role.role)) == before


def test_check_mode_reports_nothing_and_check_is_content(role: RoleHost) -> None:
    before = role.state(units=units(role.role))
    assert role.play("--check").changed == 0
    for entry in ("check", "precheck"):
        run = role.play(entry=entry)
        assert run.code == 0, run.text
    assert role.state(units=units(role.role)) == before


@pytest.mark.parametrize("damages", [("printf '# by hand\\n' >> {0}",), ("chmod 600 {0}", "rm {0}")])
def test_what_is_changed_by_hand_is_reported_and_repaired(role: RoleHost, damages: tuple[str, ...]) -> None:
    owned = role.owned()
    assert len(owned) == 3 * len(names(role.role))
    content = f"for f in {' '.join(owned)}; do cat $f; stat -c '%n %a %U' $f; done"
    before = role.sh(content)
    for path, damage in zip(owned, itertools.cycle(damages), strict=False):
        role.sh(damage.format(path))
    assert role.play("--check").changed > 0
    named = role.play(entry="check").words
    assert all(f"{name}: differing: " in named for name in names(role.role)), named
    assert ": stopped: " not in named
    assert ": ill: " not in named
    repaired = role.play()
    assert (repaired.code, repaired.changed > 0) == (0, True), repaired.text
    assert role.sh(content) == before
    assert role.play(entry="check").code == 0


def test_what_was_trained_is_not_trained_again(roles: dict[str, RoleHost]) -> None:
    for name in names(WORKER):
        assert roles[WORKER].sh(f"systemctl show -p ActiveState --value fedlearn-{name}").strip() == "inactive"
        assert roles[WORKER].result(name)["values"] == pytest.approx(TRUTH, abs=0.05)


def test_a_python_of_the_hosts_own_is_taken_by_its_path(roles: dict[str, RoleHost]) -> None:
    scheduler = roles[SCHEDULER]
    folder = scheduler.sh("sed -n 's/^home = //p' /opt/fedlearn/mindspore-light/*/pyvenv.cfg | head -1").strip()
    if folder != "/usr/bin":
        scheduler.sh(f"cp -a {folder}/.. /srv/python39")
        folder = "/srv/python39/bin"
    moved = scheduler.play(
        **instances(SCHEDULER, runtime={"python": {"source": "path", "path": f"{folder}/python3.9"}})
    )
    assert moved.code == 0, moved.text
    process = scheduler.sh(f"systemctl show -p MainPID --value {units(SCHEDULER)[0]}").strip()
    assert scheduler.sh(f"readlink /proc/{process}/exe").startswith(folder)
    back = scheduler.play()
    assert back.code == 0, back.text
    scheduler.sh("rm -rf /srv/python39")


# --- what is refused --------------------------------------------------------------------------------------------------

WRONG: list[tuple[str, dict[str, Any], str]] = [
    (SCHEDULER, {"settings": {"server_mode": "CLOUD_TRAINING"}}, "[0]: settings: the key 'fl_name' is missing"),
    (
        SCHEDULER,
        {"settings": {"fl_name": "a", "fl_iteration_num": "3"}},
        "[0]: settings.fl_iteration_num: expected a whole number from 1 to 4294967295, found the text '3': leave out",
    ),
    (SCHEDULER, {"settings": {"fl_name": "a", "enable_ssl": True}}, "[0]: settings.enable_ssl: is derived from"),
    (SCHEDULER, {"listen": {"address": "0.0.0.0"}}, "[0]: listen.address: '0.0.0.0' is not an IPv4 address"),
    (SCHEDULER, {"redis": {"address": "redis.example"}}, "[0]: redis.address: 'redis.example' is no numeric address"),
    (SCHEDULER, {"name": "plain-scheduler"}, "[1]: name: 'plain-scheduler' is also the name of [0]"),
    (SCHEDULER, {"settngs": {}}, "Supported parameters include: federation"),
    (
        SERVER,
        {"settings": {"fl_name": "a", "round": {"start_fl_job_threshold": 0}}},
        "[0]: settings.round.start_fl_job_threshold: expected a whole number from 1 to 4294967295, found the number 0",
    ),
    (
        SERVER,
        {"settings": {"fl_name": "a", "round": {"update_model_ratio": 1.5}}},
        "[0]: settings.round.update_model_ratio: expected a number above 0 and of at most 1, found the number 1.5",
    ),
    (
        SERVER,
        {"settings": {"fl_name": "a", "client": {"client_learning_rate": "1e-3"}}},
        "[0]: settings.client.client_learning_rate: expected a number above 0, found the text '1e-3'",
    ),
    (
        SERVER,
        {"settings": {"fl_name": "a", "encrypt": {"encrypt_type": "AES"}}},
        "[0]: settings.encrypt.encrypt_type: expected one of NOT_ENCRYPT, PW_ENCRYPT, STABLE_PW_ENCRYPT",
    ),
    (SERVER, {"settings": {"fl_name": "a", "rounds": {}}}, "[0]: settings.rounds: "),
    (SERVER, {"tcp_address": "ms2.example"}, "[0]: tcp_address: 'ms2.example' is not an IPv4 address"),
    (
        SERVER,
        {"initial_model": {"source": "model.bin", "sha256": "0" * 64}},
        "[0]: initial_model.source: 'model.bin' is not a file whose name ends with .ckpt or .npz",
    ),
    (SERVER, {"initial_model": junk("junk.npz", b"junk")}, "junk.npz: it is no complete archive of NumPy's arrays: "),
    (SERVER, {"initial_model": junk("junk.ckpt", b"junk")}, "junk.ckpt: it is no complete checkpoint: cut off"),
    (SERVER, {"initial_model": {"source": "/no/model.npz", "sha256": "0" * 64}}, "there is no '/no/model.npz' on the"),
    (SERVER, {"initial_model": {"source": str(STATE / "model.npz"), "sha256": "0" * 64}}, ", not " + "0" * 64),
    (WORKER, {"settings": {"fl_name": "a"}}, "[0]: settings.server_mode: FEDERATED_LEARNING has devices and no worker"),
    (WORKER, {"server": {"address": "::1"}}, "[0]: server.address: '::1' is not an IPv4 address"),
    (WORKER, {"application": {"callable": "train"}}, "[0]: application.callable: 'train' is no Python callable"),
    (WORKER, {"application": {"callable": "a:b", "source": "/no/app.py"}}, "there is no '/no/app.py' on the control"),
    (
        WORKER,
        {"runtime": {"python": {"source": "path"}}},
        "[0]: runtime.python.source: 'path' is needed with source: path",
    ),
]


@pytest.mark.parametrize(("name", "wrong", "message"), WRONG)
def test_wrong_values_are_told_and_touch_nothing(
    roles: dict[str, RoleHost], name: str, wrong: dict[str, Any], message: str
) -> None:
    role = roles[name]
    before = role.state(units=units(name))
    run = role.play(**instances(name, **wrong))
    assert (run.code, run.changed) == (2, 0)
    assert message in run.words, run.text
    assert role.state(units=units(name)) == before


@pytest.fixture
def foreign(server: RoleHost) -> Iterator[int]:
    """A port held by somebody else's program."""
    server.sh("systemd-run --quiet --unit foreign python3 -m http.server 23499 --bind 127.0.0.1; sleep 1")
    yield 23499
    server.sh("systemctl stop foreign")


@pytest.mark.parametrize(
    ("name", "place"), [(SCHEDULER, "listen"), (SERVER, "http"), (SERVER, "checkpoints")], ids=lambda one: one
)
def test_a_port_of_somebody_else_is_named(roles: dict[str, RoleHost], foreign: int, name: str, place: str) -> None:
    run = roles[name].play(entry="precheck", **instances(name, **{place: {"address": "127.0.0.1", "port": foreign}}))
    assert run.code == 2
    assert "127.0.0.1 port 23499: held by python3 (process" in run.words


@pytest.mark.parametrize(
    ("changed", "reason", "running"),
    [
        # only a start shows it, so that the process is another one afterwards
        ({"tls": {**VARIABLES["secure_tls"], "password": "/etc/hostname"}}, "PKCS12_parse failed", ()),
        (
            {"initial_model": {"shapes": {"fc.weight": [1, 4], "fc.bias": [1]}}},
            "is of another model than the initial",
            units(SERVER),
        ),
    ],
    ids=["password", "model"],
)
def test_what_a_server_refuses_never_replaces_what_it_takes(
    server: RoleHost, changed: dict[str, Any], reason: str, running: tuple[str, ...]
) -> None:
    before = server.state(units=running)
    run = server.play(mindspore_server_health_timeout_seconds=30, **instances(SERVER, **changed))
    assert run.code == 2
    assert reason in run.words
    assert "secure-server-1" in run.words
    assert server.sh(f"cat {PASSWORD}") not in run.text
    assert server.state(units=running) == before
    assert server.play(entry="check").code == 0
    assert server.play().changed == 0


def test_an_application_that_cannot_be_imported_never_replaces_what_is_there(roles: dict[str, RoleHost]) -> None:
    worker, source = roles[WORKER], STATE / "broken.py"
    source.write_text("import os, nowhere\n")
    before = worker.state(units=units(WORKER))
    run = worker.play(**instances(WORKER, application={"callable": "broken:train", "source": str(source)}))
    assert run.code == 2
    assert "application broken:train: No module named 'nowhere'" in run.words
    assert worker.state(units=units(WORKER)) == before
    source.write_text("import os\nassert os.getuid() == 65534, 'more rights than nobody'\n")
    run = worker.play(**instances(WORKER, application={"callable": "broken:train", "source": str(source)}))
    assert "application broken:train: module 'broken' has no attribute 'train'" in run.words
    assert worker.state(units=units(WORKER)) == before
    assert worker.play().changed == 0


def test_no_password_is_shown(server: RoleHost) -> None:
    server.sh("rm /etc/fedlearn/secure/secure-server-1/*")
    shown = server.play("-vvv", "--diff").text
    assert "launcher.json" in shown
    assert server.sh(f"cat {PASSWORD}") not in shown
    # the pattern comes from the file, or the search would find itself among the processes
    assert server.try_sh(f"(ps axe -ww; journalctl -b --no-pager; systemctl show '*') | grep -qF -f {PASSWORD}")[0] == 1
    assert server.try_sh(f"cat {PASSWORD} | grep -qF -f {PASSWORD}")[0] == 0


# --- coming back, and going -------------------------------------------------------------------------------------------


def test_after_a_boot_everything_is_there_without_ansible(roles: dict[str, RoleHost]) -> None:
    hosts = [sys.executable, str(CHECKOUT / "molecule" / "shared" / "hosts.py")]
    subprocess.run([*hosts, "restart", os.environ["FEDLEARN_ROLE_SET"]], check=True)
    for role in roles.values():
        deadline = time.monotonic() + 180
        while (run := role.play(entry="check")).code != 0:
            assert time.monotonic() < deadline, run.text
    assert fetch(roles[SCHEDULER], f"https://{roles[SCHEDULER].address}:11303/state")["cluster_state"] != ""


def test_data_stay_until_told_and_a_server_goes_on_from_them(server: RoleHost) -> None:
    gone = [{"name": "plain-server", "federation": "plain", "state": "absent"}]
    kept = [one for one in VARIABLES["mindspore_server_instances"] if one["name"] != "plain-server"]
    assert server.play(mindspore_server_instances=[*kept, *gone]).code == 0
    assert server.try_sh("ls /etc/systemd/system | grep -e plain-server")[0] == 1
    assert "first_recovery_iteration_2" in server.sh("ls /var/lib/private/fedlearn-plain-server/checkpoints")
    assert server.play().code == 0
    assert "going on from first_recovery_iteration_2" in server.sh("journalctl -u fedlearn-plain-server --no-pager")


def test_remove_leaves_nothing_and_a_clean_host_can_be_checked(roles: dict[str, RoleHost]) -> None:
    for name in reversed(ROLES):
        for changes in (True, False):
            run = roles[name].play(entry="remove", **{f"{name}_remove_data": True})
            assert (run.code, run.changed > 0) == (0, changes), run.text
    ours = "-e fedlearn-secure -e fedlearn-plain -e secure/secure- -e plain/plain- -e /opt/fedlearn"
    left = roles[SERVER].sh(f"find /etc /var/lib /run /opt -not -path '*-store*' | grep {ours} || true").split()
    assert left == []
    assert roles[SERVER].try_sh("ss -Hltnp | grep -q python")[0] == 1
    for name in ROLES:
        clean = roles[name].play("--check")
        assert (clean.code, clean.failed) == (0, 0), clean.text
        assert roles[name].owned() == []
