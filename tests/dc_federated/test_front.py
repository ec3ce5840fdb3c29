# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What nginx lets through, how many files there may be, and polls whose worker is gone."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from deployment import NET, ROOM, Polls
from standing_demo import until

NEAR, FAR = f"{NET}.11", f"{NET}.12"
LOOK = """
import json, socket, ssl
context = ssl.create_default_context(cafile="/etc/fedlearn/polls/pki/polls-near-worker/ca.pem")
answers = []
for address, method, path, length in json.loads({cases!r}):
    with context.wrap_socket(socket.create_connection((address, 443), timeout=10), server_hostname=address) as stream:
        head = f"{{method}} {{path}} HTTP/1.1\\r\\nHost: {{address}}\\r\\nConnection: close\\r\\n"
        stream.sendall((head + f"Content-Type: application/json\\r\\nContent-Length: {{length}}\\r\\n\\r\\n").encode())
        answers.append(int(stream.recv(4096).split()[1]))
print(json.dumps(answers))
"""


def statuses(polls: Polls, *cases: tuple[str, str, str, int]) -> list[int]:
    """How nginx answers each address, method, path and length of a body, which isn't sent."""
    script = LOOK.format(cases=json.dumps(cases))
    found: list[int] = json.loads(polls.run("p2", f"python3 - <<'END'\n{script}\nEND"))
    return found


ROUNDABOUT = (
    "/challenge_phrase/../workers",
    "//workers",
    "/challenge_phrase/x/../../workers",
    "/challenge_phrase/%2e%2e/workers",
    "/challenge_phrase/x%2f..%2f..%2fworkers",
    "/challenge_phrase/%252e%252e/workers",
    "/receive_worker_update/..%5cworkers/x",
    f"https://{NEAR}/workers",
)
"""Ways to what isn't the workers' from what is."""


@pytest.mark.parametrize("path", ["/", "/workers", "/workers/x", "/register_worker/", "/debug", *ROUNDABOUT])
def test_what_is_not_the_workers_is_not_found(polls: Polls, path: str) -> None:
    assert statuses(polls, (NEAR, "GET", path, 0)) == [404]


def test_the_workers_paths_reach_the_server(polls: Polls) -> None:
    paths = ("/register_worker", "/return_global_model", "/notify_me_if_gm_version_updated", "/receive_worker_update/x")
    assert statuses(polls, *((NEAR, "POST", path, 0) for path in paths)) == [200] * 4
    assert statuses(polls, (NEAR, "GET", "/challenge_phrase/x", 0)) == [200]


def test_port_80_sends_to_tls_who_asks_and_refuses_who_sends(polls: Polls) -> None:
    script = (
        "import http.client\n"
        f"for method, body in (('GET', None), ('HEAD', None), ('POST', '{{}}'), ('DELETE', None)):\n"
        f"    plain = http.client.HTTPConnection('{NEAR}', 80, timeout=10)\n"
        "    plain.request(method, '/register_worker?x=1', body)\n"
        "    answer = plain.getresponse()\n"
        "    print(answer.status, answer.getheader('Location'))\n"
    )
    told = polls.run("p2", f"python3 - <<'END'\n{script}\nEND").splitlines()
    assert told == [f"301 https://{NEAR}/register_worker?x=1"] * 2 + ["403 None"] * 2


def certify(polls: Polls, **more: Any) -> None:
    """A certificate that `far` asks its administrators for: on p1, from where they may come, and on p3."""
    certificate = {"common_name": "polls-operator", "usages": ["client"]}
    certificate |= {"name": "operator", "authority": "lab", "federation": "polls"}
    variables = {"pki_certificates": [certificate | more], "fedlearn_party": "lab"}
    play = {"hosts": "p1:p3", "gather_facts": False, "vars": variables, "roles": ["fedlearn.infra.pki"]}
    (ROOM / "operator.yml").write_text(json.dumps([play]))
    done = polls.playbook(str(ROOM / "operator.yml"))
    assert done.returncode == 0, done.output[-3000:]


def withdraw(polls: Polls) -> None:
    certify(polls, state="absent")
    polls.site()  # all hosts get to know it


@pytest.fixture(scope="module")
def operator(polls: Polls) -> Iterator[None]:
    """Somebody who may administer `far`, with a copy of key and certificate on p1."""
    certify(polls)
    polls.run("p1", "cp -a /etc/fedlearn/polls/pki/operator /root/kept")
    yield
    polls.run("p1", "rm -r /root/kept")
    withdraw(polls)


