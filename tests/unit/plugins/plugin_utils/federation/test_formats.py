# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Formats of texts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import reference
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.formats import FORMATS

SHA = "0123456789abcdef" * 4
DEFINITIONS = reference.json_schema()["$defs"]
BEYOND = ("has host bits set", "is an IPv4 address written as IPv6")
"""What no pattern can say of a text."""


def fits(name: str, text: str) -> bool:
    """Whether an editor with the JSON schema takes the text, which ends where its pattern does, as in JavaScript."""
    return re.fullmatch(DEFINITIONS[name]["pattern"].removesuffix("$"), text) is not None


@pytest.mark.parametrize(
    ("name", "text", "normal"),
    [
        ("name", "clinic-a", "clinic-a"),
        ("name", "a", "a"),
        ("host_name", "w01.lab.example", "w01.lab.example"),
        ("host_name", "My_host", "My_host"),
        ("dns_name", "leader.a.example", "leader.a.example"),
        ("address", "10.20.0.11", "10.20.0.11"),
        ("address", "FD00:0::12", "fd00::12"),
        ("address", "127.0.0.1", "127.0.0.1"),
        ("bind_address", "0.0.0.0", "0.0.0.0"),
        ("bind_address", "::", "::"),
        ("address_or_name", "fd00::1", "fd00::1"),
        ("address_or_name", "ms1.example", "ms1.example"),
        ("address_port", "10.0.0.1:80", "10.0.0.1:80"),
        ("address_port", "[FD00::1]:6666", "[fd00::1]:6666"),
        ("endpoint", "[FD00::1]:6666", "[fd00::1]:6666"),
        ("endpoint", "10.0.0.1:80", "10.0.0.1:80"),
        ("endpoint", "helper.example:443", "helper.example:443"),
        ("network", "10.0.0.0/8", "10.0.0.0/8"),
        ("network", "10.0.0.1", "10.0.0.1/32"),
        ("network", "fd00::/64", "fd00::/64"),
        ("url", "https://[fd00::1]:8443/a/b?c=d", "https://[fd00::1]:8443/a/b?c=d"),
        ("url", "postgresql://db.example/x", "postgresql://db.example/x"),
        ("origin", "https://leader.a.example", "https://leader.a.example"),
        ("origin", "https://leader.a.example/", "https://leader.a.example"),
        ("path", "files//kc.kubeconfig", "files/kc.kubeconfig"),
        ("path", "./a", "a"),
        ("absolute_path", "/opt//x", "/opt/x"),
        ("bucket", "demo-images.v1", "demo-images.v1"),
        ("secret", "survey_database", "survey_database"),
        ("sha256", SHA, SHA),
        ("callable", "xain_aggregators.weighted_average:Aggregator", "xain_aggregators.weighted_average:Aggregator"),
    ],
)
def test_right(name: str, text: str, normal: str) -> None:
    assert FORMATS[name].check(text) == normal
    assert FORMATS[name].check(normal) == normal
    assert fits(name, text)


