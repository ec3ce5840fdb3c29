# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The redis role on one host, as an unprivileged sudo user."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
import yaml
from role_host import RoleHost
from shared_tests import Secretive, Store

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
SECURE, PLAIN, KEPT, WITH_USERS = (f"fedlearn-redis-{name}.service" for name in ("secure", "plain", "kept", "users"))
UNITS = (SECURE, PLAIN, KEPT, WITH_USERS)
OWN = "/run/fedlearn/redis-redis-users"
"""What the one with users is given by root."""
WORKER, READER = VARIABLES["canary_worker"], VARIABLES["canary_reader"]
TLS = {
    "certificate": "/etc/role-test/server.pem",
    "key": "/etc/role-test/server.key",
    "client_ca": "/etc/role-test/ca.pem",
}
OVER = "2020-02-01T00:00:00Z"
ENDED = f"/etc/role-test/ended-ca.pem: the CA's certificate has expired, on {OVER}: clients refuse what it signed"
ENDED_FOR_CLIENTS = f"/etc/role-test/ended-ca.pem has no CA that is valid now, the last ended on {OVER}: whoever shows"


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "redis", VARIABLES)


def instances(**changed: Any) -> list[dict[str, Any]]:
    """The scenario's instances, the first one changed."""
    first, *rest = VARIABLES["redis_instances"]
    return [{**first, **changed}, *rest]


def ping(role: RoleHost, *certificate: str) -> str:
    files = [f"--{name} /etc/role-test/{file}" for name, file in zip(("cert", "key"), certificate, strict=False)]
    return role.try_sh(
        f"redis-cli -h {role.address} -p 23456 --tls --cacert /etc/role-test/ca.pem {' '.join(files)} PING"
    )[1]


def test_listens_on_its_addresses_only(role: RoleHost) -> None:
    lines = role.sh("ss -Hltnp | grep redis").splitlines()
    own = [f"{role.address}:23456", f"{role.address}:23459", "127.0.0.1:23457", "127.0.0.1:23460"]
    assert sorted(line.split()[3] for line in lines) == sorted(own)


@pytest.mark.parametrize(
    ("certificate", "welcome"),
    [(("client.pem", "client.key"), True), (("stranger.pem", "stranger.key"), False), ((), False)],
    ids=["own CA", "other CA", "none"],
)
def test_only_certificates_of_its_ca_get_in(role: RoleHost, certificate: tuple[str, ...], welcome: bool) -> None:
    assert ("PONG" in ping(role, *certificate)) is welcome


def test_there_is_no_plain_port_beside_tls(role: RoleHost) -> None:
    assert "PONG" not in role.try_sh(f"redis-cli -h {role.address} -p 23456 PING")[1]


def as_user(role: RoleHost, user: str, password: str, *words: str) -> str:
    """What a command is answered that somebody gives who knows a password, and shows no certificate."""
    login = f"REDISCLI_AUTH={quote(password)}" if user else ""
    ask = f"redis-cli -h {role.address} -p 23459 --tls --cacert /etc/role-test/ca.pem"
    said = " ".join(map(quote, words))
    told = role.try_sh(f"{login} {ask} {f'--user {quote(user)}' if user else ''} {said}")[1].strip()
    # Debian 11's client keeps the server's word to itself
    return told.replace("Warning: AUTH failed", "WRONGPASS")


@pytest.mark.parametrize(
    ("user", "password", "command", "answer"),
    [
        ("worker", WORKER, "SET jobs:1 x", "OK"),
        ("worker", WORKER, "SET others:1 x", "NOPERM"),
        ("worker", WORKER, "CONFIG GET maxmemory", "NOPERM"),
        ("worker", WORKER, "FLUSHALL", "NOPERM"),
        ("worker", WORKER, "ACL LIST", "NOPERM"),
        ("reader", READER, "GET results:none", ""),
        ("reader", READER, "SET results:none x", "NOPERM"),
        ("reader", READER, "GET jobs:1", "NOPERM"),
        ("worker", READER, "GET jobs:1", "WRONGPASS"),
        ("worker", WORKER[:-1], "GET jobs:1", "WRONGPASS"),
        ("nobody", READER, "GET jobs:1", "WRONGPASS"),
        ("default", "", "GET jobs:1", "NOAUTH"),
        ("default", READER, "GET jobs:1", "WRONGPASS"),
        ("", "", "GET jobs:1", "NOAUTH"),
        ("", "", "PING", "NOAUTH"),
    ],
)
def test_users_come_in_by_their_passwords_and_do_what_they_may(
    role: RoleHost, user: str, password: str, command: str, answer: str
) -> None:
    said = as_user(role, user, password, *command.split())
    assert answer in said if answer else said == "", said


