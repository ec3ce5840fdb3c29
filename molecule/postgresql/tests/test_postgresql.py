# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The postgresql role on one host, as an unprivileged sudo user."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
import yaml
from role_host import RoleHost
from shared_tests import Secretive, Store, withdrawing

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
FULL, PLAIN = VARIABLES["postgresql_instances"]
UNITS = ("fedlearn-pg-full.service", "fedlearn-pg-plain.service")
PASSWORDS = {name: VARIABLES[f"canary_{name}"] for name in ("first", "second", "reader")}
OWN = {"certificate": "/etc/role-test/client.pem", "key": "/etc/role-test/client.key"}
STRANGER = {"certificate": "/etc/role-test/stranger.pem", "key": "/etc/role-test/stranger.key"}
BY_HAND = {
    "postgres": {
        "ALTER ROLE survey_a SUPERUSER": "login survey_a: attributes",
        "ALTER ROLE survey_a CONNECTION LIMIT 99": "login survey_a: connections",
        "ALTER ROLE survey_b PASSWORD 'by hand'": "login survey_b: password",
        "ALTER ROLE client PASSWORD 'by hand'": "login client: password",
        "GRANT keeper TO survey_b": "login survey_b: no longer keeper",
        "REVOKE survey FROM survey_a": "login survey_a: member of survey",
        "ALTER ROLE survey_b IN DATABASE survey RESET role": "login survey_b: acts as survey",
        "ALTER ROLE reader IN DATABASE store SET role = keeper": "login reader: as itself in store",
        "ALTER ROLE keeper LOGIN": "role keeper: nobody logs in as it",
        "ALTER ROLE survey SUPERUSER": "role survey: attributes",
        "GRANT pg_read_server_files TO survey_read": "role survey_read: no longer pg_read_server_files",
        "ALTER DATABASE store OWNER TO survey": "database store: owner",
        "GRANT CONNECT ON DATABASE store TO PUBLIC": "database store: closed",
    },
    "survey": {
        "DROP EXTENSION pgcrypto": "database survey: extension pgcrypto",
        "CREATE TABLE by_hand (n serial)": "role survey_read: tables, role survey_read: sequences",
    },
    "store": {
        "ALTER DEFAULT PRIVILEGES FOR ROLE keeper IN SCHEMA public REVOKE ALL ON TABLES FROM store_write": (
            "role store_write: tables to come"
        ),
    },
}
"""What somebody does in the full instance, and how it is told."""


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "postgresql", VARIABLES)


def instances(**changed: Any) -> list[dict[str, Any]]:
    """The scenario's instances, the first one changed."""
    return [{**FULL, **changed}, PLAIN]


def third(**changed: Any) -> list[dict[str, Any]]:
    """The scenario's instances, and one more."""
    return [FULL, PLAIN, {"name": "pg-third", "federation": "pg-one", "port": 5434, "memory_mb": 128, **changed}]


def clients(index: int, **changed: Any) -> list[dict[str, Any]]:
    """The first instance's clients, one of them changed."""
    return [{**client, **(changed if place == index else {})} for place, client in enumerate(FULL["clients"])]


def client(role: RoleHost, sql: str, user: str, secret: str = "", **options: str) -> tuple[int, str]:
    """Status and output of a statement that a client of the full instance makes, over TLS unless told otherwise."""
    said = {
        "host": role.address,
        "port": "5432",
        "user": user,
        "dbname": "survey",
        "sslmode": "verify-ca",
        "sslrootcert": "/etc/role-test/ca.pem",
        **options,
    }
    words = " ".join(f"{key}={value}" for key, value in said.items())
    return role.try_sh(f"PGPASSWORD={quote(PASSWORDS.get(secret, ''))} psql -XAtc {quote(sql)} {quote(words)}")


def certificate(of: dict[str, str]) -> dict[str, str]:
    return {"sslcert": of["certificate"], "sslkey": of["key"]}


def admin(role: RoleHost, sql: str, database: str = "postgres", name: str = "pg-full", port: int = 5432) -> str:
    return role.sh(
        f"psql -XAt -h /run/fedlearn-{name} -p {port} -U postgres -v ON_ERROR_STOP=1 -c {quote(sql)} {database}"
    ).strip()


def main_pid(role: RoleHost, unit: str) -> str:
    return role.sh(f"systemctl show -p MainPID --value {unit}").strip()


def test_listens_on_its_addresses_only(role: RoleHost) -> None:
    lines = role.sh("ss -Hltnp | grep postgres").splitlines()
    assert sorted(line.split()[3] for line in lines) == sorted([f"{role.address}:5432", "127.0.0.1:5433"])


def test_the_package_made_no_cluster_and_runs_no_daemon(role: RoleHost) -> None:
    assert role.sh("find /etc/postgresql /var/lib/postgresql -mindepth 1").strip() == ""
    left = "/usr/sbin/policy-rc.d /etc/postgresql-common/createcluster.d/fedlearn.conf"
    assert role.sh(f"ls -d {left} 2>/dev/null || true").strip() == ""


def test_a_password_of_any_characters_lets_its_client_in(role: RoleHost) -> None:
    assert client(role, "SELECT session_user, current_user", "survey_a", "first") == (0, "survey_a|survey\n")
    assert client(role, "SELECT 1", "survey_b", "second")[0] == 0


