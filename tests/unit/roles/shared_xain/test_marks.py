# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A round of marks is right whoever was drawn, and wrong when the global model isn't the mean of exactly those.

The SDK is a double: of it nothing but a class to inherit is used here.
"""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain.known_marks import answer, marked

FILES = Path(__file__).resolve().parents[4] / "roles" / "shared_xain" / "files"
COUNT = 8


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> Any:
    sdk: Any = ModuleType("xaynet_sdk")
    sdk.ParticipantABC = type("ParticipantABC", (), {})
    monkeypatch.setitem(sys.modules, "xaynet_sdk", sdk)
    monkeypatch.syspath_prepend(str(FILES))
    monkeypatch.delitem(sys.modules, "fedlearn_xain.marks", raising=False)
    return importlib.import_module("fedlearn_xain.marks")


Model = tuple[Sequence[float], float]
"""What a participant adds, and how much it counts."""


def model_of(index: int) -> Model:
    settings = marked(index, COUNT)
    return settings["model"], settings["scalar"]


def mean(models: Sequence[Model]) -> list[float]:
    whole = sum(scalar for _model, scalar in models)
    weighted = ([weight * scalar for weight in model] for model, scalar in models)
    return [sum(column) / whole for column in zip(*weighted, strict=True)]


def ended(marks: Any, models: Sequence[Model]) -> dict[str, Any]:
    """What a participant writes when the global model is the mean of these."""
    one = marks.Marks(marked(0, COUNT))
    one.on_new_global_model(None)
    assert not one.over
    one.on_new_global_model(mean(models))
    assert one.over
    found: dict[str, Any] = one.result()
    return found


def off(found: dict[str, Any]) -> float:
    return max(abs(left - right) for left, right in zip(found["values"], answer(COUNT), strict=True))


def test_whoever_is_drawn_the_numbers_are_those_of_all(marks: Any) -> None:
    for many in range(3, COUNT + 1):
        for drawn in itertools.combinations(range(COUNT), many):
            found = ended(marks, [model_of(index) for index in drawn])
            assert (found["drawn"], off(found) < 1e-9) == (list(drawn), True)


def test_a_model_that_is_no_mean_of_those_drawn_is_wrong(marks: Any) -> None:
    for drawn in itertools.combinations(range(COUNT), 4):
        chosen = [model_of(index) for index in drawn]
        (first, counts), *others = chosen
        lied = [*first[:COUNT], *(value + 0.01 for value in first[COUNT:])]
        assert off(ended(marks, [(lied, counts), *others])) > 1e-5
        assert off(ended(marks, [*chosen, chosen[0]])) > 1e-6
        assert off(ended(marks, [([*[0.0] * COUNT, *first[COUNT:]], counts), *others])) > 1e-4
        assert off(ended(marks, [(first, counts + 0.25), *others])) > 1e-6
        assert off(ended(marks, [(model, 1.0) for model, _counts in chosen])) > 1e-5


def test_weights_are_between_minus_one_and_one() -> None:
    """Masks of B0 would cut off what is beyond."""
    for count in range(8, 17):
        for index in range(count):
            assert all(-1 <= weight <= 1 for weight in marked(index, count)["model"])


def test_without_a_global_model_it_took_no_part(marks: Any) -> None:
    assert "missed" in marks.Marks(marked(0, COUNT)).result()
    deployed = marks.Marks({"model": [0.5]})
    deployed.on_new_global_model([0.5])
    assert not deployed.over
    assert deployed.train_round([0.5]) == [0.5]
    assert marks.Marks.scalar({"model": [0.5]}) == 1.0
