# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names with ranges."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import ranges


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("ms1", ["ms1"]),
        ("w[1:3]", ["w1", "w2", "w3"]),
        ("w[08:11].lab.example", ["w08.lab.example", "w09.lab.example", "w10.lab.example", "w11.lab.example"]),
        ("w[9:11]", ["w9", "w10", "w11"]),
        ("w[0:1]", ["w0", "w1"]),
        ("r[1:2]n[01:02]", ["r1n01", "r1n02", "r2n01", "r2n02"]),
        ("[5:5]", ["5"]),
    ],
)
def test_expands(text: str, names: list[str]) -> None:
    assert ranges.expand(text) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("w[3:1]", "[3:1] counts down: write the lower number first"),
        ("w[01:3]", "[01:3] pads with zeros: write both numbers with the same number of digits"),
        ("w[1:03]", "[1:03] pads with zeros: write both numbers with the same number of digits"),
        ("w[a:c]", "[a:c] is no range of numbers such as [01:40]"),
        ("w[1-3]", "[1-3] is no range of numbers such as [01:40]"),
        ("w[]", "[] is no range of numbers such as [01:40]"),
        ("w[1:3", "'w[1:3' has a bracket without its other half"),
        ("w1:3]", "'w1:3]' has a bracket without its other half"),
        ("w[[1:3]]", "'w[[1:3]]' has a bracket without its other half"),
        ("w[1:100001]", "'w[1:100001]' stands for more than 100000 names"),
        ("w[1:1000][1:1000]", "'w[1:1000][1:1000]' stands for more than 100000 names"),
        ("w[1:9999999999]", "[1:9999999999] is no range of numbers such as [01:40]"),
    ],
)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ranges.expand(text)


@given(st.integers(0, 5000), st.integers(0, 300), st.integers(0, 6), st.from_regex(r"\A[a-z.-]{0,5}\Z"))
def test_a_range_is_its_numbers_in_order(first: int, more: int, width: int, prefix: str) -> None:
    low, high = str(first).zfill(width), str(first + more).zfill(width)
    if len(low) != len(high) and (low.startswith("0") and len(low) > 1):
        return
    names = ranges.expand(f"{prefix}[{low}:{high}]")
    assert [int(name.removeprefix(prefix)) for name in names] == list(range(first, first + more + 1))
    assert len(set(names)) == len(names)
    assert (names[0], names[-1]) == (prefix + low, prefix + high)


@given(st.text(max_size=30))
def test_any_text_gives_names_or_a_message(text: str) -> None:
    try:
        assert ranges.expand(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - a text is either right or refused, both are fine
