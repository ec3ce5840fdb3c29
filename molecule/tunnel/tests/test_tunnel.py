# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tunnel role on one host, as an unprivileged sudo user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
import yaml
from role_host import RoleHost
from shared_tests import Listening, Packaged, ipv6, unit

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
UNITS = ("fedlearn-out.service", "fedlearn-named.service")
ASK = """
import asyncio, asyncpg, sys

async def ask():
    to = dict(host="127.0.0.1", port=int(sys.argv[1]), user="program", database="survey")
    connection = await asyncpg.connect(password="CANARY-B", ssl=False, **to)
    await connection.execute("SET ROLE NONE")
    print(await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))

asyncio.run(ask())
"""
FILES = "/etc/fedlearn/tunnel-one/out/stunnel.conf"


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "tunnel", VARIABLES, ("out", "named"))


def changed(role: RoleHost, **keys: Any) -> list[dict[str, Any]]:
    """The scenario's tunnels, the first one changed."""
    first, second = (
        {**one, "connect": {**one["connect"], "host": role.address}} for one in VARIABLES["tunnel_instances"]
    )
    return [{**first, **keys}, second]


def ask(role: RoleHost, port: int) -> str:
    """What PostgreSQL says through a tunnel, to a client that can't do TLS."""
    return role.try_sh(f"python3 -c {quote(ASK)} {port}")[1].strip()


@pytest.mark.parametrize("port", [5432, 5434])
def test_what_goes_in_plain_comes_out_as_tls(role: RoleHost, port: int) -> None:
    assert ask(role, port) == "True"


def test_without_a_tunnel_nobody_comes_in_plain(role: RoleHost) -> None:
    where = f"host={role.address} port=5432 user=program dbname=survey sslmode=disable"
    assert "no pg_hba.conf entry" in role.try_sh(f"PGPASSWORD=CANARY-B psql -XAtqc 'SELECT 1' '{where}'")[1]


def test_listens_on_loopback_only(role: RoleHost) -> None:
    lines = role.sh("ss -Hltnp | grep stunnel").splitlines()
    assert sorted(line.split()[3] for line in lines) == ["127.0.0.1:5432", "127.0.0.1:5434"]


@pytest.mark.parametrize("unit", UNITS)
def test_hardened(role: RoleHost, unit: str) -> None:
    assert role.exposure(unit) <= 2.5
    assert role.sh(f"systemctl is-enabled {unit}").strip() == "enabled"
    user = role.sh(f"stat -c %u /proc/$(systemctl show -p MainPID --value {unit})").strip()
    assert int(user) > 61000


FIRST, SECOND = VARIABLES["tunnel_instances"]


class TestTunnel(Listening, Packaged):
    units, owned = UNITS, 6
    changed = {"tunnel_instances": [{**FIRST, "listen": {"port": 5433}}, SECOND]}
    package = ("tunnel_packages", "stunnel4")
    name = "third"
    loopback = {"address": "::1", "connect": {"host": "::1", "port": 5440, "name": "server.test"}}
    # every wrong value has its exact message in tests/unit/plugins/plugin_utils/roles/test_catalogue.py
    wrong = (
        (
            {"listen": {"address": "10.20.0.11", "port": 5432}},
            "would come out at the other end as this host: 127.0.0.1",
        ),
        ({"listen": {"port": 5434}}, "tunnel_instances[1]: listen: 127.0.0.1 port 5434 is taken by 'out'"),
        ({"tls": {"ca": "/ca", "key": "/key"}}, "tls: 'certificate' and 'key' go together"),
        ({"protocol": "smtp"}, "value of protocol must be one of: tls, postgresql, got: smtp"),
    )

    def with_(self, changed: Mapping[str, Any]) -> dict[str, Any]:
        return {"tunnel_instances": [{**FIRST, **changed}, SECOND]}

    def with_more(self, port: int = 5436, address: str = "127.0.0.1", **changed: Any) -> dict[str, Any]:
        more = {**FIRST, "name": self.name, "listen": {"address": address, "port": port}}
        return {"tunnel_instances": [FIRST, SECOND, {**more, **changed}]}

    def test_ipv6_alone_will_do(self, role: RoleHost) -> None:
        """At both ends."""
        at = "--unit far --socket-property 'ListenStream=[::1]:5440'"
        with ipv6(role):
            role.sh(f"systemd-run -q {at} /lib/systemd/systemd-socket-proxyd {role.address}:5432")
            try:
                super().test_ipv6_alone_will_do(role)
            finally:
                role.sh("systemctl stop far.socket far.service")