@pytest.mark.parametrize(
    ("user", "secret", "options", "reason"),
    [
        ("survey_a", "second", {}, "password authentication failed"),
        ("survey_a", "first", {"sslmode": "disable"}, "no encryption"),
        ("survey_a", "first", {"dbname": "store"}, "no pg_hba.conf entry"),
        ("survey", "first", {}, "no pg_hba.conf entry"),
        ("postgres", "", {"dbname": "postgres"}, "no pg_hba.conf entry"),
        ("reader", "reader", {}, "connection requires a valid client certificate"),
        ("client", "", {"dbname": "store"}, "connection requires a valid client certificate"),
    ],
)
def test_everybody_else_is_refused(
    role: RoleHost, user: str, secret: str, options: dict[str, str], reason: str
) -> None:
    code, said = client(role, "SELECT 1", user, secret, **options)
    assert code == 2
    if "encryption" in reason:  # up to 14 it said "SSL off"
        assert reason in said or "SSL off" in said
    else:
        assert reason in said


def test_certificates_of_the_clients_ca_only(role: RoleHost) -> None:
    assert client(role, "SELECT current_user", "reader", "reader", **certificate(OWN)) == (0, "reader\n")
    assert client(role, "SELECT current_user", "client", dbname="store", **certificate(OWN)) == (0, "client\n")
    code, said = client(role, "SELECT 1", "client", dbname="store", **certificate(STRANGER))
    assert (code, "alert" in said) == (2, True), said


def test_a_withdrawn_certificate_lets_nobody_in(role: RoleHost) -> None:
    crl = instances(tls={**FULL["tls"], "client_crl": "/etc/role-test/crl.pem"})
    with withdrawing(role) as withdraw:
        withdraw("client")
        try:
            assert role.play(postgresql_instances=crl).changed == 1
            code, answer = client(role, "SELECT 1", "client", dbname="store", **certificate(OWN))
            assert (code, "revoked" in answer) == (2, True), answer
            assert client(role, "SELECT 1", "survey_a", "first")[0] == 0
        finally:
            assert role.play().changed == 1


def test_logins_of_one_owner_change_what_the_other_made_and_readers_read(role: RoleHost) -> None:
    assert client(role, "CREATE TABLE made (n int); INSERT INTO made VALUES (7)", "survey_a", "first")[0] == 0
    try:
        assert client(role, "ALTER TABLE made ADD more int", "survey_b", "second")[0] == 0
        assert admin(role, "SELECT tableowner FROM pg_tables WHERE tablename = 'made'", "survey") == "survey"
        assert client(role, "SELECT n FROM made", "reader", "reader", **certificate(OWN)) == (0, "7\n")
        code, said = client(role, "INSERT INTO made VALUES (8)", "reader", "reader", **certificate(OWN))
        assert (code, "permission denied" in said) == (1, True)
        code, said = client(role, "CREATE TABLE mine (n int)", "reader", "reader", **certificate(OWN))
        assert (code, "permission denied" in said) == (1, True)
    finally:
        client(role, "DROP TABLE made", "survey_b", "second")


def test_extensions_and_settings_are_in_effect(role: RoleHost) -> None:
    assert admin(role, "SELECT extname FROM pg_extension ORDER BY 1", "survey").split() == [
        "btree_gist",
        "pgcrypto",
        "plpgsql",
    ]
    shown = "shared_buffers max_connections statement_timeout password_encryption data_checksums server_encoding jit"
    said = admin(role, f"SELECT string_agg(current_setting(s), ' ') FROM unnest(string_to_array('{shown}', ' ')) s")
    assert said == "128MB 32 90s scram-sha-256 on UTF8 off"
    assert admin(role, "SHOW application_name") == "psql"
    assert admin(role, "SELECT boot_val <> reset_val FROM pg_settings WHERE name = 'application_name'") == "t"


def test_a_client_is_held_to_its_connections(role: RoleHost) -> None:
    other = f"PGPASSWORD= psql -XAtc 'SELECT 1' 'host={role.address} user=client dbname=store sslmode=require"
    other += f" sslcert={OWN['certificate']} sslkey={OWN['key']}'"
    code, said = client(role, f"\\! {other}", "client", dbname="store", **certificate(OWN))
    assert "too many connections" in said, (code, said)


@pytest.mark.parametrize("unit", UNITS)
def test_hardened(role: RoleHost, unit: str) -> None:
    assert role.exposure(unit) <= 2.5
    assert role.sh(f"ps -o user= -p {main_pid(role, unit)}").strip() == "postgres"


