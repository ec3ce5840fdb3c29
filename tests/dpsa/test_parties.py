# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Leader and helper of two organisations, deployed from nothing by two control nodes, the helper first."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from figures import tell
from parties import (
    CONTROLLER,
    DOCUMENT,
    DRIVERS,
    HELPER,
    LEADER,
    NETWORK,
    PARTIES,
    ROOM,
    Party,
    agree,
    ask,
    lose,
    rows_of,
    running,
)
from sessions import Session

HELPER_FRONT, LEADER_FRONT, HELPER_MANAGER = (f"{NETWORK}.22", 9992), (f"{NETWORK}.21", 9991), (f"{NETWORK}.22", 9982)
OF_TASK, JOB = f"/tasks/{'A' * 43}", "A" * 22
INNER = (f"PUT {OF_TASK}/aggregation_jobs/{JOB}", f"POST {OF_TASK}/aggregate_shares")
UNKNOWN_TASK = "urn:ietf:params:ppm:dap:error:unrecognizedTask"


@pytest.mark.parametrize("party", PARTIES, ids=lambda party: party.side)
def test_everything_is_healthy_on_both_sides(party: Party) -> None:
    party.playbook("verify")
    survey = party.report("verify.json")["stacks"]["survey"]
    assert [check for check in survey["checks"] if not check["passed"]] == []
    assert {"a1: janus", "b1: janus"} & {check["name"] for check in survey["checks"]}


@pytest.mark.parametrize("party", PARTIES, ids=lambda party: party.side)
def test_a_second_run_does_nothing(party: Party) -> None:
    assert party.playbook("site").code == 0  # what the other handed over since, as audits do, is taken by this one
    again = party.playbook("site", most=12)
    assert (again.code, again.changed) == (0, 0), again.text


@pytest.mark.parametrize("request_", INNER)
def test_the_leader_comes_in_by_its_certificate(request_: str) -> None:
    status, body = ask(LEADER, ("127.0.0.1", 9975), request_, name="127.0.0.1:9975")
    assert (status, UNKNOWN_TASK in body) == (400, True)


@pytest.mark.parametrize("request_", INNER)
@pytest.mark.parametrize("shows", ["leader", "controller", ""], ids=["leader", "another of its CA", "none"])
def test_nobody_else_of_the_leader_s_ca_comes_in(request_: str, shows: str) -> None:
    host, trusts = ("", "leader") if shows != "controller" else (CONTROLLER, "helper-servers")
    status, body = ask(
        LEADER, HELPER_FRONT, request_, name="dpsa-survey-helper-front", trusts=trusts, shows=shows, host=host
    )
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
        (HELPER_FRONT, "dpsa-survey-helper-front", f"PUT {OF_TASK}/reports", 404),
        (HELPER_FRONT, "dpsa-survey-helper-front", f"PUT {OF_TASK}/collection_jobs/{JOB}", 404),
        (HELPER_FRONT, "other.example", "GET /hpke_config", 421),
        (LEADER_FRONT, "dpsa-survey-leader-front", "GET /hpke_config", 400),
        (LEADER_FRONT, "dpsa-survey-leader-front", f"PUT {OF_TASK}/reports", 400),
        (LEADER_FRONT, "dpsa-survey-leader-front", f"PUT {OF_TASK}/collection_jobs/{JOB}", 403),
        (LEADER_FRONT, "dpsa-survey-leader-front", f"PUT {OF_TASK}/aggregation_jobs/{JOB}", 404),
        (LEADER_FRONT, "dpsa-survey-leader-front", "GET /healthz", 404),
        (HELPER_MANAGER, "dpsa-survey-helper-front", "GET /get_main_locations", 200),
        (HELPER_MANAGER, "dpsa-survey-helper-front", "POST /create_session", 403),
        (HELPER_MANAGER, "dpsa-survey-helper-front", "GET /sessions", 404),
    ],
)
def test_what_is_everybody_s_and_what_isn_t(place: tuple[str, int], name: str, request_: str, status: int) -> None:
    side = "leader" if place == LEADER_FRONT else "helper"
    assert ask(LEADER, place, request_, name=name, trusts=f"{side}-servers", host=CONTROLLER)[0] == status


