# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tunnel role on one host, as an unprivileged sudo user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
import yaml
from role_host import RoleHost
from shared_tests import Listening, Packaged, ipv6

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
