# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Addresses with ports, URLs, databases' URLs: what is put together is taken apart again."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import network
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Component, Endpoint

ADDRESSES = st.ip_addresses().map(str).filter(lambda text: "%" not in text)
NAMES = st.from_regex(r"\A[a-z][a-z0-9-]{0,20}(\.[a-z][a-z0-9]{0,10}){0,3}\Z").filter(lambda text: "-." not in text)
HOSTS = ADDRESSES | NAMES
PORTS = st.integers(1, 65535)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=20)
PAIRS = st.lists(st.tuples(TEXTS.filter(bool), TEXTS), max_size=3).map(tuple)
PATHS = TEXTS.map(lambda text: f"/{text}" if text and not text.startswith("/") else text)


@given(HOSTS, PORTS)
def test_what_is_joined_is_split(host: str, port: int) -> None:
    assert network.split(network.join(host, port)) == (host, port)


@given(ADDRESSES, PORTS)
def test_ipv6_alone_has_brackets(address: str, port: int) -> None:
    assert network.join(address, port).startswith("[") == (":" in address)
    assert network.join(address, None).strip("[]") == address


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [
        ("", 80, "'' is no host"),
        ("a b", 80, "'a b' is no host"),
        ("a/b", 80, "'a/b' is no host"),
        ("u@h", 80, "'u@h' is no host"),
        ("[fd00::1]", 80, "'[fd00::1]' is no host"),
        ("h", 0, "0 is no port: 1 to 65535"),
        ("h", 65536, "65536 is no port: 1 to 65535"),
    ],
)
def test_no_host_or_port(host: str, port: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        network.join(host, port)


@given(
    st.sampled_from(["http", "https", "postgresql", "mongodb", "redis", "rediss"]),
    HOSTS,
    st.none() | PORTS,
    PATHS,
    PAIRS,
    st.none() | st.tuples(TEXTS, st.none() | TEXTS),
)
def test_a_url_is_parsed_as_it_was_put_together(
    scheme: str, host: str, port: int | None, path: str, query: Any, login: tuple[str, str | None] | None
) -> None:
    user, password = login or (None, None)
    url = network.Url(scheme, host, port, path, query, user, password)
    parsed = network.parse_url(str(url))
    own = None if port == network.DEFAULT_PORTS[scheme] else port
    assert parsed == network.Url(scheme, host, own, path, query, user, password)
    assert str(parsed) == str(url)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (
            network.Url("https", "fd00::11", 8443, "/api/v1", (("job", "a b"),)),
            "https://[fd00::11]:8443/api/v1?job=a%20b",
        ),
        (network.Url("https", "h", 443), "https://h"),
        (network.Url("http", "h", 443, "x"), "http://h:443/x"),
        (network.Url("redis", "h", None, "/0", (), "", "p@:/?#"), "redis://:p%40%3A%2F%3F%23@h/0"),
        (network.Url("https", "h", None, "/50%/ä"), "https://h/50%25/%C3%A4"),
    ],
)
def test_urls(url: network.Url, text: str) -> None:
    assert str(url) == text


def test_a_url_s_password_is_in_no_traceback() -> None:
    assert "hunter2" not in repr(network.Url("https", "h", user="u", password="hunter2"))


@pytest.mark.parametrize("text", ["h", "h:80", "//h", "mailto:x", "https:h"])
def test_no_url(text: str) -> None:
    with pytest.raises(ValueError, match=r"begins no URL: write SCHEME://HOST$"):
        network.parse_url(text)


ENGINES = st.sampled_from(["postgresql", "mongodb", "redis", "rediss"])


@given(ENGINES, HOSTS, TEXTS, st.none() | PORTS, TEXTS.filter(bool), TEXTS, st.dictionaries(NAMES, TEXTS, max_size=3))
def test_a_database_s_url_says_what_it_was_told(
    engine: str, host: str, name: str, port: int | None, user: str, password: str, options: dict[str, str]
) -> None:
    text = network.database_url(engine, host, name, port=port, user=user, password=password, options=options)
    parts = urlsplit(text)
    assert (parts.scheme, parts.hostname, parts.port) == (engine, host, port)
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == (user, password)
    assert unquote(parts.path) == f"/{name}"
    assert dict(parse_qsl(parts.query, keep_blank_values=True)) == options


