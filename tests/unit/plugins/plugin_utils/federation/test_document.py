# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""YAML with positions."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import document
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.nodes import Node, Report, plain


def parse(text: str) -> tuple[Node | None, list[str]]:
    report = Report()
    root = document.parse(text, "f.yml", report)
    return root, [str(mistake) for mistake in report.mistakes]


@pytest.mark.parametrize("parser", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        ("a: -7\nb: +7\nc: 0", {"a": -7, "b": 7, "c": 0}),
        ("a: 0.5\nb: -1.5e+3\nc: .5\nd: 1.", {"a": 0.5, "b": -1500.0, "c": 0.5, "d": 1.0}),
        ("a: true\nb: False\nc: ~\nd:\ne: null", {"a": True, "b": False, "c": None, "d": None, "e": None}),
        ("a: '1'\nb: \"yes\"\nc: 'null'", {"a": "1", "b": "yes", "c": "null"}),
        (
            "a: '2026-01-01'\nb: fd00::12\nc: 10.20.0.11\nd: y",
            {"a": "2026-01-01", "b": "fd00::12", "c": "10.20.0.11", "d": "y"},
        ),
        ("[1, [2, {a: b}], []]", [1, [2, {"a": "b"}], []]),
        ("a: |\n  one\n  two\n", {"a": "one\ntwo\n"}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("---\na: 1\n...\n", {"a": 1}),
        ("{}", {}),
    ],
)
def test_reads(monkeypatch: pytest.MonkeyPatch, parser: object, text: str, value: object) -> None:
    monkeypatch.setattr(document, "_Parser", parser)
    root, mistakes = parse(text)
    assert mistakes == []
    assert root is not None
    assert plain(root) == value
    assert repr(plain(root)) == repr(value)


ODD = "is read differently by different YAML readers"


