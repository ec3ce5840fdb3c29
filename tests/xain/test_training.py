# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The deployed training: who may do what, what is no array, and how it goes on with a participant of others.

It waits for a third participant, who is played here by hand with the certificate and the login of x2.
"""

from __future__ import annotations

import pytest
from by_hand import OWN_OF_IMAGES, THIRD_OF_IMAGES
from training import COORDINATOR, KNOWN, PARTICIPANT, Rounds

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain.known_steps import steps

STORE = f"""{OWN_OF_IMAGES}
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
    rounds.complete()


def test_who_comes_after_the_end_is_told_so_and_begins_nothing(rounds: Rounds) -> None:
    before = rounds.pid("x1", COORDINATOR)
    rounds.run("x1", "sleep 20")  # until those that took part are no longer known
    again = rounds.python("x2", THIRD_OF_IMAGES, settings={**steps(2), "step": [100.0, 100.0, 100.0]})
    assert again["values"] == pytest.approx(KNOWN, abs=1e-9)
    assert (rounds.training(), rounds.pid("x1", COORDINATOR)) == ("", before)