NAME = "is no name: a lower-case letter, then up to 31 of a-z, 0-9 and '-', no '-' at the end"
NEARLY = {"Demo": "demo", "a-": "a", "a_b": "a-b", "a.b": "a-b", "a\n": "a", "a b": "a-b", "My Fed": "my-fed"}
HOST_NAME = "is no host name: letters, digits, '-', '_' and '.', a letter or digit at both ends"
ABSOLUTE = "is an absolute path: files that a document names lie beside it"
UPWARDS = "leads upwards ('..'): files that a document names lie beside it"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        *(("name", text, NAME) for text in ("1a", "", "ä")),
        *(("name", text, f"{NAME} (perhaps '{like}')") for text, like in NEARLY.items()),
        ("name", "a" * 33, "has 33 characters: a name has at most 32, since names on hosts are made of it"),
        *(("host_name", text, HOST_NAME) for text in ("-x", "x.", "a..b", "a b", "a/b", "a:b", "fd00::1", "a\n")),
        ("dns_name", "10.0.0.1", "is no DNS name but looks like an address"),
        ("dns_name", "a_b", "is no DNS name"),
        ("address", "10.20.0.299", "is no numeric address"),
        ("address", "010.0.0.1", "is no numeric address: write it without leading zeros, 10.0.0.1"),
        ("address", "10.0.0.1/24", "is a network, and one host's address is wanted: leave out '/24'"),
        ("address_or_name", "fd00::1/64", "is a network, and one host's address is wanted: leave out '/64'"),
        (
            "address_or_name",
            "10.0.0.1:22",
            "has a port in it: leave out ':22' (ssh's port goes under vars: {ansible_port: 22})",
        ),
        ("address_or_name", "[fd00::11]", "has brackets, which are for URLs: write the address without"),
        ("address_or_name", "ssh://10.0.0.1", "is a URL: write the address alone"),
        (
            "address_or_name",
            "ops@h.example",
            "has a user in it: write the address alone (ssh's user goes under vars: {ansible_user: NAME})",
        ),
        ("network", "fe80::%eth0/64", "names an interface ('%'), which only means something on one host"),
        ("network", "0.0.0.0", "is nobody's address: everybody is 0.0.0.0/0"),
        ("address", "ms1", "is no numeric address"),
        ("address", "0.0.0.0", "is no address of one host"),
        ("address", "::", "is no address of one host"),
        ("address", "224.0.0.1", "is no address of one host"),
        ("address", "255.255.255.255", "is no address of one host"),
        ("address", "fe80::1%eth0", "names an interface ('%'), which only means something on one host"),
        ("bind_address", "ff02::1", "is no address to listen on"),
        ("address_or_name", "10.20.0", "is no numeric address: it has 3 numbers, not 4"),
        ("address_or_name", "fd00::g", "is no numeric address"),
        ("address_port", "10.0.0.1", "is no address and port, such as 10.20.0.11:6666 or [fd00::11]:6666"),
        ("address_port", "10.0.0.1:0", "is no address and port, such as 10.20.0.11:6666 or [fd00::11]:6666"),
        ("address_port", "10.0.0.1:65536", "is no address and port, such as 10.20.0.11:6666 or [fd00::11]:6666"),
        ("address_port", "fd00::1:80", "is an IPv6 address without brackets: write [ADDRESS]:PORT"),
        ("endpoint", "helper.example", "is no address and port, such as 10.20.0.11:6666 or [fd00::11]:6666"),
        ("endpoint", "a_b:443", "is no DNS name"),
        ("address_port", "[10.0.0.1]:80", "has brackets, which are for URLs: write the address without"),
        ("endpoint", "[h.example]:80", "is no DNS name"),
        ("network", "10.0.0.1/8", "has host bits set: write 10.0.0.0/8"),
        ("network", "lab", "is no network, such as 10.20.0.0/16 or fd00::/64"),
        ("url", "leader.a.example", "is no URL: it begins with no scheme such as https://"),
        ("url", "https:/leader", "is no URL: it begins with no scheme such as https://"),
        ("url", "https://", "is no URL: it names no host"),
        ("url", "https://u:p@h/", "has a user or a password in it: write it without, secrets go into the vault"),
        ("url", "https://h:0/", "has port 0"),
        ("url", "https://h:99999/", "is no URL: its port is no number from 1 to 65535"),
        ("url", "https://h/#x", "has a fragment ('#')"),
        ("url", "https://]h[::10", "is no URL: its brackets are not around an IPv6 address"),
        ("url", "https://h h/", "is no URL: it has a blank or a character that no URL has"),
        ("url", "https://h/\n", "is no URL: it has a blank or a character that no URL has"),
        ("url", "https://10.0.0.300/", "is no numeric address"),
        ("origin", "https://h/x", "has a path or a query: write scheme://host:port only"),
        ("origin", "https://h?", "has a path or a query: write scheme://host:port only"),
        ("path", "/etc/passwd", ABSOLUTE),
        ("path", "~/x", ABSOLUTE),
        ("path", "./~x", "is no path: it begins with '~', as somebody's home does"),
        ("path", "../x", UPWARDS),
        ("path", "a/../../x", UPWARDS),
        ("path", "a/..", UPWARDS),
        ("path", ".", "names no file"),
        ("path", "a\\b", "is no path: it has a character that no path of ours has"),
        ("path", "a\0b", "is no path: it has a character that no path of ours has"),
        ("absolute_path", "opt/x", "is no absolute path: it begins with '/' and has no '..'"),
        ("absolute_path", "/opt/../x", "is no absolute path: it begins with '/' and has no '..'"),
        (
            "bucket",
            "a..b",
            "is no name of a bucket: a-z, 0-9, '-' and '.', each '.' between two of a-z and 0-9; no address, no xn--",
        ),
        (
            "secret",
            "hunter2!",
            "is no name of a secret (a lower-case letter, then a-z, 0-9, _, -); values are in the vault",
        ),
        ("sha256", SHA.upper(), "is no SHA-256 sum: 64 of 0-9 and a-f"),
        ("callable", "os.system('x')", "is no Python callable, such as package.module:function"),
        ("callable", "a:b\n", "is no Python callable, such as package.module:function"),
    ],
)
def test_wrong(name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        FORMATS[name].check(text)
    assert fits(name, text) == message.startswith(BEYOND)


@given(st.sampled_from(sorted(FORMATS)), st.text(max_size=40) | st.from_regex(r"\A[a-z]+://[^ ]{0,20}\Z"))
def test_any_text_is_normal_or_refused(name: str, text: str) -> None:
    try:
        normal = FORMATS[name].check(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - a text is either right or refused, both are fine
    else:
        assert FORMATS[name].check(normal) == normal
        assert not any(character in normal for character in "\n\r\0")


PIECES = r"""
a A 0 1 10 255 256 0080 65535 65536 0x1 1.2.3.4 127. ffff fd00 fe80 ff02 localhost https:// redis:// group_vars x
: :: . .. / // [ ] ~ _ - @ # ? $ \ % /24 /129
"""


@given(st.sampled_from(sorted(FORMATS)), st.lists(st.sampled_from([*PIECES.split(), " ", "\n", "\u2028"]), max_size=7))
@settings(max_examples=3000)
def test_an_editor_with_the_schema_and_the_loader_take_the_same_texts(name: str, pieces: list[str]) -> None:
    text = "".join(pieces)
    try:
        FORMATS[name].check(text)
    except ValueError as error:
        assert not fits(name, text) or str(error).startswith(BEYOND)  # noqa: PT017 - it may be either
    else:
        assert fits(name, text)
