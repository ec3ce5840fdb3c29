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


def lines(client: dict[str, Any], tls: dict[str, str] | None) -> list[str]:
    """What pg_hba.conf says of a client, without comments and the administrator's line."""
    instance = {"name": "store", "tls": tls, "databases": [{"name": "db"}], "clients": [{"database": "db", **client}]}
    template = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False).from_string(
        (TEMPLATES / "pg_hba.conf.j2").read_text()
    )
    said = template.render(instance=check([instance])[0]).splitlines()
    assert said[2] == "local all postgres peer map=administrators"
    return said[3:]


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