def test_nobody_but_root_reads_what_passwords_are_compared_with(role: RoleHost) -> None:
    uid = role.sh(f"stat -c %u /proc/$(systemctl show -p MainPID --value {WITH_USERS})").strip()
    look = f"stat -c '%a %U %g' /etc/fedlearn/redis-one/redis-users/users.acl {OWN}/administrator {OWN} {OWN}/users.acl"
    modes = ["600 root 0", "600 root 0", f"750 root {uid}", f"640 root {uid}"]
    assert role.sh(look).splitlines() == modes
    assert role.sh("stat -Lc '%a %u' /run/fedlearn-redis-users").split() == ["700", uid]
    everywhere = "/etc/fedlearn /run/fedlearn /run/fedlearn-redis-users/ /var/lib/fedlearn /etc/systemd/system"
    assert role.try_sh(f"grep -rF {READER} {everywhere}")[0] == 1


ROOTS = (
    "administrator",
    "administrator.new",
    "users.acl",
    "users.new",
    "key.pem",
    "cert.pem",
    "client-ca.pem",
    "withdrawn",
)


def test_a_server_that_was_taken_leads_root_nowhere(role: RoleHost) -> None:
    """What it may write in, root neither writes nor reads by any name: here each of them leads to a file of root's."""
    room, aim = "/run/fedlearn-redis-users", "/root/of-root"
    ids = role.sh(f"stat -Lc '--reuid=%u --regid=%g' {room}").strip()
    as_server = f"cd {room} && setpriv {ids} --clear-groups sh -c {{}}"
    role.sh(f"umask 077; echo of root >{aim}")
    before = role.sh(f"stat -c '%a %u %Y %i' {aim}; cat {aim}")
    try:
        role.sh(as_server.format(quote(f"for name in {' '.join(ROOTS)}; do ln -sf {aim} $name; done")))
        role.try_sh(f"systemctl reload {WITH_USERS}")
        assert role.play(entry="check").code == 0
        assert role.sh(f"stat -c '%a %u %Y %i' {aim}; cat {aim}") == before
    finally:
        role.sh(f"cd {room} && rm -f {' '.join(ROOTS)}; rm {aim}; systemctl restart {WITH_USERS}")
    assert role.play(entry="check").code == 0


def test_it_starts_without_what_a_boot_takes_away_and_shuts_nobody_out_of_it(role: RoleHost) -> None:
    """Others lay their files in that folder, too."""
    units = " ".join(UNITS)
    role.sh(f"systemctl stop {units} && rm -rf /run/fedlearn && systemctl start {units}")
    assert role.sh("stat -c '%a %U' /run/fedlearn").split() == ["755", "root"]
    assert as_user(role, "reader", READER, "PING") == "PONG"
    assert role.play().changed == 0


def test_a_certificate_and_a_password_may_both_be_asked_for(role: RoleHost) -> None:
    *others, last = VARIABLES["redis_instances"]
    both = {**last, "tls": {**last["tls"], "client_ca": "/etc/role-test/ca.pem"}}
    assert role.play(redis_instances=[*others, both]).changed == 1
    try:
        assert "PONG" not in as_user(role, "reader", READER, "PING")
        shown = ["--cert", "/etc/role-test/client.pem", "--key", "/etc/role-test/client.key"]
        assert as_user(role, "reader", READER, *shown, "PING") == "PONG"
        assert "NOAUTH" in as_user(role, "", "", *shown, "PING")
    finally:
        assert role.play().changed == 1


def users(**changed: Any) -> list[dict[str, Any]]:
    """The scenario's instances, the first user of the last one changed."""
    *others, last = VARIABLES["redis_instances"]
    first, *more = last["users"]
    return [*others, {**last, "users": [{**first, **changed}, *more]}]


@pytest.fixture
def session(role: RoleHost) -> Iterator[Callable[[], str]]:
    """Somebody who came in as reader before and waits; what the server says of that session."""
    ask = f"redis-cli -h {role.address} -p 23459 --tls --cacert /etc/role-test/ca.pem"
    held = f"(echo PING; sleep 600) | {ask} --user reader"
    role.sh(f"systemd-run --quiet --unit held --setenv=REDISCLI_AUTH={READER} /bin/sh -c {quote(held)}; sleep 1")
    yield lambda: role.sh("ss -Htn state established '( dport = :23459 )'").strip()
    role.sh("systemctl stop held")


