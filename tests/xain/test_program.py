# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The launchers' own parts, in the hosts' environment: arrays out of pickles, and messages in their turn."""

from __future__ import annotations

from training import Rounds

ARRAYS = """
import pickle, numpy
from fedlearn_xain import arrays
made = numpy.random.default_rng(given["seed"])
for number in range(300):
    kind = made.choice(["<f8", "<f4", "<i8", "|i1", "<u2", "|b1"])
    shape = tuple(made.integers(0, 5, size=made.integers(0, 4)))
    array = numpy.array(made.standard_normal(shape) * 100).astype(kind)
    if made.integers(2):
        array = numpy.asfortranarray(array)
    found = arrays.loads(pickle.dumps(array, int(made.integers(3, 6))))
    assert found.dtype == array.dtype and found.shape == array.shape and (found == array).all(), (kind, shape)

class Calls:
    def __init__(self, named, *arguments):
        self.named, self.arguments = named, arguments
    def __reduce__(self):
        return self.named, self.arguments

import builtins, os, subprocess
refused = {}
for name, value in {
    "os": Calls(os.system, "true"), "eval": Calls(eval, "1"), "subprocess": Calls(subprocess.call, ["true"]),
    "numpy.load": Calls(numpy.load, "/etc/passwd"), "claims": Calls(numpy.ndarray, (10**9,)),
    "objects": numpy.array([{}], dtype=object), "text": numpy.array(["a"]), "list": [1.0], "nothing": None,
    "inside": [numpy.zeros(3), Calls(os.system, "true")],
}.items():
    try:
        arrays.loads(pickle.dumps(value))
    except arrays.NoArrayError as error:
        refused[name] = str(error)
print(json.dumps(refused))
"""

STORE = """
import io, pickle, threading, time, types, uuid, numpy
from fedlearn_xain.coordinator import Steady
from xain_fl.coordinator.participants import Participants
from xain_proto.fl.coordinator_pb2 import EndTrainingRoundRequest, HeartbeatRequest, RendezvousRequest, State

written, noted, sent = [], [], [numpy.ones(2)]
def got():
    body = pickle.dumps(sent[0])
    return {"ContentLength": len(body), "Body": io.BytesIO(body)}
store = types.SimpleNamespace(Object=lambda bucket, key: types.SimpleNamespace(get=got))
reader = types.SimpleNamespace(config=types.SimpleNamespace(bucket="b"), s3=store)
writer = types.SimpleNamespace(write_weights=lambda round, weights: written.append(round))
"""

SPOILT = f"""{STORE}
steady = Steady(
    reader=reader, most=10**6, note=noted.append, global_weights_writer=writer, num_rounds=2,
    minimum_participants_in_round=2, participants=Participants(),
)
[steady.on_message(RendezvousRequest(), name) for name in "ab"]
[steady.on_message(HeartbeatRequest(), name) for name in "ab"]
said = []
def ends(name, weights, samples=1):
    sent[0] = weights
    done = EndTrainingRoundRequest(participant_id=str(uuid.uuid4()), number_samples=samples, metrics="[]")
    try:
        steady.on_message(done, name)
    except Exception as error:
        said.append(str(error))
    else:
        said.append("taken")
ends("a", numpy.ones(2))
ends("b", numpy.ones(3))
ends("b", numpy.array([1, numpy.nan]))
ends("b", numpy.ones(2), -1)
ends("b", 3 * numpy.ones(2))
ends("a", numpy.ones(()))
ends("a", numpy.zeros(2))
ends("b", numpy.zeros(2))
print(json.dumps({{"said": said, "written": written, "model": steady.weights.tolist()}}))
"""
"""In two rounds, by two participants."""

TURNS = f"""{STORE}
# figures are written between a participant's end and the question whether all have ended
metrics = types.SimpleNamespace(
    write_metrics=lambda *_: None, write_received_participant_metrics=lambda _: time.sleep(0.005)
)
rounds, many = given["rounds"], given["participants"]
steady = Steady(
    reader=reader, most=10**6, note=noted.append, global_weights_writer=writer, num_rounds=rounds,
    minimum_participants_in_round=many, participants=Participants(), metrics_store=metrics,
)
gate = threading.Barrier(many)

def take_part(name):
    steady.on_message(RendezvousRequest(), name)
    for number in range(rounds):
        while True:
            told = steady.on_message(HeartbeatRequest(), name)
            if told.state == State.ROUND and told.round == number:
                break
        gate.wait()
        done = EndTrainingRoundRequest(participant_id=str(uuid.uuid4()), number_samples=1, metrics="[1]")
        steady.on_message(done, name)

threads = [threading.Thread(target=take_part, args=(f"p{{index}}",), daemon=True) for index in range(many)]
[thread.start() for thread in threads]
end = time.monotonic() + 60
[thread.join(max(0, end - time.monotonic())) for thread in threads]
late = steady.on_message(RendezvousRequest(), "late")
over = steady.on_message(HeartbeatRequest(), "p0").state == State.FINISHED
# those that were there go, and as many others come
[steady.remove_participant(f"p{{index}}") for index in range(many)]
[steady.on_message(RendezvousRequest(), f"q{{index}}") for index in range(many)]
still = {{steady.on_message(HeartbeatRequest(), f"q{{index}}").state for index in range(many)}} == {{State.FINISHED}}
print(json.dumps({{"written": written, "over": over and still, "noted": [noted[0], noted[-1]],
                  "during": sorted({{one for one in noted if one}})[:1]}}))
"""


def test_arrays_come_out_as_they_went_in_and_nothing_else_comes_out(rounds: Rounds) -> None:
    refused = rounds.python("x1", ARRAYS, seed=20261128)
    assert set(refused) == {
        "os",
        "eval",
        "subprocess",
        "numpy.load",
        "claims",
        "objects",
        "text",
        "list",
        "nothing",
        "inside",
    }
    for name in ("os", "eval", "subprocess", "numpy.load", "inside"):
        assert "which no array needs" in refused[name]


def test_weights_that_would_spoil_a_round_are_refused_and_the_round_goes_on(rounds: Rounds) -> None:
    """The program itself would take numbers that are none, and never end a round whose weights can't be added."""
    assert rounds.python("x1", SPOILT) == {
        "said": [
            "taken",
            "weights of (3,), and the model's are of (2,)",
            "it has numbers in it that are none, or infinite",
            "-1 samples are none",
            "taken",
            "weights of (), and the model's are of (2,)",
            "taken",
            "taken",
        ],
        "written": [0, 1, 2],
        "model": [0.0, 0.0],
    }


def test_participants_that_end_together_begin_each_round_once(rounds: Rounds) -> None:
    """The program by itself counts a round twice then; a participant that comes late begins nothing anew."""
    found = rounds.python("x1", TURNS, rounds=40, participants=8)
    assert found["written"] == list(range(41))
    assert found["over"] is True
    assert found["noted"] == [None, None]
    assert found["during"] == ["round 1 of 40"]