def test_the_leader_s_party_can_t_stand_in_for_the_helper() -> None:
    """What clients seal for the helper would be read by whom they send the leader's share to."""
    front, port = "/etc/fedlearn/dpsa/pki/dpsa-survey-leader-front", LEADER_FRONT[1]
    to_helper = f"proxy_ssl_name {front.rpartition('/')[2]};"
    site = "/etc/nginx/conf.d/fedlearn-dpsa-survey-controller-helper.conf"
    led = "GET /hpke_config"

    def asked() -> int:
        return ask(LEADER, ("127.0.0.1", 9992), led, name="127.0.0.1:9992", host=CONTROLLER)[0]

    assert asked() == 400
    # the network leads to the leader, and its certificate has the name that is wanted
    LEADER.sh(
        f"cp -p {site} /root/kept && sed -i -e 's/{HELPER_FRONT[0]}:{HELPER_FRONT[1]}/{LEADER_FRONT[0]}:{port}/' "
        f"-e 's/proxy_ssl_name .*/{to_helper}/' {site} && systemctl reload nginx && sleep 1",
        CONTROLLER,
    )
    try:
        assert asked() == 502
    finally:
        LEADER.sh(f"cp -p /root/kept {site} && rm /root/kept && systemctl reload nginx && sleep 1", CONTROLLER)
    assert asked() == 400


def test_both_tell_clients_the_same() -> None:
    told = [
        ask(LEADER, ("127.0.0.1", port), "GET /get_main_locations", name=f"127.0.0.1:{port}", host=CONTROLLER)
        for port in (9981, 9982)
    ]
    assert told[0] == told[1]
    assert json.loads(told[0][1])["external_leader"].rstrip("/") == "http://127.0.0.1:9991"


@pytest.mark.parametrize("party", PARTIES, ids=lambda party: party.side)
def test_janus_cli_is_there_for_whoever_needs_it(party: Party) -> None:
    (found,) = party.sh("find /opt/fedlearn/janus -path '*/bin/janus_cli' -perm /111").splitlines()
    assert found.startswith("/opt/fedlearn/janus/")


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


def session(numerator: int) -> dict[str, object]:
    """What the published client sends, but for its keys."""
    parameter = {
        "gradient_len": 8,
        "privacy_parameter": {"epsilon": [[numerator], [1]]},
        "submission_type": "FixedType16Bit",
    }
    hpke = {"id": 1, "kem_id": "X25519HkdfSha256", "kdf_id": "HkdfSha256", "aead_id": "Aes256Gcm", "public_key": ""}
    return {
        "trainingSessionId": None,
        "role": "Helper",
        "verifyKeyEncoded": "AAAAAAAAAAAAAAAAAAAAAA",
        "collectorHpkeConfig": hpke,
        "collectorAuthTokenEncoded": "QQ",
        "leaderAuthTokenEncoded": "QQ",
        "vdafParameter": parameter,
    }


def manager(path: str, body: object, shows: str) -> tuple[int, str]:
    """The helper's manager, asked from the controller's host: a client that checks nothing itself."""
    return ask(
        LEADER,
        HELPER_MANAGER,
        f"POST {path}",
        name="dpsa-survey-helper-front",
        trusts="helper-servers",
        shows=shows,
        host=CONTROLLER,
        body=body,
    )


def test_the_ceiling_governs_all_sessions_but_a_verify_round_s() -> None:
    refused = manager("/create_session", session(2), "controller")
    assert refused == (400, '"epsilon 2 is more than the 1 that is let in here"')
    for epsilon, shows in ((1, "controller"), (100, "verify")):
        status, body = manager("/create_session", session(epsilon), shows)
        assert status == 200, body
        number = json.loads(body)["trainingSessionId"]
        other = "verify" if shows == "controller" else "controller"
        assert manager("/end_session", number, other)[0] == 400
        assert manager("/end_session", number, shows)[0] == 200
    assert manager("/create_session", session(101), "verify")[0] == 400


def lay_kit(kit: Path, blocks: list[str]) -> None:
    """A kit on the helper's host, which is no client of the document, by the words of its README."""
    files = {path.relative_to(kit).as_posix(): path.read_text() for path in kit.rglob("*") if path.is_file()}
    for name, content in files.items():
        HELPER.sh(f"install -D /dev/stdin /root/kit/{name} <<'FILE'\n{content}FILE")
    for block in blocks:
        HELPER.sh(f"cd /root/kit && set -e\n{block} >&2")