def test_what_users_may_changes_in_place_and_who_goes_is_put_out(role: RoleHost, session: Callable[[], str]) -> None:
    pid, held = role.sh(f"systemctl show -p MainPID {WITH_USERS}"), session()
    assert held
    assert role.play(redis_instances=users(keys=["others:*"])).changed == 1
    assert as_user(role, "worker", WORKER, "SET", "others:1", "x") == "OK"
    assert "NOPERM" in as_user(role, "worker", WORKER, "GET", "jobs:1")
    assert (role.sh(f"systemctl show -p MainPID {WITH_USERS}"), session()) == (pid, held)
    *others, last = VARIABLES["redis_instances"]
    assert role.play(redis_instances=[*others, {**last, "users": last["users"][:1]}]).changed == 1
    assert session() == ""
    assert "WRONGPASS" in as_user(role, "reader", READER, "PING")
    assert role.play().changed == 1
    assert as_user(role, "reader", READER, "PING") == "PONG"
    assert role.sh(f"systemctl show -p MainPID {WITH_USERS}") == pid


def test_rules_that_redis_refuses_are_told_and_change_nothing(role: RoleHost) -> None:
    before = role.state(units=UNITS)
    run = role.play(redis_instances=users(commands=["+@nonsense"]))
    assert run.failed == 1
    # which word it is stands in a secret file, and none of its words is shown
    assert "users.acl:2: " in run.words, run.text
    assert "Unknown command or category name in ACL" in run.words
    assert as_user(role, "worker", WORKER, "SET", "jobs:1", "x") == "OK"
    assert role.play().failed == 0
    assert role.state(units=UNITS) == before


def test_a_password_is_replaced_with_its_user_connected_all_along(role: RoleHost) -> None:
    """By the very steps of the playbook `rotate`: the next one is let in, then the former one isn't any more."""
    given = {"fedlearn_secret_backend": {}, "fedlearn_state": os.environ["FEDLEARN_ROLE_STATE"]}
    wanted = {**given, "redis_instances": users(secret="redis_turns", in_turn=True)}
    first = role.secrets("redis_turns", "reader")["redis_turns"]
    assert role.play(**wanted).changed == 1
    pid = role.sh(f"systemctl show -p MainPID {WITH_USERS}")
    ask = f"redis-cli -h {role.address} -p 23459 --tls --cacert /etc/role-test/ca.pem --user worker"
    asking = f"while sleep 0.1; do echo INCR jobs:asked; done | {ask} >/run/answers 2>&1"
    role.sh(f"systemd-run --quiet --unit asking --setenv=REDISCLI_AUTH={first} /bin/sh -c {quote(asking)}; sleep 1")
    try:
        second = role.secrets("redis_turns", turn="begin")["redis_turns.2"]
        assert role.play(**wanted).changed == 1
        assert [as_user(role, "worker", one, "PING") for one in (first, second)] == ["PONG", "PONG"]
        assert role.play(**wanted).changed == 0
        assert role.play(entry="withdraw", **wanted).changed == 1
        assert "WRONGPASS" in as_user(role, "worker", first, "PING")
        assert as_user(role, "worker", second, "PING") == "PONG"
        assert "redis_turns" not in role.secrets("redis_turns", turn="end")
        assert role.play(**wanted).changed == 0
        assert role.sh(f"systemctl show -p MainPID {WITH_USERS}") == pid
        answers = role.sh("sleep 0.5; cat /run/answers").split()
        assert answers == [str(number) for number in range(1, len(answers) + 1)]
        assert len(answers) > 20
    finally:
        role.sh("systemctl stop asking; rm -f /run/answers")
        assert role.play().failed == 0
        as_user(role, "worker", WORKER, "DEL", "jobs:asked")


def test_channels_are_kept_apart(role: RoleHost) -> None:
    wanted = users(channels=["news:*"])
    if role.try_sh("redis-cli --version | grep -q ' 6.0'")[0] == 0:
        run = role.play(redis_instances=wanted)
        assert (run.failed, "because of ACL errors" in run.words) == (1, True)
    else:
        assert role.play(redis_instances=wanted).changed == 1
        assert as_user(role, "worker", WORKER, "PUBLISH", "news:1", "x") == "0"
        assert "NOPERM" in as_user(role, "worker", WORKER, "PUBLISH", "others:1", "x")
    assert role.play().failed == 0


