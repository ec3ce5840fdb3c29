# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The overlay: maps merged, lists replaced, null deletes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import document, loading
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.nodes import Node, Report, node_of, plain


def merged(base: Any, over: Any) -> tuple[Any, list[str]]:
    report = Report()
    result = plain(document.overlay(node_of(base), node_of(over), report))
    return result, [str(mistake) for mistake in report.mistakes]


@pytest.mark.parametrize(
    ("base", "over", "result"),
    [
        ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3, "z": 4}}, {"a": {"x": 1, "y": 3, "z": 4}}),
        ({"a": [1, 2, 3]}, {"a": [4]}, {"a": [4]}),
        ({"a": {"x": 1}}, {"a": None}, {}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": None}}, {"a": {"y": 2}}),
        ({"a": {"x": 1}}, {"a": 5}, {"a": 5}),
        ({"a": 5}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"a": {}}, {}, {"a": {}}),
        ({}, {"a": {"b": {}}}, {"a": {"b": {}}}),
    ],
)
def test_merges(base: Any, over: Any, result: Any) -> None:
    assert merged(base, over) == (result, [])


def test_deleting_nothing_is_a_mistake() -> None:
    assert merged({"lenet": 1}, {"lenett": None}) == (
        {"lenet": 1},
        ["lenett: null deletes, but there is no 'lenett' below (did you mean 'lenet'?)"],
    )
    assert merged({}, {"a": {"b": None}}) == ({"a": {}}, ["a.b: null deletes, but there is no 'b' below"])


def test_positions_are_those_of_the_file_a_value_comes_from() -> None:
    report = Report()
    base = document.parse("a: {x: 1, y: 2}\nb: {c: 3}\n", "base", report)
    over = document.parse("\na: {y: 9, z: 4}\nb: {c: null}\n", "over", report)
    assert base is not None
    assert over is not None
    root = document.overlay(base, over, report)
    report.root = root
    assert [report.where(("a", key)) for key in "xyz"] == ["base:1:8", "over:2:8", "over:2:14"]
    assert [str(report.key_position(("a", key)).file) for key in "xyz"] == ["base", "over", "over"]
    assert report.where(("a",)) == "base:1:4"
    assert report.where(("b", "c")) == "over:3:4"  # what was deleted is missing by the overlay's fault


BASE = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties: {lab: {hosts: {ms1: 10.20.0.11}}}
stacks: {lenet: {kind: mindspore}}
"""


def told(tmp_path: Path, over: str) -> list[str]:
    """The mistakes of a viewpoint with an overlay."""
    (tmp_path / "base.yml").write_text(BASE)
    (tmp_path / "over.yml").write_text(over)
    viewpoint = "{plugin: fedlearn.infra.federation, document: base.yml, party: lab, overlay: over.yml}"
    (tmp_path / "view.yml").write_text(viewpoint)
    with pytest.raises(loading.WrongDocumentError) as caught:
        loading.load(str(tmp_path / "view.yml"))
    return [str(mistake).partition("over.yml:")[2] for mistake in caught.value.mistakes if "over.yml:" in str(mistake)]


def test_a_misspelt_stack_is_told_as_one_and_not_as_one_without_a_kind(tmp_path: Path) -> None:
    assert told(tmp_path, "stacks:\n  lenett: {settings: {fl_iteration_num: 3}}\n") == [
        "2:3: stacks.lenett: the document has no stack 'lenett' (did you mean 'lenet'?), and a new one needs its kind"
    ]
    assert told(tmp_path, "stacks:\n  other: {tls: false}\n") == [
        "2:3: stacks.other: the document has no stack 'other', and a new one needs its kind"
    ]


def test_a_new_stack_of_an_overlay_is_one_like_any_other(tmp_path: Path) -> None:
    assert told(tmp_path, "stacks:\n  lenett: {kind: mindspor}\n")[0].startswith("2:18: stacks.lenett.kind: ")


KEYS = st.sampled_from("abcd")
LEAVES = st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2)
DATA = st.recursive(LEAVES, lambda of: st.dictionaries(KEYS, of, max_size=3), max_leaves=8)
MAPPINGS = st.dictionaries(KEYS, DATA, max_size=4)


@given(MAPPINGS)
def test_nothing_changes_nothing(base: dict[str, Any]) -> None:
    assert merged(base, {}) == (base, [])
    assert merged(base, base) == (base, [])
    assert merged({}, base) == (base, [])


@given(MAPPINGS, MAPPINGS)
def test_twice_is_once(base: dict[str, Any], over: dict[str, Any]) -> None:
    once, _mistakes = merged(base, over)
    assert merged(once, over) == (once, [])


@given(MAPPINGS, MAPPINGS, MAPPINGS)
def test_overlays_can_be_merged_first(base: dict[str, Any], one: dict[str, Any], other: dict[str, Any]) -> None:
    if not _same_shapes(base, one) or not _same_shapes(one, other):
        return
    assert merged(merged(base, one)[0], other) == merged(base, merged(one, other)[0])


def _same_shapes(one: Any, other: Any) -> bool:
    """Whether no key is a mapping here and something else there; only then is the order of merging free."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_same_shapes(one[key], other[key]) for key in one.keys() & other.keys())
    return isinstance(one, dict) == isinstance(other, dict)


@given(MAPPINGS, MAPPINGS)
def test_neither_side_is_changed(base: dict[str, Any], over: dict[str, Any]) -> None:
    nodes: list[Node] = [node_of(base), node_of(over)]
    document.overlay(nodes[0], nodes[1], Report())
    assert [plain(node) for node in nodes] == [base, over]
