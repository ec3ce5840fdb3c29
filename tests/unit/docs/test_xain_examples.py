# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/examples/xain: house prices are learned as from all data together, and a liar moves no median."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
PARTICIPANTS = [40, 60, 80, 100, 120, 140, 160, 180, 200, 220]
ROUNDS = 60


for folder in ("tests/support", "roles/shared_xain/files"):
    sys.path.append(str(CHECKOUT / folder))
from houses_data import example, split_data  # noqa: E402 - found by the lines above
from xain_aggregators.weighted_average import Aggregator  # noqa: E402 - likewise


def trained(participants: list[Any], aggregator: Any, rounds: int = ROUNDS) -> numpy.ndarray:
    """The model of a training, by what the programs call."""
    model = b""
    for _round in range(rounds):
        for one in participants:
            weights = one.train_round(one.deserialize_training_input(model))
            assert aggregator.add_weights(one.serialize_training_result(weights))
        model = aggregator.aggregate()
    found: numpy.ndarray = numpy.load(io.BytesIO(model))
    return found


def test_ten_participants_learn_what_all_their_data_together_teach(tmp_path: Path) -> None:
    houses, texts = example("houses"), split_data(PARTICIPANTS)
    together = [texts[0], *(text.partition("\n")[2] for text in texts[1:])]
    paths = [tmp_path / f"{number}.csv" for number in range(len(texts) + 1)]
    for path, text in zip(paths, [*texts, "".join(together)], strict=True):
        path.write_text(text, newline="")
    each = [houses.Houses({"data": str(path)}) for path in paths]
    model = trained(each[:-1], Aggregator())
    assert model == pytest.approx(trained(each[-1:], Aggregator()), abs=1e-9)
    # what is still to be learned, or noise, is small beside what prices differ by
    told = each[-1].result()
    assert told["samples"] == sum(PARTICIPANTS)
    assert told["error"] < each[-1].prices.std() * houses.PRICES_IN / 4
    # of a participant's own alone another one comes
    alone = trained(each[:1], Aggregator())
    assert numpy.abs(alone - model).max() > 0.01


def test_a_liar_moves_no_median() -> None:
    median = example("medians").Median()

    def send(*values: float) -> bool:
        file = io.BytesIO()
        numpy.save(file, numpy.array(values))
        return bool(median.add_weights(b"\0\0\0\1" + file.getvalue()))

    assert [send(1.0, 2.0), send(1.5, 2.5), send(1e9, -1e9)] == [True] * 3
    assert [send(float("nan"), 1.0), send(1.0), median.add_weights(b"junk")] == [False] * 3
    # one that says that it is large, and one whose header would end the interpreter
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n"
    for version, told in (
        (b"\1\0", len(header).to_bytes(2, "little") + header),
        (b"\2\0", (10**6).to_bytes(4, "little") + b"-" * 10**6),
    ):
        assert median.add_weights(b"\0\0\0\1\x93NUMPY" + version + told) is False
    assert numpy.load(io.BytesIO(median.aggregate())).tolist() == [1.5, 2.0]
    with pytest.raises(ValueError):
        median.aggregate()
    assert send(1.0, 2.0)