def kit_of(*arguments: str) -> tuple[Path, list[str]]:
    """Its folder, and the commands of its README."""
    written = LEADER.playbook("client_kit", *arguments)
    assert written.code == 0, written.text
    what = "controller" if "controller=true" in arguments else "client"
    (kit,) = (LEADER.home / "build").glob(f"*/client_kit/dpsa-survey-{what}")
    return kit, re.findall(r"```sh\n(.*?)```", (kit / "README.md").read_text(), re.DOTALL)


@pytest.fixture
def without_kit() -> Iterator[None]:
    """The helper's host as it was before."""
    yield
    HELPER.sh("rm -rf /root/kit /etc/fedlearn-client /etc/nginx/conf.d/dpsa-survey-*.conf && systemctl reload nginx")


def local(request_: str, port: int, body: object = None) -> tuple[int, str]:
    return ask(HELPER, ("127.0.0.1", port), request_, name=f"127.0.0.1:{port}", body=body)


def test_a_client_s_kit_leads_to_both_sides(without_kit: None) -> None:
    kit, (lay,) = kit_of()
    lay_kit(kit, [lay])
    told = [local("GET /get_main_locations", port) for port in (9981, 9982)]
    assert told[0] == told[1]
    assert told[0][0] == 200
    assert [local("GET /hpke_config", port)[0] for port in (9991, 9992)] == [400, 400]
    assert local("POST /create_session", 9982, session(1))[0] == 403


def test_a_controller_s_kit_has_the_certificate_that_was_asked_for(without_kit: None, tmp_path: Path) -> None:
    kit, (make, lay) = kit_of("-e", "controller=true")
    lay_kit(kit, [make])
    request_ = tmp_path / "request.pem"
    request_.write_text(HELPER.sh("cat /root/kit/request.pem") + "\n")
    kit, _blocks = kit_of("-e", "controller=true", "-e", f"request={request_}")
    lay_kit(kit, [lay])
    status, told = local("POST /create_session", 9982, session(1))
    assert status == 200, told
    assert local("POST /end_session", 9982, json.loads(told)["trainingSessionId"])[0] == 200


@pytest.mark.parametrize(
    ("party", "content", "arguments", "message"),
    [
        (
            HELPER,
            "",
            ["-e", "controller=true"],
            "party 'clinic-a' vouches for whom it is for, and its CA signs elsewhere",
        ),
        (
            LEADER,
            "-----BEGIN PRIVATE KEY-----",
            ["-e", "controller=true"],
            "holds a private key, which stays where it is used",
        ),
        (LEADER, "no request", ["-e", "controller=true"], "is no signing request"),
        (LEADER, "", [], "a client shows no certificate: -e controller=true is for the controller's"),
    ],
)
def test_a_kit_that_can_t_be(party: Party, content: str, arguments: list[str], message: str, tmp_path: Path) -> None:
    told = tmp_path / "request.pem"
    told.write_text(content)
    refused = party.playbook("client_kit", *arguments, "-e", f"request={told}")
    assert refused.code != 0
    assert message in refused.words


def judged(party: Party) -> dict[str, Any]:
    """What a round was judged to be."""
    party.playbook("verify", "-e", "verify=round")
    entry: dict[str, Any] = party.report("verify.json")["stacks"]["survey"]
    return entry


def test_a_round_with_the_published_client() -> None:
    """Doubles aggregate nothing: with them it comes as far as a client's report, and has failed."""
    entry = judged(LEADER)
    (row,) = [check for check in entry["checks"] if check["name"].startswith("result of ")]
    assert entry["conditions"]["epsilon"] == 100.0
    assert 0.1 < entry["max_error_allowed"] < 0.2
    if entry["real"]:
        assert entry["passed"] is True, entry
        assert entry["max_error"] < entry["max_error_allowed"]
    else:
        assert entry["passed"] is False
        assert row["detail"].startswith("it has none: could not have client 1 submit its vector: "), row
    left = LEADER.sh("ls /run/systemd/system /etc/nginx/conf.d | grep verify || true", CONTROLLER)
    assert left == ""
    assert local("GET /sessions", 9966) == (200, "0")


