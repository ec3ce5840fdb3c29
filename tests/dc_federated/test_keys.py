# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who takes part, and who doesn't: workers of others come and go by one line, and nobody else's poll ends."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator

import pytest
from deployment import ROOM, Polls
from standing_demo import until

INVALID = [200, "Invalid Worker"]  # the library refuses by words, not by status
OTHERS = ROOM / "others.keys"
SERVER = "/etc/fedlearn/polls/polls-far-server"
PUBLIC = """\
/opt/fedlearn/dc_federated-python/*/bin/python -c '
from nacl.signing import SigningKey; print(SigningKey(bytes.fromhex("{key}")).verify_key.encode().hex())'"""


def others(*lines: str) -> None:
    OTHERS.write_text("# workers of others, one a line\n" + "".join(f"{line}\n" for line in lines))


@pytest.fixture
def stranger(polls: Polls) -> Iterator[tuple[str, str]]:
    """A new private key and its public half, which no server knows; forgotten afterwards."""
    key = secrets.token_hex(32)
    yield key, polls.run("p1", PUBLIC.format(key=key)).strip()
    others()
    polls.site("-e", "stack=far", "-e", "{dc_federated_server_allow_empty_key_list: true}")


def polling(polls: Polls) -> int:
    """How many polls the server of `far` holds."""
    return int(polls.run("p3", "ss -Htn state established '( sport = :5000 )' | wc -l"))


def test_unknown_keys_and_wrong_signatures_are_refused(polls: Polls, stranger: tuple[str, str]) -> None:
    key, other = stranger[0], secrets.token_hex(32)
    for stack in ("near", "far"):
        calls = (["register"], ["register", other], ["poll", 0], ["update", "hex:00"])
        assert polls.client("p1", key, *calls, stack=stack) == [INVALID] * 4


def test_a_worker_comes_and_goes_while_others_poll_on(polls: Polls, stranger: tuple[str, str]) -> None:
    key, public = stranger
    server, worker = polls.pid("p3", "polls-far-server"), polls.pid("p1", "polls-far-worker")
    assert until(60, lambda: polling(polls), lambda found: found >= 1) >= 1

    others(public)
    polls.site("-e", "stack=far")
    assert (polls.pid("p3", "polls-far-server"), polls.pid("p1", "polls-far-worker")) == (server, worker)
    joined = polls.client(
        "p1", key, ["register"], ["register", secrets.token_hex(32)], ["update", "hex:00", "hex:01"], stack="far"
    )
    assert joined == [[200, public], INVALID, INVALID]
    assert polls.client("p1", key, ["poll", 99], stack="far") == [[200, "Global model has been updated"]]

    others()
    polls.site("-e", "stack=far")
    assert (polls.pid("p3", "polls-far-server"), polls.pid("p1", "polls-far-worker")) == (server, worker)
    assert polls.client("p1", key, ["poll", 99], ["register"], stack="far") == [INVALID, INVALID]
    assert "revoked" not in polls.run("p1", "journalctl -u fedlearn-polls-far-worker -n 20 --no-pager")


def test_a_revoked_worker_stays_out_when_the_server_is_restarted(polls: Polls, stranger: tuple[str, str]) -> None:
    key, public = stranger
    others(public)
    polls.site("-e", "stack=far")
    polls.run("p3", f"sed -i /{public}/d {SERVER}/workers.pub; systemctl restart fedlearn-polls-far-server")
    until(60, lambda: polls.run("p3", "ss -Hltn 'sport = :5000'"), bool)
    assert polls.client("p1", key, ["register"], stack="far") == [INVALID]
    known = json.loads(polls.run("p3", "cat /var/lib/fedlearn-polls-far-server/keys_db.json"))
    assert public not in json.dumps(known)
    assert len(known["_default"]) == 1


@pytest.mark.parametrize("wrong", ["private", "twice", "short"])
def test_what_is_no_list_of_public_keys_is_refused_and_not_told(
    polls: Polls, stranger: tuple[str, str], wrong: str
) -> None:
    key, public = stranger
    lines = {"private": [public, key], "twice": [public, public], "short": [public[:-1]]}[wrong]
    reason = {
        "private": "others.keys:3: no public key, and may be a private one: replace that key pair",
        "twice": f"others.keys:3: the key of {OTHERS}:2 once more: strike one of them",
        "short": "others.keys:2: no public key, which is 64 digits, 0-9 and a-f",
    }[wrong]
    before = polls.run("p3", f"cat {SERVER}/workers.pub"), polls.pid("p3", "polls-far-server")
    others(*lines)
    for how in (("--check", "--diff"), ("--diff",)):
        done = polls.playbook("site.yml", "-e", "stack=far", *how)
        assert done.returncode == 2
        assert reason in " ".join(done.output.split())
        assert key not in done.output
    assert (polls.run("p3", f"cat {SERVER}/workers.pub"), polls.pid("p3", "polls-far-server")) == before


def test_a_list_that_is_missing_locks_nobody_out(polls: Polls, stranger: tuple[str, str]) -> None:
    """Its name may be wrong in the document, or the file in no checkout."""
    key, public = stranger
    others(public)
    polls.site("-e", "stack=far")
    OTHERS.unlink()
    done = polls.playbook("site.yml", "-e", "stack=far")
    assert done.returncode == 2
    assert f"{OTHERS} isn't there: without it all whose keys it holds would be locked out" in done.output
    assert polls.client("p1", key, ["register"], stack="far") == [[200, public]]
