# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation leaves no row without an answer, and names only what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import reference
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds import kinds

CHECKOUT = Path(__file__).resolve().parents[3]
SYSTEMS = sorted((CHECKOUT / "docs" / "systems").glob("*.md"))
GUIDES = sorted(Path(__file__).with_name("guides").glob("*.yml"))
"""What the guide of each system tells its reader, in the guide's words."""
PAGES = [
    CHECKOUT / "README.md",
    *sorted((CHECKOUT / "docs").rglob("*.md")),
    *sorted(CHECKOUT.glob("roles/*/README.md")),
]

FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
CELL_BORDER = re.compile(r"(?<!\\)\|")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
OURS = re.compile(r"(?:docs|inventories|molecule|playbooks|plugins|roles|tests)/\S*")
EXAMPLES = re.compile(r"(?:^|[/_])echo(?:[/_.]|$)")
"""`echo` is the system that docs/architecture.md adds, to show how."""
PLACEHOLDER = re.compile(r"<[^>]+>")


def tables(text: str) -> list[list[list[str]]]:
    """Every table as rows of cells, its heading first."""
    found: list[list[list[str]]] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        if not inside:
            found.append([])
            inside = True
        if not re.fullmatch(r"\|[-:| ]+\|", line):
            found[-1].append([cell.strip() for cell in CELL_BORDER.split(line)[1:-1]])
    return found


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, without headings."""
    return [row for table in tables(text) for row in table[1:]]


def firsts(text: str, heading: str = "") -> list[str]:
    """The first cell of every row; with a heading, of the tables whose first column is headed so."""
    return [row[0] for table in tables(text) if heading in ("", table[0][0]) for row in table[1:]]


def untold(words: list[str], cells: list[str]) -> list[str]:
    """The words that stand in no cell, whole."""
    return [
        word for word in words if not any(re.search(rf"(?<![\w.]){re.escape(word)}(?![\w.])", cell) for cell in cells)
    ]


def settings(kind: str) -> list[str]:
    """The dotted names of a kind's settings."""
    return [path for path, _key in reference.flat(kinds()[kind].SETTINGS)]


def page_of(kind: str) -> str:
    return (CHECKOUT / "docs" / "systems" / f"{kind}.md").read_text()


def links(text: str) -> list[str]:
    """Relative links, without what follows `#`."""
    found = [target.partition("#")[0] for target in LINK.findall(FENCE.sub("", text))]
    return [target for target in found if target and not re.match(r"[a-z]+:", target)]


def paths(text: str) -> list[str]:
    """Paths of the repository in backticks; `<name>` in one stands for any name."""
    words = [word for span in CODE.findall(FENCE.sub("", text)) for word in span.split() if OURS.fullmatch(word)]
    return [PLACEHOLDER.sub("*", word) for word in words if not EXAMPLES.search(word)]


def missing(text: str, folder: Path) -> list[str]:
    """The links and paths of a page that lead nowhere."""
    astray = [target for target in links(text) if not (folder / target).exists()]
    return astray + [path for path in paths(text) if not any(CHECKOUT.glob(path.rstrip("/")))]


def page_name(page: Path) -> str:
    return str(page.relative_to(CHECKOUT))


TWO_TABLES = (
    "| a | b |\n|---|---|\n| `x\\|y` | done |\n| z | |\n\nno row | at all\n\n| key | b |\n|---|---|\n| `k` | - |\n"
)


def test_tables_are_read_as_they_are_shown() -> None:
    assert rows(TWO_TABLES) == [["`x\\|y`", "done"], ["z", ""], ["`k`", "-"]]
    assert firsts(TWO_TABLES) == ["`x\\|y`", "z", "`k`"]
    assert firsts(TWO_TABLES, "key") == ["`k`"]


def test_words_count_whole_only() -> None:
    assert untold(["k", "a.b", "6666", "66", "b", "x"], ["`k`", "`a.b`", "--port 6666"]) == ["66", "b", "x"]


def test_what_leads_nowhere_is_found() -> None:
    text = (
        "[is](README.md#top) [isn't](docs/none.md) [elsewhere](https://example.org/a)\n"
        "`plugins/inventory/federation.py` `roles/<role>/README.md` `python roles/none.py` `tests/<x>/none.py`\n"
        "```\n`roles/in_a_block/`\n```\n"
    )
    assert missing(text, CHECKOUT) == ["docs/none.md", "roles/none.py", "tests/*/none.py"]


@pytest.mark.parametrize("page", SYSTEMS, ids=page_name)
def test_every_row_of_a_system_says_where_it_went(page: Path) -> None:
    table = rows(page.read_text())
    assert table
    assert [row for row in table if not all(row)] == []


@pytest.mark.parametrize("kind", kinds())
def test_every_setting_of_a_system_begins_a_row(kind: str) -> None:
    assert untold(settings(kind), firsts(page_of(kind))) == []


@pytest.mark.parametrize("kind", kinds())
def test_a_table_of_keys_names_each_once_and_no_other(kind: str) -> None:
    told = [key for cell in firsts(page_of(kind), "key") for key in CODE.findall(cell)]
    assert [key for key in told if key not in settings(kind)] == []
    assert sorted(set(told)) == sorted(told)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_what_a_guide_tells_begins_a_row(guide: Path) -> None:
    page, missed = page_of(guide.stem), {}
    for section, words in yaml.safe_load(guide.read_text()).items():
        heading = {"keys": "key", "ports": "port"}.get(section, "")
        missed[section] = untold(words, firsts(page, heading))
    assert [(section, words) for section, words in missed.items() if words] == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    assert missing(page.read_text(), page.parent) == []


def test_the_architecture_names_every_file_of_the_library_and_every_folder_of_tests() -> None:
    named = {word.rstrip("/") for word in CODE.findall((CHECKOUT / "docs" / "architecture.md").read_text())}
    library = (CHECKOUT / "plugins" / "plugin_utils" / "_federation").glob("*.py")
    tests = {f"tests/{path.relative_to(CHECKOUT).parts[1]}" for path in (CHECKOUT / "tests").rglob("*.*")}
    assert ({path.name for path in library} - {"__init__.py"} | tests) - named == set()


def test_operations_name_every_role_with_data() -> None:
    text = (CHECKOUT / "docs" / "operations.md").read_text()
    (told,) = re.findall(r"Roles with data: (.*?)\. ", text, re.DOTALL)
    assert sorted(CODE.findall(told)) == sorted(path.parts[-3] for path in CHECKOUT.glob("roles/*/tasks/backup.yml"))
