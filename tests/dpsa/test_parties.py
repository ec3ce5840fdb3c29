# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Leader and helper of two organisations, deployed from nothing by two control nodes, the helper first."""

from __future__ import annotations

import json

import pytest
from parties import HELPER, LEADER, NETWORK, PARTIES, Party, ask

HELPER_FRONT, LEADER_FRONT = (f"{NETWORK}.22", 9992), (f"{NETWORK}.21", 9991)
HELPER_MANAGER = (f"{NETWORK}.22", 9982)
INNER = ("PUT /tasks/AA/aggregation_jobs/BB", "POST /tasks/AA/aggregate_shares")
UNKNOWN_TASK = "urn:ietf:params:ppm:dap:error:unrecognizedTask"


@pytest.mark.parametrize("party", PARTIES, ids=lambda party: party.side)
def test_everything_is_healthy_on_both_sides(party: Party) -> None:
    party.playbook("verify")
    survey = party.report("verify.json")["stacks"]["survey"]
    assert [check for check in survey["checks"] if not check["passed"]] == []
    assert {"a1: janus", "b1: janus"} & {check["name"] for check in survey["checks"]}


@pytest.mark.parametrize("party", PARTIES, ids=lambda party: party.side)
def test_a_second_run_does_nothing(party: Party) -> None:
    again = party.playbook("site", most=12)
    assert (again.code, again.changed) == (0, 0), again.text


@pytest.mark.parametrize("request_", INNER)
def test_the_leader_comes_in_by_its_certificate(request_: str) -> None:
    status, body = ask(LEADER, ("127.0.0.1", 9975), request_, name="127.0.0.1:9975")
    assert (status, UNKNOWN_TASK in body) == (400, True)


@pytest.mark.parametrize("request_", INNER)
@pytest.mark.parametrize("shows", ["leader", "controller", ""], ids=["leader", "another of its CA", "none"])
def test_nobody_else_of_the_leader_s_ca_comes_in(request_: str, shows: str) -> None:
    status, body = ask(LEADER, HELPER_FRONT, request_, name="dpsa-survey-helper-front", trusts="leader", shows=shows)
    assert (status, UNKNOWN_TASK in body) == ((400, True) if shows == "leader" else (403, False))


def test_a_certificate_of_the_helper_s_own_ca_is_worth_nothing_there() -> None:
    """The helper's party can't be its own leader by its own CA: the name is looked for under the leader's only."""
    forged = "/etc/fedlearn/dpsa/pki/dpsa-survey-forged"
    key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem"
    HELPER.sh(
        f"mkdir {forged} && cd {forged} && openssl req -x509 {key} -days 1 -subj /CN=dpsa-survey-leader -out chain.pem"
    )
    try:
        status, body = ask(
            HELPER, HELPER_FRONT, INNER[0], name="dpsa-survey-helper-front", trusts="helper-front", shows="forged"
        )
        assert (status, "SSL certificate error" in body) == (400, True)
    finally:
        HELPER.sh(f"rm -r {forged}")


@pytest.mark.parametrize(
    ("place", "name", "request_", "status"),
    [
        (HELPER_FRONT, "dpsa-survey-helper-front", "GET /hpke_config", 400),
        (HELPER_FRONT, "dpsa-survey-helper-front", "PUT /tasks/AA/reports", 404),
        (HELPER_FRONT, "dpsa-survey-helper-front", "PUT /tasks/AA/collection_jobs/BB", 404),
        (HELPER_FRONT, "other.example", "GET /hpke_config", 421),
        (LEADER_FRONT, "dpsa-survey-leader-front", "GET /hpke_config", 400),
        (LEADER_FRONT, "dpsa-survey-leader-front", "PUT /tasks/AA/reports", 400),
        (LEADER_FRONT, "dpsa-survey-leader-front", "PUT /tasks/AA/collection_jobs/BB", 403),
        (LEADER_FRONT, "dpsa-survey-leader-front", "PUT /tasks/AA/aggregation_jobs/BB", 404),
        (LEADER_FRONT, "dpsa-survey-leader-front", "GET /healthz", 404),
        (HELPER_MANAGER, "dpsa-survey-helper-front", "GET /get_main_locations", 200),
        (HELPER_MANAGER, "dpsa-survey-helper-front", "POST /create_session", 403),
        (HELPER_MANAGER, "dpsa-survey-helper-front", "GET /sessions", 404),
    ],
)
def test_what_is_everybody_s_and_what_isn_t(place: tuple[str, int], name: str, request_: str, status: int) -> None:
    assert ask(LEADER, place, request_, name=name, trusts="controller")[0] == status


