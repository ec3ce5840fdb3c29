# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The dpsa_manager role on one host, as an unprivileged sudo user: its gate, its sessions, and where tokens go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
import yaml
from role_host import RoleHost

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
(INSTANCE,) = VARIABLES["dpsa_manager_instances"]
UNITS = ("fedlearn-manager.service", "fedlearn-manager-gate.service")
GATE, MANAGER = 9965, 9961
TOKEN = "CANARY-TOKEN"
PRINTED = ", ".join(str(byte) for byte in TOKEN.encode())
"""As a manager has it on stdout: its bytes, as numbers."""


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "dpsa_manager", VARIABLES, ("manager", "manager-gate"))


def ask(role: RoleHost, path: str, body: Any = None, port: int = GATE) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    code = (
        "import http.client, sys\n"
        f"c = http.client.HTTPConnection('127.0.0.1', {port}, timeout=20)\n"
        "c.request('POST' if sys.argv[2] else 'GET', sys.argv[1], sys.argv[2] or None)\n"
        "a = c.getresponse(); print(a.status); print(a.read().decode())"
    )
    sent = "" if body is None else json.dumps(body)
    status, content = role.sh(f"python3 -c {quote(code)} {quote(path)} {quote(sent)}").split("\n", 1)
    return int(status), json.loads(content.strip() or "null")


def session(numerator: int, denominator: int = 1, **changed: Any) -> dict[str, Any]:
    """A request as the published client sends it."""
    parameter = {
        "gradient_len": 8,
        "privacy_parameter": {"epsilon": [[numerator], [denominator]]},
        "submission_type": "FixedType16Bit",
    }
    return {
        "trainingSessionId": None,
        "role": "Leader",
        "verifyKeyEncoded": "AAAAAAAAAAAAAAAAAAAAAA",
        "collectorHpkeConfig": {
            "id": 1,
            "kem_id": "X25519HkdfSha256",
            "kdf_id": "HkdfSha256",
            "aead_id": "Aes256Gcm",
            "public_key": "",
        },
        "collectorAuthTokenEncoded": TOKEN,
        "leaderAuthTokenEncoded": TOKEN,
        "vdafParameter": parameter,
        **changed,
    }


@pytest.fixture
def opened(role: RoleHost) -> Iterator[int]:
    """A session, which is ended if it is still there."""
    status, answer = ask(role, "/create_session", session(3, 2))
    assert status == 200
    number = answer["trainingSessionId"]
    yield number
    ask(role, "/end_session", number)


def pid(role: RoleHost, unit: str = UNITS[0]) -> str:
    return role.sh(f"systemctl show -p MainPID --value {unit}").strip()


def test_listens_on_loopback_only(role: RoleHost) -> None:
    for unit, ports in zip(UNITS, (("9002", "9961"), ("9965",)), strict=True):
        lines = role.sh(f"ss -Hltnp | grep 'pid={pid(role, unit)},'").splitlines()
        assert sorted(line.split()[3] for line in lines) == [f"127.0.0.1:{port}" for port in ports]


@pytest.mark.parametrize("unit", UNITS)
def test_hardened_and_bounded(role: RoleHost, unit: str) -> None:
    assert role.exposure(unit) <= 2.5
    assert int(role.sh(f"stat -c %u /proc/{pid(role, unit)}")) > 61000
    assert "infinity" not in role.sh(f"systemctl show -p MemoryMax {unit}")


def test_it_says_where_the_aggregators_are(role: RoleHost) -> None:
    status, places = ask(role, "/get_main_locations")
    assert (status, {key: url.rstrip("/") for key, url in places.items()}) == (
        200,
        {key: url for key, url in INSTANCE["urls"].items() if key.startswith("external_")},
    )


def test_a_session_begins_goes_on_and_ends(role: RoleHost, opened: int) -> None:
    task = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    assert ask(role, "/sessions") == (200, 1)
    assert ask(role, "/start_round", {"trainingSessionId": opened, "taskIdEncoded": task})[0] == 200
    status, answer = ask(role, "/get_vdaf_parameter", {"taskIdEncoded": task})
    assert (status, answer["vdafParameter"]["privacy_parameter"]) == (200, {"epsilon": [[3], [2]]})
    assert ask(role, "/end_session", opened)[0] == 200
    assert ask(role, "/sessions") == (200, 0)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (session(16, 10), "epsilon 1.6 is more than the 1.5 that is let in here"),
        (session(0), "epsilon is 0, or nothing"),
        (session(1, role="Helper"), "this is the leader's manager"),
    ],
)
def test_whom_the_gate_refuses(role: RoleHost, request_: Any, reason: str) -> None:
    assert ask(role, "/create_session", request_) == (400, reason)
    assert ask(role, "/sessions") == (200, 0)