def test_settings_are_in_effect(role: RoleHost) -> None:
    said = role.sh(
        f"redis-cli -h {role.address} -p 23456 --tls --cacert /etc/role-test/ca.pem --cert /etc/role-test/client.pem "
        "--key /etc/role-test/client.key CONFIG GET maxmemory"
    )
    assert said.split() == ["maxmemory", str(64 * 1024 * 1024)]


def test_memory_is_bounded_and_the_bound_of_data_is_met_first(role: RoleHost) -> None:
    said = role.sh("for one in maxmemory maxmemory-policy; do redis-cli -p 23457 CONFIG GET $one; done").split()
    assert said == ["maxmemory", str(1 << 30), "maxmemory-policy", "noeviction"]
    shown = {unit: int(role.sh(f"systemctl show -p MemoryMax --value {unit}")) for unit in UNITS}
    mib = {unit: number >> 20 for unit, number in shown.items()}
    assert mib == {SECURE: 96 + 256, PLAIN: 1536 + 256, KEPT: 2560 + 256, WITH_USERS: 2560 + 256}


def test_a_server_that_is_full_refuses_writes_and_loses_nothing(role: RoleHost) -> None:
    *others, kept, last = VARIABLES["redis_instances"]
    ask = "redis-cli -p 23460"
    full = [*others, {**kept, "settings": {"maxmemory": "96mb"}}, last]
    assert role.play(redis_instances=full).changed == 1
    try:
        before = role.sh(f"systemctl show -p MainPID -p NRestarts {KEPT}")
        # more than the unit may have at all, saved all along
        said = role.sh(f"for n in $(seq 60); do {ask} SETRANGE full:$n 10000000 x; {ask} BGREWRITEAOF; done 2>&1")
        assert "OOM command not allowed when used memory > 'maxmemory'" in said
        assert role.sh(f"{ask} STRLEN full:1").strip() == "10000001"
        assert role.sh(f"{ask} INFO stats | grep evicted_keys").strip() == "evicted_keys:0"
        assert role.sh(f"systemctl show -p MainPID -p NRestarts {KEPT}") == before
        assert role.play(entry="check", redis_instances=full).code == 0
    finally:
        role.try_sh(f"for n in $(seq 60); do {ask} DEL full:$n; done >/dev/null")
        assert role.play().changed == 1


def test_no_daemon_of_the_package(host: Any) -> None:
    assert not host.package("redis-server").is_installed
    assert not host.file("/lib/systemd/system/redis-server.service").exists


@pytest.mark.parametrize("unit", UNITS)
def test_hardened(role: RoleHost, unit: str) -> None:
    assert role.exposure(unit) <= 2.5
    user = role.sh(f"stat -c %u /proc/$(systemctl show -p MainPID --value {unit})").strip()
    assert 61184 <= int(user) <= 65519  # a dynamic user


def test_open_files_are_what_the_machine_allows(role: RoleHost) -> None:
    allowed = min(65535, int(role.sh("awk '/open files/ {print $5}' /proc/1/limits")))
    assert (
        int(role.sh(f"awk '/open files/ {{print $4}}' /proc/$(systemctl show -p MainPID --value {SECURE})/limits"))
        == allowed
    )


