# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What PostgreSQL keeps of a password is made as its clients will prove that they know it."""

from __future__ import annotations

import base64
import hmac
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.modules.postgresql_objects import Server, fits, prepared, verifier

NONCE = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SALT = "W22ZaJ0SNY7soEsUEjb6gQ=="
EXCHANGE = f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={NONCE},s={SALT},i=4096,c=biws,r={NONCE}"
SIGNATURE = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_the_verifier_signs_the_example_of_rfc_7677() -> None:
    kept = verifier("pencil", base64.b64decode(SALT))
    assert kept.startswith(f"SCRAM-SHA-256$4096:{SALT}$")
    server_key = base64.b64decode(kept.rpartition(":")[2])
    assert base64.b64encode(hmac.digest(server_key, EXCHANGE.encode(), "sha256")).decode() == SIGNATURE


@pytest.mark.parametrize(
    ("password", "as_clients_do"),
    [
        ('it\'s "quoted"\n\\ 100%@', 'it\'s "quoted"\n\\ 100%@'),
        ("\u2168", "IX"),
        ("a\u00a0b\u00adc", "a bc"),
        ("u\u0308n\u00ef", "\u00fcn\u00ef"),
        ("\u00fc\n", "\u00fc\n"),
        ("\u00aa\U0001f600", "\u00aa\U0001f600"),
        ("\u0627\u0031", "\u0627\u0031"),
        ("\u00ad", "\u00ad"),
    ],
    ids=["plain", "compatible", "mapped", "composed", "control", "unassigned", "right to left", "nothing left"],
)
def test_passwords_are_prepared_as_clients_do(password: str, as_clients_do: str) -> None:
    assert prepared(password) == as_clients_do


@pytest.mark.parametrize(
    ("password", "kept", "fitting"),
    [
        ("right", verifier("right", b"salt", 5), True),
        ("wrong", verifier("right", b"salt", 5), False),
        ("right", "md5b5f5ba1a423792b526f799ae4eb3d59e", False),
        ("right", None, False),
        (None, verifier("right", b"salt", 5), False),
        (None, None, True),
    ],
)
def test_whether_a_password_is_that_which_is_kept(password: str | None, kept: str | None, fitting: bool) -> None:
    assert fits(password, kept) is fitting


def server(valid: dict[str, str], newest: str, **how: Any) -> Server:
    """A server with both logins of one client."""
    clients = [{"name": f"c_{turn}", "state": "present", "secret": "s", "turn": turn} for turn in "ab"]
    wanted = {"name": "x", "port": 1, "databases": [], "clients": clients}
    return Server(wanted, {"turns": {"s": valid}, "newest": {"s": newest}}, **how)


@pytest.mark.parametrize(
    ("valid", "newest", "end", "there", "leaving", "over"),
    [
        ({"a": "1"}, "a", False, ["c_a"], ["c_b"], []),
        ({"b": "2"}, "b", True, ["c_b"], ["c_a"], []),
        ({"a": "1", "b": "2"}, "b", False, ["c_a", "c_b"], [], []),
        ({"a": "3", "b": "2"}, "a", True, ["c_a"], [], ["c_b"]),
    ],
    ids=["first", "after a turn", "while it is replaced", "at its end"],
)
def test_whose_turn_it_is(
    valid: dict[str, str], newest: str, end: bool, there: list[str], leaving: list[str], over: list[str]
) -> None:
    found = server(valid, newest, end_turns=end)
    assert ([one["name"] for one in found.clients], found.leaving, found.over) == (there, leaving, over)


@pytest.mark.parametrize("foresee", [False, True])
def test_of_logins_whose_turn_could_not_be_ended_somebody_is_told(foresee: bool) -> None:
    found = server({"a": "1", "b": "2"}, "b", end_turns=True, foresee=foresee)
    found.busy = {"c_a": ["10.0.0.5"], "withdrawn_otherwise": ["10.0.0.6"]}
    told = [] if foresee else ["x: login c_a: stays valid, for there are sessions of it from 10.0.0.5"]
    assert found.still_used() == told
