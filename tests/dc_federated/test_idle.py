# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A poll through which nothing goes for longer than anything on its way would wait by itself."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor

from deployment import ROOM, Polls
from standing_demo import until

IDLE_SECONDS = 11 * 60
"""nginx' own time limits are 60 s, gunicorn's is 30 s, and firewalls forget a connection after five minutes or ten."""

TOLD = [200, "Global model has been updated"]
OTHERS = ROOM / "others.keys"
PUBLIC = (
    "/opt/fedlearn/dc_federated-python/*/bin/python -c "
    "'from nacl.signing import SigningKey; print(SigningKey(bytes.fromhex(\"{key}\")).verify_key.encode().hex())'"
)


def test_a_poll_that_was_idle_for_eleven_minutes_is_answered(polls: Polls) -> None:
    """Another worker sends its vector after that time, which is a new model; TLS goes all the way."""
    waiting, sending = (secrets.token_hex(32) for _worker in range(2))
    public = [polls.run("p1", PUBLIC.format(key=key)).strip() for key in (waiting, sending)]
    OTHERS.write_text("".join(f"{key}\n" for key in public))
    polls.site("-e", "stack=far")
    assert polls.client("p1", waiting, ["register"], stack="far") == [[200, public[0]]]
    with ThreadPoolExecutor(1) as beside:
        poll = beside.submit(polls.client, "p2", waiting, ["hold"], stack="far")
        until(30, poll.done, bool)
        assert not poll.done(), poll.result()
        time.sleep(IDLE_SECONDS)
        assert not poll.done(), poll.result()
        vector = "hex:" + b"[1.0, 2.0, 3.0]".hex()
        assert polls.client("p1", sending, ["register"], ["update", vector], stack="far") == [
            [200, public[1]],
            [200, "received"],
        ]
        assert poll.result(30) == [TOLD]
    OTHERS.write_text("# workers of others, one a line\n")
    polls.site("-e", "stack=far")