@pytest.mark.parametrize("altered", [False, True], ids=["a client is missing", "a vector is another one"])
def test_a_wrong_round_is_seen_by_the_number(altered: bool) -> None:
    rounds = LEADER.variables(CONTROLLER)["fedlearn_verify"]
    (instance,) = rounds["survey"]["variables"]["dpsa_round_instances"]
    first, *others = instance["vectors"]
    instance["vectors"] = [[-one for one in first], *others] if altered else others
    told = LEADER.home / "host_vars" / f"{CONTROLLER}.yml"
    told.parent.mkdir(exist_ok=True)
    told.write_text(yaml.safe_dump({"fedlearn_verify": rounds}))
    try:
        entry = judged(LEADER)
    finally:
        told.unlink()
    if not entry["real"]:
        pytest.skip("doubles aggregate nothing: FEDLEARN_UPSTREAM_DIR has no programs")
    assert entry["passed"] is False
    (row,) = [check for check in entry["checks"] if check["name"].startswith("result of ")]
    assert ": off by " in row["detail"]
    assert entry["max_error"] > 2 * entry["max_error_allowed"]


def test_the_leader_s_certificate_is_renewed_and_the_partner_has_nothing_to_do() -> None:
    name = "/etc/fedlearn/dpsa/pki/dpsa-survey-leader/cert.pem"
    before = LEADER.sh(f"openssl x509 -in {name} -noout -serial -subject")
    assert before.splitlines()[1].replace(" ", "") == "subject=CN=dpsa-survey-leader"
    renewed = LEADER.playbook("rotate", "-e", "what=certificates")
    assert renewed.code == 0, renewed.text
    after = LEADER.sh(f"openssl x509 -in {name} -noout -serial -subject")
    assert (before.splitlines()[0] != after.splitlines()[0], before.splitlines()[1]) == (True, after.splitlines()[1])
    assert ask(LEADER, ("127.0.0.1", 9975), INNER[0], name="127.0.0.1:9975")[0] == 400


def test_a_certificate_that_the_leader_s_party_withdrew_is_let_in_until_the_helper_knows() -> None:
    pki = "/etc/fedlearn/dpsa/pki/dpsa-survey"
    LEADER.sh(f"cp -a {pki}-leader {pki}-stolen")

    def stolen() -> tuple[int, str]:
        return ask(LEADER, HELPER_FRONT, INNER[0], name="dpsa-survey-helper-front", trusts="leader", shows="stolen")

    try:
        status, body = stolen()
        assert (status, UNKNOWN_TASK in body) == (400, True)
        serial = LEADER.sh(f"openssl x509 -in {pki}-stolen/cert.pem -noout -serial").partition("=")[2]
        LEADER.overlay({"parties": {LEADER.name: {"pki": {"revoked": [serial]}}}})
        withdrawn = LEADER.playbook("site")
        assert withdrawn.code == 0, withdrawn.text
        assert "partners don't have clinic-a.crl.pem of public/clinic-a as it is now" in withdrawn.words
        assert UNKNOWN_TASK in stolen()[1]
        assert LEADER.playbook("exchange").code == 0
        LEADER.publish(HELPER)
        told = HELPER.playbook("site")
        assert told.code == 0, told.text
        status, body = stolen()
        assert (status, "SSL certificate error" in body) == (400, True)
        assert UNKNOWN_TASK in ask(LEADER, ("127.0.0.1", 9975), INNER[0], name="127.0.0.1:9975")[1]
        again = HELPER.playbook("site", most=12)
        assert (again.code, again.changed) == (0, 0), again.text
        assert health(HELPER) == []
    finally:
        LEADER.overlay({})
        LEADER.sh(f"rm -r {pki}-stolen")