def administering(polls: Polls, host: str) -> list[str]:
    """What somebody from there is answered who has the certificate: with the right password, and with a wrong one."""
    folder = "/root/kept" if host == "p1" else "/etc/fedlearn/polls/pki/operator"
    script = (
        "import base64, json, ssl, urllib.error, urllib.request\n"
        f"pki = '{folder}/'\n"
        "context = ssl.create_default_context(cafile=pki + 'ca.pem')\n"
        "context.load_cert_chain(pki + 'chain.pem', pki + 'key.pem')\n"
        f"for password in ({polls.secrets()['far_admin']!r}, 'wrong'):\n"
        f"    request = urllib.request.Request('https://{FAR}/workers')\n"
        "    word = base64.b64encode(b'admin:' + password.encode()).decode()\n"
        "    request.add_header('Authorization', 'Basic ' + word)\n"
        "    try:\n"
        "        print(type(json.load(urllib.request.urlopen(request, context=context))).__name__)\n"
        "    except urllib.error.HTTPError as error:\n"
        "        print(error.code)\n"
    )
    return polls.run(host, f"python3 - <<'END'\n{script}\nEND").split()


def test_an_administrator_is_known_by_certificate_network_and_password(polls: Polls, operator: None) -> None:
    assert administering(polls, "p1") == ["list", "401"]
    assert administering(polls, "p3") == ["403", "403"]


def test_an_administrator_who_was_withdrawn_is_none(polls: Polls, operator: None) -> None:
    withdraw(polls)
    assert administering(polls, "p1") == ["400", "400"]  # nginx' word for a certificate that isn't right


@pytest.mark.parametrize("path", ["/workers", "/workers/x"])
def test_administrators_are_known_by_certificate(polls: Polls, path: str) -> None:
    assert statuses(polls, (FAR, "GET", path, 0), (FAR, "DELETE", path, 0)) == [403, 403]


def test_an_update_beyond_the_limit_is_told_so_and_other_requests_are_small(polls: Polls) -> None:
    over, under = 201 * 1024 * 1024, 2 * 1024 * 1024
    assert statuses(polls, (NEAR, "POST", "/receive_worker_update/x", over)) == [413]
    assert statuses(polls, (NEAR, "POST", "/register_worker", under)) == [413]


def test_packed_zeros_of_a_stranger_cost_nobody_anything(polls: Polls) -> None:
    """20 MB are 20 GB unpacked."""
    master = polls.pid("p3", "polls-far-server")
    child = polls.run("p3", f"cat /proc/{master}/task/{master}/children").strip()

    def peak() -> int:
        return int(polls.run("p3", f"awk '/VmHWM/ {{print $2}}' /proc/{child}/status"))

    def poll() -> str:
        """The connection that holds the poll of the worker of `far`."""
        return polls.run("p1", f"ss -Htn state established dst {FAR}:443 | awk '{{print $3}}'")

    assert until(60, poll, bool)
    polling, before = poll(), peak()
    assert polls.client("p3", secrets.token_hex(32), ["packed_zeros", 20], stack="far") == [[200, "Invalid Worker"]]
    assert peak() - before < 100_000  # kB; as they came they may be there twice
    assert poll() == polling
    said = polls.run("p1", "journalctl -u fedlearn-polls-far-worker --since -1min --no-pager")
    assert "no model" not in said


def test_each_listens_where_it_should(polls: Polls) -> None:
    ours = "ss -Hltn '( sport = :80 or sport = :443 or sport = :5000 )'"
    listening = {host: polls.run(host, ours) for host in polls.hosts}
    places = {host: sorted(line.split()[3] for line in text.splitlines()) for host, text in listening.items()}
    assert places == {
        "p1": sorted([f"{NET}.11:443", f"{NET}.11:80", "127.0.0.1:5000"]),
        "p2": [f"{NET}.12:443", f"{NET}.12:80"],
        "p3": [f"{NET}.13:5000"],
    }


def test_open_files_are_what_the_machine_allows(polls: Polls) -> None:
    most = int(polls.run("p1", "awk '/open files/ {print $5}' /proc/1/limits"))
    found = polls.run("p1", f"awk '/open files/ {{print $4}}' /proc/{polls.pid('p1', 'polls-near-server')}/limits")
    assert int(found) == min(65535, most)
    nginx = "/proc/$(pgrep -fx 'nginx: worker process' | head -n1)/limits"
    assert int(polls.run("p1", f"awk '/open files/ {{print $4}}' {nginx}")) == min(65535, most)


def held(polls: Polls, host: str) -> int:
    """Connections of the server there: a poll each, and for a minute those that nginx keeps."""
    return len(polls.run(host, "ss -Htn state established '( sport = :5000 )'").splitlines())


def test_workers_that_are_cut_off_take_no_files_and_poll_again(polls: Polls) -> None:
    """Packets are dropped: nobody is told. `near` loses those of its worker on p2, and the worker of `far`, on p1,
    those of its server's nginx.
    """
    polling = {"p1": 2, "p3": 1}
    for host, count in polling.items():
        assert until(180, partial(held, polls, host), count.__eq__) == count
    polls.run("p2", f"ip route add blackhole {NEAR}/32")
    try:
        for host, count in polling.items():
            assert until(180, partial(held, polls, host), (count - 1).__eq__) == count - 1
    finally:
        polls.run("p2", f"ip route del blackhole {NEAR}/32")
    for host, count in polling.items():
        assert until(180, partial(held, polls, host), lambda found, count=count: found >= count) >= count
