# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The deployed training: who may do what, what is no array, and how it goes on with a participant of others.

It waits for a third participant, who is played here by hand with the certificate and the login of x2.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from standing_demo import until
from training import COORDINATOR, PARTICIPANT, Rounds

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain.known_steps import answer, steps

KILLS = 20
KNOWN = list(answer([steps(index) for index in range(3)], 3, 2))
STORAGE = "fedlearn-rounds-images-storage"

OWN = """
import os
from fedlearn_xain import launching
home, pki = (f"/etc/fedlearn/rounds/{place}rounds-images-participant" for place in ("", "pki/"))
os.environ["CREDENTIALS_DIRECTORY"] = home
config = launching.read(f"{home}/launcher.json")
config["ca"] = f"{pki}/ca.pem"
config["tls"] = {"ca": config["ca"], "certificate": f"{pki}/chain.pem", "key": f"{pki}/key.pem"}
"""
"""What somebody with x2's files has, where nobody gave it credentials."""

THIRD = f"""{OWN}
from fedlearn_xain import participant
os.makedirs("/tmp/third", exist_ok=True)
config["application"]["settings"] = given["settings"]
config["state"], config["heartbeat_seconds"] = "/tmp/third", 1
participant.run(config)
print(open("/tmp/third/result.json").read())
"""

STORE = f"""{OWN}
import botocore.exceptions
from xain_sdk.config import Config
from xain_sdk.store import S3BaseClass
launching.trust(config["ca"])
storage = Config.from_unchecked_dict(launching.configuration(config)).storage
store = S3BaseClass(storage)
bucket = store.s3.Bucket(storage.bucket)
def tried(call):
    try:
        call()
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    return "done"
"""

MAY = f"""{STORE}
own = "0/0a0a0a0a-0000-4000-8000-000000000000"
print(json.dumps({{
    "put weights": tried(lambda: bucket.put_object(Key=own, Body=b"x")),
    "get weights": tried(lambda: store.s3.Object(bucket.name, own).get()),
    "get a global model": tried(lambda: store.s3.Object(bucket.name, "0/global").get()),
    "put a global model": tried(lambda: bucket.put_object(Key="0/global", Body=b"x")),
    "list": tried(lambda: list(bucket.objects.all())),
    "delete": tried(lambda: store.s3.Object(bucket.name, own).delete()),
    "another bucket": tried(lambda: store.s3.Object(bucket.name + "-verify", "0/global").get()),
}}))
"""

EVIL = f"""{STORE}
import pickle, uuid, grpc
from xain_proto.fl.coordinator_pb2 import EndTrainingRoundRequest, HeartbeatRequest, RendezvousRequest
from xain_proto.fl.coordinator_pb2_grpc import CoordinatorStub
class Evil:
    def __reduce__(self):
        return os.system, ("touch /run/{COORDINATOR}/was-here",)
import numpy
bodies = {{
    "code": pickle.dumps(Evil()),
    "objects": pickle.dumps(numpy.array([1, "two"], dtype=object)),
    "text": b"no pickle",
    "more than it brings": pickle.dumps(numpy.zeros(9)).replace(b"K\\x09", b"K\\x7f"),
    "large": pickle.dumps(numpy.zeros(30_000_000)),
}}
tls = config["tls"]
shown = [open(tls[name], "rb").read() for name in ("ca", "key", "certificate")]
place = config["configuration"]["coordinator"]
channel = grpc.secure_channel(f"{{place['host']}}:{{place['port']}}", grpc.ssl_channel_credentials(*shown))
stub, found = CoordinatorStub(channel), {{}}
def ended(**request):
    try:
        stub.EndTrainingRound(EndTrainingRoundRequest(number_samples=1, metrics="[]", **request))
    except grpc.RpcError as error:
        return error.code().name
    return "taken"
found["unknown"] = ended(participant_id=str(uuid.uuid4()))
found["reply"] = stub.Rendezvous(RendezvousRequest()).reply
for name, body in bodies.items():
    key = str(uuid.uuid4())
    bucket.put_object(Key=f"0/{{key}}", Body=body)
    found[name] = ended(participant_id=key)
    stub.Heartbeat(HeartbeatRequest())
found["a global model"] = ended(participant_id="global")
print(json.dumps(found))
"""