class TestPostgresql(Secretive, Store):
    units, owned, most = UNITS, 10, 3
    changed = {"postgresql_instances": instances(port=5439)}
    package = ("postgresql_packages", "postgresql")
    unfit = "/etc/role-test/server.key is not the key of /etc/role-test/server.pem"
    other_name = 'does not match host name "elsewhere.test"'
    name, space = "pg-third", "postgresql_space_mb"
    alike = (
        "install -d -m 700 -o postgres -g postgres {0}/{1} && setpriv --reuid=postgres --regid=postgres --clear-groups "
        "$(ls -d /usr/lib/postgresql/*/bin | tail -1)/initdb --pgdata={0}/{1}/data"
    )
    loopback = {"addresses": ["::1"]}
    refused = (
        (
            {"public_name": "elsewhere.test"},
            "/etc/role-test/server.pem isn't valid for elsewhere.test: public_name says",
        ),
        (
            {"tls": {**FULL["tls"], "certificate": "/etc/role-test/client.pem", "key": "/etc/role-test/client.key"}},
            "/etc/role-test/client.pem isn't valid for ",
        ),
        ({"settings": {"work_mem": "lots"}}, 'invalid value for parameter "work_mem": "lots"'),
        ({"settings": {"no_such_thing": 1}}, 'unrecognized configuration parameter "no_such_thing"'),
        (
            {"tls": {**FULL["tls"], "key": STRANGER["key"]}},
            f"{STRANGER['key']} is not the key of /etc/role-test/server.pem",
        ),
        ({"tls": {**FULL["tls"], "ca": "/etc/role-test/done"}}, "/etc/role-test/done isn't there, or is empty"),
        ({"tls": {**FULL["tls"], "ca": "/etc/role-test/server.key"}}, "server.key: there is no certificate in it"),
        ({"tls": {**FULL["tls"], "certificate": "/etc/role-test/nowhere.pem"}}, "nowhere.pem isn't there, or is empty"),
        ({"tls": {**FULL["tls"], "ca": "/etc/role-test/other.pem"}}, "unable to get local issuer certificate"),
        (
            {"tls": {**FULL["tls"], "certificate": "/etc/role-test/expired.pem"}},
            "/etc/role-test/expired.pem: the certificate has expired, on 2020-02-01T00:00:00Z: renew it",
        ),
        (
            {"tls": {**FULL["tls"], "ca": "/etc/role-test/ended-ca.pem"}},
            "/etc/role-test/ended-ca.pem: the CA's certificate has expired, on 2020-02-01T00:00:00Z: clients refuse",
        ),
        (
            {"tls": {**FULL["tls"], "client_ca": "/etc/role-test/ended-ca.pem"}},
            "ended-ca.pem has no CA that is valid now, the last ended on 2020-02-01T00:00:00Z",
        ),
        ({"version": 14}, "and version: 14 is wanted: see 'Major versions'"),
    )
    # every wrong value has its exact message in tests/unit/plugins/plugin_utils/roles/test_catalogue.py
    wrong = (
        ({"version": 12}, "[0]: version: expected a whole number from 13 to 99, found the number 12"),
        (
            {"tls": None},
            "is beyond this host, and without tls all it is sent can be read on the way: give the instance",
        ),
        ({"memory_mb": 200}, "[0]: clients: may open 24 connections, and there is room for 7 (half of memory_mb: 200"),
        ({"databases": [{"name": "survey"}]}, "no database of this instance is called 'store' (there are survey)"),
        ({"name": "pg-plain"}, "postgresql_instances[1]: name: 'pg-plain' is also the name of [0]"),
        ({"adresses": []}, "Supported parameters include: addresses"),
    )

    def with_(self, changed: Mapping[str, Any]) -> dict[str, Any]:
        return {"postgresql_instances": instances(**changed)}

    def with_more(self, **changed: Any) -> dict[str, Any]:
        return {"postgresql_instances": third(**changed)}

    def comes(self, role: RoleHost, name: str) -> tuple[int, str]:
        told = {"host": name, "hostaddr": role.address, "sslmode": "verify-full"}
        return client(role, "SELECT 1", "survey_a", "first", **told)

    def serves(self, role: RoleHost) -> bool:
        return client(role, "SELECT 1", "survey_a", "first")[0] == 0

    hashes = ("SCRAM-SHA-256$",)
    places = f"{Secretive.places} /var/log/postgresql"

    def lose(self, role: RoleHost) -> None:
        admin(role, "ALTER ROLE survey_b PASSWORD NULL; ALTER ROLE survey_a PASSWORD NULL")


def test_what_is_changed_inside_is_named_and_repaired(role: RoleHost) -> None:
    for database, statements in BY_HAND.items():
        for sql in statements:
            admin(role, sql, database)
    found = role.play(entry="check")
    named = found.words.partition("pg-full: differing: ")[2]
    wanted = [told for statements in BY_HAND.values() for told in statements.values()]
    assert [told for told in wanted if told not in named] == [], found.text
    assert "pg-plain:" not in found.words
    assert role.play("--check").changed == 1
    assert role.play().changed == 1
    assert role.play(entry="check").code == 0
    admin(role, "DROP TABLE by_hand", "survey")


def test_a_lost_database_is_made_anew(role: RoleHost) -> None:
    admin(role, "DROP DATABASE store")
    assert "pg-full: differing: database store: made" in role.play(entry="check").words
    assert role.play().changed == 1
    assert client(role, "SELECT 1", "client", dbname="store", **certificate(OWN))[0] == 0
    assert role.play(entry="check").code == 0


