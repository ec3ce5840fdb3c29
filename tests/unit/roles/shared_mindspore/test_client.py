# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a worker uploads, weighed, is its weights times its number of samples, whatever went wrong before.

`Double` stands for the program's client and repeats what it was read to do (ccsrc/worker/kernel of 0.1.0).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "roles" / "shared_mindspore" / "files"))

from fedlearn_mindspore.client import Client, NotTakenInError

SERVERS_AWAY, TAKEN_IN = False, True


class Double:
    """Knows the samples of the last startFLJob that was answered; weighs with those of its first upload."""

    def __init__(self, divides: bool = False) -> None:
        self.answers = TAKEN_IN
        self.known = 0
        self.weighs_with: int | None = None
        self.divides = divides
        self.uploaded: dict[str, list[float]] = {}

    def __call__(self) -> int:
        return self.known

    def forget(self) -> None:
        self.known = 0

    def start_fl_job(self, samples: int) -> dict[str, object]:
        if self.answers:
            self.known = samples
        return {}

    def update_and_get_model(self, weights: Mapping[str, Sequence[float]]) -> dict[str, object]:
        self.weighs_with = self.known if self.weighs_with is None else self.weighs_with
        by = 1 / self.weighs_with if self.divides else self.weighs_with
        self.uploaded = {name: [value * by for value in values] for name, values in weights.items()}
        return dict(weights)


def client(program: Double, aggregation: str = "FedAvg") -> Client:
    return Client(program, program, lambda: aggregation)


def test_nothing_is_uploaded_before_a_server_has_answered() -> None:
    program = Double()
    program.answers = SERVERS_AWAY
    worker = client(program)
    with pytest.raises(NotTakenInError, match="no server answered startFLJob"):
        worker.start_fl_job(64)
    with pytest.raises(NotTakenInError, match="no server has taken this worker"):
        worker.update_and_get_model({"w": [1.0]})
    program.answers = TAKEN_IN
    worker.start_fl_job(64)
    worker.update_and_get_model({"w": [1.0, -2.0]})
    assert program.uploaded == {"w": [64.0, -128.0]}


def test_an_answer_of_a_former_iteration_is_none() -> None:
    program = Double()
    worker = client(program)
    worker.start_fl_job(64)
    worker.update_and_get_model({"w": [1.0]})
    program.answers = SERVERS_AWAY
    with pytest.raises(NotTakenInError):
        worker.start_fl_job(64)


@pytest.mark.parametrize("counts", [[64, 32, 128], [1, 65535], [3, 3, 7]])
def test_samples_that_change_are_weighed_as_they_are(counts: list[int]) -> None:
    program = Double()
    worker = client(program)
    for samples in counts:
        worker.start_fl_job(samples)
        worker.update_and_get_model({"w": [0.5]})
        assert program.uploaded["w"] == [pytest.approx(0.5 * samples)]


def test_fednova_divides_by_the_samples_of_now() -> None:
    program = Double(divides=True)
    worker = client(program, "FedNova")
    for samples in (40, 10):
        worker.start_fl_job(samples)
        worker.update_and_get_model({"w": [4.0]})
        assert program.uploaded["w"] == [pytest.approx(4.0 / samples)]


def test_scaffolds_control_variates_are_not_weighed() -> None:
    program = Double()
    worker = client(program, "Scaffold")
    for samples in (2, 4):
        worker.start_fl_job(samples)
        given = worker.update_and_get_model({"w": [1.0], "control.w": [1.0]})
        assert given["control.w"] == [1.0]


@pytest.mark.parametrize("samples", [0, -1, 65536])
def test_a_number_of_samples_that_no_server_takes_is_told(samples: int) -> None:
    with pytest.raises(SystemExit, match=f"{samples} samples: servers take 1 to 65535 of a worker"):
        client(Double()).start_fl_job(samples)


def test_everything_else_is_the_programs() -> None:
    program = Double()
    assert client(program).known == program.known
