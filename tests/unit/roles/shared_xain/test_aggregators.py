# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A round's model is the mean, or the sum, of exactly what was sent in it, whatever came before and whatever failed."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

FILES = Path(__file__).resolve().parents[4] / "roles" / "shared_xain" / "files"
KINDS = ("float32", "float64", "int32", "int64")

numbers = st.integers(-1000, 1000)
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


@st.composite
def rounds(draw: st.DrawFn) -> list[tuple[int, numpy.ndarray]]:
    """What participants of a round send: arrays of one shape and type, each with its samples."""
    shape, kind = draw(shapes), draw(st.sampled_from(KINDS))
    size = int(numpy.prod(shape))
    each = st.lists(numbers, min_size=size, max_size=size).map(lambda one: numpy.array(one, kind).reshape(shape))
    return draw(st.lists(st.tuples(st.integers(1, 2**32 - 1), each), min_size=1, max_size=5))


@pytest.fixture(scope="module")
def package() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FILES))
        names = ("messages", "weighted_average", "model_sum", "summing")
        yield {name: importlib.import_module(f"xain_aggregators.{name}") for name in names}


def model(aggregator: Any) -> numpy.ndarray:
    found = aggregator.aggregate()
    assert isinstance(found, bytes)
    return numpy.load(io.BytesIO(found), allow_pickle=False)


def send(aggregator: Any, messages: Any, sent: list[tuple[int, numpy.ndarray]]) -> None:
    assert [aggregator.add_weights(messages.written(*one)) for one in sent] == [True] * len(sent)


@given(sent=rounds(), after=rounds())
def test_the_mean_is_of_one_round_and_weighted_by_samples(package: Any, sent: Any, after: Any) -> None:
    aggregator = package["weighted_average"].Aggregator()
    for each in (sent, after):
        send(aggregator, package["messages"], each)
        found = model(aggregator)
        samples, arrays = [one[0] for one in each], [one[1].astype(float) for one in each]
        expected = numpy.average(arrays, axis=0, weights=samples)
        assert found.shape == each[0][1].shape
        assert found.dtype == (each[0][1].dtype if each[0][1].dtype.kind == "f" else numpy.float64)
        numpy.testing.assert_allclose(found, expected, rtol=1e-6 if found.dtype == numpy.float32 else 1e-12, atol=1e-3)


@given(sent=rounds(), order=st.randoms())
def test_the_sum_is_exact_and_knows_no_order(package: Any, sent: Any, order: Any) -> None:
    expected = sum(one[1].astype(int) for one in sent)
    mixed = list(sent)
    order.shuffle(mixed)
    aggregator = package["model_sum"].Aggregator()
    send(aggregator, package["messages"], mixed)
    assert (model(aggregator) == expected).all()


@given(samples=st.integers(1, 2**32 - 1), sent=rounds())
def test_messages_are_read_as_they_were_written(package: Any, samples: int, sent: Any) -> None:
    found = package["messages"].read(package["messages"].written(samples, sent[0][1]))
    assert found[0] == samples
    assert found[1].dtype == sent[0][1].dtype
    assert (found[1] == sent[0][1]).all()


@given(junk=st.binary(max_size=200))
def test_whatever_is_no_message_is_refused_and_leaves_the_round_alone(package: Any, junk: bytes) -> None:
    messages, aggregator = package["messages"], package["weighted_average"].Aggregator()
    send(aggregator, messages, [(10, numpy.array([1.0, 2.0]))])
    assert aggregator.add_weights(junk) is False
    assert model(aggregator).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("samples", "array", "why"),
    [
        (0, [1.0, 2.0], "there were no samples"),
        (1, [1.0, float("nan")], "that are none, or infinite"),
        (1, [float("inf"), 1.0], "that are none, or infinite"),
        (1, [1.0, 2.0, 3.0], r"its array is float64 of (3,), and the first of the round's was float64 of (2,)"),
        (1, ["a", "b"], "no array of numbers"),
        (1, [True, False], "no array of numbers"),
    ],
)
def test_weights_that_would_spoil_a_model_are_refused_with_the_reason(
    package: Any, capsys: pytest.CaptureFixture[str], samples: int, array: Any, why: str
) -> None:
    messages, aggregator = package["messages"], package["weighted_average"].Aggregator()
    send(aggregator, messages, [(10, numpy.array([1.0, 2.0]))])
    assert aggregator.add_weights(messages.written(samples, numpy.array(array))) is False
    assert why in capsys.readouterr().err
    assert model(aggregator).tolist() == [1.0, 2.0]


def test_pickles_are_never_read(package: Any) -> None:
    file = io.BytesIO()
    numpy.save(file, numpy.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert package["weighted_average"].Aggregator().add_weights(b"\0\0\0\1" + file.getvalue()) is False


def test_a_round_that_failed_leaves_no_weights_behind(package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    messages, aggregator = package["messages"], package["weighted_average"].Aggregator()
    send(aggregator, messages, [(10, numpy.array([1.0]))])
    with monkeypatch.context() as patch:
        patch.setattr(package["messages"], "alone", lambda _array: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            aggregator.aggregate()
    with pytest.raises(RuntimeError, match="nobody's weights have come"):
        aggregator.aggregate()
    send(aggregator, messages, [(10, numpy.array([4.0]))])
    assert model(aggregator).tolist() == [4.0]


@given(sent=rounds())
def test_what_a_message_holds_is_not_changed(package: Any, sent: Any) -> None:
    data = package["messages"].written(*sent[0])
    before = bytes(data)
    for name in ("weighted_average", "model_sum"):
        package[name].Aggregator().add_weights(data)
    assert data == before
