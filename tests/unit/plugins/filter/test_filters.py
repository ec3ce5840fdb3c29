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
from ansible_collections.fedlearn.infra.plugins.filter.checked import checked
from ansible_collections.fedlearn.infra.plugins.filter.database_url import database_url
from ansible_collections.fedlearn.infra.plugins.filter.disrupted import disrupted
from ansible_collections.fedlearn.infra.plugins.filter.endpoint import endpoint
from ansible_collections.fedlearn.infra.plugins.filter.listening import listening
from ansible_collections.fedlearn.infra.plugins.filter.nofile_limit import nofile_limit
from ansible_collections.fedlearn.infra.plugins.filter.program_path import program_path
from ansible_collections.fedlearn.infra.plugins.filter.rooms import rooms
from ansible_collections.fedlearn.infra.plugins.filter.settings import settings
from ansible_collections.fedlearn.infra.plugins.filter.state_directory import state_directory
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


def side(host: str, purpose: str, bind: str, internal: str = "", public: str = "") -> dict[str, str]:
    """An endpoint; a view that isn't given is as the one before."""
    internal = internal or bind
    return {"host": host, "purpose": purpose, "bind": bind, "internal": internal, "public": public or internal}


LEADER = [
    side("a1", "health", "127.0.0.1:9001"),
    side("a1", "dap", "10.30.0.11:9991", "https://10.30.0.11:9991", "https://leader.a.example"),
    side("a1", "manager", "127.0.0.1:9981"),
]
THEIRS = "https://helper.b.example"


def test_in_public_view_what_a_party_keeps_to_itself_is_no_choice() -> None:
    assert endpoint({"leader": LEADER}, "leader", "public") == "https://leader.a.example"
    assert endpoint({"leader": LEADER}, "leader", "public", purpose="health") == "127.0.0.1:9001"
    assert endpoint({"helper": [side("clinic-b", "dap", THEIRS)]}, "helper", "public") == THEIRS
    with refused("fedlearn.infra.endpoint: 'leader' has several endpoints, choose by purpose and host: health on a1, "):
        endpoint({"leader": LEADER}, "leader", "internal")
    with refused("fedlearn.infra.endpoint: 'leader' has several endpoints"):
        endpoint({"leader": [*LEADER, side("clinic-b", "dap", THEIRS)]}, "leader", "public")


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


def test_who_is_disrupted_is_named_by_its_stack_or_itself() -> None:
    instances = [{"name": "a", "stack": "s"}, {"name": "s"}, {"name": "b", "stack": "a"}, {"name": "c", "stack": None}]
    assert [disrupted(instances, whom) for whom in ("s", "a", "c", "")] == [["a", "s"], ["b"], ["c"], []]


def test_a_program_path_has_the_folders_that_there_are_in_their_order() -> None:
    found = {"a/library": {"path": "/opt/l"}, "a/application": {"path": "/opt/a"}, "b/x": {"path": "/opt/x"}}
    assert program_path("a", found, ["library/src", "library", "x", "application"]) == "/opt/l/src:/opt/l:/opt/a"
    assert program_path("b", found, ["application"]) == ""


def test_nofile_limit() -> None:
    assert (nofile_limit(10), nofile_limit(20_000)) == (65535, 100_512)
    with refused("fedlearn.infra.nofile_limit: clients must be a whole number"):
        nofile_limit("20000")
    with refused("fedlearn.infra.nofile_limit: clients, reserve must be a whole number"):
        nofile_limit(True, reserve=1.5)
    with refused("fedlearn.infra.nofile_limit: 1000000 clients need 5000512 open files, a process can have 1048576"):
        nofile_limit(1_000_000)