def test_a_server_s_certificate_that_the_helper_s_party_withdrew_is_believed_until_the_leader_knows() -> None:
    front = "/etc/fedlearn/dpsa/pki/dpsa-survey-helper-front"
    HELPER.sh(f"cp -a {front} {front}-stolen")

    def shows(which: str) -> None:
        HELPER.sh(f"cp -a {front}-{which}/. {front}/ && systemctl reload nginx")

    def led() -> tuple[int, str]:
        return ask(LEADER, ("127.0.0.1", 9975), INNER[0], name="127.0.0.1:9975")

    try:
        serial = HELPER.sh(f"openssl x509 -in {front}/cert.pem -noout -serial").partition("=")[2]
        HELPER.overlay({"parties": {HELPER.name: {"pki": {"revoked": [serial]}}}})
        withdrawn = HELPER.playbook("site")
        assert withdrawn.code == 0, withdrawn.text
        HELPER.sh(f"cp -a {front} {front}-own")
        shows("stolen")
        assert UNKNOWN_TASK in led()[1]
        assert HELPER.playbook("exchange").code == 0
        HELPER.publish(LEADER)
        told = LEADER.playbook("site")
        assert told.code == 0, told.text
        assert led()[0] == 502
        shows("own")
        assert UNKNOWN_TASK in led()[1]
        again = LEADER.playbook("site", most=12)
        assert (again.code, again.changed) == (0, 0), again.text
    finally:
        HELPER.overlay({})
        HELPER.sh(f"cp -a {front}-own/. {front}/ && systemctl reload nginx && rm -r {front}-stolen {front}-own")


SEAL = r"""
import base64, os, struct, sys
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
side, task, *sealed = sys.argv[1:]
key = open(f"/var/lib/fedlearn-dpsa-survey-{side}/datastore-keys").read().strip().split(",")[0]
cipher = AESGCM(base64.urlsafe_b64decode(key + "=="))
parts = (b"tasks", bytes.fromhex(task), b"vdaf_verify_key")
bound = b"".join(struct.pack(">Q", len(part)) + part for part in parts)
if sealed:
    content = bytes.fromhex(sealed[0])
    print(cipher.decrypt(content[-12:], content[:-12], bound).decode())
else:
    nonce = os.urandom(12)
    print((cipher.encrypt(nonce, b"a secret", bound) + nonce).hex())
"""
TASK = "ab" * 32


def sealed(party: Party, *opened: str) -> str:
    """A secret of a task, sealed with the key that seals; or what is in one that is given."""
    return party.sh(f"python3 - {party.side} {TASK} {' '.join(opened)} <<'PYTHON'\n{SEAL}\nPYTHON")


def insert_sealed(party: Party) -> None:
    """A task whose secret is sealed, as the programs do it, and doubles don't."""
    rows_of(party, f"INSERT INTO tasks (task_id, vdaf_verify_key) VALUES ('\\x{TASK}', '\\x{sealed(party)}')")


def health(party: Party) -> list[Any]:
    """What isn't well of a side."""
    party.playbook("verify")
    survey = party.report("verify.json")["stacks"]["survey"]
    return [check for check in survey["checks"] if not check["passed"]]


def test_a_datastore_key_is_replaced_and_goes_when_no_row_needs_it() -> None:
    ring = "cat /var/lib/fedlearn-dpsa-survey-helper/datastore-keys"
    old = HELPER.sh(ring)
    real = not judged_as_doubles()
    if not real:  # the programs' own tasks are sealed, doubles seal nothing
        insert_sealed(HELPER)
    replaced = HELPER.playbook("rotate", "-e", "what=datastore_keys")
    assert replaced.code == 0, replaced.text
    new, *kept = HELPER.sh(ring).split(",")
    assert (kept, new in kept) == (old.split(","), False)
    refused = HELPER.playbook("rotate", "-e", "what=datastore_keys", "-e", "withdraw=true")
    assert refused.code != 0
    if not real:
        assert "1 rows open with a key only that would be withdrawn: 1 of tasks.vdaf_verify_key" in refused.words
    assert HELPER.sh(ring) == f"{new},{old}"
    assert health(HELPER) == []
    rows_of(HELPER, "DELETE FROM tasks")
    gone = HELPER.playbook("rotate", "-e", "what=datastore_keys", "-e", "withdraw=true")
    assert gone.code == 0, gone.text
    assert HELPER.sh(ring) == new
    assert health(HELPER) == []