class TestRedis(Secretive, Store):
    units, owned = UNITS, 13
    changed = {"redis_instances": instances(settings={"maxmemory": "32mb"})}
    package = ("redis_packages", "redis-tools")
    unfit, serves_at = "key values mismatch", 23456
    name, space = "redis-third", "redis_space_mb"
    loopback = {"addresses": ["::1"]}
    refused = (
        (
            {"public_name": "elsewhere.test"},
            "/etc/role-test/server.pem isn't valid for elsewhere.test: public_name says",
        ),
        (
            {"tls": {**TLS, "certificate": "/etc/role-test/client.pem", "key": "/etc/role-test/client.key"}},
            "/etc/role-test/client.pem isn't valid for ",
        ),
        ({"settings": {"maxmemory-policy": "nonsense"}}, "server.sh try refused the new configuration"),
        ({"settings": {"no-such-directive": 1}}, "no-such-directive"),
        ({"tls": {**TLS, "key": "/etc/role-test/stranger.key"}}, "key values mismatch"),
        ({"tls": {**TLS, "certificate": "/etc/role-test/nowhere.pem"}}, "nowhere.pem isn't there, or is empty"),
        (
            {"tls": {**TLS, "certificate": "/etc/role-test/expired.pem"}},
            f"/etc/role-test/expired.pem: the certificate has expired, on {OVER}: renew it",
        ),
        ({"tls": {**TLS, "client_ca": "/etc/role-test/ended-ca.pem"}}, ENDED),
        ({"tls": {**TLS, "server_ca": "/etc/role-test/ended-ca.pem"}}, ENDED),
        # its own certificate's CA is well, so it would begin, and refuse all its clients
        (
            {"tls": {**TLS, "client_ca": "/etc/role-test/ended-ca.pem", "server_ca": "/etc/role-test/ca.pem"}},
            ENDED_FOR_CLIENTS,
        ),
    )
    wrong = (
        (
            {"port": "23456"},
            "redis_instances[0]: port: expected a whole number from 1 to 65535, found the text '23456'",
        ),
        ({"port": 65536}, "redis_instances[0]: port: expected a whole number from 1 to 65535, found the number 65536"),
        ({"addresses": ["0.0.0.0"]}, "redis_instances[0]: addresses[0]: '0.0.0.0' is no address of one host"),
        ({"addresses": ["ms1.example"]}, "redis_instances[0]: addresses[0]: 'ms1.example' is no numeric address"),
        ({"addresses": []}, "redis_instances[0]: addresses: expected"),
        ({"tls": None, "addresses": ["10.9.9.9"]}, "say allow_unauthenticated: true"),
        (
            {"tls": {**TLS, "client_ca": None, "server_ca": "/etc/role-test/ca.pem"}},
            "is reached by others, and nobody is asked who they are: give tls.client_ca or users",
        ),
        (
            {"tls": None, "users": [{"name": "one", "secret": "one"}], "addresses": ["10.9.9.9"]},
            "without tls passwords can be read on the way: give tls",
        ),
        (
            {"settings": {"requirepass": "CANARY-x"}},
            "settings.requirepass: can't be set: it would be a secret in a file for all to read",
        ),
        ({"settings": {"bind": "0.0.0.0"}}, "settings.bind: follows from the instance's 'addresses': set that"),
        ({"settings": {"maxmemory": "1\nport 1"}}, "settings.maxmemory"),
        ({"name": "../x"}, "redis_instances[0]: name: '../x' is not a name"),
        ({"name": "redis-plain"}, "redis_instances[1]: name: 'redis-plain' is also the name of [0]"),
        (
            {"addresses": ["127.0.0.1"], "port": 23457},
            "redis_instances[1]: port: 127.0.0.1 port 23457 is taken by 'redis-secure'",
        ),
        ({"persistence": "sometimes"}, "value of persistence must be one of: none, rdb, aof, got: sometimes"),
        ({"prot": 1}, "Supported parameters include: addresses"),
    )

    def with_(self, changed: Mapping[str, Any]) -> dict[str, Any]:
        return {"redis_instances": instances(**changed)}

    def with_more(self, **changed: Any) -> dict[str, Any]:
        more = {"name": self.name, "federation": "redis-one", "port": 23470, "persistence": "aof"}
        return {"redis_instances": [*VARIABLES["redis_instances"], {**more, **changed}]}

    def serves(self, role: RoleHost) -> bool:
        return "PONG" in ping(role, "client.pem", "client.key")

    meant = (f"{OWN}/administrator",)

    def lose(self, role: RoleHost) -> None:
        role.sh("rm /etc/fedlearn/redis-one/redis-users/users.acl")

    def own(self, role: RoleHost) -> list[str]:
        return [role.sh(f"cat {self.meant[0]}").strip()]


def test_what_is_stopped_or_disabled_by_hand_is_named_and_repaired(role: RoleHost) -> None:
    role.sh(f"systemctl stop {PLAIN}; systemctl disable {SECURE}")
    assert role.play("--check").changed == 1
    named = role.play(entry="check").words
    assert f"redis-plain: stopped: {PLAIN} is inactive (dead)" in named
    assert f"redis-secure: differing: enablement of {SECURE}" in named
    assert not [wrong for wrong in ("redis-secure: stopped", "redis-plain: differing", ": ill: ") if wrong in named]
    assert role.play().changed == 1
    assert role.sh(f"systemctl is-active {PLAIN}; systemctl is-enabled {SECURE}").split() == ["active", "enabled"]


AS_ROOT = {
    "redis-users": f"REDISCLI_AUTH=$(cat {OWN}/administrator) "
    "redis-cli -s /run/fedlearn-redis-users/root.sock --user fedlearn",
    "redis-secure": "redis-cli -s /run/fedlearn-redis-secure/root.sock",
    "redis-plain": "redis-cli -p 23457",
}