ENTRY = {"component": "c", "purpose": "http", "host": "h", "bind": "b:1", "internal": "i:1", "public": "p:1"}
NO_ENTRY = "fedlearn.infra.endpoint: this is no stack's entry of fedlearn_endpoints, such as fedlearn_endpoints.lenet"
NO_LIST = "fedlearn.infra.certificate: this is no list like pki_certificates, whose entries have name and federation"
NO_PORT = "'443' is no port: a whole number, without quotes, or `| int`"
NO_HOST = "is no host: a port is given apart, an IPv6 address without its interface"
NO_USER = "a password is given, and no user: give user '' where there is none"
NO_SOCKET = "a directory with a socket is for postgresql, and stands alone"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: endpoint(None, "proxy"), NO_ENTRY),
        (lambda: endpoint({"proxy": None}, "proxy"), NO_ENTRY),
        (lambda: endpoint({"proxy": [{}]}, "proxy"), NO_ENTRY),
        (lambda: endpoint({"proxy": [ENTRY]}, ["proxy"]), "fedlearn.infra.endpoint: role must be a text"),
        (lambda: endpoint({"proxy": [ENTRY]}, "proxy", purpose=5), "fedlearn.infra.endpoint: purpose must be a text"),
        (lambda: certificate(None, "x"), NO_LIST),
        (lambda: certificate("abc", "x"), NO_LIST),
        (lambda: certificate([{"name": "x"}], "x"), NO_LIST),
        (lambda: certificate([], ["x"]), "fedlearn.infra.certificate: name must be a text"),
        (lambda: url(None), "fedlearn.infra.url: host must be a text"),
        (lambda: url(""), "fedlearn.infra.url: 'https://' begins no URL: it needs a scheme such as https, and a host"),
        (lambda: url("h", "ht tp"), "fedlearn.infra.url: 'ht tp://h' begins no URL"),
        (lambda: url("h", "x://y"), "fedlearn.infra.url: 'x://y://h' begins no URL"),
        (lambda: url("h", port="443"), f"fedlearn.infra.url: {NO_PORT}"),
        (lambda: url("h", port=True), "fedlearn.infra.url: True is no port"),
        (lambda: url("h", port=1.5), "fedlearn.infra.url: 1.5 is no port"),
        (lambda: url("h:80"), f"fedlearn.infra.url: 'h:80' {NO_HOST}"),
        (lambda: url("10.0.0.1:80"), f"fedlearn.infra.url: '10.0.0.1:80' {NO_HOST}"),
        (lambda: url("fe80::1%eth0"), f"fedlearn.infra.url: 'fe80::1%eth0' {NO_HOST}"),
        (lambda: url("h", path=5, user=6), "fedlearn.infra.url: path, user must be a text"),
        (lambda: url("h", query=["a"]), "fedlearn.infra.url: query must be a dict"),
        (lambda: url("h", password="hunter2"), f"fedlearn.infra.url: {NO_USER}"),
        (lambda: url("h", user="u", password=["hunter2"]), "fedlearn.infra.url: password must be a text"),
        (lambda: database_url("h", "postgresql", port="443"), f"fedlearn.infra.database_url: {NO_PORT}"),
        (lambda: database_url("/run", "postgresql", port="443"), f"fedlearn.infra.database_url: {NO_PORT}"),
        (lambda: database_url([], "mongodb"), "fedlearn.infra.database_url: no host is given"),
        (lambda: database_url(None, "mongodb"), "fedlearn.infra.database_url: host must be a text or a list of texts"),
        (lambda: database_url(["h", 5], "mongodb"), "fedlearn.infra.database_url: host 2 must be a text"),
        (lambda: database_url("h:x", "mongodb"), f"fedlearn.infra.database_url: 'h:x' {NO_HOST}"),
        (lambda: database_url("/run", "mongodb"), f"fedlearn.infra.database_url: {NO_SOCKET}"),
        (lambda: database_url(["h", "/run"], "postgresql"), f"fedlearn.infra.database_url: {NO_SOCKET}"),
        (lambda: database_url("h", "redis", password="hunter2"), f"fedlearn.infra.database_url: {NO_USER}"),
        (lambda: database_url("h", "redis", options="a"), "fedlearn.infra.database_url: options must be a dict"),
        (lambda: settings(None, "mindspore"), "fedlearn.infra.settings: settings: expected a mapping, found nothing"),
        (lambda: settings({}, None), "fedlearn.infra.settings: kind must be a text"),
        (lambda: settings({"fl_name": "a"}, "mindspore", 1), "fedlearn.infra.settings: version must be a text"),
        (lambda: nofile_limit(None), "fedlearn.infra.nofile_limit: clients must be a whole number"),
        (lambda: checked([], ["x"]), "fedlearn.infra.checked knows no variable '['x']', only"),
        (lambda: listening([], None), "fedlearn.infra.listening knows no variable 'None', only"),
    ],
)
def test_bad_input_is_told_by_its_name_and_no_secret_with_it(call: Any, message: str) -> None:
    with refused(message) as caught:
        call()
    assert "hunter2" not in str(caught.value)


def test_a_folder_is_itself_and_a_repository_has_a_working_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert state_directory("/srv/state") == "/srv/state"
    assert state_directory("state") == "state"
    assert state_directory(None) is None
    copies = [state_directory(url) for url in ("git@git.example:a.git", "ssh://git.example/a.git", "file:///a.git")]
    assert len({*copies, state_directory("git@git.example:a.git")}) == 3
    assert all(re.fullmatch(r"/cache/fedlearn\.infra/state/[0-9a-f]{16}/files", each) for each in copies)


def test_the_room_of_an_instance_is_in_its_unit_s_folder() -> None:
    assert rooms(["a"], 200, "data") == [
        {"name": "a", "path": "/var/lib/fedlearn-a", "megabytes": 200, "unless": "/var/lib/fedlearn-a/data"}
    ]
    assert rooms(["a"], 200)[0]["unless"] == "/var/lib/fedlearn-a"
