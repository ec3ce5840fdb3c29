# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The generation `poc` on three hosts: rounds that are exact, rounds that must fail, faults, and who is let in.

The deployed training waits for a third participant, who is played here by hand with the certificate of x3.
"""

from __future__ import annotations

import json

import pytest
from by_hand import ASK, OWN, WRONG_TOKEN
from places import X1, X2, X3
from proofs import check_exact, check_fails_by_its_number, check_left_alone
from standing_demo import CHECKOUT
from training import Counts

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain.known_adds import adds, answer
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain.poc_keys import OF_EACH_OTHER

EXPECTED = [3.5, -1.625, 1.25]


def test_a_round_ends_with_the_known_numbers(counts: Counts) -> None:
    check_exact(counts, EXPECTED)


@pytest.mark.parametrize("wrong", ["a participant left out", "a wrong number of samples", "a round too few"])
def test_a_round_that_is_not_whole_fails_by_its_number(counts: Counts, wrong: str) -> None:
    parts = counts.round_parts()
    (coordinator,) = parts["x1"]["first"]["variables"]["xain_coordinator_instances"]
    (participant,) = parts["x3"]["first"]["variables"]["xain_participant_instances"]
    if wrong == "a participant left out":
        coordinator["settings"]["federated_learning"]["min_clients"] = 1
        parts["x3"] = {}
    elif wrong == "a wrong number of samples":
        participant["application"]["settings"]["samples"] = 50
    else:
        coordinator["settings"]["federated_learning"]["rounds"] = 2
    check_fails_by_its_number(counts, parts)


def test_a_round_leaves_nothing(counts: Counts) -> None:
    for host in counts.hosts:
        assert counts.run(host, "ls /run/systemd/system | grep -c verify || true").strip() == "0"
        ports = " or ".join(f"sport = :{port}" for port in (2443, 52050, 52052, 7555, 8666, 10082))
        assert counts.run(host, f"ss -Hltn '( {ports} )'") == ""


def test_a_second_run_changes_nothing_in_few_executions(counts: Counts) -> None:
    check_left_alone(counts)


def test_who_shows_no_certificate_is_refused_and_so_is_what_is_too_large(counts: Counts) -> None:
    found = counts.python("x3", ASK)
    assert found.pop("a path that there isn't") == 404
    assert found.pop("too large an upload") in (413, 0)
    # the program answers so to whatever it is sent
    assert found.pop("an upload of nobody's") == 200
    assert found.pop("a token of nobody's") in (404, 405)
    assert set(found.values()) <= {400, 403}, found


def test_programs_listen_on_loopback_and_calls_come_by_nginx(counts: Counts) -> None:
    ports = " or ".join(f"sport = :{port}" for port in (443, 8082, 50050, 50052, 5555, 6666))
    for host, own in (
        ("x1", [f"{X1}:443", f"{X1}:5555", "127.0.0.1:50050", "127.0.0.1:5555", "127.0.0.1:6666"]),
        ("x2", [f"{X2}:6666", f"{X2}:8082", "127.0.0.1:50052", "127.0.0.1:5555", "127.0.0.1:6666"]),
    ):
        found = counts.run(host, f"ss -Hltn '( {ports} )'")
        assert sorted(line.split()[3] for line in found.splitlines()) == own


def test_somebody_elses_call_is_refused(counts: Counts) -> None:
    """The participant's certificate is of the same CA, and not the peer's."""
    call = f"""{OWN}
import socket
def called(port, shown):
    context = ssl.create_default_context(cafile=tls["ca"])
    if shown:
        context.load_cert_chain(tls["certificate"], tls["key"])
    try:
        with socket.create_connection(("{X1}", port), 5) as plain:
            with context.wrap_socket(plain, server_hostname="counts-first-rpc") as stream:
                stream.settimeout(3)
                return "closed" if not stream.recv(1) else "answered"
    except TimeoutError:
        return "open"
    except OSError:
        return "refused"