@pytest.mark.parametrize(
    ("engine", "host", "more", "text"),
    [
        ("postgresql", "fd00::5", {"name": "janus", "user": "janus"}, "postgresql://janus@[fd00::5]/janus"),
        ("postgresql", "/run/postgresql", {"name": "x"}, "postgresql:///x?host=%2Frun%2Fpostgresql"),
        ("mongodb", ["m1", "fd00::2", "m3:27018"], {"port": 27019}, "mongodb://m1:27019,[fd00::2]:27019,m3:27018/"),
        ("mongodb", "[fd00::2]:27018", {}, "mongodb://[fd00::2]:27018/"),
        (
            "postgresql",
            "h",
            {"options": {"sslmode": "verify-full", "a": "b c"}},
            "postgresql://h/?a=b%20c&sslmode=verify-full",
        ),
    ],
)
def test_databases(engine: str, host: Any, more: dict[str, Any], text: str) -> None:
    assert network.database_url(engine, host, **more) == text


@pytest.mark.parametrize("engine", ["mysql", "http", "https"])
def test_no_database_engine(engine: str) -> None:
    with pytest.raises(ValueError, match=r"is no database engine: mongodb, postgresql, redis, rediss$"):
        network.database_url(engine, "h")


@given(st.integers(0, 200_000), st.integers(1, 5), st.integers(0, 1000))
def test_open_files_are_enough_for_every_client(clients: int, per_client: int, reserve: int) -> None:
    needed = clients * per_client + reserve
    if needed > 1_048_576:
        with pytest.raises(ValueError, match="use more servers"):
            network.nofile_limit(clients, per_client, reserve)
    else:
        assert network.nofile_limit(clients, per_client, reserve) == max(65535, needed)


@given(ADDRESSES)
def test_the_network_of_one_address_has_it_alone(address: str) -> None:
    assert list(ipaddress.ip_network(network.single(address))) == [ipaddress.ip_address(address)]


def site(name: str, *names: str, role: str = "nginx", address: str = "10.20.0.11") -> Component:
    """A site of a host's nginx, or what another role listens with there."""
    return Component(name, "s", "proxy", role, "h", endpoints=(Endpoint("http", address, 443, names=names),))


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (site("a", "a.example"), site("b", "b.example", "c.example"), None),
        (site("a", "a.example"), site("b", "b.example", "A.example"), "as 'a.example'"),
        (site("a", "a.example"), site("b"), ""),
        (site("a"), site("b"), ""),
        (site("a", "a.example"), site("b", "b.example", role="janus"), ""),
        (site("a", "a.example", role="janus"), site("b", "b.example", role="janus"), ""),
        (site("a", "a.example"), site("b", "b.example", address="0.0.0.0"), ""),
        (site("a", "a.example"), site("b", "a.example", address="10.20.0.12"), None),
    ],
    ids=["told apart", "a name twice", "any name", "no names", "other role", "services", "wildcard", "other address"],
)
def test_sites_of_one_service_share_a_port_when_names_tell_them_apart(
    one: Component, other: Component, told: str | None
) -> None:
    found = [str(collision) for collision in network.collisions([one, other], shared={"nginx"})]
    said = f"port 443 on host 'h' is taken by a (10.20.0.11:443{', ' if told else ''}{told})"
    assert found == ([] if told is None else [said])


@pytest.mark.parametrize(
    ("port", "more", "told"),
    [
        (63535, 0, None),
        (63532, 3, None),
        (63536, 0, "63536 and the verify round's 65536 must not be above 65535: begin with 63535 at most, "),
        (
            65535,
            3,
            "4 ports from 65535 on: 65538 and the verify round's 67538 must not be above 65535: begin with 63532",
        ),
    ],
)
def test_a_port_that_is_too_high_is_told_with_the_highest_that_fits(port: int, more: int, told: str | None) -> None:
    found = network.too_high(port, 2000, more)
    assert found is None if told is None else found is not None and found.startswith(told)
