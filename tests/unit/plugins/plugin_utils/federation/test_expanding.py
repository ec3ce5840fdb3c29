# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What kinds share: names of instances, and where a component is reached, seen by its own party and by others."""

from __future__ import annotations

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import loading
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.expanding import (
    Roster,
    endpoint,
    own_address,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import (
    Component,
    Endpoint,
    Host,
    Placement,
    Stack,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.nodes import Report

PATH = ("stacks", "s", "server")
NAMED = Host("h", "lab", "h", ("10.20.0.11", "fd00::11"), public_name="h.example")
PLAIN = Host("h", "lab", "h", ("fd00::11",))
FRONT = Endpoint("http", "10.20.0.9", 443, internal="https://10.20.0.9", public="https://front.example")


def views(found: Endpoint) -> tuple[str, str]:
    assert found.path == (*PATH, "port")
    return found.internal, found.public


@pytest.mark.parametrize(
    ("given", "host", "more", "expected"),
    [
        ({}, PLAIN, {}, ("http://[fd00::11]:7007", "http://[fd00::11]:7007")),
        ({}, NAMED, {}, ("http://10.20.0.11:7007", "http://h.example:7007")),
        ({}, NAMED, {"public": False}, ("http://10.20.0.11:7007", "http://10.20.0.11:7007")),
        ({}, NAMED, {"scheme": ""}, ("10.20.0.11:7007", "h.example:7007")),
        ({"bind": "::"}, NAMED, {}, ("http://10.20.0.11:7007", "http://h.example:7007")),
        ({"bind": "127.0.0.1"}, NAMED, {"front": FRONT}, ("https://10.20.0.9", "https://front.example")),
        ({"public_url": "https://p.example"}, NAMED, {}, ("http://10.20.0.11:7007", "https://p.example")),
        ({"internal_url": "http://i.example"}, PLAIN, {}, ("http://i.example", "http://i.example")),
        ({"internal_url": "http://i.example"}, NAMED, {}, ("http://i.example", "http://h.example:7007")),
        (
            {"internal_url": "http://i.example", "public_url": "https://p.example"},
            NAMED,
            {"port": 7107},
            ("http://10.20.0.11:7107", "http://h.example:7107"),
        ),
    ],
    ids=["bare", "named", "private", "no URL", "wildcard", "proxied", "public", "internal", "internal named", "copy"],
)
def test_where_a_component_is_reached(
    given: dict[str, str], host: Host, more: dict[str, object], expected: tuple[str, str]
) -> None:
    placement = Placement(hosts=("h",), port=7007, path=PATH, **given)
    address = own_address(placement, host, Report())
    assert address == given.get("bind", host.internal[0])
    arguments = {"port": placement.listening_port, "scheme": "http", **more}
    assert views(endpoint(placement, host, "http", address, **arguments)) == expected


def test_a_host_without_a_numeric_address_is_a_mistake() -> None:
    report = Report()
    assert own_address(Placement(hosts=("h",), path=PATH), Host("h", "lab", "h.example", ()), report) is None
    assert [str(mistake) for mistake in report.mistakes] == [
        "stacks.s.server.host: host 'h' has no numeric address: give it one under parties, "
        "addresses: {internal: [ADDRESS]}"
    ]


def test_a_mistake_of_hosts_is_told_under_the_key_that_was_given() -> None:
    report = Report()
    placement = Placement(hosts=("h",), where="hosts", path=PATH)
    assert own_address(placement, Host("h", "lab", "h.example", ()), report) is None
    assert str(report.mistakes[0]).startswith("stacks.s.server.hosts: host 'h' has no numeric address")


FEDERATION = loading.Federation("demo", "/", "/", {}, {}, {})
STACK = Stack("hall", "toy", "present", False, {}, {})
WHOSE = {"federation": "demo", "stack": "hall"}


def test_a_component_and_its_instance_say_whose_they_are() -> None:
    roster = Roster(FEDERATION, STACK)
    found = roster.present("toy_server", "server", "server-2", "h1", {"port": 7}, [FRONT])
    roster.present("nginx", "proxy", "proxy", "h1", {}, variable="nginx_sites")
    roster.beside("toy_server", "server", "server-2-files", "h1")
    roster.absent("toy_server", "server", "server-1", "h2")
    assert found == {"name": "demo-hall-server-2", "state": "present", **WHOSE, "port": 7}
    assert roster.variables == {
        "h1": {
            "toy_server_instances": [found],
            "nginx_sites": [{"name": "demo-hall-proxy", "state": "present", **WHOSE}],
        },
        "h2": {"toy_server_instances": [{"name": "demo-hall-server-1", "state": "absent", **WHOSE}]},
    }
    assert roster.components == [
        Component("demo-hall-server-2", "hall", "server", "toy_server", "h1", endpoints=(FRONT,)),
        Component("demo-hall-proxy", "hall", "proxy", "nginx", "h1"),
        Component("demo-hall-server-2-files", "hall", "server", "toy_server", "h1"),
        Component("demo-hall-server-1", "hall", "server", "toy_server", "h2", state="absent"),
    ]


def test_what_a_round_brings_has_a_name_of_its_own_and_says_so() -> None:
    roster = Roster(FEDERATION, STACK, transient=True)
    found = roster.present("toy_server", "server", "server", "h1", {})
    assert found == {"name": "demo-verify-hall-server", "state": "present", **WHOSE, "transient": True}
    assert [each.name for each in roster.components] == [found["name"]]