def test_both_tell_clients_the_same() -> None:
    told = [
        ask(LEADER, ("127.0.0.1", port), "GET /get_main_locations", name=f"127.0.0.1:{port}") for port in (9981, 9982)
    ]
    assert told[0] == told[1]
    assert json.loads(told[0][1])["external_leader"].rstrip("/") == "http://127.0.0.1:9991"


@pytest.mark.parametrize("party", PARTIES, ids=lambda party: party.side)
def test_beyond_the_host_there_is_nginx_and_ssh(party: Party) -> None:
    listening = party.sh("ss -Hltnp | grep -v -e '127\\.' -e '\\[::1\\]'")
    assert {line.split('"')[1] for line in listening.splitlines()} == {"nginx", "sshd"}


def test_nothing_of_one_side_is_with_the_other() -> None:
    for own, other in ((LEADER, HELPER), (HELPER, LEADER)):
        key = own.sh(f"cat /var/lib/fedlearn-dpsa-survey-{own.side}/datastore-keys")
        password = own.sh(f"cat /etc/fedlearn/dpsa/dpsa-survey-{own.side}-aggregator/database-password")
        assert key
        for secret in (key, password):
            found = own.sh(f"grep -rlF -- '{secret}' /etc/fedlearn /var/lib/fedlearn-dpsa-survey-{own.side} || true")
            assert found  # it would be found
            assert other.sh(f"grep -rlF -- '{secret}' /etc /opt /var/lib/fedlearn* /var/log /root || true") == ""
            folders = [path for path in other.home.rglob("*") if path.is_file()]
            assert [path for path in folders if secret.encode() in path.read_bytes()] == []
        # not even one's own control node has the datastore keys
        assert [path for path in own.home.rglob("*") if path.is_file() and key.encode() in path.read_bytes()] == []


def test_the_leader_s_certificate_is_renewed_and_the_partner_has_nothing_to_do() -> None:
    name = "/etc/fedlearn/dpsa/pki/dpsa-survey-leader/cert.pem"
    before = LEADER.sh(f"openssl x509 -in {name} -noout -serial -subject")
    assert before.splitlines()[1].replace(" ", "") == "subject=CN=dpsa-survey-leader"
    renewed = LEADER.playbook("rotate", "-e", "what=certificates")
    assert renewed.code == 0, renewed.text
    after = LEADER.sh(f"openssl x509 -in {name} -noout -serial -subject")
    assert (before.splitlines()[0] != after.splitlines()[0], before.splitlines()[1]) == (True, after.splitlines()[1])
    assert ask(LEADER, ("127.0.0.1", 9975), INNER[0], name="127.0.0.1:9975")[0] == 400


def test_a_password_is_replaced_and_all_is_well() -> None:
    def login() -> str:
        return HELPER.sh("grep -o 'program_[ab]' /etc/fedlearn/dpsa/dpsa-survey-helper-aggregator/janus.yml")

    before = login()
    replaced = HELPER.playbook("rotate", "-e", "what=passwords")
    assert replaced.code == 0, replaced.text
    assert {before, login()} == {"program_a", "program_b"}
    HELPER.playbook("verify")
    survey = HELPER.report("verify.json")["stacks"]["survey"]
    assert [check for check in survey["checks"] if not check["passed"]] == []


@pytest.mark.parametrize("party", [HELPER, LEADER], ids=lambda party: party.side)
def test_what_is_removed_leaves_the_other_side_alone(party: Party) -> None:
    """The last of these tests: one side after the other goes."""
    gone = party.playbook("remove")
    assert gone.code == 0, gone.text
    assert party.sh("systemctl list-units --plain --no-legend 'fedlearn-*' | grep -v journald || true") == ""
    if party is HELPER:
        assert LEADER.sh("systemctl is-active fedlearn-dpsa-survey-leader-aggregator") == "active"