def test_it_starts_without_what_a_boot_takes_away(role: RoleHost) -> None:
    """And where another service came first, whose umask kept the common folder to root."""
    role.sh(
        f"systemctl stop {' '.join(UNITS)}; rm -rf /run/fedlearn; mkdir -m 0700 /run/fedlearn; "
        f"systemctl start {' '.join(UNITS)}"
    )
    assert client(role, "SELECT 1", "survey_a", "first")[0] == 0
    assert role.play().changed == 0


def test_a_server_that_was_taken_has_root_run_nothing_of_its_own(role: RoleHost) -> None:
    """Where it may write is what says which of PostgreSQL's programs root runs."""
    home = "/var/lib/fedlearn-pg-plain"
    lay = f"mkdir -p {home}/own/bin && cd {home}/own/bin && printf '#!/bin/sh\\ntouch /root/ran\\n' >psql"
    lay += f" && cp psql postgres && chmod 755 psql postgres && cp -p {home}/data/PG_VERSION {home}/kept"
    lay += f" && echo ../../..{home}/own >{home}/data/PG_VERSION"
    role.sh(f"setpriv --reuid=postgres --regid=postgres --clear-groups sh -c {quote(lay)}")
    try:
        found = role.play(entry="check")
        assert found.code == 2, found.text
        assert f"{home}/data/PG_VERSION says no version: ../../..{home}/own" in found.words, found.text
        assert role.try_sh("test -e /root/ran")[0] == 1
    finally:
        role.sh(f"mv {home}/kept {home}/data/PG_VERSION; rm -rf {home}/own /root/ran")
    assert role.play(entry="check").code == 0


def test_a_stopped_one_is_named_and_started(role: RoleHost) -> None:
    role.sh(f"systemctl stop {UNITS[1]}")
    named = role.play(entry="check").words
    assert f"pg-plain: stopped: {UNITS[1]} is inactive (dead)" in named
    assert "differing:" not in named
    assert role.play().changed == 1


def gone(role: RoleHost) -> None:
    absent = [{"name": "pg-third", "federation": "pg-one", "state": "absent"}]
    assert role.play(postgresql_instances=absent, postgresql_remove_data=True).code == 0


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"version": 14}, "there is no PostgreSQL 14 in /usr/lib/postgresql, only:"),
        ({"locale": "xx_YY.UTF-8"}, 'invalid locale name "xx_YY.UTF-8"'),
        ({"databases": [{"name": "x", "extensions": ["no_such"]}]}, "pg-third: database x: extension no_such:"),
    ],
    ids=["version", "locale", "extension"],
)
def test_a_new_one_that_can_not_be_made_is_told(role: RoleHost, changed: dict[str, Any], reason: str) -> None:
    run = role.play(postgresql_instances=third(**changed))
    assert run.code == 2
    assert reason in run.words, run.text
    gone(role)


UNMADE = {
    "version": ({"version": 14}, "pg-third: there is no PostgreSQL 14 in /usr/lib/postgresql, only:"),
    "locale": ({"locale": "xx_YY.UTF-8"}, 'pg-third: invalid locale name "xx_YY.UTF-8": have the host make it'),
    "key": (
        {"tls": {**FULL["tls"], "key": STRANGER["key"]}},
        f"pg-third: {STRANGER['key']} is not the key of /etc/role-test/server.pem",
    ),
    "CA": (
        {"tls": {**FULL["tls"], "ca": "/etc/role-test/ended-ca.pem"}},
        "pg-third: /etc/role-test/ended-ca.pem: the CA's certificate has expired, on 2020-02-01T00:00:00Z",
    ),
}


@pytest.mark.parametrize(("changed", "reason"), UNMADE.values(), ids=UNMADE)
def test_what_could_not_be_made_is_told_before(role: RoleHost, changed: dict[str, Any], reason: str) -> None:
    more = third(**changed)
    for run in (
        role.play(entry="precheck", most=1, postgresql_instances=more),
        role.playbook("precheck", postgresql_instances=more),
    ):
        assert (run.code, run.changed) == (2, 0), run.text
        assert reason in run.words, run.text


def test_what_comes_with_packages_is_known_before(role: RoleHost) -> None:
    """On a host that has none of them, nor lists of packages."""
    mark = "mv /usr/lib/postgresql /usr/lib/postgresql.away && cp -a /var/lib/dpkg/status /var/lib/dpkg/status.away"
    gone = r"sed -i '/^Package: postgresql-[0-9]*$/,/^$/d; /^Package: postgresql$/,/^$/d' /var/lib/dpkg/status"
    role.sh(f"{mark} && {gone} && mv /var/lib/apt/lists /var/lib/apt/lists.away && mkdir /var/lib/apt/lists")
    try:
        before = role.sh("find /var/lib/apt /var/cache/apt -type f | sort")
        runs = [
            look("precheck", postgresql_instances=third(**changed))
            for changed in ({}, {"version": 14})
            for look in (lambda entry, **more: role.play(entry=entry, **more), role.playbook)
        ]
        after = role.sh("find /var/lib/apt /var/cache/apt -type f | sort")
    finally:
        role.sh("cd /var/lib/apt && rm -rf lists && mv lists.away lists && cd /var/lib/dpkg && mv status.away status")
        role.sh("mv /usr/lib/postgresql.away /usr/lib/postgresql")
    assert [run.code for run in runs] == [0, 0, 2, 2], [run.text for run in runs]
    for run in runs[2:]:
        assert "pg-third: there is no PostgreSQL 14 in /usr/lib/postgresql, only: 1" in run.words, run.text
    assert before == after


