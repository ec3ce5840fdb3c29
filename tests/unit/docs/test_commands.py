# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What documentation tells to type is there: targets, playbooks, options, and the README's first document."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from ansible_collections.fedlearn.infra.plugins.action.init import next_steps
from ansible_collections.fedlearn.infra.plugins.plugin_utils import apt_wait
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import loading
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.first_files import first_files

CHECKOUT = Path(__file__).resolve().parents[3]
README = (CHECKOUT / "README.md").read_text()
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]

TYPED = re.compile(r"`[^`\n]+`|^    .+$", re.MULTILINE)
"""Code in a line, and indented blocks."""
INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)


def typed(text: str, pattern: str) -> set[str]:
    """What a pattern finds in code."""
    return {found for span in TYPED.findall(text) for found in re.findall(pattern, span)}


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))


def content() -> set[str]:
    """Names of the collection's playbooks, roles, modules and other plugins."""
    files = [*CHECKOUT.glob("playbooks/*.yml"), *CHECKOUT.glob("plugins/*/*.py"), *CHECKOUT.glob("roles/*/")]
    return {path.stem for path in files}


def variables() -> set[str]:
    """Every word of the expressions of playbooks, and of the defaults of roles; and what all tasks look for."""
    files = [*CHECKOUT.glob("playbooks/**/*.yml"), *CHECKOUT.glob("roles/*/defaults/main.yml")]
    texts = [path.read_text() for path in files]
    words = {word for text in texts for code in re.findall(r"{{.*?}}", text) for word in re.findall(r"\w+", code)}
    return words | {apt_wait.VARIABLE}


def first_document() -> str:
    """The README's document, as a file."""
    shown = next(block for block in INDENTED.findall(README) if block.startswith("    plugin:"))
    return re.sub(r"^    ", "", shown, flags=re.MULTILINE)


def test_what_is_typed_is_read_from_code_only() -> None:
    text = "make up, `make demo`\n\n    make test  # and\n    ansible-playbook fedlearn.infra.site -e stack=NAME\n"
    assert typed(text, r"\bmake ([a-z-]+)") == {"demo", "test"}
    assert typed(text, r"-e (\w+)=") == {"stack"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_are_there(page: Path) -> None:
    text = page.read_text()
    assert typed(text, r"\bmake ([a-z-]+)") - targets() == set()
    assert typed(text, r"(?<![\w.])fedlearn\.infra\.(\w+)") - content() == set()
    assert typed(text, r"-e (\w+)=") - variables() == set()


def test_the_first_document_is_right(tmp_path: Path) -> None:
    path = tmp_path / "federation.yml"
    path.write_text(first_document())
    assert list(loading.load(str(path)).expansions) == ["first"]


def test_it_is_what_init_writes_but_for_comments() -> None:
    """As data: the README has on one line what `init` spreads, to have room for its comments."""
    assert "ansible-playbook fedlearn.infra.init -e kind=mindspore -e federation=mine" in README
    written = first_files("mindspore", "mine")["federation.yml"]
    assert yaml.safe_load(first_document()) == yaml.safe_load(written)
    assert "#" in written
    assert "#" not in first_document()


def test_the_vault_s_password_lies_where_init_lays_it_and_one_that_is_there_stays(tmp_path: Path) -> None:
    made, exported = next_steps(Path("inventories/mine"), "verify")[1:3]
    made = made.partition("  #")[0]
    assert f"    {made} " in README
    assert exported in README
    for page in PAGES:
        assert set(re.findall(r"ANSIBLE_VAULT_PASSWORD_FILE=([^\s`]+)", page.read_text())) <= {"~/.vault-pass"}
    password = tmp_path / ".vault-pass"

    def type_it() -> tuple[int, str]:
        done = subprocess.run(["/bin/sh", "-c", made], check=False, env={**os.environ, "HOME": str(tmp_path)})
        return done.returncode, password.read_text()

    code, first = type_it()
    assert (code, password.stat().st_mode & 0o777) == (0, 0o600)
    again, second = type_it()
    assert again != 0
    assert second == first


def test_the_package_is_called_what_it_is_built_as() -> None:
    version = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())["version"]
    assert set(re.findall(r"fedlearn-infra-\S+?\.tar\.gz", README)) == {f"fedlearn-infra-{version}.tar.gz"}


def test_the_mistake_in_it_is_told_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("federation.yml").write_text(first_document().replace("redis: {host: host1}", "redis: {host: hots1}"))
    with pytest.raises(loading.WrongDocumentError) as wrong:
        loading.load("federation.yml")
    assert [f"    {mistake}" for mistake in wrong.value.mistakes] == re.findall(
        r"^    federation\.yml:.*$", README, re.MULTILINE
    )
