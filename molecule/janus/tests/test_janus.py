# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The janus role on one host, as an unprivileged sudo user: processes, keys, schema, and what is refused."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Any

import pytest
import yaml
from role_host import RoleHost

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
INSTANCES = {each["name"]: each for each in VARIABLES["janus_instances"]}
UNITS = tuple(f"fedlearn-{name}.service" for name in INSTANCES)
KEYS = "/var/lib/fedlearn-b/datastore-keys"


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "janus", VARIABLES, tuple(INSTANCES))


def instances(name: str, **changed: Any) -> list[dict[str, Any]]:
    """The scenario's instances, one of them changed."""
    return [{**each, **changed} if each["name"] == name else each for each in INSTANCES.values()]


def sql(role: RoleHost, statement: str, database: str = "janus_b") -> str:
    """As the superuser."""
    command = f"psql -XAtq -h /run/fedlearn-store -U postgres -v ON_ERROR_STOP=1 -c {quote(statement)} {database}"
    return role.sh(command).strip()


def refused(role: RoleHost, *words: str, entry: str = "main", **variables: Any) -> None:
    """A run fails with these words, and nothing on the host is another than before."""
    before = role.state(KEYS, units=UNITS)
    run = role.play(entry=entry, **variables)
    assert run.failed == 1
    for word in words:
        assert word in run.words, run.text
    assert role.state(KEYS, units=UNITS) == before


@pytest.mark.parametrize("name", INSTANCES)
def test_each_process_answers_for_itself(role: RoleHost, name: str) -> None:
    port = INSTANCES[name]["health_port"]
    pid = role.sh(f"systemctl show -p MainPID --value fedlearn-{name}").strip()
    assert f"pid={pid}," in role.sh(f"ss -Hltnp 'sport = :{port}'")
    asked = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{port}/healthz').status)"
    assert role.sh(f"python3 -c {quote(asked)}").strip() == "200"


def test_listens_on_loopback_only(role: RoleHost) -> None:
    wanted = [
        *(each["health_port"] for each in INSTANCES.values()),
        *(each["listen"]["port"] for each in INSTANCES.values() if each.get("listen")),
    ]
    own = [
        line.split()[3]
        for line in role.sh("ss -Hltnp").splitlines()
        if not any(word in line for word in ("sshd", "postgres", "127.0.0.11"))
    ]
    assert sorted(own) == sorted(f"127.0.0.1:{port}" for port in wanted)


@pytest.mark.parametrize("unit", UNITS)
def test_hardened_and_bounded(role: RoleHost, unit: str) -> None:
    assert role.exposure(unit) <= 2.5
    pid = role.sh(f"systemctl show -p MainPID --value {unit}").strip()
    assert int(role.sh(f"stat -c %u /proc/{pid}")) > 61000
    shown = role.sh(f"systemctl show -p MemoryMax {unit}").strip()
    assert shown == f"MemoryMax={2 << 30}"


def test_each_process_has_a_user_of_its_own(role: RoleHost) -> None:
    pids = " ".join(role.sh(f"systemctl show -p MainPID --value {unit}").strip() for unit in UNITS)
    users = role.sh(f"for pid in {pids}; do stat -c %u /proc/$pid; done").split()
    assert len(set(users)) == len(UNITS)


def test_each_generation_has_its_schema(role: RoleHost) -> None:
    versions = "SELECT string_agg(version::text, ',' ORDER BY version) FROM _sqlx_migrations WHERE success"
    assert sql(role, versions, "janus_b") == "1"
    assert sql(role, versions, "janus_c") == ",".join(map(str, range(1, 10)))
    file = role.sh("sha384sum /opt/test/janus-B/db/*initial_schema.up.sql").split()[0]
    assert sql(role, "SELECT encode(checksum, 'hex') FROM _sqlx_migrations") == file