def served(role: RoleHost) -> str:
    """The serial number of the certificate it shows."""
    show = f"openssl s_client -starttls postgres -connect {role.address}:5432 </dev/null 2>/dev/null"
    return role.sh(f"{show} | openssl x509 -noout -serial")


NEW_PAIR = """
cd /etc/role-test && cp -p server.pem server.old && cp -p server.key key.old
printf 'subjectAltName=DNS:server.test,IP:%s\\nextendedKeyUsage=serverAuth\\n' {address} >new.ext
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout new.key -subj /CN=server |
    openssl x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile new.ext -out new.pem
cat new.pem >server.pem && cat new.key >server.key
"""


def test_a_renewed_certificate_is_shown_to_who_comes_and_drops_nobody(role: RoleHost) -> None:
    before, former = main_pid(role, UNITS[0]), served(role)
    said = "host=server.test user=survey_b dbname=survey sslmode=verify-full sslrootcert=/etc/role-test/ca.pem"
    way = quote(f"{said} hostaddr={role.address}")
    going_on = {
        "stays": f"while sleep 0.1; do echo 'SELECT pg_backend_pid();'; done | psql -XAt {way} >/run/stays 2>&1",
        "comes": f"while :; do psql -XAtc 'SELECT 5' {way} >>/run/comes 2>&1; done",
    }
    try:
        for name, script in going_on.items():
            role.sh(f"systemd-run --quiet --unit {name} --setenv=PGPASSWORD=CANARY-2 /bin/sh -c {quote(script)}")
        role.sh(f"sleep 1; {NEW_PAIR.format(address=role.address)}")
        assert role.play().changed == 1
        assert served(role) != former
        assert main_pid(role, UNITS[0]) == before
        lines = [
            int(line)
            for line in role.sh("cat /run/stays /run/comes | wc -l; sleep 2; cat /run/stays /run/comes | wc -l").split()
        ]
        assert lines[1] - lines[0] > 10
        role.sh("systemctl stop stays comes")
        stays, comes = (role.sh(f"cat /run/{name}").split() for name in going_on)
        assert (len(set(stays)), set(comes)) == (1, {"5"}), (set(stays), set(comes))
        assert min(len(stays), len(comes)) > 20
    finally:
        role.sh("systemctl stop stays comes 2>/dev/null; rm -f /run/stays /run/comes")
        role.sh("cd /etc/role-test && mv server.old server.pem && mv key.old server.key && rm -f new.*")
        assert role.play().changed == 1
    assert served(role) == former


