# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""bcrypt as others make it, and the same each time; SCRAM's passwords as RFC 4013 has them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.fedlearn.infra.plugins.filter.bcrypt import bcrypt as as_filter
from ansible_collections.fedlearn.infra.plugins.filter.saslprep import saslprep as prepared
from ansible_collections.fedlearn.infra.plugins.plugin_utils import passwords
from ansible_collections.fedlearn.infra.plugins.plugin_utils.passwords import bcrypt


def test_it_is_bcrypt() -> None:
    # of the test vectors that come with crypt_blowfish
    known = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
    assert passwords._crypt(b"U*U", known[:29]) == known
    kept = bcrypt("p\u00e4ss\n:\U0001f600", "host/images/ci")
    assert re.fullmatch(r"\$2y\$10\$[./A-Za-z0-9]{53}", kept)
    assert passwords._crypt("p\u00e4ss\n:\U0001f600".encode(), kept) == kept


def test_the_same_of_the_same_and_another_of_another() -> None:
    one = bcrypt("first", "host/images/ci")
    assert bcrypt("first", "host/images/ci") == one
    others = {bcrypt("first", "host/images/other"), bcrypt("second", "host/images/ci")}
    # not the salt either
    assert len({kept[:29] for kept in {one, *others}}) == 3


def test_a_salt_is_written_in_bcrypts_own_base64() -> None:
    assert passwords._encoded(bytes(16)) == "." * 22
    assert passwords._encoded(b"\xff" * 16) == "9" * 21 + "u"


@pytest.mark.parametrize("password", ["", "a\0b", "\u00e4" * 37])
def test_what_bcrypt_would_cut_is_refused_and_not_shown(password: str) -> None:
    with pytest.raises(AnsibleFilterError, match=r"the password of images/ci has .* bcrypt wants 1 to 72") as refused:
        as_filter(password, "images/ci")
    assert not password or password not in str(refused.value)
    assert len(as_filter("\u00e4" * 36, "images/ci")) == 60


@pytest.mark.parametrize("wrong", [(None, "place"), ("password", 1)])
def test_only_texts(wrong: tuple[Any, Any]) -> None:
    with pytest.raises(AnsibleFilterError, match="must be texts"):
        as_filter(*wrong)


def test_a_control_node_without_bcrypt_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda _name: None)
    with pytest.raises(ValueError, match="this control node's libcrypt"):
        bcrypt("password", "place")


@pytest.mark.parametrize(
    ("password", "wanted"),
    [
        # RFC 4013, 3
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("p\u00e4ss '\"%@:/", "p\u00e4ss '\"%@:/"),
        ("\u0627\u0031\u0628", "\u0627\u0031\u0628"),
    ],
)
def test_scrams_passwords(password: str, wanted: str) -> None:
    assert prepared(password, "login jobs") == wanted


@pytest.mark.parametrize("password", ["CANARY\n", "\u0007", "\u06271", "\u0627a\u0628", "\u00ad", "\u0221"])
def test_what_scram_does_not_allow_is_refused_and_not_shown(password: str) -> None:
    with pytest.raises(AnsibleFilterError, match=r"^login jobs: its password has characters that SCRAM") as refused:
        prepared(password, "login jobs")
    assert password not in str(refused.value)


@pytest.mark.parametrize("wrong", [(None, "place"), ("password", 1)])
def test_scram_takes_only_texts(wrong: tuple[Any, Any]) -> None:
    with pytest.raises(AnsibleFilterError, match="must be texts"):
        prepared(*wrong)