def test_keys_and_passwords_are_nowhere_to_be_read(role: RoleHost) -> None:
    secret = role.sh(f"cat {KEYS}").strip()
    assert role.sh(f"stat -c '%a %U' {KEYS} /var/lib/fedlearn-b").split() == ["600", "root", "700", "root"]
    shown = role.play("-vvv", "--diff").text
    places = {
        "argv": role.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '"),
        "units": role.sh("cat /etc/systemd/system/fedlearn-*.service"),
        "journal": role.sh("journalctl --no-pager -o cat"),
        "files for all": role.sh("find /etc/fedlearn /var/lib/fedlearn* -type f -perm -004 -exec cat {} +"),
        "what a run says": shown,
    }
    for canary in (secret, "CANARY-B", "CANARY-C"):
        # it would be found: the processes themselves have it
        pid = role.sh("systemctl show -p MainPID --value fedlearn-b-aggregator").strip()
        there = role.sh(f"cat /proc/{pid}/environ | tr '\\0' '\\n'") + role.sh(
            "cat /etc/fedlearn/dpsa-one/*/database-password"
        )
        assert canary in there
        assert [place for place, text in places.items() if canary in text] == []


def test_a_second_run_does_nothing(role: RoleHost) -> None:
    before = role.state(KEYS, units=UNITS)
    assert role.play(most=5).changed == 0
    assert role.state(KEYS, units=UNITS) == before


def test_a_killed_process_comes_back(role: RoleHost) -> None:
    role.sh("systemctl kill -s KILL fedlearn-b-driver-1")
    role.sh("for _ in $(seq 60); do ss -Hltn 'sport = :9003' | grep -q . && break; sleep 0.2; done")
    assert role.play(entry="check").failed == 0


def test_what_was_changed_by_hand_is_found_and_repaired(role: RoleHost) -> None:
    for path in (each for each in role.owned() if "b-creator" in each):
        before = role.sh(f"sha256sum {path}")
        role.sh(f"echo '# by hand' >> {path}")
        assert role.play("--check").changed == 1
        assert "differing" in role.play(entry="check").words
        assert role.play().changed == 1
        assert role.sh(f"sha256sum {path}") == before


# -- what is refused, and changes nothing -----------------------------------------------------------------------------


def test_a_program_without_the_feature(role: RoleHost) -> None:
    role.sh("rm -rf /opt/test/other && cp -a /opt/test/janus-B /opt/test/other")
    # as long as the word itself: a program stays one
    role.sh("sed -i s/Prio3FixedPointBoundedL2VecSum/Prio3FixedPointBoundedL2VecXXX/g /opt/test/other/bin/*")
    changed = instances("b-creator", programs={"path": "/opt/test/other"})
    refused(role, "was built without the feature fpvec_bounded_l2", janus_instances=changed)


def test_doubles_where_programs_are_meant(role: RoleHost) -> None:
    if role.try_sh("test -e /opt/test/janus-B/DOUBLE")[0] != 0:
        pytest.skip("FEDLEARN_UPSTREAM_DIR has programs, so there are no doubles")
    changed = instances("b-creator", doubles=False)
    refused(role, "holds doubles, which aggregate nothing", janus_instances=changed)


def test_programs_of_the_other_generation(role: RoleHost) -> None:
    changed = instances("b-creator", programs={"path": "/opt/test/janus-C"})
    refused(role, "there is no program /opt/test/janus-C/bin/aggregation_job_creator", janus_instances=changed)


def test_a_keyring_in_the_other_alphabet(role: RoleHost) -> None:
    role.sh(f"cp -p {KEYS} {KEYS}.kept && printf %s vWoEFA7F+ojcF+HohGLn/Q > {KEYS}")
    try:
        refused(role, f"{KEYS}: key 1 is in base64's standard alphabet", entry="precheck")
        refused(role, f"{KEYS}: key 1 is in base64's standard alphabet")
    finally:
        role.sh(f"mv {KEYS}.kept {KEYS}")
    assert role.play(entry="check").failed == 0