print(json.dumps([called(5555, True), called(5555, False)]))
"""
    assert set(counts.python("x3", call)) <= {"closed", "refused"}


def test_an_upload_with_a_wrong_token_counts_nothing_whatever_it_is_told(counts: Counts) -> None:
    found = counts.python("x3", WRONG_TOKEN)
    assert found == {"url": f"https://{X2}:8082", "said": 200, "state": "round"}
    assert counts.training("x1") == "round 1 of 3"
    # what the others sent meanwhile would count in the first round of the next training
    counts.forget()


def test_it_comes_back_when_both_are_killed_at_any_time(counts: Counts) -> None:
    for host, unit in (("x1", counts.coordinator), ("x2", counts.aggregator), ("x1", counts.coordinator)):
        counts.run(host, f"systemctl kill -s KILL {unit}; sleep 12")
        assert counts.run(host, f"systemctl is-active {unit}").strip() == "active"
    done = counts.playbook("fedlearn.infra.status")
    found = json.loads((CHECKOUT / "build" / "counts" / "status.json").read_text())
    assert (done.returncode, found["verdict"]) == (0, "ok")


def test_participants_come_back_to_a_coordinator_that_was_killed(counts: Counts) -> None:
    counts.run("x1", f"systemctl kill -s KILL {counts.coordinator}; sleep 40")
    assert counts.said("x1").count("rendez vous") >= 2
    for host in ("x2", "x3"):
        assert counts.run(host, f"systemctl is-active {counts.participant}").strip() == "active"


def test_an_honest_third_completes_the_training_with_exact_numbers(counts: Counts) -> None:
    counts.complete()
    assert counts.training("x1") == ""
    assert counts.training("x2") == ""


def test_the_last_model_is_kept_though_nobody_is_given_it(counts: Counts) -> None:
    models = counts.run("x2", f"ls /var/lib/{counts.aggregator}/models").split()
    assert [name.rpartition("-")[2] for name in models] == ["1", "2", "3"]
    read = "import numpy; print(json.dumps(numpy.load(given['path']).tolist()))"
    last = counts.python("x2", read, path=f"/var/lib/{counts.aggregator}/models/{models[-1]}")
    assert last == pytest.approx(list(answer([adds(index) for index in range(3)], 4)), abs=1e-9)


def test_no_token_is_in_any_log(counts: Counts) -> None:
    said = counts.run("x2", "cat /var/log/nginx/fedlearn-counts-first-*.log")
    assert '"path":"/*/*"' in said
    uuid = "[0-9a-f]{8}-[0-9a-f-]{27}"
    for host in ("x1", "x2", "x3"):
        assert counts.run(host, f"grep -rE '{uuid}/{uuid}' /var/log/nginx || true") == ""
        assert counts.run(host, f"journalctl -a --no-pager -u 'fedlearn-*' | grep -E '{uuid}/{uuid}' || true") == ""
    # what selects a participant has its number, and its token beside it
    assert "token" not in counts.said("x1").lower()


def test_a_training_under_way_is_lost_to_no_run_that_was_not_told_so(counts: Counts) -> None:
    for host, unit in (("x1", counts.coordinator), ("x2", counts.aggregator)):
        counts.run(host, f"echo 'round 2 of 3' >/run/{unit}/training")

    def longer(document: dict[str, object]) -> None:
        document["stacks"]["first"]["settings"]["federated_learning"]["rounds"] = 4  # type: ignore[index]

    before = counts.files(), counts.processes()
    counts.write(longer)
    try:
        done = counts.playbook("site.yml")
        assert done.returncode == 2
        assert "a training is under way (round 2 of 3)" in " ".join(done.output.split())
        assert (counts.files(), counts.processes()) == before
        assert counts.playbook("site.yml", "-e", "fedlearn_disrupt=first").returncode == 0
    finally:
        counts.write()
    assert counts.site().returncode == 0


def test_two_participants_more_come_to_a_training_under_way(counts: Counts) -> None:
    """The aggregator may then have more memory, which is no reason to restart it."""
    limit, flag = f"systemctl show --value -p MemoryMax {counts.aggregator}", f"/run/{counts.aggregator}/training"
    before, former = counts.processes(), int(counts.run("x2", limit))
    counts.run("x2", f"echo 'round 2 of 3' >{flag}")

    def more(document: dict[str, object]) -> None:
        document["stacks"]["first"]["participants"] |= {"expected": 5, "clients": ["others", "more"]}  # type: ignore[index]

    counts.write(more)
    try:
        assert counts.site().returncode == 0
        assert counts.processes() == before
        assert int(counts.run("x2", limit)) == former + 2 * OF_EACH_OTHER * (50 << 20)
    finally:
        counts.write()
    assert counts.site().returncode == 0
    assert (counts.processes(), int(counts.run("x2", limit))) == (before, former)
    counts.run("x2", f"rm {flag}")


def test_a_class_that_can_not_be_made_never_replaces_one_that_can(counts: Counts) -> None:
    (counts.inventory / "mine.py").write_text("class Mine:\n    def add_weights(self, data): return True\n")

    def mine(document: dict[str, object]) -> None:
        placed = {"host": "x2", "python_class": "mine:Mine", "class_artifact": {"source": "mine.py"}}
        document["stacks"]["first"]["aggregator"] = placed  # type: ignore[index]

    before = counts.processes()
    counts.write(mine)
    try:
        done = counts.playbook("site.yml")
        assert done.returncode == 2
        assert "python_class mine:Mine: it has no method aggregate (in Python 3.9)" in " ".join(done.output.split())
        assert counts.processes() == before
    finally:
        counts.write()
    assert counts.site().returncode == 0


def test_flows_and_the_end(counts: Counts) -> None:
    assert counts.playbook("fedlearn.infra.flows").returncode == 0
    told = (CHECKOUT / "build" / "counts" / "flows.csv").read_text()
    for source, its, to, address, port in (
        ("x3", X3, "x1", X1, 443),
        ("x3", X3, "x2", X2, 8082),
        ("x1", X1, "x2", X2, 6666),
        ("x2", X2, "x1", X1, 5555),
    ):
        assert f"first,inside,{source},{its},{to},{address},tcp,{port}," in told, told
    done = counts.playbook("fedlearn.infra.remove", "-e", "stack=first")
    assert done.returncode == 0, done.output[-3000:]
    for host in counts.hosts:
        assert counts.run(host, "ls /etc/systemd/system | grep -c fedlearn-counts || true").strip() == "0"
        assert counts.run(host, "ls /etc/nginx/*.d | grep -c counts || true").strip() == "0"
    assert counts.run("x2", f"ls /var/lib/{counts.aggregator}/models").strip() != ""