def test_a_login_is_shut_out_at_once_and_dropped_after_its_last_session(role: RoleHost) -> None:
    less = instances(clients=clients(1, state="absent"))
    waiting = "PGOPTIONS='-c statement_timeout=0' PGPASSWORD=CANARY-2 "
    waiting += f"psql -XAtc 'SELECT pg_sleep(600)' 'host={role.address} user=survey_b dbname=survey'"
    role.sh(f"systemd-run --quiet --unit session /bin/sh -c {quote(waiting)}; sleep 1")
    run = role.play(postgresql_instances=less)
    assert (run.code, run.changed) == (0, 2), run.text
    assert client(role, "SELECT 1", "survey_b", "second")[0] == 2
    assert admin(role, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'survey_b'") == "f"
    assert role.play(postgresql_instances=less).changed == 0
    role.sh("systemctl stop session; sleep 1")
    admin(role, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'survey_b'; SELECT pg_sleep(1)")
    assert role.play(postgresql_instances=less).changed == 1
    assert admin(role, "SELECT count(*) FROM pg_roles WHERE rolname = 'survey_b'") == "0"
    assert role.play().changed == 2


def test_data_stay_until_told(role: RoleHost) -> None:
    durable = third(databases=[{"name": "kept"}])
    assert role.play(postgresql_instances=durable).code == 0
    admin(role, "CREATE TABLE kept AS SELECT 'yes' AS it", "kept", "pg-third", 5434)
    before = main_pid(role, "fedlearn-pg-third.service")
    again = "[ $(systemctl show -p MainPID --value fedlearn-pg-third) != " + before + " ]"
    role.sh(f"kill -9 {before}; until {again}; do sleep 1; done")
    role.sh("for _ in $(seq 60); do pg_isready -qh /run/fedlearn-pg-third -p 5434 && break; sleep 1; done")
    assert admin(role, "SELECT it FROM kept", "kept", "pg-third", 5434) == "yes"
    absent = [{"name": "pg-third", "federation": "pg-one", "state": "absent"}]
    assert role.play(postgresql_instances=absent).changed == 1
    assert role.try_sh("test -e /etc/systemd/system/fedlearn-pg-third.service")[0] == 1
    assert role.play(postgresql_instances=durable).changed == 1
    assert admin(role, "SELECT it FROM kept", "kept", "pg-third", 5434) == "yes"
    gone(role)
    assert role.try_sh("ls -d /var/lib/fedlearn-pg-third")[0] != 0


def key_pair(role: RoleHost) -> tuple[str, str]:
    """What encrypts for somebody, and what that one decrypts by."""
    told = role.sh("age-keygen 2>/dev/null").split()
    return next(word for word in told if word.startswith("age1")), next(
        word for word in told if word.startswith("AGE-")
    )


def test_a_new_host_gets_the_data_back(role: RoleHost, tmp_path: Path) -> None:
    make = "CREATE TABLE kept AS SELECT n, md5(n::text) AS sum FROM generate_series(1, 5000) n"
    make += "; CREATE SEQUENCE going START 7"
    assert client(role, make, "survey_a", "first")[0] == 0
    read = "SELECT md5(string_agg(n || sum, ',' ORDER BY n)) FROM kept"
    before = client(role, read, "survey_b", "second")
    assert before[0] == 0
    public, private = key_pair(role)
    run = role.play(entry="backup", postgresql_backup_directory=str(tmp_path), postgresql_backup_recipient=public)
    assert (run.code, run.changed) == (0, 1), run.text
    (file,) = tmp_path.glob("host/postgresql-*.tar.age")
    assert file.read_bytes().startswith(b"age-encryption.org/v1")
    assert tmp_path.joinpath("host").stat().st_mode & 0o777 == 0o700
    assert role.sh("ls /var/tmp | grep ^fedlearn || true") == ""

    assert role.play(entry="remove", postgresql_remove_data=True).changed == 1
    assert role.play().code == 0
    restore = {"entry": "restore", "postgresql_restore_from": str(file)}
    assert "postgresql_backup_secret: which secret is the key" in role.play(**restore).words
    run = role.play("-vvv", **restore, postgresql_backup_secret="age", canary_age=private)
    assert run.code == 0, run.text
    assert private not in run.text
    assert role.sh("ls /var/tmp /var/lib/fedlearn | grep -e ^fedlearn -e restore || true") == ""
    assert client(role, read, "survey_b", "second") == before
    assert client(role, "SELECT nextval('going')", "survey_b", "second") == (0, "7\n")
    assert client(role, "SELECT count(*) FROM kept", "reader", "reader", **certificate(OWN)) == (0, "5000\n")
    assert client(role, "DROP TABLE kept; DROP SEQUENCE going", "survey_b", "second")[0] == 0
    assert role.play().changed == 0


def moment(role: RoleHost) -> str:
    return plain(role, "SELECT clock_timestamp()")


def plain(role: RoleHost, sql: str) -> str:
    return admin(role, sql, "local", "pg-plain", 5433)


def test_any_moment_since_the_copy_of_a_server_comes_back(role: RoleHost, tmp_path: Path) -> None:
    """On a server that has none of it: the copy is of before the tables, and the log has all that came then."""
    only = [PLAIN]
    backup = {"entry": "backup", "postgresql_instances": only}
    role.sh("rm -rf /var/lib/fedlearn-pg-plain/archive")
    run = role.play(**backup, postgresql_backup_directory=str(tmp_path / "first"))
    assert run.code == 0, run.text
    plain(role, "CREATE TABLE kept AS SELECT n, md5(n::text) AS sum FROM generate_series(1, 5000) n")
    read = "SELECT count(*), md5(string_agg(n || sum, ',' ORDER BY n)) FROM kept"
    before, then = plain(role, read), moment(role)
    plain(role, "INSERT INTO kept SELECT n, md5(n::text) FROM generate_series(5001, 6000) n")
    after = plain(role, read)
    # the copy is a week old: a new one is made, and this backup still begins with the former
    role.sh("touch -d '8 days ago' /var/lib/fedlearn-pg-plain/archive/base")
    run = role.play(**backup, postgresql_backup_directory=str(tmp_path / "second"))
    assert (run.code, run.changed) == (0, 1), run.text
    (file,) = tmp_path.glob("second/host/postgresql-*.tar")
    assert role.sh("ls /var/lib/fedlearn-pg-plain/archive").split() == ["base", "wal"]
    assert role.sh("find /var/lib/fedlearn-pg-plain/archive/base -maxdepth 0 -mtime +1") == ""
    assert int(role.sh("ls /var/lib/fedlearn-pg-plain/archive/wal | grep -vc backup")) <= 2

    restore = {"entry": "restore", "postgresql_instances": only, "postgresql_restore_from": str(file)}
    beyond = role.play(**restore, postgresql_restore_until="2099-01-01 00:00:00+00")
    assert "recovery ended before configured recovery target was reached" in beyond.words, beyond.text
    assert "not restored, what was there stays" in beyond.words
    assert plain(role, read) == after
    both = {**restore, "postgresql_instances": instances()}
    assert "pg-full has no archive" in role.play(**both, postgresql_restore_until=then).words

    assert role.play(entry="remove", postgresql_instances=only, postgresql_remove_data=True).changed == 1
    assert role.play(postgresql_instances=only).code == 0
    run = role.play(**restore, postgresql_restore_until=then)
    assert run.code == 0, run.text
    assert plain(role, read) == before
    run = role.play(**restore)
    assert run.code == 0, run.text
    assert plain(role, read) == after
    # it goes on from there, and a backup of it has a copy of its own
    assert role.play(**backup, postgresql_backup_directory=str(tmp_path / "third")).code == 0
    assert role.sh("ls -A /var/lib/fedlearn-pg-plain").split() == ["archive", "data"]
    plain(role, "DROP TABLE kept")
    assert role.play().changed == 0


def test_a_server_that_was_taken_leads_its_backup_nowhere(role: RoleHost, tmp_path: Path) -> None:
    archive, aim = "/var/lib/fedlearn-pg-plain/archive", "/srv/of-root"
    lay = f"rm -rf {archive}.kept; mv {archive} {archive}.kept 2>/dev/null; ln -s {aim} {archive}"
    role.sh(f"mkdir -m 700 {aim} && setpriv --reuid=postgres --regid=postgres --clear-groups sh -c {quote(lay)}")
    try:
        run = role.play(entry="backup", postgresql_instances=[PLAIN], postgresql_backup_directory=str(tmp_path))
        assert run.code == 2, run.text
        assert role.sh(f"stat -c '%a %U' {aim}; ls {aim}").split() == ["700", "root"]
    finally:
        role.sh(f"rm {archive}; mv {archive}.kept {archive} 2>/dev/null; rmdir {aim}")


def test_root_reads_nothing_that_a_server_links_to(role: RoleHost, tmp_path: Path) -> None:
    """Nor stays what was packed up to there."""
    backup = {"entry": "backup", "postgresql_instances": [PLAIN], "postgresql_backup_directory": str(tmp_path)}
    assert role.play(**backup).code == 0
    linked, secret = "/var/lib/fedlearn-pg-plain/archive/base/base.tar.gz", "/srv/of-root"
    role.sh(f"umask 077; echo CANARY > {secret}; mv {linked} {linked}.kept; ln -s {secret} {linked}")
    try:
        run = role.play(**backup)
        assert run.code == 2, run.text
        assert "base.tar.gz: Cannot open: Permission denied" in run.words, run.text
        assert role.sh("find /var/tmp -name 'fedlearn-*'") == ""
    finally:
        role.sh(f"mv {linked}.kept {linked}; rm {secret}")


def test_a_copy_that_a_former_version_laid_as_root_is_made_anew(role: RoleHost, tmp_path: Path) -> None:
    backup = {"entry": "backup", "postgresql_instances": [PLAIN], "postgresql_backup_directory": str(tmp_path)}
    base = "/var/lib/fedlearn-pg-plain/archive/base"
    assert role.play(**backup).code == 0
    role.sh(f"chown -R root:root {base}; chmod -R go= {base}; touch -d '8 days ago' {base}")
    assert role.play(**backup).code == 0
    assert role.sh(f"stat -c %U {base}/base.tar.gz; ls {base}/..").split() == ["postgres", "base", "wal"]


@pytest.mark.parametrize(("step", "rows"), [("parted", "2"), ("swapped", "1")])
def test_a_restore_that_was_killed_leaves_one_whole_server(
    role: RoleHost, tmp_path: Path, step: str, rows: str
) -> None:
    """The former one until the restored one is in its place, and never an empty one."""
    only = {"postgresql_instances": [PLAIN]}
    plain(role, "CREATE TABLE rows AS SELECT 1 AS n")
    home = "/var/lib/fedlearn-pg-plain"
    try:
        assert role.play(entry="backup", postgresql_backup_directory=str(tmp_path), **only).code == 0
        (file,) = tmp_path.glob("host/postgresql-*.tar")
        plain(role, "INSERT INTO rows VALUES (2)")
        role.sh(f"echo 'kill {step} pg-plain' >/run/fedlearn-test-kill")
        killed = role.play(entry="restore", postgresql_restore_from=str(file), **only)
        assert killed.code == 2, killed.text
        assert role.try_sh("test -e /run/fedlearn-test-kill")[0] == 1
        assert role.sh(f"ls {home}/former").strip()
        assert role.play().code == 0
        assert plain(role, "SELECT count(*) FROM rows") == rows
        assert role.try_sh(f"test -e {home}/former")[0] == 1
        again = role.play(entry="restore", postgresql_restore_from=str(file), **only)
        assert again.code == 0, again.text
        assert plain(role, "SELECT count(*) FROM rows") == "1"
        assert {"data"} <= set(role.sh(f"ls -A {home}").split()) <= {"archive", "data"}
        assert role.play().changed == 0
    finally:
        role.sh("rm -f /run/fedlearn-test-kill")
        plain(role, "DROP TABLE rows")


TRAP = """
CREATE FUNCTION sprung() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
  BEGIN RESET SESSION AUTHORIZATION; EXCEPTION WHEN OTHERS THEN NULL; END;
  BEGIN RESET ROLE; EXCEPTION WHEN OTHERS THEN NULL; END;
  IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN CREATE ROLE backdoor SUPERUSER; END IF;
  RETURN true;
END $$;
CREATE TABLE trap (n int CHECK (n > 0 AND public.sprung()));
CREATE FUNCTION whole(trap) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN public.sprung(); END $$;
ALTER TABLE trap ADD CONSTRAINT later CHECK (whole(trap));
INSERT INTO trap VALUES (1);
CREATE MATERIALIZED VIEW seen AS SELECT n, public.sprung() FROM trap;
CREATE INDEX found ON trap (n);
CREATE FUNCTION fits(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN public.sprung(); END $$;
CREATE DOMAIN bound AS text CHECK (public.fits(value));
CREATE TABLE parts (k bound) PARTITION BY LIST (k);
CREATE TABLE part PARTITION OF parts FOR VALUES IN ('x');
"""
"""Functions of an owner's that a restore calls: for a partition before any row, with the rows, and of `later` and the
view once they are there. Each tries to be again who began the session."""


def test_a_restore_calls_an_owner_s_functions_with_no_other_rights(role: RoleHost, tmp_path: Path) -> None:
    assert client(role, TRAP, "survey_a", "first")[0] == 0
    try:
        assert role.play(entry="backup", postgresql_backup_directory=str(tmp_path)).code == 0
        (file,) = tmp_path.glob("host/postgresql-*.tar")
        run = role.play(entry="restore", postgresql_restore_from=str(file))
        assert run.code == 0, run.text
        assert admin(role, "SELECT count(*) FROM pg_roles WHERE rolname = 'backdoor'") == "0"
        assert client(role, "SELECT n FROM seen", "survey_b", "second") == (0, "1\n")
        kept = "SELECT count(*) FROM pg_constraint WHERE conrelid = 'trap'::regclass AND convalidated"
        assert client(role, kept, "survey_b", "second") == (0, "2\n")
        assert role.play().changed == 0
    finally:
        client(role, "DROP TABLE trap, parts CASCADE; DROP DOMAIN bound", "survey_a", "first")
        client(role, "DROP FUNCTION sprung, fits", "survey_a", "first")
        admin(role, "DROP ROLE IF EXISTS backdoor")


def test_what_an_administrator_made_comes_back_as_the_owner_s(role: RoleHost, tmp_path: Path) -> None:
    admin(role, "CREATE TABLE made AS SELECT 7 AS n; GRANT SELECT ON made TO survey", "survey")
    try:
        assert role.play(entry="backup", postgresql_backup_directory=str(tmp_path)).code == 0
        (file,) = tmp_path.glob("host/postgresql-*.tar")
        run = role.play(entry="restore", postgresql_restore_from=str(file))
        assert run.code == 0, run.text
        assert admin(role, "SELECT tableowner FROM pg_tables WHERE tablename = 'made'", "survey") == "survey"
        assert client(role, "SELECT n FROM made", "survey_a", "first") == (0, "7\n")
        assert admin(role, "SELECT count(*) FROM pg_roles WHERE rolname = 'fedlearn_restoring'") == "0"
        assert role.play().changed == 0
    finally:
        admin(role, "DROP TABLE IF EXISTS made", "survey")


def test_what_an_owner_says_for_all_sessions_stops_no_administrator(role: RoleHost, tmp_path: Path) -> None:
    settings = {"local_preload_libraries": "nope", "role": "survey", "default_transaction_read_only": "on"}
    settings |= {"statement_timeout": "1", "lock_timeout": "1", "search_path": "nowhere"}
    try:
        said = "; ".join(f"ALTER DATABASE survey SET {name} = '{value}'" for name, value in settings.items())
        assert client(role, said, "survey_a", "first")[0] == 0
        assert role.play().changed == 0
        assert role.play(entry="check").code == 0
        assert role.play(entry="backup", postgresql_backup_directory=str(tmp_path)).code == 0
    finally:
        for name in settings:
            admin(role, f"ALTER DATABASE survey RESET {name}")


def test_a_restore_that_fails_leaves_the_data(role: RoleHost, tmp_path: Path) -> None:
    assert "which file of" in role.play(entry="restore").words
    assert client(role, "CREATE TABLE kept AS SELECT 5 AS n", "survey_a", "first")[0] == 0
    broken = tmp_path / "broken.tar"
    with tarfile.open(broken, "w") as archive:
        for name in ("pg-full", "pg-plain"):
            (tmp_path / "survey.dump").write_text("no dump")
            archive.add(tmp_path / "survey.dump", f"{name}/survey.dump")
    run = role.play(entry="restore", postgresql_restore_from=str(broken))
    assert run.code == 2
    assert "does not appear to be a valid archive" in run.words
    assert "survey: not restored, what was there stays" in run.words
    assert admin(role, "SELECT datname FROM pg_database WHERE datname LIKE '%restoring'") == ""
    assert client(role, "SELECT n FROM kept", "survey_b", "second") == (0, "5\n")
    assert client(role, "DROP TABLE kept", "survey_b", "second")[0] == 0


def test_remove_leaves_nothing_and_a_clean_host_can_be_checked(role: RoleHost) -> None:
    assert role.play(entry="remove", postgresql_remove_data=True).changed == 1
    assert role.play(entry="remove", postgresql_remove_data=True).changed == 0
    left = role.sh("find /etc /var/lib /run | grep -e pg-one -e fedlearn-pg -e fedlearn/pg- || true")
    assert left == "", left
    assert role.try_sh("ss -Hltnp | grep -q postgres")[0] == 1
    clean = role.play("--check")
    assert (clean.code, clean.failed) == (0, 0), clean.text
    assert role.owned() == []
    assert role.play().changed >= 1
