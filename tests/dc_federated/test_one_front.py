# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two federations behind one front: each has a server and workers of its own, and nginx tells them apart by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from deployment import NET, REAL, URLS, Polls
from standing_demo import CHECKOUT, until

NAMES = {"near": "near.polls.test", "beside": "beside.polls.test"}
ASK = """
import socket, ssl
context = ssl.create_default_context(cafile="/etc/fedlearn/polls/pki/polls-near-worker/ca.pem")
for name, host in (("near.polls.test", "near.polls.test"), ("beside.polls.test", "beside.polls.test"),
                   ("near.polls.test", "other.polls.test")):
    with context.wrap_socket(socket.create_connection((name, 443), timeout=10), server_hostname=name) as stream:
        head = f"GET /challenge_phrase/x HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n"
        stream.sendall(head.encode())
        print(stream.recv(4096).split()[1].decode())
"""


@pytest.fixture(scope="module")
def both(polls: Polls) -> Iterator[None]:
    """`near` and a second stack behind the same nginx, address and port."""
    for host in polls.hosts:
        polls.run(host, f"echo '{NET}.11 {' '.join(NAMES.values())} # for a test' >>/etc/hosts")

    def named(document: dict[str, Any]) -> None:
        near = document["stacks"]["near"]
        near["proxy"]["server_names"] = [NAMES["near"]]
        near["workers"]["hosts"] = ["p2"]
        document["stacks"]["beside"] = {
            "kind": "dc_federated",
            "library": near["library"],
            "server": {"host": "p1", "port": 5001},
            "proxy": {"host": "p1", "server_names": [NAMES["beside"]]},
            "workers": {"hosts": ["p3"]},
        }

    polls.write(named)
    assert polls.playbook("fedlearn.infra.secrets").returncode == 0
    polls.site("-e", "fedlearn_prune=true")
    URLS.update({stack: f"https://{name}" for stack, name in NAMES.items()})
    yield
    del URLS["beside"]
    URLS["near"] = f"https://{NET}.11"
    polls.write()
    polls.site("-e", "fedlearn_prune=true")
    for host in polls.hosts:
        polls.run(host, "sed '/# for a test/d' /etc/hosts >/tmp/hosts; cat /tmp/hosts >/etc/hosts; rm /tmp/hosts")


def test_each_name_leads_to_its_own_server(polls: Polls, both: None) -> None:
    def polling(port: int) -> int:
        return len(polls.run("p1", f"ss -Htn state established '( sport = :{port} )'").splitlines())

    for port in (5000, 5001):
        assert until(120, lambda port=port: polling(port), lambda count: count == 1) == 1
    assert polls.run("p2", f"python3 - <<'END'\n{ASK}\nEND").split() == ["200", "200", "421"]


def test_a_worker_of_one_is_a_stranger_to_the_other(polls: Polls, both: None) -> None:
    keys = {
        host: polls.run(host, f"cat /var/lib/fedlearn/polls/keys/polls-{stack}-worker/worker.key")
        for host, stack in (("p2", "near"), ("p3", "beside"))
    }
    for host, stack, other in (("p2", "near", "beside"), ("p3", "beside", "near")):
        assert polls.client("p1", keys[host], ["register"], stack=other) == [[200, "Invalid Worker"]], stack


def test_both_have_their_round_at_once(polls: Polls, both: None) -> None:
    done = polls.playbook("fedlearn.infra.verify", "-e", "verify=round")
    assert done.returncode == 0, done.output[-6000:]
    stacks = json.loads((CHECKOUT / "build" / "polls" / "verify.json").read_text())["stacks"]
    assert {name: stack["observed"] for name, stack in stacks.items() if name in NAMES} == {
        "near": [1025.0, -0.25, 2.0],
        "beside": [1025.0, -0.25, 2.0],
    }
    assert {stacks[name]["passed"] for name in NAMES} == {True if REAL else None}