def test_tokens_are_root_s_to_read_and_nobody_else_s(role: RoleHost, opened: int) -> None:
    ask(role, "/start_round", {"trainingSessionId": opened, "taskIdEncoded": "A" * 43})
    own = "journalctl --namespace=fedlearn-manager --no-pager -o cat"
    assert PRINTED in role.sh(own)
    for others in (
        "journalctl --no-pager -o cat -u 'fedlearn-*'",
        "runuser -u nobody -- systemctl status --no-pager 'fedlearn-manager*'",
    ):
        shown = role.sh(f"{others} || true")
        assert (TOKEN in shown, PRINTED in shown) == (False, False)
    role.sh("usermod -aG systemd-journal,adm nobody")
    assert PRINTED not in role.sh(f"runuser -u nobody -- {own} 2>&1 || true")
    assert role.sh("stat -c '%a %U' /run/log/journal/*.fedlearn-manager").split() == ["700", "root"]
    assert role.sh("ls /var/log/journal | grep fedlearn-manager || true") == ""
    shown = role.play("-vvv", "--diff").text
    assert (TOKEN in shown, PRINTED in shown, "CANARY-B" in shown) == (False, False, False)


def test_it_stops_at_once(role: RoleHost) -> None:
    role.sh("systemctl stop fedlearn-manager")
    # a program that had to be waited for ends with the result `timeout`
    assert role.sh("systemctl show -p Result --value fedlearn-manager").strip() == "success"
    assert role.play().failed == 0
    assert role.play(entry="check").failed == 0


def test_a_manager_that_ends_takes_the_count_of_its_sessions_along(role: RoleHost, opened: int) -> None:
    role.sh("systemctl kill -s KILL fedlearn-manager; sleep 1")
    role.sh("for _ in $(seq 100); do ss -Hltn 'sport = :9961' | grep -q . && break; sleep 0.2; done")
    assert ask(role, "/sessions") == (200, 0)


def test_a_gate_that_is_killed_knows_the_sessions_again(role: RoleHost, opened: int) -> None:
    before = pid(role, UNITS[1])
    role.sh(f"systemctl kill -s KILL {UNITS[1]}; sleep 3")
    role.sh("for _ in $(seq 100); do ss -Hltn 'sport = :9965' | grep -q . && break; sleep 0.2; done")
    assert pid(role, UNITS[1]) != before
    assert ask(role, "/sessions") == (200, 1)
    assert ask(role, "/start_round", {"trainingSessionId": opened, "taskIdEncoded": "A" * 43})[0] == 200


def test_with_a_session_open_a_lower_bound_is_in_force_at_once(role: RoleHost, opened: int) -> None:
    before = pid(role)
    assert role.play(dpsa_manager_instances=[{**INSTANCE, "max_epsilon": 1.0}]).failed == 0
    assert (pid(role), ask(role, "/sessions")) == (before, (200, 1))
    assert ask(role, "/create_session", session(5, 4))[1] == "epsilon 1.25 is more than the 1 that is let in here"
    assert role.play().failed == 0


def test_with_a_session_open_nothing_restarts_it(role: RoleHost, opened: int) -> None:
    changed = [{**INSTANCE, "urls": {**INSTANCE["urls"], "external_helper": "http://127.0.0.1:9993"}}]
    before = role.state(units=UNITS)
    run = role.play(dpsa_manager_instances=changed)
    assert run.failed == 1
    assert "1 sessions are open, which live in the manager's memory and end with it" in run.words
    assert (role.state(units=UNITS), ask(role, "/sessions")) == (before, (200, 1))
    assert role.play(dpsa_manager_instances=changed, dpsa_manager_disrupt="manager").changed > 0
    assert ask(role, "/sessions") == (200, 0)
    assert ask(role, "/get_main_locations")[1]["external_helper"].rstrip("/") == "http://127.0.0.1:9993"
    assert role.play().failed == 0


def test_a_second_run_does_nothing(role: RoleHost) -> None:
    before = role.state(units=UNITS)
    assert role.play(most=5).changed == 0
    assert role.state(units=UNITS) == before


def test_what_was_changed_by_hand_is_found_and_repaired(role: RoleHost) -> None:
    for path in role.owned():
        before = role.sh(f"sha256sum {path}")
        role.sh(f"echo '# by hand' >> {path}")
        assert role.play("--check").changed == 1
        assert role.play().changed >= 1
        assert role.sh(f"sha256sum {path}") == before


def test_doubles_where_programs_are_meant(role: RoleHost) -> None:
    before = role.state(units=UNITS)
    run = role.play(dpsa_manager_instances=[{**INSTANCE, "doubles": False}])
    assert run.failed == 1
    assert "holds doubles, which aggregate nothing" in run.words
    assert role.state(units=UNITS) == before


def test_nothing_is_left(role: RoleHost) -> None:
    owned = role.owned()
    assert len(owned) > 6
    try:
        assert role.play(entry="remove").failed == 0
        assert [path for path in owned if role.try_sh(f"test -e {path}")[0] == 0] == []
        assert role.try_sh("systemctl list-units --all --plain --no-legend 'fedlearn-manager*'")[1] == ""
        assert role.play("--check").failed == 0
    finally:
        role.play()
    assert role.play(entry="check").failed == 0
