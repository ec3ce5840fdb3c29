# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A round's model is the mean, or the sum, of exactly what was sent in it, whatever came before and whatever failed."""

from __future__ import annotations

import importlib
import io
import tracemalloc
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

FILES = Path(__file__).resolve().parents[4] / "roles" / "shared_xain" / "files"
KINDS = ("float32", "float64", ">f8", "int16", "int32", "int64")

numbers = st.integers(-1000, 1000)
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


Round = list[tuple[int, numpy.ndarray]]


@st.composite
def rounds(draw: st.DrawFn, shape: tuple[int, ...] = (), kind: str = "") -> Round:
    """What participants of a round send: arrays of one shape and type, each with its samples."""
    shape, kind = shape or draw(shapes), kind or draw(st.sampled_from(KINDS))
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


@given(both=st.tuples(shapes, st.sampled_from(KINDS)).flatmap(lambda one: st.tuples(rounds(*one), rounds(*one))))
def test_the_mean_is_of_one_round_and_weighted_by_samples(package: Any, both: tuple[Round, Round]) -> None:
    aggregator = package["weighted_average"].Aggregator()
    for each in both:
        send(aggregator, package["messages"], each)
        found = model(aggregator)
        samples, arrays = [one[0] for one in each], [one[1].astype(float) for one in each]
        expected = numpy.average(arrays, axis=0, weights=samples)
        assert found.shape == each[0][1].shape
        sent = each[0][1].dtype.newbyteorder("=")
        assert found.dtype == (sent if sent.kind == "f" else numpy.float32 if sent.itemsize == 2 else numpy.float64)
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


@pytest.mark.parametrize("text", ["-" * 100_000 + "1", "1+" * 100_000 + "1", "(" * 100_000])
def test_a_header_that_would_end_the_interpreter_is_not_parsed(
    package: Any, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """numpy has Python parse it, and Python's parser overflows its stack."""
    header = b"\x93NUMPY\x02\x00" + (len(text) + 1).to_bytes(4, "little") + text.encode() + b"\n"
    assert package["weighted_average"].Aggregator().add_weights(b"\0\0\0\1" + header) is False
    assert "its array has a header of more than 1000 bytes" in capsys.readouterr().err


def with_header(shape: str, kind: Any) -> bytes:
    """A message whose array has this header, and three numbers."""
    header = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    start = b"\0\0\0\1\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    return start + header + numpy.arange(3.0).tobytes()


@pytest.mark.parametrize(
    ("shape", "kind", "taken"),
    [
        ("(3,)", "<f8", True),
        ("(3,)", ">f8", True),
        ("()", "<f8", True),
        ("(0,)", "<f8", False),
        ("(0, 100000000000000)", "<f8", False),
        ("(-3, -1)", "<f8", False),
        ("(4,)", "<f8", False),
        ("(100000000000000,)", "<f8", False),
        ("(3,)", "|O", False),
        ("(3,)", "<U2", False),
        ("(3,)", [("x", "<f8")], False),
    ],
)
def test_arrays_are_as_large_as_what_was_sent(package: Any, shape: str, kind: Any, taken: bool) -> None:
    assert package["model_sum"].Aggregator().add_weights(with_header(shape, kind)) is taken


@given(sent=rounds())
def test_arrays_by_columns_are_the_same(package: Any, sent: Round) -> None:
    samples, array = sent[0]
    found = package["messages"].read(package["messages"].written(samples, numpy.asfortranarray(array)))
    assert (found[1] == array).all()


HALF = 2**62


@pytest.mark.parametrize(
    ("name", "sent", "left"),
    [
        ("model_sum", [(1, numpy.array([2**63 + 5], "uint64"))], None),
        ("model_sum", [(1, numpy.array([HALF])), (1, numpy.array([HALF]))], HALF),
        ("model_sum", [(1, numpy.array([-HALF])), (1, numpy.array([-HALF - 1]))], -HALF),
        ("model_sum", [(1, numpy.array([2**63 - 1], "uint64")), (1, numpy.array([1], "uint64"))], 2**63 - 1),
        ("model_sum", [(1, numpy.array([60000], "float16")), (1, numpy.array([60000], "float16"))], 60000),
        ("model_sum", [(1, numpy.array([1.7e308])), (1, numpy.array([1.7e308]))], 1.7e308),
        ("weighted_average", [(2**32 - 1, numpy.array([1e308]))], None),
        ("weighted_average", [(1, numpy.array([1e308])), (1, numpy.array([1e308]))], 1e308),
    ],
)
def test_what_would_make_a_sum_too_large_is_refused_and_the_rest_counts(
    package: Any, capsys: pytest.CaptureFixture[str], name: str, sent: Round, left: float | None
) -> None:
    messages, aggregator = package["messages"], package[name].Aggregator()
    send(aggregator, messages, sent[:-1])
    assert aggregator.add_weights(messages.written(*sent[-1])) is False
    assert "with its array the round's sum were beyond" in capsys.readouterr().err
    if left is not None:
        assert model(aggregator).tolist() == [left]


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int64", "uint64"])
def test_what_a_type_holds_is_taken(package: Any, kind: str) -> None:
    most = numpy.finfo(kind).max if kind.startswith("f") else 2**63 - 1
    sent = numpy.array([most], kind)
    for name in ("model_sum", "weighted_average"):
        aggregator = package[name].Aggregator()
        send(aggregator, package["messages"], [(1, sent)])
        assert (model(aggregator) == sent).all()


@given(
    sent=st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3), min_size=1, max_size=5),
)
def test_a_sum_is_refused_only_where_one_of_its_numbers_does_not_fit(package: Any, sent: list[list[int]]) -> None:
    aggregator, expected = package["model_sum"].Aggregator(), [0, 0, 0]
    for one in sent:
        total = [left + right for left, right in zip(expected, one, strict=True)]
        fits = all(-(2**63) <= number < 2**63 for number in total)
        assert aggregator.add_weights(package["messages"].written(1, numpy.array(one, "int64"))) is fits
        expected = total if fits else expected
    if aggregator._sums:
        assert model(aggregator).tolist() == expected