@pytest.mark.parametrize(
    ("instance", "by_hand", "named"),
    [
        # names that stand in the secret file are never shown
        ("redis-users", "ACL SETUSER reader +@all '~*'", "********"),
        ("redis-users", "ACL SETUSER worker off", "********"),
        ("redis-users", "ACL SETUSER intruder on nopass +@all '~*'", "intruder"),
        ("redis-users", "ACL DELUSER worker", "********"),
        ("redis-users", "ACL SETUSER default on nopass +@all '~*'", "********"),
        ("redis-secure", "ACL SETUSER intruder on '>x' +@all '~*'", "intruder"),
        ("redis-plain", "ACL SETUSER intruder on '>x'", "intruder"),
        ("redis-plain", "ACL SETUSER '*' on nopass +@all '~*'", "*"),
    ],
)
def test_users_that_somebody_changed_are_named_and_put_back(
    role: RoleHost, instance: str, by_hand: str, named: str
) -> None:
    ask, pids = AS_ROOT[instance], [role.sh(f"systemctl show -p MainPID {unit}") for unit in UNITS]
    role.sh(f"systemctl reload fedlearn-{instance}")  # rules are written otherwise after one than after a start
    before = sorted(role.sh(f"{ask} ACL LIST").splitlines())
    role.sh(f"{ask} {by_hand} | grep -vi error")
    assert role.play("--check").changed == 1
    assert f"{instance}: differing: users changed by hand: {named}; would be reloaded" in role.play(entry="check").words
    assert role.play().changed == 1
    assert sorted(role.sh(f"{ask} ACL LIST").splitlines()) == before
    again = role.play(most=2)
    assert (again.changed, role.play(entry="check").code) == (0, 0)
    assert [role.sh(f"systemctl show -p MainPID {unit}") for unit in UNITS] == pids


def test_who_may_not_look_at_its_users_any_more_is_told_to_restart_it(role: RoleHost) -> None:
    way_out = "somebody took from root the right to look at its users: systemctl restart fedlearn-redis-plain"
    role.sh("redis-cli -p 23457 ACL SETUSER default -@dangerous")
    try:
        assert f"redis-plain: differing: {way_out}; would be reloaded" in role.play(entry="check").words
        assert role.play().failed == 1
    finally:
        role.sh("systemctl restart fedlearn-redis-plain")
    assert role.play(entry="check").code == 0
    assert role.play().failed == 0


def test_what_runs_and_refuses_its_clients_is_ill_and_not_differing(role: RoleHost) -> None:
    client = "redis-cli -p 23457"
    role.sh(f"{client} CONFIG SET requirepass by-hand")
    try:
        named = role.play(entry="check").words
    finally:
        role.sh(f"{client} -a by-hand --no-auth-warning CONFIG SET requirepass ''")
    assert "server.sh health: exit status 1: NOAUTH Authentication required." in named
    assert ": stopped: " not in named
    assert ": differing: " not in named
    assert role.play(entry="check").code == 0


def served(role: RoleHost) -> str:
    """The serial number of the certificate it shows."""
    show = f"openssl s_client -connect {role.address}:23456 </dev/null 2>/dev/null"
    return role.sh(f"{show} | openssl x509 -noout -serial")


NEW_PAIR = """
cd /etc/role-test && cp -p server.pem server.old && cp -p server.key key.old
printf 'subjectAltName=DNS:server.test,IP:%s\\nextendedKeyUsage=serverAuth,clientAuth\\n' {address} >new.ext
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout new.key -subj /CN=server |
    openssl x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile new.ext -out new.pem
cat new.pem >server.pem && cat new.key >server.key
"""


def test_a_new_key_and_certificate_are_loaded_without_a_request_that_fails(role: RoleHost) -> None:
    """Of whoever stays connected, and of whoever comes anew each time."""
    before = [role.sh(f"systemctl show -p MainPID {unit}") for unit in UNITS]
    files = "--cert /etc/role-test/client.pem --key /etc/role-test/client.key --cacert /etc/role-test/ca.pem"
    ask, former = f"redis-cli -h {role.address} -p 23456 --tls {files}", served(role)
    role.sh(f"{ask} DEL stays comes")
    going_on = {
        "stays": f"while sleep 0.1; do echo INCR stays; done | {ask} >/run/stays 2>&1",
        "comes": f"while :; do {ask} INCR comes >>/run/comes 2>&1; done",
    }
    try:
        for name, script in going_on.items():
            role.sh(f"systemd-run --quiet --unit {name} /bin/sh -c {quote(script)}")
        role.sh(f"sleep 1; {NEW_PAIR.format(address=role.address)}")
        assert role.play().changed == 1
        assert served(role) != former
        role.sh("sleep 2; systemctl stop stays comes")
        for name in going_on:
            answers = role.sh(f"cat /run/{name}").split()
            assert answers == [str(number) for number in range(1, len(answers) + 1)]
            assert len(answers) > 20
    finally:
        role.sh("systemctl stop stays comes 2>/dev/null; rm -f /run/stays /run/comes")
        role.sh("cd /etc/role-test && mv server.old server.pem && mv key.old server.key && rm -f new.*")
        assert role.play().changed == 1
    assert served(role) == former
    assert [role.sh(f"systemctl show -p MainPID {unit}") for unit in UNITS] == before