EMPTY = "f.yml:1:1: is empty: `ansible-playbook fedlearn.infra.init -e kind=KIND` writes a first document"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a: 1\nb: 2\na: 3", ["f.yml:3:1: a: the key 'a' is given twice (first in line 1)"]),
        ("x: {a: {b: 1, b: 2}}", ["f.yml:1:15: x.a.b: the key 'b' is given twice (first in line 1)"]),
        (
            "a: !vault x",
            [
                "f.yml:1:4: a: a YAML tag (!vault): a document is plain data: "
                "secrets go by name, their values into the vault"
            ],
        ),
        (
            "a: !!python/object/apply:os.system [id]",
            ["f.yml:1:4: a: a YAML tag (tag:yaml.org,2002:python/object/apply:os.system): a document is plain data"],
        ),
        ("a: !!str 1", ["f.yml:1:4: a: a YAML tag (tag:yaml.org,2002:str): a document is plain data"]),
        ("!x {a: 1}", ["f.yml:1:1: a YAML tag (!x): a document is plain data"]),
        ("a: ! 1", ["f.yml:1:4: a: a YAML tag (!): a document is plain data"]),
        (
            "a: [b, '{{ x }}']",
            ["f.yml:1:8: a[1]: a template ('{{', '{%' or '{#'): a document is data, write the value itself"],
        ),
        ("a: 'x{%y'", ["f.yml:1:4: a: a template ('{{', '{%' or '{#'): a document is data, write the value itself"]),
        ("'{# x #}': 1", ["f.yml:1:1: a template ('{{', '{%' or '{#'): a document is data, write the value itself"]),
        (
            "a: {{ x }}",
            [
                "f.yml:1:5: a: a key is a text, a mapping or list is none (a '{{ template }}' "
                "without quotes looks like one)"
            ],
        ),
        ("a: &x {b: *x}", ["f.yml:1:11: a.b: the alias *x stands inside of what it names"]),
        ("a: *x", ["f.yml:1:4: a: the alias *x names nothing above it"]),
        ("a: &x b\n*x : c", ["f.yml:2:1: an alias for a key: write the key itself"]),
        ("a: &x {b: 1}\nc: {<<: *x}", ["f.yml:2:5: c.'<<': merge keys (<<) aren't taken: write the keys out"]),
        ("1: a", ["f.yml:1:1: 1: a key is a text: write it in quotes"]),
        ("true: a", ["f.yml:1:1: true: a key is a text: write it in quotes"]),
        (
            "? [a]\n: b",
            [
                "f.yml:1:3: a key is a text, a mapping or list is none (a '{{ template }}' without "
                "quotes looks like one)"
            ],
        ),
        (
            "a: yes",
            [
                "f.yml:1:4: a: yes is a truth value for some YAML readers and text for others: "
                "write true, or where text is meant 'yes' in quotes"
            ],
        ),
        (
            "a: Off",
            [
                "f.yml:1:4: a: Off is a truth value for some YAML readers and text for others: "
                "write false, or where text is meant 'Off' in quotes"
            ],
        ),
        (
            "on: 1",
            [
                "f.yml:1:1: on is a truth value for some YAML readers and text for others: "
                "write true, or where text is meant 'on' in quotes"
            ],
        ),
        ("a: 1e-3", [f"f.yml:1:4: a: 1e-3 {ODD}: write 0.001, or '1e-3' in quotes"]),
        ("a: 1e3", [f"f.yml:1:4: a: 1e3 {ODD}: write 1000, or '1e3' in quotes"]),
        ("a: 010", [f"f.yml:1:4: a: 010 {ODD}: write 10, or '010' in quotes"]),
        ("a: 0x1F", [f"f.yml:1:4: a: 0x1F {ODD}: write a decimal number, or the text in quotes"]),
        ("a: 0o17", [f"f.yml:1:4: a: 0o17 {ODD}: write a decimal number, or the text in quotes"]),
        ("a: 1_000", [f"f.yml:1:4: a: 1_000 {ODD}: write 1000, or '1_000' in quotes"]),
        ("a: 12:30", [f"f.yml:1:4: a: 12:30 {ODD}: write a decimal number, or the text in quotes"]),
        (
            "a: 2026-01-01",
            ["f.yml:1:4: a: 2026-01-01 is a date for some YAML readers and text for others: write it in quotes"],
        ),
        ("a: .inf", [f"f.yml:1:4: a: .inf {ODD}: write a decimal number, or the text in quotes"]),
        ("a: .nan", [f"f.yml:1:4: a: .nan {ODD}: write a decimal number, or the text in quotes"]),
        ("a: 1\n---\nb: 2", ["f.yml:2:1: a second document begins here: a file has one"]),
        ("", [EMPTY]),
        ("# nothing", [EMPTY]),
        (
            "a: [1, 2",
            [
                "f.yml:2:1: is no YAML: while parsing a flow sequence, did not find expected ',' or ']' "
                "(begun in line 1)"
            ],
        ),
        (
            "a: 1\n b: 2",
            [
                "f.yml:2:3: is no YAML: mapping values are not allowed in this context: are this line and those above "
                "indented alike?"
            ],
        ),
        ("a: 'b\nc: d\n", ["f.yml:1:4: is no YAML: the quote that begins here has no end"]),
        ("a:\n  b: 1\n \tc: 2\n", ["f.yml:3:2: is no YAML: a tab, where YAML takes blanks only: indent with blanks"]),
        ("a: '\x01'", ["f.yml:1:5: is no YAML: control characters are not allowed"]),
        (
            "a: 1\n\tb: 2",
            ["f.yml:2:1: is no YAML: a tab, where YAML takes blanks only: indent with blanks"],
        ),
        ("yes: 1\nno: 2\na: 010\nb: !x 3", 4),
    ],
)
def test_mistakes(text: str, lines: list[str] | int) -> None:
    _root, mistakes = parse(text)
    if isinstance(lines, int):
        assert len(mistakes) == lines
    else:
        assert mistakes == lines


def billion_laughs() -> str:
    levels = ["a: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"b{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 9)]
    return "\n".join(levels)


