# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filters, on what the demo's inventory says: values, and errors that name the filter and the way out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.fedlearn.infra.plugins.filter.certificate import certificate
from ansible_collections.fedlearn.infra.plugins.filter.database_url import database_url
from ansible_collections.fedlearn.infra.plugins.filter.endpoint import endpoint
from ansible_collections.fedlearn.infra.plugins.filter.nofile_limit import nofile_limit
from ansible_collections.fedlearn.infra.plugins.filter.settings import settings
from ansible_collections.fedlearn.infra.plugins.filter.url import url
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import loading, variables

CHECKOUT = Path(__file__).resolve().parents[4]
DEMO = variables.inventory(loading.load(str(CHECKOUT / "inventories/demo/federation.yml")))
LENET = DEMO.groups["federation_hosts"].variables["fedlearn_endpoints"]["lenet"]
CERTIFICATES = DEMO.hosts["ms1"]["pki_certificates"]


def refused(message: str) -> Any:
    return pytest.raises(AnsibleFilterError, match=f"^{re.escape(message)}")


@pytest.mark.parametrize(
    ("role", "view", "chosen", "place"),
    [
        ("proxy", "public", {}, "https://10.20.0.11:6666"),
        ("proxy", "bind", {}, "10.20.0.11:6666"),
        ("redis", "internal", {}, "10.20.0.11:23456"),
        ("scheduler", "bind", {"purpose": "rest"}, "127.0.0.1:11202"),
        ("servers", "internal", {"purpose": "checkpoints", "host": "ms3"}, "10.20.0.13:7666"),
    ],
)
def test_endpoint(role: str, view: str, chosen: dict[str, str], place: str) -> None:
    assert endpoint(LENET, role, view, **chosen) == place


def test_endpoint_refuses_what_is_none_or_several() -> None:
    with refused("fedlearn.infra.endpoint: the stack has no endpoint of 'leader', only of proxy, redis, scheduler, se"):
        endpoint(LENET, "leader")
    with refused("fedlearn.infra.endpoint: 'privat' is no view of an endpoint: bind, internal, public"):
        endpoint(LENET, "proxy", "privat")
    with refused("fedlearn.infra.endpoint: 'servers' has several endpoints, choose by purpose and host: http on ms2, "):
        endpoint(LENET, "servers", purpose="http")
    with refused("fedlearn.infra.endpoint: 'servers' has no endpoint of that purpose and host: "):
        endpoint(LENET, "servers", host="ms1")


def test_certificate() -> None:
    found = certificate(CERTIFICATES, "demo-lenet-proxy")
    assert (found["dns_names"], found["addresses"], found["usages"], found["formats"]) == (
        ["demo-lenet-proxy"],
        ["10.20.0.11"],
        ["server"],
        ["pem"],
    )
    assert found["paths"]["key"] == "/etc/fedlearn/demo/pki/demo-lenet-proxy/key.pem"
    with refused("fedlearn.infra.certificate: the host has no certificate 'proxy', only demo-lenet-proxy, demo-lenet"):
        certificate(CERTIFICATES, "proxy")


def test_certificate_doesn_t_find_one_that_is_to_be_removed() -> None:
    with refused("fedlearn.infra.certificate: the host has no certificate 'x', only none"):
        certificate([{"name": "x", "state": "absent", "federation": "demo", "stack": "lenet"}], "x")


def test_url_and_database_url() -> None:
    assert url("fd00::11", "https", 8443, "/a", {"n": 1}) == "https://[fd00::11]:8443/a?n=1"
    assert database_url(["m1", "fd00::2"], "mongodb", "x", options={"w": 1}) == "mongodb://m1,[fd00::2]/x?w=1"
    with refused("fedlearn.infra.url: 'a/b' is no host"):
        url("a/b")
    with refused("fedlearn.infra.database_url: 'mysql' is no database engine: mongodb, postgresql, redis, rediss"):
        database_url("h", "mysql")


def test_settings() -> None:
    found = settings({"fl_name": "lenet", "encrypt": {"encrypt_type": "SIGNDS"}}, "mindspore", version="0.1.0")
    assert (found["encrypt"]["encrypt_type"], found["fl_iteration_num"]) == ("SIGNDS", 25)
    with refused(
        "fedlearn.infra.settings: settings.fl_iteration_num: expected a whole number from 1 to 4294967295, "
        "found the text '3': leave out the quotes\nsettings.roundd: unknown key 'roundd' (did you mean 'round'?)"
    ):
        settings({"fl_name": "lenet", "fl_iteration_num": "3", "roundd": {}}, "mindspore")
    with refused("fedlearn.infra.settings: there is no kind 'mindspor' (did you mean 'mindspore'?)"):
        settings({}, "mindspor")


def test_nofile_limit() -> None:
    assert (nofile_limit(10), nofile_limit(20_000)) == (65535, 100_512)
    with refused("fedlearn.infra.nofile_limit: clients must be a whole number"):
        nofile_limit("20000")
    with refused("fedlearn.infra.nofile_limit: clients, reserve must be a whole number"):
        nofile_limit(True, reserve=1.5)
    with refused("fedlearn.infra.nofile_limit: 1000000 clients need 5000512 open files, a process can have 1048576"):
        nofile_limit(1_000_000)