@pytest.mark.parametrize(
    "keys",
    [
        {"tls": {"ca": "/etc/role-test/other.pem"}},
        {"tls": {"ca": "/etc/role-test/ended-ca.pem"}},
        {"connect": {"port": 5432, "name": "somebody.test"}},
    ],
    ids=["other CA", "ended CA", "other name"],
)
def test_a_peer_that_is_not_meant_gets_nothing(role: RoleHost, keys: dict[str, Any]) -> None:
    """And the tunnel that works stays."""
    if "connect" in keys:
        keys["connect"]["host"] = role.address
    before = role.state(units=UNITS[1:])
    run = role.play(tunnel_instances=changed(role, **keys), tunnel_health_timeout_seconds=8)
    assert run.failed == 1
    assert "the other end is away" in run.words
    assert (role.state(units=UNITS[1:]), ask(role, 5432)) == (before, "True")


SAYS_BACK = """
import socket
with socket.create_connection(("127.0.0.1", 5437), 10) as stream:
    stream.sendall(b"olleh\\n")
    print(stream.recv(16).decode())
"""


@pytest.fixture
def strict(role: RoleHost) -> Iterator[dict[str, Any]]:
    """A peer that speaks TLS from the first byte, with whom its CA vouches for, and says backwards what it is told.

    It is the tunnel that leads there, but for its certificate.
    """
    own = "-cert /etc/role-test/server.pem -key /etc/role-test/server.key -CAfile /etc/role-test/ca.pem"
    asks = f"openssl s_server -accept {role.address}:5441 {own} -Verify 1 -verify_return_error -rev"
    with unit(role, "strict", asks, "ss -Hltn sport = :5441 | grep -q ."):
        connect = {"host": role.address, "port": 5441, "name": "server.test"}
        yield {"name": "third", "federation": "tunnel-one", "listen": {"port": 5437}, "connect": connect}
    gone = {"name": "third", "federation": "tunnel-one", "state": "absent"}
    assert role.play(tunnel_instances=[FIRST, SECOND, gone]).code == 0


@pytest.mark.parametrize(("who", "failed"), [("client", 0), ("stranger", 1), ("", 1)])
def test_a_peer_that_asks_for_a_certificate_gets_it(
    role: RoleHost, strict: dict[str, Any], who: str, failed: int
) -> None:
    pair = {"certificate": f"/etc/role-test/{who}.pem", "key": f"/etc/role-test/{who}.key"} if who else {}
    third = {**strict, "tls": {"ca": "/etc/role-test/ca.pem", **pair}}
    run = role.play(tunnel_instances=[FIRST, SECOND, third], tunnel_health_timeout_seconds=10)
    assert run.failed == failed, run.text
    if failed:
        assert "the other end is away, or isn't who it should be" in run.words
    else:
        assert role.sh(f"python3 -c {quote(SAYS_BACK)}").strip() == "hello"


def test_a_certificate_of_another_key_never_replaces_one_that_fits(role: RoleHost) -> None:
    before, other = role.state(), role.state(units=UNITS[:1])
    tls = {**SECOND["tls"], "key": "/etc/role-test/server.key"}
    run = role.play(tunnel_instances=[FIRST, {**SECOND, "tls": tls}], tunnel_health_timeout_seconds=8)
    assert run.failed == 1, run.text
    assert "key values mismatch" in run.words, run.text
    assert (role.state(), role.state(units=UNITS[:1])) == (before, other)
    assert ask(role, 5434) == "True"
    assert role.play().changed == 0


def test_a_peer_that_is_away_is_told(role: RoleHost) -> None:
    role.sh("systemctl stop fedlearn-store")
    try:
        run = role.play(entry="check")
        assert run.failed == 1
        assert "out: ill: command" in run.words
    finally:
        role.sh("systemctl start fedlearn-store")
        through = "python3 -B /etc/fedlearn/tunnel-one/out/probe.py 127.0.0.1 5432"
        role.sh(f"for _ in $(seq 100); do {through} && break; sleep 0.2; done")
    assert role.play(entry="check").failed == 0


def test_nothing_is_left(role: RoleHost) -> None:
    owned = role.owned()
    assert owned
    try:
        assert role.play(entry="remove").failed == 0
        assert [path for path in owned if role.try_sh(f"test -e {path}")[0] == 0] == []
        assert role.try_sh("ss -Hltnp | grep stunnel")[1] == ""
        assert role.play("--check").failed == 0
    finally:
        role.play()
    assert ask(role, 5432) == "True"