@pytest.fixture
def drivers() -> Iterator[None]:
    """Two more of the leader on another host, while a test runs; then what ran there is pruned."""
    former = yaml.safe_load(DOCUMENT.read_text())
    document = yaml.safe_load(DOCUMENT.read_text())
    document["parties"]["clinic-a"]["hosts"][DRIVERS] = {"address": f"{NETWORK}.24", "vars": {"ansible_user": "ops"}}
    survey = document["stacks"]["survey"]
    survey["leader"]["drivers"] = {"hosts": [LEADER.host, DRIVERS], "per_host": 2}
    # many jobs, none of which waits beside another, and nobody sleeps: so who is quick can't have them all
    survey["settings"] |= {
        "aggregation_job_creator": {"max_aggregation_job_size": 1},
        "aggregation_job_driver": {"max_concurrent_job_workers": 1, "max_job_discovery_delay_secs": 1},
    }
    agree(document)
    told = LEADER.home / "group_vars" / "janus.yml"
    told.write_text("janus_log: info,janus_aggregator::binary_utils::job_driver=debug\n")
    yield
    told.unlink()
    survey["leader"], survey["settings"] = former["stacks"]["survey"]["leader"], former["stacks"]["survey"]["settings"]
    agree(document)
    pruned = LEADER.playbook("site", "-e", "fedlearn_prune=true")
    assert pruned.code == 0, pruned.text
    assert running(LEADER, DRIVERS) == set()
    agree(former)
    assert LEADER.playbook("site").code == 0


def share_the_work() -> None:
    """Each driver does some of a round's jobs."""
    with Session() as session:
        taken = session.upload(least=80)
        assert session.collect() == taken
    did = {
        f"{host} {number}": int(
            LEADER.sh(
                f"journalctl -u fedlearn-dpsa-survey-leader-aggregation-driver-{number} -o cat | grep -c 'Job stepped'"
                " || true",
                host,
            )
        )
        for host in (LEADER.host, DRIVERS)
        for number in (1, 2)
    }
    tell("drivers", {"reports": taken, "jobs": did})
    assert min(did.values()) > 0, did


def test_drivers_on_another_host_get_the_keys_and_nobody_on_the_way_reads_them(drivers: None) -> None:
    ring = "cat /var/lib/fedlearn-dpsa-survey-leader/datastore-keys"
    deployed = LEADER.playbook("site")
    assert deployed.code == 0, deployed.text
    assert running(LEADER, DRIVERS) == {"leader-aggregation-driver-1", "leader-aggregation-driver-2", "leader-tunnel"}
    assert running(LEADER) >= {"leader-aggregation-driver-1", "leader-aggregation-driver-2"}
    assert health(LEADER) == []
    again = LEADER.playbook("site")
    assert (again.code, again.changed) == (0, 0), again.text
    assert ask(LEADER, ("127.0.0.1", 9975), INNER[0], name="127.0.0.1:9975", host=DRIVERS)[0] == 400
    if not judged_as_doubles():
        share_the_work()
    old = LEADER.sh(ring)
    assert LEADER.sh(ring, DRIVERS) == old
    replaced = LEADER.playbook("rotate", "-e", "what=datastore_keys")
    assert replaced.code == 0, replaced.text
    new = LEADER.sh(ring)
    assert (new.split(",")[1:], LEADER.sh(ring, DRIVERS)) == (old.split(","), new)
    assert health(LEADER) == []
    gone = LEADER.playbook("rotate", "-e", "what=datastore_keys", "-e", "withdraw=true")
    if judged_as_doubles():
        assert gone.code == 0, gone.text
        new = new.split(",")[0]
    else:  # the rounds' tasks are sealed with the former one
        assert "of tasks.aggregator_auth_token" in gone.words
    assert LEADER.sh(ring) == LEADER.sh(ring, DRIVERS) == new
    assert health(LEADER) == []
    (laid,) = LEADER.home.glob(f".keyrings/**/{DRIVERS}.json")
    assert not [key for key in new.split(",") if key in laid.read_text()]


def test_a_database_without_an_escrow_isn_t_backed_up_in_silence() -> None:
    refused = HELPER.playbook("backup")
    assert refused.code != 0
    assert (
        "dpsa-survey-helper-aggregator: the database's backup is worth nothing without the datastore keys"
        in refused.words
    )
    assert list(HELPER.home.glob(".backups/**/*.tar")) == []
    taken = HELPER.playbook("backup", "-e", "accept_unrecoverable=true")
    assert taken.code == 0, taken.text
    assert len(list(HELPER.home.glob(".backups/b1/postgresql-*.tar"))) == 1


def in_escrow() -> Path:
    """The leader's keyring as it was kept last: a file for each state of it."""
    return max(LEADER.home.glob(".escrow/a1/dpsa-survey-leader-*.age"), key=lambda path: path.stat().st_mtime)


