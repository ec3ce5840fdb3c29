# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Figures of two deployed sides, in build/bench/dpsa-sides.json, which says whether doubles had a part in them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from figures import is_real, tell
from parties import LEADER, PARTIES, Party, running
from sessions import Session

TIMES = 2
"""How often each program is killed: twenty kills and more, of both sides together."""

KILL = """
for unit in {units}; do
    before=$(systemctl show -p MainPID --value $unit)
    kill -KILL $before
    for _look in $(seq 240); do
        sleep 0.25
        now=$(systemctl show -p MainPID --value $unit)
        if [ "$now" != 0 ] && [ "$now" != "$before" ] && [ "$(systemctl is-active $unit)" = active ]; then
            echo $unit
            break
        fi
    done
done
"""

LATENCY = r"""
import http.client, json, socket, ssl, statistics, time
site = "/etc/fedlearn/dpsa/pki/dpsa-survey-leader-front"
context = ssl.create_default_context(cafile=site + "/ca.pem")
context.check_hostname = False
context.verify_flags &= ~ssl.VERIFY_X509_STRICT
ways = {
    "direct": http.client.HTTPConnection("127.0.0.1", 9971, timeout=20),
    "nginx": http.client.HTTPSConnection("HOST", 9991, timeout=20, context=context),
}
# nginx takes a request only for the name that its certificate was asked for by
plain = socket.create_connection(("HOST", 9991), timeout=20)
plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as http.client does
ways["nginx"].sock = context.wrap_socket(plain, server_hostname="dpsa-survey-leader-front")
head = {"Host": "dpsa-survey-leader-front", "Content-Type": "application/dap-report"}
body, seconds, answers = b"x" * 4096, {way: [] for way in ways}, set()
for number in range(600):
    for way, connection in ways.items():
        begun = time.perf_counter()
        connection.request("PUT", f"/tasks/{'A' * 43}/reports", body, headers=head)
        # else what is measured is how long the client lets Janus, which waits for it between two packets, wait
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        answer = connection.getresponse()
        answer.read()
        if number >= 100:  # before that both get warm
            seconds[way].append(time.perf_counter() - begun)
        answers.add(answer.status)
found = {way: statistics.quantiles(each, n=100) for way, each in seconds.items()}
print(json.dumps({"answers": sorted(answers), "ms": {
    way: {"p50": each[49] * 1000, "p99": each[98] * 1000} for way, each in found.items()
}}))
"""


def unwell(party: Party) -> list[Any]:
    party.playbook("verify")
    survey = party.report("verify.json")["stacks"]["survey"]
    return [check for check in survey["checks"] if not check["passed"]]


def test_twenty_kills_are_healed() -> None:
    killed = 0
    for party in PARTIES:
        units = [f"fedlearn-dpsa-survey-{component}" for component in sorted(running(party))]
        for _time in range(TIMES):
            healed = party.sh(KILL.format(units=" ".join(units)))
            assert healed.split() == units
            killed += len(units)
    assert killed >= 20
    assert {party.side: unwell(party) for party in PARTIES} == {"leader": [], "helper": []}
    tell("kills", {"killed": killed, "healed": killed})


def test_what_nginx_adds_to_an_upload() -> None:
    """On kept connections, of what is no report: a double refuses it, and so does the program, and stores nothing."""
    host = LEADER.variables(LEADER.host)["ansible_host"]
    told = json.loads(LEADER.sh(f"python3 - <<'PYTHON'\n{LATENCY.replace('HOST', host)}\nPYTHON"))
    assert told["answers"] == [400]
    ms = told["ms"]
    added = {point: round(ms["nginx"][point] - ms["direct"][point], 3) for point in ("p50", "p99")}
    tell("upload", {"requests": 500, "added_ms": added, "direct_ms": ms["direct"], "nginx_ms": ms["nginx"]})
    assert added["p50"] < 20  # nobody waits for an acknowledgement that is held back


def rotated(party: Party, what: str, *more: str, waits: bool = False) -> None:
    """``waits``: all have moved over but the manager, which isn't restarted while a session is open in it."""
    ended = party.playbook("rotate", "-e", f"what={what}", *more)
    assert (ended.code != 0, "1 sessions are open" in ended.words) == (waits, waits), ended.text


def in_use(party: Party) -> list[str]:
    """What is replaced: the certificate's serial number, the datastore key that seals, the login of the aggregator."""
    return party.sh(
        f"openssl x509 -noout -serial -in /etc/fedlearn/dpsa/pki/dpsa-survey-{party.side}-front/cert.pem\n"
        f"cut -d, -f1 /var/lib/fedlearn-dpsa-survey-{party.side}/datastore-keys\n"
        f"grep -o 'program_[ab]' /etc/fedlearn/dpsa/dpsa-survey-{party.side}-aggregator/janus.yml"
    ).splitlines()


def test_no_report_is_lost_while_keys_certificates_and_passwords_are_replaced() -> None:
    """Of both sides, while clients upload: each report that was taken is collected.

    As long as a session is open all but its manager move over; where it may end, the manager does, and clients go on.
    """
    if not is_real():
        pytest.skip("doubles take no reports: FEDLEARN_UPSTREAM_DIR has no programs")
    former = {party: in_use(party) for party in PARTIES}
    with Session() as session:
        session.begin_uploads()
        for party in PARTIES:
            for what, more, waits in (
                ("certificates", (), False),
                ("datastore_keys", (), True),
                ("passwords", (), True),
                ("datastore_keys", ("-e", "fedlearn_disrupt=survey"), False),
                ("passwords", (), False),
            ):
                before = session.uploads()["taken"]
                rotated(party, what, *more, waits=waits)
                assert session.uploads()["taken"] > before
            assert not set(former[party]) & set(in_use(party))
        told = session.end_uploads()
        stored, collected = session.stored(), session.collect()
    tell("rotation", {"taken": told["taken"], "missed": told["missed"], "stored": stored, "collected": collected})
    assert (told["missed"], stored, collected) == ([], told["taken"], told["taken"])
    assert {party.side: unwell(party) for party in PARTIES} == {"leader": [], "helper": []}