def test_numbers_count_in_all_blocks_and_a_refusal_in_the_last_one_changes_none(package: Any) -> None:
    messages, aggregator = package["messages"], package["model_sum"].Aggregator()
    many = numpy.arange(3 * messages.BLOCK + 7).reshape(-1, 1)
    send(aggregator, messages, [(1, many), (1, numpy.asfortranarray(many))])
    beyond = many.copy()
    beyond[-1] = 2**63 - 1
    assert aggregator.add_weights(messages.written(1, beyond)) is False
    assert (model(aggregator) == 2 * many).all()


def kinds(*arrays: Any) -> Round:
    return [(10, numpy.array(array)) for array in arrays]


@pytest.mark.parametrize("odd", [[5.0, 5.0, 5.0], numpy.array([5.0, 5.0], "float32"), [5, 5], 5.0], ids=str)
@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_single_one_of_another_kind_spoils_no_first_round(
    package: Any, capsys: pytest.CaptureFixture[str], odd: Any, at: int
) -> None:
    aggregator = package["weighted_average"].Aggregator()
    sent = kinds([1.0, 2.0], [3.0, 4.0], [2.0, 3.0])
    send(aggregator, package["messages"], [*sent[:at], *kinds(odd), *sent[at:]])
    found = model(aggregator)
    assert (found.dtype, found.tolist()) == (numpy.float64, [2.0, 3.0])
    assert f"weights don't count: 1 sent {numpy.array(odd).dtype} of " in capsys.readouterr().err