def result(rounds: Rounds, host: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(rounds.run(host, f"cat /var/lib/{PARTICIPANT}/result.json"))
    return found


def training(rounds: Rounds) -> str:
    return rounds.run("x1", f"cat /run/{COORDINATOR}/training 2>/dev/null || true").strip()


def complete(rounds: Rounds) -> None:
    """An honest third completes the training, and all three end with the exact numbers."""
    own = rounds.python("x2", THIRD, settings=steps(2))
    assert own["values"] == pytest.approx(KNOWN, abs=1e-9)
    for host in ("x2", "x3"):
        rounds.run(host, f"for i in $(seq 60); do test -e /var/lib/{PARTICIPANT}/result.json && break; sleep 1; done")
        assert result(rounds, host)["values"] == pytest.approx(KNOWN, abs=1e-9)
    assert training(rounds) == ""


def test_participants_put_weights_and_get_global_models_and_nothing_else(rounds: Rounds) -> None:
    assert rounds.python("x2", MAY) == {
        "put weights": "done",
        "get weights": "AccessDenied",
        "get a global model": "done",
        "put a global model": "AccessDenied",
        "list": "AccessDenied",
        "delete": "AccessDenied",
        "another bucket": "AccessDenied",
    }


def test_what_is_no_array_is_refused_and_nothing_of_it_runs(rounds: Rounds) -> None:
    found = rounds.python("x2", EVIL)
    assert found.pop("reply") == 0  # accepted: it is a participant, by its certificate
    assert found.pop("unknown") == "PERMISSION_DENIED"
    assert set(found.values()) == {"UNKNOWN"}, found
    assert rounds.run("x1", f"ls /run/{COORDINATOR} | grep -c was-here || true").strip() == "0"
    assert rounds.pid("x1", COORDINATOR) > 0


def test_participants_come_back_to_a_coordinator_that_was_killed(rounds: Rounds) -> None:
    rounds.run("x1", f"systemctl kill -s KILL {COORDINATOR}; sleep 30")
    log = rounds.run("x1", f"journalctl -o cat --no-pager _PID={rounds.pid('x1', COORDINATOR)}")
    assert log.count("Accepted participant") >= 2, log
    for host in ("x2", "x3"):
        assert rounds.run(host, f"systemctl is-active {PARTICIPANT}").strip() == "active"


def test_an_honest_third_completes_the_training_with_exact_numbers(rounds: Rounds) -> None:
    complete(rounds)


def test_who_comes_after_the_end_is_told_so_and_begins_nothing(rounds: Rounds) -> None:
    before = rounds.pid("x1", COORDINATOR)
    rounds.run("x1", "sleep 20")  # until those that took part are no longer known
    again = rounds.python("x2", THIRD, settings={**steps(2), "step": [100.0, 100.0, 100.0]})
    assert again["values"] == pytest.approx(KNOWN, abs=1e-9)
    assert (training(rounds), rounds.pid("x1", COORDINATOR)) == ("", before)


def test_who_is_no_host_of_the_document_takes_part_by_a_kit(rounds: Rounds, tmp_path: Path) -> None:
    """By what its README says; as the third, whose numbers are known, it completes the training."""
    rounds.anew()
    login, take_part = rounds.kit(tmp_path)
    assert "cat >credentials/storage.password" in login
    password = rounds.password("x2", "rounds-images-participant")
    typed = login.replace("cat >", "cat <<'END-OF-PASSWORD' >")
    rounds.run("x1", f"cd /root/kit\n{typed}{password}\nEND-OF-PASSWORD\n{take_part}")
    found = json.loads(rounds.run("x1", "cat /root/kit/state/result.json"))
    assert found["values"] == pytest.approx(KNOWN, abs=1e-9)


def test_twenty_kills_are_healed(rounds: Rounds) -> None:
    """Coordinator, store, nginx and participants in turn; then a training is as if nobody had been killed."""

    def well() -> bool:
        running = [rounds.run(host, f"systemctl is-active {PARTICIPANT} || true") for host in ("x2", "x3")]
        ports = [rounds.run("x1", f"ss -Hltn 'sport = :{port}'") for port in (443, 9000, 50050)]
        return running == ["active\n"] * 2 and all(ports)

    def becomes_well() -> None:
        assert until(120, well, bool) is True

    rounds.anew()
    becomes_well()
    units = (("x1", COORDINATOR), ("x1", STORAGE), ("x2", PARTICIPANT), ("x1", "nginx"), ("x3", PARTICIPANT))
    rounds.kill(KILLS, units, becomes_well)
    assert rounds.playbook("fedlearn.infra.status").returncode == 0
    rounds.anew()
    complete(rounds)
