# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What who opens firewalls is told: whose each connection is, which way it goes, and what is fetched from outside."""

from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.fedlearn.infra.plugins.action import flows as flows_action
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import variables
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Component, Expansion, Federation
from tests.unit.plugins.plugin_utils.federation.conftest import Load, Mistakes

DOCUMENT = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab:
    time_sync: {}
    hosts:
      h1: 10.20.0.11
      h2: 10.20.0.12
      idle: 10.20.0.13
  clinic:
    firewall: {mode: enforce}
    hosts: {k1: 10.30.0.11}
  ministry: {hosts: {m1: 10.40.0.11}}
stacks:
  one:
    kind: mindspore
    redis: {external: {address: 10.99.0.1, ca: redis.pem}}
    scheduler: {host: h1}
    servers: {hosts: [h2], initial_model: {shapes: {fc.weight: [1, 3], fc.bias: [1]}}}
    workers: {hosts: [k1]}
    proxy: {host: h1, public_url: "https://203.0.113.7:8443"}
    runtime: {}
"""
APT = "packages, unless apt has other sources"
PIP = "Python packages, unless pip has another index"
VIEW = "plugin: fedlearn.infra.federation\ndocument: federation.yml\nparty: clinic\n"
SHA = "0" * 64


def told(federation: Federation, way: str, stack: str = "") -> set[tuple[str, ...]]:
    """Stack, source, destination, protocol, port and purpose of the rows of one direction."""
    rows = [dict(zip(flows_action.HEADINGS, row, strict=True)) for row in flows_action.table_rows(federation, stack)]
    assert {row["direction"] for row in rows} <= {"inside", "incoming", "outgoing"}
    columns = ("stack", "source", "destination", "protocol", "port", "purpose")
    return {tuple(row[name] for name in columns) for row in rows if row["direction"] == way}


def fetching(
    hosts: list[str], destinations: list[str], port: int, purpose: str, stack: str = ""
) -> set[tuple[str, ...]]:
    return {(stack, host, place, "tcp", str(port), purpose) for host in hosts for place in destinations}


def runtime(said: str) -> str:
    return DOCUMENT.replace("runtime: {}", f"runtime: {said}")


def test_what_leaves_is_told_with_where_to(load: Load) -> None:
    pool = {("", host, "2.debian.pool.ntp.org", "udp", "123") for host in ("h1", "h2", "idle")}
    assert told(load(DOCUMENT), "outgoing") == {
        *((*row, "time, unless chrony has other servers") for row in pool),
        *fetching(["h1", "h2", "idle", "k1"], ["deb.debian.org", "security.debian.org"], 80, APT),
        *fetching(["h1", "h2", "k1"], ["pypi.org", "files.pythonhosted.org"], 443, PIP, "one"),
        *fetching(["h1", "h2"], ["10.99.0.1"], 6379, "Redis", "one"),
        *fetching(["k1"], ["203.0.113.7"], 8443, "workers", "one"),
        *fetching(["k1"], ["203.0.113.7"], 10443, "verify: workers", "one"),
    }


def test_what_comes_from_outside_and_what_stays_inside(load: Load) -> None:
    federation = load(DOCUMENT)
    coming, staying = told(federation, "incoming"), told(federation, "inside")
    assert {row for row in coming if not row[0]} == {
        ("", "controller", host, "tcp", "22", "ssh") for host in ("h1", "h2", "idle", "k1", "m1")
    }
    assert ("one", "clients", "203.0.113.7", "tcp", "8443", "clients") in coming
    assert ("one", "h1", "h2", "tcp", "6666", "proxy to server") in staying
    assert {source for _stack, source, *_rest in staying} <= {"h1", "h2", "k1"}


def test_a_party_s_own_view_has_the_others_outside(load: Load) -> None:
    federation = load(DOCUMENT, source="view.yml", view=VIEW)
    assert told(federation, "inside") == set()
    assert {source for _stack, source, *_rest in told(federation, "outgoing")} == {"k1"}
    assert told(federation, "incoming") == {
        ("", "controller", "k1", "tcp", "22", "ssh"),
        ("one", "clients", "203.0.113.7", "tcp", "8443", "clients"),
    }


def test_of_one_stack_the_rows_are_its_own_and_its_hosts_(load: Load) -> None:
    federation = load(DOCUMENT)
    rows = [told(federation, way, "one") for way in ("inside", "incoming", "outgoing")]
    assert {row[0] for found in rows for row in found} == {"", "one"}
    assert {row[1] for row in rows[2]} == {"h1", "h2", "k1"}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('{index_url: "https://pypi.lab.example:8443/simple"}', {("pypi.lab.example", "8443", "Python packages")}),
        ('{index_url: "http://10.20.0.5/simple"}', {("10.20.0.5", "80", "Python packages")}),
        ("{wheels: wheels}", set()),
        (
            f'{{wheels: w, python: {{source: archive, archive: {{source: "https://a.example/x", sha256: {SHA!r}}}}}}}',
            {("a.example", "443", "packed Python")},
        ),
        (f"{{wheels: w, python: {{source: archive, archive: {{source: a.tar, sha256: {SHA!r}}}}}}}", set()),
    ],
)
def test_where_the_document_says_from_where_that_is_told(load: Load, said: str, expected: set[tuple[str, ...]]) -> None:
    rows = told(load(runtime(said)), "outgoing")
    of_runtime = {row for row in rows if "ython" in row[-1]}
    assert {(place, port, purpose) for _stack, _host, place, _tcp, port, purpose in of_runtime} == expected
    assert {host for _stack, host, *_rest in of_runtime} == ({"h1", "h2", "k1"} if expected else set())


def test_an_archive_comes_by_https_or_is_there(mistakes: Mistakes) -> None:
    (line,) = mistakes(
        runtime(f'{{python: {{source: archive, archive: {{source: "http://a.example/x", sha256: {SHA!r}}}}}}}')
    )
    assert line.endswith(
        "expected an https URL or the path of a file beside the document, found the text 'http://a.example/x'"
    )


@pytest.mark.parametrize(("role", "rows"), [("minio", 2), ("mongodb", 2), ("redis", 0)])
def test_modules_of_what_the_control_node_builds(load: Load, role: str, rows: int) -> None:
    expansion = Expansion(components=(Component("demo-one-x", "one", "x", role, "h1"),))
    found = told(dataclasses.replace(load(DOCUMENT), expansions={"one": expansion}), "outgoing")
    hosts = ("proxy.golang.org", "sum.golang.org")
    modules = fetching(["controller"], list(hosts), 443, "Go modules, unless Go has another proxy", "one")
    assert found & modules == (modules if rows else set())
    assert len({row for row in found if row[1] == "controller"}) == rows


def test_nobody_is_let_in_for_what_is_fetched(load: Load) -> None:
    """Not even where the index is a host of the federation, at a port that something else listens on."""
    document = DOCUMENT.replace("    hosts:\n      h1", "    firewall: {mode: enforce}\n    hosts:\n      h1")
    index = document.replace("runtime: {}", 'runtime: {index_url: "https://10.20.0.12:6666/simple"}')
    rows = [variables.inventory(load(text)).hosts for text in (document, index)]
    assert [host["firewall_services"] for host in rows[0].values() if "firewall_services" in host] == [
        host["firewall_services"] for host in rows[1].values() if "firewall_services" in host
    ]
    assert ("one", "k1", "10.20.0.12", "tcp", "6666", "Python packages") in told(load(index), "inside")