@pytest.mark.parametrize(
    ("change", "back", "words"),
    [
        (
            "INSERT INTO _sqlx_migrations VALUES (7, 'from tomorrow', now(), true, 'x', 0)",
            "DELETE FROM _sqlx_migrations WHERE version = 7",
            "has version 7, and the programs know up to 1: it is newer than they are",
        ),
        (
            "CREATE TABLE kept AS SELECT checksum FROM _sqlx_migrations; UPDATE _sqlx_migrations SET checksum = 'x'",
            "UPDATE _sqlx_migrations SET checksum = (SELECT checksum FROM kept); DROP TABLE kept",
            "migration 1 initial schema was applied from another file than the one that is there",
        ),
        (
            "ALTER TABLE _sqlx_migrations RENAME TO away",
            "ALTER TABLE away RENAME TO _sqlx_migrations",
            "and no record of migrations: it was made by something else, perhaps schema.sql",
        ),
        (
            # the programs' own schema has indexes that need it
            "UPDATE pg_extension SET extname = 'away' WHERE extname = 'btree_gist'",
            "UPDATE pg_extension SET extname = 'btree_gist' WHERE extname = 'away'",
            "lacks the extension btree_gist, which its first migration makes",
        ),
    ],
    ids=["newer", "drifted", "loaded otherwise", "without an extension"],
)
def test_a_database_that_the_programs_don_t_know(role: RoleHost, change: str, back: str, words: str) -> None:
    sql(role, change)
    try:
        refused(role, words)
    finally:
        sql(role, back)
    assert role.play(entry="check").failed == 0


def test_the_old_schema(role: RoleHost) -> None:
    role.sh("rm -rf /opt/test/other && cp -a /opt/test/janus-B /opt/test/other")
    role.sh("rm /opt/test/other/db/* && touch /opt/test/other/db/schema.sql")
    changed = instances("b-aggregator", programs={"path": "/opt/test/other"})
    refused(role, "/opt/test/other/db/schema.sql is a schema of generation A", janus_instances=changed)


def test_a_port_that_another_program_holds(role: RoleHost) -> None:
    refused(role, "port 5432 is held by another program", janus_instances=instances("b-creator", health_port=5432))


def test_a_program_that_ends_at_once(role: RoleHost) -> None:
    """What ran before runs again."""
    role.sh("rm -rf /opt/test/other && cp -a /opt/test/janus-B /opt/test/other")
    ending = "#!/bin/sh\n# Prio3FixedPointBoundedL2VecSum\nexit 1\n"
    role.sh(f"printf {quote(ending)} > /opt/test/other/bin/aggregation_job_creator")
    pid = role.sh("systemctl show -p MainPID --value fedlearn-b-aggregator").strip()
    changed = instances("b-creator", programs={"path": "/opt/test/other"})
    run = role.play(janus_instances=changed, janus_health_timeout_seconds=10)
    assert run.failed == 1
    assert "the former service is running" in run.words, run.text
    assert role.sh("systemctl show -p MainPID --value fedlearn-b-aggregator").strip() == pid
    assert role.play(entry="check").failed == 0


def test_a_clock_that_is_too_far_off(role: RoleHost) -> None:
    late = "/usr/local/bin/date"
    role.sh(f"printf '#!/bin/sh\\nexec /bin/date -d +120sec \"$@\"\\n' > {late} && chmod 755 {late}")
    try:
        refused(role, "s off the control node's", "at most 60 s are borne", entry="precheck")
    finally:
        role.sh(f"rm {late}")
    assert role.play(entry="precheck").failed == 0


def test_a_port_that_another_holds_is_told_beforehand(role: RoleHost) -> None:
    refused(role, "5432", "postgres", entry="precheck", janus_instances=instances("b-creator", health_port=5432))


def test_nothing_is_left_but_keys_and_then_not_these(role: RoleHost) -> None:
    owned = role.owned()
    assert owned
    try:
        assert role.play(entry="remove").failed == 0
        assert [path for path in owned if role.try_sh(f"test -e {path}")[0] == 0] == []
        assert role.try_sh("systemctl list-units --all --plain --no-legend 'fedlearn-[bc]-*'")[1] == ""
        assert role.try_sh(f"test -s {KEYS}")[0] == 0
        kept = role.sh(f"cat {KEYS}")
        assert role.play().failed == 0
        assert role.sh(f"cat {KEYS}") == kept
        assert role.play(entry="remove", janus_remove_data=True).failed == 0
        assert role.try_sh(f"test -e {KEYS}")[0] != 0
        assert role.play("--check").failed == 0
        # sealed with the keys that are gone: an aggregator of C doesn't start on them
        sql(role, "DELETE FROM global_hpke_keys", "janus_c")
    finally:
        role.play()
    assert role.play(entry="check").failed == 0
