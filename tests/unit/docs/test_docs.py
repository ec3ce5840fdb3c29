# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation leaves no row without an answer, and names only what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
SYSTEMS = sorted((CHECKOUT / "docs" / "systems").glob("*.md"))
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


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, without headings and the lines below them."""
    found: list[list[str]] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("|"):
            continue
        below = lines[number + 1] if number + 1 < len(lines) else ""
        if not any(re.fullmatch(r"\|[-:| ]+\|", each) for each in (line, below)):
            found.append([cell.strip() for cell in CELL_BORDER.split(line)[1:-1]])
    return found


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


def test_tables_are_read_as_they_are_shown() -> None:
    text = "| a | b |\n|---|---|\n| `x\\|y` | done |\n| z | |\n\nno row | at all\n"
    assert rows(text) == [["`x\\|y`", "done"], ["z", ""]]


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
    assert [row for row in table if not row[-1]] == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    assert missing(page.read_text(), page.parent) == []