def test_another_ca_of_clients_is_loaded_in_place_and_who_came_in_by_one_that_goes_has_to_come_again(
    role: RoleHost,
) -> None:
    """What Redis remembers stays, whatever else is on disk: nothing is."""
    before = role.sh(f"systemctl show -p MainPID {SECURE}")
    own = "--cert /etc/role-test/client.pem --key /etc/role-test/client.key"
    other = "--cert /run/other.pem --key /run/other.key"
    ask = f"redis-cli -h {role.address} -p 23456 --tls --cacert /etc/role-test/ca.pem"
    waiting = f"{ask} {own} CLIENT LIST TYPE pubsub | cut -d' ' -f1"
    role.sh(f"{ask} {own} SET kept yes")
    role.sh(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /run/other.key "
        "-out /run/other.pem -days 30 -subj /CN=other && cd /etc/role-test && cp -p ca.pem ca.old"
    )
    role.sh(f"systemd-run --quiet --unit session {ask} {own} SUBSCRIBE anything; sleep 1")
    session = role.sh(waiting)
    assert session.startswith("id=")
    assert "PONG" not in role.try_sh(f"{ask} {other} PING")[1]
    role.sh("cat /run/other.pem >>/etc/role-test/ca.pem")
    assert role.play().changed == 1
    assert role.sh(f"{ask} {other} PING").strip() == "PONG"
    assert role.sh(waiting) == session
    role.sh("mv /etc/role-test/ca.old /etc/role-test/ca.pem")
    assert role.play().changed == 1
    assert "PONG" not in role.try_sh(f"{ask} {other} PING")[1]
    assert role.sh(waiting) != session
    assert role.sh(f"{ask} {own} GET kept").strip() == "yes"
    assert role.sh(f"systemctl show -p MainPID {SECURE}") == before
    role.sh("systemctl stop session || true; rm /run/other.*")
    assert role.play().changed == 0


def test_data_stay_until_told(role: RoleHost) -> None:
    durable = [{"name": "redis-durable", "federation": "redis-one", "port": 23458, "persistence": "aof"}]
    assert role.play(redis_instances=durable).code == 0
    role.sh("redis-cli -p 23458 SET kept yes && systemctl restart fedlearn-redis-durable && sleep 1")
    assert role.sh("redis-cli -p 23458 GET kept").strip() == "yes"
    gone = [{"name": "redis-durable", "federation": "redis-one", "state": "absent"}]
    assert role.play(redis_instances=gone).changed == 1
    assert role.try_sh("test -e /etc/systemd/system/fedlearn-redis-durable.service")[0] == 1
    assert role.sh("ls /var/lib/private/fedlearn-redis-durable").strip()
    assert role.play(redis_instances=durable).changed == 1
    assert role.sh("redis-cli -p 23458 GET kept").strip() == "yes"
    assert role.play(redis_instances=gone, redis_remove_data=True).changed == 1
    assert role.try_sh("ls -d /var/lib/fedlearn-redis-durable /var/lib/private/fedlearn-redis-durable")[0] != 0


LAY = """
seq 5000 | sed 's/.*/SET key:& value-&/'
seq 300 | sed 's/.*/HSET hash field:& value-&/; p; s/.*HSET hash field:\\([0-9]*\\) .*/ZADD ranks \\1 member:\\1/'
seq 300 | sed 's/.*/RPUSH list item-&/'
echo 'XADD stream 1-1 step 7'
echo 'SET ends soon EX 90000'
"""
READ = "HGETALL hash\nZRANGE ranks 0 -1 WITHSCORES\nLRANGE list 0 -1\nXRANGE stream - +\nGET ends\n"


def filled(role: RoleHost) -> None:
    """Data of several types in both that keep theirs."""
    role.sh(f"{{ {LAY} }} | redis-cli -p 23460 >/dev/null")
    for number in range(20):
        assert as_user(role, "worker", WORKER, "SET", f"jobs:{number}", f"number {number}") == "OK"


