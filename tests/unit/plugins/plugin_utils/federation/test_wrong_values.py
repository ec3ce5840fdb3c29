# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever stands in a document, what is wrong of it is told with its place, and ends in no error of the library's."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import loading
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.nodes import Mistake

EXAMPLE = Path(__file__).parent / "example" / "federation.yml"
"""All kinds, one of them in a cluster."""
DOCUMENT = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
SMALL = {**DOCUMENT, "stacks": {"imaging": DOCUMENT["stacks"]["imaging"]}}
Way = tuple[Any, ...]

PLAIN = st.none() | st.booleans() | st.integers(-9, 9**9) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.sampled_from(["", "/abs/kc", "~/kc", "../kc", "a/../../kc", "{{ x }}", "a\nb", ".secrets/x", "é" * 5000])
WRONG = PLAIN | TEXTS | st.lists(PLAIN | TEXTS, max_size=2) | st.dictionaries(st.sampled_from("abc"), PLAIN, max_size=2)


def replaced(document: dict[str, Any], way: Way, value: Any) -> dict[str, Any]:
    """The document with another value there."""
    found = copy.deepcopy(document)
    inner: Any = found
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = value
    return found


def ways(value: Any, before: Way = ()) -> Iterator[Way]:
    """To everything in it."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, child in entries:
        yield (*before, step)
        yield from ways(child, (*before, step))


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    former = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("document"))
    yield
    os.chdir(former)


def mistakes(document: dict[str, Any]) -> list[Mistake]:
    """What is told of it, each with its place; nothing where it is right."""
    Path("federation.yml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    told: list[Mistake] = []
    try:
        loading.load("federation.yml")
    except loading.WrongDocumentError as error:
        told = error.mistakes or [Mistake("", 0, 0, "", "wrong, and nothing is told")]
    assert all(mistake.file == "federation.yml" and mistake.line > 0 for mistake in told)
    return told


@given(st.sampled_from([("kc",), ("kc", "party"), ("kc", "kubeconfig")]), WRONG)
@example(("kc", "party"), "nobody")
@example(("kc",), {"party": "lab"})
@example(("kc",), {"kubeconfig": "files/kc"})
@example(("kc",), {"party": "lab", "kubeconfig": "files/kc", "context": "x"})
def test_what_is_wrong_of_a_cluster_is_told_there(way: Way, value: Any) -> None:
    told = mistakes(replaced(SMALL, ("clusters", *way), value))
    assert any(mistake.path.startswith(".".join(("clusters", *way))) for mistake in told)


@pytest.mark.parametrize("value", [None, [], ["kc"], {}, 5, "kc"])
def test_clusters_that_are_none_leave_a_stack_without_its_own(value: Any) -> None:
    told = mistakes({**SMALL, "clusters": value})
    assert {mistake.path.split(".")[0] for mistake in told} <= {"clusters", "stacks"}
    assert told


@settings(max_examples=60)
@given(st.sampled_from([way for way in ways(DOCUMENT) if way[0] in ("parties", "clusters", "stacks")]), WRONG)
@example(("parties",), None)
@example(("parties", "lab"), 5)
def test_what_is_wrong_of_anything_is_told_with_its_place(way: Way, value: Any) -> None:
    mistakes(replaced(DOCUMENT, way, value))


def test_the_rest_of_a_document_with_a_wrong_cluster_is_looked_at() -> None:
    wrong = replaced(DOCUMENT, ("clusters", "kc", "kubeconfig"), "/home/operator/.kube/config")
    wrong["stacks"]["lenet"]["workers"]["hosts"] = ["nobody"]
    wrong["stacks"]["imaging"]["namespaces"] = ["UPPER"]
    told = [mistake.path for mistake in mistakes(wrong)]
    assert told == ["clusters.kc.kubeconfig", "stacks.lenet.workers.hosts[0]", "stacks.imaging.namespaces[0]"]