def out_of_escrow() -> str:
    """The leader's keyring, opened where the private half is."""
    kept = in_escrow()
    identity = (ROOM / "escrow.key").read_text()
    told = f"cat >key <<'KEY'\n{identity}KEY\nage --decrypt --identity key <<'FILE'\n{kept.read_text()}FILE\nrm key"
    return LEADER.sh(f"cd /root && {told}", CONTROLLER)


def test_keys_in_escrow_are_those_of_the_host_and_nobody_reads_them_on_the_way() -> None:
    ring = LEADER.sh("cat /var/lib/fedlearn-dpsa-survey-leader/datastore-keys")
    assert ring not in in_escrow().read_text()
    assert out_of_escrow() == ring
    taken = LEADER.playbook("backup")
    assert taken.code == 0, taken.text
    beside = LEADER.playbook("backup", "-e", f"fedlearn_backup_directory={LEADER.home / '.escrow' / 'databases'}")
    assert beside.code != 0
    assert "whoever has one isn't to have the other" in beside.words


def test_a_lost_host_comes_back_with_what_was_sealed() -> None:
    with nullcontext() if judged_as_doubles() else Session() as session:
        taken = session.upload(least=6) if session else 0
        if session:
            session.taken_up()
        else:
            insert_sealed(LEADER)
        read = "SELECT encode(task_id, 'hex'), encode(vdaf_verify_key, 'hex') FROM tasks ORDER BY task_id"
        before = rows_of(LEADER, read)
        assert before
        kept = LEADER.playbook("backup")
        assert kept.code == 0, kept.text
        lose(LEADER)
        keys = "/var/lib/fedlearn-dpsa-survey-leader/datastore-keys"
        LEADER.sh(f"install -D -m 600 /dev/stdin {keys} <<'KEYS'\n{out_of_escrow()}\nKEYS")
        deployed = LEADER.playbook("site")
        assert deployed.code == 0, deployed.text
        assert rows_of(LEADER, read) == ""
        restored = LEADER.playbook("restore", "-e", f"from={LEADER.home / '.backups'}")
        assert restored.code == 0, restored.text
        assert rows_of(LEADER, read) == before
        if session:
            found = {"taken": taken, "stored": session.stored(), "collected": session.collect()}
            tell("lost host", found)
            assert set(found.values()) == {taken}
    if judged_as_doubles():
        assert sealed(LEADER, before.split("|")[1]) == "a secret"
        rows_of(LEADER, "DELETE FROM tasks")
    else:  # the leader's manager lost the session with its host, so nobody ends it on the other side
        HELPER.sh("systemctl restart fedlearn-dpsa-survey-helper-manager")
    assert health(LEADER) == []
    assert ask(LEADER, ("127.0.0.1", 9975), INNER[0], name="127.0.0.1:9975")[0] == 400  # the helper knows its subject


def judged_as_doubles() -> bool:
    """Whether doubles stand in for the programs."""
    return not HELPER.report("verify.json")["stacks"]["survey"]["real"]


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
    """One side after the other goes."""
    gone = party.playbook("remove")
    assert gone.code == 0, gone.text
    assert party.sh("systemctl list-units --plain --no-legend 'fedlearn-*' | grep -v journald || true") == ""
    if party is HELPER:
        assert LEADER.sh("systemctl is-active fedlearn-dpsa-survey-leader-aggregator") == "active"


def test_the_leader_may_begin_too() -> None:
    """The last of these tests: both are gone, and the leader's party has nothing of the helper's, nor ever had."""
    for folder in ("public", ".exchange"):
        shutil.rmtree(LEADER.home / folder / HELPER.name)
    early = LEADER.playbook("site")
    assert early.code == 0, early.text
    assert f"party {HELPER.name}: public/{HELPER.name} isn't there" in early.words
    assert running(LEADER) >= {"leader-aggregator", "leader-database", "leader-job-creator", "leader-manager"}
    second = HELPER.playbook("site")
    assert (second.code, "waits with" in second.text) == (0, False), second.text
    assert health(HELPER) == []
    # its list of withdrawn certificates is another since it was removed
    assert HELPER.playbook("exchange").code == 0
    HELPER.publish(LEADER)
    ended = LEADER.playbook("site")
    assert (ended.code, "waits with" in ended.text) == (0, False), ended.text
    assert health(LEADER) == []
    assert ask(LEADER, ("127.0.0.1", 9975), INNER[0], name="127.0.0.1:9975")[0] == 400