def digests(role: RoleHost) -> tuple[str, ...]:
    """One word for all that the plain one holds, and one for what a user reads of the other."""
    keys, ask = "/run/keys", "redis-cli -p 23460"
    each = f"{{ sed -n 's/^key:/GET key:/p' {keys}; printf '{READ}'; }} | {ask}"
    plain = role.sh(f"{ask} --scan | sort >{keys}; {{ cat {keys}; {each}; }} | sort | sha256sum; rm {keys}")
    wanted = " ".join(f"jobs:{number}" for number in range(20))
    return plain.split()[0], as_user(role, "worker", WORKER, "MGET", *wanted.split())


def test_a_new_host_gets_the_data_back(role: RoleHost, tmp_path: Path) -> None:
    """The host is destroyed, and another one in its place has nothing but what the role brings."""
    filled(role)
    before = digests(role)
    told = role.sh("age-keygen 2>/dev/null").split()
    public, private = (next(word for word in told if word.startswith(start)) for start in ("age1", "AGE-"))
    processes = [role.sh(f"systemctl show -p MainPID {unit}") for unit in UNITS]
    run = role.play(entry="backup", redis_backup_directory=str(tmp_path), redis_backup_recipient=public)
    assert (run.code, run.changed) == (0, 1), run.text
    (file,) = tmp_path.glob("host/redis-*.tar.age")
    assert file.read_bytes().startswith(b"age-encryption.org/v1")
    assert tmp_path.joinpath("host").stat().st_mode & 0o777 == 0o700
    assert role.sh("ls /var/tmp | grep ^fedlearn || true") == ""
    assert [role.sh(f"systemctl show -p MainPID {unit}") for unit in UNITS] == processes

    role.lose()
    assert role.play().code == 0
    assert digests(role) != before
    restore = {"entry": "restore", "redis_restore_from": str(file)}
    assert "redis_backup_secret: which secret is the key" in role.play(**restore).words
    run = role.play("-vvv", **restore, redis_backup_secret="age", canary_age=private)
    assert run.code == 0, run.text
    assert private not in run.text
    assert digests(role) == before
    assert 0 < int(role.sh("redis-cli -p 23460 TTL ends")) < 90000
    assert role.sh("ls /var/tmp /var/lib/fedlearn | grep -e ^fedlearn -e restore || true") == ""
    assert role.sh("ls -d /var/lib/private/*/rest* 2>/dev/null || true") == ""
    # it is kept from now on
    assert role.sh("redis-cli -p 23460 SET after yes").strip() == "OK"
    role.sh(f"systemctl restart {KEPT} {WITH_USERS}; sleep 2")
    assert role.sh("redis-cli -p 23460 GET after; redis-cli -p 23460 DEL after").split() == ["yes", "1"]
    assert digests(role) == before
    assert role.play().changed == 0
    assert role.play(entry="check").code == 0


def test_a_damaged_copy_is_not_restored(role: RoleHost, tmp_path: Path) -> None:
    assert "which file of" in role.play(entry="restore").words
    filled(role)
    before = role.state(units=UNITS), digests(role)
    assert role.play(entry="backup", redis_backup_directory=str(tmp_path)).code == 0
    (file,) = tmp_path.glob("host/redis-*.tar")
    with tarfile.open(file) as archive:
        archive.extractall(tmp_path / "all", filter="data")
    for dump in (tmp_path / "all").rglob("dump.rdb"):
        dump.write_bytes(dump.read_bytes()[:-40])
    with tarfile.open(tmp_path / "damaged.tar", "w") as archive:
        archive.add(tmp_path / "all", ".")
    run = role.play(entry="restore", redis_restore_from=str(tmp_path / "damaged.tar"))
    assert run.code == 2
    assert "RDB ERROR DETECTED" in run.words, run.text
    assert (role.state(units=UNITS), digests(role)) == before


def test_remove_leaves_nothing_and_a_clean_host_can_be_checked(role: RoleHost) -> None:
    assert role.play(entry="remove", redis_remove_data=True).changed == 1
    assert role.play(entry="remove", redis_remove_data=True).changed == 0
    left = role.sh("find /etc /var/lib /run | grep -e redis-one -e fedlearn-redis || true")
    assert left == "", left
    assert role.try_sh("ss -Hltnp | grep -q redis")[0] == 1
    clean = role.play("--check")
    assert (clean.code, clean.failed) == (0, 0), clean.text
    assert role.owned() == []
    assert role.sh("ls /run/fedlearn | grep redis || true") == ""
    assert role.play().changed >= 1