def test_where_as_many_sent_two_kinds_the_first_counts_and_a_third_has_no_room(
    package: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    messages, aggregator = package["messages"], package["weighted_average"].Aggregator()
    send(aggregator, messages, kinds([1.0], [2.0, 3.0]))
    assert aggregator.add_weights(messages.written(1, numpy.array(1.0))) is False
    told = "its array is float64 of (), and others' of the round float64 of (1,) and float64 of (2,)"
    assert told in capsys.readouterr().err
    assert model(aggregator).tolist() == [1.0]


@pytest.mark.parametrize(
    ("first", "then", "refused"),
    [
        ([1.0, 2.0], [[3.0, 4.0]], [[3, 4], [3.0], numpy.array([3, 4], "float32")]),
        # who began with whole numbers goes on with what the model is, or as before
        ([1, 2], [[3.0, 4.0], [3, 4]], [numpy.array([3, 4], "float32"), [3]]),
    ],
)
def test_a_later_round_s_weights_are_as_the_last_model_was(
    package: Any, capsys: pytest.CaptureFixture[str], first: Any, then: list[Any], refused: list[Any]
) -> None:
    for good in then:
        messages, aggregator = package["messages"], package["weighted_average"].Aggregator()
        send(aggregator, messages, kinds(first))
        model(aggregator)
        assert [aggregator.add_weights(messages.written(*one)) for one in kinds(*refused)] == [False] * len(refused)
        assert "and the last model's " in capsys.readouterr().err
        send(aggregator, messages, kinds(good))
        assert model(aggregator).tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    ("name", "kind", "bytes_each"),
    [("weighted_average", kind, size) for kind, size in (("int8", 4), ("uint16", 4), ("int32", 8), ("float16", 2))]
    + [("model_sum", "int8", 8), ("model_sum", "float32", 4)],
)
def test_no_model_is_larger_than_was_said(
    package: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: str,
    bytes_each: int,
) -> None:
    monkeypatch.setenv("FEDLEARN_MODEL_MEGABYTES", "1")
    messages, most = package["messages"], 2**20 // bytes_each
    larger, fits = package[name].Aggregator(), package[name].Aggregator()
    assert larger.add_weights(messages.written(1, numpy.ones(most + 1, kind))) is False
    assert "MB: more than max_model_size, 1" in capsys.readouterr().err
    send(fits, messages, [(1, numpy.ones(most, kind))])
    found = model(fits)
    assert (found.nbytes, found.astype(float).sum()) == (2**20, most)


@pytest.mark.parametrize("name", ["weighted_average", "model_sum"])
@pytest.mark.parametrize("kind", ["int8", "float16", "float32", "float64"])
def test_of_what_is_sent_nothing_but_the_sum_and_the_model_is_made(package: Any, name: str, kind: str) -> None:
    """As numpy reports its arrays to tracemalloc, and Python its bytes."""
    numbers = 2**20
    messages, aggregator = package["messages"], package[name].Aggregator()
    sent = messages.written(1, numpy.ones(numbers, kind))
    tracemalloc.start()
    try:
        for _participant in range(5):
            assert aggregator.add_weights(sent)
        summing = tracemalloc.get_traced_memory()[1]
        made = aggregator.aggregate()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    some = 12 * 8 * messages.BLOCK
    assert summing < 8 * numbers + some
    # the room of a file in memory is an eighth more than is in it
    assert peak < 8 * numbers + 1.2 * len(made) + some


def test_pickles_are_never_read(package: Any) -> None:
    file = io.BytesIO()
    numpy.save(file, numpy.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert package["weighted_average"].Aggregator().add_weights(b"\0\0\0\1" + file.getvalue()) is False


def test_a_round_that_failed_leaves_no_weights_behind(package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    messages, aggregator = package["messages"], package["weighted_average"].Aggregator()
    send(aggregator, messages, [(10, numpy.array([1.0]))])
    with monkeypatch.context() as patch:
        patch.setattr(package["messages"], "alone", lambda *_given: 1 / 0)
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
