# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where MongoDB servers listen, and which of them are ours."""

from __future__ import annotations

from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles import mongodb
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.catalogue import INFRASTRUCTURE, PACKAGES

TLS = {"certificate": "/c", "key": "/k", "ca": "/ca"}
EXTERNAL = {"name": "theirs", "external": {"hosts": ["mongo.example:27017"], "tls": {"ca": "/ca"}}}


def test_health_and_metrics_have_a_port_of_their_own() -> None:
    given = [{"name": "a"}, {"name": "b", "port": 60000}, {"name": "c", "port": 27018, "debug_port": 9}]
    assert [one["debug_port"] for one in mongodb.check(given)] == [37017, 50000, 9]


def test_an_external_one_listens_nowhere() -> None:
    assert (
        mongodb.listening([EXTERNAL, {"name": "gone", "state": "absent"}, {"name": "still", "state": "stopped"}]) == []
    )
    (first, second) = mongodb.listening([{"name": "a", "address": "10.0.0.1", "tls": TLS}])
    unit = {"name": "a", "unit": "fedlearn-a.service"}
    assert first == {**unit, "address": "10.0.0.1", "port": 27017}
    assert second == {**unit, "address": "127.0.0.1", "port": 37017}


def test_a_certificate_has_the_name_that_clients_call_it() -> None:
    named = {"name": "a", "address": "10.0.0.1", "tls": TLS}
    assert mongodb.check([named])[0]["certified"] == {"name": "10.0.0.1", "is_address": True}
    public = mongodb.check([{**named, "public_name": "mongo.example"}])[0]
    assert public["certified"] == {"name": "mongo.example", "is_address": False}


def test_it_waits_for_postgresql_and_needs_its_client_for_external_ones_too() -> None:
    order = list(INFRASTRUCTURE)
    assert order.index("postgresql") < order.index("mongodb")
    values = {"mongodb_instances": [EXTERNAL], "mongodb_packages": ["python3-pymongo"]}
    assert PACKAGES["mongodb"](values) == {"names": ["python3-pymongo"]}
    assert PACKAGES["mongodb"]({**values, "mongodb_instances": []}) == {"names": []}
