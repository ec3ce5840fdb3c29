# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A PostgreSQL server is sized by its memory, and lets in whom its clients name, by what they say and no other way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.postgresql import check

CHECKOUT = Path(__file__).resolve().parents[5]
TEMPLATES = CHECKOUT / "roles" / "postgresql" / "templates" / "etc" / "fedlearn" / "federation" / "instance"
TLS = {"certificate": "/c", "key": "/k", "ca": "/ca", "client_ca": "/ca"}


def sizes(**given: Any) -> dict[str, Any]:
    """The settings of an instance."""
    (instance,) = check([{"name": "store", **given}])
    return dict(instance["settings"])


def rendered(instance: dict[str, Any], template: str) -> str:
    """A file of an instance."""
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False)
    checked = {"federation": "demo", **check([instance])[0]}
    return environment.from_string((TEMPLATES / template).read_text()).render(instance=checked)


def lines(client: dict[str, Any], tls: dict[str, str] | None) -> list[str]:
    """What pg_hba.conf says of a client, without comments and the lines of administrator and restore."""
    instance = {"name": "store", "tls": tls, "databases": [{"name": "db"}], "clients": [{"database": "db", **client}]}
    said = rendered(instance, "pg_hba.conf.j2").splitlines()
    local = [f"local all {who} peer map=administrators" for who in ("postgres", "fedlearn_restoring")]
    assert [said[2], said[4]] == local
    return said[5:]


def test_sizes_follow_from_memory_and_not_from_who_comes() -> None:
    client = {"name": "a", "database": "db", "secret": "s"}
    assert sizes() == sizes(databases=[{"name": "db"}], clients=[client])
    assert sizes() == {
        "effective_cache_size": "384MB",
        "maintenance_work_mem": "32MB",
        "max_connections": 32,
        "shared_buffers": "128MB",
        "work_mem": "4096kB",
    }


def test_what_is_given_goes_over_what_is_derived() -> None:
    given = {"max_connections": 128, "shared_buffers": "1GB", "log_connections": True}
    assert sizes(settings=given) == {**sizes(), **given, "work_mem": "1024kB"}


@pytest.mark.parametrize(
    ("client", "tls", "said"),
    [
        ({"secret": "s"}, None, ["host 127.0.0.0/8 scram-sha-256", "host ::1/128 scram-sha-256"]),
        ({"secret": "s", "addresses": ["10.0.0.5"]}, TLS, ["hostssl 10.0.0.5/32 scram-sha-256"]),
        (
            {"secret": "s", "addresses": ["127.0.0.1", "fd00::/64"]},
            TLS,
            ["host 127.0.0.1/32 scram-sha-256", "hostssl fd00::/64 scram-sha-256"],
        ),
        (
            {"secret": "s", "addresses": ["10.0.0.5"], "allow_unencrypted": True},
            None,
            ["host 10.0.0.5/32 scram-sha-256"],
        ),
        (
            {"secret": "s", "addresses": ["::1"], "certificate": "any"},
            TLS,
            ["hostssl ::1/128 scram-sha-256 clientcert=verify-ca"],
        ),
        (
            {"secret": "s", "addresses": ["::1"], "certificate": "subject"},
            TLS,
            ["hostssl ::1/128 scram-sha-256 clientcert=verify-full"],
        ),
        ({"addresses": ["10.0.0.0/8"], "certificate": "subject"}, TLS, ["hostssl 10.0.0.0/8 cert"]),
        ({"state": "absent"}, TLS, []),
    ],
    ids=[
        "this host",
        "another",
        "both",
        "unencrypted",
        "any certificate",
        "password and certificate",
        "certificate",
        "absent",
    ],
)
def test_who_may_come(client: dict[str, Any], tls: dict[str, str] | None, said: list[str]) -> None:
    found = lines({"name": "a", **client}, tls)
    assert [line.replace(' "db" "a" ', " ") for line in found] == said


def test_a_client_that_comes_in_turns_has_a_line_for_each_of_its_logins() -> None:
    found = lines({"name": "a", "secret": "s", "addresses": ["10.0.0.5"], "in_turn": True}, TLS)
    assert found == [f'hostssl "db" "a_{turn}" 10.0.0.5/32 scram-sha-256' for turn in "ab"]


def test_a_server_with_an_archive_lets_its_administrator_copy_it_and_nobody_else() -> None:
    instance = {"name": "store", "backup": "archive"}
    said = rendered(instance, "pg_hba.conf.j2").splitlines()
    local = [f"local {what} postgres peer map=administrators" for what in ("all", "replication")]
    assert [said[2], *said[5:]] == local
    configuration = rendered(instance, "postgresql.conf.j2").splitlines()
    assert "archive_mode = on" in configuration
    assert "archive_timeout = '5min'" in configuration
    assert "archive_mode = on" not in rendered({"name": "store"}, "postgresql.conf.j2").splitlines()