def deep_aliases() -> str:
    inner = ["a0: &a0 " + "[" * 20 + "]" * 20]
    return "\n".join(inner + [f"a{n}: &a{n} " + "[" * 20 + f"*a{n - 1}" + "]" * 20 for n in range(1, 9)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (billion_laughs(), "aliases stand for more than 100000 values"),
        (deep_aliases(), "is nested deeper than 32 levels"),
        ("[" * 200_000, "is nested deeper than 32 levels"),
        ("- " * 200_000, "is nested deeper than 32 levels"),
        ("{a: " * 200_000, "is nested deeper than 32 levels"),
        ("a: " + "x" * 70_000, "is longer than 65536 characters"),
        ("a: " + "1" * 60_000, None),
        (
            "a: " + "1" * 70,
            "is read differently by different YAML readers: write a decimal number, or the text in quotes",
        ),
        ("a: " + "1_" * 30_000, None),
        ("a: " + "1:" * 30_000 + "1", None),
    ],
)
def test_bombs_are_bounded_in_time(text: str, message: str | None) -> None:
    before = time.process_time()
    _root, mistakes = parse(text)
    assert time.process_time() - before < 5
    assert message is None or any(message in mistake for mistake in mistakes), mistakes


@pytest.mark.parametrize("kind", ["absent", "directory", "fifo", "big", "latin", "zero"])
def test_files_that_are_none(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "f.yml"
    match kind:
        case "directory":
            file.mkdir()
        case "fifo":
            os.mkfifo(file)
        case "big":
            with file.open("wb") as stream:
                stream.truncate(100 * 2**20)
        case "latin":
            file.write_bytes("a: 1\nb: fü".encode("latin-1"))
        case "zero":
            file.symlink_to("/dev/zero")
    report = Report()
    assert document.read(str(file), "f.yml", report) is None
    expected = {
        "absent": "f.yml: can't be read: No such file or directory",
        "directory": "f.yml: is no file",
        "fifo": "f.yml: is no file",
        "big": "f.yml: is bigger than 16 MiB",
        "latin": "f.yml:2:5: is no UTF-8 from here on",
        "zero": "f.yml: is no file",
    }
    assert [str(mistake) for mistake in report.mistakes] == [expected[kind]]


def test_never_more_than_a_thousand_mistakes() -> None:
    _root, mistakes = parse("\n".join(f"a{number}: yes" for number in range(5000)))
    assert len(mistakes) == 1001
    assert mistakes[-1] == "f.yml: has more mistakes than these 1000"


KEYS = st.from_regex(r"\A[a-z][a-z_]{0,8}\Z").filter(
    lambda key: key not in ("yes", "no", "on", "off", "true", "false", "null")
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(-1e6, 1e6, allow_nan=False)
    .map(lambda number: round(number, 4))
    .filter(lambda number: abs(number) > 0.001)
    | st.text(
        st.characters(
            codec="utf-8",
            exclude_categories=("Cc", "Cs", "Cn", "Zl", "Zp"),
            exclude_characters="{\ufeff\ufffe\uffff\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
        ),
        max_size=12,
    ).filter(lambda text: not (document._ODD_NUMBER.fullmatch(text) or document._FLOAT.fullmatch(text)))
)
"""Of texts none that PyYAML writes without quotes although others read a number (0E0, -.5)."""
VALUES = st.recursive(
    SCALARS, lambda of: st.lists(of, max_size=4) | st.dictionaries(KEYS, of, max_size=4), max_leaves=20
)


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4), st.booleans())
def test_what_is_dumped_is_read(value: dict[str, object], flow: bool) -> None:
    root, mistakes = parse(yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True))
    assert mistakes == []
    assert root is not None
    assert plain(root) == value


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4), st.booleans())
def test_positions_are_where_yaml_says(value: dict[str, object], flow: bool) -> None:
    text = yaml.safe_dump(value, default_flow_style=flow)
    root, _mistakes = parse(text)
    assert root is not None
    check_positions(root, yaml.compose(text, Loader=yaml.SafeLoader))


def check_positions(node: Node, reference: yaml.Node) -> None:
    assert node.position is not None
    assert (node.position.line, node.position.column) == (
        reference.start_mark.line + 1,
        reference.start_mark.column + 1,
    )
    if isinstance(reference, yaml.MappingNode):
        assert isinstance(node.value, dict)
        for key, child in reference.value:
            position = node.keys[key.value]
            assert (position.line, position.column) == (key.start_mark.line + 1, key.start_mark.column + 1)
            check_positions(node.value[key.value], child)
    elif isinstance(reference, yaml.SequenceNode):
        assert isinstance(node.value, list)
        for mine, theirs in zip(node.value, reference.value, strict=True):
            check_positions(mine, theirs)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    root, mistakes = parse(text)
    assert root is not None or mistakes
    assert all(line.isprintable() for line in mistakes)
